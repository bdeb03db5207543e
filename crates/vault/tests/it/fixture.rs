//! A service with restore points, layers and WAL, fabricated but whole.

use crate::support::World;
use lifeboat_base::{Lsn, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::{SegmentSize, WalFileName};
use lifeboat_vault::layer::{FileEntry, FileKind, LayerWriter};
use lifeboat_vault::point::{self, RestorePoint};
use lifeboat_vault::wal::{Cluster, WalArchive};
use lifeboat_vault::{Vault, names};
use std::collections::BTreeMap;
use std::time::Duration;

pub const SEGMENT: u64 = 1 << 20;
pub const SYSTEM: SystemId = SystemId(7_000_000_000_000_000_001);

pub fn service() -> ServiceName {
    "db".parse().unwrap()
}

pub fn cluster() -> Cluster {
    Cluster { system_id: SYSTEM, major: 18, segment_bytes: SEGMENT as u32 }
}

pub async fn archive(vault: &Vault) -> WalArchive {
    WalArchive::establish(vault, &service(), cluster()).await.unwrap()
}

pub fn segment(number: u64) -> WalFileName {
    WalFileName::holding(Timeline(1), Lsn(number * SEGMENT), SegmentSize::new(SEGMENT).unwrap())
}

/// Bytes that compress well and are not alike.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![seed as u8; length];
    for n in (0..length).step_by(512) {
        bytes[n] = (seed as usize + n / 512) as u8;
    }
    bytes
}

pub async fn put_segment(vault: &Vault, number: u64) {
    let bytes = content(number, SEGMENT as usize);
    archive(vault).await.put_segment(segment(number), &bytes).await.unwrap();
}

pub async fn put_layer(vault: &Vault, id: &str) {
    let writer = LayerWriter::new(vault, &service(), id.to_owned(), 1);
    let mut files = Vec::new();
    for n in 0..2 {
        let path = format!("base/5/{n}");
        let mut pack = writer.begin_pack();
        pack.add(&path, 0, &content(n, 10_000));
        writer.put_pack(pack.finish()).await.unwrap();
        files.push(FileEntry {
            path,
            kind: FileKind::File,
            length: 10_000,
            mode: 0o600,
            packs: Vec::new(),
            smallest_length: None,
            removed: false,
            made_anew: false,
        });
    }
    writer.finish(files).await.unwrap();
}

/// A point that begins in segment `start` and is consistent there.
pub fn point(vault: &Vault, id: &str, start: u64, layers: &[&str]) -> RestorePoint {
    let now = vault.clock().now();
    RestorePoint {
        id: id.to_owned(),
        service: service(),
        system_id: SYSTEM,
        major: 18,
        segment_bytes: SEGMENT as u32,
        layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
        advanced_from: None,
        timeline: Timeline(1),
        start: Lsn(start * SEGMENT + 40),
        stop: Lsn(start * SEGMENT + 400),
        started: now,
        finished: now,
        from_standby: false,
        checksums: true,
        backup_label: "START WAL LOCATION".to_owned(),
        tablespace_map: String::new(),
        tablespaces: Vec::new(),
        damaged_pages: Vec::new(),
        size_bytes: 20_000,
        stored_bytes: 1_000,
        files: 2,
    }
}

/// `points` restore points a day apart, each with a layer and a segment of its own, and a layer that a killed
/// backup left.
pub async fn fill(world: &World, vault: &Vault, points: u64) {
    for n in 0..points {
        let layer = point::new_id(vault.clock().as_ref());
        put_layer(vault, &layer).await;
        put_segment(vault, n).await;
        point::publish(vault, &point(vault, &format!("p{n}"), n, &[&layer])).await.unwrap();
        if n == 0 {
            put_layer(vault, &point::new_id(vault.clock().as_ref())).await;
        }
        world.clock.pass(Duration::from_secs(86_400));
    }
    let archive = archive(vault).await;
    let piece = content(99, 1_000);
    archive.put_piece(Timeline(1), Lsn(points * SEGMENT), &piece).await.unwrap();
    // A segment that was joined by a process that died before it deleted the piece.
    let last = (points - 1) * SEGMENT;
    archive.put_piece(Timeline(1), Lsn(last), &content(points - 1, 1_000)).await.unwrap();
}

/// All objects below `services/`, in each copy that has them.
pub async fn held(vault: &Vault) -> BTreeMap<String, Vec<usize>> {
    let listing = vault.copies().list("services").await;
    assert!(listing.failures.is_empty());
    listing.objects.into_iter().map(|(name, listed)| (name, listed.copies)).collect()
}

/// Whatever is called a restore point has all its objects, in `copy` if it is listed there.
pub async fn assert_restorable(vault: &Vault, copy: usize) -> usize {
    let objects = held(vault).await;
    let has = |name: &str| objects.get(name).is_some_and(|copies| copies.contains(&copy));
    let mut count = 0;
    for name in objects.keys().filter(|name| name.starts_with("services/db/points/") && has(name)) {
        let id = name.rsplit('/').next().unwrap();
        let point = point::read(vault, &service(), id).await.unwrap();
        for layer in &point.layers {
            assert!(has(&names::layer_index(&service(), layer)), "{id} has lost {layer}");
            for pack in 0..2 {
                assert!(has(&names::pack(&service(), layer, pack)), "{id} has lost pack {pack}");
            }
        }
        let number = point.start.0 / SEGMENT;
        let wal = names::wal_segment(&service(), SYSTEM, Timeline(1), &segment(number).to_string());
        assert!(has(&wal), "{id} has lost its WAL");
        count += 1;
    }
    count
}
