//! Targets resolved from archived WAL, held against what the servers said at the time, and recovered to.

use crate::targets_world::{World, options, position};
use jiff::{SignedDuration, Timestamp};
use lifeboat_base::{Lsn, Timeline};
use lifeboat_postgres::target::{self, NotReached, Outside, Resolved, Target, TargetError, reached, resolve};
use lifeboat_postgres::window::window;
use lifeboat_testkit::faulty::OperationKind;
use lifeboat_testkit::postgres::{Cluster, Installation};
use lifeboat_vault::names;

const T1: Timeline = Timeline(1);
const T2: Timeline = Timeline(2);

/// A transaction that a test can tell by.
#[derive(Debug, Clone, Copy)]
struct Done {
    xid: u32,
    time: Timestamp,
    /// Right after it.
    after: Lsn,
}

/// Inserts one row and tells what the server says of it.
fn insert(cluster: &Cluster, value: i32) -> Done {
    cluster.psql("CREATE TABLE IF NOT EXISTS ledger (i int, at timestamptz)");
    let xid = cluster.psql(&format!(
        "INSERT INTO ledger VALUES ({value}, clock_timestamp()) RETURNING pg_current_xact_id()"
    ));
    let xid = xid.lines().next().unwrap().trim().parse().unwrap();
    let time = cluster.psql(&format!(
        "SELECT to_char(pg_xact_commit_timestamp('{xid}') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    ));
    Done { xid, time: time.trim().parse().unwrap(), after: position(cluster) }
}

fn bulk(cluster: &Cluster, rows: u32) {
    cluster.psql(&format!(
        "CREATE TABLE IF NOT EXISTS bulk (t text); INSERT INTO bulk SELECT md5(g::text) FROM generate_series(1, {rows}) g"
    ));
}

async fn find(world: &World, target: &Target) -> Result<Resolved, TargetError> {
    resolve(&world.vault, &world.service, target, None).await
}

fn just_before(time: Timestamp) -> Target {
    Target::Time(time - SignedDuration::from_micros(1))
}

#[track_caller]
fn outside(error: TargetError) -> Outside {
    match error {
        TargetError::OutOfWindow { why, windows, .. } => {
            assert!(!windows.is_empty());
            why
        }
        other => panic!("{other}"),
    }
}

async fn start(installation: &Installation) -> World {
    World::start(installation, &options().set("track_commit_timestamp", "on")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_every_kind_of_target_is_found_at_the_record_that_the_server_wrote() {
    for installation in [Installation::oldest(), Installation::newest()] {
        let world = start(&installation).await;
        let early = insert(&world.cluster, 0);
        let first = world.backup().await;
        let mut done = Vec::new();
        for value in 1..=12 {
            done.push(insert(&world.cluster, value));
            bulk(&world.cluster, 8_000);
            if value == 6 {
                world.cluster.psql("SELECT pg_create_restore_point('half-way')");
                world.cluster.psql("CHECKPOINT");
            }
        }
        let second = world.backup().await;
        let last = insert(&world.cluster, 13);
        world.archive_all().await;
        let files = (last.after.0 - first.start.0) >> 20;
        assert!(files > 8, "only {files} segments");

        for pair in done.windows(2) {
            let [one, next] = pair else { panic!() };
            let resolved = find(&world, &Target::Xid(one.xid)).await.unwrap();
            assert!(resolved.inclusive && resolved.stop < one.after && resolved.end <= one.after);
            assert_eq!(resolved.last.unwrap().xid, one.xid);
            assert_eq!(resolved.at(), Some(one.time));
            assert_eq!((&resolved.point.id, resolved.timeline), (&first.id, T1));
            let before = find(&world, &Target::BeforeXid(next.xid)).await.unwrap();
            assert!(!before.inclusive && before.stop >= one.after && before.stop < next.after);
            assert_eq!(before.next.unwrap().xid, next.xid);
            // The time of a commit includes it; one microsecond less does not.
            let at = find(&world, &just_before(next.time)).await.unwrap();
            assert_eq!((at.stop, at.inclusive, at.end), (before.stop, false, before.end));
            let with = find(&world, &Target::Time(next.time)).await.unwrap();
            assert_eq!(with.last.unwrap().xid, next.xid);
            let here = find(&world, &Target::Lsn(one.after)).await.unwrap();
            assert_eq!(here.last.unwrap().xid, one.xid);
            assert!(here.stop >= one.after);
            reached(here.end, &here).unwrap();
            assert!(matches!(reached(Lsn(here.end.0 - 8), &here), Err(NotReached::Short { .. })));
            assert!(matches!(reached(here.stop.advance(8), &here), Err(NotReached::Beyond { .. })));
        }
        let named = find(&world, &Target::Name("half-way".to_owned())).await.unwrap();
        assert!(named.stop > done[5].after && named.end < done[6].after);
        let end = find(&world, &Target::Latest).await.unwrap();
        assert!(end.inclusive && end.end > last.after);
        assert_eq!((end.last.unwrap().xid, &end.point.id, end.next), (last.xid, &second.id, None));
        let after_second = find(&world, &Target::Xid(last.xid)).await.unwrap();
        assert_eq!(after_second.point.id, second.id);

        assert_eq!(outside(find(&world, &just_before(early.time)).await.unwrap_err()), Outside::Before);
        assert_eq!(outside(find(&world, &Target::Lsn(early.after)).await.unwrap_err()), Outside::Before);
        let beyond = Target::Lsn(last.after.advance(4 << 20));
        assert!(matches!(outside(find(&world, &beyond).await.unwrap_err()), Outside::After { .. }));
        let error = find(&world, &Target::Time(last.time + SignedDuration::from_hours(1))).await.unwrap_err();
        assert!(error.to_string().contains("write latest"), "{error}");
        assert!(matches!(outside(error), Outside::After { known_until: Some(_) }));
        let error = find(&world, &Target::Name("nobody".to_owned())).await.unwrap_err();
        assert_eq!(outside(error), Outside::NotFound);
        let error = find(&world, &Target::Xid(last.xid + 1000)).await.unwrap_err();
        assert_eq!(outside(error), Outside::NotFound);

        world.cluster.psql("SELECT pg_create_restore_point('half-way')");
        world.archive_all().await;
        let error = find(&world, &Target::Name("half-way".to_owned())).await.unwrap_err();
        let TargetError::NameTwice { found, .. } = &error else { panic!("{error}") };
        assert_eq!((found.len(), found[0].0), (2, named.end));
        let by_position = find(&world, &Target::Lsn(found[0].0)).await.unwrap();
        assert_eq!((by_position.end, by_position.last), (named.end, named.last));
        let windows = window(&world.vault, &world.service).await.unwrap();
        let [window] = &windows[..] else { panic!("{windows:?}") };
        assert_eq!((window.timeline, window.spans.len(), window.holes.len()), (T1, 1, 0));
        assert_eq!((window.spans[0].from, window.last_commit), (first.stop, Some(last.time)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_rolled_back_prepared_and_parts_of_transactions_are_told_apart() {
    let prepared = options().set("track_commit_timestamp", "on").set("max_prepared_transactions", "5");
    let world = World::start(&Installation::newest(), &prepared).await;
    world.backup().await;
    let rolled_back =
        world.cluster.psql("BEGIN; SELECT pg_current_xact_id(); CREATE TABLE x (i int); ROLLBACK");
    let rolled_back = rolled_back.lines().find_map(|line| line.trim().parse().ok()).unwrap();
    let parts = world.cluster.psql(
        "BEGIN; CREATE TABLE y (i int); SELECT pg_current_xact_id(); SAVEPOINT s; INSERT INTO y VALUES (1); \
         SELECT xmin FROM y; COMMIT",
    );
    let parts: Vec<u32> = parts.lines().filter_map(|line| line.trim().parse().ok()).collect();
    let [whole, part] = parts[..] else { panic!("{parts:?}") };
    assert_ne!(whole, part);
    let prepared = world.cluster.psql(
        "BEGIN; INSERT INTO y VALUES (2); SELECT pg_current_xact_id(); PREPARE TRANSACTION 'two-phase'",
    );
    let prepared = prepared.lines().find_map(|line| line.trim().parse().ok()).unwrap();
    let meanwhile = insert(&world.cluster, 1);
    world.cluster.psql("COMMIT PREPARED 'two-phase'");
    world.archive_all().await;
    // What counts is its commit, not when it was prepared.
    let by_prepared = find(&world, &Target::Xid(prepared)).await.unwrap();
    assert!(by_prepared.stop >= meanwhile.after);
    assert_eq!(by_prepared.last.unwrap().xid, prepared);
    let before = find(&world, &Target::BeforeXid(prepared)).await.unwrap();
    assert_eq!(before.last.unwrap().xid, meanwhile.xid);
    let error = find(&world, &Target::Xid(rolled_back)).await.unwrap_err();
    assert!(matches!(error, TargetError::RolledBack { .. }), "{error}");
    let by_part = find(&world, &Target::Xid(part)).await.unwrap();
    assert_eq!(by_part, find(&world, &Target::Xid(whole)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_the_vaults_end_within_a_segment_is_the_last_whole_record() {
    let world = start(&Installation::newest()).await;
    world.backup().await;
    let done = insert(&world.cluster, 1);
    world.archive_all().await;
    let last = insert(&world.cluster, 2);
    let end = world.archive_piece(T1).await;
    let resolved = find(&world, &Target::Latest).await.unwrap();
    assert_eq!((resolved.end, resolved.last.unwrap().xid), (end, last.xid));
    assert!(resolved.stop < end && resolved.proven_end == end);
    // The end itself is a target; what is beyond is not.
    assert_eq!(find(&world, &Target::Lsn(end)).await.unwrap().end, end);
    let beyond = find(&world, &Target::Lsn(end.advance(8))).await.unwrap_err();
    assert_eq!(outside(beyond), Outside::After { known_until: None });
    let with = find(&world, &Target::Time(last.time)).await.unwrap();
    assert_eq!(with.end, end);
    assert_eq!(find(&world, &Target::Time(done.time)).await.unwrap().last.unwrap().xid, done.xid);
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_nothing_is_promised_across_a_hole() {
    let world = start(&Installation::newest()).await;
    let first = world.backup().await;
    let before = insert(&world.cluster, 1);
    bulk(&world.cluster, 30_000);
    let lost = insert(&world.cluster, 2);
    bulk(&world.cluster, 30_000);
    let behind = insert(&world.cluster, 3);
    bulk(&world.cluster, 30_000);
    let hole = lost.after.segment_start(1 << 20);
    world.archive_of(&world.cluster, |file| file.range().start != hole).await;
    assert_eq!(find(&world, &Target::Xid(before.xid)).await.unwrap().point.id, first.id);
    let time = Target::Time(behind.time);
    for target in [Target::Latest, time.clone(), Target::Time(lost.time), Target::Lsn(behind.after)] {
        let why = outside(find(&world, &target).await.unwrap_err());
        let Outside::Hole(found) = why else { panic!("{target}: {why}") };
        assert_eq!(found.start, hole);
    }
    for xid in [lost.xid, behind.xid] {
        assert_eq!(outside(find(&world, &Target::Xid(xid)).await.unwrap_err()), Outside::NotFound);
    }
    // A restore point behind the hole makes what follows it reachable.
    let second = world.backup().await;
    let later = insert(&world.cluster, 4);
    world.archive_of(&world.cluster, |file| file.range().start != hole).await;
    let found = find(&world, &Target::Latest).await.unwrap();
    assert_eq!((&found.point.id, found.last.unwrap().xid), (&second.id, later.xid));
    assert_eq!(find(&world, &Target::Time(before.time)).await.unwrap().point.id, first.id);
    let why = outside(find(&world, &time).await.unwrap_err());
    assert!(matches!(why, Outside::Hole(_)), "{why}");
    let windows = window(&world.vault, &world.service).await.unwrap();
    assert_eq!((windows[0].spans.len(), windows[0].holes.len()), (2, 1));
    assert_eq!(windows[0].holes[0].start, hole);
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_after_two_servers_went_apart_a_branch_must_be_chosen() {
    for installation in [Installation::oldest(), Installation::newest()] {
        let world = start(&installation).await;
        world.backup().await;
        let shared = insert(&world.cluster, 1);
        let standby = world.cluster.standby(&options().set("track_commit_timestamp", "on"));
        until_replayed(&standby, position(&world.cluster));
        standby.promote();
        // Both write on, by turns; their transactions have the same numbers.
        let new = insert(&standby, 2);
        let old = insert(&world.cluster, 2);
        let new_last = insert(&standby, 3);
        let old_last = insert(&world.cluster, 3);
        world.archive_all().await;
        world.archive_of(&standby, |file| file.timeline == T2).await;

        // Before the fork both are the same.
        assert_eq!(find(&world, &Target::Xid(shared.xid)).await.unwrap().timeline, T1);
        // So they are up to the first commit of either.
        let same = find(&world, &Target::Time(shared.time)).await.unwrap();
        assert_eq!((same.timeline, same.last.unwrap().xid), (T2, shared.xid));
        let latest = find(&world, &Target::Latest).await.unwrap();
        assert_eq!((latest.timeline, latest.last.unwrap().time), (T2, new_last.time));
        assert_eq!(latest.left_out[0].0, T1);
        for target in [Target::Xid(new.xid), Target::Time(old.time), Target::Lsn(new.after.max(old.after))] {
            let error = find(&world, &target).await.unwrap_err();
            let TargetError::Ambiguous { branches, .. } = &error else { panic!("{target}: {error}") };
            let timelines: Vec<_> = branches.iter().map(|branch| branch.timeline).collect();
            assert_eq!(timelines, [T2, T1]);
            let chosen = async |timeline| {
                resolve(&world.vault, &world.service, &target, Some(timeline)).await.unwrap()
            };
            assert_eq!((chosen(T1).await.timeline, chosen(T2).await.timeline), (T1, T2));
        }
        let chosen = resolve(&world.vault, &world.service, &Target::Latest, Some(T1)).await.unwrap();
        assert_eq!(chosen.last.unwrap().time, old_last.time);
        let error = resolve(&world.vault, &world.service, &Target::Latest, Some(Timeline(7))).await;
        assert!(matches!(error, Err(TargetError::UnknownTimeline { .. })));
        // Without its history nobody knows where the newest timeline came from.
        let windows = window(&world.vault, &world.service).await.unwrap();
        let history = names::wal_history(&world.service, world.archive.cluster().system_id, T2);
        assert!(world.vault.copies().delete(vec![history]).await.is_empty());
        let error = find(&world, &Target::Latest).await.unwrap_err();
        assert!(matches!(error, TargetError::NoHistory(T2)), "{error}");
        let older = resolve(&world.vault, &world.service, &Target::Latest, Some(T1)).await.unwrap();
        assert_eq!(older, chosen);
        let ends: Vec<_> = windows.iter().map(|w| (w.timeline, w.last_commit)).collect();
        assert_eq!(ends, [(T1, Some(old_last.time)), (T2, Some(new_last.time))]);
    }
}

fn until_replayed(standby: &Cluster, lsn: Lsn) {
    let question = format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'");
    for _ in 0..1_000_000 {
        if standby.psql(&question).trim() == "t" {
            return;
        }
    }
    panic!("the standby does not come to {lsn}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_damaged_wal_is_said_to_be_and_what_is_before_it_can_be_reached() {
    let world = start(&Installation::newest()).await;
    world.backup().await;
    let before = insert(&world.cluster, 1);
    world.archive_all().await;
    let damaged = insert(&world.cluster, 2);
    let path = world.cluster.data_directory().join("pg_wal");
    world.cluster.psql("SELECT pg_switch_wal()");
    let file = lifeboat_pgformat::WalFileName::holding(T1, damaged.after, world.archive.segment_size());
    let mut bytes = std::fs::read(path.join(file.to_string())).unwrap();
    let offset = damaged.after.bytes_since(file.range().start) as usize - 20;
    bytes[offset] ^= 1;
    world.archive.put_segment(file, &bytes).await.unwrap();
    let error = find(&world, &Target::Latest).await.unwrap_err();
    assert!(matches!(error, TargetError::Scan(target::ScanError::Damaged(_))), "{error}");
    assert_eq!(find(&world, &Target::Xid(before.xid)).await.unwrap().last.unwrap().xid, before.xid);
}

/// A time, a position and a transaction are found without reading all WAL.
#[tokio::test(flavor = "multi_thread")]
async fn targets_are_found_in_much_wal_by_reading_little_of_it() {
    let world = start(&Installation::newest()).await;
    world.backup().await;
    let mut done = Vec::new();
    for value in 0..40 {
        done.push(insert(&world.cluster, value));
        // Logs which transactions run, as the server does by itself every 15 seconds.
        world.cluster.psql("SELECT pg_log_standby_snapshot()");
        bulk(&world.cluster, 30_000);
    }
    world.archive_all().await;
    let segments = (done[39].after.0 - done[0].after.0) >> 20;
    assert!(segments > 90, "only {segments} segments");
    for wanted in [3, 20, 37] {
        let Done { xid, time, after } = done[wanted];
        let all = [Target::Time(time), Target::Lsn(after), Target::Xid(xid), Target::BeforeXid(xid)];
        for target in all {
            let before = reads(&world);
            let resolved = find(&world, &target).await.unwrap();
            let included = if matches!(target, Target::BeforeXid(_)) { resolved.next } else { resolved.last };
            assert_eq!(included.unwrap().xid, xid, "{target}");
            let read = reads(&world) - before;
            // How much it is depends on what the server logged meanwhile by itself: 25 to 40 were seen.
            assert!(read as u64 <= segments / 2, "{target}: {read} of {segments} segments were read");
        }
    }
}

/// Whole segments read so far.
fn reads(world: &World) -> usize {
    let is_segment = |path: &str| path.rsplit('/').next().is_some_and(|name| name.len() == 24);
    let calls = world.store.calls();
    calls.iter().filter(|call| call.kind == OperationKind::Get && is_segment(&call.path)).count()
}
