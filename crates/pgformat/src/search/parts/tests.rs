//! Parts against one reader over all of it: random WAL, damaged or not, cut anywhere.

use super::*;
use crate::search::{Below, Search, SearchOptions, Suspect};
use crate::wal::writer::{SEGMENT_BYTES, START, Writer, long_main};
use crate::wal::{Rmgr, WAL_PAGE_SIZE_BYTES};
use crate::{MajorVersion, SegmentSize};
use jiff::Timestamp;
use lifeboat_base::SystemId;
use proptest::prelude::*;

/// What the server did.
#[derive(Debug, Clone)]
enum Act {
    /// Rows of a relation inserted, deleted, deleted by a move, updated, or parts of large values; so many times.
    Rows {
        xid: u32,
        file: u32,
        kind: usize,
        times: usize,
    },
    /// A speculative insertion is taken back.
    TakeBack {
        xid: u32,
        file: u32,
    },
    MultiInsert {
        xid: u32,
        file: u32,
        rows: u16,
    },
    Create {
        xid: u32,
        file: u32,
    },
    /// Images of pages, of an index or of rows.
    Images {
        xid: u32,
        file: u32,
        index: bool,
    },
    Commit {
        xid: u32,
        parts: Vec<u32>,
        dropped: Vec<u32>,
    },
    Abort {
        xid: u32,
        parts: Vec<u32>,
    },
    Running {
        oldest: u32,
    },
    /// A record of another resource manager, or a row, that is so long.
    Long {
        wanted: bool,
        bytes: usize,
    },
    Switch,
    /// The server crashed in the middle of a record, and began anew behind it.
    Crash {
        bytes: usize,
        written: usize,
    },
    /// A record that does not read as its kind should.
    Nonsense,
}

fn act() -> impl Strategy<Value = Act> {
    let (xid, file) = (0_u32..8, 16_384_u32..16_388);
    let parts = prop::collection::vec(3_u32..8, 0..3);
    prop_oneof![
        8 => (xid.clone(), file.clone(), 0_usize..6, 1_usize..60)
            .prop_map(|(xid, file, kind, times)| Act::Rows { xid, file, kind, times }),
        2 => (xid.clone(), file.clone()).prop_map(|(xid, file)| Act::TakeBack { xid, file }),
        1 => (xid.clone(), file.clone(), 0_u16..90)
            .prop_map(|(xid, file, rows)| Act::MultiInsert { xid, file, rows }),
        2 => (xid.clone(), file.clone()).prop_map(|(xid, file)| Act::Create { xid, file }),
        2 => (xid.clone(), file.clone(), any::<bool>())
            .prop_map(|(xid, file, index)| Act::Images { xid, file, index }),
        4 => (xid.clone(), parts.clone(), prop::collection::vec(file, 0..3))
            .prop_map(|(xid, parts, dropped)| Act::Commit { xid, parts, dropped }),
        1 => (xid.clone(), parts).prop_map(|(xid, parts)| Act::Abort { xid, parts }),
        1 => xid.prop_map(|oldest| Act::Running { oldest }),
        2 => (any::<bool>(), prop_oneof![0_usize..9000, 9000_usize..300_000])
            .prop_map(|(wanted, bytes)| Act::Long { wanted, bytes }),
        1 => (9000_usize..60_000, 30_usize..9000).prop_map(|(bytes, written)| Act::Crash { bytes, written }),
    ]
}

/// What comes once in a while, at one place.
fn rare() -> impl Strategy<Value = Option<Act>> {
    prop_oneof![4 => Just(None), 1 => Just(Some(Act::Switch)), 1 => Just(Some(Act::Nonsense))]
}

fn locator(file: u32) -> Vec<u8> {
    [1663, 5, file].into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A record's body: one block, with an image or without, and main data.
fn with_block(file: u32, image: Option<&[u8]>, main: &[u8]) -> Vec<u8> {
    let mut body = vec![0, if image.is_some() { 0x10 } else { 0 }, 0, 0];
    if let Some(image) = image {
        body.extend((image.len() as u16).to_le_bytes());
        // No hole, applied in recovery.
        body.extend([0, 0, 2]);
    }
    body.extend(locator(file));
    body.extend([0; 4]);
    body.extend([255, main.len() as u8]);
    body.extend(image.unwrap_or_default());
    body.extend(main);
    body
}

fn completion(parts: &[u32], dropped: &[u32]) -> Vec<u8> {
    let mut main = 700_000_000_000_000_i64.to_le_bytes().to_vec();
    main.extend(6_u32.to_le_bytes());
    main.extend((parts.len() as u32).to_le_bytes());
    main.extend(parts.iter().flat_map(|xid| xid.to_le_bytes()));
    main.extend((dropped.len() as u32).to_le_bytes());
    main.extend(dropped.iter().flat_map(|file| locator(*file)));
    long_main(&main)
}

fn write(writer: &mut Writer, act: &Act) {
    let all = usize::MAX;
    match act {
        Act::Rows { xid, file, kind, times } => {
            let (info, main): (u8, &[u8]) = [
                (0x00, &[1, 0, 0][..]),
                (0x10, &[0, 0, 0, 0, 1, 0, 0, 0]),
                (0x10, &[0, 0, 0, 0, 1, 0, 0, 16]),
                (0x20, &[0; 14]),
                (0x40, &[0; 14]),
                (0x00, &[1, 0, 16]),
            ][*kind];
            for _ in 0..*times {
                writer.write(Rmgr::HEAP, info, *xid, &with_block(*file, None, main), all);
            }
        }
        Act::TakeBack { xid, file } => {
            let main = [0, 0, 0, 0, 1, 0, 0, 8];
            writer.write(Rmgr::HEAP, 0x10, *xid, &with_block(*file, None, &main), all);
        }
        Act::MultiInsert { xid, file, rows } => {
            let main = [&[0, 0][..], &rows.to_le_bytes()].concat();
            writer.write(Rmgr::HEAP2, 0x50, *xid, &with_block(*file, None, &main), all);
        }
        Act::Create { xid, file } => {
            let main = [locator(*file), vec![0; 4]].concat();
            writer.write(Rmgr::STORAGE, 0x10, *xid, &long_main(&main), all);
        }
        Act::Images { xid, file, index } => {
            let mut image = vec![1; WAL_PAGE_SIZE_BYTES];
            let special = if *index { 8000 } else { WAL_PAGE_SIZE_BYTES as u16 };
            image[16..18].copy_from_slice(&special.to_le_bytes());
            writer.write(Rmgr::XLOG, 0xB0, *xid, &with_block(*file, Some(&image), &[]), all);
        }
        Act::Commit { xid, parts, dropped } => {
            writer.write(Rmgr::TRANSACTION, 0x80, *xid, &completion(parts, dropped), all);
        }
        Act::Abort { xid, parts } => {
            writer.write(Rmgr::TRANSACTION, 0xA0, *xid, &completion(parts, &[]), all);
        }
        Act::Running { oldest } => {
            let numbers = [0_u32, 0, 0, 9, *oldest, 8];
            let main: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
            writer.write(Rmgr::STANDBY, 0x10, 0, &long_main(&main), all);
        }
        Act::Long { wanted: true, bytes } => {
            let body = with_block(16_384, None, &[1, 0, 0]);
            let mut long = body.clone();
            // The block's data is long, at most what its length can say.
            let data = (*bytes).min(60_000);
            long[2..4].copy_from_slice(&(data as u16).to_le_bytes());
            long[1] |= 0x20;
            long.splice(body.len() - 3..body.len() - 3, vec![7; data]);
            writer.write(Rmgr::HEAP, 0, 3, &long, all);
        }
        Act::Long { wanted: false, bytes } => _ = writer.record(Rmgr(11), 0, *bytes),
        Act::Switch => {
            writer.record(Rmgr::XLOG, 0x40, 0);
            writer.zeros_to(SEGMENT_BYTES as usize);
        }
        Act::Crash { bytes, written } => {
            writer.unfinished(Rmgr::HEAP, 0, *bytes, *written);
            writer.zeros_to(WAL_PAGE_SIZE_BYTES);
            writer.page_header(8, 0);
        }
        Act::Nonsense => _ = writer.record(Rmgr::TRANSACTION, 0, 3),
    }
}

/// All that a search told, and how it ended.
#[derive(Debug, PartialEq)]
struct Told {
    suspects: Vec<Suspect>,
    commits: Vec<(Lsn, Timestamp)>,
    outcome: Outcome,
}

/// Keeps what a search says as it goes on.
struct Listener {
    search: Search,
    told: Told,
}

impl Listener {
    fn new() -> Self {
        let mut search = Search::new(SearchOptions { min_rows: 3, rewrites: true }, Vec::new());
        search.tell_below(Below { deleted: 1, updated: 1 });
        Self { search, told: Told { suspects: Vec::new(), commits: Vec::new(), outcome: Outcome::NeedMore } }
    }

    fn hear(&mut self, lsn: Lsn, suspect: Result<Option<Suspect>, DecodeError>) {
        let mut suspect = match suspect {
            Ok(suspect) => suspect,
            Err(error) => {
                self.told.outcome = Outcome::Failed(error);
                return;
            }
        };
        // What is equally bad has no order.
        for effects in suspect.iter_mut().flat_map(|suspect| [&mut suspect.what, &mut suspect.below]) {
            effects.sort_by_key(|effect| format!("{effect:?}"));
        }
        self.told.suspects.extend(suspect);
        self.told.commits.extend(self.search.last_commit().filter(|(commit, _)| *commit == lsn));
    }
}

fn options() -> ReaderOptions {
    let options = ReaderOptions::new(MajorVersion::V17, SegmentSize::new(SEGMENT_BYTES).unwrap());
    ReaderOptions { system_id: Some(SystemId(42)), wanted: Search::wanted(), ..options }
}

/// One reader, and each record by itself.
fn in_one(bytes: &[u8], range: LsnRange) -> Told {
    let mut listener = Listener::new();
    let mut reader = RecordReader::new(options(), Start::Anywhere(Lsn(START)));
    let mut feed = reader.feed(bytes);
    loop {
        match feed.next() {
            Step::Record(record) if record.lsn >= range.end => listener.told.outcome = Outcome::Passed,
            Step::Record(record) if record.lsn < range.start => continue,
            Step::Record(record) => {
                let suspect = listener.search.feed(&record);
                listener.hear(record.lsn, suspect);
            }
            Step::NeedMore => return listener.told,
            Step::End(end) => listener.told.outcome = Outcome::End(end),
        }
        if listener.told.outcome != Outcome::NeedMore {
            return listener.told;
        }
    }
}

fn by_parts(bytes: &[u8], range: LsnRange, part_bytes: usize) -> Told {
    let mut listener = Listener::new();
    let mut chain = Chain::default();
    for (number, bytes) in bytes.chunks(part_bytes).enumerate() {
        let start = Lsn(START + (number * part_bytes) as u64);
        let (digests, outcome) = chain.follow(Part::read(options(), start, bytes, range), range, bytes);
        for said in digests.iter().flat_map(Digest::said) {
            let suspect = listener.search.take(&said);
            listener.hear(said.lsn, suspect);
            if listener.told.outcome != Outcome::NeedMore {
                return listener.told;
            }
        }
        listener.told.outcome = outcome;
        if listener.told.outcome != Outcome::NeedMore {
            break;
        }
    }
    listener.told
}

#[test]
fn d2_a_digest_is_about_as_large_as_its_records_at_most_and_small_for_bulk_changes() {
    let range = LsnRange { start: Lsn(START), end: Lsn(u64::MAX) };
    for (files, limit) in [(1, 100), (2, 400_000)] {
        let mut writer = Writer::new();
        for n in 0..5000 {
            write(&mut writer, &Act::Rows { xid: 3, file: 16_384 + n % files, kind: 1, times: 1 });
        }
        assert!(writer.bytes.len() > 280_000);
        let part = Part::read(options(), Lsn(START), &writer.bytes, range);
        let held = part.digest.held_bytes();
        assert!(held > 0 && held < limit, "{files} files: {held} bytes for {}", writer.bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn p1_d1_parts_tell_what_one_reader_tells(
        acts in prop::collection::vec(act(), 1..80),
        (rare, rare_at) in (rare(), any::<prop::sample::Index>()),
        part_pages in 1_usize..24,
        (from, to) in (0.0_f64..0.3, 0.6_f64..1.2),
        damage in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut writer = Writer::new();
        let at = rare_at.index(acts.len());
        for (number, act) in acts.iter().enumerate() {
            write(&mut writer, act);
            rare.iter().filter(|_| number == at).for_each(|act| write(&mut writer, act));
        }
        let mut bytes = writer.bytes;
        let at = |part: f64| Lsn(START + (bytes.len() as f64 * part) as u64);
        let range = LsnRange { start: at(from), end: at(to) };
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let told = by_parts(&bytes, range, part_pages * WAL_PAGE_SIZE_BYTES);
        prop_assert_eq!(told, in_one(&bytes, range));
    }
}
