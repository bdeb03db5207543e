//! WAL made by hand, for tests.

use super::Rmgr;
use super::page::WAL_PAGE_SIZE_BYTES;
use lifeboat_base::Lsn;

pub(crate) const SEGMENT_BYTES: u64 = 1 << 20;
pub(crate) const START: u64 = SEGMENT_BYTES;
const TIMELINE: u32 = 1;

/// Writes WAL as PostgreSQL 17 would, from the start of a segment of 1 MiB.
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    previous: u64,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), previous: START - 64 }
    }

    pub(crate) fn position(&self) -> u64 {
        START + self.bytes.len() as u64
    }

    pub(crate) fn page_header(&mut self, flags: u16, remaining: u32) {
        let position = self.position();
        let long = position.is_multiple_of(SEGMENT_BYTES);
        self.bytes.extend(0xD116u16.to_le_bytes());
        self.bytes.extend((flags | if long { 2 } else { 0 }).to_le_bytes());
        self.bytes.extend(TIMELINE.to_le_bytes());
        self.bytes.extend(position.to_le_bytes());
        self.bytes.extend(remaining.to_le_bytes());
        self.bytes.extend([0; 4]);
        if long {
            self.bytes.extend(42u64.to_le_bytes());
            self.bytes.extend((SEGMENT_BYTES as u32).to_le_bytes());
            self.bytes.extend((WAL_PAGE_SIZE_BYTES as u32).to_le_bytes());
        }
    }

    /// A record with `main_bytes` of main data; returns where it begins.
    pub(crate) fn record(&mut self, rmgr: Rmgr, info: u8, main_bytes: usize) -> Lsn {
        self.write(rmgr, info, 7, &long_main(&vec![0xAB; main_bytes]), usize::MAX)
    }

    /// The same, but the server crashed after `written` bytes of it.
    pub(crate) fn unfinished(&mut self, rmgr: Rmgr, info: u8, main_bytes: usize, written: usize) -> Lsn {
        self.write(rmgr, info, 7, &long_main(&vec![0xAB; main_bytes]), written)
    }

    /// Any record; `written` bytes of it.
    pub(crate) fn write(&mut self, rmgr: Rmgr, info: u8, xid: u32, body: &[u8], written: usize) -> Lsn {
        if self.bytes.len().is_multiple_of(WAL_PAGE_SIZE_BYTES) {
            self.page_header(0, 0);
        }
        let lsn = self.position();
        let mut record = Vec::new();
        record.extend((24 + body.len() as u32).to_le_bytes());
        record.extend(xid.to_le_bytes());
        record.extend(self.previous.to_le_bytes());
        record.extend([info, rmgr.0, 0, 0]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(body), &record);
        record.extend(crc.to_le_bytes());
        record.extend(body);
        let mut rest = &record[..record.len().min(written)];
        while !rest.is_empty() {
            if self.bytes.len().is_multiple_of(WAL_PAGE_SIZE_BYTES) {
                let left = record.len() - (written.min(record.len()) - rest.len());
                self.page_header(1, left as u32);
            }
            let room = WAL_PAGE_SIZE_BYTES - self.bytes.len() % WAL_PAGE_SIZE_BYTES;
            let (now, later) = rest.split_at(rest.len().min(room));
            self.bytes.extend(now);
            rest = later;
        }
        if written >= record.len() {
            self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
            self.previous = lsn;
        }
        Lsn(lsn)
    }

    pub(crate) fn zeros_to(&mut self, multiple: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(multiple), 0);
    }
}

/// A record's body that is main data alone.
pub(crate) fn long_main(main: &[u8]) -> Vec<u8> {
    let mut body = vec![254];
    body.extend((main.len() as u32).to_le_bytes());
    body.extend(main);
    body
}
