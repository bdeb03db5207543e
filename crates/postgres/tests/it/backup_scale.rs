//! What a backup and a restore cost where there is much of everything.

use crate::backup_fixture::{Bench, restored};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation, give_to_server_user};
use std::io::Read;
use std::time::Instant;

const TABLES: u32 = 100_000;
/// DESIGN: memory does not grow with the database.
const MEMORY_LIMIT_KIB: u64 = 256 << 10;

/// What is backed up to see that memory does not grow with it.
const BULK_BYTES: u64 = 320 << 20;
/// For two workers five packs of 16 MiB, and as much again that the allocator does not give back.
const BACKUP_LIMIT_KIB: u64 = 160 << 10;

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Has the kernel forget what this process needed so far, but for what it holds now.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// More data than a backup may hold, of the kind that no compression makes small.
#[tokio::test(flavor = "multi_thread")]
async fn b4_a_backup_holds_few_packs_however_much_there_is() {
    let bench = Bench::new(1).await;
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    let bulk = cluster.data_directory().join("bulk");
    let mut noise = std::fs::File::open("/dev/urandom").unwrap().take(BULK_BYTES);
    std::io::copy(&mut noise, &mut std::fs::File::create(&bulk).unwrap()).unwrap();
    give_to_server_user(&bulk);
    for local in [true, false] {
        forget_peak();
        let before = peak_kib();
        let mut options = bench.backup_options(&cluster, local);
        options.workers = 2;
        let point = lifeboat_postgres::backup::run(&options).await.unwrap();
        assert!(point.stored_bytes > BULK_BYTES, "{} bytes were stored", point.stored_bytes);
        let grew = peak_kib() - before;
        assert!(grew < BACKUP_LIMIT_KIB, "local {local}: it took {grew} KiB");
    }
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
