//! A backup at whose every write the vault fails, in every way it can: what it calls restorable restores.

use crate::backup_fixture::{Bench, is_startable, said};
use lifeboat_postgres::backup;
use lifeboat_postgres::client::Conninfo;
use lifeboat_testkit::faulty::{Fault, FaultPlan};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use lifeboat_vault::point;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn small_cluster(installation: &Installation) -> Cluster {
    let cluster = Cluster::start(installation, &ClusterOptions::new());
    cluster
        .psql("CREATE TABLE ledger AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 5000) g");
    cluster
}

/// The writes of one backup into a vault that knows the cluster.
async fn writes_of_a_backup(bench: &Bench, cluster: &Cluster, local: bool) -> u64 {
    bench.backup(cluster, local).await.unwrap();
    let before = bench.stores[0].write_count();
    bench.backup(cluster, local).await.unwrap();
    bench.stores[0].write_count() - before
}

async fn killed_at_every_write(local: bool) {
    let (installation, bench) = (Installation::newest(), Bench::new(1).await);
    let (cluster, store) = (small_cluster(&installation), &bench.stores[0]);
    let writes = writes_of_a_backup(&bench, &cluster, local).await;
    assert!(writes >= 5, "packs, index, WAL and manifest are {writes} writes");
    for fault in [Fault::Crash, Fault::CrashAfter] {
        for write in 1..=writes {
            let before = bench.points().await;
            store.set_plan(FaultPlan::none().at_write(write, fault));
            let outcome = bench.backup(&cluster, local).await;
            // How many writes WAL takes is the server's to say.
            let has_crashed = store.has_crashed();
            store.set_plan(FaultPlan::none());
            let after = bench.points().await;
            assert!(after.is_superset(&before), "{fault:?} at write {write} lost a point");
            assert_eq!(outcome.is_err(), has_crashed, "{fault:?} at write {write}: {outcome:?}");
            for (number, new) in after.difference(&before).enumerate() {
                let into = format!("{fault:?}-{write}-{number}");
                let restored = bench.restore(&bench.point(new).await, &into).await.unwrap();
                std::fs::remove_dir_all(restored).unwrap();
            }
        }
    }
    let point = bench.backup(&cluster, local).await.unwrap();
    let revived = bench.revive(&installation, &point, "revived").await;
    assert_eq!(revived.psql("SELECT count(*) FROM ledger"), "5000");
}

#[tokio::test]
async fn b1_a_backup_killed_at_any_write_leaves_no_lie_and_does_not_hinder_the_next_from_files() {
    killed_at_every_write(true).await;
}

#[tokio::test]
async fn b1_a_backup_killed_at_any_write_leaves_no_lie_and_does_not_hinder_the_next_over_the_connection() {
    killed_at_every_write(false).await;
}

/// Every fault that one write can have: the backup fails and lists nothing, or it succeeds and restores.
/// What a store damages after it acknowledged it shows when it is read, by name, and never starts.
#[tokio::test]
async fn b5_whatever_befalls_one_write_a_point_restores_or_says_what_is_damaged() {
    let (installation, bench) = (Installation::newest(), Bench::new(1).await);
    let (cluster, store) = (small_cluster(&installation), &bench.stores[0]);
    let writes = writes_of_a_backup(&bench, &cluster, true).await;
    // Not done at all, for one reason or another, and four ways to be done badly.
    let refusals = [Fault::Fail, Fault::Unavailable, Fault::FullDisk];
    let damages = [Fault::LoseReply, Fault::TruncateBody, Fault::FlipBit, Fault::LoseObject];
    for damage in [None].into_iter().chain(damages.map(Some)) {
        for write in 1..=writes {
            let fault = damage.unwrap_or(refusals[write as usize % refusals.len()]);
            let before = bench.points().await;
            let fired_before = store.fired().len();
            store.set_plan(FaultPlan::none().at_write(write, fault));
            let outcome = bench.backup(&cluster, true).await;
            let fired = store.fired().len() > fired_before;
            store.set_plan(FaultPlan::none());
            let after = bench.points().await;
            let what = format!("{fault:?} at write {write}");
            match outcome {
                Ok(point) => {
                    assert_eq!(after.len(), before.len() + 1, "{what}");
                    let is_silent = matches!(fault, Fault::FlipBit | Fault::TruncateBody);
                    // What nothing befell restores in other tests.
                    if fired {
                        check_whole_or_named(&bench, &point, &what, is_silent).await;
                    }
                }
                Err(error) => {
                    assert_eq!(after, before, "{what}: {}", said(&error));
                    assert!(!said(&error).is_empty());
                }
            }
        }
    }
}

async fn check_whole_or_named(bench: &Bench, point: &point::RestorePoint, what: &str, may_be_damaged: bool) {
    let into = bench.scratch.path().join("into");
    match bench.restore(point, "into").await {
        Ok(directory) => assert!(is_startable(&directory)),
        Err(error) => {
            assert!(may_be_damaged, "{what}: {}", said(&error));
            assert!(said(&error).contains("services/db/layers/"), "{what}: {}", said(&error));
            assert!(!is_startable(&into), "{what}");
        }
    }
    if into.exists() {
        std::fs::remove_dir_all(into).unwrap();
    }
}

/// One copy of two fails or damages a write: the backup says so or goes on, and what it made restores.
#[tokio::test]
async fn one_bad_copy_of_two_neither_stops_a_restore_nor_makes_a_lie() {
    let (installation, bench) = (Installation::newest(), Bench::new(2).await);
    let cluster = small_cluster(&installation);
    let writes = writes_of_a_backup(&bench, &cluster, true).await;
    for fault in [Fault::FlipBit, Fault::LoseObject] {
        for write in 1..=writes {
            let before = bench.points().await;
            bench.stores[0].set_plan(FaultPlan::none().at_write(write, fault));
            let outcome = bench.backup(&cluster, true).await;
            bench.stores[0].set_plan(FaultPlan::none());
            let what = format!("{fault:?} at write {write}");
            match outcome {
                Ok(point) => check_whole_or_named(&bench, &point, &what, false).await,
                Err(_) => {
                    for new in bench.points().await.difference(&before) {
                        check_whole_or_named(&bench, &bench.point(new).await, &what, false).await;
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn two_backups_at_once_both_count() {
    let (installation, bench) = (Installation::newest(), Bench::new(1).await);
    let cluster = small_cluster(&installation);
    let (local, remote) = tokio::join!(bench.backup(&cluster, true), bench.backup(&cluster, false));
    let (local, remote) = (local.unwrap(), remote.unwrap());
    for (point, into) in [(local, "local"), (remote, "remote")] {
        let revived = bench.revive(&installation, &point, into).await;
        assert_eq!(revived.psql("SELECT count(*) FROM ledger"), "5000");
    }
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_replication_slots"), "0");
}

/// Names the vault to the process that is to be killed, the server, and after how many new files.
const KILL_AFTER: &str = "LIFEBOAT_TEST_KILL_AFTER";
const KILL_PLACE: &str = "LIFEBOAT_TEST_KILL_PLACE";
const KILL_SERVER: &str = "LIFEBOAT_TEST_KILL_SERVER";

/// Files in the vault, half-written ones too.
fn files_below(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path()),
            _ => 1,
        })
        .sum()
}

/// A real `kill -9`, at every file that a backup makes in a directory vault.
#[tokio::test]
async fn b1_a_backup_killed_for_real_leaves_no_lie_no_slot_and_no_hindrance() {
    let (installation, bench) = (Installation::newest(), Bench::new(1).await);
    let cluster = small_cluster(&installation);
    let writes = writes_of_a_backup(&bench, &cluster, true).await;
    let mut killed = 0;
    for after in 0..=writes as usize {
        let before = bench.points().await;
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "backup_faults::a_backup_that_kills_itself", "--ignored"]);
        child.env(KILL_AFTER, after.to_string()).env(KILL_PLACE, bench.scratch.path());
        child.env(KILL_SERVER, cluster.conninfo());
        let status = child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        // It may have been faster than the one who kills.
        assert!(status.success() || status.signal() == Some(9), "{status}");
        killed += usize::from(!status.success());
        for new in bench.points().await.difference(&before) {
            check_whole_or_named(&bench, &bench.point(new).await, "killed", false).await;
        }
    }
    assert!(killed > 0);
    let point = bench.backup(&cluster, true).await.unwrap();
    let revived = bench.revive(&installation, &point, "revived").await;
    assert_eq!(revived.psql("SELECT count(*) FROM ledger"), "5000");
    // A killed client's slot goes when the server finds out, which it does when it next sends.
    while cluster.psql("SELECT count(*) FROM pg_replication_slots") != "0" {
        std::thread::yield_now();
    }
}

/// Not a test: what the one above starts.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "kills itself; started by b1_a_backup_killed_for_real"]
async fn a_backup_that_kills_itself() {
    let (Ok(after), Some(place)) = (std::env::var(KILL_AFTER), std::env::var_os(KILL_PLACE)) else { return };
    let place = PathBuf::from(place);
    let bench = Bench::reopen(&place).await;
    let vault = place.join("copy0");
    let due = files_below(&vault) + after.parse::<usize>().unwrap();
    std::thread::spawn(move || {
        while files_below(&vault) < due {
            std::hint::spin_loop();
        }
        let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
    });
    let conninfo = Conninfo::parse(&std::env::var(KILL_SERVER).unwrap(), &|_| None).unwrap();
    backup::run(&bench.options(conninfo, None)).await.unwrap();
}
