//! What a backup and a restore cost where there is much of everything.

use crate::backup_fixture::{Bench, restored};
use lifeboat_postgres::backup::BackupProgress;
use lifeboat_testkit::faulty::{Fault, FaultPlan, Select};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation, give_to_server_user};
use lifeboat_vault::layer::PACK_BYTES;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const TABLES: u32 = 100_000;
/// DESIGN: memory does not grow with the database.
const MEMORY_LIMIT_KIB: u64 = 256 << 10;

/// What is backed up to see that memory does not grow with it.
const BULK_BYTES: u64 = 256 << 20;
/// What the vault takes for a pack, unless it is let go before: nothing more is read meanwhile.
const SLOW: Duration = Duration::from_secs(600);
/// Nothing was read for so long: it waits for the vault.
const STANDSTILL: Duration = Duration::from_secs(1);
/// With two workers: a pack with each, one that waits, one that is about to go and two on their way.
const HELD_PACKS: u64 = 6;
/// Those, and as much again that the allocator does not give back.
const BACKUP_LIMIT_KIB: u64 = 192 << 10;

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
    let mut others = 0;
    for local in [true, false] {
        forget_peak();
        let before = peak_kib();
        let packs = Select::writes().named("pack-");
        bench.stores[0].set_plan(FaultPlan::none().on(packs, Fault::Delay(SLOW)));
        let mut options = bench.backup_options(&cluster, local);
        options.workers = 2;
        let progress = options.progress.clone();
        let running = tokio::spawn(async move { lifeboat_postgres::backup::run(&options).await });
        let done = until_it_stalls(&progress).await;
        // Over the connection it is not told before the end how much there is.
        others = others.max(progress.total_bytes.load(Ordering::Relaxed).saturating_sub(BULK_BYTES));
        assert!(done <= HELD_PACKS * PACK_BYTES as u64 + others, "local {local}: it read {done} bytes ahead");
        bench.stores[0].set_plan(FaultPlan::none());
        let point = running.await.unwrap().unwrap();
        assert!(point.stored_bytes > BULK_BYTES, "{} bytes were stored", point.stored_bytes);
        let grew = peak_kib() - before;
        assert!(grew < BACKUP_LIMIT_KIB, "local {local}: it took {grew} KiB");
    }
}

/// How much a backup has read when it reads no more.
async fn until_it_stalls(progress: &BackupProgress) -> u64 {
    let mut last = (0, Instant::now());
    while last.0 == 0 || last.1.elapsed() < STANDSTILL {
        let done = progress.done_bytes.load(Ordering::Relaxed);
        if done > last.0 {
            last = (done, Instant::now());
        }
        tokio::task::yield_now().await;
    }
    last.0
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
