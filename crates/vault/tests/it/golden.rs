//! Golden files: what an earlier Lifeboat wrote is read for ever.
//!
//! A whole vault of format 1, as a directory, with one of each object; and sealed objects by themselves.
//! They are made once (`cargo test -p lifeboat-vault --test it make_golden -- --ignored`) and never again for
//! the same format: a test that fails here means that vaults of customers would not open.

use crate::fixture::{SEGMENT, SYSTEM, cluster, content, point, segment, service};
use crate::support::scope;
use age::secrecy::ExposeSecret;
use lifeboat_base::{Clock, Lsn, ManualClock, Timeline};
use lifeboat_vault::journal::{self, Chain};
use lifeboat_vault::keys::Unlock;
use lifeboat_vault::layer::{FRAME_BYTES, FileEntry, FileKind, LayerKind, LayerReader, LayerWriter};
use lifeboat_vault::pins::{self, Purpose};
use lifeboat_vault::point::{self as points, DamagedPage, RestorePoint, Tablespace};
use lifeboat_vault::seal::{HEADER_BYTES, ObjectOpener, ObjectSealer, VaultKey, open_object, seal_object};
use lifeboat_vault::wal::{Fetched, WalArchive, clusters};
use lifeboat_vault::{Copies, Vault, VaultCopy, address, names};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

const PASSPHRASE: &str = "golden, and known to everyone";
const LAYER: &str = "20260101T000000Z-00000000";
const HISTORY: &[u8] = b"1\t0/300000\tno recovery target specified\n";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1")
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 1))
}

fn key() -> VaultKey {
    VaultKey::from_bytes(&[0x42; 32]).unwrap()
}

/// The copy in a directory, which is made if `create`.
fn copies(create: bool) -> Copies {
    let url = url::Url::from_directory_path(directory().join("vault")).unwrap();
    let store = address::open(url.as_str(), create, &|_| None).unwrap();
    Copies::new(vec![VaultCopy::new("golden", None, store)], 1)
}

async fn open() -> Vault {
    Vault::open(copies(false), &Unlock::Passphrase(PASSPHRASE.to_owned().into()), clock()).await.unwrap()
}

fn file(path: &str, kind: FileKind, length: u64) -> FileEntry {
    let (packs, smallest_length, removed, made_anew) = (Vec::new(), None, false, false);
    FileEntry { path: path.to_owned(), kind, length, mode: 0o600, packs, smallest_length, removed, made_anew }
}

/// Without, and with, what a point may have.
fn restore_points(vault: &Vault) -> [RestorePoint; 2] {
    let plain = point(vault, "20260101T000000Z-aaaaaaaa", 0, &[LAYER]);
    let path = || "base/5/16384".to_owned();
    let bare = DamagedPage { path: path(), block: 3, database: None, relation: None, suspect: false };
    let (database, relation) = (Some("shop".to_owned()), Some("public.ledger".to_owned()));
    let told = DamagedPage { path: path(), block: 4, database, relation, suspect: true };
    let full = RestorePoint {
        id: "20260101T000000Z-bbbbbbbb".to_owned(),
        tablespace_map: "16400 /srv/fast\n".to_owned(),
        tablespaces: vec![Tablespace { oid: 16_400, location: "/srv/fast".to_owned() }],
        damaged_pages: vec![bare, told],
        from_standby: true,
        ..plain.clone()
    };
    [plain, full]
}

/// The raw bytes of what is sealed by itself: too short to compress, compressed, and several frames.
fn sealed_alone() -> [(&'static str, Vec<Vec<u8>>); 3] {
    let short = b"short".to_vec();
    [
        ("sealed-stored", vec![short.clone()]),
        ("sealed-zstd", vec![content(1, 10_000)]),
        ("sealed-frames", vec![content(2, 1_000), Vec::new(), short]),
    ]
}

#[tokio::test]
#[ignore = "makes the golden files; once for each format"]
async fn make_golden_vault() {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let vault = Vault::init(copies(true), Some(PASSPHRASE), &[recipient], clock()).await.unwrap();
    let text =
        format!("# of the golden vault, secret from nobody\n{}\n", identity.to_string().expose_secret());
    std::fs::write(directory().join("identity.txt"), text).unwrap();
    for (name, frames) in sealed_alone() {
        let sealed = match &frames[..] {
            [raw] => seal_object(&key(), name, clock().as_ref(), raw),
            _ => {
                let mut out = Vec::new();
                let mut sealer = ObjectSealer::begin(&key(), name, clock().as_ref(), 3, &mut out);
                for raw in &frames {
                    sealer.frame(raw, &mut out);
                }
                out
            }
        };
        std::fs::write(directory().join(name), sealed).unwrap();
    }
    let mut chain = Chain::open(&vault, &scope("services/db/backup"), "golden").await.unwrap();
    for n in 0..3 {
        chain.append("backup.written", json!({ "n": n, "point": "p" })).await.unwrap();
    }
    let archive = WalArchive::establish(&vault, &service(), cluster()).await.unwrap();
    archive.put_segment(segment(0), &content(7, SEGMENT as usize)).await.unwrap();
    archive.put_piece(Timeline(1), Lsn(SEGMENT), &content(8, 1_000)).await.unwrap();
    archive.put_history(Timeline(2), HISTORY).await.unwrap();
    let writer = LayerWriter::new(&vault, &service(), LAYER.to_owned(), 3);
    let mut pack = writer.begin_pack();
    pack.add("base/5/16384", 0, &content(3, FRAME_BYTES));
    pack.add("base/5/16384", 2 * FRAME_BYTES as u64, &content(4, 8_192));
    pack.add("PG_VERSION", 0, b"18\n");
    writer.put_pack(pack.finish()).await.unwrap();
    let length = 2 * FRAME_BYTES as u64 + 8_192;
    let files = vec![
        file("PG_VERSION", FileKind::File, 3),
        file("base/5", FileKind::Directory, 0),
        file("base/5/16384", FileKind::File, length),
    ];
    writer.finish(files).await.unwrap();
    for point in restore_points(&vault) {
        points::publish(&vault, &point).await.unwrap();
    }
    pins::put(&vault, &service(), Purpose::Hold, Some("20260101T000000Z-aaaaaaaa"), "golden").await.unwrap();
}

#[tokio::test]
async fn golden_header_and_both_keys_open_the_vault() {
    let by_passphrase = open().await;
    let identity = std::fs::read_to_string(directory().join("identity.txt")).unwrap();
    let unlock = Unlock::AgeIdentity(identity.into());
    let by_identity = Vault::open(copies(false), &unlock, clock()).await.unwrap();
    assert_eq!(by_passphrase.header(), by_identity.header());
    assert_eq!(by_passphrase.header().format, 1);
    assert_eq!(by_passphrase.header().created, "2026-01-01T00:00:00Z".parse().unwrap());
    let name = names::cluster(&service(), SYSTEM);
    assert_eq!(by_passphrase.read(&name).await.unwrap(), by_identity.read(&name).await.unwrap());
}

#[test]
fn golden_sealed_objects_open() {
    for (name, frames) in sealed_alone() {
        let sealed = std::fs::read(directory().join(name)).unwrap();
        if let [raw] = &frames[..] {
            assert_eq!(open_object(&key(), name, &sealed).unwrap(), *raw, "{name}");
            continue;
        }
        let opener = ObjectOpener::new(&key(), name, &sealed).unwrap();
        // Where each frame ends is what a pack's directory tells; here it is told.
        let ends: Vec<usize> = vec![sealed.len() - 22 - 17, sealed.len() - 22, sealed.len()];
        let mut begin = HEADER_BYTES;
        for (number, (end, raw)) in (0..).zip(ends.into_iter().zip(&frames)) {
            assert_eq!(opener.frame(number, &sealed[begin..end]).unwrap(), *raw, "{name}, frame {number}");
            begin = end;
        }
    }
}

#[tokio::test]
async fn golden_manifests_are_read() {
    let vault = open().await;
    assert_eq!(points::list(&vault, &service()).await.unwrap(), restore_points(&vault));
}

#[tokio::test]
async fn golden_base_layer_is_read() {
    let reader = LayerReader::open(&open().await, &service(), LAYER).await.unwrap();
    let index = reader.index();
    assert_eq!((index.kind, index.files.len(), index.packs.len()), (LayerKind::Base, 3, 1));
    assert_eq!(index.file("base/5").unwrap().kind, FileKind::Directory);
    assert_eq!(index.file("base/5/16384").unwrap().packs, [(0, 0)]);
    let frame = async |path, frame: usize| reader.frame(path, (frame * FRAME_BYTES) as u64).await.unwrap();
    assert_eq!(frame("PG_VERSION", 0).await.unwrap(), b"18\n");
    assert_eq!(frame("base/5/16384", 0).await.unwrap(), content(3, FRAME_BYTES));
    assert_eq!(frame("base/5/16384", 1).await.unwrap(), vec![0; FRAME_BYTES]);
    assert_eq!(frame("base/5/16384", 2).await.unwrap(), content(4, 8_192));
    assert_eq!(reader.intact_pack(0).await.unwrap().directory.frames.len(), 3);
}

#[tokio::test]
async fn golden_wal_is_read() {
    let vault = open().await;
    assert_eq!(clusters(&vault, &service()).await.unwrap(), [cluster()]);
    let archive = WalArchive::of(&vault, &service(), cluster()).unwrap();
    let whole = archive.fetch(Timeline(1), Lsn(0)).await.unwrap();
    assert_eq!(whole, Fetched::Whole(content(7, SEGMENT as usize)));
    let Fetched::Beginning { bytes, end } = archive.fetch(Timeline(1), Lsn(SEGMENT)).await.unwrap() else {
        panic!("it is a piece");
    };
    assert_eq!((end, &bytes[..1_000]), (Lsn(SEGMENT + 1_000), &content(8, 1_000)[..]));
    assert_eq!(archive.history_file(Timeline(2)).await.unwrap().as_deref(), Some(HISTORY));
    assert_eq!(archive.coverage(Timeline(1)).await.unwrap().end(), Some(Lsn(SEGMENT + 1_000)));
}

#[tokio::test]
async fn golden_journal_and_pins_are_read() {
    let vault = open().await;
    assert!(journal::verify(&vault).await.unwrap().is_sound());
    let page = journal::read(&vault, &scope("services/db/backup"), 0).await.unwrap();
    assert!(page.is_end && page.is_proven);
    let told: Vec<_> = page.records.iter().map(|r| (r.number, r.kind.as_str(), r.data.clone())).collect();
    let expected = (1..=3).map(|n| (n, "backup.written", json!({ "n": n - 1, "point": "p" })));
    assert_eq!(told, expected.collect::<Vec<_>>());
    let pins = pins::list(&vault, &service()).await.unwrap();
    assert_eq!((pins.len(), pins[0].purpose), (1, Purpose::Hold));
    assert_eq!(pins[0].point.as_deref(), Some("20260101T000000Z-aaaaaaaa"));
}
