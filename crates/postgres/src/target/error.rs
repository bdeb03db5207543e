//! Why a target cannot be recovered to, and what can.

use super::{ScanError, Target};
use crate::window::{Window, WindowError, shown};
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange, ServiceName, Timeline};
use lifeboat_vault::point::PointError;
use lifeboat_vault::wal::WalError;

/// One of several places that a target may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The timeline to choose it by.
    pub timeline: Timeline,
    /// The timeline and position that it left, if it did.
    pub forked: Option<(Timeline, Lsn)>,
    /// Where the target is on it.
    pub stop: Lsn,
    /// The last commit included there.
    pub at: Option<Timestamp>,
    /// Where its WAL ends.
    pub end: Lsn,
}

/// Why a target is none.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No restore point at all.
    #[error("{service} has no restore point; take one with `lifeboat backup run {service}`")]
    NoPoint {
        /// The service.
        service: ServiceName,
    },
    /// No such timeline.
    #[error(
        "the vault has no WAL of timeline {timeline} of {service}; it has {}",
        join(have.iter().map(|t| format!("timeline {t}")))
    )]
    UnknownTimeline {
        /// The service.
        service: ServiceName,
        /// Asked for.
        timeline: Timeline,
        /// What there is.
        have: Vec<Timeline>,
    },
    /// PostgreSQL could not follow it.
    #[error(
        "the vault has no history file of timeline {0}, without which PostgreSQL cannot follow it: push {name}.history from the server's pg_wal with `lifeboat wal push`, or name an older timeline with --timeline", name = .0.to_sortable()
    )]
    NoHistory(Timeline),
    /// Several places.
    #[error(
        "`{target}` is on several branches of history: {}. Choose one with --timeline",
        join(branches.iter().map(ToString::to_string))
    )]
    Ambiguous {
        /// The target.
        target: Target,
        /// Them.
        branches: Vec<Branch>,
    },
    /// Before or after all that can be reached, or in a gap.
    #[error("`{target}` cannot be reached: {why}. What can be reached: {}", join(windows.iter().map(ToString::to_string)))]
    OutOfWindow {
        /// The target.
        target: Target,
        /// Where it lies.
        why: Outside,
        /// What can be reached.
        windows: Vec<Window>,
    },
    /// A transaction that had no effect.
    #[error("transaction {xid} was rolled back at {}: there is no commit to recover to", shown(*time))]
    RolledBack {
        /// The transaction.
        xid: u32,
        /// When.
        time: Timestamp,
    },
    /// Several restore points of one name.
    #[error("several restore points are called `{name}`: {}. Choose one by its position", join(found.iter().map(|(lsn, time)| format!("lsn:{lsn} of {}", shown(*time)))))]
    NameTwice {
        /// The name.
        name: String,
        /// The position after each, and its time.
        found: Vec<(Lsn, Timestamp)>,
    },
    /// The restore points.
    #[error("the restore points cannot be listed")]
    Points(#[source] PointError),
    /// The WAL's names.
    #[error("the WAL in the vault cannot be listed")]
    Wal(#[source] WalError),
    /// Its content.
    #[error("the target cannot be looked for")]
    Scan(#[source] ScanError),
    /// While saying what can be reached.
    #[error("the recoverable window is not known")]
    Window(#[source] WindowError),
}

/// Where an unreachable target lies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outside {
    /// Before the first restore point.
    #[error("it is before the oldest restore point is consistent")]
    Before,
    /// After the end.
    #[error("nothing is known so late: {}", match known_until {
        Some(time) => format!("the last that the vault's WAL tells is of {}; to recover to its end, write latest", shown(*time)),
        None => "to recover to the end, write latest".to_owned(),
    })]
    After {
        /// The latest time that WAL tells.
        known_until: Option<Timestamp>,
    },
    /// In a hole, or behind one.
    #[error("the WAL {0} is missing")]
    Hole(LsnRange),
    /// Not seen.
    #[error("the WAL that can be reached does not tell of it")]
    NotFound,
}

impl std::fmt::Display for Branch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "timeline {}", self.timeline)?;
        if let Some((parent, lsn)) = self.forked {
            write!(f, ", which left timeline {parent} at {lsn}")?;
        }
        write!(f, " and ends at {} (there at {}", self.end, self.stop)?;
        match self.at {
            Some(time) => write!(f, ", last commit {})", shown(time)),
            None => f.write_str(")"),
        }
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join("; ") }
}
