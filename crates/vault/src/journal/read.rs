//! Reading a chain, a page at a time.

use super::error::{JournalError, read_error, unlisted};
use super::record::{Fault, FaultKind, Record, parse, sha256};
use super::verify::blame;
use super::{JOURNAL, PAGE_LIMIT, Scope};
use crate::{CopyFailure, ReadError, Vault, names};
use futures::StreamExt;
use std::collections::BTreeMap;

/// Records of a chain that are fetched side by side.
const READ_AHEAD: usize = 16;

/// A part of a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In order, without holes; at most [`PAGE_LIMIT`].
    pub records: Vec<Record>,
    /// Whether the chain ends here, as far as the copies that answered know.
    pub is_end: bool,
    /// Whether the home answered. If not, it may have records that no other copy has yet.
    pub is_proven: bool,
}

/// Reads a chain from the record after `after` (0 for all), at most [`PAGE_LIMIT`] records.
///
/// # Errors
/// [`JournalError::Fault`] for the first record that is not there or not whole, except that links to a
/// record before the page are [`verify`](fn@super::verify)'s to check.
pub async fn read(vault: &Vault, scope: &Scope, after: u64) -> Result<Page, JournalError> {
    let raw = read_raw(vault, scope, after).await?;
    let fault = |fault| JournalError::Fault { scope: scope.clone(), fault };
    let mut records: Vec<Record> = Vec::with_capacity(raw.records.len());
    let mut hash: Option<String> = None;
    for (number, bytes) in &raw.records {
        let record = parse(*number, bytes).map_err(fault)?;
        if hash.is_some_and(|hash| hash != record.previous) {
            return Err(fault(Fault {
                number: blame(vault, scope, *number, bytes).await,
                what: FaultKind::Edited,
            }));
        }
        hash = Some(sha256(bytes));
        records.push(record);
    }
    match raw.stop {
        Stop::More => Ok(Page { records, is_end: false, is_proven: true }),
        Stop::End { is_proven } => Ok(Page { records, is_end: true, is_proven }),
        // What comes before the fault is given out first.
        Stop::Fault(_) if !records.is_empty() => Ok(Page { records, is_end: false, is_proven: true }),
        Stop::Fault(found) => Err(fault(found)),
    }
}

/// All scopes that have records.
///
/// # Errors
/// [`JournalError::Unlisted`] when no copy answers.
pub async fn scopes(vault: &Vault) -> Result<Vec<Scope>, JournalError> {
    Ok(count(vault).await?.scopes.into_keys().collect())
}

pub(super) struct Counted {
    pub(super) scopes: BTreeMap<Scope, u64>,
    pub(super) silent: Vec<CopyFailure>,
}

pub(super) async fn count(vault: &Vault) -> Result<Counted, JournalError> {
    let listing = vault.copies().list(JOURNAL).await;
    if listing.failures.len() == vault.copies().all().len() {
        return Err(unlisted(&listing.failures));
    }
    let mut scopes = BTreeMap::new();
    for name in listing.objects.keys() {
        let scope = name.strip_prefix(JOURNAL).and_then(|rest| rest.strip_prefix('/'));
        let Some((scope, _)) = scope.and_then(|rest| rest.rsplit_once('/')) else { continue };
        if names::number(name).is_some()
            && let Ok(scope) = Scope::new(scope)
        {
            *scopes.entry(scope).or_insert(0) += 1;
        }
    }
    Ok(Counted { scopes, silent: listing.failures })
}

/// The number of a record of this very chain; scopes may lie inside one another.
pub(super) fn number_in(scope: &Scope, name: &str) -> Option<u64> {
    names::number(name).filter(|number| names::journal_record(scope.as_str(), *number) == name)
}

pub(super) struct RawPage {
    pub(super) records: Vec<(u64, Vec<u8>)>,
    pub(super) stop: Stop,
}

pub(super) enum Stop {
    More,
    End { is_proven: bool },
    Fault(Fault),
}

pub(super) async fn read_raw(vault: &Vault, scope: &Scope, after: u64) -> Result<RawPage, JournalError> {
    let numbers = (after + 1..).take(PAGE_LIMIT);
    let reads = numbers.map(|number| {
        let name = names::journal_record(scope.as_str(), number);
        async move { (number, vault.read(&name).await) }
    });
    let mut reads = futures::stream::iter(reads).buffered(READ_AHEAD);
    let mut records = Vec::new();
    while let Some((number, read)) = reads.next().await {
        match read {
            Ok(raw) => records.push((number, raw)),
            Err(ReadError::Damaged { failures, .. }) => {
                let why = failures.first().map_or_else(String::new, |failure| failure.reason.clone());
                let stop = Stop::Fault(Fault { number, what: FaultKind::Sealed(why) });
                return Ok(RawPage { records, stop });
            }
            Err(source) => {
                let stop = why_it_stops(vault, scope, number, source).await?;
                return Ok(RawPage { records, stop });
            }
        }
    }
    Ok(RawPage { records, stop: Stop::More })
}

/// Whether the chain ends before `number`, or has a hole there.
async fn why_it_stops(
    vault: &Vault,
    scope: &Scope,
    number: u64,
    source: ReadError,
) -> Result<Stop, JournalError> {
    let before = names::journal_record(scope.as_str(), number - 1);
    let listing = vault.copies().list_after(&names::journal_scope(scope.as_str()), Some(&before)).await;
    if listing.failures.len() == vault.copies().all().len() {
        return Err(unlisted(&listing.failures));
    }
    let home = vault.copies().all()[0].name();
    let is_proven = listing.failures.iter().all(|failure| failure.copy != home);
    let first = listing.objects.keys().filter_map(|name| number_in(scope, name)).min();
    match first {
        None => Ok(Stop::End { is_proven }),
        Some(_) if !source.is_missing() || !is_proven => Err(read_error(scope, number, source)),
        // Written since we asked for it.
        Some(first) if first == number => Ok(Stop::End { is_proven }),
        Some(_) => Ok(Stop::Fault(Fault { number, what: FaultKind::Missing })),
    }
}
