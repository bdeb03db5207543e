//! Promotions: followed, without a hole, and nobody else's.

use super::*;

/// One connection string for several servers, the first that answers being used.
fn either(clusters: &[&Cluster]) -> String {
    let hosts: Vec<_> = clusters.iter().map(|_| "127.0.0.1".to_owned()).collect();
    let ports: Vec<_> = clusters.iter().map(|cluster| cluster.port().to_string()).collect();
    format!("host={} port={} user=postgres dbname=postgres", hosts.join(","), ports.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn m1_a_promoted_standby_is_followed_without_a_hole_and_the_old_primary_refused() {
    for installation in installations() {
        let options = ClusterOptions::new().wal_segment_mib(1).set("wal_keep_size", "1GB");
        let primary = Cluster::start(&installation, &options);
        let standby = primary.standby(&options);
        let vault = TestVault::new().await;
        let mut stream_options = vault.options(&either(&[&primary, &standby]));
        stream_options.standbys = vec![conninfo(&standby.conninfo())];
        let stream = Stream::start(stream_options);
        let end = write(&primary, 5000);
        stream.wait_durable(end);
        // The slot on the standby lets nothing go that the vault lacks.
        let kept = until("a slot on the standby", || {
            let kept =
                standby.psql("select restart_lsn from pg_replication_slots where slot_name = 'lifeboat'");
            kept.parse::<Lsn>().ok()
        });
        assert!(kept <= stream.exposure.borrow().durable.max(end));
        until("the standby has it too", || {
            let replayed: Lsn = standby.psql("select pg_last_wal_replay_lsn()").parse().unwrap();
            (replayed >= flushed(&primary)).then_some(())
        });
        primary.kill9();
        standby.promote();
        let end = write(&standby, 5000);
        stream.wait_event("the new timeline", |event| {
            matches!(event, StreamEvent::Connected { timeline: Timeline(2), .. })
        });
        stream.wait_durable(end);
        assert_eq!(stream.alarms(AlarmKind::Hole), []);
        assert_eq!(stream.alarms(AlarmKind::SlotLost), []);
        // The old primary comes back and stands first in the connection string: it is passed over.
        primary.restart();
        write(&primary, 100);
        standby.restart();
        let end = write(&standby, 100);
        stream.wait_durable(end);
        let unfit = stream.wait_alarm(AlarmKind::UnfitServer);
        assert!(unfit.to_string().contains("old primary came back"), "{unfit}");
        stream.stop().await;

        let old = vault.stretch(1).await;
        let new = vault.stretch(2).await;
        let archive = vault.archive().await;
        let history = archive.history(Timeline(2)).await.unwrap();
        let switch = history.begins_at().unwrap();
        assert!(old.end >= switch && new.start <= switch, "{old}, {new}, left at {switch}");
        assert_eq!(new.start, switch.segment_start(1 << 20));
        assert!(new.end >= end);
        vault.assert_equal_to_server(&standby, 2, new).await;

        let error = vault.stream(&primary).end().await.unwrap_err();
        assert!(matches!(error, StreamError::OldPrimary { .. }), "{error}");
        assert_eq!(vault.stretch(1).await, old, "nothing of the old primary's is in the vault");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m1_streaming_from_a_standby_goes_on_through_its_promotion() {
    for installation in installations() {
        let primary = Cluster::start(&installation, &ClusterOptions::new());
        let standby = primary.standby(&ClusterOptions::new());
        let vault = TestVault::new().await;
        let stream = vault.stream(&standby);
        let end = write(&primary, 1000);
        stream.wait_durable(end);
        primary.stop();
        standby.promote();
        let end = write(&standby, 1000);
        stream.wait_durable(end);
        stream.wait_event("the end of timeline 1", |event| {
            matches!(event, StreamEvent::TimelineEnded { timeline: Timeline(1), next: Timeline(2), .. })
        });
        stream.stop().await;
        let (old, new) = (vault.stretch(1).await, vault.stretch(2).await);
        assert!(old.end >= new.start);
        vault.assert_equal_to_server(&standby, 2, new).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m3_two_servers_promoted_apart_do_not_share_a_timeline_number() {
    let installation = Installation::newest();
    let primary = Cluster::start(&installation, &ClusterOptions::new());
    let (one, other) = (primary.standby(&ClusterOptions::new()), primary.standby(&ClusterOptions::new()));
    let vault = TestVault::new().await;
    let stream = vault.stream(&primary);
    let end = write(&primary, 100);
    stream.wait_durable(end);
    stream.stop().await;
    until("both have all", || {
        let replayed = |c: &Cluster| c.psql("select pg_last_wal_replay_lsn()").parse::<Lsn>().unwrap();
        (replayed(&one) >= flushed(&primary) && replayed(&other) >= flushed(&primary)).then_some(())
    });
    one.promote();
    write(&primary, 100);
    until("the other has more", || {
        let replayed: Lsn = other.psql("select pg_last_wal_replay_lsn()").parse().unwrap();
        (replayed >= flushed(&primary)).then_some(())
    });
    primary.kill9();
    other.promote();
    let stream = vault.stream(&one);
    stream.wait_durable(write(&one, 100));
    stream.stop().await;
    let error = vault.stream(&other).end().await.unwrap_err();
    assert!(matches!(error, StreamError::ReusedTimeline { timeline: Timeline(2), .. }), "{error}");
}
