//! Finds the records in a stream of WAL bytes.
//!
//! Bytes are fed in any pieces, from any position on; records come out whole, across pages and segments. A
//! record within one page of one piece is borrowed, others are put together in a buffer that is reused.
//! Records of resource managers that the caller does not want are walked over by their headers.
//!
//! # Invariants
//! - **W1 a chain.** Each record's back link is the record before it; where that breaks, WAL ends.
//! - **W2 no guessing.** After an end nothing more is read: what follows is of another life of the file.
//! - **W3 bounded.** The buffer grows by the bytes that were fed, never by a length found in them, and
//!   never beyond [`RECORD_LIMIT_BYTES`].
//!
//! Deliberately absent: looking for records after damage. PostgreSQL stops there too.

use super::end::{End, EndReason};
use super::page::{LONG_HEADER_SIZE_BYTES, SHORT_HEADER_SIZE_BYTES, WAL_PAGE_SIZE_BYTES};
use super::page::{WalPageError, WalPageHeader};
use super::record::{RECORD_HEADER_SIZE_BYTES, Record, RecordHeader};
use super::rmgr::RmgrSet;
use crate::{MajorVersion, SegmentSize};
use lifeboat_base::{Lsn, SystemId, Timeline};

/// Largest record: PostgreSQL writes none larger.
pub const RECORD_LIMIT_BYTES: u32 = 1020 << 20;

/// Records begin at multiples of this.
const RECORD_ALIGNMENT_BYTES: u64 = 8;
const PAGE_BYTES: u64 = WAL_PAGE_SIZE_BYTES as u64;

/// What a reader demands of what it reads.
#[derive(Debug, Clone, Copy)]
pub struct ReaderOptions {
    /// The version that wrote the WAL. Each page is held against it.
    pub version: MajorVersion,
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
    /// The cluster, if it is known; else the first segment tells.
    pub system_id: Option<SystemId>,
    /// Whether to hold every wanted record against its CRC.
    pub verify_crc: bool,
    /// The resource managers whose records are wanted.
    pub wanted: RmgrSet,
}

impl ReaderOptions {
    /// All records, verified, of a cluster of `version` with segments of `segment_size`.
    #[must_use]
    pub const fn new(version: MajorVersion, segment_size: SegmentSize) -> Self {
        Self { version, segment_size, system_id: None, verify_crc: true, wanted: RmgrSet::ALL }
    }
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Anywhere: the first record is the first that begins on the page, or on the next page when the
    /// position is within one.
    Anywhere(Lsn),
    /// At the start of a record, or at the page boundary before one.
    Record(Lsn),
}

/// What reading on brought.
#[derive(Debug)]
pub enum Step<'a> {
    /// A wanted record.
    Record(Record<'a>),
    /// Everything fed so far is read.
    NeedMore,
    /// WAL ends here; no later byte changes that.
    End(End),
}

/// What the reader is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between records; the next begins at the next aligned byte.
    Between,
    /// Going to this position; what lies between is not looked at.
    Seek(Lsn),
    /// Inside a record that began before the start: so many bytes of it are left.
    Skip(u32),
    /// Inside a record whose bytes are being put together.
    Assemble { lsn: Lsn },
    /// Inside a record that is not wanted: so many bytes of it are left.
    PassOver { lsn: Lsn, header: RecordHeader, left: u32 },
}

/// Reads records from WAL bytes.
#[derive(Debug)]
pub struct RecordReader {
    options: ReaderOptions,
    phase: Phase,
    /// The next byte to be fed.
    position: Lsn,
    page_header: Vec<u8>,
    assembly: Vec<u8>,
    /// The record in `assembly` was given out.
    assembly_given: bool,
    /// Whether a page may begin with the rest of a record that nobody has seen.
    may_join: bool,
    previous: Option<Lsn>,
    valid_end: Lsn,
    timeline: Option<Timeline>,
    ended: Option<End>,
}

/// A piece of WAL being read; see [`RecordReader::feed`].
#[derive(Debug)]
pub struct Feed<'reader, 'bytes> {
    reader: &'reader mut RecordReader,
    input: &'bytes [u8],
}

/// A record was found: in the input, or in the assembly.
enum Found<'a> {
    InInput(Lsn, RecordHeader, &'a [u8]),
    Assembled(Lsn, RecordHeader),
}

impl RecordReader {
    /// A reader that begins at `start`.
    #[must_use]
    pub fn new(options: ReaderOptions, start: Start) -> Self {
        let (position, phase, may_join) = match start {
            Start::Record(lsn) => (lsn, Phase::Between, false),
            Start::Anywhere(lsn) => (lsn, Phase::Seek(next_multiple(lsn, PAGE_BYTES)), true),
        };
        Self {
            options,
            phase,
            position,
            page_header: Vec::with_capacity(LONG_HEADER_SIZE_BYTES),
            assembly: Vec::new(),
            assembly_given: false,
            may_join,
            previous: None,
            valid_end: position,
            timeline: None,
            ended: None,
        }
    }

    /// Gives the bytes from [`RecordReader::position`] on. Read the result until it says
    /// [`Step::NeedMore`]; dropped earlier, the rest of `bytes` is not read and has to be fed again.
    pub fn feed<'reader, 'bytes>(&'reader mut self, bytes: &'bytes [u8]) -> Feed<'reader, 'bytes> {
        Feed { reader: self, input: bytes }
    }

    /// Where the next byte fed belongs.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Where the last whole record ends; the start, before the first.
    #[must_use]
    pub fn valid_end(&self) -> Lsn {
        self.valid_end
    }

    /// Whether a record that is wanted, or may be, has begun and not ended.
    #[must_use]
    pub fn is_inside_wanted(&self) -> bool {
        matches!(self.phase, Phase::Assemble { .. })
    }

    /// The timeline of the newest page seen.
    #[must_use]
    pub fn timeline(&self) -> Option<Timeline> {
        self.timeline
    }

    /// Where WAL ends if no more is fed.
    #[must_use]
    pub fn end(&self) -> End {
        self.ended.clone().unwrap_or(End { at: self.valid_end, why: EndReason::NeedMore })
    }

    /// Reads on to the next wanted record. `Ok(None)` when the input is used up.
    fn find<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Found<'a>>, EndReason> {
        if std::mem::take(&mut self.assembly_given) {
            self.assembly.clear();
        }
        while !input.is_empty() {
            if let Phase::Seek(target) = self.phase {
                self.seek(target, input);
                continue;
            }
            let in_page = self.position.0 % PAGE_BYTES;
            if in_page == 0 || !self.page_header.is_empty() {
                self.take_page_header(input)?;
                continue;
            }
            // The rest of this page, as far as it was fed.
            let room = usize::try_from(PAGE_BYTES - in_page).unwrap_or(WAL_PAGE_SIZE_BYTES);
            let here = &input[..input.len().min(room)];
            let found = match self.phase {
                Phase::Seek(_) => None,
                Phase::Between => self.begin_record(here, room, input)?,
                Phase::Skip(left) => {
                    self.skip(left, here.len(), input);
                    None
                }
                Phase::PassOver { lsn, header, left } => {
                    self.pass_over(lsn, header, left, here.len(), input);
                    None
                }
                Phase::Assemble { lsn } => self.assemble(lsn, here, input)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn consume(&mut self, input: &mut &[u8], count: usize) {
        *input = &input[count..];
        self.position = self.position.advance(count as u64);
    }

    fn seek(&mut self, target: Lsn, input: &mut &[u8]) {
        let distance = usize::try_from(target.bytes_since(self.position)).unwrap_or(usize::MAX);
        self.consume(input, distance.min(input.len()));
        if self.position >= target {
            self.phase = Phase::Between;
        }
    }

    fn take_page_header(&mut self, input: &mut &[u8]) -> Result<(), EndReason> {
        let page = Lsn(self.position.0 - self.page_header.len() as u64);
        let begins_segment = page.0.is_multiple_of(self.options.segment_size.bytes());
        let size = if begins_segment { LONG_HEADER_SIZE_BYTES } else { SHORT_HEADER_SIZE_BYTES };
        let count = (size - self.page_header.len()).min(input.len());
        self.page_header.extend_from_slice(&input[..count]);
        self.consume(input, count);
        if self.page_header.len() < size {
            return Ok(());
        }
        let header = WalPageHeader::decode(&self.page_header);
        self.page_header.clear();
        header.and_then(|header| self.enter_page(page, begins_segment, &header)).map_err(
            |source| match source {
                WalPageError::Zeros => EndReason::Zeros,
                source => EndReason::Page { lsn: page, source },
            },
        )
    }

    fn enter_page(
        &mut self,
        page: Lsn,
        begins_segment: bool,
        header: &WalPageHeader,
    ) -> Result<(), WalPageError> {
        let expected = self.options.version;
        if header.version != expected {
            return Err(WalPageError::OtherVersion { expected, found: header.version });
        }
        if header.lsn != page {
            return Err(WalPageError::Elsewhere { expected: page, found: header.lsn });
        }
        if header.segment.is_some() != begins_segment {
            return Err(WalPageError::HeaderKind);
        }
        if let Some(identity) = header.segment {
            let expected = *self.options.system_id.get_or_insert(identity.system_id);
            if identity.system_id != expected {
                return Err(WalPageError::System { expected, found: identity.system_id });
            }
            if identity.segment_size != self.options.segment_size {
                let found = u32::try_from(identity.segment_size.bytes()).unwrap_or(u32::MAX);
                return Err(WalPageError::SegmentSize(found));
            }
        }
        let newest = self.timeline.unwrap_or(header.timeline);
        if header.timeline < newest {
            return Err(WalPageError::Timeline { expected: newest, found: header.timeline });
        }
        self.timeline = Some(header.timeline);
        self.join_record(header)
    }

    /// Holds what the page says of the record before it against what is known of that.
    fn join_record(&mut self, header: &WalPageHeader) -> Result<(), WalPageError> {
        let may_join = std::mem::take(&mut self.may_join);
        let left = match self.phase {
            Phase::Between | Phase::Seek(_) => 0,
            Phase::Skip(left) | Phase::PassOver { left, .. } => left,
            Phase::Assemble { .. } => self.assembly_left(),
        };
        if header.overwrites_unfinished {
            // The server crashed in the middle of the record, and has begun anew here.
            self.assembly.clear();
            self.phase = Phase::Between;
            return Ok(());
        }
        let found = if header.continues_record { header.remaining_bytes } else { 0 };
        if found == left {
            return Ok(());
        }
        // The first page may begin inside a record that began before the start.
        if left == 0 && may_join {
            self.phase = Phase::Skip(found);
            return Ok(());
        }
        Err(WalPageError::Continuation { expected: left, found })
    }

    /// Bytes that the record being put together still lacks; at least 1 while its length is not known.
    fn assembly_left(&self) -> u32 {
        match self.assembly.first_chunk::<4>() {
            Some(length) => u32::from_le_bytes(*length).saturating_sub(self.assembly.len() as u32),
            None => 1,
        }
    }

    fn skip(&mut self, left: u32, available: usize, input: &mut &[u8]) {
        let count = available.min(left as usize);
        self.consume(input, count);
        self.phase = match left - count as u32 {
            0 => {
                self.valid_end = align(self.position);
                Phase::Between
            }
            left => Phase::Skip(left),
        };
    }

    /// Looks at the bytes where a record begins, after the padding before it.
    #[inline]
    fn begin_record<'a>(
        &mut self,
        here: &'a [u8],
        room: usize,
        input: &mut &'a [u8],
    ) -> Result<Option<Found<'a>>, EndReason> {
        let padding = (align(self.position).0 - self.position.0) as usize;
        if padding > 0 {
            self.consume(input, padding.min(here.len()));
            return Ok(None);
        }
        let lsn = self.position;
        let Some(header) = RecordHeader::decode(here) else {
            self.phase = Phase::Assemble { lsn };
            return Ok(None);
        };
        self.check_header(lsn, &header)?;
        let total = header.total_bytes as usize;
        let wanted = self.options.wanted.contains(header.rmgr);
        if !wanted {
            self.phase = Phase::PassOver { lsn, header, left: header.total_bytes };
            self.pass_over(lsn, header, header.total_bytes, here.len(), input);
            return Ok(None);
        }
        if total > room || total > here.len() {
            self.phase = Phase::Assemble { lsn };
            return Ok(None);
        }
        let bytes = &here[..total];
        self.consume(input, total);
        self.accept(lsn, &header, bytes)?;
        Ok(Some(Found::InInput(lsn, header, bytes)))
    }

    fn pass_over(&mut self, lsn: Lsn, header: RecordHeader, left: u32, available: usize, input: &mut &[u8]) {
        let count = available.min(left as usize);
        self.consume(input, count);
        match left - count as u32 {
            0 => self.finish(lsn, &header),
            left => self.phase = Phase::PassOver { lsn, header, left },
        }
    }

    fn assemble<'a>(
        &mut self,
        lsn: Lsn,
        here: &'a [u8],
        input: &mut &'a [u8],
    ) -> Result<Option<Found<'a>>, EndReason> {
        // In three steps, so that a length is known before it is used, and a header valid before its body
        // is waited for.
        let have = self.assembly.len();
        let goal = match RecordHeader::decode(&self.assembly) {
            Some(header) => header.total_bytes as usize,
            None if have < 4 => 4,
            None => RECORD_HEADER_SIZE_BYTES,
        };
        let count = goal.saturating_sub(have).min(here.len());
        self.assembly.extend_from_slice(&here[..count]);
        self.consume(input, count);
        if self.assembly.len() < goal {
            return Ok(None);
        }
        if goal == 4 {
            check_length(lsn, self.assembly_length())?;
            return Ok(None);
        }
        let Some(header) = RecordHeader::decode(&self.assembly) else { return Ok(None) };
        if have < RECORD_HEADER_SIZE_BYTES {
            self.check_header(lsn, &header)?;
            if !self.options.wanted.contains(header.rmgr) {
                let left = header.total_bytes - RECORD_HEADER_SIZE_BYTES as u32;
                self.assembly.clear();
                self.phase = Phase::PassOver { lsn, header, left };
                if left == 0 {
                    self.finish(lsn, &header);
                }
                return Ok(None);
            }
            if self.assembly.len() < header.total_bytes as usize {
                return Ok(None);
            }
        }
        let bytes = std::mem::take(&mut self.assembly);
        let accepted = self.accept(lsn, &header, &bytes);
        self.assembly = bytes;
        self.assembly_given = true;
        accepted?;
        Ok(Some(Found::Assembled(lsn, header)))
    }

    fn assembly_length(&self) -> u32 {
        self.assembly.first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length))
    }

    #[inline]
    fn check_header(&self, lsn: Lsn, header: &RecordHeader) -> Result<(), EndReason> {
        check_length(lsn, header.total_bytes)?;
        if !header.rmgr.is_possible() {
            return Err(EndReason::Rmgr { lsn, rmgr: header.rmgr });
        }
        // W1. Of the first record only that it does not follow itself is known.
        match self.previous {
            Some(expected) if header.previous != expected => {
                Err(EndReason::Previous { lsn, expected, found: header.previous })
            }
            None if header.previous >= lsn => {
                Err(EndReason::Previous { lsn, expected: self.valid_end, found: header.previous })
            }
            _ => Ok(()),
        }
    }

    #[inline]
    fn accept(&mut self, lsn: Lsn, header: &RecordHeader, bytes: &[u8]) -> Result<(), EndReason> {
        if self.options.verify_crc {
            let (head, body) = bytes.split_at(RECORD_HEADER_SIZE_BYTES);
            if crc32c::crc32c_append(crc32c::crc32c(body), &head[..20]) != header.crc {
                return Err(EndReason::Crc { lsn });
            }
        }
        self.finish(lsn, header);
        Ok(())
    }

    /// The record that began at `lsn` ends at the position.
    #[inline]
    fn finish(&mut self, lsn: Lsn, header: &RecordHeader) {
        self.previous = Some(lsn);
        self.valid_end = align(self.position);
        self.phase = Phase::Between;
        if header.is_switch() {
            self.valid_end = next_multiple(self.position, self.options.segment_size.bytes());
            self.phase = Phase::Seek(self.valid_end);
        }
    }
}

impl Feed<'_, '_> {
    /// Reads on.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the reader's buffer")]
    pub fn next(&mut self) -> Step<'_> {
        if let Some(end) = &self.reader.ended {
            return Step::End(end.clone());
        }
        let found = match self.reader.find(&mut self.input) {
            Ok(Some(found)) => found,
            Ok(None) => return Step::NeedMore,
            Err(why) => {
                let end = End { at: self.reader.valid_end, why };
                self.reader.ended = Some(end.clone());
                return Step::End(end);
            }
        };
        let (lsn, header, bytes) = match found {
            Found::InInput(lsn, header, bytes) => (lsn, header, bytes),
            Found::Assembled(lsn, header) => (lsn, header, self.reader.assembly.as_slice()),
        };
        let version = self.reader.options.version;
        Step::Record(Record { lsn, end_lsn: self.reader.valid_end, version, header, bytes })
    }
}

const fn align(lsn: Lsn) -> Lsn {
    match lsn.0.checked_next_multiple_of(RECORD_ALIGNMENT_BYTES) {
        Some(aligned) => Lsn(aligned),
        // Nothing begins behind the last position.
        None => lsn,
    }
}

/// The first position from `lsn` on that is a multiple of `bytes`; the last that there is, if none is.
const fn next_multiple(lsn: Lsn, bytes: u64) -> Lsn {
    match lsn.0.checked_next_multiple_of(bytes) {
        Some(next) => Lsn(next),
        None => Lsn(u64::MAX),
    }
}

#[inline]
fn check_length(lsn: Lsn, bytes: u32) -> Result<(), EndReason> {
    match bytes {
        0 => Err(EndReason::Zeros),
        bytes if (bytes as usize) < RECORD_HEADER_SIZE_BYTES || bytes > RECORD_LIMIT_BYTES => {
            Err(EndReason::Length { lsn, bytes })
        }
        _ => Ok(()),
    }
}
