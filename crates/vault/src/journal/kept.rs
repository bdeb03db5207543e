//! Holds the chains against heads that were kept outside the vault: what was cut off at an end shows only so.

use super::Scope;
use super::error::JournalError;
use super::read::{Stop, read_raw};
use super::record::{Fault, sha256};
use crate::Vault;
use serde::{Deserialize, Serialize};

/// The head that a chain had when somebody looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptHead {
    /// The chain.
    pub scope: Scope,
    /// Its last record then.
    pub head: u64,
    /// The SHA-256 of that record.
    pub head_sha256: String,
}

/// What a chain lacks of what it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum Lost {
    /// Nothing of it is there.
    #[error("the whole chain is gone: it had {had} records")]
    Chain {
        /// Its head then.
        had: u64,
    },
    /// It ends before its head of then.
    #[error("it was cut off: it had {had} records, and ends before that")]
    Tail {
        /// Its head then.
        had: u64,
    },
    /// The record at its head of then is another one now.
    #[error("record {number} is another one than was kept")]
    Other {
        /// The record.
        number: u64,
    },
    /// The record cannot be read.
    #[error("{0}")]
    Fault(Fault),
    /// A copy is silent that may have it.
    #[error("whether record {number} is there is not known: the home copy does not answer")]
    Unknown {
        /// The record.
        number: u64,
    },
}

/// Whether each chain still has the record that was its head, unchanged. Returns what is lost.
///
/// # Errors
/// [`JournalError`] when a record could not be fetched at all.
pub async fn compare(vault: &Vault, kept: &[KeptHead]) -> Result<Vec<(Scope, Lost)>, JournalError> {
    let mut lost = Vec::new();
    for head in kept.iter().filter(|kept| kept.head > 0) {
        if let Some(what) = compare_one(vault, head).await? {
            lost.push((head.scope.clone(), what));
        }
    }
    Ok(lost)
}

async fn compare_one(vault: &Vault, kept: &KeptHead) -> Result<Option<Lost>, JournalError> {
    let number = kept.head;
    let page = read_raw(vault, &kept.scope, number - 1).await?;
    if let Some((_, raw)) = page.records.first() {
        return Ok((sha256(raw) != kept.head_sha256).then_some(Lost::Other { number }));
    }
    Ok(Some(match page.stop {
        Stop::Fault(fault) => Lost::Fault(fault),
        Stop::End { is_proven: false } => Lost::Unknown { number },
        Stop::End { is_proven: true } | Stop::More => {
            let first = read_raw(vault, &kept.scope, 0).await?;
            if first.records.is_empty() { Lost::Chain { had: number } } else { Lost::Tail { had: number } }
        }
    }))
}
