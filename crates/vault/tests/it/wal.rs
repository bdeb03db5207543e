//! WAL in the vault: contiguous by position, one history, pieces go last.

use crate::fixture::{SEGMENT, archive, content, segment};
use crate::support::World;
use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_vault::wal::{Cluster, Fetched, WalArchive, WalError};

const ONE: Timeline = Timeline(1);

/// Segment 3 in pieces of a quarter.
async fn put_pieces(archive: &WalArchive, quarters: &[u64]) {
    let whole = content(3, SEGMENT as usize);
    for n in quarters {
        let at = (n * SEGMENT / 4) as usize;
        let piece = &whole[at..at + (SEGMENT / 4) as usize];
        archive.put_piece(ONE, Lsn(3 * SEGMENT + at as u64), piece).await.unwrap();
    }
}

const AT: Lsn = Lsn(3 * SEGMENT + 77);

#[tokio::test]
async fn w1_pieces_become_a_segment_and_holes_are_named() {
    let world = World::new(2, 2).await;
    let archive = archive(&world.vault().await).await;
    assert_eq!(archive.fetch(ONE, AT).await.unwrap(), Fetched::Absent);
    put_pieces(&archive, &[0, 1]).await;
    let Fetched::Beginning { bytes, end } = archive.fetch(ONE, AT).await.unwrap() else { panic!() };
    assert_eq!((bytes.len() as u64, end), (SEGMENT, Lsn(3 * SEGMENT + SEGMENT / 2)));
    assert!(bytes[SEGMENT as usize / 2..].iter().all(|byte| *byte == 0));
    put_pieces(&archive, &[3]).await;
    let hole = LsnRange { start: Lsn(3 * SEGMENT + SEGMENT / 2), end: Lsn(3 * SEGMENT + SEGMENT / 4 * 3) };
    let fetched = archive.fetch(ONE, AT).await;
    assert!(matches!(fetched, Err(WalError::Hole { hole: found, .. }) if found == hole), "{fetched:?}");
    assert_eq!(archive.coverage(ONE).await.unwrap().holes(), [hole]);
    assert!(matches!(archive.join(ONE, AT).await, Err(WalError::Hole { .. })));
    put_pieces(&archive, &[2]).await;
    assert_eq!(archive.fetch(ONE, AT).await.unwrap(), Fetched::Whole(content(3, SEGMENT as usize)));
    archive.join(ONE, AT).await.unwrap();
    archive.join(ONE, AT).await.unwrap();
    assert_eq!(archive.fetch(ONE, AT).await.unwrap(), Fetched::Whole(content(3, SEGMENT as usize)));
    let coverage = archive.coverage(ONE).await.unwrap();
    assert_eq!(coverage.stretches, [segment(3).range()]);
    assert_eq!(archive.timelines().await.unwrap().into_iter().collect::<Vec<_>>(), [ONE]);
}

#[tokio::test]
async fn w3_a_join_that_is_killed_at_any_write_loses_nothing() {
    for write in 1..=6 {
        for fault in [Fault::Crash, Fault::CrashAfter] {
            let world = World::new(1, 1).await;
            let archive = archive(&world.vault().await).await;
            put_pieces(&archive, &[0, 1, 2, 3]).await;
            world.plan(0, FaultPlan::none().at_write(write, fault));
            let _ = archive.join(ONE, AT).await;
            world.plan(0, FaultPlan::none());
            let whole = Fetched::Whole(content(3, SEGMENT as usize));
            assert_eq!(archive.fetch(ONE, AT).await.unwrap(), whole, "write {write}");
            archive.join(ONE, AT).await.unwrap();
            assert_eq!(archive.fetch(ONE, AT).await.unwrap(), whole, "write {write}");
        }
    }
}

#[tokio::test]
async fn the_same_wal_again_is_no_conflict_and_other_wal_is_one() {
    let world = World::new(2, 1).await;
    let archive = archive(&world.vault().await).await;
    for _ in 0..2 {
        put_pieces(&archive, &[0]).await;
        archive.put_segment(segment(5), &content(5, SEGMENT as usize)).await.unwrap();
    }
    let other = vec![9; SEGMENT as usize / 4];
    assert!(matches!(archive.put_piece(ONE, Lsn(3 * SEGMENT), &other).await, Err(WalError::Write { .. })));
    let other = content(6, SEGMENT as usize);
    assert!(matches!(archive.put_segment(segment(5), &other).await, Err(WalError::Write { .. })));
}

#[tokio::test]
async fn w2_a_timeline_has_one_history() {
    let world = World::new(2, 1).await;
    let vault = world.vault().await;
    let archive = archive(&vault).await;
    assert!(archive.history(ONE).await.unwrap().ancestors().is_empty());
    assert!(archive.history(Timeline(2)).await.is_err());
    archive.put_history(Timeline(2), b"1\t0/300000\tno recovery target specified\n").await.unwrap();
    archive.put_history(Timeline(2), b"1\t0/300000\tno recovery target specified\n").await.unwrap();
    let other = archive.put_history(Timeline(2), b"1\t0/400000\tno recovery target specified\n").await;
    assert!(matches!(other, Err(WalError::HistoryConflict { .. })), "{other:?}");
    assert_eq!(archive.history(Timeline(2)).await.unwrap().begins_at(), Some(Lsn(0x30_0000)));
    let grown = Cluster { segment_bytes: 2 << 20, ..archive.cluster().clone() };
    let service = crate::fixture::service();
    assert!(
        WalArchive::establish(&vault, &service, grown).await.is_err(),
        "segments do not change their size"
    );
    assert_eq!(lifeboat_vault::wal::clusters(&vault, &service).await.unwrap().len(), 1);
}

#[tokio::test]
async fn c3_a_silent_copy_is_no_proof_of_absence_and_c4_damage_is_not_served() {
    for (durable, proven) in [(1, false), (2, true)] {
        let world = World::new(2, durable).await;
        let archive = archive(&world.vault().await).await;
        let reads = Select::kinds(&[OperationKind::Get, OperationKind::List]).named("wal");
        world.plan(1, FaultPlan::none().on(reads, Fault::Unavailable));
        let fetched = archive.fetch(ONE, AT).await;
        assert_eq!(matches!(fetched, Ok(Fetched::Absent)), proven, "{fetched:?}");
        assert_eq!(archive.coverage(ONE).await.is_ok(), proven);
    }
    for fault in [Fault::FlipBit, Fault::TruncateBody, Fault::ResetBody, Fault::Fail] {
        for copy in 0..2 {
            let world = World::new(2, 2).await;
            let archive = archive(&world.vault().await).await;
            put_pieces(&archive, &[0, 1, 2]).await;
            archive.put_segment(segment(4), &content(4, SEGMENT as usize)).await.unwrap();
            world.plan(copy, FaultPlan::none().on(Select::kind(OperationKind::Get), fault).seeded(3));
            let whole = archive.fetch(ONE, Lsn(4 * SEGMENT)).await.unwrap();
            assert_eq!(whole, Fetched::Whole(content(4, SEGMENT as usize)), "{fault:?}");
            let Fetched::Beginning { bytes, .. } = archive.fetch(ONE, AT).await.unwrap() else { panic!() };
            let raw = content(3, SEGMENT as usize);
            assert_eq!(bytes[..SEGMENT as usize / 4 * 3], raw[..SEGMENT as usize / 4 * 3], "{fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_copy_that_hangs_does_not_hold_up_what_is_durable_elsewhere() {
    let world = World::new(2, 1).await;
    let archive = archive(&world.vault().await).await;
    let hang = Fault::Delay(std::time::Duration::from_secs(3_600));
    world.plan(1, FaultPlan::none().on(Select::any(), hang));
    let began = tokio::time::Instant::now();
    for n in 0..100 {
        // Far more than a copy may have under way: it falls behind, memory does not grow.
        archive.put_piece(ONE, Lsn(7 * SEGMENT + n * 100), &[7; 100]).await.unwrap();
    }
    assert!(began.elapsed().as_secs() < 1, "{:?}", began.elapsed());
}
