//! One record: its JSON, its hash, and what can be wrong with it.

use super::NO_HASH;
use crate::lease::Epoch;
use aws_lc_rs::digest;
use jiff::Timestamp;
use lifeboat_base::RandomId;
use serde::{Deserialize, Serialize};

/// One event, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its place in the chain; the first is 1.
    pub number: u64,
    /// SHA-256 of the stored JSON of the record before it, in hexadecimal; zeros for the first.
    pub previous: String,
    /// Tells one's own record from another's.
    pub id: RandomId,
    /// When it was written, by the writer's clock.
    pub time: Timestamp,
    /// Who wrote it: `user@host, pid`.
    pub actor: String,
    /// The epoch of the lease that it was written under.
    pub lease: Option<Epoch>,
    /// What happened: `backup.finished`.
    pub kind: String,
    /// The details.
    pub data: serde_json::Value,
}

/// The last known record of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 for a chain without records.
    pub number: u64,
    /// The SHA-256 of its stored JSON.
    pub hash: String,
}

impl Head {
    pub(super) fn none() -> Self {
        Self { number: 0, hash: NO_HASH.to_owned() }
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// There are records after it, and it is not there.
    #[error("is missing")]
    Missing,
    /// Damaged, or changed or moved by someone without the key.
    #[error("does not open: {0}")]
    Sealed(String),
    /// The seal opens, and there is no record in it.
    #[error("opens, but is not a record: {0}")]
    Malformed(String),
    /// Sealed anew under another's number.
    #[error("says that it is record {says}: it was put in another's place")]
    Reordered {
        /// The number in it.
        says: u64,
    },
    /// Sealed anew with other contents: the chain of hashes breaks.
    #[error("was changed: the hashes of the records around it do not fit")]
    Edited,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("record {number} {what}")]
pub struct Fault {
    /// The record.
    pub number: u64,
    /// What.
    pub what: FaultKind,
}

pub(crate) fn parse(number: u64, raw: &[u8]) -> Result<Record, Fault> {
    let record: Record = serde_json::from_slice(raw)
        .map_err(|error| Fault { number, what: FaultKind::Malformed(error.to_string()) })?;
    if record.number == number {
        Ok(record)
    } else {
        Err(Fault { number, what: FaultKind::Reordered { says: record.number } })
    }
}

pub(crate) fn to_json(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record of texts, numbers and JSON serialises")
}

pub(crate) fn sha256(raw: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, raw))
}
