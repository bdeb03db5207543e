//! Two copies of the vault, one of which must have a write: either may be away.

use super::*;
use lifeboat_testkit::faulty::{Fault, Select};

fn gone() -> FaultPlan {
    FaultPlan::none().on(Select::any(), Fault::Fail)
}

#[tokio::test(flavor = "multi_thread")]
async fn y3_a_stream_begins_goes_on_and_comes_together_again_with_either_copy_away() {
    for away in [0, 1] {
        let options = ClusterOptions::new().wal_segment_mib(1).set("wal_keep_size", "1GB");
        let cluster = Cluster::start(&Installation::newest(), &options);
        let (vault, stores) = TestVault::with_copies(["first", "second"]).await;
        let stream = vault.stream(&cluster);
        stream.wait_durable(write(&cluster, 10_000));
        stream.kill().await;

        stores[away].set_plan(gone());
        let stream = vault.stream(&cluster);
        let end = write(&cluster, 20_000);
        stream.wait_durable(end);
        let alarm = stream.wait_alarm(AlarmKind::CopyAway).to_string();
        assert!(alarm.contains(["first", "second"][away]), "{alarm}");
        assert_eq!(stream.alarms(AlarmKind::VaultUnavailable), [], "the other copy takes all");

        stores[away].set_plan(FaultPlan::none());
        stream.wait_durable(write(&cluster, 100));
        stream.wait_event("it is back", |e| matches!(e, StreamEvent::Cleared(AlarmKind::CopyAway)));
        assert_eq!(stream.alarms(AlarmKind::Hole), []);
        stream.stop().await;
        vault.assert_holds(&cluster, end).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c6_a_copy_that_goes_away_under_a_running_stream_is_an_alarm() {
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    let (vault, stores) = TestVault::with_copies(["first", "second"]).await;
    let stream = vault.stream(&cluster);
    stream.wait_durable(write(&cluster, 100));
    assert_eq!(stream.alarms(AlarmKind::CopyAway), []);
    stores[1].set_plan(gone());
    stream.wait_durable(write(&cluster, 100));
    stream.wait_alarm(AlarmKind::CopyAway);
    stream.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn y3_a_service_that_nobody_has_heard_of_begins_and_another_cluster_is_still_refused() {
    let mine = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    let other = Cluster::start(&Installation::oldest(), &ClusterOptions::new());
    let (vault, stores) = TestVault::with_copies(["first", "second"]).await;
    stores[0].set_plan(gone());
    let stream = vault.stream(&mine);
    stream.wait_durable(write(&mine, 100));
    // Only the copy that is away could tell that there was a slot before.
    assert_eq!(stream.alarms(AlarmKind::SlotLost).len(), 1);
    stream.stop().await;
    let refused = vault.stream(&other).end().await;
    assert!(matches!(refused, Err(StreamError::OtherCluster { .. })), "{refused:?}");
}
