//! Attacks on prune's invariants: killed at every write, a copy away, a pin at the last moment, a zombie.

use crate::fixture::{assert_restorable, fill, held, point, put_layer, put_segment, service};
use crate::support::World;
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_vault::pins::{self, PinError, Purpose};
use lifeboat_vault::prune::{self, Item, Outcome, Policy, PruneError, PruneOptions};
use lifeboat_vault::{Vault, WriteError, journal, names, point as points};
use std::collections::BTreeMap;
use std::time::Duration;

const POINTS: u64 = 5;

fn options(grace: Duration) -> PruneOptions {
    PruneOptions {
        service: service(),
        policy: Policy { last: Some(2), ..Policy::everything() },
        verification: BTreeMap::new(),
        grace,
        wait: Duration::from_secs(15),
    }
}

async fn prune(vault: &Vault, grace: Duration) -> Result<Outcome, PruneError> {
    prune::run(vault, "me", &options(grace)).await
}

async fn ids(vault: &Vault) -> Vec<String> {
    points::list(vault, &service()).await.unwrap().into_iter().map(|point| point.id).collect()
}

#[tokio::test(start_paused = true)]
async fn what_goes_is_buried_waits_and_goes_with_all_that_only_it_needed() {
    let world = World::new(2, 2).await;
    let vault = world.vault().await;
    fill(&world, &vault, POINTS).await;
    let before = held(&vault).await;
    let hour = Duration::from_secs(3_600);
    let (verdicts, _) = prune::plan(&vault, &options(hour)).await.unwrap();
    assert_eq!(held(&vault).await, before, "a plan changes nothing");
    let first = prune(&vault, hour).await.unwrap();
    assert_eq!(first.verdicts.keep, verdicts.keep);
    // 3 points, 4 layers, a stretch of WAL, and the piece of a whole segment, which needs no grace.
    assert_eq!((first.buried.len(), first.deleted.len()), (9, 1));
    assert_eq!(held(&vault).await.len(), before.len() - 1);
    let again = prune(&vault, hour).await.unwrap();
    assert_eq!((again.buried.len(), again.deleted.len()), (0, 0));
    world.clock.pass(hour);
    let last = prune(&vault, hour).await.unwrap();
    assert_eq!((last.buried.len(), last.deleted.len(), last.left.len()), (0, 8, 0));
    assert_eq!(last.objects, 3 + 4 * 3 + 3);
    assert!(last.bytes > 0);
    assert_eq!(ids(&vault).await, ["p3", "p4"]);
    assert_eq!((assert_restorable(&vault, 0).await, assert_restorable(&vault, 1).await), (2, 2));
    assert!(prune(&vault, hour).await.unwrap().buried.is_empty());
    assert!(journal::verify(&vault).await.unwrap().is_sound());
}

#[tokio::test(start_paused = true)]
async fn r4_killed_at_every_write_the_next_run_finishes_and_nothing_half_gone_is_called_restorable() {
    let rehearsal = World::new(1, 1).await;
    let vault = rehearsal.vault().await;
    fill(&rehearsal, &vault, POINTS).await;
    rehearsal.plan(0, FaultPlan::none());
    let before = rehearsal.stores[0].write_count();
    prune(&vault, Duration::ZERO).await.unwrap();
    let writes = rehearsal.stores[0].write_count() - before;
    let expected: Vec<String> = held(&vault).await.into_keys().map(plain).collect();
    assert!(writes > 20, "{writes}");
    for write in 1..=writes {
        for fault in [Fault::Crash, Fault::CrashAfter] {
            let world = World::new(1, 1).await;
            let vault = world.vault().await;
            fill(&world, &vault, POINTS).await;
            world.plan(0, FaultPlan::none().at_write(write, fault));
            let killed = prune(&vault, Duration::ZERO).await;
            assert!(world.stores[0].has_crashed(), "write {write}: {killed:?}");
            world.plan(0, FaultPlan::none());
            let left = assert_restorable(&vault, 0).await;
            assert!(left >= 2, "write {write}");
            prune(&vault, Duration::ZERO).await.unwrap();
            let found: Vec<String> = held(&vault).await.into_keys().map(plain).collect();
            assert_eq!(found, expected, "write {write} {fault:?}");
            assert!(prune(&vault, Duration::ZERO).await.unwrap().buried.is_empty());
            assert!(journal::verify(&vault).await.unwrap().is_sound());
        }
    }
}

/// A name without the random part of a layer.
fn plain(name: String) -> String {
    name.split('/').map(|part| part.split("Z-").next().unwrap()).collect::<Vec<_>>().join("/")
}

#[tokio::test(start_paused = true)]
async fn r1_a_copy_that_keeps_a_manifest_keeps_all_that_it_needs() {
    for (away, part) in [(0, "services"), (1, "services"), (0, "points"), (1, "points"), (1, "p1")] {
        let world = World::new(2, 2).await;
        let vault = world.vault().await;
        fill(&world, &vault, POINTS).await;
        let plan = FaultPlan::none().on(Select::kind(OperationKind::Delete).named(part), Fault::Unavailable);
        world.plan(away, plan);
        let outcome = prune(&vault, Duration::ZERO).await.unwrap();
        assert!(!outcome.left.is_empty());
        let stay = if part == "p1" { 3 } else { POINTS as usize };
        assert_eq!(assert_restorable(&vault, away).await, stay, "{part}");
        world.plan(away, FaultPlan::none());
        let outcome = prune(&vault, Duration::ZERO).await.unwrap();
        assert!(outcome.left.is_empty(), "{:?}", outcome.left);
        assert_eq!((assert_restorable(&vault, 0).await, assert_restorable(&vault, 1).await), (2, 2));
        assert!(held(&vault).await.values().all(|copies| copies.len() == 2));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_while_it_is_not_known_what_is_there() {
    let world = World::new(2, 1).await;
    let vault = world.vault().await;
    fill(&world, &vault, POINTS).await;
    // A restore point that was acknowledged may be in the second copy alone.
    world.plan(1, FaultPlan::none().on(Select::kind(OperationKind::List), Fault::Unavailable));
    assert!(matches!(prune(&vault, Duration::ZERO).await, Err(PruneError::Facts { .. })));
    world.plan(1, FaultPlan::none());
    assert_eq!(assert_restorable(&vault, 0).await, POINTS as usize);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_cannot_be_read_takes_no_other_from_who_restores_and_stops_who_deletes() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    fill(&world, &vault, POINTS).await;
    let name = names::point(&service(), "p1");
    vault.copies().overwrite_in(0, &name, "rotten".into()).await.unwrap();
    let (readable, unread) = points::list_readable(&vault, &service()).await.unwrap();
    let readable: Vec<String> = readable.into_iter().map(|point| point.id).collect();
    assert_eq!(readable, ["p0", "p2", "p3", "p4"]);
    assert!(matches!(&unread[..], [(id, points::PointError::Read { .. })] if id == "p1"), "{unread:?}");
    assert!(points::list(&vault, &service()).await.is_err());
    assert!(matches!(prune(&vault, Duration::ZERO).await, Err(PruneError::Facts { .. })));
    // One that is pruned while the others are read is no finding at all.
    let slow = Select::kind(OperationKind::Get).named(&name);
    world.plan(0, FaultPlan::none().nth(slow, 1, Fault::Delay(Duration::from_secs(5))));
    let pruner = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        vault.copies().delete(vec![name.clone()]).await
    };
    let service = service();
    let (listed, failures) = tokio::join!(points::list_readable(&vault, &service), pruner);
    let (readable, unread) = listed.unwrap();
    assert_eq!((readable.len(), unread.len(), failures.len()), (4, 0, 0), "{unread:?}");
    assert_eq!(world.stores[0].fired().len(), 1, "the race took place");
}

#[tokio::test(start_paused = true)]
async fn g1_without_every_answer_there_are_no_facts() {
    let world = World::new(2, 1).await;
    let vault = world.vault().await;
    fill(&world, &vault, POINTS).await;
    let before = held(&vault).await;
    let plan = async || prune::plan(&vault, &options(Duration::ZERO)).await;
    let whole = plan().await.unwrap();
    // Each listing and each read of what is asked for, in either copy; with one write enough for "durable", what
    // one copy does not show may be in the other alone.
    for copy in 0..2 {
        for part in ["points", "layers", "pins", "clusters", "wal", "catalogues"] {
            let list = Select::kind(OperationKind::List).named(part);
            world.plan(copy, FaultPlan::none().on(list, Fault::Unavailable));
            let told = plan().await;
            assert!(matches!(told, Err(PruneError::Facts { .. })), "{part} of copy {copy}: {told:?}");
            assert!(prune(&vault, Duration::ZERO).await.is_err(), "{part} of copy {copy}");
            world.plan(copy, FaultPlan::none());
        }
    }
    // What both copies have, and neither gives, is not taken for absent either.
    for part in ["points", "clusters"] {
        let get = || FaultPlan::none().on(Select::kind(OperationKind::Get).named(part), Fault::Unavailable);
        world.plan(0, get());
        world.plan(1, get());
        let told = plan().await;
        assert!(matches!(told, Err(PruneError::Facts { .. })), "{part}: {told:?}");
        world.plan(0, FaultPlan::none());
        world.plan(1, FaultPlan::none());
    }
    let after: BTreeMap<_, _> = held(&vault).await;
    assert_eq!(after, before);
    assert_eq!(plan().await.unwrap().0.bury, whole.0.bury);
}

#[tokio::test(start_paused = true)]
async fn r3_what_is_pinned_after_it_was_buried_is_spared() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    fill(&world, &vault, POINTS).await;
    let hour = Duration::from_secs(3_600);
    prune(&vault, hour).await.unwrap();
    let mut pin = pins::put(&vault, &service(), Purpose::Restore, Some("p1"), "a restore").await.unwrap();
    world.clock.pass(hour);
    pin.refresh().await.unwrap();
    assert_eq!(pins::list(&vault, &service()).await.unwrap().len(), 1);
    let outcome = prune(&vault, hour).await.unwrap();
    assert!(outcome.spared.iter().any(|item| matches!(item, Item::Point { id, .. } if id == "p1")));
    assert_eq!(ids(&vault).await, ["p1", "p3", "p4"]);
    assert_eq!(assert_restorable(&vault, 0).await, 3);
    // What was spared is not gone for good: it may go later, and come back before that.
    pin.remove().await;
    assert!(pins::list(&vault, &service()).await.unwrap().is_empty());
    prune(&vault, Duration::ZERO).await.unwrap();
    assert_eq!(ids(&vault).await, ["p3", "p4"]);
    assert_eq!(assert_restorable(&vault, 0).await, 2);
    let late = pins::put(&vault, &service(), Purpose::Restore, Some("p1"), "too late").await;
    assert!(matches!(late, Err(PinError::Buried(_))));
    assert!(pins::list(&vault, &service()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn i1_a_restore_that_begins_at_the_last_moment_and_prune_see_each_other() {
    // The restore pins before or after any of prune's requests: it is refused, or all that it needs stays.
    let rehearsal = World::new(1, 1).await;
    let vault = rehearsal.vault().await;
    fill(&rehearsal, &vault, 3).await;
    let before = rehearsal.stores[0].call_count();
    prune(&vault, Duration::ZERO).await.unwrap();
    let calls = rehearsal.stores[0].call_count() - before;
    let mut met = [0, 0];
    for call in (1..=calls).step_by(2) {
        let world = World::new(1, 1).await;
        let vault = world.vault().await;
        fill(&world, &vault, 3).await;
        // Prune stands still there while the restore begins.
        world.plan(0, FaultPlan::none().at(call, Fault::Delay(Duration::from_millis(500))));
        let pruning = prune(&vault, Duration::ZERO);
        let restoring = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            pins::put(&vault, &service(), Purpose::Restore, Some("p0"), "a restore").await
        };
        let (pruned, pinned) = tokio::join!(pruning, restoring);
        pruned.unwrap();
        match pinned {
            Ok(_) => {
                met[0] += 1;
                assert!(ids(&vault).await.contains(&"p0".to_owned()), "call {call}");
            }
            Err(PinError::Buried(_)) => met[1] += 1,
            Err(error) => panic!("call {call}: {error}"),
        }
        assert_restorable(&vault, 0).await;
    }
    assert!(met[0] > 0 && met[1] > 0, "{met:?}");
}

#[tokio::test(start_paused = true)]
async fn r5_a_zombie_deletes_nothing_more() {
    let rehearsal = World::new(1, 1).await;
    let vault = rehearsal.vault().await;
    fill(&rehearsal, &vault, POINTS).await;
    let before = rehearsal.stores[0].call_count();
    prune(&vault, Duration::ZERO).await.unwrap();
    let calls = rehearsal.stores[0].call_count() - before;
    let mut stopped = 0;
    for call in (1..=calls).step_by(5) {
        let world = World::new(1, 1).await;
        let vault = world.vault().await;
        fill(&world, &vault, POINTS).await;
        // Its machine stands still for a minute, its lease with it; another finishes the work meanwhile,
        // and a person holds what was left.
        let zombies = lifeboat_base::ManualClock::new(lifeboat_base::Clock::now(world.clock.as_ref()), 9);
        let zombie = world.open_with(std::sync::Arc::new(zombies)).await;
        world.plan(0, FaultPlan::none().at(call, Fault::Delay(Duration::from_secs(50))));
        let other = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            prune::run(&vault, "heir", &options(Duration::ZERO)).await
        };
        let (zombie, heir) = tokio::join!(prune(&zombie, Duration::ZERO), other);
        assert!(zombie.is_ok() || heir.is_ok(), "call {call}: {zombie:?} {heir:?}");
        stopped += u32::from(matches!(zombie, Err(PruneError::Fence { source, .. }) if source.is_lost()));
        assert_eq!(ids(&vault).await.len(), 2, "call {call}");
        assert_restorable(&vault, 0).await;
        prune(&vault, Duration::ZERO).await.unwrap();
        assert!(journal::verify(&vault).await.unwrap().is_sound());
    }
    assert!(stopped > 5, "{stopped}");
}

#[tokio::test(start_paused = true)]
async fn r5_a_zombie_that_wakes_before_it_deletes_is_stopped_by_the_home() {
    for look in 1..=8 {
        let world = World::new(1, 1).await;
        let vault = world.vault().await;
        fill(&world, &vault, POINTS).await;
        let zombies = lifeboat_base::ManualClock::new(lifeboat_base::Clock::now(world.clock.as_ref()), 9);
        let zombie = world.open_with(std::sync::Arc::new(zombies)).await;
        // It falls asleep while it looks at the pins: some of these looks are the last before it deletes.
        let pins = Select::kind(OperationKind::List).named("pins");
        world.plan(0, FaultPlan::none().nth(pins, look, Fault::Delay(Duration::from_secs(50))));
        let other = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let mut generous = options(Duration::ZERO);
            generous.policy.last = Some(POINTS as u32);
            let heir = prune::run(&vault, "heir", &generous).await;
            (heir, ids(&vault).await)
        };
        let (slept, (heir, before)) = tokio::join!(prune(&zombie, Duration::ZERO), other);
        if slept.is_err() {
            heir.unwrap();
            assert_eq!(ids(&vault).await, before, "look {look}: the heir has spared them");
            assert_restorable(&vault, 0).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_backup_whose_layer_was_taken_for_garbage_does_not_become_a_lie() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    fill(&world, &vault, POINTS).await;
    let layer = points::new_id(vault.clock().as_ref());
    put_layer(&vault, &layer).await;
    put_segment(&vault, POINTS + 1).await;
    world.clock.pass(Duration::from_secs(30 * 3_600));
    let pin = pins::put(&vault, &service(), Purpose::Backup, None, "a backup").await.unwrap();
    prune(&vault, Duration::ZERO).await.unwrap();
    let index = names::layer_index(&service(), &layer);
    assert!(held(&vault).await.contains_key(&index), "a running backup is pinned");
    pin.remove().await;
    prune(&vault, Duration::ZERO).await.unwrap();
    let published = points::publish(&vault, &point(&vault, "late", POINTS + 1, &[&layer])).await;
    assert!(matches!(published, Err(WriteError::Incomplete { .. })), "{published:?}");
}

#[tokio::test(start_paused = true)]
async fn i2_a_forgotten_pin_ends_with_the_second_prune_that_sees_it() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    fill(&world, &vault, POINTS).await;
    let _killed = pins::put(&vault, &service(), Purpose::Restore, Some("p1"), "a restore").await.unwrap();
    let _held = pins::put(&vault, &service(), Purpose::Hold, Some("p2"), "a person").await.unwrap();
    prune(&vault, Duration::ZERO).await.unwrap();
    assert_eq!(ids(&vault).await, ["p1", "p2", "p3", "p4"]);
    world.clock.pass(Duration::from_secs(49 * 3_600));
    prune(&vault, Duration::ZERO).await.unwrap();
    assert_eq!(ids(&vault).await, ["p1", "p2", "p3", "p4"], "one look is not enough");
    prune(&vault, Duration::ZERO).await.unwrap();
    assert_eq!(ids(&vault).await, ["p2", "p3", "p4"]);
    assert_eq!(pins::list(&vault, &service()).await.unwrap().len(), 1);
}
