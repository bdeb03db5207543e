//! Attacks on the WAL archive where copies differ, and where segments are joined while others look.

use crate::fixture::{self, SEGMENT, SYSTEM, service};
use crate::support::World;
use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_vault::prune::{self, Outcome, Policy, PruneOptions};
use lifeboat_vault::wal::{Fetched, Remembered, WalArchive, WalError};
use lifeboat_vault::{Vault, WriteError, names, seal};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const T1: Timeline = Timeline(1);

fn wal() -> Vec<u8> {
    fixture::content(7, SEGMENT as usize)
}

async fn put_pieces(archive: &WalArchive, count: u64) {
    let length = SEGMENT / count;
    for n in 0..count {
        let piece = &wal()[(n * length) as usize..((n + 1) * length) as usize];
        archive.put_piece(T1, Lsn(n * length), piece).await.unwrap();
    }
}

fn segment_name() -> String {
    names::wal_segment(&service(), SYSTEM, T1, &fixture::segment(0).to_string())
}

fn pieces_name() -> String {
    names::wal_pieces(&service(), SYSTEM, T1, &fixture::segment(0).to_string())
}

fn piece_name(start: u64, end: u64) -> String {
    let range = LsnRange { start: Lsn(start), end: Lsn(end) };
    names::wal_piece(&service(), SYSTEM, T1, &fixture::segment(0).to_string(), range)
}

/// How many pieces each copy holds.
async fn pieces_in(vault: &Vault) -> Vec<usize> {
    let mut counts = Vec::new();
    for copy in 0..vault.copies().all().len() {
        counts.push(vault.copies().list_in(copy, &pieces_name()).await.unwrap().len());
    }
    counts
}

fn uploads(world: &World, copy: usize, name: &str) -> usize {
    let creates = world.stores[copy].calls().into_iter();
    creates.filter(|call| call.kind == OperationKind::Create && call.path == name).count()
}

#[tokio::test(start_paused = true)]
async fn w1_a_piece_counts_only_when_as_many_copies_as_asked_hold_it() {
    let world = World::new(2, 2).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    world.plan(1, FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::Fail));
    archive.put_piece(T1, Lsn(0), &wal()[..1000]).await.unwrap_err();
    // After a restart the same piece is sealed anew: what one copy holds is not enough now either.
    let error = archive.put_piece(T1, Lsn(0), &wal()[..1000]).await.unwrap_err();
    let not_durable = matches!(&error, WalError::Write { source: WriteError::NotDurable { got: 1, .. }, .. });
    assert!(not_durable, "{error:?}");
    assert_eq!(archive.coverage(T1).await.unwrap().end(), None, "it is known to be in one copy of two");
    assert_eq!(archive.held(T1).await.unwrap().end(), Some(Lsn(1000)), "it can be read all the same");
    world.plan(1, FaultPlan::none());
    archive.put_piece(T1, Lsn(0), &wal()[..1000]).await.unwrap();
    assert_eq!(pieces_in(&vault).await, [1, 1]);
    assert_eq!(archive.coverage(T1).await.unwrap().end(), Some(Lsn(1000)));
    // A silent copy proves no hole.
    world.plan(1, FaultPlan::none().on(Select::kind(OperationKind::List), Fault::Fail));
    assert_eq!(archive.coverage(T1).await.unwrap().end(), Some(Lsn(1000)));
    // And no durability either.
    let (durable, silent) = archive.durable(T1).await.unwrap();
    assert_eq!((durable.end(), silent.len()), (None, 1));
    world.plan(0, FaultPlan::none().on(Select::kind(OperationKind::List), Fault::Fail));
    assert!(matches!(archive.coverage(T1).await, Err(WalError::Silent(_))));
}

#[tokio::test]
async fn w1_a_piece_that_is_damaged_in_a_copy_does_not_count_and_others_wal_is_a_conflict() {
    let world = World::new(2, 2).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    archive.put_piece(T1, Lsn(0), &wal()[..1000]).await.unwrap();
    vault.copies().overwrite_in(1, &piece_name(0, 1000), "rotten".into()).await.unwrap();
    let error = archive.put_piece(T1, Lsn(0), &wal()[..1000]).await.unwrap_err();
    assert!(matches!(&error, WalError::Write { source: WriteError::NotDurable { .. }, .. }), "{error:?}");
    let error = archive.put_piece(T1, Lsn(0), &[9; 1000]).await.unwrap_err();
    assert!(matches!(&error, WalError::Write { source: WriteError::Conflict { .. }, .. }), "{error:?}");
}

#[tokio::test]
async fn w2_a_history_that_one_copy_lacks_is_brought_there_and_one_that_differs_is_refused() {
    let world = World::new(2, 2).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    let name = names::wal_history(&service(), SYSTEM, Timeline(2));
    let sealed = seal::seal_object(vault.key(), &name, vault.clock().as_ref(), b"ours");
    vault.copies().create_in(1, &name, sealed.into()).await.unwrap();
    let outcome = archive.put_history(Timeline(2), b"theirs").await;
    assert!(matches!(outcome, Err(WalError::HistoryConflict { .. })), "the second copy knows: {outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn w3_pieces_go_only_from_copies_that_have_the_whole() {
    let world = World::new(3, 2).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    put_pieces(&archive, 4).await;
    let fails = |kind| FaultPlan::none().on(Select::kind(kind).named(&segment_name()), Fault::Fail);
    // One copy does not take the whole: its pieces stay, those of the others go.
    world.plan(2, fails(OperationKind::Create));
    let third_before = pieces_in(&vault).await[2];
    archive.join(T1, Lsn(0)).await.unwrap();
    assert_eq!(pieces_in(&vault).await, [0, 0, third_before]);
    assert_eq!(archive.fetch(T1, Lsn(0)).await.unwrap(), Fetched::Whole(wal()));
    // It is there again: it gets the whole, no other does, and its pieces go.
    world.plan(2, FaultPlan::none());
    let uploaded = [uploads(&world, 0, &segment_name()), uploads(&world, 1, &segment_name())];
    archive.join(T1, Lsn(0)).await.unwrap();
    assert_eq!(pieces_in(&vault).await, [0, 0, 0]);
    assert_eq!([uploads(&world, 0, &segment_name()), uploads(&world, 1, &segment_name())], uploaded);
    let alone = vault.copies().read_from(2, &segment_name()).await.unwrap();
    assert_eq!(seal::open_object(vault.key(), &segment_name(), &alone).unwrap(), wal());
}

#[tokio::test(start_paused = true)]
async fn w3_too_few_wholes_delete_nothing() {
    let world = World::new(2, 2).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    put_pieces(&archive, 4).await;
    world.plan(1, FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::FullDisk));
    let error = archive.join(T1, Lsn(0)).await.unwrap_err();
    assert!(
        matches!(&error, WalError::Write { source: WriteError::NotDurable { got: 1, .. }, .. }),
        "{error:?}"
    );
    assert_eq!(pieces_in(&vault).await, [4, 4]);
}

#[tokio::test]
async fn w3_a_damaged_whole_does_not_cost_the_pieces_that_could_heal_it() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    put_pieces(&archive, 4).await;
    vault.copies().create_in(0, &segment_name(), "rotten".into()).await.unwrap();
    archive.join(T1, Lsn(0)).await.unwrap_err();
    assert_eq!(pieces_in(&vault).await, [4]);
}

async fn prune(vault: &Vault) -> Outcome {
    let options = PruneOptions {
        service: service(),
        policy: Policy::everything(),
        verification: BTreeMap::new(),
        grace: Duration::ZERO,
        wait: Duration::from_secs(15),
    };
    prune::run(vault, "me", &options).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn w3_prune_leaves_the_pieces_of_a_whole_that_is_damaged() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    put_pieces(&archive, 4).await;
    vault.copies().create_in(0, &segment_name(), "rotten".into()).await.unwrap();
    for _ in 0..2 {
        let outcome = prune(&vault).await;
        assert_eq!((outcome.objects, outcome.left.len()), (0, 1), "{:?}", outcome.left);
        assert_eq!(pieces_in(&vault).await, [4]);
    }
    // They are what it can be recovered from, and what `check` brings to another copy.
    assert_eq!(archive.fetch(T1, Lsn(0)).await.unwrap(), Fetched::Whole(wal()));
    let tombs = prune::Tombs::read(&vault, &service()).await.unwrap();
    assert!(tombs.gone.is_empty(), "{tombs:?}");
    // Somebody brings the whole back.
    let sealed = seal::seal_object(vault.key(), &segment_name(), vault.clock().as_ref(), &wal());
    vault.copies().overwrite_in(0, &segment_name(), sealed.into()).await.unwrap();
    let outcome = prune(&vault).await;
    assert_eq!((outcome.objects, outcome.left.len()), (4, 0), "{:?}", outcome.left);
    assert_eq!(pieces_in(&vault).await, [0]);
}

#[tokio::test(start_paused = true)]
async fn w3_prune_leaves_the_pieces_of_a_whole_that_too_few_copies_have() {
    let world = World::new(2, 2).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    put_pieces(&archive, 4).await;
    let create = Select::kind(OperationKind::Create).named(&segment_name());
    world.plan(1, FaultPlan::none().on(create, Fault::FullDisk));
    archive.join(T1, Lsn(0)).await.unwrap_err();
    let outcome = prune(&vault).await;
    assert_eq!((outcome.objects, outcome.left.len()), (0, 1), "{:?}", outcome.left);
    assert_eq!(pieces_in(&vault).await, [4, 4]);
    world.plan(1, FaultPlan::none());
    let outcome = prune(&vault).await;
    assert_eq!((outcome.objects, outcome.left.len()), (4, 0), "{:?}", outcome.left);
    assert_eq!(pieces_in(&vault).await, [0, 0]);
    assert!(vault.copies().read_from(1, &segment_name()).await.is_ok());
}

#[tokio::test]
async fn w3_a_join_that_was_killed_before_it_deleted_uploads_nothing_again() {
    let world = World::new(2, 2).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    put_pieces(&archive, 8).await;
    archive.put_segment(fixture::segment(0), &wal()).await.unwrap();
    let before = world.stores[0].write_count();
    archive.join(T1, Lsn(0)).await.unwrap();
    let writes = world.stores[0].writes();
    let kinds: BTreeSet<_> =
        writes[before as usize..].iter().map(|call| format!("{:?}", call.kind)).collect();
    assert_eq!(kinds, BTreeSet::from(["Delete".to_owned()]));
    assert_eq!(pieces_in(&vault).await, [0, 0]);
    // Nothing is left to join; nothing is asked of the segment.
    archive.join(T1, Lsn(0)).await.unwrap();
}

#[tokio::test]
async fn w3_a_segment_with_a_hole_is_not_joined() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    archive.put_piece(T1, Lsn(0), &wal()[..1000]).await.unwrap();
    assert!(matches!(archive.join(T1, Lsn(0)).await, Err(WalError::Hole { .. })));
    archive.put_piece(T1, Lsn(2000), &wal()[2000..]).await.unwrap();
    let hole = LsnRange { start: Lsn(1000), end: Lsn(2000) };
    assert!(matches!(archive.join(T1, Lsn(0)).await, Err(WalError::Hole { hole: h, .. }) if h == hole));
    assert_eq!(pieces_in(&vault).await, [2]);
}

/// Runs `ask` while its first request of `kind` is held up, and joins the segment in that time.
async fn while_joined<T>(kind: OperationKind, ask: impl AsyncFnOnce(&WalArchive) -> T) -> T {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    put_pieces(&archive, 4).await;
    let slow = Select::kind(kind).named(&names::wal_timeline(&service(), SYSTEM, T1));
    world.plan(0, FaultPlan::none().nth(slow, 1, Fault::Delay(Duration::from_secs(5))));
    let joiner = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        archive.join(T1, Lsn(0)).await.unwrap();
    };
    let (answer, ()) = tokio::join!(ask(&archive), joiner);
    assert_eq!(world.stores[0].fired().len(), 1, "the race took place");
    assert_eq!(pieces_in(&vault).await, [0]);
    answer
}

#[tokio::test(start_paused = true)]
async fn w4_a_segment_that_is_joined_between_two_looks_is_not_absent() {
    // The whole is missing at first; then the listing of the pieces is held up until they are gone.
    let fetched = while_joined(OperationKind::List, async |archive| archive.fetch(T1, Lsn(0)).await).await;
    assert_eq!(fetched.unwrap(), Fetched::Whole(wal()));
}

#[tokio::test(start_paused = true)]
async fn w4_a_piece_that_is_joined_away_before_it_is_read_is_no_error() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    put_pieces(&archive, 4).await;
    // The listing is answered; the first piece is held up.
    let slow = Select::kind(OperationKind::Get).named(&piece_name(0, SEGMENT / 4));
    world.plan(0, FaultPlan::none().nth(slow, 1, Fault::Delay(Duration::from_secs(5))));
    let joiner = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        archive.join(T1, Lsn(0)).await.unwrap();
    };
    let (fetched, ()) = tokio::join!(archive.fetch(T1, Lsn(0)), joiner);
    assert_eq!(fetched.unwrap(), Fetched::Whole(wal()));
}

#[tokio::test]
async fn w4_absent_is_still_said_of_what_is_not_there() {
    let world = World::new(2, 2).await;
    let archive = fixture::archive(&world.vault().await).await;
    assert_eq!(archive.fetch(T1, Lsn(0)).await.unwrap(), Fetched::Absent);
    archive.put_piece(T1, Lsn(0), &wal()[..1000]).await.unwrap();
    let fetched = archive.fetch(T1, Lsn(0)).await.unwrap();
    assert!(matches!(fetched, Fetched::Beginning { end: Lsn(1000), .. }));
}

#[tokio::test]
async fn w4_a_segment_that_is_joined_behind_a_listings_back_is_covered() {
    let world = World::new(1, 1).await;
    let archive = fixture::archive(&world.vault().await).await;
    put_pieces(&archive, 4).await;
    archive.join(T1, Lsn(0)).await.unwrap();
    // A listing that passed the whole's name before it was written, and the pieces' after they were gone.
    let listing = Select::kind(OperationKind::List).named(&names::wal_timeline(&service(), SYSTEM, T1));
    world.plan(0, FaultPlan::none().nth(listing, 1, Fault::StaleList { hide: 1 }));
    let coverage = archive.coverage(T1).await.unwrap();
    assert_eq!(world.stores[0].fired().len(), 1, "the race took place");
    assert_eq!(coverage.stretches, [fixture::segment(0).range()]);
}

#[tokio::test(start_paused = true)]
async fn w5_a_timeline_that_each_copy_saw_otherwise_becomes_no_segment() {
    for differs in [false, true] {
        let world = World::new(2, 1).await;
        let vault = world.vault().await;
        let archive = fixture::archive(&vault).await;
        let gone = || FaultPlan::none().on(Select::any(), Fault::Fail);
        let mut other = wal();
        if differs {
            other[700] ^= 1;
        }
        let end = SEGMENT as usize;
        world.plan(1, gone());
        archive.put_piece(T1, Lsn(0), &wal()[..1000]).await.unwrap();
        archive.put_piece(T1, Lsn(1000), &wal()[1000..]).await.unwrap();
        world.plan(1, FaultPlan::none());
        world.plan(0, gone());
        archive.put_piece(T1, Lsn(0), &other[..600]).await.unwrap();
        // Inside of what is known already, and beyond it.
        archive.put_piece(T1, Lsn(600), &other[600..800]).await.unwrap();
        archive.put_piece(T1, Lsn(800), &other[800..end]).await.unwrap();
        world.plan(0, FaultPlan::none());
        let joined = archive.join(T1, Lsn(0)).await;
        if differs {
            assert!(matches!(joined, Err(WalError::Contradiction { .. })), "{joined:?}");
            assert!(matches!(archive.fetch(T1, Lsn(0)).await, Err(WalError::Contradiction { .. })));
            assert_eq!(pieces_in(&vault).await, [2, 3], "nothing is deleted");
        } else {
            joined.unwrap();
            assert_eq!(archive.fetch(T1, Lsn(0)).await.unwrap(), Fetched::Whole(wal()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w5_what_a_copy_has_otherwise_is_not_thrown_away_for_another_copys_whole() {
    // Each copy was away in turn, and production was set back to an older state between.
    let mut other = wal();
    other[700] ^= 1;
    let gone = || FaultPlan::none().on(Select::any(), Fault::Fail);
    let put = async |archive: &WalArchive, copy: usize, world: &World, bytes: &[u8]| {
        world.plan(1 - copy, gone());
        let half = (SEGMENT / 2) as usize;
        archive.put_piece(T1, Lsn(0), &bytes[..half]).await.unwrap();
        archive.put_piece(T1, Lsn(SEGMENT / 2), &bytes[half..]).await.unwrap();
        world.plan(1 - copy, FaultPlan::none());
    };
    // One copy has it whole, the other in pieces; both have it in pieces of the same names; both have it whole.
    for (whole_in, pieces_in_each) in [(vec![0], [0, 2]), (vec![], [2, 2]), (vec![0, 1], [0, 2])] {
        let world = World::new(2, 1).await;
        let vault = world.vault().await;
        let archive = fixture::archive(&vault).await;
        for (copy, count) in pieces_in_each.into_iter().enumerate() {
            let bytes = if copy == 0 { wal() } else { other.clone() };
            if whole_in.contains(&copy) {
                let sealed = seal::seal_object(vault.key(), &segment_name(), vault.clock().as_ref(), &bytes);
                vault.copies().create_in(copy, &segment_name(), sealed.into()).await.unwrap();
            }
            if count > 0 {
                put(&archive, copy, &world, &bytes).await;
            }
        }
        let joined = archive.join(T1, Lsn(0)).await;
        assert!(matches!(joined, Err(WalError::Contradiction { .. })), "{joined:?}");
        let outcome = prune(&vault).await;
        assert_eq!(outcome.objects, 0);
        assert_eq!(pieces_in(&vault).await, pieces_in_each, "{whole_in:?}");
    }
}

#[tokio::test]
async fn a_damaged_whole_hides_no_pieces_and_is_told_where_they_do_not_make_it_good() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    archive.put_piece(T1, Lsn(0), &wal()[..1000]).await.unwrap();
    vault.copies().create_in(0, &segment_name(), "rotten".into()).await.unwrap();
    let fetched = archive.fetch(T1, Lsn(0)).await;
    assert!(matches!(&fetched, Err(WalError::Read { .. })), "it has an end that is no end: {fetched:?}");
    archive.put_piece(T1, Lsn(1000), &wal()[1000..]).await.unwrap();
    assert_eq!(archive.fetch(T1, Lsn(0)).await.unwrap(), Fetched::Whole(wal()));
}

/// All four pieces of the segment, remembered as `bytes`.
fn remembered(bytes: Vec<u8>) -> Remembered {
    let length = SEGMENT / 4;
    let piece = |n| LsnRange { start: Lsn(n * length), end: Lsn((n + 1) * length) };
    Remembered { bytes, pieces: (0..4).map(piece).collect() }
}

fn reads_of_pieces(world: &World) -> usize {
    let reads = world.stores.iter().flat_map(|store| store.calls());
    reads.filter(|call| call.kind == OperationKind::Get && call.path.starts_with(&pieces_name())).count()
}

#[tokio::test]
async fn w3_what_is_remembered_is_joined_without_reading_it_back() {
    let world = World::new(2, 2).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    put_pieces(&archive, 4).await;
    archive.join_remembered(T1, Lsn(0), Some(&remembered(wal()))).await.unwrap();
    assert_eq!(reads_of_pieces(&world), 0);
    assert_eq!(archive.fetch(T1, Lsn(0)).await.unwrap(), Fetched::Whole(wal()));
    assert_eq!(pieces_in(&vault).await, [0, 0]);
}

#[tokio::test]
async fn w5_what_is_remembered_counts_only_if_it_is_all_that_every_copy_has() {
    let mut others = wal();
    others[700] ^= 1;
    // What is remembered here is another's: were it used, it would show.
    let lacks_a_piece = |mut remembered: Remembered| {
        remembered.pieces.pop_last();
        remembered
    };
    for (copies, durable, remembered) in
        [(1, 1, lacks_a_piece(remembered(others.clone()))), (2, 1, remembered(others.clone()))]
    {
        let world = World::new(copies, durable).await;
        let vault = world.vault().await;
        let archive = fixture::archive(&vault).await;
        put_pieces(&archive, 4).await;
        archive.join_remembered(T1, Lsn(0), Some(&remembered)).await.unwrap();
        assert!(reads_of_pieces(&world) >= 4);
        assert_eq!(archive.fetch(T1, Lsn(0)).await.unwrap(), Fetched::Whole(wal()));
    }
    // Another server's piece lies among them.
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    put_pieces(&archive, 4).await;
    archive.put_piece(T1, Lsn(600), &others[600..800]).await.unwrap();
    let joined = archive.join_remembered(T1, Lsn(0), Some(&remembered(wal()))).await;
    assert!(matches!(joined, Err(WalError::Contradiction { .. })), "{joined:?}");
    assert_eq!(pieces_in(&vault).await, [5], "nothing is deleted");
}
