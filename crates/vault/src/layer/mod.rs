//! Layers: an immutable set of files and pages, stored as frames in packs, found by one index lookup.
//!
//! A layer is an *index* (every file: path, length, mode, and in which packs it has frames) and *packs* of
//! frames. A frame is a run of up to [`FRAME_BYTES`] of one file, aligned to [`FRAME_BYTES`], compressed
//! and sealed by itself; the pack ends with a sorted directory of its frames. All-zero frames are not
//! stored: within a file's length, what a base layer has no frame for is zero.
//!
//! # Invariants
//! - **L1 named before it is read.** A layer counts only once a manifest names it.
//! - **L2 bounded memory.** A writer holds one pack; a reader the directories of so many packs as have a
//!   named number of frames.
//! - **L3 deltas fit.** A frame tells which of its pages it holds and which are zero, and a file its
//!   smallest length since the parent and whether it was removed or made anew, so that a delta layer is
//!   the same format.
//!
//! Deliberately absent: what the files mean to PostgreSQL.

use crate::seal::{OpenError, VaultKey};

mod fold;
#[cfg(test)]
mod golden;
mod index;
mod pack;
mod reader;
mod stack;
mod writer;

pub use fold::{FoldError, fold};
pub use index::{FileEntry, FileKind, LayerIndex, LayerKind};
pub use pack::{Changed, FrameEntry, FrameHash, Pack, PackDirectory, PackWriter};
pub use reader::{LayerError, LayerReader, OpenedPack};
pub use stack::{Stack, Stretch};
pub use writer::LayerWriter;

/// Raw bytes in a whole frame: 16 pages. Chosen by measurement (docs/decisions).
pub const FRAME_BYTES: usize = 128 << 10;
/// A pack is closed when it holds this much, sealed.
pub const PACK_BYTES: usize = 16 << 20;

/// Opens every frame of a pack.
pub(crate) fn verify_pack(key: &VaultKey, name: &str, bytes: &[u8]) -> Result<(), OpenError> {
    let (opener, directory) = pack::open(key, name, bytes)?;
    for (number, frame) in directory.frames.iter().enumerate() {
        let range = frame.offset as usize..(frame.offset + u64::from(frame.stored)) as usize;
        let number = number as u32;
        let sealed = bytes.get(range).ok_or(OpenError::Damaged(number))?;
        if Some(opener.frame(number, sealed)?.len()) != frame.raw_length() {
            return Err(OpenError::Malformed(number));
        }
    }
    Ok(())
}

/// Opens an index.
pub(crate) fn verify_index(key: &VaultKey, name: &str, bytes: &[u8]) -> Result<LayerIndex, OpenError> {
    LayerIndex::open(key, name, bytes)
}
