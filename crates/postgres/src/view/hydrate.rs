//! Fetches what nobody has asked for yet, pack by pack: far fewer round trips than page by page.

use super::disk::RealDisk;
use super::overlay::{Fetched, Overlay};
use super::pages::VaultPages;
use lifeboat_pgformat::PAGE_SIZE_BYTES;
use lifeboat_vault::layer::PackDirectory;
use std::collections::HashMap;
use std::io::{Error, Result};
use std::ops::Range;
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
    let packs = shared.pages.reader.index().packs.len();
    loop {
        let number = shared.next_pack.fetch_add(1, Ordering::Relaxed);
        if number as usize >= packs || shared.is_stopped.load(Ordering::Acquire) {
            return Ok(());
        }
        let directory = shared.pages.reader.directory(number).await.map_err(Error::other)?;
        if shared.lacking(&directory).next().is_none() {
            continue;
        }
        let pack = shared.pages.reader.pack(number).await.map_err(Error::other)?;
        let worker = shared.clone();
        let written = tokio::task::spawn_blocking(move || {
            for (frame, file, pages) in worker.lacking(&pack.directory) {
                // A damaged one is left to be fetched by itself, from another copy.
                let Ok(bytes) = pack.frame(frame) else { continue };
                let path = &worker.pages.files[file as usize].base.path;
                worker.overlay.offer(file, path, &Fetched { first_page: pages.start, bytes })?;
            }
            Ok::<_, Error>(())
        });
        written.await.unwrap_or_else(|error| Err(Error::other(error)))?;
    }
}

impl Shared {
    /// The frames of a pack of which something is missing: number, file, pages.
    fn lacking<'a>(
        &'a self,
        directory: &'a PackDirectory,
    ) -> impl Iterator<Item = (u32, u32, Range<u32>)> + 'a {
        (0..).zip(&directory.frames).filter_map(|(number, frame)| {
            let file = *self.numbers.get(directory.files.get(frame.file as usize)?)?;
            let page = |byte: u64| u32::try_from(byte.div_ceil(PAGE_SIZE_BYTES as u64)).unwrap_or(u32::MAX);
            let pages = page(frame.begin)..page(frame.begin + u64::from(frame.length));
            self.overlay.lacks(file, pages.clone()).then_some((number, file, pages))
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
