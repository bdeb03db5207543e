//! Reads a layer: whole packs for a restore, single frames for a look-up.

use super::pack::{self, PackDirectory, TRAILER_BYTES};
use super::{FRAME_BYTES, LayerIndex};
use crate::seal::{HEADER_BYTES, ObjectOpener, OpenError};
use crate::{ReadError, Vault, names};
use bytes::Bytes;
use lifeboat_base::ServiceName;

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
}

/// A layer, its index read.
#[derive(Debug)]
pub struct LayerReader {
    vault: Vault,
    service: ServiceName,
    id: String,
    index: LayerIndex,
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
        Ok(Self { vault: vault.clone(), service: service.clone(), id: id.to_owned(), index })
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

    /// The directory of a pack, read without the pack, and what opens its frames.
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn directory(&self, number: u32) -> Result<PackDirectory, LayerError> {
        let name = names::pack(&self.service, &self.id, number);
        let size = self.index.packs.get(number as usize).copied().unwrap_or_default();
        let copies = self.vault.copies();
        let opener = self.opener(&name).await?;
        let tail = size.saturating_sub(TRAILER_BYTES as u64)..size;
        let place = copies.read(&name, Some(tail), |trailer| pack::directory_place(&trailer, size));
        let (range, frame) = place.await.map_err(self.failed())?;
        let open = |sealed: Bytes| {
            let raw = opener.frame(frame, &sealed)?;
            serde_json::from_slice(&raw).map_err(|_| OpenError::Malformed(frame))
        };
        copies.read(&name, Some(range), open).await.map_err(self.failed())
    }

    async fn opener(&self, name: &str) -> Result<ObjectOpener, LayerError> {
        let header = Some(0..HEADER_BYTES as u64);
        let open = |bytes: Bytes| ObjectOpener::new(self.vault.key(), name, &bytes);
        self.vault.copies().read(name, header, open).await.map_err(self.failed())
    }

    /// Reads the frame of `path` that holds byte `at`: one look-up and one ranged read. Zeros if the layer
    /// stores none there; `None` beyond the end of the file or without such a file.
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn frame(&self, path: &str, at: u64) -> Result<Option<Vec<u8>>, LayerError> {
        let Some(file) = self.index.file(path).filter(|file| at < file.length) else { return Ok(None) };
        let begin = at - at % FRAME_BYTES as u64;
        let length = (file.length - begin).min(FRAME_BYTES as u64) as usize;
        // Packs ascend by first byte, but threads may interleave: all that begin at or before it are asked.
        for (number, first_byte) in file.packs.iter().rev() {
            if *first_byte > begin {
                continue;
            }
            let directory = self.directory(*number).await?;
            let found = directory.frames_of(path).find(|(_, frame)| frame.begin == begin);
            let Some((frame_number, frame)) = found else { continue };
            let name = names::pack(&self.service, &self.id, *number);
            let opener = self.opener(&name).await?;
            let range = frame.offset..frame.offset + u64::from(frame.stored);
            let read =
                self.vault.copies().read(&name, Some(range), |sealed| opener.frame(frame_number, &sealed));
            return read.await.map(Some).map_err(self.failed());
        }
        Ok(Some(vec![0; length]))
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
        if raw.len() == entry.length as usize { Ok(raw) } else { Err(OpenError::Malformed(number)) }
    }
}
