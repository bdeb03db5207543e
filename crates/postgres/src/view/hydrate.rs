//! Fetches what nobody has asked for yet, pack by pack: far fewer round trips than page by page.

use super::disk::RealDisk;
use super::overlay::{Fetched, Overlay};
use super::pages::VaultPages;
use lifeboat_pgformat::PAGE_SIZE_BYTES;
use lifeboat_vault::layer::{PackDirectory, Stretch};
use std::collections::HashMap;
use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Packs under way at a time: one is read while another is opened and written.
const AT_A_TIME: usize = 2;

type Behind = Overlay<RealDisk, Arc<VaultPages>>;

struct Shared {
    overlay: Arc<Behind>,
    pages: Arc<VaultPages>,
    /// Path in the layer → number.
    numbers: HashMap<String, u32>,
    next_pack: AtomicU32,
    is_stopped: Arc<AtomicBool>,
}

/// Fetches all that is missing and makes it durable. The first error is returned, after all else was tried.
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
    let mut failed = None;
    while let Some(outcome) = workers.join_next().await {
        if let Err(error) = outcome.unwrap_or_else(|error| Err(Error::other(error))) {
            failed.get_or_insert(error);
        }
    }
    let rest = tokio::task::spawn_blocking(move || shared.take_rest())
        .await
        .unwrap_or_else(|error| Err(Error::other(error)));
    match failed {
        Some(error) => Err(error),
        None => rest,
    }
}

async fn take_packs(shared: Arc<Shared>) -> Result<()> {
    let packs = shared.pages.stack.index().packs.len();
    loop {
        let number = shared.next_pack.fetch_add(1, Ordering::Relaxed);
        if number as usize >= packs || shared.is_stopped.load(Ordering::Acquire) {
            return Ok(());
        }
        let directory = shared.pages.stack.directory(number).await.map_err(Error::other)?;
        if shared.lacking(number, &directory).next().is_none() {
            continue;
        }
        let pack = shared.pages.stack.pack(number).await.map_err(Error::other)?;
        let worker = shared.clone();
        let written = tokio::task::spawn_blocking(move || {
            for (frame, file, showing) in worker.lacking(number, &pack.directory) {
                // A damaged one is left to be fetched by itself, from another copy.
                let Ok(raw) = pack.frame(frame) else { continue };
                let path = &worker.pages.files[file as usize].base.path;
                for stretch in showing {
                    let Some(bytes) = raw.get(stretch.raw) else { continue };
                    let fetched = Fetched { first_page: page_of(stretch.begin), bytes: bytes.to_vec() };
                    worker.overlay.offer(file, path, &fetched)?;
                }
            }
            Ok::<_, Error>(())
        });
        written.await.unwrap_or_else(|error| Err(Error::other(error)))?;
    }
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

    /// What no pack had, which is zeros, and what was damaged there.
    fn take_rest(&self) -> Result<()> {
        let mut failed = None;
        for (number, file) in (0..).zip(&self.pages.files) {
            if self.is_stopped.load(Ordering::Acquire) {
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
