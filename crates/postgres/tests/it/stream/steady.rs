//! What happens every day: load, stops, kills, restarts.

use super::*;
use lifeboat_postgres::client::{Connection, Purpose};
use lifeboat_testkit::faulty::{Call, OperationKind};
use lifeboat_vault::names;

#[tokio::test(flavor = "multi_thread")]
async fn m1_under_load_and_kills_no_byte_is_missing_or_other() {
    for installation in installations() {
        let options = ClusterOptions::new().wal_segment_mib(1).set("wal_keep_size", "1GB");
        let cluster = Cluster::start(&installation, &options);
        let vault = TestVault::new().await;
        cluster.pgbench(&["-i", "-q", "-s", "2"]);
        let cluster = Arc::new(cluster);
        let bench = {
            let cluster = cluster.clone();
            tokio::task::spawn_blocking(move || cluster.pgbench(&["-c", "4", "-T", "6", "-n"]))
        };
        let mut kills = 0;
        while !bench.is_finished() {
            let stream = vault.stream(&cluster);
            stream.wait_connected();
            // At a different depth of the work each time.
            tokio::time::sleep(Duration::from_millis(50 + 137 * (kills % 7))).await;
            stream.kill().await;
            kills += 1;
        }
        bench.await.unwrap();
        let stream = vault.stream(&cluster);
        let end = write(&cluster, 10_000);
        stream.wait_durable(end);
        assert_eq!(stream.alarms(AlarmKind::Hole), []);
        // What the killed ones left in pieces is joined too.
        let segments =
            || stream.events().iter().filter(|event| matches!(event, StreamEvent::Joined { .. })).count();
        until("segments joined", || (segments() > 0).then_some(()));
        let ended = stream.stop().await;
        assert!(ended.durable.is_some_and(|(timeline, lsn)| timeline == Timeline(1) && lsn >= end));
        assert_eq!(ended.left_bytes, 0);
        let stretch = vault.stretch(1).await;
        assert!(stretch.end >= end && kills > 3, "{stretch}, {kills} kills");
        let compared = vault.assert_equal_to_server(&cluster, 1, stretch).await;
        assert!(compared >= 5, "{compared} segments of {stretch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m2_the_server_keeps_what_is_not_durable_and_knows_what_is() {
    for installation in installations() {
        let cluster = Cluster::start(&installation, &ClusterOptions::new());
        let vault = TestVault::new().await;
        let stream = vault.stream(&cluster);
        stream.wait_connected();
        let end = write(&cluster, 1000);
        stream.wait_durable(end);
        until("the server was told", || {
            let told =
                cluster.psql("select flush_lsn from pg_stat_replication where application_name = 'lifeboat'");
            (told.parse::<Lsn>().ok()? >= end).then_some(())
        });
        let exposure = *stream.exposure.borrow();
        assert!(
            exposure.connected && exposure.behind_bytes() == 0 && exposure.since.is_none(),
            "{exposure:?}"
        );
        // Shutting down waits for the vault, and the next start is found again.
        cluster.restart();
        let later = write(&cluster, 1000);
        stream.wait_durable(later);
        stream.wait_event("the interruption", |event| matches!(event, StreamEvent::Interrupted { .. }));
        assert_eq!(stream.alarms(AlarmKind::Disconnected), [], "a restart wakes nobody");
        cluster.kill9();
        cluster.restart();
        let last = write(&cluster, 1000);
        stream.wait_durable(last);
        assert_eq!(stream.alarms(AlarmKind::Hole), []);
        stream.stop().await;
        vault.assert_holds(&cluster, last).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_the_vault_returns_once_its_wal_is_there() {
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    stream.wait_connected();
    cluster.set("synchronous_standby_names", "lifeboat");
    until("synchronous", || {
        (cluster.psql("select sync_state from pg_stat_replication") == "sync").then_some(())
    });
    cluster.psql("create table t (i int)");
    let mut sql = Connection::connect(&conninfo(&cluster.conninfo()), Purpose::Sql).await.unwrap();
    let archive = vault.archive().await;
    for i in 0..20 {
        let insert = format!("begin; insert into t values ({i}); select pg_current_wal_insert_lsn() as lsn");
        let results = sql.query_all(&insert).await.unwrap();
        let before_commit: Lsn = results[2].rows[0].parse("lsn").unwrap();
        sql.query("commit").await.unwrap();
        let coverage = archive.coverage(Timeline(1)).await.unwrap();
        assert!(
            coverage.end().unwrap() > before_commit,
            "the commit returned before its WAL was in the vault"
        );
    }
    cluster.set("synchronous_standby_names", "");
    stream.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_server_makes_no_objects_and_one_commit_is_there_at_once() {
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new().set("autovacuum", "off"));
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    stream.wait_connected();
    let end = write(&cluster, 1);
    stream.wait_durable(end);
    let started = Instant::now();
    cluster.psql("insert into t values (1)");
    stream.wait_durable(flushed(&cluster));
    // psql's own start is most of it.
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    stream.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_far_ahead_of_a_stopped_stream_leaves_no_hole() {
    let options = ClusterOptions::new().wal_segment_mib(1);
    let cluster = Cluster::start(&Installation::newest(), &options);
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 100);
    stream.wait_durable(end);
    stream.stop().await;
    // Three segments further on, another put a stretch into the vault, as a backup does.
    write(&cluster, 10_000);
    let island = flushed(&cluster).segment_start(1 << 20);
    let later = write(&cluster, 10_000);
    let archive = vault.archive().await;
    let file = WalFileName::holding(Timeline(1), island, archive.segment_size());
    let bytes = std::fs::read(cluster.data_directory().join("pg_wal").join(file.to_string())).unwrap();
    archive.put_piece(Timeline(1), island, &bytes[..100_000]).await.unwrap();
    assert_eq!(archive.coverage(Timeline(1)).await.unwrap().stretches.len(), 2);
    let stream = vault.stream(&cluster);
    stream.wait_durable(later);
    stream.stop().await;
    let stretch = vault.stretch(1).await;
    vault.assert_equal_to_server(&cluster, 1, stretch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_is_an_alarm_until_it_is_back() {
    let cluster = Cluster::start(&Installation::oldest(), &ClusterOptions::new());
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 10);
    stream.wait_durable(end);
    cluster.stop();
    stream.wait_alarm(AlarmKind::Disconnected);
    let exposure = *stream.exposure.borrow();
    // What it may have written since is not known, so the gauge tells the worst.
    assert!(!exposure.connected && exposure.since.is_some(), "{exposure:?}");
    cluster.restart();
    stream.wait_event("all clear", |e| matches!(e, StreamEvent::Cleared(AlarmKind::Disconnected)));
    stream.wait_durable(write(&cluster, 10));
    until("no exposure", || stream.exposure.borrow().since.is_none().then_some(()));
    stream.stop().await;
}

/// Archives have 100 000s of objects, and a network that flaps must not list them each time.
#[tokio::test(flavor = "multi_thread")]
async fn y2_the_vault_is_listed_once_and_not_at_every_reconnect() {
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 10);
    stream.wait_durable(end);
    let whole = names::wal(&vault.service, vault.archive().await.cluster().system_id);
    let listings = || {
        let is_one = |call: &Call| call.kind == OperationKind::List && call.path == whole;
        vault.store.calls().iter().filter(|call| is_one(call)).count()
    };
    let before = listings();
    assert!(before > 0);
    for reconnects in 1..=3 {
        cluster.psql("select pg_terminate_backend(pid) from pg_stat_replication");
        until("another connection", || {
            let is_one = |event: &StreamEvent| matches!(event, StreamEvent::Connected { .. });
            (stream.events().into_iter().filter(is_one).count() > reconnects).then_some(())
        });
        let end = write(&cluster, 10);
        stream.wait_durable(end);
    }
    assert_eq!(listings(), before);
    stream.stop().await;
    vault.assert_holds(&cluster, end).await;
}
