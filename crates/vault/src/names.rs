//! Where things are in the vault: every object name is made and read here.
//!
//! ```text
//! lifeboat.json                                     what this is, unsealed: format, vault ID
//! keys/<n>-<kind>                                   the vault key, wrapped for one recipient
//! plans/<sha256>                                    plan files, as they were
//! journal/<scope>/<number>                          events
//! leases/<scope>/<epoch>                            who acts
//! services/<service>/clusters/<system ID>           what kind of cluster this is
//! services/<service>/points/<restore point>         manifests
//! services/<service>/layers/<layer>/index           files of a layer
//! services/<service>/layers/<layer>/pack-<n>        their frames
//! services/<service>/pins/<pin>/<number>            who needs a restore point now
//! services/<service>/wal/<system ID>/<timeline>.history
//! services/<service>/wal/<system ID>/<timeline>/<segment>              a whole segment
//! services/<service>/wal/<system ID>/<timeline>/<segment>.d/<start>-<end>   a piece of one
//! services/<service>/catalogues/<system ID>/<LSN>   which file belonged to which table
//! ```
//!
//! # Invariants
//! - **N1** A person with a listing can tell what each object is; numbers sort as text.

use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline};

/// The unsealed object that says that this is a vault.
pub const VAULT_HEADER: &str = "lifeboat.json";
/// Prefix of the wrapped keys.
pub const KEYS: &str = "keys";
/// What lies at the top of a vault that has been used, besides the header and the keys.
pub const DATA: [&str; 4] = ["services", "journal", "leases", "plans"];

/// Digits of journal numbers and lease epochs: a trillion of them sort as text.
const NUMBER_DIGITS: usize = 12;

/// A plan file by its SHA-256.
#[must_use]
pub fn plan(sha256: &str) -> String {
    format!("plans/{sha256}")
}

/// All records of one chain.
#[must_use]
pub fn journal_scope(scope: &str) -> String {
    format!("journal/{scope}")
}

/// One record.
#[must_use]
pub fn journal_record(scope: &str, number: u64) -> String {
    format!("journal/{scope}/{number:0NUMBER_DIGITS$}")
}

/// All epochs of one lease.
#[must_use]
pub fn lease_scope(scope: &str) -> String {
    format!("leases/{scope}")
}

/// One epoch of a lease.
#[must_use]
pub fn lease_epoch(scope: &str, epoch: u64) -> String {
    format!("leases/{scope}/{epoch:0NUMBER_DIGITS$}")
}

/// The number at the end of a record's or an epoch's name.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let digits = name.rsplit('/').next()?;
    let plain = digits.len() == NUMBER_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Everything of one service.
#[must_use]
pub fn service(service: &ServiceName) -> String {
    format!("services/{service}")
}

/// What kind of cluster this is.
#[must_use]
pub fn cluster(service: &ServiceName, system: SystemId) -> String {
    format!("services/{service}/clusters/{system}")
}

/// All clusters that a service has been.
#[must_use]
pub fn clusters(service: &ServiceName) -> String {
    format!("services/{service}/clusters")
}

/// All manifests of a service.
#[must_use]
pub fn points(service: &ServiceName) -> String {
    format!("services/{service}/points")
}

/// One manifest.
#[must_use]
pub fn point(service: &ServiceName, id: &str) -> String {
    format!("services/{service}/points/{id}")
}

/// All layers of a service.
#[must_use]
pub fn layers(service: &ServiceName) -> String {
    format!("services/{service}/layers")
}

/// One layer.
#[must_use]
pub fn layer(service: &ServiceName, layer: &str) -> String {
    format!("services/{service}/layers/{layer}")
}

/// The files of a layer.
#[must_use]
pub fn layer_index(service: &ServiceName, layer: &str) -> String {
    format!("services/{service}/layers/{layer}/index")
}

/// One object of a layer's frames.
#[must_use]
pub fn pack(service: &ServiceName, layer: &str, number: u32) -> String {
    format!("services/{service}/layers/{layer}/pack-{number:06}")
}

/// All pins of a service.
#[must_use]
pub fn pins(service: &ServiceName) -> String {
    format!("services/{service}/pins")
}

/// One refresh of a pin.
#[must_use]
pub fn pin(service: &ServiceName, id: &str, number: u64) -> String {
    format!("services/{service}/pins/{id}/{number:0NUMBER_DIGITS$}")
}

/// All catalogue snapshots of one cluster.
#[must_use]
pub fn catalogues(service: &ServiceName, system: SystemId) -> String {
    format!("services/{service}/catalogues/{system}")
}

/// The catalogue snapshot taken at `lsn`.
#[must_use]
pub fn catalogue(service: &ServiceName, system: SystemId, lsn: Lsn) -> String {
    format!("services/{service}/catalogues/{system}/{}", lsn.to_sortable())
}

/// All WAL of one cluster.
#[must_use]
pub fn wal(service: &ServiceName, system: SystemId) -> String {
    format!("services/{service}/wal/{system}")
}

/// The history of one timeline.
#[must_use]
pub fn wal_history(service: &ServiceName, system: SystemId, timeline: Timeline) -> String {
    format!("{}/{}.history", wal(service, system), timeline.to_sortable())
}

/// All WAL of one timeline.
#[must_use]
pub fn wal_timeline(service: &ServiceName, system: SystemId, timeline: Timeline) -> String {
    format!("{}/{}", wal(service, system), timeline.to_sortable())
}

/// A whole segment, by its PostgreSQL file name.
#[must_use]
pub fn wal_segment(service: &ServiceName, system: SystemId, timeline: Timeline, segment: &str) -> String {
    format!("{}/{segment}", wal_timeline(service, system, timeline))
}

/// All pieces of a segment.
#[must_use]
pub fn wal_pieces(service: &ServiceName, system: SystemId, timeline: Timeline, segment: &str) -> String {
    format!("{}.d", wal_segment(service, system, timeline, segment))
}

/// One piece.
#[must_use]
pub fn wal_piece(
    service: &ServiceName,
    system: SystemId,
    timeline: Timeline,
    segment: &str,
    range: LsnRange,
) -> String {
    let (start, end) = (range.start.to_sortable(), range.end.to_sortable());
    format!("{}/{start}-{end}", wal_pieces(service, system, timeline, segment))
}

/// The stretch that a piece's name tells.
#[must_use]
pub fn piece_range(name: &str) -> Option<LsnRange> {
    let (start, end) = name.rsplit('/').next()?.split_once('-')?;
    let range = LsnRange { start: Lsn::from_sortable(start)?, end: Lsn::from_sortable(end)? };
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n1_numbers_and_ranges_are_read_back() {
        assert_eq!(number(&journal_record("backup", 41)), Some(41));
        assert_eq!(number("journal/backup/41"), None);
        let range = LsnRange { start: Lsn(0x10), end: Lsn(0xFFFF_FFFF_0000_0001) };
        let name =
            wal_piece(&"db".parse().unwrap(), SystemId(7), Timeline(1), "000000010000000000000000", range);
        assert_eq!(piece_range(&name), Some(range));
        assert_eq!(piece_range("x/0-1"), None);
    }
}
