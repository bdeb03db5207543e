//! The restore point behind a view: its pages, fetched from the vault one frame at a time.
//!
//! # Invariants
//! - **G1 the vault may go away.** What cannot be fetched now is tried again until the vault has been away for
//!   [`AWAY_LIMIT`]; then it is an error, and each later one is tried once, until the vault is back.
//! - **G2 damage is told.** A frame that no copy has whole is an error and an event, never served.

use super::overlay::{Base, BaseFile, Fetched, Keep, lock};
use super::place::within;
use lifeboat_base::{Clock, error_chain};
use lifeboat_pgformat::{PAGE_SIZE_BYTES, RelationFile};
use lifeboat_vault::layer::{FRAME_BYTES, FileKind, LayerError, Stack};
use lifeboat_vault::{ReadError, Vault};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a page is waited for while the vault does not answer.
pub const AWAY_LIMIT: Duration = Duration::from_secs(60);
/// A vault that comes and goes is told of at most so often.
pub const TOLD_EVERY: Duration = Duration::from_secs(30);
/// Between two tries.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// Frames that are held in memory where they are not kept: whoever reads page by page asks for the same ones again.
const FRAMES_HELD: usize = 256;
const FRAME_PAGES: u32 = (FRAME_BYTES / PAGE_SIZE_BYTES) as u32;

/// What happened between a view and its vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// The vault does not answer: pages that are not here yet are waited for.
    Away(String),
    /// It answers again.
    Back,
    /// All that nobody had asked for yet is here too, and durable: the vault is not needed any more.
    Hydrated,
    /// Not all of that came.
    NotHydrated(String),
    /// Pages that no copy has whole.
    Damaged {
        /// The file below the data directory.
        path: String,
        /// Byte in it.
        at: u64,
        /// What is wrong with each copy.
        why: String,
    },
}

/// Is told what happened.
pub type Listener = Arc<dyn Fn(Happened) + Send + Sync>;

/// A relation file of the restore point.
#[derive(Debug, Clone)]
pub(super) struct RestoreFile {
    /// Where the layer has it.
    pub(super) layer_path: String,
    pub(super) base: BaseFile,
}

/// The relation files of a layer, in the order that numbers them.
pub(super) fn relation_files(stack: &Stack) -> Vec<RestoreFile> {
    let files = stack.index().files.iter().filter(|file| file.kind == FileKind::File);
    let files = files.filter(|file| RelationFile::parse(&file.path).is_some());
    files
        .map(|file| RestoreFile {
            layer_path: file.path.clone(),
            base: BaseFile { path: within(&file.path), length: file.length },
        })
        .collect()
}

/// The frames that were fetched last.
#[derive(Default)]
struct Held {
    frames: HashMap<(u32, u32), Fetched>,
    /// The oldest first.
    order: VecDeque<(u32, u32)>,
}

impl Held {
    fn hold(&mut self, number: u32, fetched: &Fetched) {
        let place = (number, fetched.first_page);
        if self.frames.insert(place, fetched.clone()).is_none() {
            self.order.push_back(place);
        }
        if self.order.len() > FRAMES_HELD
            && let Some(oldest) = self.order.pop_front()
        {
            self.frames.remove(&oldest);
        }
    }
}

/// What is known of a vault that does not answer.
#[derive(Debug, Default)]
struct Away {
    since: Option<Duration>,
    /// When that was told the last time, and whether it was told of this time.
    told: Option<Duration>,
    is_told: bool,
}

pub(super) struct VaultPages {
    pub(super) stack: Stack,
    pub(super) files: Vec<RestoreFile>,
    runtime: tokio::runtime::Handle,
    clock: Arc<dyn Clock>,
    away: Mutex<Away>,
    /// Frames of which it was told that they are damaged: file and first page.
    damaged: Mutex<HashSet<(u32, u32)>>,
    tell: Listener,
    /// Frames that were fetched last, where the overlay keeps none.
    held: Option<Mutex<Held>>,
    /// Frames that were fetched for somebody who waited.
    pub(super) fetched: AtomicU64,
}

impl VaultPages {
    pub(super) fn new(vault: &Vault, stack: Stack, keep: Keep, tell: Listener) -> Self {
        let files = relation_files(&stack);
        let runtime = tokio::runtime::Handle::current();
        let clock = vault.clock().clone();
        let held = (keep == Keep::Written).then(Mutex::default);
        let (away, damaged, fetched) = Default::default();
        Self { stack, files, runtime, clock, away, damaged, tell, held, fetched }
    }

    /// Whether to try again (G1).
    pub(super) fn may_wait(&self, why: &LayerError) -> bool {
        let now = self.clock.monotonic();
        let mut away = lock(&self.away);
        if away.since.is_none() {
            let is_due = away.told.is_none_or(|told| now.saturating_sub(told) >= TOLD_EVERY);
            *away =
                Away { since: Some(now), told: if is_due { Some(now) } else { away.told }, is_told: is_due };
            if is_due {
                (self.tell)(Happened::Away(error_chain(why)));
            }
        }
        now.saturating_sub(away.since.unwrap_or(now)) < AWAY_LIMIT
    }

    pub(super) fn answered(&self) {
        let mut away = lock(&self.away);
        if away.since.take().is_some() && away.is_told {
            (self.tell)(Happened::Back);
        }
    }
}

impl Base for Arc<VaultPages> {
    fn fetch(&self, number: u32, page: u32) -> Result<Fetched> {
        let file = self.files.get(number as usize).ok_or_else(|| Error::from(ErrorKind::NotFound))?;
        let first_page = page - page % FRAME_PAGES;
        let at = u64::from(first_page) * PAGE_SIZE_BYTES as u64;
        let held = self.held.as_ref().map(|held| lock(held));
        if let Some(found) = held.and_then(|held| held.frames.get(&(number, first_page)).cloned()) {
            return Ok(found);
        }
        loop {
            match self.runtime.block_on(self.stack.frame(&file.layer_path, at)) {
                Ok(Some(bytes)) => {
                    self.answered();
                    self.fetched.fetch_add(1, Ordering::Relaxed);
                    let fetched = Fetched { first_page, bytes: bytes.into() };
                    if let Some(held) = &self.held {
                        lock(held).hold(number, &fetched);
                    }
                    return Ok(fetched);
                }
                Ok(None) => return Err(Error::from(ErrorKind::UnexpectedEof)),
                Err(error @ LayerError::Read { source: ReadError::Unavailable { .. }, .. }) => {
                    if !self.may_wait(&error) {
                        return Err(Error::other(error_chain(&error)));
                    }
                    self.runtime.block_on(tokio::time::sleep(PAUSE));
                }
                Err(error) => {
                    // G2.
                    self.answered();
                    let (path, why) = (file.layer_path.clone(), error_chain(&error));
                    // Whoever cannot read it tries again and again.
                    if lock(&self.damaged).insert((number, first_page)) {
                        (self.tell)(Happened::Damaged { path, at, why: why.clone() });
                    }
                    return Err(Error::other(why));
                }
            }
        }
    }
}
