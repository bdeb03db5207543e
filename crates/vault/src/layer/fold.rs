//! Makes one delta layer of several that stand on each other: compaction, without production and without a server.
//!
//! # Invariants
//! - **F1 nothing readable changes.** Above the same layers, the new one shows what those it is made of show.

use super::stack::{Named, cut_off, held_pages, named_by};
use super::{Changed, FRAME_BYTES, FileEntry, FileKind, LayerError, LayerReader, LayerWriter, PackWriter};
use crate::{Vault, WriteError};
use futures::{StreamExt, TryStreamExt, stream};
use lifeboat_base::ServiceName;
use lifeboat_pgformat::PAGE_SIZE_BYTES;
use std::collections::{BTreeMap, BTreeSet};

/// Frames under way at a time: each is a round trip to the vault, or some.
const AT_A_TIME: usize = 16;

/// Why layers were not made one.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// One of them.
    #[error("a layer that was to be folded cannot be read")]
    Read(#[source] LayerError),
    /// The new one.
    #[error("the folded layer was not written")]
    Write(#[source] WriteError),
}

/// Writes what the delta layers `ids`, newest first, say together. Returns the bytes stored.
///
/// # Errors
/// [`FoldError`]; what was written by then is garbage that no manifest names.
pub async fn fold(
    vault: &Vault,
    service: &ServiceName,
    ids: &[String],
    writer: LayerWriter,
) -> Result<u64, FoldError> {
    let mut layers = Vec::new();
    for id in ids {
        let layer = LayerReader::open(vault, service, id).await.map_err(FoldError::Read)?;
        let named = named_by(&layer).await.map_err(FoldError::Read)?;
        layers.push((layer, named));
    }
    let paths: BTreeSet<&String> =
        layers.iter().flat_map(|(layer, _)| layer.index().files.iter().map(|file| &file.path)).collect();
    let mut entries = Vec::new();
    let mut frames = Vec::new();
    for path in paths {
        let Some((entry, depth)) = together(&layers, path) else { continue };
        if !entry.removed && entry.kind == FileKind::File {
            let named = layers[..depth].iter().filter_map(|(_, named)| named.get(path));
            let numbers: BTreeSet<u32> = named.flat_map(BTreeMap::keys).copied().collect();
            let begins = numbers.into_iter().map(|number| u64::from(number) * FRAME_BYTES as u64);
            frames.extend(begins.filter(|b| *b < entry.length).map(|b| (entries.len(), depth, b)));
        }
        entries.push(entry);
    }
    let read = frames.into_iter().map(|(file, depth, begin)| {
        let (layers, entry) = (&layers[..depth], &entries[file]);
        async move { frame(layers, entry, begin).await.map(|changed| (file, begin, changed)) }
    });
    let mut read = stream::iter(read).buffered(AT_A_TIME);
    let mut pack: Option<PackWriter> = None;
    while let Some((file, begin, changed)) = read.try_next().await.map_err(FoldError::Read)? {
        if changed.present == 0 && changed.zero == 0 {
            continue;
        }
        let entry = &entries[file];
        let length = (entry.length - begin).min(FRAME_BYTES as u64) as u32;
        let filling = pack.get_or_insert_with(|| writer.begin_pack());
        filling.add_changed(&entry.path, begin, length, &changed);
        if filling.is_full()
            && let Some(full) = pack.take()
        {
            writer.put_pack(full.finish()).await.map_err(FoldError::Write)?;
        }
    }
    drop(read);
    if let Some(last) = pack {
        writer.put_pack(last.finish()).await.map_err(FoldError::Write)?;
    }
    writer.finish_delta(entries).await.map_err(FoldError::Write)
}

/// What the layers say of a file together, and how many of them, from the newest on, still have a say.
fn together(layers: &[(LayerReader, Named)], path: &str) -> Option<(FileEntry, usize)> {
    let mut together: Option<FileEntry> = None;
    for (number, (layer, _)) in layers.iter().enumerate() {
        let Some(file) = layer.index().file(path) else { continue };
        let entry = together.get_or_insert_with(|| FileEntry {
            packs: Vec::new(),
            smallest_length: None,
            made_anew: false,
            ..file.clone()
        });
        if file.removed || file.made_anew {
            entry.made_anew = !entry.removed;
            return Some((entry.clone(), number + 1));
        }
        let both = [entry.smallest_length, file.smallest_length];
        entry.smallest_length = both.into_iter().flatten().min();
    }
    together.map(|entry| (entry, layers.len()))
}

/// What the layers say of a frame together.
async fn frame(
    layers: &[(LayerReader, Named)],
    entry: &FileEntry,
    begin: u64,
) -> Result<Changed, LayerError> {
    let span = (entry.length - begin).min(FRAME_BYTES as u64);
    let mut wanted = super::pack::pages_of(span);
    let mut zero = 0;
    let mut pages: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for (layer, named) in layers {
        let Some(file) = layer.index().file(&entry.path) else { continue };
        let number = (begin / FRAME_BYTES as u64) as u32;
        let named = named.get(&entry.path).and_then(|frames| frames.get(&number)).copied().unwrap_or(0);
        if named & wanted != 0
            && let Some((frame, raw)) = layer.stored(&entry.path, begin).await?
        {
            for (page, at) in held_pages(&frame).filter(|(page, _)| wanted >> page & 1 == 1) {
                let length = PAGE_SIZE_BYTES.min(span as usize - page as usize * PAGE_SIZE_BYTES);
                let mut bytes = raw.get(at).unwrap_or_default().to_vec();
                bytes.resize(length, 0);
                pages.insert(page, bytes);
            }
            zero |= named & wanted & !frame.held();
        }
        wanted &= !(named | cut_off(file, begin));
        if wanted == 0 {
            break;
        }
    }
    let present = pages.keys().fold(0, |present, page| present | 1 << page);
    // What nothing below shows through needs no word for being zero.
    let zero = zero & !cut_off(entry, begin);
    Ok(Changed { present, zero, raw: pages.into_values().flatten().collect() })
}
