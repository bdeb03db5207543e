//! Writes a layer: several threads fill packs side by side, the packs go to the vault as they fill.

use super::{FileEntry, LayerIndex, LayerKind, Pack, PackWriter};
use crate::{Reach, Vault, WriteError, names};
use bytes::Bytes;
use lifeboat_base::ServiceName;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A layer being written. Shared by the threads that fill its packs.
#[derive(Debug)]
pub struct LayerWriter {
    vault: Vault,
    service: ServiceName,
    id: String,
    level: i32,
    next_pack: AtomicU32,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// Pack number → sealed bytes.
    packs: BTreeMap<u32, u64>,
    /// Path → packs, with the first byte in each.
    places: BTreeMap<String, Vec<(u32, u64)>>,
}

impl LayerWriter {
    /// A new layer of `service`; `level` is zstd's.
    #[must_use]
    pub fn new(vault: &Vault, service: &ServiceName, id: String, level: i32) -> Self {
        Self {
            vault: vault.clone(),
            service: service.clone(),
            id,
            level,
            next_pack: AtomicU32::new(0),
            written: Mutex::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Begins the next pack, to be filled by one thread.
    #[must_use]
    pub fn begin_pack(&self) -> PackWriter {
        let number = self.next_pack.fetch_add(1, Ordering::Relaxed);
        let name = names::pack(&self.service, &self.id, number);
        PackWriter::begin(self.vault.key(), &name, number, self.level, self.vault.clock().as_ref())
    }

    /// Writes a filled pack to the vault.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put_pack(&self, pack: Pack) -> Result<(), WriteError> {
        let name = names::pack(&self.service, &self.id, pack.number);
        let size = pack.bytes.len() as u64;
        self.vault.copies().put(&name, Bytes::from(pack.bytes), Reach::All).await?;
        let mut written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        written.packs.insert(pack.number, size);
        for (path, first_byte) in pack.files {
            written.places.entry(path).or_default().push((pack.number, first_byte));
        }
        Ok(())
    }

    /// Writes the index: the base layer is whole. Returns the bytes stored.
    ///
    /// # Errors
    /// [`WriteError`].
    ///
    /// # Panics
    /// If a pack that was begun was not put: the layer would have holes.
    pub async fn finish(self, files: Vec<FileEntry>) -> Result<u64, WriteError> {
        self.finish_as(LayerKind::Base, files).await
    }

    /// As [`LayerWriter::finish`], for a layer of what changed since the one below.
    ///
    /// # Errors
    /// [`WriteError`].
    ///
    /// # Panics
    /// If a pack that was begun was not put.
    pub async fn finish_delta(self, files: Vec<FileEntry>) -> Result<u64, WriteError> {
        self.finish_as(LayerKind::Delta, files).await
    }

    async fn finish_as(self, kind: LayerKind, mut files: Vec<FileEntry>) -> Result<u64, WriteError> {
        let mut written = self.written.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let begun = self.next_pack.into_inner();
        assert!(written.packs.len() == begun as usize, "{begun} packs begun, {} put", written.packs.len());
        for file in &mut files {
            if let Some(mut packs) = written.places.remove(&file.path) {
                packs.sort_unstable_by_key(|(_, first_byte)| *first_byte);
                file.packs = packs;
            }
        }
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let packs: Vec<u64> = written.packs.into_values().collect();
        let stored: u64 = packs.iter().sum();
        let index = LayerIndex { kind, files, packs };
        let name = names::layer_index(&self.service, &self.id);
        let sealed = index.seal(self.vault.key(), &name, self.vault.clock().as_ref());
        let stored = stored + sealed.len() as u64;
        self.vault.copies().put(&name, sealed.into(), Reach::All).await?;
        Ok(stored)
    }
}
