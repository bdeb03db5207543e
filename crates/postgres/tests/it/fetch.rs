//! What `restore_command` gets, on good days and bad ones.

use crate::backup_fixture::Bench;
use crate::targets_world::{World, options};
use lifeboat_base::Timeline;
use lifeboat_pgformat::WalFileName;
use lifeboat_postgres::fetch::{
    self, Delivery, FetchError, Fetcher, HelperEnd, HelperError, HelperOptions, request, serve_helper,
};
use lifeboat_postgres::window::window;
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_testkit::postgres::Installation;
use lifeboat_vault::wal::{Cluster, WalArchive};
use std::path::{Path, PathBuf};
use std::time::Duration;

const T1: Timeline = Timeline(1);

/// A vault with the whole segments of a server, the beginning of the next, and a place to fetch to.
async fn world() -> (World, Vec<WalFileName>, PathBuf) {
    let world = World::start(&Installation::newest(), &options()).await;
    world.cluster.psql("CREATE TABLE t AS SELECT md5(g::text) FROM generate_series(1, 60000) g");
    let files = world.archive_all().await;
    assert!(files.len() > 4, "{files:?}");
    world.cluster.psql("CREATE TABLE last (i int)");
    world.archive_piece(T1).await;
    let to = world.scratch.path().join("RECOVERYXLOG");
    (world, files, to)
}

fn original(world: &World, name: &str) -> Vec<u8> {
    std::fs::read(world.cluster.data_directory().join("pg_wal").join(name)).unwrap()
}

#[track_caller]
fn failure(delivery: Delivery) -> FetchError {
    assert_eq!(delivery.exit_code(), 255, "{delivery:?}");
    match delivery {
        Delivery::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn x1_files_are_delivered_and_absence_is_told_only_where_it_is_proven() {
    let (world, files, to) = world().await;
    let fetcher = Fetcher::new(world.archive.clone(), Duration::ZERO);
    for file in &files {
        let delivery = fetcher.deliver(&file.to_string(), &to).await;
        assert_eq!(delivery.exit_code(), 0, "{delivery:?}");
        assert!(std::fs::read(&to).unwrap() == original(&world, &file.to_string()), "{file}");
    }
    // X4: the vault ends within this one.
    let last = files.last().unwrap().next();
    assert_eq!(fetcher.deliver(&last.to_string(), &to).await.exit_code(), 0);
    let found = std::fs::read(&to).unwrap();
    assert_eq!(found.len(), 1 << 20);
    let written = found.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(found[..written] == original(&world, &last.to_string())[..written]);

    let label = format!("{last}.00000028.backup");
    for absent in [last.next().to_string(), "00000002.history".to_owned(), format!("{last}.partial"), label] {
        assert_eq!(fetcher.deliver(&absent, &to).await.exit_code(), 1, "{absent}");
    }
    let error = failure(fetcher.deliver("pg_control", &to).await);
    assert!(matches!(error, FetchError::NotWal(_)), "{error}");

    // A segment missing before others is a hole, not an end.
    let lost = files[2].to_string();
    let name =
        lifeboat_vault::names::wal_segment(&world.service, world.archive.cluster().system_id, T1, &lost);
    assert!(world.vault.copies().delete(vec![name]).await.is_empty());
    let error = failure(fetcher.deliver(&lost, &to).await);
    assert!(matches!(error, FetchError::Hole { .. }), "{error}");

    let gone = world.scratch.path().join("no such directory/RECOVERYXLOG");
    let error = failure(fetcher.deliver(&files[0].to_string(), &gone).await);
    assert!(matches!(error, FetchError::Write { .. }), "{error}");
}

#[tokio::test]
async fn x1_a_hole_that_begins_within_a_segment_is_no_end() {
    let (world, files, to) = world().await;
    let last = files.last().unwrap().next();
    let fetcher = Fetcher::new(world.archive.clone(), Duration::ZERO);
    assert_eq!(fetcher.deliver(&last.to_string(), &to).await.exit_code(), 0, "the vault ends there");
    world.archive.put_segment(last.next().next(), &original(&world, &files[0].to_string())).await.unwrap();
    std::fs::remove_file(&to).unwrap();
    let error = failure(fetcher.deliver(&last.to_string(), &to).await);
    assert!(matches!(error, FetchError::Hole { .. }), "{error}");
    assert!(!to.exists());
    // A restore of Lifeboat's has a target, which may lie before the hole.
    assert_eq!(fetcher.isolated(true).deliver(&last.to_string(), &to).await.exit_code(), 0);
}

#[tokio::test]
async fn wal_that_too_few_copies_have_is_found_by_who_recovers() {
    let bench = Bench::new(2).await;
    let cluster = Cluster { system_id: lifeboat_base::SystemId(7), major: 18, segment_bytes: 1 << 20 };
    let archive = WalArchive::establish(&bench.vault, &bench.service, cluster.clone()).await.unwrap();
    let size = archive.segment_size();
    let file = |number: u64| WalFileName::holding(T1, lifeboat_base::Lsn(number << 20), size);
    for number in [3, 5] {
        archive.put_segment(file(number), &vec![1; 1 << 20]).await.unwrap();
    }
    // The second copy was set back to an older state.
    let name = |number| {
        lifeboat_vault::names::wal_segment(&bench.service, cluster.system_id, T1, &file(number).to_string())
    };
    assert!(bench.vault.copies().delete_in(1, &[name(3), name(5)]).await.is_empty());
    assert_eq!(archive.coverage(T1).await.unwrap().end(), None, "to be written again by who streams");
    let windows = window(&bench.vault, &bench.service).await.unwrap();
    assert_eq!(windows[0].wal_end, file(5).range().end);
    let to = bench.scratch.path().join("RECOVERYXLOG");
    let fetcher = Fetcher::new(archive, Duration::ZERO);
    let error = failure(fetcher.deliver(&file(4).to_string(), &to).await);
    assert!(matches!(error, FetchError::Hole { .. }), "no end: {error}");
}

#[tokio::test]
async fn x1_a_vault_that_does_not_answer_is_not_an_end() {
    let (world, files, to) = world().await;
    let fetcher = Fetcher::new(world.archive.clone(), Duration::ZERO);
    let beyond = files.last().unwrap().next().next().to_string();
    for (kinds, fault) in [
        (vec![OperationKind::Get], Fault::Unavailable),
        (vec![OperationKind::Get], Fault::ResetBody),
        (vec![OperationKind::Get], Fault::TruncateBody),
        (vec![OperationKind::Get], Fault::FlipBit),
        (vec![OperationKind::Get, OperationKind::List], Fault::Fail),
    ] {
        world.store.set_plan(FaultPlan::none().on(Select::kinds(&kinds), fault));
        let error = failure(fetcher.deliver(&files[0].to_string(), &to).await);
        assert!(matches!(error, FetchError::Vault { .. }), "{fault:?}: {error}");
        assert!(!to.exists());
    }
    world.store.set_plan(FaultPlan::none().on(Select::kind(OperationKind::List), Fault::Fail));
    failure(fetcher.deliver(&beyond, &to).await);
    // With patience, a vault that comes back serves.
    world.store.set_plan(FaultPlan::none().first(Select::kind(OperationKind::Get), 2, Fault::Fail));
    let patient = Fetcher::new(world.archive.clone(), Duration::from_secs(10));
    assert_eq!(patient.deliver(&files[0].to_string(), &to).await.exit_code(), 0);
}

#[tokio::test]
async fn x3_what_is_not_the_segment_asked_for_is_not_delivered() {
    let (world, files, to) = world().await;
    let beyond = files.last().unwrap().next().next();
    world.archive.put_segment(beyond, &original(&world, &files[0].to_string())).await.unwrap();
    let fetcher = Fetcher::new(world.archive.clone(), Duration::ZERO);
    let error = failure(fetcher.deliver(&beyond.to_string(), &to).await);
    assert!(matches!(error, FetchError::Mismatch { .. }), "{error}");
    world.archive.put_segment(beyond.next(), &vec![0; 1 << 20]).await.unwrap();
    let error = failure(fetcher.deliver(&beyond.next().to_string(), &to).await);
    assert!(matches!(error, FetchError::Page { .. }), "{error}");
    assert!(!to.exists());
}

#[tokio::test]
async fn x1_pieces_joined_while_they_are_looked_for_are_found() {
    let (world, files, to) = world().await;
    let file = files[1];
    let bytes = original(&world, &file.to_string());
    let system = world.archive.cluster().system_id;
    let name = lifeboat_vault::names::wal_segment(&world.service, system, T1, &file.to_string());
    assert!(world.vault.copies().delete(vec![name]).await.is_empty());
    world.archive.put_piece(T1, file.range().start, &bytes).await.unwrap();
    let fetcher = Fetcher::new(world.archive.clone(), Duration::ZERO);
    // The listing of pieces is late; the join is done by the time it comes.
    let slow = Fault::Delay(Duration::from_millis(300));
    world.store.set_plan(FaultPlan::none().nth(Select::kind(OperationKind::List), 0, slow));
    let (archive, start) = (world.archive.clone(), file.range().start);
    let join = async move { archive.join(T1, start).await.unwrap() };
    let text = file.to_string();
    let (delivery, ()) = tokio::join!(fetcher.deliver(&text, &to), join);
    assert_eq!(delivery.exit_code(), 0, "{delivery:?}");
}

struct Helper {
    socket: PathBuf,
    data: PathBuf,
    task: tokio::task::JoinHandle<Result<HelperEnd, HelperError>>,
}

async fn helper(world: &World, socket: &Path, idle_limit: Duration) -> Helper {
    let data = world.scratch.path().join("born");
    std::fs::create_dir_all(&data).unwrap();
    let clock = world.vault.clock().clone();
    let mut options = HelperOptions::new(world.archive.clone(), socket.to_owned(), data.clone(), clock);
    options.idle_limit = idle_limit;
    options.patience = Duration::ZERO;
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(serve_helper(options, move || ready.send(()).unwrap()));
    is_ready.await.unwrap();
    Helper { socket: socket.to_owned(), data, task }
}

#[tokio::test]
async fn the_helper_reads_ahead_and_says_the_same_as_without_it() {
    let (world, files, to) = world().await;
    // Longer than a socket's address.
    let deep = world.scratch.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let socket = deep.join("wal.sock");
    let none = request(&socket, "00000002.history", &to).await.unwrap_err();
    assert!(none.to_string().contains("no helper answers"), "{none}");

    let helper = helper(&world, &socket, Duration::from_secs(600)).await;
    let bring = async |name: String| request(&helper.socket, &name, &to).await.unwrap();
    for file in &files {
        let delivery = bring(file.to_string()).await;
        assert_eq!(delivery.exit_code(), 0, "{delivery:?}");
        assert!(std::fs::read(&to).unwrap() == original(&world, &file.to_string()), "{file}");
    }
    let gets = |file: &WalFileName| {
        let name = file.to_string();
        let calls = world.store.calls();
        calls.iter().filter(|c| c.kind == OperationKind::Get && c.path.ends_with(&name)).count()
    };
    assert!(files.iter().all(|file| gets(file) == 1), "each segment is read once, ahead or not");

    // The unfinished segment grows, and is fetched anew each time.
    let last = files.last().unwrap().next();
    assert_eq!(bring(last.to_string()).await.exit_code(), 0);
    let before = std::fs::read(&to).unwrap();
    world.cluster.psql("CREATE TABLE later (i int)");
    let start = last.range().start;
    let bytes = original(&world, &last.to_string());
    let used = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 / 8 * 8 + 8;
    let (old, new) = (used(&before), used(&bytes));
    let more = &bytes[old as usize..new as usize];
    world.archive.put_piece(T1, start.advance(old), more).await.unwrap();
    assert_eq!(bring(last.to_string()).await.exit_code(), 0);
    assert!(used(&std::fs::read(&to).unwrap()) > old);

    assert_eq!(bring(last.next().to_string()).await.exit_code(), 1);
    assert_eq!(bring("00000002.history".to_owned()).await.exit_code(), 1);
    world.store.set_plan(FaultPlan::none().on(Select::any(), Fault::Unavailable));
    assert_eq!(bring(files[0].to_string()).await.exit_code(), 255);
    assert_eq!(bring(last.next().to_string()).await.exit_code(), 255);
    world.store.set_plan(FaultPlan::none());

    let clock = world.vault.clock().clone();
    let second = HelperOptions::new(world.archive.clone(), socket.clone(), helper.data.clone(), clock);
    let error = serve_helper(second, || ()).await.unwrap_err();
    assert!(matches!(error, HelperError::AlreadyServed(_)), "{error}");
    std::fs::remove_dir(&helper.data).unwrap();
    assert_eq!(helper.task.await.unwrap().unwrap(), HelperEnd::DirectoryGone);
    assert!(!socket.exists());
}

#[tokio::test]
async fn z2_a_helper_that_nobody_asks_ends_and_a_dead_ones_socket_is_taken_over() {
    let (world, _, to) = world().await;
    let socket = world.scratch.path().join("wal.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let helper = helper(&world, &socket, Duration::from_millis(100)).await;
    assert_eq!(request(&socket, "00000009.history", &to).await.unwrap().exit_code(), 1);
    assert_eq!(helper.task.await.unwrap().unwrap(), HelperEnd::Idle);
}

#[tokio::test]
async fn z3_a_helper_ends_soon_after_its_server() {
    let (world, _, _) = world().await;
    let data = world.scratch.path().join("born");
    std::fs::create_dir_all(&data).unwrap();
    let clock = world.vault.clock().clone();
    let socket = world.scratch.path().join("wal.sock");
    let mut options = HelperOptions::new(world.archive.clone(), socket, data.clone(), clock);
    options.stopped_limit = Duration::from_millis(20);
    // As long as a server runs there, it may ask much later.
    let running = data.join("postmaster.pid");
    std::fs::write(&running, format!("{}\n", std::process::id())).unwrap();
    let mut helper = std::pin::pin!(serve_helper(options, || ()));
    let limit = Duration::from_millis(500);
    assert!(tokio::time::timeout(limit, &mut helper).await.is_err(), "its server runs");
    std::fs::remove_file(&running).unwrap();
    assert_eq!(helper.await.unwrap(), HelperEnd::ServerStopped);
}

#[tokio::test]
async fn the_archive_is_found_by_service_and_cluster() {
    let (world, _, _) = world().await;
    let system = world.archive.cluster().system_id;
    assert_eq!(fetch::cluster_in(world.cluster.data_directory()).unwrap(), system);
    for wanted in [None, Some(system)] {
        let found = fetch::archive(&world.vault, &world.service, wanted).await.unwrap();
        assert_eq!(found.cluster(), world.archive.cluster());
    }
    let other = Some(lifeboat_base::SystemId(7));
    let error = fetch::archive(&world.vault, &world.service, other).await.unwrap_err();
    assert!(error.to_string().contains("as cluster 7"), "{error}");
}
