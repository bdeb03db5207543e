//! Decides whether a server may go on with the WAL that the vault has of its cluster.
//!
//! A number of a timeline stands for one history for ever; whoever comes with another one under the same
//! number, or with a timeline that the vault has left behind, is neither streamed from nor backed up: its restore
//! points would be taken for production's, and production's own be pruned in their favour.
//!
//! # Invariants
//! - **L1** A server on an older timeline than the vault's newest is an old primary: refused.
//! - **L2** A timeline number that means another history than in the vault is refused.
//! - **L3** A newer timeline is followed even if it does not continue the vault's newest: that is what
//!   recovery to an earlier moment looks like. It is told, as two promotions apart look the same.

use crate::client::{ClientError, Connection};
use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_pgformat::{HistoryError, TimelineHistory};
use lifeboat_vault::wal::{WalArchive, WalError};
use std::collections::BTreeMap;

/// What the vault has of one timeline.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Its history, where the vault has it.
    pub(crate) history: Option<TimelineHistory>,
    /// The end of its WAL in the vault.
    pub(crate) end: Option<Lsn>,
}

/// Why a server is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// L1.
    OldPrimary { newest: Timeline },
    /// L2.
    ReusedNumber { timeline: Timeline },
}

/// WAL of the vault that the server's history left out (L3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) timeline: Timeline,
    pub(crate) range: LsnRange,
}

/// Why a server is not the one that the vault goes on with, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    /// L1.
    #[error(
        "the server is on timeline {found}, but the vault is on timeline {newest} already: an old primary came back, or the connection still leads to it. Stop it before it takes writes, and make it a standby of the new primary with pg_rewind or a restore"
    )]
    OldPrimary {
        /// The server's.
        found: Timeline,
        /// The vault's.
        newest: Timeline,
    },
    /// L2.
    #[error(
        "timeline {timeline} of the server is another than the one that the vault has under this number: two servers were promoted apart. Decide which one goes on, and promote it again to get a new timeline"
    )]
    ReusedNumber {
        /// Which.
        timeline: Timeline,
    },
    /// The server did not tell.
    #[error("the server does not tell its timeline")]
    Server(#[source] ClientError),
    /// What it told does not read.
    #[error("the server's timeline history does not read")]
    History(#[source] HistoryError),
    /// The vault did not tell.
    #[error("the vault does not tell which timelines it has")]
    Vault(#[source] WalError),
}

/// Whether the server at the other end of a replication connection is the one that `archive` goes on with.
///
/// # Errors
/// [`LineageError`].
pub async fn check(connection: &mut Connection, archive: &WalArchive) -> Result<(), LineageError> {
    let timeline = connection.identify_system().await.map_err(LineageError::Server)?.timeline;
    let server = if timeline == Timeline(1) {
        TimelineHistory::root(timeline)
    } else {
        let file = connection.timeline_history(timeline).await.map_err(LineageError::Server)?;
        TimelineHistory::parse(timeline, &file.content).map_err(LineageError::History)?
    };
    let mut vault = BTreeMap::new();
    for timeline in archive.timelines().await.map_err(LineageError::Vault)? {
        let has_one = timeline == Timeline(1)
            || archive.history_file(timeline).await.map_err(LineageError::Vault)?.is_some();
        let history = match has_one {
            true => Some(archive.history(timeline).await.map_err(LineageError::Vault)?),
            false => None,
        };
        vault.insert(timeline, Known { history, end: None });
    }
    match judge(&server, &vault) {
        Ok(_) => Ok(()),
        Err(Unfit::OldPrimary { newest }) => Err(LineageError::OldPrimary { found: timeline, newest }),
        Err(Unfit::ReusedNumber { timeline }) => Err(LineageError::ReusedNumber { timeline }),
    }
}

/// Holds the server's history against what the vault knows.
pub(crate) fn judge(
    server: &TimelineHistory,
    vault: &BTreeMap<Timeline, Known>,
) -> Result<Vec<LeftOut>, Unfit> {
    if let Some((&newest, _)) = vault.last_key_value()
        && newest > server.timeline()
    {
        return Err(Unfit::OldPrimary { newest });
    }
    let mut left_out = Vec::new();
    for (&timeline, known) in vault {
        let theirs = server.range_of(timeline);
        if let (Some(history), Some(_)) = (&known.history, theirs) {
            let agrees = if timeline == server.timeline() {
                steps(history) == steps(server)
            } else {
                server.descends_from(history)
            };
            if !agrees {
                return Err(Unfit::ReusedNumber { timeline });
            }
        }
        // The history of a timeline that the server did not take over began somewhere on its way.
        let begins = known.history.as_ref().and_then(TimelineHistory::begins_at).unwrap_or(Lsn(0));
        let taken_over = theirs.map_or(begins, |range| range.end);
        if let Some(end) = known.end.filter(|end| *end > taken_over) {
            left_out.push(LeftOut { timeline, range: LsnRange { start: taken_over, end } });
        }
    }
    Ok(left_out)
}

fn steps(history: &TimelineHistory) -> Vec<(Timeline, Lsn)> {
    history.ancestors().iter().map(|entry| (entry.timeline, entry.switch)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(timeline: u32, text: &str) -> TimelineHistory {
        TimelineHistory::parse(Timeline(timeline), text.as_bytes()).unwrap()
    }

    fn vault(known: &[(TimelineHistory, u64)]) -> BTreeMap<Timeline, Known> {
        let entry = |(history, end): &(TimelineHistory, u64)| {
            (history.timeline(), Known { history: Some(history.clone()), end: Some(Lsn(*end)) })
        };
        known.iter().map(entry).collect()
    }

    #[test]
    fn a_promotion_is_followed_and_what_it_left_out_is_told() {
        let second = history(2, "1\t0/500\twhy\n");
        assert_eq!(judge(&second, &vault(&[(history(1, ""), 0x500)])), Ok(vec![]));
        let left_out =
            LeftOut { timeline: Timeline(1), range: LsnRange { start: Lsn(0x500), end: Lsn(0x700) } };
        assert_eq!(judge(&second, &vault(&[(history(1, ""), 0x700)])), Ok(vec![left_out]));
    }

    #[test]
    fn l1_an_old_primary_is_refused() {
        let vault = vault(&[(history(1, ""), 0x500), (history(2, "1\t0/500\twhy\n"), 0x900)]);
        assert_eq!(judge(&history(1, ""), &vault), Err(Unfit::OldPrimary { newest: Timeline(2) }));
    }

    #[test]
    fn l2_a_number_used_again_is_refused() {
        let vault = vault(&[(history(1, ""), 0x500), (history(2, "1\t0/500\twhy\n"), 0x900)]);
        let reused = Err(Unfit::ReusedNumber { timeline: Timeline(2) });
        assert_eq!(judge(&history(2, "1\t0/400\twhy\n"), &vault), reused);
        assert_eq!(judge(&history(3, "1\t0/400\ta\n2\t0/900\tb\n"), &vault), reused);
        assert_eq!(judge(&history(3, "1\t0/500\ta\n2\t0/900\tb\n"), &vault), Ok(vec![]));
    }

    #[test]
    fn l3_recovery_to_an_earlier_moment_is_followed_and_told() {
        let vault = vault(&[(history(1, ""), 0x500), (history(2, "1\t0/500\twhy\n"), 0x900)]);
        let left_out = judge(&history(3, "1\t0/300\twhy\n"), &vault).unwrap();
        let ranges: Vec<_> =
            left_out.iter().map(|l| (l.timeline.0, l.range.start.0, l.range.end.0)).collect();
        assert_eq!(ranges, [(1, 0x300, 0x500), (2, 0x500, 0x900)]);
    }
}
