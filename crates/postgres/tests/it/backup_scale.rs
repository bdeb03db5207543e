//! What a backup and a restore cost where there is much of everything. By hand: it takes minutes.

use crate::backup_fixture::{Bench, restored};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use std::time::Instant;

const TABLES: u32 = 100_000;
/// DESIGN: memory does not grow with the database.
const MEMORY_LIMIT_KIB: u64 = 256 << 10;

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and a GiB of disk"]
#[expect(clippy::print_stderr, reason = "a measurement is there to be read")]
async fn a_hundred_thousand_small_tables_fit_into_bounded_memory() {
    let bench = Bench::new(1).await;
    let options = ClusterOptions::new()
        .set("max_locks_per_transaction", "4096")
        .set("autovacuum", "off")
        .set("wal_level", "replica")
        .set("shared_buffers", "128MB");
    let cluster = Cluster::start(&Installation::newest(), &options);
    for batch in 0..TABLES / 1000 {
        cluster.psql(&format!(
            "DO $$ BEGIN FOR n IN 0..999 LOOP \
             EXECUTE format('CREATE TABLE t%s AS SELECT %s AS id', n + {batch} * 1000, n); END LOOP; END $$"
        ));
    }
    cluster.psql("CHECKPOINT");
    let before = peak_kib();
    for local in [true, false] {
        let start = Instant::now();
        let mut options = bench.backup_options(&cluster, local);
        (options.workers, options.level) = (2, 3);
        let point = lifeboat_postgres::backup::run(&options).await.unwrap();
        let took = start.elapsed();
        eprintln!(
            "backup, local {local}: {} files, {} bytes in {took:?}, {} KiB at most",
            point.files,
            point.size_bytes,
            peak_kib()
        );
        let start = Instant::now();
        restored(&bench.restore_options(&point, "into")).await.unwrap();
        eprintln!("restore: {:?}, {} KiB at most", start.elapsed(), peak_kib());
        std::fs::remove_dir_all(bench.scratch.path().join("into")).unwrap();
    }
    assert!(peak_kib() - before.min(32 << 10) < MEMORY_LIMIT_KIB, "{} KiB", peak_kib());
}
