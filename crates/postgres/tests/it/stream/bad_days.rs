//! Slots that are gone, WAL that is gone, servers that are not what they seem.

use super::*;
use lifeboat_postgres::client::{Advice, Connection, Purpose};
use lifeboat_postgres::slot;
use lifeboat_testkit::faulty::{Fault, OperationKind, Select};
use lifeboat_testkit::postgres::scratch_directory;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn m1_a_slot_dropped_behind_its_back_is_told_and_leaves_no_hole_while_the_wal_is_there() {
    for installation in installations() {
        let cluster = Cluster::start(&installation, &ClusterOptions::new().set("wal_keep_size", "1GB"));
        let vault = TestVault::new().await;
        let stream = vault.stream(&cluster);
        let end = write(&cluster, 1000);
        stream.wait_durable(end);
        stream.stop().await;
        cluster.psql("select pg_drop_replication_slot('lifeboat')");
        write(&cluster, 100_000);
        cluster.psql("checkpoint");
        let stream = vault.stream(&cluster);
        let lost = stream.wait_alarm(AlarmKind::SlotLost);
        assert!(lost.to_string().contains("does not exist"), "{lost}");
        let end = write(&cluster, 10);
        stream.wait_durable(end);
        assert_eq!(stream.alarms(AlarmKind::Hole), []);
        stream.stop().await;
        let stretch = vault.stretch(1).await;
        vault.assert_equal_to_server(&cluster, 1, stretch).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m1_wal_that_outgrew_the_slot_is_a_hole_with_a_name() {
    for installation in installations() {
        let cluster = start_forgetful(&installation);
        let vault = TestVault::new().await;
        let stream = vault.stream(&cluster);
        let before = write(&cluster, 10);
        stream.wait_durable(before);
        let durable = stream.stop().await.durable.unwrap().1;
        outgrow_the_slot(&cluster);
        let stream = vault.stream(&cluster);
        let lost = stream.wait_alarm(AlarmKind::SlotLost);
        assert!(lost.to_string().contains("max_slot_wal_keep_size"), "{lost}");
        let Alarm::Hole { timeline, range } = stream.wait_alarm(AlarmKind::Hole) else { panic!() };
        assert_eq!((timeline, range.start), (Timeline(1), durable));
        let end = write(&cluster, 10);
        stream.wait_durable(end);
        stream.stop().await;
        let coverage = vault.archive().await.coverage(Timeline(1)).await.unwrap();
        assert_eq!(coverage.holes(), [range]);
        let after = LsnRange { start: range.end, end: coverage.end().unwrap() };
        vault.assert_equal_to_server(&cluster, 1, after).await;
    }
}

/// As while the vault does not keep up: the stream runs, and says so in time.
#[tokio::test(flavor = "multi_thread")]
async fn k1_a_slot_that_grows_under_a_running_stream_is_told_before_the_limit() {
    let options = ClusterOptions::new().wal_segment_mib(1).set("max_slot_wal_keep_size", "16MB");
    let cluster = Cluster::start(&Installation::newest(), &options);
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 10);
    stream.wait_durable(end);
    let mut sql = Connection::connect(&conninfo(&cluster.conninfo()), Purpose::Sql).await.unwrap();
    let limits = SlotLimits::default();
    let health = slot::watch(&mut sql, SLOT).await.unwrap();
    assert_eq!(slot::assess(SLOT, "db", &health, &limits), None, "{health:?}");
    vault.store.set_plan(FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::Unavailable));
    until("pressure", || {
        write(&cluster, 2000);
        let status = cluster.psql("select safe_wal_size < 4 * 1024 * 1024 from pg_replication_slots");
        (status == "t").then_some(())
    });
    let health = slot::watch(&mut sql, SLOT).await.unwrap();
    assert!(health.exists && health.active && health.retained_bytes > 8 << 20, "{health:?}");
    let told = stream.wait_alarm(AlarmKind::SlotPressure);
    assert!(told.to_string().contains("max_slot_wal_keep_size=16.0 MiB"), "{told}");
    assert_eq!(stream.alarms(AlarmKind::SlotLost), [], "it was told too late");

    vault.store.set_plan(FaultPlan::none());
    stream.wait_durable(flushed(&cluster));
    stream.wait_event("the end of it", |e| matches!(e, StreamEvent::Cleared(AlarmKind::SlotPressure)));
    assert_eq!(stream.alarms(AlarmKind::SlotPressure).len(), 1, "told once");
    assert_eq!(stream.alarms(AlarmKind::Hole), []);
    stream.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m3_another_cluster_is_refused_and_accepted_only_explicitly() {
    let installation = Installation::newest();
    let first = Cluster::start(&installation, &ClusterOptions::new());
    let second = Cluster::start(&installation, &ClusterOptions::new());
    let vault = TestVault::new().await;
    let stream = vault.stream(&first);
    let end = write(&first, 10);
    stream.wait_durable(end);
    stream.stop().await;
    let error = vault.stream(&second).end().await.unwrap_err();
    let StreamError::OtherCluster { found, ref known, .. } = error else { panic!("{error}") };
    assert_eq!(error.advice(), Advice::FixConfiguration);
    assert_ne!(found.to_string(), *known);
    assert_eq!(second.psql("select count(*) from pg_replication_slots"), "0");
    let stream =
        Stream::start(StreamOptions { accept_new_cluster: true, ..vault.options(&second.conninfo()) });
    let end = write(&second, 10);
    stream.wait_durable(end);
    stream.stop().await;
    assert_eq!(wal::clusters(&vault.vault, &vault.service).await.unwrap().len(), 2);
}

/// A server started from an older copy has the same timeline and other WAL on it.
#[tokio::test(flavor = "multi_thread")]
async fn m3_a_copy_that_went_its_own_way_on_the_same_timeline_is_a_fork() {
    let installation = Installation::newest();
    let cluster = Cluster::start(&installation, &ClusterOptions::new());
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 10);
    stream.wait_durable(end);
    stream.stop().await;
    cluster.stop();
    let scratch = scratch_directory();
    let copy = scratch.path().join("data");
    let copied = Command::new("cp").arg("-a").arg(cluster.data_directory()).arg(&copy).status();
    assert!(copied.unwrap().success());
    cluster.restart();
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 1000);
    stream.wait_durable(end);
    stream.stop().await;
    cluster.stop();

    let twin = Cluster::open(&installation, &copy, &ClusterOptions::new());
    let behind = vault.stream(&twin).end().await.unwrap_err();
    assert!(matches!(behind, StreamError::Fork { .. }), "{behind}");
    assert_eq!(behind.advice(), Advice::GiveUp);
    // Now its WAL is longer than the vault's, and still another.
    while flushed(&twin) <= end {
        twin.psql("create table if not exists other (x text); insert into other select repeat('y', 900) from generate_series(1, 3000)");
    }
    let before = vault.stretch(1).await;
    let ahead = vault.stream(&twin).end().await.unwrap_err();
    assert!(matches!(ahead, StreamError::Fork { .. }), "{ahead}");
    assert_eq!(vault.stretch(1).await, before, "nothing of the twin's is in the vault");
}

#[tokio::test(flavor = "multi_thread")]
async fn k2_a_standbys_slot_follows_the_vault_and_never_leads_it() {
    for installation in installations() {
        let primary = Cluster::start(&installation, &ClusterOptions::new());
        let standby = primary.standby(&ClusterOptions::new());
        let mut sql = Connection::connect(&conninfo(&standby.conninfo()), Purpose::Sql).await.unwrap();
        let made = slot::ensure_on_standby(&mut sql, SLOT, Lsn(0)).await.unwrap().unwrap();
        let end = write(&primary, 1000);
        until("replayed", || {
            let replayed: Lsn = standby.psql("select pg_last_wal_replay_lsn()").parse().unwrap();
            (replayed >= end).then_some(())
        });
        let halfway = Lsn(made.0 + (end.0 - made.0) / 2);
        let moved = slot::ensure_on_standby(&mut sql, SLOT, halfway).await.unwrap();
        assert_eq!(moved, Some(halfway));
        // The vault's end goes back only by mistake: what is kept stays kept.
        assert_eq!(slot::ensure_on_standby(&mut sql, SLOT, made).await.unwrap(), Some(halfway));
        // Beyond what the standby has, it waits there.
        let beyond = slot::ensure_on_standby(&mut sql, SLOT, Lsn(end.0 + (1 << 30))).await.unwrap();
        assert!(beyond.is_some_and(|lsn| lsn >= end && lsn < Lsn(end.0 + (1 << 30))), "{beyond:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_cannot_be_reached_is_told_and_the_stream_goes_on() {
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    let vault = TestVault::new().await;
    let mut options = vault.options(&cluster.conninfo());
    options.standbys = vec![conninfo("host=127.0.0.1 port=1 user=postgres password=secret")];
    let stream = Stream::start(options);
    let alarm = stream.wait_alarm(AlarmKind::StandbySlot).to_string();
    assert!(alarm.contains("port=1") && !alarm.contains("secret"), "{alarm}");
    let end = write(&cluster, 10);
    stream.wait_durable(end);
    stream.stop().await;
}
