//! Checks all chains, and names the first record of each that is not what was written (J3).

use super::Scope;
use super::error::JournalError;
use super::read::{Stop, count, read_raw};
use super::record::{Fault, FaultKind, Head, parse, sha256};
use crate::{CopyFailure, Vault, names};
use serde::Serialize;

/// What [`verify`] found.
#[derive(Debug)]
pub struct Report {
    /// Each chain.
    pub scopes: Vec<ScopeReport>,
    /// Copies that did not answer; what only they have was not looked at.
    pub silent: Vec<CopyFailure>,
}

impl Report {
    /// Whether every chain was looked at to its end and is whole.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.silent.is_empty()
            && self.scopes.iter().all(|scope| scope.first_fault.is_none() && scope.is_proven)
    }
}

/// One chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeReport {
    /// The chain.
    pub scope: Scope,
    /// Records found, whole or not.
    pub records: u64,
    /// The last record up to which all is whole; 0 if none.
    pub head_number: u64,
    /// Its SHA-256.
    pub head_hash: String,
    /// The first that is not whole. Those after it were not looked at.
    pub first_fault: Option<Fault>,
    /// Whether the home answered when the end was looked for.
    pub is_proven: bool,
}

/// Checks all chains from their first record to their last (J3).
///
/// # Errors
/// [`JournalError`] when a record could not be fetched at all: nothing is then said about it.
pub async fn verify(vault: &Vault) -> Result<Report, JournalError> {
    let found = count(vault).await?;
    let mut scopes = Vec::with_capacity(found.scopes.len());
    for (scope, records) in found.scopes {
        scopes.push(verify_scope(vault, scope, records).await?);
    }
    Ok(Report { scopes, silent: found.silent })
}

async fn verify_scope(vault: &Vault, scope: Scope, records: u64) -> Result<ScopeReport, JournalError> {
    let mut head = Head::none();
    let (first_fault, is_proven) = 'chain: loop {
        let page = read_raw(vault, &scope, head.number).await?;
        for (number, raw) in &page.records {
            let record = match parse(*number, raw) {
                Ok(record) => record,
                Err(fault) => break 'chain (Some(fault), true),
            };
            if record.previous != head.hash {
                let number = blame(vault, &scope, *number, raw).await;
                break 'chain (Some(Fault { number, what: FaultKind::Edited }), true);
            }
            head = Head { number: *number, hash: sha256(raw) };
        }
        match page.stop {
            Stop::More => {}
            Stop::End { is_proven } => break (None, is_proven),
            Stop::Fault(fault) => break (Some(fault), true),
        }
    };
    Ok(ScopeReport { scope, records, head_number: head.number, head_hash: head.hash, first_fault, is_proven })
}

/// Which of two records was changed, when `number` does not name the hash of the one before it: the later,
/// if the record after it does not name its hash either; else the earlier.
pub(super) async fn blame(vault: &Vault, scope: &Scope, number: u64, raw: &[u8]) -> u64 {
    let name = names::journal_record(scope.as_str(), number + 1);
    let next = vault.read(&name).await.ok().and_then(|next| parse(number + 1, &next).ok());
    let is_changed = next.is_some_and(|next| next.previous != sha256(raw));
    if is_changed || number == 1 { number } else { number - 1 }
}
