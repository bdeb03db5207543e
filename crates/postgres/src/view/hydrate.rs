//! Fetches what nobody has asked for yet, pack by pack: far fewer round trips than page by page.

use super::disk::RealDisk;
use super::overlay::{Fetched, Overlay};
use super::pages::{PAUSE, VaultPages};
use bytes::Bytes;
use lifeboat_pgformat::PAGE_SIZE_BYTES;
use lifeboat_vault::ReadError;
use lifeboat_vault::layer::{LayerError, PackDirectory, Stretch};
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Packs under way at a time: one is read while another is opened and written.
const AT_A_TIME: usize = 2;
/// How long the vault is waited for: nobody waits for what is fetched here, and somebody asked for all of it.
const AWAY_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);

type Behind = Overlay<RealDisk, Arc<VaultPages>>;

struct Shared {
    overlay: Arc<Behind>,
    pages: Arc<VaultPages>,
    /// Path in the layer → number.
    numbers: HashMap<String, u32>,
    next_pack: AtomicU32,
    is_stopped: Arc<AtomicBool>,
}

/// Why a pack was not taken.
enum Missed {
    /// The vault does not answer.
    Away(LayerError),
    Failed(Error),
}

impl From<LayerError> for Missed {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Read { source: ReadError::Unavailable { .. }, .. } => Self::Away(error),
            error => Self::Failed(Error::other(error)),
        }
    }
}

/// Fetches all that is missing and makes it durable. While the vault is away it is waited for. The first error is
/// returned, after all else was tried.
pub(super) async fn hydrate(
    overlay: &Arc<Behind>,
    pages: &Arc<VaultPages>,
    is_stopped: &Arc<AtomicBool>,
) -> Result<()> {
    let numbers = (0..).zip(&pages.files).map(|(number, file)| (file.layer_path.clone(), number)).collect();
    let (overlay, pages, is_stopped) = (overlay.clone(), pages.clone(), is_stopped.clone());
    let shared = Arc::new(Shared { overlay, pages, numbers, next_pack: AtomicU32::new(0), is_stopped });
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..AT_A_TIME {
        workers.spawn(take_packs(shared.clone()));
    }
    let (mut failed, mut is_away) = (None, false);
    while let Some(outcome) = workers.join_next().await {
        match outcome.unwrap_or_else(|error| Err(Missed::Failed(Error::other(error)))) {
            Ok(()) => {}
            Err(Missed::Away(error)) => {
                is_away = true;
                failed.get_or_insert(Error::other(error));
            }
            Err(Missed::Failed(error)) => {
                failed.get_or_insert(error);
            }
        }
    }
    let worker = shared.clone();
    // A vault that is away has no single frame either.
    let rest = tokio::task::spawn_blocking(move || worker.take_rest(is_away))
        .await
        .unwrap_or_else(|error| Err(Error::other(error)));
    match failed {
        // Another copy had it, or who asked for it was luckier.
        Some(_) if rest.is_ok() && shared.overlay.is_all_settled() => Ok(()),
        Some(error) => Err(error),
        None => rest,
    }
}

async fn take_packs(shared: Arc<Shared>) -> std::result::Result<(), Missed> {
    let packs = shared.pages.stack.index().packs.len();
    let mut failed = None;
    loop {
        let number = shared.next_pack.fetch_add(1, Ordering::Relaxed);
        if number as usize >= packs || shared.is_stopped() {
            return failed.map_or(Ok(()), Err);
        }
        let mut left = AWAY_LIMIT;
        loop {
            match take_pack(&shared, number).await {
                Err(Missed::Away(error)) if !left.is_zero() && !shared.is_stopped() => {
                    shared.pages.may_wait(&error);
                    tokio::time::sleep(PAUSE).await;
                    left = left.saturating_sub(PAUSE);
                    continue;
                }
                Err(missed @ Missed::Away(_)) => return Err(missed),
                // What nobody can write must not be fetched in vain.
                Err(Missed::Failed(error)) if error.kind() == ErrorKind::StorageFull => {
                    return Err(Missed::Failed(error));
                }
                Err(missed) => {
                    failed.get_or_insert(missed);
                }
                Ok(()) => {}
            }
            break;
        }
    }
}

async fn take_pack(shared: &Arc<Shared>, number: u32) -> std::result::Result<(), Missed> {
    let directory = shared.pages.stack.directory(number).await?;
    if shared.lacking(number, &directory).next().is_none() {
        return Ok(());
    }
    if !shared.overlay.has_room() {
        return Err(Missed::Failed(ErrorKind::StorageFull.into()));
    }
    let pack = shared.pages.stack.pack(number).await?;
    shared.pages.answered();
    let worker = shared.clone();
    let written = tokio::task::spawn_blocking(move || {
        for (frame, file, showing) in worker.lacking(number, &pack.directory) {
            // A damaged one is left to be fetched by itself, from another copy.
            let Ok(raw) = pack.frame(frame) else { continue };
            let path = &worker.pages.files[file as usize].base.path;
            for stretch in showing {
                let Some(bytes) = raw.get(stretch.raw) else { continue };
                let fetched =
                    Fetched { first_page: page_of(stretch.begin), bytes: Bytes::copy_from_slice(bytes) };
                worker.overlay.offer(file, path, &fetched)?;
            }
        }
        Ok::<_, Error>(())
    });
    written.await.unwrap_or_else(|error| Err(Error::other(error))).map_err(Missed::Failed)
}

impl Shared {
    /// The frames of a pack of which something that shows is missing: number, file, what shows.
    fn lacking<'a>(
        &'a self,
        pack: u32,
        directory: &'a PackDirectory,
    ) -> impl Iterator<Item = (u32, u32, Vec<Stretch>)> + 'a {
        (0..).zip(&directory.frames).filter_map(move |(number, frame)| {
            let path = directory.files.get(frame.file as usize)?;
            let file = *self.numbers.get(path)?;
            let mut showing = self.pages.stack.showing(pack, path, frame);
            showing.retain(|stretch| {
                let end = stretch.begin + stretch.raw.len() as u64;
                let pages = page_of(stretch.begin)..page_of(end.next_multiple_of(PAGE_SIZE_BYTES as u64));
                self.overlay.lacks(file, pages)
            });
            (!showing.is_empty()).then_some((number, file, showing))
        })
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// What no pack had, which is zeros, and what was damaged there, unless the vault `is_away`.
    fn take_rest(&self, is_away: bool) -> Result<()> {
        let mut failed = None;
        for (number, file) in (0..).zip(&self.pages.files).filter(|_| !is_away) {
            if self.is_stopped() {
                return Ok(());
            }
            if let Err(error) = self.overlay.complete_if_there(number, &file.base.path) {
                failed.get_or_insert(error);
            }
        }
        self.overlay.sync_behind()?;
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn page_of(byte: u64) -> u32 {
    u32::try_from(byte / PAGE_SIZE_BYTES as u64).unwrap_or(u32::MAX)
}
