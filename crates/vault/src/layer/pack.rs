//! One pack: frames, then their directory, then a trailer that tells where the directory is.
//!
//! ```text
//! header · frame 0 · … · frame n-1 · directory (frame n) · trailer
//! trailer  offset of the directory (u64) · its number (u32) · "PACK"     little-endian, 16 bytes
//! ```

use super::PACK_BYTES;
use crate::seal::{HEADER_BYTES, ObjectOpener, ObjectSealer, OpenError, VaultKey};
use aws_lc_rs::digest;
use lifeboat_base::Clock;
use lifeboat_pgformat::PAGE_SIZE_BYTES;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;

const TRAILER_MAGIC: &[u8; 4] = b"PACK";
pub(super) const TRAILER_BYTES: usize = 16;

/// The beginning of a frame's SHA-256: whether bytes at hand are the frame's is told without fetching it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameHash([u8; HASH_BYTES]);

/// Enough that no two frames of all the world's databases share one by chance.
const HASH_BYTES: usize = 16;

impl FrameHash {
    /// The hash of raw bytes.
    #[must_use]
    pub fn of(raw: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, raw);
        Self(digest.as_ref()[..HASH_BYTES].try_into().expect("SHA-256 is longer"))
    }
}

impl Serialize for FrameHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for FrameHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; HASH_BYTES];
        hex::decode_to_slice(&text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// One frame of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameEntry {
    /// Index of the file's path in the directory's list.
    #[serde(rename = "f")]
    pub file: u32,
    /// Byte in the file where the frame begins.
    #[serde(rename = "b")]
    pub begin: u64,
    /// Bytes of the file that it spans; a delta's frame holds fewer ([`FrameEntry::raw_length`]).
    #[serde(rename = "n")]
    pub length: u32,
    /// Byte in the pack where the sealed frame begins.
    #[serde(rename = "o")]
    pub offset: u64,
    /// Bytes of the sealed frame.
    #[serde(rename = "s")]
    pub stored: u32,
    /// Of the raw bytes that it holds.
    #[serde(rename = "h")]
    pub hash: FrameHash,
    /// Delta layers: the pages of the frame that it holds, lowest bit first; they are stored one after the
    /// other, without gaps. Absent: all.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub present: Option<u32>,
    /// Delta layers: the pages that became zero.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub zero: Option<u32>,
}

impl FrameEntry {
    /// Raw bytes that the frame holds: its present pages, the last one cut where the span ends.
    ///
    /// `None` if no Lifeboat wrote this: a page beyond the span, or one that is both present and zero.
    #[must_use]
    pub fn raw_length(&self) -> Option<usize> {
        let span = usize::try_from(self.length).ok()?;
        let Some(present) = self.present else {
            let is_whole = self.zero.is_none_or(|zero| zero == 0);
            return is_whole.then_some(span);
        };
        let named = present | self.zero.unwrap_or_default();
        let pages = span.div_ceil(PAGE_SIZE_BYTES);
        let is_within = pages >= u32::BITS as usize || named >> pages == 0;
        if !is_within || present & self.zero.unwrap_or_default() != 0 {
            return None;
        }
        let held = (0..pages.min(u32::BITS as usize)).filter(|page| present >> page & 1 == 1);
        Some(held.map(|page| PAGE_SIZE_BYTES.min(span - page * PAGE_SIZE_BYTES)).sum())
    }

    /// The pages of which it holds the bytes, lowest bit first.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.present.unwrap_or_else(|| pages_of(u64::from(self.length)))
    }

    /// The pages that it speaks about.
    #[must_use]
    pub fn named(&self) -> u32 {
        self.held() | self.zero.unwrap_or_default()
    }
}

/// The pages of so many bytes of a frame, lowest bit first.
pub(super) fn pages_of(length: u64) -> u32 {
    let pages = length.div_ceil(PAGE_SIZE_BYTES as u64);
    u32::MAX.checked_shr(u32::BITS.saturating_sub(u32::try_from(pages).unwrap_or(u32::MAX))).unwrap_or(0)
}

/// What changed in a frame since the layer below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// The pages that `raw` holds, lowest bit first.
    pub present: u32,
    /// The pages that became zero; none of them is present.
    pub zero: u32,
    /// The present pages, one after the other.
    pub raw: Vec<u8>,
}

/// What is in a pack, in the order of its frames.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackDirectory {
    /// Paths of the files that have frames here.
    pub files: Vec<String>,
    /// Frame number n is the n-th entry.
    pub frames: Vec<FrameEntry>,
}

/// A pack, sealed and ready to be written.
#[derive(Debug)]
pub struct Pack {
    /// Its number in the layer.
    pub number: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Files with frames in it, and the first byte of each that is here.
    pub files: Vec<(String, u64)>,
}

/// Fills one pack.
#[derive(Debug)]
pub struct PackWriter {
    number: u32,
    bytes: Vec<u8>,
    sealer: ObjectSealer,
    directory: PackDirectory,
    first_byte: Vec<u64>,
    file_numbers: HashMap<String, u32>,
}

impl PackWriter {
    /// Begins the pack with this number and object name.
    #[must_use]
    pub fn begin(key: &VaultKey, name: &str, number: u32, level: i32, clock: &dyn Clock) -> Self {
        let mut bytes = Vec::with_capacity(PACK_BYTES + PACK_BYTES / 8);
        let sealer = ObjectSealer::begin(key, name, clock, level, &mut bytes);
        let (directory, first_byte, file_numbers) = Default::default();
        Self { number, bytes, sealer, directory, first_byte, file_numbers }
    }

    /// Adds the frame of `path` that begins at byte `begin`.
    pub fn add(&mut self, path: &str, begin: u64, raw: &[u8]) {
        self.add_frame(path, begin, raw.len() as u32, None, None, raw);
    }

    /// Adds a frame of a delta layer: of the `length` bytes of `path` from byte `begin` on, what changed.
    pub fn add_changed(&mut self, path: &str, begin: u64, length: u32, changed: &Changed) {
        let zero = (changed.zero != 0).then_some(changed.zero);
        let present = (changed.present != pages_of(u64::from(length))).then_some(changed.present);
        self.add_frame(path, begin, length, present, zero, &changed.raw);
    }

    fn add_frame(
        &mut self,
        path: &str,
        begin: u64,
        length: u32,
        present: Option<u32>,
        zero: Option<u32>,
        raw: &[u8],
    ) {
        let file = match self.file_numbers.get(path) {
            Some(number) => *number,
            None => {
                let number = self.directory.files.len() as u32;
                self.directory.files.push(path.to_owned());
                self.first_byte.push(begin);
                self.file_numbers.insert(path.to_owned(), number);
                number
            }
        };
        let first_byte = &mut self.first_byte[file as usize];
        *first_byte = begin.min(*first_byte);
        let offset = self.bytes.len();
        self.sealer.frame(raw, &mut self.bytes);
        self.directory.frames.push(FrameEntry {
            file,
            begin,
            length,
            offset: offset as u64,
            stored: (self.bytes.len() - offset) as u32,
            hash: FrameHash::of(raw),
            present,
            zero,
        });
    }

    /// Whether it has grown to [`PACK_BYTES`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= PACK_BYTES
    }

    /// Whether it holds nothing yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.directory.frames.is_empty()
    }

    /// Closes it with its directory.
    #[must_use]
    pub fn finish(mut self) -> Pack {
        let directory = serde_json::to_vec(&self.directory).expect("paths and numbers serialise");
        let offset = self.bytes.len() as u64;
        let number = self.sealer.frame(&directory, &mut self.bytes);
        self.bytes.extend_from_slice(&offset.to_le_bytes());
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.extend_from_slice(TRAILER_MAGIC);
        let files = self.directory.files.into_iter().zip(self.first_byte).collect();
        Pack { number: self.number, bytes: self.bytes, files }
    }
}

/// Where the directory of a pack of `size` bytes is, and its frame number.
pub(super) fn directory_place(trailer: &[u8], size: u64) -> Result<(Range<u64>, u32), OpenError> {
    let fields = (trailer.len() == TRAILER_BYTES && trailer.ends_with(TRAILER_MAGIC))
        .then(|| (trailer[..8].try_into().ok(), trailer[8..12].try_into().ok()));
    let Some((Some(offset), Some(number))) = fields else { return Err(OpenError::NotSealed) };
    let (offset, number) = (u64::from_le_bytes(offset), u32::from_le_bytes(number));
    let end = size.saturating_sub(TRAILER_BYTES as u64);
    if offset < HEADER_BYTES as u64 || offset >= end {
        return Err(OpenError::Damaged(number));
    }
    Ok((offset..end, number))
}

/// Opens a whole pack: its opener and its directory.
pub(super) fn open(
    key: &VaultKey,
    name: &str,
    bytes: &[u8],
) -> Result<(ObjectOpener, PackDirectory), OpenError> {
    let opener = ObjectOpener::new(key, name, bytes)?;
    let trailer = bytes.len().checked_sub(TRAILER_BYTES).ok_or(OpenError::NotSealed)?;
    let (place, number) = directory_place(&bytes[trailer..], bytes.len() as u64)?;
    let raw = opener.frame(number, &bytes[place.start as usize..place.end as usize])?;
    let directory = parse_directory(&raw, number, place.start)?;
    Ok((opener, directory))
}

/// Reads the directory, frame `number`, of a pack whose frames end at byte `end`.
pub(super) fn parse_directory(raw: &[u8], number: u32, end: u64) -> Result<PackDirectory, OpenError> {
    let directory: PackDirectory = serde_json::from_slice(raw).map_err(|_| OpenError::Malformed(number))?;
    let is_sound = directory.frames.iter().all(|f| {
        let frame_end = f.offset.checked_add(u64::from(f.stored));
        (f.file as usize) < directory.files.len() && frame_end.is_some_and(|frame_end| frame_end <= end)
    });
    if is_sound { Ok(directory) } else { Err(OpenError::Malformed(number)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(length: u32, present: Option<u32>, zero: Option<u32>) -> FrameEntry {
        let (file, begin, offset, stored, hash) = (0, 0, 0, 0, FrameHash::of(b""));
        FrameEntry { file, begin, length, offset, stored, hash, present, zero }
    }

    #[test]
    fn l3_a_frame_of_a_delta_holds_its_present_pages_the_tail_cut_off() {
        const WHOLE: u32 = 16 * 8192;
        let holds = |length, present, zero| entry(length, present, zero).raw_length();
        assert_eq!(holds(WHOLE, None, None), Some(WHOLE as usize));
        assert_eq!(holds(100, None, None), Some(100));
        assert_eq!(holds(WHOLE, Some(0b101), Some(0b010)), Some(2 * 8192));
        assert_eq!(holds(WHOLE, Some(0xFFFF), None), Some(WHOLE as usize));
        assert_eq!(holds(WHOLE, Some(0), Some(0xFFFF)), Some(0));
        assert_eq!(holds(8192 + 100, Some(0b10), None), Some(100), "the last page is cut");
        assert_eq!(holds(8192 + 100, Some(0b11), None), Some(8292));
        // No Lifeboat wrote these.
        assert_eq!(holds(8192, Some(0b10), None), None, "beyond the span");
        assert_eq!(holds(8192, Some(0b1), Some(0b10)), None, "zero beyond the span");
        assert_eq!(holds(WHOLE, Some(0b11), Some(0b10)), None, "present and zero");
        assert_eq!(holds(WHOLE, None, Some(0b10)), None, "all present and one zero");
        assert_eq!(holds(u32::MAX, Some(u32::MAX), None), Some(32 * 8192), "no more than a mask tells");
        assert_eq!(holds(0, Some(1), None), None);
    }

    #[test]
    fn l2_a_pack_is_full_before_it_outgrows_its_memory() {
        let clock = lifeboat_base::ManualClock::new(jiff::Timestamp::UNIX_EPOCH, 7);
        let key = VaultKey::from_bytes(&[7; 32]).unwrap();
        let mut pack = PackWriter::begin(&key, "x", 0, 1, &clock);
        let room = pack.bytes.capacity();
        let mut noise = vec![0; super::super::FRAME_BYTES];
        let mut frames = 0;
        while !pack.is_full() {
            // Nothing of it compresses.
            clock.random(&mut noise);
            pack.add("base/5/1", frames * noise.len() as u64, &noise);
            frames += 1;
        }
        assert!(frames as usize * noise.len() >= PACK_BYTES - noise.len(), "{frames} frames");
        let pack = pack.finish();
        assert!(pack.bytes.len() < PACK_BYTES + 2 * noise.len(), "{} bytes", pack.bytes.len());
        assert_eq!(pack.bytes.capacity(), room, "it grew");
    }
}
