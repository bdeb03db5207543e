//! The index of a layer: every file, and in which packs its frames are.
//!
//! A sealed object of frames: the first holds [`IndexHeader`], each other one up to [`CHUNK_FILES`]
//! [`FileEntry`]s as a JSON array, sorted by path.

use crate::seal::{HEADER_BYTES, ObjectOpener, ObjectSealer, OpenError, VaultKey};
use lifeboat_base::Clock;
use serde::{Deserialize, Serialize};

/// Files in one frame of an index.
const CHUNK_FILES: usize = 4096;
const LEVEL: i32 = 3;

/// What a layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// Everything.
    Base,
    /// What changed since the layer below.
    Delta,
}

/// What a file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A file.
    #[default]
    File,
    /// A directory.
    Directory,
}

/// One file of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Below the data directory, with `/`.
    pub path: String,
    /// File or directory.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: FileKind,
    /// Bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub length: u64,
    /// Permission bits.
    pub mode: u32,
    /// The packs with frames of it: number, and the first byte of the file there. Ascending by byte.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs: Vec<(u32, u64)>,
    /// Delta layers: the smallest length since the parent; beyond it the parent's pages are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest_length: Option<u64>,
    /// Delta layers: removed since the parent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub removed: bool,
    /// Delta layers: removed and made anew; nothing of the parent's shows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub made_anew: bool,
}

impl FileEntry {
    /// A file or directory of a base layer, or one that was made anew; which packs it is in, the writer adds.
    #[must_use]
    pub fn new(path: String, kind: FileKind, length: u64, mode: u32) -> Self {
        let (packs, smallest_length, removed, made_anew) = Default::default();
        Self { path, kind, length, mode, packs, smallest_length, removed, made_anew }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// First frame of an index.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexHeader {
    kind: LayerKind,
    files: u64,
    packs: Vec<u64>,
    chunks: Vec<u32>,
}

/// Every file of a layer, and the sizes of its packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerIndex {
    /// Base or delta.
    pub kind: LayerKind,
    /// Sorted by path.
    pub files: Vec<FileEntry>,
    /// Size of each pack, sealed.
    pub packs: Vec<u64>,
}

impl LayerIndex {
    /// The file at `path`.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        let at = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(at)
    }

    /// Seals it as the object `name`.
    pub(super) fn seal(&self, key: &VaultKey, name: &str, clock: &dyn Clock) -> Vec<u8> {
        let mut chunks = Vec::new();
        let mut body = Vec::new();
        // The chunks are sealed after the header frame that tells their lengths, so serialise them first.
        for chunk in self.files.chunks(CHUNK_FILES) {
            body.push(serde_json::to_vec(chunk).expect("paths and numbers serialise"));
            chunks.push(chunk.len() as u32);
        }
        let header = IndexHeader {
            kind: self.kind,
            files: self.files.len() as u64,
            packs: self.packs.clone(),
            chunks,
        };
        let header = serde_json::to_vec(&header).expect("numbers serialise");
        let mut out = Vec::new();
        let mut sealer = ObjectSealer::begin(key, name, clock, LEVEL, &mut out);
        for raw in std::iter::once(&header).chain(&body) {
            let length_at = out.len();
            out.extend_from_slice(&[0; 4]);
            sealer.frame(raw, &mut out);
            let length = (out.len() - length_at - 4) as u32;
            out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        }
        out
    }

    /// Opens what [`LayerIndex::seal`] sealed.
    pub(super) fn open(key: &VaultKey, name: &str, sealed: &[u8]) -> Result<Self, OpenError> {
        let opener = ObjectOpener::new(key, name, sealed)?;
        let mut rest = &sealed[HEADER_BYTES..];
        let mut number = 0;
        let mut next = || {
            let damaged = OpenError::Damaged(number);
            let (length, tail) = rest.split_first_chunk::<4>().ok_or(damaged.clone())?;
            let length = u32::from_le_bytes(*length) as usize;
            let frame = tail.get(..length).ok_or(damaged)?;
            rest = &tail[length..];
            number += 1;
            opener.frame(number - 1, frame)
        };
        let header: IndexHeader = serde_json::from_slice(&next()?).map_err(|_| OpenError::Malformed(0))?;
        let mut files = Vec::new();
        for (chunk, count) in header.chunks.iter().enumerate() {
            let malformed = OpenError::Malformed(chunk as u32 + 1);
            let part: Vec<FileEntry> = serde_json::from_slice(&next()?).map_err(|_| malformed.clone())?;
            if part.len() != *count as usize {
                return Err(malformed);
            }
            files.extend(part);
        }
        if files.len() as u64 != header.files || !files.is_sorted_by(|a, b| a.path < b.path) {
            return Err(OpenError::Malformed(0));
        }
        Ok(Self { kind: header.kind, files, packs: header.packs })
    }
}
