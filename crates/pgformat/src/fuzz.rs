//! One entry per decoder, for fuzzing: bytes in, nothing out, no panic (F1), no allocation beyond a small
//! multiple of the input (F2).

use crate::search::{Search, SearchOptions};
use crate::wal::{ReaderOptions, Record, RecordHeader, RecordReader, Start, Step, WalPageHeader};
use crate::{
    BackupLabel, ControlFile, MajorVersion, PAGE_SIZE_BYTES, PageHeader, RelationFile, SegmentSize,
    TimelineHistory, UnloggedRelations, WalName, parse_tablespace_map, treatment, verify,
};
use lifeboat_base::{Lsn, Timeline};

/// The control file.
pub fn control_file(bytes: &[u8]) {
    _ = ControlFile::parse(bytes);
    _ = MajorVersion::from_pg_version_file(bytes);
}

/// Data pages.
pub fn page(bytes: &[u8]) {
    let (pages, _) = bytes.as_chunks::<PAGE_SIZE_BYTES>();
    for (block, page) in (0..).zip(pages) {
        _ = (verify(page, block), PageHeader::decode(page).is_plausible());
    }
}

/// Labels and maps.
pub fn label(bytes: &[u8]) {
    if let Ok(label) = BackupLabel::parse(bytes) {
        _ = (label.render(), label.names_its_segment(SegmentSize::DEFAULT));
    }
    _ = parse_tablespace_map(bytes);
}

/// Timeline histories.
pub fn history(bytes: &[u8]) {
    if let Ok(history) = TimelineHistory::parse(Timeline(u32::MAX), bytes) {
        _ = (history.owner_of(Lsn(u64::MAX)), history.render(), history.fork_from(&history));
    }
}

/// Names of files.
pub fn name(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    _ = WalName::classify(&name, SegmentSize::DEFAULT);
    _ = (RelationFile::parse(&name).map(|file| file.block_at(u64::MAX)), treatment(&name));
    _ = UnloggedRelations::of_directory([&*name]).leaves_out(&name);
}

/// A stream of WAL that begins a segment: pages, records, what they say, and the search over it. CRCs are
/// not demanded, or damage would never reach the decoders.
pub fn wal(bytes: &[u8]) {
    let first = WalPageHeader::decode(bytes);
    let version = first.as_ref().map_or(MajorVersion::V18, |header| header.version);
    let start = first.map_or(Lsn(0), |header| header.lsn);
    let options = ReaderOptions { verify_crc: false, ..ReaderOptions::new(version, SegmentSize::DEFAULT) };
    let mut reader = RecordReader::new(options, Start::Anywhere(start));
    let mut search = Search::new(SearchOptions { min_rows: 1, rewrites: true }, Vec::new());
    let mut feed = reader.feed(bytes);
    while let Step::Record(record) = feed.next() {
        use_record(&record, &mut search);
    }
}

/// One record: its header, and whatever follows.
pub fn record(bytes: &[u8]) {
    let Some(header) = RecordHeader::decode(bytes) else { return };
    let mut search = Search::new(SearchOptions { min_rows: 1, rewrites: true }, Vec::new());
    for version in MajorVersion::ALL {
        let record = Record { lsn: Lsn(8), end_lsn: Lsn(16), version, header, bytes };
        use_record(&record, &mut search);
    }
}

fn use_record(record: &Record<'_>, search: &mut Search) {
    _ = record.crc_holds();
    if let Ok(layout) = record.layout() {
        _ = layout.blocks().map(|block| block.data.len()).sum::<usize>();
    }
    _ = format!("{:?}", record.content());
    _ = search.feed(record);
}
