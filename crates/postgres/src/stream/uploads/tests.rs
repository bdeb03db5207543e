//! Attacks on the uploads: a vault that takes nothing, and one that has other bytes.

use super::super::testing::{Bench, SEGMENT_BYTES, noise};
use super::*;
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};

const START: Lsn = Lsn(3 * SEGMENT_BYTES);
const LENGTH: usize = 1000;

fn uploads(bench: &Bench) -> Uploads {
    Uploads::new(bench.archive.clone(), Timeline(1), START, bench.shared.recent.clone(), bench.clock.clone())
}

fn piece(bench: &Bench, number: u64, seed: u8) -> Piece {
    let start = START.advance(number * LENGTH as u64);
    Piece { start, bytes: noise(LENGTH, seed), sent_at: bench.clock.now() }
}

#[tokio::test]
async fn u2_so_many_pieces_are_under_way_and_no_more() {
    let bench = Bench::new(1).await;
    let creates = Select::kind(OperationKind::Create);
    bench.stores[0].set_plan(FaultPlan::none().on(creates, Fault::Unavailable));
    let mut uploads = uploads(&bench);
    let mut begun = 0;
    while uploads.has_room() {
        uploads.begin(piece(&bench, begun, 0));
        begun += 1;
    }
    assert_eq!(begun, UNDER_WAY_LIMIT as u64);
    // A failure makes no room: the piece is tried again.
    assert!(matches!(uploads.next().await, Uploaded::Trouble(_)));
    assert!(!uploads.has_room());
    bench.stores[0].set_plan(FaultPlan::none());
    while !matches!(uploads.next().await, Uploaded::Durable { .. }) {}
    assert!(uploads.has_room());
}

#[tokio::test]
async fn u3_e1_other_bytes_under_a_pieces_name_are_a_fork_and_the_first_stay() {
    let bench = Bench::new(1).await;
    let (first, other) = (piece(&bench, 0, 0), piece(&bench, 0, 1));
    let mut uploads = uploads(&bench);
    uploads.begin(first.clone());
    assert!(matches!(uploads.next().await, Uploaded::Durable { grew: true, .. }));

    // The same again, as after a reply that was lost, is well.
    let mut again = self::uploads(&bench);
    again.begin(first.clone());
    assert!(matches!(again.next().await, Uploaded::Durable { grew: true, .. }));

    let mut fork = self::uploads(&bench);
    fork.begin(other);
    let conflict = fork.next().await;
    assert!(matches!(conflict, Uploaded::Conflict(range) if range == first.range()), "{conflict:?}");
    assert_eq!(fork.durable(), START, "nothing of it counts as durable");
    // E1 of `recent`: what is joined from memory is what the vault took.
    let kept = bench.shared.recent.take(Timeline(1), START).unwrap();
    assert_eq!((&kept.bytes, kept.pieces.len()), (&first.bytes, 1));
    assert_eq!(compare(&bench.archive, Timeline(1), START, &first.bytes).await, Some(true));
}
