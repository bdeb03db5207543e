//! Reads ahead: recovery asks for one segment after the other.
//!
//! # Invariants
//! - **A1 bounded.** No more segments are held or under way than fit into the limit.
//! - **A2 only what is final.** The last, unfinished segment is fetched anew each time: it grows.

use super::{FetchError, Fetcher, Found};
use lifeboat_pgformat::{WalFileName, WalName};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::task::JoinHandle;

/// Segments under way at once, whatever fits into memory.
const SEGMENTS_LIMIT: u64 = 16;

/// The segments after the one that was asked for last.
#[derive(Debug)]
pub(super) struct Ahead {
    fetcher: Fetcher,
    depth: u64,
    under_way: Mutex<BTreeMap<WalFileName, JoinHandle<Option<Found>>>>,
}

impl Ahead {
    pub(super) fn new(fetcher: Fetcher, limit_bytes: u64) -> Self {
        let segment_bytes = fetcher.archive().segment_size().bytes();
        let depth = (limit_bytes / segment_bytes).min(SEGMENTS_LIMIT);
        Self { fetcher, depth, under_way: Mutex::default() }
    }

    /// The file, from what was read ahead if it is there.
    pub(super) async fn file(&self, name: &str) -> Result<Option<Found>, FetchError> {
        let WalName::Segment(file) = WalName::classify(name, self.fetcher.archive().segment_size()) else {
            return self.fetcher.file(name).await;
        };
        let begun = self.advance(file);
        if let Some(task) = begun
            && let Ok(Some(found)) = task.await
        {
            return Ok(Some(found));
        }
        self.fetcher.file(name).await
    }

    /// Takes what was begun for `file`, begins what comes after it and drops the rest (A1).
    fn advance(&self, file: WalFileName) -> Option<JoinHandle<Option<Found>>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = under_way.remove(&file);
        let mut wanted = Vec::new();
        let mut next = file;
        for _ in 0..self.depth {
            next = next.next();
            wanted.push(next);
        }
        under_way.retain(|held, task| {
            let keep = wanted.contains(held);
            if !keep {
                task.abort();
            }
            keep
        });
        for file in wanted {
            under_way.entry(file).or_insert_with(|| {
                let fetcher = self.fetcher.clone();
                // One look: whoever really asks for it has the patience.
                tokio::spawn(async move {
                    let found = fetcher.look(&file.to_string()).await.ok().flatten();
                    found.filter(|found| found.is_final)
                })
            });
        }
        begun
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let under_way = self.under_way.get_mut().unwrap_or_else(PoisonError::into_inner);
        under_way.values().for_each(JoinHandle::abort);
    }
}
