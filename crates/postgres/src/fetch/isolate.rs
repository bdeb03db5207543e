//! Keeps a restored server away from production's tablespaces (X5): the WAL that it replays names none of their
//! directories.
//!
//! A record may lie in two segments; each is changed by itself, with the other read beside it.

use super::settled;
use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_pgformat::wal::{
    Change, ReaderOptions, RecordReader, Rmgr, RmgrSet, Start, Step, may_begin_inside, without_location,
};
use lifeboat_pgformat::{MajorVersion, WalFileName};
use lifeboat_vault::wal::{Fetched, WalArchive, WalError};

/// `segment` as a restored server may have it.
pub(super) async fn isolate(
    archive: &WalArchive,
    file: WalFileName,
    mut segment: Vec<u8>,
) -> Result<Vec<u8>, WalError> {
    let malformed =
        |what: String| WalError::Malformed(format!("{file} cannot be made safe to replay: {what}"));
    let version = MajorVersion::from_server_version_num(archive.cluster().major.saturating_mul(10_000));
    let version = version.map_err(|error| malformed(error.to_string()))?;
    let options = ReaderOptions {
        wanted: RmgrSet::of(&[Rmgr::TABLESPACE]),
        ..ReaderOptions::new(version, archive.segment_size())
    };
    let LsnRange { start, end } = file.range();
    let before = match may_begin_inside(&segment) {
        true => before(archive, file.timeline, start).await?,
        false => None,
    };
    let from = if before.is_some() { Lsn(start.0 - file.size.bytes()) } else { start };
    let mut reader = RecordReader::new(options, Start::Anywhere(from));
    let mut changes = Vec::new();
    let mut read = |reader: &mut RecordReader, bytes: &[u8]| {
        let mut feed = reader.feed(bytes);
        // Where WAL ends for us it ends for the server too: it replays nothing that was not looked at.
        while let Step::Record(record) = feed.next() {
            let found = without_location(&record, archive.segment_size());
            changes.extend(found.map_err(|error| malformed(error.to_string()))?);
        }
        Ok::<(), WalError>(())
    };
    if let Some(before) = before {
        read(&mut reader, &before)?;
    }
    read(&mut reader, &segment)?;
    if reader.is_inside_wanted() {
        // If it is not there yet, neither is the record: the server replays none of it.
        match settled(archive, file.timeline, end).await? {
            Fetched::Whole(after) | Fetched::Beginning { bytes: after, .. } => read(&mut reader, &after)?,
            Fetched::Absent => {}
        }
    }
    for Change { at, byte } in changes {
        if start <= at && at < end {
            segment[at.bytes_since(start) as usize] = byte;
        }
    }
    Ok(segment)
}

/// The segment before the one that begins at `start`, of the newest timeline that has it, as PostgreSQL takes it.
async fn before(archive: &WalArchive, timeline: Timeline, start: Lsn) -> Result<Option<Vec<u8>>, WalError> {
    let at = Lsn(start.0.saturating_sub(archive.segment_size().bytes()));
    let history = archive.history(timeline).await?;
    let ancestors = history.ancestors().iter().rev().map(|entry| entry.timeline);
    for timeline in std::iter::once(timeline).chain(ancestors) {
        match settled(archive, timeline, at).await? {
            Fetched::Whole(bytes) | Fetched::Beginning { bytes, .. } => return Ok(Some(bytes)),
            Fetched::Absent => {}
        }
    }
    Ok(None)
}
