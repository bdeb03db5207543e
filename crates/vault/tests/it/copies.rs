//! Attacks on what the copies promise together.

use crate::fixture;
use crate::support::World;
use bytes::Bytes;
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_vault::{Copies, Created, Found, Reach, ReadError, WriteError, names, point};
use std::convert::Infallible;

const NAME: &str = "services/db/something";

async fn read(copies: &Copies, name: &str) -> Result<Bytes, ReadError> {
    copies.read(name, None, Ok::<_, Infallible>).await
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn all_gets() -> Select {
    Select::kind(OperationKind::Get)
}

#[tokio::test(start_paused = true)]
async fn c1_an_acknowledged_write_is_in_as_many_copies_as_asked() {
    for durable in 1..=3 {
        for silent in 0..=3_usize {
            let world = World::new(3, durable).await;
            for copy in 0..silent {
                world.plan(copy, FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::Fail));
            }
            let copies = world.copies();
            let outcome = copies.put(NAME, bytes("x"), Reach::Durable).await;
            assert_eq!(outcome.is_ok(), silent + durable <= 3, "{durable} of 3, {silent} silent");
            if let Err(error) = &outcome {
                assert!(matches!(error, WriteError::NotDurable { .. }), "{error}");
            } else {
                let holders = copies.list(NAME.rsplit_once('/').unwrap().0).await.objects[NAME].copies.len();
                assert!(holders >= durable, "{holders} of {durable}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_lost_reply_does_not_make_one_copy_count_as_two() {
    let world = World::new(2, 2).await;
    world.plan(0, FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::LoseReply));
    world.plan(1, FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::Fail));
    let outcome = world.copies().put(NAME, bytes("x"), Reach::Durable).await;
    assert!(matches!(outcome, Err(WriteError::NotDurable { got: 0, .. })), "{outcome:?}");
}

/// Of two copies, the first is lost together with the service.
#[tokio::test(start_paused = true)]
async fn c7_a_copy_that_is_lost_with_the_service_counts_for_nothing() {
    for (silent, counts) in [(1, false), (0, true)] {
        let world = World::new(2, 1).await;
        world.plan(silent, FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::Fail));
        let copies = world.copies().outside(Some("site-0"));
        let outcome = copies.put(NAME, bytes("x"), Reach::Durable).await;
        assert_eq!(outcome.is_ok(), counts, "{outcome:?}");
        world.copies().put("services/db/other", bytes("x"), Reach::Durable).await.unwrap();
    }
    let copies = World::new(3, 1).await.copies();
    assert_eq!(copies.outside(Some("site-1")).counted(&[0, 1]), 1);
    assert_eq!(copies.outside(Some("elsewhere")).counted(&[0, 1]), 2);
}

#[tokio::test]
async fn c2_what_is_there_is_never_overwritten_and_ones_own_bytes_are_success() {
    let world = World::new(2, 2).await;
    let copies = world.copies();
    assert_eq!(copies.create_in(1, NAME, bytes("mine")).await.unwrap(), Created::Mine);
    copies.put(NAME, bytes("mine"), Reach::All).await.unwrap();
    let outcome = copies.put(NAME, bytes("other"), Reach::All).await;
    assert!(matches!(outcome, Err(WriteError::Conflict { .. })), "{outcome:?}");
    for copy in 0..2 {
        assert_eq!(copies.read_from(copy, NAME).await.unwrap(), "mine");
    }
}

#[tokio::test]
async fn c2_what_is_found_is_judged_copy_by_copy() {
    let judge = |there: &Bytes| match there.as_ref() {
        b"same" => Found::Same,
        b"damaged" => Found::Damaged,
        _ => Found::Other,
    };
    let outcome = |there: [Option<&'static str>; 2]| async move {
        let world = World::new(2, 2).await;
        let copies = world.copies();
        for (copy, there) in there.into_iter().enumerate() {
            if let Some(there) = there {
                copies.create_in(copy, NAME, bytes(there)).await.unwrap();
            }
        }
        copies.put_or_find(NAME, bytes("new"), Reach::Durable, judge).await
    };
    outcome([Some("same"), Some("same")]).await.unwrap();
    outcome([Some("same"), None]).await.unwrap();
    outcome([None, Some("same")]).await.unwrap();
    let damaged = outcome([Some("same"), Some("damaged")]).await;
    assert!(matches!(damaged, Err(WriteError::NotDurable { got: 1, wanted: 2, .. })), "{damaged:?}");
    let other = outcome([Some("same"), Some("else")]).await;
    assert!(matches!(other, Err(WriteError::Conflict { .. })), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn c3_missing_is_said_only_when_too_few_copies_are_silent_to_hide_it() {
    for durable in 1..=3 {
        for silent in 0..=3_usize {
            let world = World::new(3, durable).await;
            let listings = Select::kinds(&[OperationKind::Get, OperationKind::List]);
            for copy in 0..silent {
                world.plan(copy, FaultPlan::none().on(listings.clone(), Fault::Fail));
            }
            let copies = world.copies();
            let error = read(&copies, NAME).await.unwrap_err();
            assert_eq!(error.is_missing(), silent < durable, "{durable} of 3, {silent} silent: {error}");
            assert_eq!(copies.list("services").await.is_complete, silent < durable);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c5_one_copy_that_answers_is_enough_for_one_who_uses_what_is_there() {
    for silent in 0..=3_usize {
        let world = World::new(3, 1).await;
        world.copies().create_in(2, "services/seen", bytes("x")).await.unwrap();
        for copy in 0..silent {
            world.plan(copy, FaultPlan::none().on(Select::any(), Fault::Fail));
        }
        let seen = world.copies().as_seen();
        let error = read(&seen, NAME).await.unwrap_err();
        assert_eq!(error.is_missing(), silent < 3, "{silent} silent: {error}");
        let listing = seen.list("services").await;
        assert_eq!((listing.is_complete, listing.objects.len()), (silent < 3, usize::from(silent < 3)));
    }
}

#[tokio::test(start_paused = true)]
async fn c6_the_last_write_of_each_copy_is_known_though_nobody_waited_for_it() {
    let world = World::new(2, 1).await;
    let copies = world.copies();
    let last = |copy: usize| copies.all()[copy].last_write();
    assert_eq!((last(0), last(1)), (None, None));
    world.plan(1, FaultPlan::none().on(Select::any(), Fault::Fail));
    copies.put(NAME, bytes("x"), Reach::All).await.unwrap();
    assert!(last(0).unwrap().is_ok() && last(1).unwrap().is_err());
    world.plan(1, FaultPlan::none());
    copies.put("services/again", bytes("x"), Reach::All).await.unwrap();
    assert!(last(1).unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn c3_a_passing_fault_of_a_read_or_a_listing_is_asked_again() {
    let world = World::new(1, 1).await;
    let copies = world.copies();
    copies.put(NAME, bytes("x"), Reach::All).await.unwrap();
    for fault in [Fault::Fail, Fault::Unavailable, Fault::ResetBody] {
        world.plan(0, FaultPlan::none().first(all_gets(), 2, fault));
        assert_eq!(read(&copies, NAME).await.unwrap(), "x");
        assert_eq!(world.stores[0].fired().iter().filter(|(_, fired)| *fired == fault).count(), 2);
        world.plan(0, FaultPlan::none().first(all_gets(), 3, fault));
        assert!(matches!(read(&copies, NAME).await, Err(ReadError::Unavailable { .. })), "not for ever");
    }
    let lists = Select::kind(OperationKind::List);
    world.plan(0, FaultPlan::none().first(lists.clone(), 2, Fault::Fail));
    let listing = copies.list("services").await;
    assert!(listing.is_complete && listing.failures.is_empty() && listing.objects.len() == 1);
    world.plan(0, FaultPlan::none().first(lists, 2, Fault::Fail));
    assert_eq!(copies.list_in(0, "services").await.unwrap().len(), 1);
    world.plan(0, FaultPlan::none().on(Select::any(), Fault::Fail));
    assert!(!copies.list("services").await.is_complete);
}

#[tokio::test(start_paused = true)]
async fn c3_absence_is_not_asked_again() {
    let world = World::new(1, 1).await;
    let before = world.stores[0].call_count();
    assert!(read(&world.copies(), "services/db/none").await.unwrap_err().is_missing());
    assert_eq!(world.stores[0].call_count() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn p1_a_manifest_reaches_no_copy_that_lacks_a_layer() {
    for lost in ["index", "pack-000001"] {
        for durable in 1..=2 {
            let world = World::new(2, durable).await;
            let vault = world.vault().await;
            fixture::put_layer(&vault, "whole").await;
            if durable == 1 {
                // Silent for one object, and back in time for the manifest.
                let one = Select::kind(OperationKind::Create).named(lost);
                world.plan(1, FaultPlan::none().on(one, Fault::Fail));
            }
            fixture::put_layer(&vault, "late").await;
            world.plan(1, FaultPlan::none());
            if durable == 2 {
                let name = format!("{}/{lost}", names::layer(&fixture::service(), "late"));
                assert!(vault.copies().delete_in(1, &[name]).await.is_empty());
            }
            let point = fixture::point(&vault, "p", 0, &["late", "whole"]);
            let published = point::publish(&vault, &point).await;
            let name = names::point(&fixture::service(), "p");
            assert_eq!(vault.copies().size_in(1, &name).await.unwrap(), None, "{lost}");
            match durable {
                1 => assert_eq!(point::read(&vault, &fixture::service(), "p").await.unwrap(), point),
                _ => assert!(matches!(published, Err(WriteError::Incomplete { .. })), "{published:?}"),
            }
        }
    }
}
