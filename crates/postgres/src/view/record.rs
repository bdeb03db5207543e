//! The record of what is durable in the overlay: an append-only file of fixed records.
//!
//! ```text
//! file (u32) · first page (u32) · pages (u32) · CRC-32C of the record's number and the twelve bytes (u32)
//! ```
//!
//! Little-endian. No pages means: nothing of the restore point shows from `first page` on. Files are numbered by
//! their place in the restore point's sorted list of relation files, which never changes.
//!
//! # Invariants
//! - **R1 in order.** What is read back is a prefix of what was appended, at least all that was acknowledged.
//! - **R2 an error is one.** After a failed append nothing is acknowledged until the file was written anew.

use super::disk::{Disk, DiskFile, How};
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;

/// The record's name beside the overlay.
pub(super) const RECORD_FILE: &str = "pages";
/// What it is called until it is whole.
pub(super) const NEW_FILE: &str = "pages.new";
const ENTRY_BYTES: usize = 16;
/// Appended entries after which the record is written anew, if it says little more than it could in few.
const REWRITE_ENTRIES: u64 = 1 << 20;
/// Read at a time.
const CHUNK_BYTES: usize = ENTRY_BYTES << 14;

/// One thing that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) file: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// These pages are the overlay's own.
    Own(Range<u32>),
    /// Nothing of the restore point shows from this page on.
    Cut(u32),
}

/// The record, open for appending.
#[derive(Debug)]
pub(super) struct Record<F> {
    file: F,
    entries: u64,
    /// How many it had when it was written anew.
    rewritten: u64,
    is_broken: bool,
}

impl<F: DiskFile> Record<F> {
    /// A record that says nothing.
    pub(super) fn create<D: Disk<File = F>>(disk: &D) -> Result<Self> {
        let file = disk.open(RECORD_FILE, How::Create(0o600))?;
        file.sync()?;
        disk.sync_directory(RECORD_FILE)?;
        Ok(Self { file, entries: 0, rewritten: 0, is_broken: false })
    }

    /// Opens the record and gives each entry to `each`; a torn end is cut off (R1).
    pub(super) fn open<D: Disk<File = F>>(disk: &D, mut each: impl FnMut(Entry)) -> Result<Self> {
        let file = disk.open(RECORD_FILE, How::Open)?;
        let mut entries = 0u64;
        let mut buffer = vec![0; CHUNK_BYTES];
        'reading: loop {
            let read = file.read_at(&mut buffer, entries * ENTRY_BYTES as u64)?;
            for bytes in buffer[..read].chunks_exact(ENTRY_BYTES) {
                let Some(entry) = decode(entries, bytes) else { break 'reading };
                each(entry);
                entries += 1;
            }
            if read < CHUNK_BYTES {
                break;
            }
        }
        file.set_len(entries * ENTRY_BYTES as u64)?;
        // What was read may be in the cache alone, left by a process that was killed before its sync.
        file.sync()?;
        Ok(Self { file, entries, rewritten: 0, is_broken: false })
    }

    /// Appends, and returns when it is durable.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.is_broken {
            return Err(Error::other("an earlier append failed"));
        }
        let bytes: Vec<u8> =
            (self.entries..).zip(entries).flat_map(|(number, entry)| encode(number, entry)).collect();
        let written = self.file.write_at(&bytes, self.entries * ENTRY_BYTES as u64);
        if let Err(error) = written.and_then(|()| self.file.sync()) {
            // R2: what of it is there is not known, nor whether the next sync would say so.
            self.is_broken = true;
            return Err(error);
        }
        self.entries += entries.len() as u64;
        Ok(())
    }

    /// Whether it is time to write it anew.
    pub(super) fn is_due(&self) -> bool {
        // One that says much is not written anew for each thing more.
        self.is_broken || self.entries > REWRITE_ENTRIES.max(2 * self.rewritten)
    }

    /// Writes it anew with `entries`, which say all that it said.
    pub(super) fn rewrite<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        entries: impl Iterator<Item = Entry>,
    ) -> Result<()> {
        match disk.unlink(NEW_FILE) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.open(NEW_FILE, How::Create(0o600))?;
        let mut new = Self { file, entries: 0, rewritten: 0, is_broken: false };
        let all: Vec<Entry> = entries.collect();
        new.append(&all)?;
        new.file.sync()?;
        disk.rename(NEW_FILE, RECORD_FILE)?;
        disk.sync_directory(RECORD_FILE)?;
        new.rewritten = new.entries;
        *self = new;
        Ok(())
    }
}

fn encode(number: u64, entry: &Entry) -> [u8; ENTRY_BYTES] {
    let (start, count) = match &entry.what {
        What::Own(range) => (range.start, range.end - range.start),
        What::Cut(page) => (*page, 0),
    };
    let mut bytes = [0; ENTRY_BYTES];
    for (at, value) in [entry.file, start, count].into_iter().enumerate() {
        bytes[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
    }
    let crc = checksum(number, &bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(number: u64, bytes: &[u8]) -> Option<Entry> {
    let word = |at: usize| u32::from_le_bytes(bytes[at * 4..at * 4 + 4].try_into().expect("four bytes"));
    if word(3) != checksum(number, &bytes[..12]) {
        return None;
    }
    let (start, count) = (word(1), word(2));
    let what = if count == 0 { What::Cut(start) } else { What::Own(start..start.checked_add(count)?) };
    Some(Entry { file: word(0), what })
}

/// Bound to its place: what lay there before is no entry.
fn checksum(number: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), bytes)
}

#[cfg(test)]
mod tests {
    use super::super::sim::SimDisk;
    use super::*;

    #[test]
    fn a_record_that_says_much_is_not_written_anew_for_each_thing_more() {
        let disk = SimDisk::default();
        let mut record = Record::create(&disk).unwrap();
        let entry = |file| Entry { file, what: What::Own(1..2) };
        assert!(!record.is_due());
        record.rewrite(&disk, (0..REWRITE_ENTRIES as u32 + 1).map(entry)).unwrap();
        assert!(!record.is_due());
        record.entries += REWRITE_ENTRIES + 2;
        assert!(record.is_due());
    }
}
