//! The reader over WAL made by hand: each way to end, and what survives on the way.

use super::page::{LONG_HEADER_SIZE_BYTES, SHORT_HEADER_SIZE_BYTES, WAL_PAGE_SIZE_BYTES, WalPageError};
use super::writer::{SEGMENT_BYTES, START, Writer, long_main};
use super::*;
use crate::{MajorVersion, SegmentSize};
use lifeboat_base::{Lsn, SystemId};

fn options() -> ReaderOptions {
    ReaderOptions::new(MajorVersion::V17, SegmentSize::new(SEGMENT_BYTES).unwrap())
}

/// Where records begin, and how it ends.
#[track_caller]
fn read(bytes: &[u8], options: ReaderOptions) -> (Vec<Lsn>, End) {
    let whole = read_pieces(bytes, options, bytes.len().max(1));
    for piece in [1, 7, 8000] {
        assert_eq!(read_pieces(bytes, options, piece), whole, "in pieces of {piece}");
    }
    whole
}

fn read_pieces(bytes: &[u8], options: ReaderOptions, piece: usize) -> (Vec<Lsn>, End) {
    let mut reader = RecordReader::new(options, Start::Anywhere(Lsn(START)));
    let mut lsns = Vec::new();
    for bytes in bytes.chunks(piece) {
        let mut feed = reader.feed(bytes);
        while let Step::Record(record) = feed.next() {
            assert!(!options.verify_crc || record.crc_holds());
            assert!(record.layout().is_ok());
            lsns.push(record.lsn);
        }
    }
    (lsns, reader.end())
}

#[test]
fn records_cross_pages_and_segments() {
    let mut writer = Writer::new();
    let lsns: Vec<_> =
        (0..400).map(|n| writer.record(Rmgr::HEAP, 0, [0, 1, 30, 5000, 20_000][n % 5])).collect();
    assert!(writer.bytes.len() as u64 > SEGMENT_BYTES);
    let end = writer.position();
    let (found, why) = read(&writer.bytes, options());
    assert_eq!(found, lsns);
    assert_eq!(why, End { at: Lsn(end), why: EndReason::NeedMore });
    let none = ReaderOptions { wanted: RmgrSet::of(&[]), ..options() };
    assert_eq!(read(&writer.bytes, none), (vec![], why));
}

#[test]
fn zeros_end_wal_where_the_last_record_ends() {
    let mut writer = Writer::new();
    let lsn = writer.record(Rmgr::HEAP, 0, 100);
    let end = Lsn(writer.position());
    writer.zeros_to(WAL_PAGE_SIZE_BYTES * 3);
    assert_eq!(read(&writer.bytes, options()), (vec![lsn], End { at: end, why: EndReason::Zeros }));
}

#[test]
fn a_record_cut_off_needs_more() {
    let mut writer = Writer::new();
    let first = writer.record(Rmgr::HEAP, 0, 100);
    let end = Lsn(writer.position());
    writer.record(Rmgr::HEAP, 0, 20_000);
    for cut in [1, 3, 20, 100, 9000, 20_000] {
        let bytes = &writer.bytes[..end.bytes_since(Lsn(START)) as usize + cut];
        assert_eq!(read(bytes, options()), (vec![first], End { at: end, why: EndReason::NeedMore }));
    }
}

#[test]
fn w1_a_flipped_bit_ends_wal_before_its_record() {
    let mut writer = Writer::new();
    let first = writer.record(Rmgr::HEAP, 0, 100);
    let (end, from) = (Lsn(writer.position()), writer.bytes.len());
    let second = writer.record(Rmgr::HEAP, 0, 9000);
    writer.record(Rmgr::HEAP, 0, 10);
    for byte in (from..from + 9000).step_by(13) {
        // Page headers have no CRC; the test below breaks them field by field.
        if byte % WAL_PAGE_SIZE_BYTES < SHORT_HEADER_SIZE_BYTES {
            continue;
        }
        let mut bytes = writer.bytes.clone();
        bytes[byte] ^= 0x10;
        let (found, why) = read(&bytes, options());
        assert_eq!((found, why.at), (vec![first], end), "byte {byte}: {}", why.why);
    }
    let mut bytes = writer.bytes.clone();
    bytes[from + 30] ^= 1;
    assert_eq!(read(&bytes, options()).1.why, EndReason::Crc { lsn: second });
    bytes[from + 8] ^= 1;
    assert!(matches!(read(&bytes, options()).1.why, EndReason::Previous { .. }));
    bytes[from + 17] = 99;
    assert_eq!(read(&bytes, options()).1.why, EndReason::Rmgr { lsn: second, rmgr: Rmgr(99) });
    bytes[from..from + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(read(&bytes, options()).1.why, EndReason::Length { lsn: second, bytes: u32::MAX });
}

#[test]
fn a_switch_goes_on_in_the_next_segment() {
    let mut writer = Writer::new();
    let first = writer.record(Rmgr::XLOG, 0x40, 0);
    // What is left there from an earlier life of the file is not looked at.
    writer.bytes.resize(SEGMENT_BYTES as usize, 0xEE);
    let second = writer.record(Rmgr::HEAP, 0, 10);
    let (found, why) = read(&writer.bytes, options());
    assert_eq!((found, why.why), (vec![first, second], EndReason::NeedMore));
}

#[test]
fn a_record_that_a_crash_cut_off_is_overwritten() {
    let mut writer = Writer::new();
    let first = writer.record(Rmgr::HEAP, 0, 7000);
    writer.unfinished(Rmgr::HEAP, 0, 20_000, 6000);
    writer.zeros_to(WAL_PAGE_SIZE_BYTES);
    writer.page_header(8, 0);
    let second = writer.record(Rmgr::XLOG, 0xD0, 16);
    let (found, why) = read(&writer.bytes, options());
    assert_eq!((found, why.why), (vec![first, second], EndReason::NeedMore));
}

#[test]
fn pages_that_belong_elsewhere_end_wal() {
    let mut writer = Writer::new();
    writer.record(Rmgr::HEAP, 0, 8000);
    let page = writer.bytes.len().next_multiple_of(WAL_PAGE_SIZE_BYTES);
    writer.record(Rmgr::HEAP, 0, 9000);
    let damaged = |offset: usize, value: &[u8]| {
        let mut bytes = writer.bytes.clone();
        bytes[offset..offset + value.len()].copy_from_slice(value);
        match read(&bytes, options()).1.why {
            EndReason::Page { source, .. } => source,
            why => panic!("{why}"),
        }
    };
    assert!(matches!(damaged(page + 8, &[1]), WalPageError::Elsewhere { .. }));
    assert!(matches!(damaged(page + 16, &[1]), WalPageError::Continuation { .. }));
    assert!(matches!(damaged(page, &[0x10]), WalPageError::OtherVersion { .. }));
    assert!(matches!(damaged(page, &[0x11]), WalPageError::Version(_)));
    assert!(matches!(damaged(page + 2, &[0xFF]), WalPageError::Flags(_)));
    assert!(matches!(damaged(page + 4, &[0]), WalPageError::Timeline { .. }));
    let other = ReaderOptions { system_id: Some(SystemId(41)), ..options() };
    let EndReason::Page { source, lsn } = read(&writer.bytes, other).1.why else { panic!() };
    assert_eq!(lsn, Lsn(START));
    assert_eq!(source, WalPageError::System { expected: SystemId(41), found: SystemId(42) });
}

#[test]
fn reading_begins_at_the_first_record_of_a_page() {
    let mut writer = Writer::new();
    let lsns: Vec<_> = (0..60).map(|n| writer.record(Rmgr::HEAP, 0, n * 100)).collect();
    for from in (0..writer.bytes.len()).step_by(1000) {
        let start = Lsn(START + from as u64);
        let mut reader = RecordReader::new(options(), Start::Anywhere(start));
        let mut feed = reader.feed(&writer.bytes[from..]);
        let Step::Record(record) = feed.next() else { continue };
        let page = Lsn(start.0.next_multiple_of(WAL_PAGE_SIZE_BYTES as u64));
        assert_eq!(Some(&record.lsn), lsns.iter().find(|lsn| **lsn > page), "from {start}");
    }
    let at = lsns[7];
    let mut reader = RecordReader::new(options(), Start::Record(at));
    let mut feed = reader.feed(&writer.bytes[at.bytes_since(Lsn(START)) as usize..]);
    assert!(matches!(feed.next(), Step::Record(record) if record.lsn == at));
    assert_eq!(LONG_HEADER_SIZE_BYTES as u64, lsns[0].bytes_since(Lsn(START)));
}

/// Wherever a segment ends in the record: each segment is changed by itself, and together they read.
#[test]
fn a_tablespace_loses_its_location_across_the_ends_of_segments() {
    let path = b"/var/lib/production/space";
    let main = [&16384u32.to_le_bytes()[..], path, &[0]].concat();
    let size = SegmentSize::new(SEGMENT_BYTES).unwrap();
    // Records begin at multiples of 8: each way in which the end of a segment can cut one.
    for before_end in (8..120).step_by(8) {
        let mut writer = Writer::new();
        let room = |writer: &Writer| SEGMENT_BYTES - writer.bytes.len() as u64 % SEGMENT_BYTES;
        while room(&writer) > 20_000 {
            writer.record(Rmgr::HEAP, 0, 4000);
        }
        while room(&writer) > before_end + 64 {
            writer.record(Rmgr::HEAP, 0, 3);
        }
        let filler = room(&writer) - before_end - 29;
        writer.record(Rmgr::HEAP, 0, filler as usize);
        assert_eq!(room(&writer), before_end);
        let created = writer.write(Rmgr::TABLESPACE, 0, 7, &long_main(&main), usize::MAX);
        writer.record(Rmgr::HEAP, 0, 200);
        writer.zeros_to(SEGMENT_BYTES as usize);
        let mut bytes = writer.bytes.clone();
        assert_eq!(bytes.len() as u64, 2 * SEGMENT_BYTES);
        let crosses = created.0 + 24 + 5 + main.len() as u64 > START + SEGMENT_BYTES;
        assert_eq!(may_begin_inside(&bytes[SEGMENT_BYTES as usize..]), crosses, "{before_end}");

        let wanted = ReaderOptions { wanted: RmgrSet::of(&[Rmgr::TABLESPACE]), ..options() };
        let mut reader = RecordReader::new(wanted, Start::Anywhere(Lsn(START)));
        let mut feed = reader.feed(&writer.bytes);
        let Step::Record(record) = feed.next() else { panic!("no record") };
        let changes = without_location(&record, size).unwrap();
        assert_eq!((record.lsn, changes.len()), (created, 5));
        for change in changes {
            bytes[change.at.bytes_since(Lsn(START)) as usize] = change.byte;
        }
        let mut reader = RecordReader::new(wanted, Start::Anywhere(Lsn(START)));
        let mut feed = reader.feed(&bytes);
        let Step::Record(record) = feed.next() else { panic!("the CRC is wrong") };
        assert!(matches!(record.content().unwrap(), Content::TablespaceCreate { path: b"", .. }));
        assert_eq!(without_location(&record, size).unwrap(), []);
    }
}

#[test]
fn w2_nothing_is_read_after_an_end_however_good_it_looks() {
    let mut writer = Writer::new();
    let lsns: Vec<_> = (0..40).map(|n| writer.record(Rmgr::HEAP, 0, [10, 900, 9000][n % 3])).collect();
    let good = writer.bytes;
    let at = |n: usize| lsns[n].bytes_since(Lsn(START)) as usize;
    // Zeros in place of a record's header, a bit in its body, and a page of an earlier life of the file.
    let page = at(9).next_multiple_of(WAL_PAGE_SIZE_BYTES);
    let wounds: [(usize, &[u8]); 3] = [(at(9), &[0; 24]), (at(9) + 30, &[0xEE]), (page + 8, &[0xFF; 8])];
    for (from, wound) in wounds {
        let mut bytes = good.clone();
        bytes[from..from + wound.len()].copy_from_slice(wound);
        for piece in [1, 100, 8192, bytes.len()] {
            let mut reader = RecordReader::new(options(), Start::Anywhere(Lsn(START)));
            let mut end = None;
            // The same bytes once more after it, and then what would have come had nothing been wrong.
            for part in bytes.chunks(piece).chain(good[from..].chunks(piece)) {
                let mut feed = reader.feed(part);
                loop {
                    match feed.next() {
                        Step::Record(record) => assert_eq!(end, None, "{} after an end", record.lsn),
                        Step::NeedMore => {
                            assert_eq!(end, None, "an end is an end");
                            break;
                        }
                        Step::End(found) => {
                            assert_eq!(end.get_or_insert_with(|| found.clone()), &found);
                            break;
                        }
                    }
                }
            }
            let end = end.expect("it ends");
            assert_eq!((&reader.end(), reader.valid_end()), (&end, end.at), "{from}, pieces of {piece}");
        }
    }
}

#[test]
fn w3_a_length_that_is_only_claimed_takes_no_memory() {
    let mut writer = Writer::new();
    let first = writer.record(Rmgr::HEAP, 0, 100);
    let from = writer.bytes.len();
    // A record of a gigabyte, of which some pages are there.
    writer.unfinished(Rmgr::HEAP, 0, 300_000, 200_000);
    let claim = |bytes: u32| {
        let mut claimed = writer.bytes.clone();
        claimed[from..from + 4].copy_from_slice(&bytes.to_le_bytes());
        // Each page after it tells how much is left.
        let mut left = bytes - (WAL_PAGE_SIZE_BYTES - from % WAL_PAGE_SIZE_BYTES) as u32;
        for page in (from.next_multiple_of(WAL_PAGE_SIZE_BYTES)..claimed.len()).step_by(WAL_PAGE_SIZE_BYTES) {
            claimed[page + 16..page + 20].copy_from_slice(&left.to_le_bytes());
            left -= (WAL_PAGE_SIZE_BYTES - SHORT_HEADER_SIZE_BYTES) as u32;
        }
        claimed
    };
    let held = |bytes: &[u8], piece| {
        let mut outcome = None;
        let held = allocation_counter::measure(|| outcome = Some(read_pieces(bytes, options(), piece)));
        (held.bytes_max, outcome.unwrap())
    };
    for piece in [1, 8192, 50_000, writer.bytes.len()] {
        let (held, (found, end)) = held(&claim(RECORD_LIMIT_BYTES), piece);
        assert_eq!((found, end.why), (vec![first], EndReason::NeedMore));
        assert!(held <= 2 * writer.bytes.len() as u64 + 4096, "{held} bytes held, in pieces of {piece}");
    }
    let (held, (found, end)) = held(&claim(RECORD_LIMIT_BYTES + 1), 8192);
    assert_eq!((found, held < 4096), (vec![first], true), "{held} bytes held");
    assert!(matches!(end.why, EndReason::Length { .. }), "{end}");
}
