//! What the tasks of one stream share.

use super::alarm::Board;
use super::exposure::Exposure;
use super::recent::Recent;
use crate::client::Endpoint;
use lifeboat_base::{Clock, Lsn, Timeline};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use tokio::sync::{Mutex, watch};

/// What the tasks of one stream share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) board: Board,
    pub(super) exposure: watch::Sender<Exposure>,
    /// How far the timeline that is streamed is durable; none before anything is known.
    pub(super) progress: watch::Sender<Option<(Timeline, Lsn)>>,
    /// Held while pieces turn into a segment, and while the vault is listed: between the two a listing
    /// could see neither.
    pub(super) listing: Mutex<()>,
    /// What need not be read back when it is joined.
    pub(super) recent: Arc<Recent>,
    observed_flush: AtomicU64,
    observed_wait: std::sync::Mutex<Option<bool>>,
    stopping: AtomicBool,
    endpoint: std::sync::Mutex<Option<Endpoint>>,
}

impl Shared {
    pub(super) fn new(clock: Arc<dyn Clock>, board: Board, exposure: watch::Sender<Exposure>) -> Self {
        Self {
            clock,
            board,
            exposure,
            progress: watch::Sender::new(None),
            listing: Mutex::new(()),
            recent: Arc::default(),
            observed_flush: AtomicU64::new(0),
            observed_wait: std::sync::Mutex::new(None),
            stopping: AtomicBool::new(false),
            endpoint: std::sync::Mutex::new(None),
        }
    }

    /// What the server has flushed, as last asked by SQL.
    pub(super) fn observed_flush(&self) -> Lsn {
        Lsn(self.observed_flush.load(Ordering::Relaxed))
    }

    pub(super) fn observe_flush(&self, lsn: Lsn) {
        self.observed_flush.store(lsn.0, Ordering::Relaxed);
    }

    /// Whether commits wait for the vault, as last asked by SQL; none before that.
    pub(super) fn observed_wait(&self) -> Option<bool> {
        *self.observed_wait.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn observe_wait(&self, awaited: Option<bool>) {
        *self.observed_wait.lock().unwrap_or_else(PoisonError::into_inner) = awaited;
    }

    /// The server that is streamed from; what was known of another's WAL no longer counts.
    pub(super) fn look_at(&self, endpoint: Endpoint) {
        self.observe_flush(Lsn(0));
        self.observe_wait(None);
        self.stopping.store(false, Ordering::Relaxed);
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
    }

    /// The server that is, or was last, streamed from.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server refuses new sessions: if it still streams, it is shutting down.
    pub(super) fn observe_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the server is shutting down, as far as seen.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
