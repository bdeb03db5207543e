//! Tells when a copy of the vault takes no WAL while enough others do: nothing else would show it.

use super::alarm::{Alarm, AlarmKind, Board};
use super::session::VAULT_PATIENCE;
use lifeboat_vault::{Copies, VaultCopy};
use std::time::Duration;

/// The copies, each with the moment since which its writes fail.
#[derive(Debug)]
pub(super) struct CopyWatch(Vec<(VaultCopy, Option<Duration>)>);

impl CopyWatch {
    pub(super) fn new(copies: &Copies) -> Self {
        Self(copies.all().iter().map(|copy| (copy.clone(), None)).collect())
    }

    /// Raises and clears what the last writes show; what passes within [`VAULT_PATIENCE`] wakes nobody.
    pub(super) fn look(&mut self, board: &Board, now: Duration) {
        let only = self.0.len() == 1;
        for (copy, failing_since) in &mut self.0 {
            let Some(last_write) = copy.last_write() else { continue };
            if let Err(reason) = last_write {
                let since = *failing_since.get_or_insert(now);
                if now.saturating_sub(since) >= VAULT_PATIENCE {
                    board.raise(Alarm::CopyAway { copy: copy.name().to_owned(), reason, only });
                }
            } else {
                *failing_since = None;
                board.clear_for(AlarmKind::CopyAway, copy.name());
            }
        }
    }
}
