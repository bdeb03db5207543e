//! Reads a layer: whole packs for a restore, single frames for a look-up.
//!
//! A look-up into a pack whose directory was read before is one ranged read.

use super::pack::{self, FrameEntry, PackDirectory, TRAILER_BYTES};
use super::{FRAME_BYTES, LayerIndex};
use crate::copies::Refusal;
use crate::seal::{HEADER_BYTES, ObjectOpener, OpenError};
use crate::{ReadError, Vault, names};
use bytes::Bytes;
use futures::FutureExt;
use lifeboat_base::ServiceName;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Frames of packs whose directories a reader keeps: some 20 MiB, at a hundred bytes each.
const FRAMES_KEPT: usize = 200_000;

/// Why a layer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// An object of the layer.
    #[error("layer {layer} cannot be read")]
    Read {
        /// The layer.
        layer: String,
        /// Why.
        source: ReadError,
    },
    /// Layers that are none.
    #[error("the layers {} do not stand on a base layer: the manifest is not one that Lifeboat writes", layers.join(", "))]
    NoBase {
        /// Newest first.
        layers: Vec<String>,
    },
}

/// A layer, its index read.
#[derive(Debug)]
pub struct LayerReader {
    vault: Vault,
    service: ServiceName,
    id: String,
    index: LayerIndex,
    directories: Mutex<Directories>,
}

/// Directories that were read, by the number of their pack.
#[derive(Debug, Default)]
struct Directories {
    opened: BTreeMap<u32, Arc<OpenedDirectory>>,
    /// In all of them.
    frames: usize,
}

impl Directories {
    /// Keeps one more. Which others go does not matter: look-ups come in runs.
    fn keep(&mut self, number: u32, opened: Arc<OpenedDirectory>) {
        let frames = opened.directory.frames.len();
        while self.frames + frames > FRAMES_KEPT {
            let Some((_, gone)) = self.opened.pop_first() else { break };
            self.frames -= gone.directory.frames.len();
        }
        self.frames += frames;
        if let Some(same) = self.opened.insert(number, opened) {
            self.frames -= same.directory.frames.len();
        }
    }
}

/// What is in a pack, and what opens its frames.
#[derive(Debug)]
struct OpenedDirectory {
    opener: ObjectOpener,
    directory: PackDirectory,
    /// Path → number of the file in the directory.
    files: HashMap<String, u32>,
    /// File and first byte → number of the frame.
    places: HashMap<(u32, u64), u32>,
}

impl OpenedDirectory {
    fn new(opener: ObjectOpener, directory: PackDirectory) -> Self {
        let files = (0..).zip(&directory.files).map(|(number, path)| (path.clone(), number)).collect();
        let places = (0..).zip(&directory.frames);
        let places = places.map(|(number, frame)| ((frame.file, frame.begin), number)).collect();
        Self { opener, directory, files, places }
    }

    /// The frame of `path` that begins at byte `begin`.
    fn find(&self, path: &str, begin: u64) -> Option<(u32, &FrameEntry)> {
        let number = *self.places.get(&(*self.files.get(path)?, begin))?;
        Some((number, self.directory.frames.get(number as usize)?))
    }
}

impl LayerReader {
    /// Reads the index of a layer.
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn open(vault: &Vault, service: &ServiceName, id: &str) -> Result<Self, LayerError> {
        let name = names::layer_index(service, id);
        let opened = vault.copies().read(&name, None, |bytes| LayerIndex::open(vault.key(), &name, &bytes));
        let index = opened.await.map_err(|source| LayerError::Read { layer: id.to_owned(), source })?;
        let (vault, service, id) = (vault.clone(), service.clone(), id.to_owned());
        Ok(Self { vault, service, id, index, directories: Mutex::default() })
    }

    /// Its files and packs.
    #[must_use]
    pub fn index(&self) -> &LayerIndex {
        &self.index
    }

    fn failed(&self) -> impl Fn(ReadError) -> LayerError + '_ {
        |source| LayerError::Read { layer: self.id.clone(), source }
    }

    /// Reads a whole pack and gives each of its frames to `each`: path, first byte, raw bytes.
    ///
    /// Frames are opened on the calling thread; call it from several.
    ///
    /// # Errors
    /// [`LayerError`]; a pack that is damaged in one copy is taken from another.
    pub async fn pack(&self, number: u32) -> Result<OpenedPack, LayerError> {
        let name = names::pack(&self.service, &self.id, number);
        let expected = self.index.packs.get(number as usize).copied();
        let open = |bytes: Bytes| {
            if expected != Some(bytes.len() as u64) {
                return Err(OpenError::NotSealed);
            }
            let (opener, directory) = pack::open(self.vault.key(), &name, &bytes)?;
            Ok(OpenedPack { bytes, opener, directory })
        };
        self.vault.copies().read(&name, None, open).await.map_err(self.failed())
    }

    /// Reads a whole pack of which every frame opens: what [`LayerReader::pack`] gave did not.
    ///
    /// # Errors
    /// [`LayerError`] if no copy is whole.
    pub async fn intact_pack(&self, number: u32) -> Result<OpenedPack, LayerError> {
        let name = names::pack(&self.service, &self.id, number);
        let open = |bytes: Bytes| {
            let (opener, directory) = pack::open(self.vault.key(), &name, &bytes)?;
            let opened = OpenedPack { bytes, opener, directory };
            for frame in 0..opened.directory.frames.len() {
                opened.frame(frame as u32)?;
            }
            Ok::<_, OpenError>(opened)
        };
        self.vault.copies().read(&name, None, open).await.map_err(self.failed())
    }

    /// The directory of a pack, read without the pack.
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn directory(&self, number: u32) -> Result<PackDirectory, LayerError> {
        self.opened(number).await.map(|opened| opened.directory.clone())
    }

    /// The directory of a pack and what opens its frames, both from one copy and proven by each other; kept
    /// for the next look-up.
    async fn opened(&self, number: u32) -> Result<Arc<OpenedDirectory>, LayerError> {
        if let Some(opened) = self.cached().opened.get(&number) {
            return Ok(opened.clone());
        }
        let name = names::pack(&self.service, &self.id, number);
        let size = self.index.packs.get(number as usize).copied().unwrap_or_default();
        let from = |copy| self.directory_from(copy, name.clone(), size).boxed();
        let opened = self.vault.copies().read_whole(&name, from).await.map_err(self.failed())?;
        let opened = Arc::new(opened);
        self.cached().keep(number, opened.clone());
        Ok(opened)
    }

    fn cached(&self) -> MutexGuard<'_, Directories> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn directory_from(&self, copy: usize, name: String, size: u64) -> Result<OpenedDirectory, Refusal> {
        let copies = self.vault.copies();
        let damaged = |error: OpenError| Refusal::Damaged(error.to_string());
        let tail = size.saturating_sub(TRAILER_BYTES as u64)..size;
        let header = copies.range_from(copy, &name, 0..HEADER_BYTES as u64);
        let (header, trailer) = futures::try_join!(header, copies.range_from(copy, &name, tail))?;
        let opener = ObjectOpener::new(self.vault.key(), &name, &header).map_err(damaged)?;
        let (range, frame) = pack::directory_place(&trailer, size).map_err(damaged)?;
        let sealed = copies.range_from(copy, &name, range.clone()).await?;
        let raw = opener.frame(frame, &sealed).map_err(damaged)?;
        let directory = pack::parse_directory(&raw, frame, range.start).map_err(damaged)?;
        Ok(OpenedDirectory::new(opener, directory))
    }

    async fn frame_from(
        &self,
        copy: usize,
        name: String,
        range: Range<u64>,
        frame: u32,
    ) -> Result<Vec<u8>, Refusal> {
        let copies = self.vault.copies();
        let damaged = |error: OpenError| Refusal::Damaged(error.to_string());
        let header = copies.range_from(copy, &name, 0..HEADER_BYTES as u64);
        let (header, sealed) = futures::try_join!(header, copies.range_from(copy, &name, range))?;
        let opener = ObjectOpener::new(self.vault.key(), &name, &header).map_err(damaged)?;
        opener.frame(frame, &sealed).map_err(damaged)
    }

    /// Reads the frame of `path` that holds byte `at`: one look-up and one ranged read. Zeros if the layer, a base
    /// layer, stores none there; `None` beyond the end of the file or without such a file.
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn frame(&self, path: &str, at: u64) -> Result<Option<Vec<u8>>, LayerError> {
        let Some(file) = self.index.file(path).filter(|file| at < file.length) else { return Ok(None) };
        let begin = at - at % FRAME_BYTES as u64;
        let length = (file.length - begin).min(FRAME_BYTES as u64) as usize;
        let stored = self.stored(path, begin).await?;
        Ok(Some(stored.map_or_else(|| vec![0; length], |(_, raw)| raw)))
    }

    /// What is known of the stored frame of `path` that begins at byte `begin`.
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn entry(&self, path: &str, begin: u64) -> Result<Option<FrameEntry>, LayerError> {
        let found = self.locate(path, begin).await?;
        Ok(found.and_then(|(_, opened, number)| opened.directory.frames.get(number as usize).cloned()))
    }

    /// The frame of `path` that begins at byte `begin`, as it is stored: what is known of it, and the raw bytes of
    /// the pages that it holds.
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn stored(&self, path: &str, begin: u64) -> Result<Option<(FrameEntry, Vec<u8>)>, LayerError> {
        let Some((pack, opened, number)) = self.locate(path, begin).await? else { return Ok(None) };
        let frame = &opened.directory.frames[number as usize];
        let name = names::pack(&self.service, &self.id, pack);
        let range = frame.offset..frame.offset + u64::from(frame.stored);
        let open = |sealed: Bytes| opened.opener.frame(number, &sealed);
        let own_copy = self.vault.copies().read(&name, Some(range.clone()), open).await;
        let raw = match own_copy {
            // Copies that were written at different times are sealed apart: each with its own header.
            Err(ReadError::Damaged { .. }) => {
                let from = |copy| self.frame_from(copy, name.clone(), range.clone(), number).boxed();
                self.vault.copies().read_whole(&name, from).await
            }
            read => read,
        };
        raw.map(|raw| Some((frame.clone(), raw))).map_err(self.failed())
    }

    /// Where the frame is: its pack, the pack's directory, and its number there.
    async fn locate(
        &self,
        path: &str,
        begin: u64,
    ) -> Result<Option<(u32, Arc<OpenedDirectory>, u32)>, LayerError> {
        let Some(file) = self.index.file(path) else { return Ok(None) };
        // Packs ascend by first byte, but threads may interleave: all that begin at or before it are asked.
        for (pack, _) in file.packs.iter().rev().filter(|(_, first_byte)| *first_byte <= begin) {
            let opened = self.opened(*pack).await?;
            if let Some((number, _)) = opened.find(path, begin) {
                return Ok(Some((*pack, opened, number)));
            }
        }
        Ok(None)
    }
}

/// A pack in memory.
#[derive(Debug)]
pub struct OpenedPack {
    bytes: Bytes,
    opener: ObjectOpener,
    /// What is in it.
    pub directory: PackDirectory,
}

impl OpenedPack {
    /// Opens one of its frames.
    ///
    /// # Errors
    /// [`OpenError`] if it is damaged.
    pub fn frame(&self, number: u32) -> Result<Vec<u8>, OpenError> {
        let entry = self.directory.frames.get(number as usize).ok_or(OpenError::Malformed(number))?;
        let range = entry.offset as usize..(entry.offset + u64::from(entry.stored)) as usize;
        let raw = self.opener.frame(number, &self.bytes[range])?;
        if Some(raw.len()) == entry.raw_length() { Ok(raw) } else { Err(OpenError::Malformed(number)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{FileEntry, FileKind, LayerWriter};
    use crate::{Copies, VaultCopy};
    use lifeboat_base::ManualClock;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn l2_a_reader_keeps_the_directories_of_few_frames_however_many_it_reads() {
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 1));
        let copies = Copies::new(vec![VaultCopy::new("one", None, Arc::new(InMemory::new()))], 1);
        let recipient = age::x25519::Identity::generate().to_public().to_string();
        let vault = Vault::init(copies, None, &[recipient], clock).await.unwrap();
        let service: ServiceName = "db".parse().unwrap();
        let writer = LayerWriter::new(&vault, &service, "layer".to_owned(), 1);
        // Small frames: as many as two packs more than are kept have.
        let (packs, each) = (5, FRAMES_KEPT / 3);
        let begin = |pack: usize, frame: usize| ((pack * each + frame) * FRAME_BYTES) as u64;
        for number in 0..packs {
            let mut pack = writer.begin_pack();
            for frame in 0..each {
                pack.add("a", begin(number, frame), &[number as u8, frame as u8]);
            }
            writer.put_pack(pack.finish()).await.unwrap();
        }
        let (path, length) = ("a".to_owned(), begin(packs, 0));
        let (kind, mode, none) = (FileKind::File, 0o600, Vec::new());
        let (smallest_length, removed, made_anew) = (None, false, false);
        let file = FileEntry { path, kind, length, mode, packs: none, smallest_length, removed, made_anew };
        writer.finish(vec![file]).await.unwrap();
        let reader = LayerReader::open(&vault, &service, "layer").await.unwrap();
        // Forwards, backwards, and here and there.
        for number in (0..packs).chain((0..packs).rev()).chain((0..packs).map(|n| n * 3 % packs)) {
            for frame in [0, 1, each / 2, each - 1] {
                let raw = reader.frame("a", begin(number, frame)).await.unwrap();
                assert_eq!(raw, Some(vec![number as u8, frame as u8]));
            }
            let cached = reader.cached();
            let kept: usize = cached.opened.values().map(|opened| opened.directory.frames.len()).sum();
            assert_eq!(kept, cached.frames);
            assert!((each..=FRAMES_KEPT).contains(&kept), "{kept} frames");
        }
    }
}
