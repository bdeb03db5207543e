//! A vault that is away, slow, or loses its replies.

use super::*;
use lifeboat_testkit::faulty::{Fault, OperationKind, Select};

fn reported(cluster: &Cluster) -> Option<Lsn> {
    let question = "select flush_lsn from pg_stat_replication where application_name = 'lifeboat'";
    cluster.psql(question).parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_u1_a_vault_that_was_away_has_all_and_was_never_reported_to_have_more() {
    let options = ClusterOptions::new().wal_segment_mib(1).set("wal_sender_timeout", "2s");
    let cluster = Cluster::start(&Installation::newest(), &options);
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 100);
    stream.wait_durable(end);
    let creates = || Select::kind(OperationKind::Create);
    vault.store.set_plan(FaultPlan::none().on(creates(), Fault::Unavailable));
    // More than may wait in memory, so that reading stops.
    let behind = write(&cluster, 150_000);
    let alarm = stream.wait_alarm(AlarmKind::VaultUnavailable);
    assert!(alarm.to_string().contains("no WAL since"), "{alarm}");
    let away = Instant::now();
    // Longer than the server's patience with a receiver that is silent.
    while away.elapsed() < Duration::from_secs(5) {
        let durable = stream.exposure.borrow().durable;
        assert!(reported(&cluster).is_some_and(|flush| flush <= durable), "told more than is durable");
        assert!(durable < behind);
        tokio::time::sleep(POLL * 10).await;
    }
    assert!(stream.exposure.borrow().since.is_some());
    vault.store.set_plan(FaultPlan::none());
    stream.wait_durable(behind);
    stream.wait_event("all clear", |e| matches!(e, StreamEvent::Cleared(AlarmKind::VaultUnavailable)));
    let interrupted = |event: &StreamEvent| matches!(event, StreamEvent::Interrupted { .. });
    assert!(!stream.events().iter().any(interrupted), "the server lost patience: {:#?}", stream.events());
    assert_eq!(stream.alarms(AlarmKind::Hole), []);
    stream.stop().await;
    let stretch = vault.stretch(1).await;
    vault.assert_equal_to_server(&cluster, 1, stretch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn u1_faults_at_many_requests_leave_no_hole() {
    for seed in 0..3 {
        let options = ClusterOptions::new().wal_segment_mib(1).set("wal_keep_size", "1GB");
        let cluster = Cluster::start(&Installation::newest(), &options);
        let vault = TestVault::new().await;
        let faults = [
            Fault::Fail,
            Fault::Unavailable,
            Fault::LoseReply,
            Fault::Delay(Duration::from_millis(30)),
            Fault::ResetBody,
        ];
        vault.store.set_plan(FaultPlan::none().randomly(seed, 150, &faults));
        let stream = vault.stream(&cluster);
        let end = write(&cluster, 40_000);
        stream.wait_durable(end);
        stream.kill().await;
        let stream = vault.stream(&cluster);
        let end = write(&cluster, 20_000);
        stream.wait_durable(end);
        vault.store.set_plan(FaultPlan::none());
        stream.stop().await;
        vault.assert_holds(&cluster, end).await;
    }
}

/// What has arrived is worth the more the less there is of the server that sent it.
#[tokio::test(flavor = "multi_thread")]
async fn t4_what_arrived_before_the_primary_was_lost_is_in_the_vault() {
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 100);
    stream.wait_durable(end);
    vault.store.set_plan(FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::Unavailable));
    let end = write(&cluster, 100);
    until("all has arrived", || {
        let question = "select write_lsn >= pg_current_wal_flush_lsn() from pg_stat_replication";
        (cluster.psql(question) == "t").then_some(())
    });
    cluster.kill9();
    cluster.erase_data_directory();
    assert!(stream.exposure.borrow().durable < end, "the vault had it before");
    vault.store.set_plan(FaultPlan::none());
    stream.wait_durable(end);
    stream.stop().await;
    assert!(vault.stretch(1).await.end >= end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_vault_is_away_says_what_it_leaves() {
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 100);
    stream.wait_durable(end);
    vault.store.set_plan(FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::Fail));
    let later = write(&cluster, 100);
    stream.wait_alarm(AlarmKind::VaultUnavailable);
    let ended = stream.stop().await;
    let (_, durable) = ended.durable.unwrap();
    assert!(ended.left_bytes > 0 && durable < later, "{ended:?}");
    vault.store.set_plan(FaultPlan::none());
    let stream = vault.stream(&cluster);
    stream.wait_durable(later);
    stream.stop().await;
    vault.stretch(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_vault_that_is_away_does_not_hold_up_a_shutdown() {
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    let vault = TestVault::new().await;
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 100);
    stream.wait_durable(end);
    vault.store.set_plan(FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::Fail));
    write(&cluster, 100);
    stream.wait_alarm(AlarmKind::VaultUnavailable);
    let started = Instant::now();
    cluster.stop();
    // Far below the minute after which the server would have given us up.
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    vault.store.set_plan(FaultPlan::none());
    cluster.restart();
    let end = write(&cluster, 100);
    stream.wait_durable(end);
    assert_eq!(stream.alarms(AlarmKind::Hole), []);
    stream.stop().await;
    let stretch = vault.stretch(1).await;
    vault.assert_equal_to_server(&cluster, 1, stretch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m1_a_slot_that_is_given_up_while_the_vault_is_away_leaves_a_hole_with_a_name() {
    for installation in installations() {
        let cluster = start_forgetful(&installation);
        let vault = TestVault::new().await;
        let stream = vault.stream(&cluster);
        let end = write(&cluster, 10);
        stream.wait_durable(end);
        vault.store.set_plan(FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::Fail));
        outgrow_the_slot(&cluster);
        // Told while the vault is still away.
        stream.wait_alarm(AlarmKind::SlotLost);
        vault.store.set_plan(FaultPlan::none());
        stream.wait_alarm(AlarmKind::Hole);
        let end = write(&cluster, 10);
        stream.wait_durable(end);
        let named = named_holes(&stream);
        stream.stop().await;
        let coverage = vault.archive().await.coverage(Timeline(1)).await.unwrap();
        assert_eq!(coverage.holes(), named, "the holes are those that were named");
        assert!(coverage.end().unwrap() >= end);
    }
}

/// What the alarms have named, joined: the server may have given up the next slot, too, before it was full.
fn named_holes(stream: &Stream) -> Vec<LsnRange> {
    let mut named: Vec<LsnRange> = Vec::new();
    for alarm in stream.alarms(AlarmKind::Hole) {
        let Alarm::Hole { range, .. } = alarm else { panic!("{alarm}") };
        match named.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => named.push(range),
        }
    }
    named
}
