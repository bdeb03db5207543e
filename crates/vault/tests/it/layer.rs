//! Layers and restore points: what was written is read, from whichever copy is whole, and a killed backup is none.

use crate::fixture::{assert_restorable, content, fill, point, put_layer, put_segment, service};
use crate::support::World;
use lifeboat_base::Lsn;
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_vault::check::{self, CheckOptions, Repair};
use lifeboat_vault::layer::{FRAME_BYTES, FileEntry, FileKind, LayerError, LayerReader, LayerWriter};
use lifeboat_vault::pins::{self, Purpose};
use lifeboat_vault::point::{self as points, PointError, RestorePoint};
use lifeboat_vault::prune::{self, Policy, PruneOptions, Verification};
use lifeboat_vault::{Vault, WriteError, names};
use std::collections::BTreeMap;
use std::time::Duration;

const LAYER: &str = "20260101T000000Z-00000000";

fn entry(path: &str, length: u64) -> FileEntry {
    let (kind, mode, packs) = (FileKind::File, 0o600, Vec::new());
    let (smallest_length, removed, made_anew) = (None, false, false);
    FileEntry { path: path.to_owned(), kind, length, mode, packs, smallest_length, removed, made_anew }
}

/// Three files over two packs that were filled side by side; `b`'s middle frame is all zero and not stored.
async fn write(vault: &Vault) -> BTreeMap<&'static str, Vec<u8>> {
    let mut b = content(2, FRAME_BYTES * 3 - 5);
    b[FRAME_BYTES..FRAME_BYTES * 2].fill(0);
    let files: BTreeMap<&str, Vec<u8>> = [("a", content(1, 100)), ("b", b), ("empty", Vec::new())].into();
    let writer = LayerWriter::new(vault, &service(), LAYER.to_owned(), 1);
    let (mut one, mut two) = (writer.begin_pack(), writer.begin_pack());
    two.add("b", 0, &files["b"][..FRAME_BYTES]);
    one.add("a", 0, &files["a"]);
    one.add("b", 2 * FRAME_BYTES as u64, &files["b"][2 * FRAME_BYTES..]);
    writer.put_pack(two.finish()).await.unwrap();
    writer.put_pack(one.finish()).await.unwrap();
    let entries = files.iter().map(|(path, bytes)| entry(path, bytes.len() as u64)).collect();
    assert!(writer.finish(entries).await.unwrap() > 0);
    files
}

async fn assert_reads(vault: &Vault, files: &BTreeMap<&str, Vec<u8>>) {
    let reader = LayerReader::open(vault, &service(), LAYER).await.unwrap();
    for (path, bytes) in files {
        for at in [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES * 2 + 1, bytes.len(), usize::MAX >> 1] {
            let frame = reader.frame(path, at as u64).await.unwrap();
            let begin = at - at % FRAME_BYTES;
            let expected =
                (at < bytes.len()).then(|| bytes[begin..(begin + FRAME_BYTES).min(bytes.len())].to_vec());
            assert!(frame == expected, "{path} at {at}");
        }
    }
    assert_eq!(reader.frame("nothing", 0).await.unwrap(), None);
    for number in 0..2 {
        let pack = reader.intact_pack(number).await.unwrap();
        for (frame, entry) in (0..).zip(&pack.directory.frames) {
            let path = pack.directory.files[entry.file as usize].as_str();
            let begin = entry.begin as usize;
            assert_eq!(pack.frame(frame).unwrap(), files[path][begin..begin + entry.length as usize]);
        }
    }
}

#[tokio::test]
async fn what_was_written_is_read_from_whichever_copy_is_whole() {
    let world = World::new(2, 2).await;
    let vault = world.vault().await;
    let files = write(&vault).await;
    assert_reads(&vault, &files).await;
    for fault in [Fault::FlipBit, Fault::TruncateBody, Fault::ResetBody, Fault::Unavailable] {
        for copy in 0..2 {
            for seed in 0..3 {
                let plan = FaultPlan::none().on(Select::kind(OperationKind::Get), fault).seeded(seed);
                world.plan(copy, plan);
                assert_reads(&vault, &files).await;
                world.plan(copy, FaultPlan::none());
            }
        }
    }
    for copy in 0..2 {
        // A flipped bit may be one of the header that says nothing; half an index is none.
        world.plan(copy, FaultPlan::none().on(Select::kind(OperationKind::Get), Fault::TruncateBody));
    }
    let opened = LayerReader::open(&vault, &service(), LAYER).await;
    assert!(matches!(opened, Err(LayerError::Read { .. })), "damage is not served");
}

#[tokio::test]
async fn p1_a_backup_that_is_killed_at_any_write_leaves_garbage_never_a_lie() {
    let backup = async |vault: &Vault| {
        put_segment(vault, 0).await;
        put_layer(vault, LAYER).await;
        points::publish(vault, &point(vault, "p0", 0, &[LAYER])).await.unwrap();
    };
    let rehearsal = World::new(1, 1).await;
    let vault = rehearsal.vault().await;
    let before = rehearsal.stores[0].write_count();
    backup(&vault).await;
    let writes = rehearsal.stores[0].write_count() - before;
    assert_eq!(writes, 6, "cluster, segment, two packs, index, manifest");
    for write in 1..=writes {
        for fault in [Fault::Crash, Fault::CrashAfter] {
            let world = World::new(1, 1).await;
            let vault = world.vault().await;
            world.plan(0, FaultPlan::none().at_write(write, fault));
            let task = {
                let vault = vault.clone();
                tokio::spawn(async move { backup(&vault).await })
            };
            assert!(task.await.is_err(), "it was killed");
            world.plan(0, FaultPlan::none());
            let whole = write == writes && fault == Fault::CrashAfter;
            assert_eq!(points::list(&vault, &service()).await.unwrap().len(), usize::from(whole));
            assert_eq!(assert_restorable(&vault, 0).await, usize::from(whole));
        }
    }
}

#[tokio::test]
async fn restore_points_are_listed_by_time_and_only_when_all_are_known() {
    let world = World::new(2, 1).await;
    let vault = world.vault().await;
    put_layer(&vault, LAYER).await;
    for (id, minutes) in [("z", 1), ("a", 3), ("m", 2)] {
        let mut point = point(&vault, id, 0, &[LAYER]);
        point.finished += Duration::from_secs(minutes * 60);
        points::publish(&vault, &point).await.unwrap();
    }
    let ids: Vec<String> =
        points::list(&vault, &service()).await.unwrap().into_iter().map(|p| p.id).collect();
    assert_eq!(ids, ["z", "m", "a"]);
    let unknown = points::read(&vault, &service(), "x").await;
    assert!(matches!(unknown, Err(PointError::Unknown { .. })), "{unknown:?}");
    let other = point(&vault, "z", 5, &[LAYER]);
    assert!(matches!(points::publish(&vault, &other).await, Err(WriteError::Conflict { .. })));
    let lost = point(&vault, "lost", 0, &["20260101T000000Z-ffffffff"]);
    assert!(matches!(points::publish(&vault, &lost).await, Err(WriteError::Incomplete { .. })));
    world.plan(1, FaultPlan::none().on(Select::kind(OperationKind::List), Fault::Unavailable));
    let listed = points::list(&vault, &service()).await;
    assert!(matches!(listed, Err(PointError::Silent { .. })), "another may have a point that this one lacks");
}

#[tokio::test]
async fn l1_a_layer_that_no_manifest_names_is_nothing_and_half_a_layer_cannot_be_named() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    put_segment(&vault, 0).await;
    put_layer(&vault, LAYER).await;
    assert!(points::list(&vault, &service()).await.unwrap().is_empty());
    let named = points::read(&vault, &service(), LAYER).await;
    assert!(matches!(named, Err(PointError::Unknown { .. })), "{named:?}");
    // Another backup's manifest does not make it count.
    let other = "20260101T000001Z-00000001";
    put_layer(&vault, other).await;
    points::publish(&vault, &point(&vault, "p0", 0, &[other])).await.unwrap();
    assert_eq!(points::list(&vault, &service()).await.unwrap().len(), 1);
    // Packs without their index are no layer to name.
    let half = "20260101T000002Z-00000002";
    let writer = LayerWriter::new(&vault, &service(), half.to_owned(), 1);
    let mut pack = writer.begin_pack();
    pack.add("a", 0, &[7; 100]);
    writer.put_pack(pack.finish()).await.unwrap();
    let named = points::publish(&vault, &point(&vault, "p1", 0, &[other, half])).await;
    assert!(matches!(named, Err(WriteError::Incomplete { .. })), "{named:?}");
    assert_eq!(points::list(&vault, &service()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn p2_a_manifest_stays_as_it_was_written_whatever_becomes_of_the_point() {
    let world = World::new(2, 2).await;
    let vault = world.vault().await;
    fill(&world, &vault, 3).await;
    let stored = async || {
        let mut stored = Vec::new();
        for (copy, id) in [(0, "p0"), (1, "p0"), (0, "p2"), (1, "p2")] {
            stored.push(vault.copies().read_from(copy, &names::point(&service(), id)).await.ok());
        }
        stored
    };
    let before = stored().await;
    let first = points::read(&vault, &service(), "p0").await.unwrap();
    let other = RestorePoint { stop: Lsn(first.stop.0 + 8), ..first.clone() };
    let published = points::publish(&vault, &other).await;
    assert!(matches!(published, Err(WriteError::Conflict { .. })), "{published:?}");
    assert_eq!(stored().await, before);
    // What is found out about it, and what goes beside it, is written elsewhere.
    let verification = [("p0".to_owned(), Verification::Verified), ("p2".to_owned(), Verification::Failed)];
    let options = PruneOptions {
        service: service(),
        policy: Policy { last: Some(1), ..Policy::everything() },
        verification: verification.into(),
        grace: Duration::ZERO,
        wait: Duration::from_secs(15),
    };
    pins::put(&vault, &service(), Purpose::Restore, Some("p0"), "me").await.unwrap();
    assert!(!prune::run(&vault, "me", &options).await.unwrap().deleted.is_empty());
    let repair = Repair { actor: "me".to_owned(), wait: Duration::from_secs(15) };
    let options = CheckOptions { deep: true, repair: Some(repair), progress: None };
    check::check(&vault, &options).await.unwrap();
    assert_eq!(stored().await, before);
    assert_eq!(points::read(&vault, &service(), "p0").await.unwrap(), first);
}
