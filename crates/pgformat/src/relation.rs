//! Names of relation files: which relation, which fork, which part.
//!
//! A relation's fork is cut into files of 1 GiB: `16384`, `16384.1`, … Temporary relations carry the
//! number of their backend: `t3_16384`. Only names that PostgreSQL would write are recognised (no leading
//! zeros, no stray signs), so that a name and a [`RelationFile`] stand for each other.

use crate::oid::{DEFAULT_TABLESPACE, GLOBAL_TABLESPACE};
use crate::{MajorVersion, Oid, PAGE_SIZE_BYTES, RelationLocator};
use std::fmt;

/// Pages in one file of a relation: 1 GiB.
pub const RELATION_SEGMENT_BLOCKS: u32 = 131_072;

/// A part of a relation that has files of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// The rows, or the index.
    Main,
    /// Where there is room (`_fsm`).
    FreeSpace,
    /// Which pages all can see (`_vm`).
    Visibility,
    /// What an unlogged relation is after a crash (`_init`).
    Init,
}

impl Fork {
    /// From the number that WAL uses.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Main),
            1 => Some(Self::FreeSpace),
            2 => Some(Self::Visibility),
            3 => Some(Self::Init),
            _ => None,
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::FreeSpace => "_fsm",
            Self::Visibility => "_vm",
            Self::Init => "_init",
        }
    }
}

/// A relation file's name within its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationFileName {
    /// The relation's file number.
    pub relfilenode: Oid,
    /// The fork.
    pub fork: Fork,
    /// Which GiB of the fork.
    pub segment: u32,
    /// For a temporary relation, the backend it belongs to.
    pub backend: Option<u32>,
}

impl RelationFileName {
    /// Reads a file's name; `None` if it is not a relation's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (name, backend) = match name.strip_prefix('t') {
            None => (name, None),
            Some(rest) => {
                let (backend, name) = rest.split_once('_')?;
                (name, Some(number(backend)?))
            }
        };
        let (name, segment) = match name.split_once('.') {
            None => (name, 0),
            Some((name, segment)) => (name, number(segment).filter(|segment| *segment != 0)?),
        };
        let (digits, fork) = match name.split_once('_') {
            None => (name, Fork::Main),
            Some((digits, "fsm")) => (digits, Fork::FreeSpace),
            Some((digits, "vm")) => (digits, Fork::Visibility),
            Some((digits, "init")) => (digits, Fork::Init),
            Some(_) => return None,
        };
        let relfilenode = number(digits).filter(|oid| *oid != 0)?;
        Some(Self { relfilenode: Oid(relfilenode), fork, segment, backend })
    }
}

impl fmt::Display for RelationFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(backend) = self.backend {
            write!(f, "t{backend}_")?;
        }
        write!(f, "{}{}", self.relfilenode, self.fork.suffix())?;
        if self.segment > 0 { write!(f, ".{}", self.segment) } else { Ok(()) }
    }
}

/// A relation file by its place in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationFile {
    /// The tablespace.
    pub tablespace: Oid,
    /// The database; zero in `global`.
    pub database: Oid,
    /// The name there.
    pub name: RelationFileName,
}

impl RelationFile {
    /// Reads a path relative to the data directory, with `/`: `base/5/16384.2`, `global/1262`,
    /// `pg_tblspc/16400/PG_15_202209061/5/16385`. `None` if it is not a relation's.
    ///
    /// The version in a tablespace's directory is not compared: leftovers of `pg_upgrade` lie beside.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (tablespace, database, name) = split_database_path(path)?;
        Some(Self { tablespace, database, name: RelationFileName::parse(name)? })
    }

    /// The path relative to the data directory of a cluster of `version`.
    #[must_use]
    pub fn path(&self, version: MajorVersion) -> String {
        let Self { tablespace, database, name } = self;
        match *tablespace {
            GLOBAL_TABLESPACE => format!("global/{name}"),
            DEFAULT_TABLESPACE => format!("base/{database}/{name}"),
            _ => format!("pg_tblspc/{tablespace}/{}/{database}/{name}", version.tablespace_directory()),
        }
    }

    /// The relation, as WAL names it.
    #[must_use]
    pub const fn locator(&self) -> RelationLocator {
        let Self { tablespace, database, name } = *self;
        RelationLocator { tablespace, database, relfilenode: name.relfilenode }
    }

    /// The block number, within the fork, of the page that begins `offset` bytes into this file; `None`
    /// past the last block there can be.
    #[must_use]
    pub fn block_at(&self, offset: u64) -> Option<u32> {
        let within = offset / PAGE_SIZE_BYTES as u64;
        let block = u64::from(self.name.segment) * u64::from(RELATION_SEGMENT_BLOCKS) + within;
        // 0xFFFFFFFF stands for "no block".
        u32::try_from(block).ok().filter(|block| *block != u32::MAX)
    }
}

/// The tablespace and database of a path in a database's directory, and the file's name there.
pub(crate) fn split_database_path(path: &str) -> Option<(Oid, Oid, &str)> {
    let mut parts = path.split('/');
    let found = match parts.next()? {
        "global" => (GLOBAL_TABLESPACE, Oid(0), parts.next()?),
        "base" => (DEFAULT_TABLESPACE, oid(parts.next()?)?, parts.next()?),
        "pg_tblspc" => {
            let tablespace = oid(parts.next()?)?;
            parts.next().filter(|directory| directory.starts_with("PG_"))?;
            (tablespace, oid(parts.next()?)?, parts.next()?)
        }
        _ => return None,
    };
    parts.next().is_none().then_some(found)
}

fn oid(digits: &str) -> Option<Oid> {
    number(digits).filter(|oid| *oid != 0).map(Oid)
}

/// A number as PostgreSQL writes it: digits only, none of them a leading zero.
fn number(digits: &str) -> Option<u32> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_they_are_written() {
        for (path, tablespace, database) in [
            ("base/5/16384", 1663, 5),
            ("base/5/16384.2", 1663, 5),
            ("base/5/16384_fsm.1", 1663, 5),
            ("base/5/t3_16384_vm", 1663, 5),
            ("base/5/16384_init", 1663, 5),
            ("global/1262", 1664, 0),
            ("pg_tblspc/16400/PG_15_202209061/5/16385.31", 16400, 5),
        ] {
            let file = RelationFile::parse(path).unwrap();
            assert_eq!((file.tablespace, file.database), (Oid(tablespace), Oid(database)));
            assert_eq!(file.path(MajorVersion::V15), path);
        }
    }

    #[test]
    fn other_names_are_no_relations() {
        for path in [
            "",
            "base",
            "base/5",
            "base/5/",
            "base/5/PG_VERSION",
            "base/5/pg_filenode.map",
            "base/5/016384",
            "base/5/0",
            "base/5/+1",
            "base/5/16384.0",
            "base/5/16384.01",
            "base/5/16384_foo",
            "base/5/16384_fsm_vm",
            "base/5/t_16384",
            "base/5/t3_",
            "base/5/4294967296",
            "base/5/16384/x",
            "base/pgsql_tmp/16384",
            "global/pg_control",
            "pg_tblspc/16400/5/16385",
            "pg_xact/0000",
        ] {
            assert_eq!(RelationFile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn blocks_count_across_files() {
        let file = RelationFile::parse("base/5/16384.2").unwrap();
        assert_eq!(file.block_at(0), Some(262_144));
        assert_eq!(file.block_at(8192 * 3 + 17), Some(262_147));
        assert_eq!(RelationFile::parse("base/5/1.4294967295").unwrap().block_at(u64::MAX), None);
        assert_eq!(RelationFile::parse("base/5/1.32767").unwrap().block_at(8192 * 131_071), None);
    }
}
