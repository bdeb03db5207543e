//! A restore at whose every read the vault fails, and that is killed at every point where it writes.

use crate::backup_fixture::{Bench, assert_same_tree, assert_tree, is_startable, restored, said, tree};
use lifeboat_base::SystemClock;
use lifeboat_postgres::restore::{self, RestoreError, RestoreOptions};
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use lifeboat_vault::layer::{FileEntry, FileKind, LayerWriter};
use lifeboat_vault::point::{RestorePoint, new_id};
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

/// A bench with one restore point, and an undisturbed restore of it.
async fn prepared(copies: usize) -> (Bench, RestorePoint, PathBuf) {
    let (installation, bench) = (Installation::newest(), Bench::new(copies).await);
    let cluster = Cluster::start(&installation, &ClusterOptions::new());
    let place = cluster.scratch().join("apart");
    std::fs::create_dir(&place).unwrap();
    lifeboat_testkit::postgres::give_to_server_user(&place);
    cluster.psql(&format!("CREATE TABLESPACE apart LOCATION '{}'", place.display()));
    cluster.psql("CREATE TABLE ledger TABLESPACE apart AS SELECT g AS id FROM generate_series(1, 5000) g");
    cluster.psql("ALTER SYSTEM SET work_mem = '5MB'");
    let point = bench.backup(&cluster, true).await.unwrap();
    let whole = bench.restore(&point, "whole").await.unwrap();
    (bench, point, whole)
}

const READ_FAULTS: [Fault; 4] = [Fault::Unavailable, Fault::ResetBody, Fault::TruncateBody, Fault::FlipBit];

fn gets(number: u64, fault: Fault) -> FaultPlan {
    FaultPlan::none().nth(Select::kind(OperationKind::Get), number, fault)
}

/// As often as a read is tried: one that passes is asked again, and not even noticed.
const TRIES: u64 = 3;

/// A fault that lasts from the `number`-th operation on until the vault gives up.
fn lasting(select: Select, number: u64, fault: Fault) -> FaultPlan {
    let each = number..number + TRIES;
    each.fold(FaultPlan::none(), |plan, number| plan.nth(select.clone(), number, fault))
}

fn count_gets(bench: &Bench) -> u64 {
    bench.stores[0].calls().iter().filter(|call| call.kind == OperationKind::Get).count() as u64
}

/// Each byte below a half-made directory is the restore point's, or not written yet.
#[track_caller]
fn assert_written_truly(half: &Path, whole: &BTreeMap<String, Vec<u8>>, what: &str) {
    const BLOCK: usize = 8192;
    // Production's at first, and set aside at the end.
    for (name, found) in tree(half).into_iter().filter(|(name, _)| name != "postgresql.auto.conf") {
        let wanted = whole.get(&name).unwrap_or_else(|| panic!("{what}: {name} is no file of the point"));
        let is_true =
            |(found, wanted): (&[u8], &[u8])| found == wanted || found.iter().all(|byte| *byte == 0);
        let (found, wanted) = (found.chunks(BLOCK), wanted.chunks(BLOCK));
        assert!(found.zip(wanted).all(is_true), "{what}: {name} has bytes that no seal vouched for");
    }
}

/// Killed after `pg_control` was in its place and before it was called finished: a server may have run there.
#[tokio::test]
async fn r3_what_a_server_changed_in_a_restore_that_was_not_called_finished_is_written_again() {
    let (bench, point, whole) = prepared(1).await;
    let wanted = tree(&whole);
    let marker = whole.join("lifeboat.restore");
    let text = std::fs::read_to_string(&marker).unwrap();
    std::fs::write(&marker, text.replace("finished\n", "")).unwrap();
    let changed = whole.join("PG_VERSION");
    std::fs::write(&changed, "99").unwrap();
    std::fs::write(whole.join("base/1/9999999"), "of a table made since").unwrap();
    // The try that takes it up is killed as well, once it has taken pg_control away.
    let options = bench.restore_options(&point, "whole");
    let plan = restore::plan(&options).await.unwrap();
    bench.stores[0].set_plan(FaultPlan::none().on(Select::kind(OperationKind::Get), Fault::Fail));
    restore::apply(&options, plan).await.unwrap_err();
    assert!(!is_startable(&whole));
    bench.stores[0].set_plan(FaultPlan::none());
    bench.restore(&point, "whole").await.unwrap();
    assert_tree(&whole, &wanted);
}

/// With one copy, a read that fails or lies ends the restore with the object's name, and none of what was read
/// is written; the same call then takes it up again.
#[tokio::test]
async fn r1_r4_with_one_copy_a_bad_read_names_the_object_and_leaves_nothing_untrue_and_nothing_finished() {
    let (bench, point, whole) = prepared(1).await;
    let before = count_gets(&bench);
    let rehearsal = bench.restore(&point, "rehearsal").await.unwrap();
    let reads = count_gets(&bench) - before;
    std::fs::remove_dir_all(rehearsal).unwrap();
    assert!(reads >= 4, "an index and some packs are {reads} reads");
    let truth = tree(&whole);
    for fault in READ_FAULTS {
        let mut ended = 0;
        for number in 1..=reads {
            let what = format!("{fault:?} at read {number}");
            bench.stores[0].set_plan(lasting(Select::kind(OperationKind::Get), number, fault));
            let outcome = bench.restore(&point, "into").await;
            bench.stores[0].set_plan(FaultPlan::none());
            let into = bench.scratch.path().join("into");
            if let Err(error) = outcome {
                assert!(said(&error).contains("services/db/layers/"), "{what}: {}", said(&error));
                assert!(!is_startable(&into), "{what}");
                if into.exists() {
                    assert_written_truly(&into, &truth, &what);
                }
                bench.restore(&point, "into").await.unwrap();
                ended += 1;
            }
            // Otherwise each of several reads side by side met it once, and asked again.
            assert_tree(&into, &truth);
            std::fs::remove_dir_all(into).unwrap();
        }
        assert!(ended > 0, "{fault:?} never ended a restore");
    }
}

/// With two copies nothing of that is even noticed, restoring afresh or over an old directory.
#[tokio::test]
async fn c4_with_two_copies_bad_reads_of_one_are_made_good_by_the_other() {
    let (bench, point, whole) = prepared(2).await;
    for fault in READ_FAULTS {
        let select = Select::kind(OperationKind::Get).named("/layers/");
        bench.stores[0].set_plan(FaultPlan::none().on(select, fault));
        let into =
            bench.restore(&point, "into").await.unwrap_or_else(|error| panic!("{fault:?}: {}", said(&error)));
        assert_same_tree(&into, &whole);
        // Something to mend, so that packs are fetched and not only compared.
        let (damaged, mut bytes) = tree(&into)
            .into_iter()
            .find(|(path, bytes)| path.starts_with("base/") && bytes.len() > 8192)
            .unwrap();
        bytes[5000] ^= 1;
        std::fs::write(into.join(damaged), bytes).unwrap();
        let options = RestoreOptions { delta: true, ..bench.restore_options(&point, "into") };
        restored(&options).await.unwrap_or_else(|error| panic!("{fault:?}, delta: {}", said(&error)));
        assert_same_tree(&into, &whole);
        assert!(!bench.stores[0].fired().is_empty());
        bench.stores[0].set_plan(FaultPlan::none());
        std::fs::remove_dir_all(into).unwrap();
    }
}

/// One flipped bit in each read of a delta restore in turn: also of the pieces of packs that it reads.
#[tokio::test]
async fn c4_a_delta_restore_takes_every_piece_of_a_pack_from_the_copy_that_is_whole() {
    let (bench, point, whole) = prepared(2).await;
    let options = RestoreOptions { delta: true, ..bench.restore_options(&point, "whole") };
    let before = count_gets(&bench);
    restored(&options).await.unwrap();
    let reads = count_gets(&bench) - before;
    for number in 1..=reads {
        // Different bits: of a header, only some are the key's.
        for seed in 0..2 {
            bench.stores[0].set_plan(gets(number, Fault::FlipBit).seeded(seed));
            restored(&options)
                .await
                .unwrap_or_else(|error| panic!("read {number}, {seed}: {}", said(&error)));
        }
    }
    bench.stores[0].set_plan(FaultPlan::none());
    let fresh = bench.restore(&point, "fresh").await.unwrap();
    assert_same_tree(&whole, &fresh);
}

/// Stopped after each frame's worth of bytes and taken up again, from the first to the last.
#[tokio::test]
async fn r3_a_restore_that_is_stopped_goes_on_and_gives_the_same_directory() {
    let (bench, point, whole) = prepared(1).await;
    let packs = restore::plan(&bench.restore_options(&point, "into")).await.unwrap().packs;
    for stop_after in 0..packs as u64 {
        let mut options = bench.restore_options(&point, "into");
        options.workers = 1;
        let progress = options.progress.clone();
        let plan = restore::plan(&options).await.unwrap();
        // The store is slow to answer, so that the word to stop comes between two packs.
        let select = Select::kind(OperationKind::Get).named("pack-");
        bench.stores[0].set_plan(lasting(select, stop_after + 1, Fault::Unavailable));
        let error = restore::apply(&options, plan).await.unwrap_err();
        bench.stores[0].set_plan(FaultPlan::none());
        assert!(matches!(error, RestoreError::Layer(_)), "{}", said(&error));
        assert!(!is_startable(&options.into));
        progress.cancelled.store(true, Ordering::Relaxed);
        let plan = restore::plan(&options).await.unwrap();
        let error = restore::apply(&options, plan).await.unwrap_err();
        assert!(matches!(error, RestoreError::Cancelled), "{}", said(&error));
    }
    let into = bench.restore(&point, "into").await.unwrap();
    assert_same_tree(&into, &whole);
}

/// Names the directory to the process that is to be killed, and when.
const KILL_WHEN: &str = "LIFEBOAT_TEST_KILL_WHEN";
const KILL_PLACE: &str = "LIFEBOAT_TEST_KILL_PLACE";

/// Moments at which the restore is killed: shares of its bytes, and files that it writes at the end.
const MOMENTS: [&str; 14] = [
    "exists lifeboat.restore",
    "exists pg_wal",
    "exists base",
    "bytes 1",
    "bytes 25",
    "bytes 50",
    "bytes 75",
    "bytes 100",
    "exists backup_label",
    "exists postgresql.auto.conf.production",
    "exists lifeboat.conf",
    "exists recovery.signal",
    "exists global/pg_control.new",
    "exists global/pg_control",
];

/// A real `kill -9`, wherever the process is when the moment has come.
#[tokio::test]
async fn r3_a_restore_killed_anywhere_goes_on_and_gives_the_same_directory() {
    let (bench, point, whole) = prepared(1).await;
    let place = bench.scratch.path();
    std::fs::write(place.join("point.json"), serde_json::to_vec(&point).unwrap()).unwrap();
    let mut killed = 0;
    for delta in [false, true] {
        let into = place.join("into");
        for moment in MOMENTS {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "restore_faults::a_restore_that_kills_itself", "--ignored"]);
            child.env(KILL_WHEN, format!("{delta} {moment}")).env(KILL_PLACE, place);
            let status = child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            assert!(status.success() || status.signal() == Some(9), "{moment}: {status}");
            killed += usize::from(!status.success());
            // It may have been faster than the one who kills; then it is whole.
            if is_startable(&into) {
                assert_same_tree(&into, &whole);
                if !delta {
                    std::fs::remove_dir_all(&into).unwrap();
                }
            } else {
                assert!(!status.success(), "{moment}");
            }
        }
        let options = RestoreOptions { delta, ..bench.restore_options(&point, "into") };
        restored(&options).await.unwrap_or_else(|error| panic!("delta {delta}: {}", said(&error)));
        assert_same_tree(&into, &whole);
    }
    assert!(killed > 0);
}

/// Not a test: what the one above starts.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "kills itself; started by r3_a_restore_killed_anywhere"]
async fn a_restore_that_kills_itself() {
    let (Ok(when), Some(place)) = (std::env::var(KILL_WHEN), std::env::var_os(KILL_PLACE)) else { return };
    let place = PathBuf::from(place);
    let mut words = when.splitn(3, ' ');
    let mut word = || words.next().unwrap().to_owned();
    let (delta, kind, what) = (word() == "true", word(), word());
    let bench = Bench::reopen(&place).await;
    let point: RestorePoint =
        serde_json::from_slice(&std::fs::read(place.join("point.json")).unwrap()).unwrap();
    let options = RestoreOptions { delta, ..bench.restore_options_at(&point, &place, "into") };
    let (progress, into) = (options.progress.clone(), options.into.clone());
    std::thread::spawn(move || {
        let due = || match kind.as_str() {
            "exists" => into.join(&what).exists(),
            _ => {
                let (done, total) = (
                    progress.done_bytes.load(Ordering::Relaxed),
                    progress.total_bytes.load(Ordering::Relaxed),
                );
                // Zeros are not written, so that it never comes to all of the total.
                total > 0 && done > 0 && done * 100 >= total * what.parse::<u64>().unwrap() / 2
            }
        };
        while !due() {
            std::hint::spin_loop();
        }
        kill_myself();
    });
    restored(&options).await.unwrap();
}

fn kill_myself() {
    let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
}

#[tokio::test]
async fn r2_only_our_own_directories_are_touched() {
    let (bench, point, whole) = prepared(1).await;
    // Another's directory, as the data directory and as a tablespace's.
    let theirs = bench.scratch.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(theirs.join("dissertation.tex"), "all of it").unwrap();
    let error = bench.restore(&point, "theirs").await.unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    let mut options = bench.restore_options(&point, "into");
    options.tablespaces.insert(point.tablespaces[0].location.clone(), theirs.clone());
    let error = restored(&options).await.unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 1);
    // A restore at work.
    let marker = std::fs::File::open(whole.join(restore::MARKER_FILE)).unwrap();
    rustix::fs::flock(&marker, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let options = RestoreOptions { delta: true, ..bench.restore_options(&point, "whole") };
    let error = restored(&options).await.unwrap_err();
    assert!(matches!(error, RestoreError::Busy { .. }), "{error}");
    assert!(is_startable(&whole), "the one at work is left alone");
    drop(marker);
    // A marker whose first line was never finished.
    let torn = bench.scratch.path().join("torn");
    std::fs::create_dir(&torn).unwrap();
    std::fs::write(torn.join(restore::MARKER_FILE), "{\"serv").unwrap();
    let torn = bench.restore(&point, "torn").await.unwrap();
    assert_same_tree(&torn, &whole);
}

/// Links that lead out of an old directory, wherever one can stand: what they lead to is another's.
#[tokio::test]
async fn d2_a_delta_restore_follows_no_link_out_of_the_directory() {
    let (bench, point, into) = prepared(1).await;
    let fresh = bench.restore(&point, "fresh").await.unwrap();
    let outside = bench.scratch.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    for name in ["dissertation.tex", "PG_VERSION", "0000"] {
        std::fs::write(outside.join(name), "all of it").unwrap();
    }
    let table = tree(&into).into_keys().find(|path| path.starts_with("base/5/")).unwrap();
    std::fs::remove_file(into.join(&table)).unwrap();
    symlink(outside.join("dissertation.tex"), into.join(table)).unwrap();
    std::fs::remove_dir_all(into.join("pg_xact")).unwrap();
    symlink(&outside, into.join("pg_xact")).unwrap();
    symlink(&outside, into.join("base/4711")).unwrap();
    symlink(outside.join("dissertation.tex"), into.join("notes")).unwrap();
    symlink(&outside, into.join("pg_tblspc/4711")).unwrap();
    // A tablespace's directory has room for clusters of several versions.
    let tablespace =
        std::fs::read_link(into.join(format!("pg_tblspc/{}", point.tablespaces[0].oid))).unwrap();
    let another = tablespace.join("PG_9_201008051/5");
    std::fs::create_dir_all(&another).unwrap();
    std::fs::write(another.join("16384"), "another cluster's").unwrap();

    let options = RestoreOptions { delta: true, ..bench.restore_options(&point, "whole") };
    restored(&options).await.unwrap();
    for name in ["dissertation.tex", "PG_VERSION", "0000"] {
        assert_eq!(std::fs::read_to_string(outside.join(name)).unwrap(), "all of it", "{name}");
    }
    assert_eq!(std::fs::read_to_string(another.join("16384")).unwrap(), "another cluster's");
    std::fs::remove_dir_all(tablespace.join("PG_9_201008051")).unwrap();
    std::fs::remove_file(into.join("pg_tblspc/4711")).unwrap();
    assert_same_tree(&into, &fresh);
}

async fn layer_of(bench: &Bench, path: &str, length: u64) -> String {
    let writer = LayerWriter::new(&bench.vault, &bench.service, new_id(&SystemClock::new()), 1);
    let id = writer.id().to_owned();
    let (kind, mode, packs) = (FileKind::File, 0o600, Vec::new());
    let file = FileEntry {
        path: path.to_owned(),
        kind,
        length,
        mode,
        packs,
        smallest_length: None,
        removed: false,
        made_anew: false,
    };
    writer.finish(vec![file]).await.unwrap();
    id
}

#[tokio::test]
async fn r5_paths_that_lead_out_and_files_that_find_no_room_are_refused_before_the_first_byte() {
    let (bench, point, _) = prepared(1).await;
    for path in ["../outside", "/etc/passwd", "base/../../x", "base//x", "", "a/./b"] {
        let point = RestorePoint { layers: vec![layer_of(&bench, path, 1).await], ..point.clone() };
        let error = bench.restore(&point, "into").await.unwrap_err();
        assert!(matches!(error, RestoreError::Escapes(_)), "{path}: {error}");
    }
    let point = RestorePoint { layers: vec![layer_of(&bench, "base/5/1", 1 << 60).await], ..point };
    let error = bench.restore(&point, "into").await.unwrap_err();
    assert!(matches!(error, RestoreError::NoRoom { .. }), "{error}");
    assert!(!bench.scratch.path().join("into").exists());
}
