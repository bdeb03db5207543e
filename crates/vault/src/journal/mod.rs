//! The journal: numbered, hash-chained records in the vault, one chain per scope.
//!
//! A record is sealed plain JSON at `journal/<scope>/<number>`; `previous` is the SHA-256 of the record
//! before it, as it was stored, so that a person with the key, a JSON reader and `sha256sum` can check it.
//!
//! # Invariants
//! - **J1 one record per number.** The home copy creates it conditionally; whoever finds another's record
//!   at his number has lost the chain and writes nothing more ([`JournalError::LostChain`]).
//! - **J2 nothing twice.** An event keeps its ID over all tries. While it is unknown whether it was
//!   written, nothing else is: the same event is tried again under the same number first.
//! - **J3 no quiet change.** What was edited, lost or put elsewhere is found by [`verify`] and named.
//! - **J4 the head is the home's.** A chain is continued only from what the home proves to be its end,
//!   and not when another copy knows more than the home.
//!
//! Deliberately absent: what events mean, and signatures. A tail that was cut off, and a change of the last
//! record by someone who has the key, show only against a head kept elsewhere ([`compare`]).

mod chain;
mod error;
mod kept;
mod read;
mod record;
mod verify;

pub use crate::scope::{BadScope, Scope};
pub use chain::{Chain, append_shared};
pub use error::JournalError;
pub use kept::{KeptHead, Lost, compare};
pub use read::{Page, read, scopes};
pub use record::{Fault, FaultKind, Head, Record};
pub(crate) use record::{parse, sha256, to_json};
pub use verify::{Report, ScopeReport, verify};

/// The most that one record may take as JSON.
pub const RECORD_LIMIT_BYTES: usize = 256 << 10;
/// Records that are in memory at once when a chain is read.
pub const PAGE_LIMIT: usize = 256;
/// Above all chains.
const JOURNAL: &str = "journal";
/// What the first record has for the hash of the one before it.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
