//! Why the journal could not be written or read.

use super::chain::SHARED_TRIES;
use super::{Fault, RECORD_LIMIT_BYTES, Scope};
use crate::{CopyFailure, ReadError, WriteError, refusals};
use jiff::Timestamp;

/// Why the journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// J1. Whoever sees it must stop: another acts in its place.
    #[error(
        "record {number} of {scope} was written by {by} at {time}, not by us: another has taken over. Nothing was overwritten; stop, and start again if you should be the one to act"
    )]
    LostChain {
        /// The chain.
        scope: Scope,
        /// The number that was ours to write.
        number: u64,
        /// Who wrote it.
        by: String,
        /// When, by their clock.
        time: Timestamp,
    },
    /// J2. The home did not answer.
    #[error(
        "whether record {number} of {scope} was written is unknown; it is tried again before anything else is written"
    )]
    Unknown {
        /// The chain.
        scope: Scope,
        /// The record.
        number: u64,
        /// What the home said last.
        source: WriteError,
    },
    /// Others are faster, again and again.
    #[error("{SHARED_TRIES} tries to append to {0} found the number taken by others; try again later")]
    Contended(Scope),
    /// More than a record holds.
    #[error("an event `{kind}` of {bytes} bytes does not fit into a record of {RECORD_LIMIT_BYTES}")]
    TooLarge {
        /// Its kind.
        kind: String,
        /// Its size as JSON.
        bytes: usize,
    },
    /// It would be stored, and could not be read again.
    #[error("an event `{kind}` could not be read back as JSON; it was not written")]
    Unreadable {
        /// Its kind.
        kind: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The home does not say where the chain ends.
    #[error("the end of {scope} is not known: the vault's home copy does not answer ({why})")]
    Silent {
        /// The chain.
        scope: Scope,
        /// What it said.
        why: String,
    },
    /// J4.
    #[error(
        "{copy} has record {theirs} of {scope}, the home copy only up to {ours}: the home has lost records. Run `lifeboat vault check --repair`, then try again"
    )]
    HomeBehind {
        /// The chain.
        scope: Scope,
        /// Who knows more.
        copy: String,
        /// Its highest number.
        theirs: u64,
        /// The home's.
        ours: u64,
    },
    /// A record could not be fetched.
    #[error("record {number} of {scope} cannot be read")]
    Read {
        /// The chain.
        scope: Scope,
        /// The record.
        number: u64,
        /// Why.
        source: ReadError,
    },
    /// A record is not what was written.
    #[error("the journal of {scope} is not whole: {fault}. See `lifeboat journal verify`")]
    Fault {
        /// The chain.
        scope: Scope,
        /// What and where.
        fault: Fault,
    },
    /// No copy answered a listing.
    #[error("the journal cannot be listed: {0}")]
    Unlisted(String),
}

pub(super) fn unlisted(failures: &[CopyFailure]) -> JournalError {
    JournalError::Unlisted(refusals(failures))
}

pub(super) fn read_error(scope: &Scope, number: u64, source: ReadError) -> JournalError {
    JournalError::Read { scope: scope.clone(), number, source }
}
