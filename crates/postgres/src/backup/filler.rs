//! One worker's pack: filled on its own thread, sent to the vault when it is full.

use super::{BackupError, BackupProgress};
use lifeboat_vault::layer::{Changed, LayerWriter, Pack, PackWriter};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Packs on their way to the vault at once.
const PACKS_UNDER_WAY: usize = 2;

/// Fills packs on one thread.
pub(crate) struct Filler {
    writer: Arc<LayerWriter>,
    progress: Arc<BackupProgress>,
    pack: Option<PackWriter>,
    sender: mpsc::Sender<Pack>,
}

impl Filler {
    pub(crate) fn new(
        writer: &Arc<LayerWriter>,
        progress: &Arc<BackupProgress>,
        sender: mpsc::Sender<Pack>,
    ) -> Self {
        Self { writer: writer.clone(), progress: progress.clone(), pack: None, sender }
    }

    /// Adds a frame; zeros are not stored.
    pub(crate) fn add(&mut self, path: &str, begin: u64, raw: &[u8]) -> Result<(), BackupError> {
        if self.progress.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        self.progress.add(raw.len() as u64);
        if super::pages::is_zero(raw) {
            return Ok(());
        }
        let pack = self.pack.get_or_insert_with(|| self.writer.begin_pack());
        pack.add(path, begin, raw);
        if pack.is_full() { self.flush() } else { Ok(()) }
    }

    /// Adds what changed in a frame, if anything did.
    pub(crate) fn add_changed(
        &mut self,
        path: &str,
        begin: u64,
        length: u32,
        changed: &Changed,
    ) -> Result<(), BackupError> {
        if self.progress.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        self.progress.add(changed.raw.len() as u64);
        if changed.present == 0 && changed.zero == 0 {
            return Ok(());
        }
        let pack = self.pack.get_or_insert_with(|| self.writer.begin_pack());
        pack.add_changed(path, begin, length, changed);
        if pack.is_full() { self.flush() } else { Ok(()) }
    }

    /// Whether somebody stopped the backup.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.progress.is_cancelled()
    }

    /// Sends what it holds.
    pub(crate) fn flush(&mut self) -> Result<(), BackupError> {
        let Some(pack) = self.pack.take() else { return Ok(()) };
        // The receiver is gone when a pack could not be written; its error is the one to tell.
        self.sender.blocking_send(pack.finish()).map_err(|_| BackupError::Cancelled)
    }
}

/// Writes packs to the vault as they come, until all senders are gone.
pub(crate) async fn write_packs(
    writer: Arc<LayerWriter>,
    mut packs: mpsc::Receiver<Pack>,
) -> Result<(), BackupError> {
    let mut under_way = tokio::task::JoinSet::new();
    let finished = |outcome: Option<Result<Result<(), _>, tokio::task::JoinError>>| match outcome {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(BackupError::Vault(error)),
        Some(Err(error)) => Err(BackupError::Unexpected(format!("a writer ended: {error}"))),
    };
    while let Some(pack) = packs.recv().await {
        if under_way.len() >= PACKS_UNDER_WAY {
            finished(under_way.join_next().await)?;
        }
        let writer = writer.clone();
        under_way.spawn(async move { writer.put_pack(pack).await });
    }
    while !under_way.is_empty() {
        finished(under_way.join_next().await)?;
    }
    Ok(())
}
