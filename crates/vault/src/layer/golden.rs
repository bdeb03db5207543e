//! Golden files of delta layers: what an earlier Lifeboat wrote is read for ever.
//!
//! The files are made once (`cargo test -p lifeboat-vault --lib make_golden -- --ignored`) and never again for
//! the same format. Base layers are in the golden vault of `tests/it/golden.rs`.

use super::pack::{Changed, FrameEntry, FrameHash, PackWriter};
use super::{FileEntry, FileKind, LayerIndex, LayerKind, verify_index, verify_pack};
use crate::seal::VaultKey;
use lifeboat_base::ManualClock;
use std::path::PathBuf;

const INDEX_NAME: &str = "services/db/layers/delta/index";
const PACK_NAME: &str = "services/db/layers/delta/pack-000000";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1")
}

fn key() -> VaultKey {
    VaultKey::from_bytes(&[0x42; 32]).unwrap()
}

fn clock() -> ManualClock {
    ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 1)
}

/// Every field of the format, both set and left out.
fn index() -> LayerIndex {
    let entry = |path: &str, kind, length, mode| FileEntry {
        path: path.to_owned(),
        kind,
        length,
        mode,
        packs: Vec::new(),
        smallest_length: None,
        removed: false,
        made_anew: false,
    };
    let changed = FileEntry {
        packs: vec![(0, 0), (1, 131_072)],
        smallest_length: Some(8192),
        ..entry("base/5/16384", FileKind::File, 262_144, 0o600)
    };
    let removed = FileEntry { removed: true, ..entry("base/5/16385", FileKind::File, 0, 0o600) };
    let anew = FileEntry { made_anew: true, ..entry("base/5/16386", FileKind::File, 8192, 0o640) };
    let files = vec![entry("base/5", FileKind::Directory, 0, 0o700), changed, removed, anew];
    LayerIndex { kind: LayerKind::Delta, files, packs: vec![1000, 16_777_300] }
}

/// Pages 0 and 2 of a frame, page 1 being zero; and a frame at the end of a file, cut short.
fn pages() -> [Vec<u8>; 2] {
    [[vec![1; 8192], vec![3; 8192]].concat(), vec![7; 100]]
}

#[test]
#[ignore = "makes the golden files; once for each format"]
fn make_golden_deltas() {
    std::fs::create_dir_all(directory()).unwrap();
    let sealed = index().seal(&key(), INDEX_NAME, &clock());
    std::fs::write(directory().join("delta-index"), sealed).unwrap();
    let mut pack = PackWriter::begin(&key(), PACK_NAME, 0, 3, &clock());
    let [held, tail] = pages();
    pack.add_changed("base/5/16384", 0, 131_072, &Changed { present: 0b101, zero: 0b010, raw: held });
    pack.add_changed("base/5/16384", 131_072, 8292, &Changed { present: 0b10, zero: 0, raw: tail });
    std::fs::write(directory().join("delta-pack"), pack.finish().bytes).unwrap();
}

#[test]
fn golden_index_of_a_delta_is_read() {
    let sealed = std::fs::read(directory().join("delta-index")).unwrap();
    assert_eq!(verify_index(&key(), INDEX_NAME, &sealed).unwrap(), index());
}

#[test]
fn golden_pack_of_a_delta_is_read() {
    let sealed = std::fs::read(directory().join("delta-pack")).unwrap();
    verify_pack(&key(), PACK_NAME, &sealed).unwrap();
    let (opener, found) = super::pack::open(&key(), PACK_NAME, &sealed).unwrap();
    assert_eq!(found.files, ["base/5/16384"]);
    for (number, raw) in (0..).zip(pages()) {
        let frame = &found.frames[number as usize];
        let sealed = &sealed[frame.offset as usize..][..frame.stored as usize];
        assert_eq!(opener.frame(number, sealed).unwrap(), raw);
        let (length, present, zero) = [(131_072, 0b101, Some(0b010)), (8292, 0b10, None)][number as usize];
        let expected = FrameEntry {
            file: 0,
            begin: u64::from(number) * 131_072,
            length,
            offset: frame.offset,
            stored: frame.stored,
            hash: FrameHash::of(&raw),
            present: Some(present),
            zero,
        };
        assert_eq!(*frame, expected);
    }
}
