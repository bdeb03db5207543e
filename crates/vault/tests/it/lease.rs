//! Attacks on the lease's invariants, in paused time.

use crate::support::{TestClock, World, scope, start};
use lifeboat_base::Clock;
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_vault::lease::{Acquired, FenceError, Fenced, Lease, LeaseError, Timing, Waiter};
use lifeboat_vault::{Vault, journal, names};
use serde_json::json;
use std::time::Duration;

const ENOUGH: Duration = Duration::from_secs(15);

fn held(acquired: Result<Acquired, LeaseError>) -> Lease {
    match acquired.unwrap() {
        Acquired::Held(lease) => lease,
        Acquired::Busy(busy) => panic!("{busy:?}"),
    }
}

fn is_busy(acquired: Result<Acquired, LeaseError>) -> bool {
    matches!(acquired.unwrap(), Acquired::Busy(_))
}

async fn machines(world: &World) -> (Vault, Vault) {
    (world.vault().await, world.open_with(TestClock::new(2)).await)
}

#[tokio::test(start_paused = true)]
async fn two_want_it_and_the_other_takes_over_within_15_seconds_of_a_death() {
    let world = World::new(1, 1).await;
    let (one, two) = machines(&world).await;
    let prune = scope("prune");
    // However far into its renewals the holder dies.
    for lived_ms in [0, 1_000, 3_332, 3_334, 9_999] {
        let first = held(Lease::wait(&one, &prune, "one", ENOUGH).await);
        let alive = first.keep_alive();
        let mut waiter = Waiter::new(&two, &prune, "two", Timing::DEFAULT);
        for _ in 0..40 {
            assert!(is_busy(waiter.look().await) && first.still_held(), "it is renewed");
            tokio::time::sleep(Timing::DEFAULT.poll_every).await;
        }
        tokio::time::sleep(Duration::from_millis(lived_ms)).await;
        drop(alive);
        let died = tokio::time::Instant::now();
        let second = loop {
            match waiter.look().await.unwrap() {
                Acquired::Held(lease) => break lease,
                Acquired::Busy(busy) => tokio::time::sleep(busy.look_again).await,
            }
        };
        assert!(died.elapsed() < ENOUGH, "{:?}", died.elapsed());
        assert!(!first.still_held() && second.still_held());
        assert!(matches!(first.renew().await, Err(LeaseError::Lost { by, .. }) if by == "two"));
        second.release().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_released_is_taken_at_once_and_the_old_holder_is_out() {
    let world = World::new(1, 1).await;
    let (one, two) = machines(&world).await;
    let first = held(Lease::acquire(&one, &scope("prune"), "one").await);
    assert!(is_busy(Lease::acquire(&two, &scope("prune"), "two").await));
    first.release().await.unwrap();
    assert!(!first.still_held());
    let second = held(Lease::acquire(&two, &scope("prune"), "two").await);
    assert!(second.epoch() > first.epoch());
    assert!(matches!(first.renew().await, Err(LeaseError::Released(_))));
    assert!(matches!(first.release().await, Err(LeaseError::Released(_))));
    // Scopes do not touch each other, not even nested ones.
    held(Lease::acquire(&two, &scope("prune/x"), "two").await);
    assert!(is_busy(Lease::acquire(&one, &scope("prune"), "one").await));
}

#[tokio::test(start_paused = true)]
async fn e2_clock_jumps_harm_nobody() {
    let world = World::new(1, 1).await;
    let other = TestClock::new(2);
    let (one, two) = (world.vault().await, world.open_with(other.clone()).await);
    let first = held(Lease::acquire(&one, &scope("stream"), "one").await);
    let _alive = first.keep_alive();
    let mut waiter = Waiter::new(&two, &scope("stream"), "two", Timing::DEFAULT);
    for (n, hours) in [1_i64, -1, 100_000, -100_000, 0].into_iter().enumerate() {
        world.clock.jump_to(start() + jiff::SignedDuration::from_hours(hours));
        other.jump_to(start() - jiff::SignedDuration::from_hours(hours * 2));
        for _ in 0..30 {
            assert!(is_busy(waiter.look().await), "jump {n}");
            assert!(first.still_held(), "jump {n}");
            tokio::time::sleep(Timing::DEFAULT.poll_every).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn e3_a_sleeper_that_remakes_a_deleted_epoch_has_nothing() {
    let world = World::new(1, 1).await;
    let (one, two) = machines(&world).await;
    let first = held(Lease::acquire(&one, &scope("stream"), "one").await);
    // The sleeper stops renewing; the next holder goes on for long enough to clear old epochs away.
    let second = held(Lease::wait(&two, &scope("stream"), "two", ENOUGH).await);
    for _ in 0..200 {
        second.renew().await.unwrap();
    }
    let epochs = two.copies().list(&names::lease_scope("stream")).await.objects.len();
    assert!(epochs < 50, "{epochs} epochs are kept");
    assert!(matches!(first.renew().await, Err(LeaseError::Lost { by, .. }) if by == "two"));
    assert!(!first.still_held());
    second.renew().await.unwrap();
    assert!(second.still_held());
}

#[tokio::test(start_paused = true)]
async fn e4_a_lost_reply_neither_loses_the_lease_nor_stretches_it() {
    let world = World::new(1, 1).await;
    let (one, two) = machines(&world).await;
    let create = Select::kind(OperationKind::Create);
    // Taking it.
    world.plan(0, FaultPlan::none().first(create.clone(), 1, Fault::LoseReply));
    let mut waiter = Waiter::new(&one, &scope("run"), "one", Timing::DEFAULT);
    assert!(matches!(waiter.look().await, Err(LeaseError::Unknown { .. })));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let first = held(waiter.look().await);
    // The time runs from the first try.
    tokio::time::sleep(Timing::DEFAULT.hold() - Duration::from_secs(4)).await;
    assert!(!first.still_held());
    // Renewing it.
    first.renew().await.unwrap();
    assert!(first.still_held(), "nobody took it meanwhile");
    world.plan(0, FaultPlan::none().first(create, 1, Fault::LoseReply));
    assert!(matches!(first.renew().await, Err(LeaseError::Unknown { .. })));
    first.renew().await.unwrap();
    assert!(first.still_held() && is_busy(Lease::acquire(&two, &scope("run"), "two").await));
    // A slow reply: the time runs from the asking.
    let slow = Duration::from_secs(2);
    world.plan(0, FaultPlan::none().first(Select::kind(OperationKind::Create), 1, Fault::Delay(slow)));
    first.renew().await.unwrap();
    let little = Duration::from_millis(10);
    tokio::time::sleep(Timing::DEFAULT.hold() - slow - little).await;
    assert!(first.still_held());
    tokio::time::sleep(2 * little).await;
    assert!(!first.still_held());
}

#[tokio::test(start_paused = true)]
async fn e1_while_the_home_is_away_the_holder_stops_and_nobody_starts() {
    let world = World::new(1, 1).await;
    let (one, two) = machines(&world).await;
    let first = held(Lease::acquire(&one, &scope("stream"), "one").await);
    let _alive = first.keep_alive();
    world.plan(0, FaultPlan::none().on(Select::any(), Fault::Unavailable));
    let waited = Lease::wait(&two, &scope("stream"), "two", Duration::from_secs(60)).await;
    assert!(matches!(waited, Err(LeaseError::Silent { .. })), "{waited:?}");
    assert!(!first.still_held() && !first.has_ended());
    world.plan(0, FaultPlan::none());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(first.still_held(), "nobody took it: it goes on");
}

#[tokio::test(start_paused = true)]
async fn e1_a_home_that_hangs_is_away() {
    let world = World::new(1, 1).await;
    let one = world.vault().await;
    let first = held(Lease::acquire(&one, &scope("stream"), "one").await);
    let _alive = first.keep_alive();
    let hang = Fault::Delay(Duration::from_secs(3_600));
    world.plan(0, FaultPlan::none().on(Select::any(), hang));
    tokio::time::sleep(Timing::DEFAULT.hold() + Timing::DEFAULT.renew_every).await;
    assert!(!first.still_held());
    world.plan(0, FaultPlan::none());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(first.still_held());
}

#[tokio::test(start_paused = true)]
async fn f1_a_zombie_writes_nothing_more() {
    let world = World::new(2, 1).await;
    let (one, two) = machines(&world).await;
    let mut zombie = Fenced::wait(&one, &scope("prune"), "zombie", ENOUGH).await.unwrap();
    zombie.append("prune.began", json!({})).await.unwrap();
    // Its whole machine stands still: it neither renews nor sees time pass.
    world.plan(0, FaultPlan::none());
    zombie.lease().release().await.unwrap();
    let mut heir = Fenced::wait(&two, &scope("prune"), "heir", ENOUGH).await.unwrap();
    heir.append("prune.began", json!({})).await.unwrap();
    let refused = zombie.append("prune.ended", json!({})).await.unwrap_err();
    assert!(matches!(refused, FenceError::Lease { .. }), "{refused}");
    assert!(zombie.confirm().await.is_err());
    heir.append("prune.ended", json!({})).await.unwrap();
    let records = journal::read(&two, &scope("prune"), 0).await.unwrap().records;
    let kinds: Vec<_> = records.iter().map(|r| (r.actor.as_str(), r.kind.as_str())).collect();
    let expected = [
        ("zombie", "lease.taken"),
        ("zombie", "prune.began"),
        ("heir", "lease.taken"),
        ("heir", "prune.began"),
        ("heir", "prune.ended"),
    ];
    assert_eq!(kinds, expected);
    assert!(journal::verify(&two).await.unwrap().is_sound());
}

#[tokio::test(start_paused = true)]
async fn f1_a_zombie_that_thinks_it_holds_the_lease_is_stopped_by_the_chain() {
    let world = World::new(1, 1).await;
    let (one, two) = machines(&world).await;
    // A clock that stands still, as a suspended machine's does.
    let stopped = std::sync::Arc::new(lifeboat_base::ManualClock::new(start(), 3));
    let zombie_vault = world.open_with(stopped.clone()).await;
    let lease = held(Lease::acquire(&zombie_vault, &scope("prune"), "zombie").await);
    let mut chain = journal::Chain::open(&zombie_vault, lease.scope(), "zombie").await.unwrap();
    chain.set_lease(Some(lease.epoch()));
    chain.append("began", json!(1)).await.unwrap();
    let heir = Fenced::wait(&two, &scope("prune"), "heir", ENOUGH).await.unwrap();
    assert!(heir.still_held() && lease.still_held(), "its clock says so: {:?}", stopped.monotonic());
    let refused = chain.append("ended", json!(2)).await.unwrap_err();
    assert!(matches!(refused, journal::JournalError::LostChain { .. }), "{refused}");
    assert!(matches!(lease.renew().await, Err(LeaseError::Lost { .. })));
    drop(one);
}
