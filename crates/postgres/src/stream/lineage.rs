//! Decides whether a server may go on with the WAL that the vault has of its cluster.
//!
//! Pure. A number of a timeline stands for one history for ever; whoever comes with another one under
//! the same number, or with a timeline that the vault has left behind, is not streamed from.
//!
//! # Invariants
//! - **L1** A server on an older timeline than the vault's newest is an old primary: refused.
//! - **L2** A timeline number that means another history than in the vault is refused.
//! - **L3** A newer timeline is followed even if it does not continue the vault's newest: that is what
//!   recovery to an earlier moment looks like. It is told, as two promotions apart look the same.

use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_pgformat::TimelineHistory;
use std::collections::BTreeMap;

/// What the vault has of one timeline.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Its history, where the vault has it.
    pub(super) history: Option<TimelineHistory>,
    /// The end of its WAL in the vault.
    pub(super) end: Option<Lsn>,
}

/// Why a server is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// L1.
    OldPrimary { newest: Timeline },
    /// L2.
    ReusedNumber { timeline: Timeline },
}

/// WAL of the vault that the server's history left out (L3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) timeline: Timeline,
    pub(super) range: LsnRange,
}

/// Holds the server's history against what the vault knows.
pub(super) fn judge(
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
