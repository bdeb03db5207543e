//! One, two, dying and stopping `serve`s.

use crate::world::World;
use lifeboat_engine::serve::scope;
use lifeboat_testkit::faulty::{Fault, FaultPlan, Select};
use lifeboat_vault::journal;
use std::time::Duration;

/// Issue's figure: from the death of one to the first act of the other.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(15);

#[tokio::test(start_paused = true)]
async fn a_new_service_is_backed_up_at_once_then_as_the_plan_says_and_pruned_after() {
    let world = World::new().await;
    let process = world.process("one").await;
    world.until("BaseBackup begins", 3).await;
    let began: Vec<u64> = world.noted("BaseBackup begins").iter().map(|(at, _)| at.as_secs()).collect();
    assert!(began[0] < 2, "{began:?}");
    // 12:00 was when it began; then every full hour.
    assert!((3600..3602).contains(&began[1]) && (7200..7202).contains(&began[2]), "{began:?}");
    assert_eq!(world.noted("Prune begins").len(), 2);
    assert_eq!(world.noted("stream begins").len(), 1);
    process.stop().await;
    let report = journal::verify(&world.vault().await).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn g1_of_two_one_acts_and_the_other_takes_over_within_15_s_of_its_death() {
    let world = World::new().await;
    let first = world.process("one").await;
    world.until("Serving", 1).await;
    let second = world.process("two").await;
    world.until("Waiting", 1).await;
    world.until("Succeeded(BaseBackup", 1).await;
    assert!(world.noted("BaseBackup begins").iter().all(|(_, who)| who == "one"));
    world.until("BaseBackup begins", 2).await;
    first.kill();
    let died = world.now();
    world.until("Serving", 2).await;
    let (at, who) = world.noted("Serving")[1].clone();
    assert_eq!(who, "two");
    assert!(at - died <= TAKEOVER_LIMIT, "took over after {:?}", at - died);
    // G3: the backup that died is known to have begun, and is tried again after a pause.
    world.until("BaseBackup begins", 3).await;
    let (again, who) = world.noted("BaseBackup begins")[2].clone();
    assert_eq!(who, "two");
    assert!(again - died < Duration::from_secs(120), "{:?}", again - died);
    second.stop().await;
}

/// A home copy that is away stops jobs, not the stream: commits may wait for it.
#[tokio::test(start_paused = true)]
async fn g2_a_home_that_is_away_for_a_while_does_not_stop_the_stream() {
    for away in [12, 60, 300] {
        let world = World::new().await;
        let process = world.process("one").await;
        world.until("Serving", 1).await;
        world.store.set_plan(FaultPlan::none().on(Select::any(), Fault::Fail));
        tokio::time::sleep(Duration::from_secs(away)).await;
        world.store.set_plan(FaultPlan::none());
        world.until("Serving", 2).await;
        assert!(!world.noted("Suspended").is_empty());
        assert_eq!(world.noted("Waiting"), [], "it does not wait for itself");
        assert_eq!(world.noted("stream begins").len(), 1, "away for {away} s");
        process.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_stops_in_order_hands_over_at_once() {
    let world = World::new().await;
    let first = world.process("one").await;
    world.until("Succeeded(Prune", 1).await;
    let second = world.process("two").await;
    world.until("Waiting", 1).await;
    first.stop().await;
    let stopped = world.now();
    world.until("Serving", 2).await;
    let (at, _) = world.noted("Serving")[1].clone();
    assert!(at.saturating_sub(stopped) < Duration::from_secs(4), "{:?}", at - stopped);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_journalled_with_its_reason_and_tried_again() {
    let world = World::new().await;
    let process = world.process("one").await;
    *process.fails.lock().unwrap() = 2;
    world.until("Succeeded(BaseBackup", 1).await;
    assert_eq!(world.noted("Failed(BaseBackup").len(), 2);
    process.stop().await;
    let vault = world.vault().await;
    let scope = scope(&"orders-db".parse().unwrap());
    let page = journal::read(&vault, &scope, 0).await.unwrap();
    let reasons = page.records.iter().filter(|record| record.data["reason"] == "the disk is full");
    assert_eq!(reasons.count(), 2);
}
