//! Layers one above the other, read as one: of each page, what the newest layer that speaks about it says.
//!
//! A layer speaks about a page when it holds it, says that it is zero, or has the file cut off before it, removed
//! or made anew. The packs of all layers are numbered through, so that whoever takes a stack pack by pack may do
//! so in any order: each is told which pages of a frame are not hidden by a newer layer.
//!
//! # Invariants
//! - **S1 nothing old returns.** A page of a layer shows only while no newer layer speaks about it.
//! - **S2 one is as many.** A stack of a single base layer is read as the layer itself is.
//! - **S3 bounded memory.** Of delta layers every frame's place is held, some forty bytes each; of a base layer
//!   what [`LayerReader`] holds.

use super::pack::pages_of;
use super::{
    FRAME_BYTES, FileEntry, FrameEntry, FrameHash, LayerError, LayerIndex, LayerKind, LayerReader,
    OpenedPack, PackDirectory,
};
use crate::Vault;
use lifeboat_base::ServiceName;
use lifeboat_pgformat::PAGE_SIZE_BYTES;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

const PAGE_BYTES: u64 = PAGE_SIZE_BYTES as u64;
/// Pages of a whole frame.
const FRAME_PAGES: u32 = (FRAME_BYTES / PAGE_SIZE_BYTES) as u32;

/// The layers of a restore point.
#[derive(Debug)]
pub struct Stack {
    /// Newest first; the last one is a base layer.
    layers: Vec<LayerReader>,
    /// Of each layer but the base: the pages that each of its frames speaks about.
    named: Vec<Named>,
    /// All files as they are, and all packs: the base layer's, then those above it.
    index: LayerIndex,
    /// Of each layer, the number of its first pack.
    first_packs: Vec<u32>,
}

/// Path → number of the frame in the file → pages.
pub(super) type Named = HashMap<String, BTreeMap<u32, u32>>;

/// Bytes of a frame that show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The first byte of the file.
    pub begin: u64,
    /// Where in the frame's raw bytes they are.
    pub raw: Range<usize>,
}

impl Stack {
    /// Reads the indexes of the layers, newest first, and where the frames of all but the last are.
    ///
    /// # Errors
    /// [`LayerError`]; [`LayerError::NoBase`] if they do not stand on a base layer.
    pub async fn open(vault: &Vault, service: &ServiceName, ids: &[String]) -> Result<Self, LayerError> {
        let mut layers = Vec::new();
        for id in ids {
            layers.push(LayerReader::open(vault, service, id).await?);
        }
        let deltas = layers.len().saturating_sub(1);
        let is_sound = layers.iter().enumerate().all(|(number, layer)| {
            layer.index().kind == if number == deltas { LayerKind::Base } else { LayerKind::Delta }
        });
        if layers.is_empty() || !is_sound {
            return Err(LayerError::NoBase { layers: ids.to_vec() });
        }
        let mut named = Vec::new();
        for layer in &layers[..deltas] {
            named.push(named_by(layer).await?);
        }
        let index = LayerIndex {
            kind: LayerKind::Base,
            files: merge(layers.iter().map(LayerReader::index)),
            packs: layers.iter().rev().flat_map(|layer| layer.index().packs.iter().copied()).collect(),
        };
        let mut first_packs = vec![0; layers.len()];
        for number in (0..deltas).rev() {
            let below = layers[number + 1].index().packs.len() as u32;
            first_packs[number] = first_packs[number + 1] + below;
        }
        Ok(Self { layers, named, index, first_packs })
    }

    /// All files as the stack has them, and the sizes of all packs. Which packs a file has frames in is left out.
    #[must_use]
    pub fn index(&self) -> &LayerIndex {
        &self.index
    }

    /// Bytes stored for each delta layer, newest first.
    #[must_use]
    pub fn delta_bytes(&self) -> Vec<u64> {
        let deltas = &self.layers[..self.named.len()];
        deltas.iter().map(|layer| layer.index().packs.iter().sum()).collect()
    }

    /// The layer of a pack, and the pack's number there.
    fn place(&self, pack: u32) -> (usize, u32) {
        let layer = self.first_packs.iter().position(|first| *first <= pack).unwrap_or_default();
        (layer, pack - self.first_packs[layer])
    }

    /// As [`LayerReader::pack`].
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn pack(&self, number: u32) -> Result<OpenedPack, LayerError> {
        let (layer, number) = self.place(number);
        self.layers[layer].pack(number).await
    }

    /// As [`LayerReader::intact_pack`].
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn intact_pack(&self, number: u32) -> Result<OpenedPack, LayerError> {
        let (layer, number) = self.place(number);
        self.layers[layer].intact_pack(number).await
    }

    /// As [`LayerReader::directory`].
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn directory(&self, number: u32) -> Result<PackDirectory, LayerError> {
        let (layer, number) = self.place(number);
        self.layers[layer].directory(number).await
    }

    /// The bytes of a frame of pack `pack` that show (S1): pages side by side are one stretch.
    #[must_use]
    pub fn showing(&self, pack: u32, path: &str, frame: &FrameEntry) -> Vec<Stretch> {
        let (layer, _) = self.place(pack);
        let shows = frame.held() & !self.hidden(layer, path, frame.begin);
        let length = self.index.file(path).map_or(0, |file| file.length);
        let mut stretches: Vec<Stretch> = Vec::new();
        for (page, raw) in held_pages(frame).filter(|(page, _)| shows >> page & 1 == 1) {
            let begin = frame.begin + u64::from(page) * PAGE_BYTES;
            let end = raw.end.min(raw.start + length.saturating_sub(begin) as usize);
            match stretches.last_mut() {
                Some(last) if last.raw.end == raw.start && last.end() == begin => last.raw.end = end,
                _ => stretches.push(Stretch { begin, raw: raw.start..end }),
            }
        }
        stretches.retain(|stretch| !stretch.raw.is_empty());
        stretches
    }

    /// The pages of a frame about which layers above `layer` speak.
    fn hidden(&self, layer: usize, path: &str, begin: u64) -> u32 {
        (0..layer).fold(0, |hidden, above| hidden | self.spoken(above, path, begin))
    }

    /// The pages of a frame about which a layer speaks: a base layer about all.
    fn spoken(&self, layer: usize, path: &str, begin: u64) -> u32 {
        let file = self.layers[layer].index().file(path);
        self.framed(layer, path, begin) | file.map_or(0, |file| cut_off(file, begin))
    }

    /// Those of them of which a frame tells.
    fn framed(&self, layer: usize, path: &str, begin: u64) -> u32 {
        let Some(named) = self.named.get(layer) else { return u32::MAX };
        let frames = named.get(path).and_then(|frames| frames.get(&((begin / FRAME_BYTES as u64) as u32)));
        frames.copied().unwrap_or_default()
    }

    /// Reads the frame of `path` that holds byte `at`. `None` beyond the end of the file or without such a file.
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn frame(&self, path: &str, at: u64) -> Result<Option<Vec<u8>>, LayerError> {
        if let [base] = &self.layers[..] {
            return base.frame(path, at).await;
        }
        let Some(file) = self.index.file(path).filter(|file| at < file.length) else { return Ok(None) };
        let begin = at - at % FRAME_BYTES as u64;
        let length = (file.length - begin).min(FRAME_BYTES as u64);
        let mut raw = vec![0; length as usize];
        let mut wanted = pages_of(length);
        for (number, layer) in self.layers.iter().enumerate() {
            if wanted & self.framed(number, path, begin) != 0
                && let Some((frame, stored)) = layer.stored(path, begin).await?
            {
                for (page, from) in held_pages(&frame).filter(|(page, _)| wanted >> page & 1 == 1) {
                    let to = raw.get_mut(page as usize * PAGE_SIZE_BYTES..).unwrap_or_default();
                    let Some(from) = stored.get(from) else { continue };
                    let count = from.len().min(to.len());
                    to[..count].copy_from_slice(&from[..count]);
                }
            }
            wanted &= !self.spoken(number, path, begin);
            if wanted == 0 {
                break;
            }
        }
        Ok(Some(raw))
    }

    /// The hash of the frame of `path` from byte `begin` on, if the newest layer that speaks about it holds it whole:
    /// told without reading it.
    ///
    /// # Errors
    /// [`LayerError`].
    pub async fn hash(&self, path: &str, begin: u64) -> Result<Option<FrameHash>, LayerError> {
        let speaks = |number: &usize| self.spoken(*number, path, begin) != 0;
        let Some(number) = (0..self.layers.len()).find(speaks) else { return Ok(None) };
        let entry = self.layers[number].entry(path, begin).await?;
        Ok(entry.filter(|entry| entry.present.is_none()).map(|entry| entry.hash))
    }
}

impl Stretch {
    fn end(&self) -> u64 {
        self.begin + self.raw.len() as u64
    }
}

/// The pages that a frame holds, and where in its raw bytes they are.
pub(super) fn held_pages(frame: &FrameEntry) -> impl Iterator<Item = (u32, Range<usize>)> + use<> {
    let (held, span) = (frame.held(), frame.length as usize);
    let pages = (0..u32::BITS).filter(move |page| held >> page & 1 == 1);
    pages.scan(0, move |at, page| {
        let begin = *at;
        *at += PAGE_SIZE_BYTES.min(span.saturating_sub(page as usize * PAGE_SIZE_BYTES));
        Some((page, begin..*at))
    })
}

/// The pages of a frame that a delta's file has cut off from what is below.
pub(super) fn cut_off(file: &FileEntry, begin: u64) -> u32 {
    if file.removed || file.made_anew {
        return u32::MAX;
    }
    match file.smallest_length {
        None => 0,
        Some(length) => !pages_of(length.saturating_sub(begin).min(u64::from(FRAME_PAGES) * PAGE_BYTES)),
    }
}

/// The pages about which each frame of a delta speaks.
pub(super) async fn named_by(layer: &LayerReader) -> Result<Named, LayerError> {
    let mut named = Named::new();
    for pack in 0..layer.index().packs.len() as u32 {
        let directory = layer.directory(pack).await?;
        for frame in &directory.frames {
            let Some(path) = directory.files.get(frame.file as usize) else { continue };
            if !named.contains_key(path) {
                named.insert(path.clone(), BTreeMap::new());
            }
            let number = (frame.begin / FRAME_BYTES as u64) as u32;
            named.get_mut(path).and_then(|frames| frames.insert(number, frame.named()));
        }
    }
    Ok(named)
}

/// The files of a stack, given newest first.
fn merge<'a>(layers: impl DoubleEndedIterator<Item = &'a LayerIndex>) -> Vec<FileEntry> {
    let mut files: BTreeMap<&str, &FileEntry> = BTreeMap::new();
    for layer in layers.rev() {
        for file in &layer.files {
            if file.removed {
                files.remove(file.path.as_str());
            } else {
                files.insert(&file.path, file);
            }
        }
    }
    let plain = |file: &FileEntry| FileEntry {
        packs: Vec::new(),
        smallest_length: None,
        made_anew: false,
        ..file.clone()
    };
    files.into_values().map(plain).collect()
}
