//! `backup_label` and `tablespace_map`: what a data directory needs to know that it is a backup.
//!
//! The label says where replay must start; the map says where tablespaces lay. Both are read by
//! PostgreSQL once, at the first start.
//!
//! Deliberately absent: the label's start time as a time. It is in a zone that only the server knows, by
//! an abbreviation that may mean several; the text is kept for people.

use crate::{Oid, SegmentSize, WalFileName};
use lifeboat_base::{Lsn, Timeline};
use std::fmt::Write as _;

/// The name of the label in a data directory.
pub const BACKUP_LABEL_FILE: &str = "backup_label";
/// The name of the tablespace map in a data directory.
pub const TABLESPACE_MAP_FILE: &str = "tablespace_map";

/// Largest label or map that is read. A map line is a path of at most 4 KiB.
const LABEL_LIMIT_BYTES: usize = 4 << 20;

/// What `backup_label` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where replay starts: the REDO position of the backup's checkpoint.
    pub start_lsn: Lsn,
    /// The WAL segment of `start_lsn` by name, as the label tells it.
    pub start_wal_file: String,
    /// Where the backup's checkpoint record is.
    pub checkpoint_lsn: Lsn,
    /// The timeline on which the backup began.
    pub start_timeline: Timeline,
    /// `streamed` is what servers of today write.
    pub method: String,
    /// Whether the server was a standby.
    pub from_standby: bool,
    /// When it began, in the server's words and zone.
    pub start_time: String,
    /// The label that was asked for.
    pub label: String,
    /// For an incremental backup (17 on), the start of the backup it needs, and its timeline.
    pub incremental_from: Option<(Lsn, Timeline)>,
}

/// The bytes are not a backup label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Larger than any real one.
    #[error("the backup label has {0} bytes: it is damaged, take it from another copy")]
    TooLarge(usize),
    /// A line that must be there is not, or does not read.
    #[error("the backup label has no readable line `{0}`: it is damaged, take it from another copy")]
    Missing(&'static str),
}

impl BackupLabel {
    /// Reads a label. Lines that it does not know are passed over, as PostgreSQL does.
    ///
    /// # Errors
    /// [`LabelError`] if a line that recovery needs is missing or does not read.
    pub fn parse(bytes: &[u8]) -> Result<Self, LabelError> {
        if bytes.len() > LABEL_LIMIT_BYTES {
            return Err(LabelError::TooLarge(bytes.len()));
        }
        let text = String::from_utf8_lossy(bytes);
        let find = |key: &'static str| {
            let value = |line: &str| line.strip_prefix(key)?.strip_prefix(": ").map(str::to_owned);
            text.lines().find_map(value).ok_or(LabelError::Missing(key))
        };
        const START: &str = "START WAL LOCATION";
        let start = find(START)?;
        let (start_lsn, start_wal_file) = parse_location(&start).ok_or(LabelError::Missing(START))?;
        Ok(Self {
            start_lsn,
            start_wal_file,
            checkpoint_lsn: number(find, "CHECKPOINT LOCATION")?,
            start_timeline: Timeline(number(find, "START TIMELINE")?),
            method: find("BACKUP METHOD")?,
            from_standby: match find("BACKUP FROM")?.as_str() {
                "primary" => false,
                "standby" => true,
                _ => return Err(LabelError::Missing("BACKUP FROM")),
            },
            start_time: find("START TIME").unwrap_or_default(),
            label: find("LABEL").unwrap_or_default(),
            incremental_from: match find("INCREMENTAL FROM LSN") {
                Err(_) => None,
                Ok(_) => Some((
                    number(find, "INCREMENTAL FROM LSN")?,
                    Timeline(number(find, "INCREMENTAL FROM TLI")?),
                )),
            },
        })
    }

    /// The file's content, as PostgreSQL writes it.
    #[must_use]
    pub fn render(&self) -> String {
        let one_line = |text: &str| text.replace(['\n', '\r'], " ");
        let mut text = format!(
            "START WAL LOCATION: {} (file {})\nCHECKPOINT LOCATION: {}\nBACKUP METHOD: {}\nBACKUP FROM: {}\n\
             START TIME: {}\nLABEL: {}\nSTART TIMELINE: {}\n",
            self.start_lsn,
            self.start_wal_file,
            self.checkpoint_lsn,
            one_line(&self.method),
            if self.from_standby { "standby" } else { "primary" },
            one_line(&self.start_time),
            one_line(&self.label),
            self.start_timeline,
        );
        if let Some((lsn, timeline)) = self.incremental_from {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "INCREMENTAL FROM LSN: {lsn}\nINCREMENTAL FROM TLI: {timeline}");
        }
        text
    }

    /// Whether the segment named in the label is the one of its own start, for segments of `size`.
    #[must_use]
    pub fn names_its_segment(&self, size: SegmentSize) -> bool {
        WalFileName::holding(self.start_timeline, self.start_lsn, size).to_string() == self.start_wal_file
    }
}

fn number<T: std::str::FromStr>(
    find: impl Fn(&'static str) -> Result<String, LabelError>,
    key: &'static str,
) -> Result<T, LabelError> {
    find(key)?.parse().map_err(|_| LabelError::Missing(key))
}

fn parse_location(value: &str) -> Option<(Lsn, String)> {
    let (lsn, file) = value.split_once(" (file ")?;
    Some((lsn.parse().ok()?, file.strip_suffix(')')?.to_owned()))
}

/// One tablespace and where it lay on the server that was backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablespaceMapEntry {
    /// The tablespace: the name of its link in `pg_tblspc`.
    pub tablespace: Oid,
    /// Its directory, in the server's bytes.
    pub location: Vec<u8>,
}

/// The bytes are not a tablespace map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TablespaceMapError {
    /// Larger than any real one.
    #[error("the tablespace map has {0} bytes: it is damaged, take it from another copy")]
    TooLarge(usize),
    /// An entry that does not read.
    #[error(
        "entry {0} of the tablespace map does not read as a tablespace number and a path: it is damaged, take it from another copy"
    )]
    Entry(usize),
}

/// Reads a tablespace map.
///
/// A path may hold newlines, carriage returns and backslashes; each is written after a backslash.
///
/// # Errors
/// [`TablespaceMapError`] if an entry does not read.
pub fn parse_tablespace_map(bytes: &[u8]) -> Result<Vec<TablespaceMapEntry>, TablespaceMapError> {
    if bytes.len() > LABEL_LIMIT_BYTES {
        return Err(TablespaceMapError::TooLarge(bytes.len()));
    }
    let mut entries = Vec::new();
    let mut line = Vec::new();
    let mut escaped = false;
    for &byte in bytes.iter().chain(b"\n") {
        match byte {
            b'\\' if !escaped => escaped = true,
            b'\n' | b'\r' if !escaped => {
                if !line.is_empty() {
                    let entry = parse_map_line(&line).ok_or(TablespaceMapError::Entry(entries.len() + 1))?;
                    entries.push(entry);
                    line.clear();
                }
            }
            byte => {
                line.push(byte);
                escaped = false;
            }
        }
    }
    // A backslash as the last byte has swallowed the newline that was put after the end.
    if line.is_empty() { Ok(entries) } else { Err(TablespaceMapError::Entry(entries.len() + 1)) }
}

fn parse_map_line(line: &[u8]) -> Option<TablespaceMapEntry> {
    let space = line.iter().position(|b| *b == b' ')?;
    let (digits, location) = (&line[..space], &line[space + 1..]);
    let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    let tablespace = digits.parse().ok().filter(|oid| *oid != 0)?;
    (!location.is_empty())
        .then(|| TablespaceMapEntry { tablespace: Oid(tablespace), location: location.to_owned() })
}

/// The content of a tablespace map, as PostgreSQL writes it.
#[must_use]
pub fn render_tablespace_map(entries: &[TablespaceMapEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(format!("{} ", entry.tablespace).as_bytes());
        for &byte in &entry.location {
            if matches!(byte, b'\n' | b'\r' | b'\\') {
                bytes.push(b'\\');
            }
            bytes.push(byte);
        }
        bytes.push(b'\n');
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: standby\n\
        START TIME: 2026-11-01 10:00:00 CST\nLABEL: nightly: base\nSTART TIMELINE: 1\n";

    #[test]
    fn label_reads_what_it_writes() {
        let label = BackupLabel::parse(REAL.as_bytes()).unwrap();
        assert_eq!(label.render(), REAL);
        assert_eq!((label.start_lsn, label.checkpoint_lsn), (Lsn(0x200_0028), Lsn(0x200_0060)));
        assert_eq!((label.label.as_str(), label.from_standby), ("nightly: base", true));
        assert!(label.names_its_segment(SegmentSize::DEFAULT));

        let incremental = format!("{REAL}INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n");
        let label = BackupLabel::parse(incremental.as_bytes()).unwrap();
        assert_eq!(label.incremental_from, Some((Lsn(0x100_0028), Timeline(1))));
        assert_eq!(label.render(), incremental);
    }

    #[test]
    fn label_names_the_line_that_is_missing() {
        for (from, to, key) in [
            ("START WAL", "START", "START WAL LOCATION"),
            ("(file", "file", "START WAL LOCATION"),
            ("CHECKPOINT LOCATION: 0", "CHECKPOINT LOCATION: x", "CHECKPOINT LOCATION"),
            ("TIMELINE: 1", "TIMELINE: -", "START TIMELINE"),
            ("standby", "elsewhere", "BACKUP FROM"),
        ] {
            let error = BackupLabel::parse(REAL.replace(from, to).as_bytes()).unwrap_err();
            assert_eq!(error, LabelError::Missing(key));
        }
        assert!(BackupLabel::parse(&[0xFF; 64]).is_err());
    }

    #[test]
    fn map_escapes_what_would_end_a_line() {
        let entries = [
            (16400, "/srv/plain".as_bytes().to_vec()),
            (16401, b"/srv/with space/\\back\nnew\rreturn \xFF".to_vec()),
        ]
        .map(|(oid, location)| TablespaceMapEntry { tablespace: Oid(oid), location });
        let bytes = render_tablespace_map(&entries);
        assert!(bytes.starts_with(b"16400 /srv/plain\n16401 /srv/with space/\\\\back\\\nnew\\\rreturn"));
        assert_eq!(parse_tablespace_map(&bytes).unwrap(), entries);
        assert_eq!(parse_tablespace_map(b""), Ok(vec![]));
    }

    #[test]
    fn map_refuses_what_is_none() {
        for (bytes, entry) in
            [(&b"16400\n"[..], 1), (b"16400 \n", 1), (b"x /a\n", 1), (b"1 /a\n2 /b\\", 2), (b"0 /a\n", 1)]
        {
            assert_eq!(parse_tablespace_map(bytes), Err(TablespaceMapError::Entry(entry)));
        }
    }
}
