//! One entry per decoder of what a copy gives, for fuzzing: bytes in, nothing out, no panic, no allocation
//! beyond a small multiple of the input but what a named limit allows.
//!
//! What is behind a seal is reached by sealing the bytes first: who holds the key may still be an older or a
//! faulty program.

use crate::layer::{verify_index, verify_pack};
use crate::seal::{ObjectSealer, VaultKey, open_object};
use crate::{names, point};
use lifeboat_base::ManualClock;

/// The name under which everything here is sealed.
pub const NAME: &str = "services/db/layers/x/pack-000000";

/// The key under which everything here is sealed.
#[must_use]
pub fn key() -> VaultKey {
    VaultKey::from_bytes(&[7; 32]).expect("a key has 32 bytes")
}

fn clock() -> ManualClock {
    ManualClock::new(jiff::Timestamp::UNIX_EPOCH, 7)
}

/// Sealed bytes as they come: an object, a pack, an index.
pub fn sealed(bytes: &[u8]) {
    _ = open_object(&key(), NAME, bytes);
    _ = verify_pack(&key(), NAME, bytes);
    _ = verify_index(&key(), NAME, bytes);
}

/// The directory of a pack, and the frames that it claims.
pub fn pack_directory(bytes: &[u8]) {
    let mut out = Vec::new();
    let mut sealer = ObjectSealer::begin(&key(), NAME, &clock(), 1, &mut out);
    sealer.frame(&[1; 100], &mut out);
    let offset = out.len() as u64;
    let number = sealer.frame(bytes, &mut out);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(b"PACK");
    _ = verify_pack(&key(), NAME, &out);
}

/// The frames of an index: a line each.
pub fn index(bytes: &[u8]) {
    let mut out = Vec::new();
    let mut sealer = ObjectSealer::begin(&key(), NAME, &clock(), 1, &mut out);
    for line in bytes.split(|byte| *byte == b'\n') {
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        sealer.frame(line, &mut out);
        let length = (out.len() - length_at - 4) as u32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
    if let Ok(index) = verify_index(&key(), NAME, &out) {
        _ = index.file("PG_VERSION");
    }
}

/// Names of objects, as a listing has them: a line each.
pub fn names(bytes: &[u8]) {
    for name in String::from_utf8_lossy(bytes).lines() {
        _ = (names::number(name), names::piece_range(name));
    }
}

/// Manifests of restore points.
pub fn point(bytes: &[u8]) {
    if let Ok(point) = serde_json::from_slice::<point::RestorePoint>(bytes) {
        _ = serde_json::to_vec(&point);
        _ = point.damaged_pages.iter().map(ToString::to_string).collect::<Vec<_>>();
    }
}
