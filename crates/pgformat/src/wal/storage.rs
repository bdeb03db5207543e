//! Records about files: of relations, databases and tablespaces.
//!
//! Format: `catalog/storage_xlog.h`, `utils/relmapper.h`, `commands/dbcommands_xlog.h`,
//! `commands/tablespace.h`; the same from 15 to 18.

use super::content::{Content, Oids};
use super::record::read_locator;
use crate::bytes::Reader;
use crate::{Fork, Oid, RelationLocator};

const STORAGE_CREATE: u8 = 0x10;
const STORAGE_TRUNCATE: u8 = 0x20;
const DATABASE_CREATE_COPY: u8 = 0x00;
const DATABASE_CREATE_LOGGED: u8 = 0x10;
const DATABASE_DROP: u8 = 0x20;
const TABLESPACE_CREATE: u8 = 0x00;
const TABLESPACE_DROP: u8 = 0x10;

/// A relation got a new, empty file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageCreate {
    /// The relation.
    pub locator: RelationLocator,
    /// The fork.
    pub fork: Fork,
}

/// A relation was cut at its end, as vacuum does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageTruncate {
    /// The relation.
    pub locator: RelationLocator,
    /// Blocks that are left of it.
    pub blocks: u32,
    /// Which forks: 1 main, 2 visibility map, 4 free space map.
    pub forks: u32,
}

/// System catalogues got other files.
#[derive(Debug, Clone, Copy)]
pub struct RelationMapUpdate<'a> {
    /// The database; zero for the catalogues that all share.
    pub database: Oid,
    /// Its tablespace.
    pub tablespace: Oid,
    entries: &'a [u8],
}

impl<'a> RelationMapUpdate<'a> {
    /// All mapped catalogues: OID and file number.
    pub fn entries(&self) -> impl Iterator<Item = (Oid, Oid)> + use<'a> {
        let mut reader = Reader::new(self.entries);
        std::iter::from_fn(move || Some((Oid(reader.u32()?), Oid(reader.u32()?))))
    }
}

/// A database's files were removed.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseDrop<'a> {
    /// The database.
    pub database: Oid,
    /// The tablespaces that it had files in.
    pub tablespaces: Oids<'a>,
}

pub(super) fn decode_storage(kind: u8, main: &[u8]) -> Option<Content<'_>> {
    let mut reader = Reader::new(main);
    Some(match kind {
        STORAGE_CREATE => {
            let locator = read_locator(&mut reader)?;
            let fork = Fork::from_number(u8::try_from(reader.u32()?).ok()?)?;
            Content::StorageCreate(StorageCreate { locator, fork })
        }
        STORAGE_TRUNCATE => {
            let blocks = reader.u32()?;
            let locator = read_locator(&mut reader)?;
            Content::StorageTruncate(StorageTruncate { locator, blocks, forks: reader.u32()? })
        }
        _ => Content::Other,
    })
}

pub(super) fn decode_relation_map(main: &[u8]) -> Option<Content<'_>> {
    const MAP_MAGIC: u32 = 0x0059_2717;
    let mut reader = Reader::new(main);
    let (database, tablespace, bytes) = (Oid(reader.u32()?), Oid(reader.u32()?), reader.u32()?);
    let mut map = Reader::new(reader.take(bytes as usize)?);
    if map.u32()? != MAP_MAGIC {
        return None;
    }
    let count = map.u32()? as usize;
    let entries = map.take(count.checked_mul(8)?)?;
    Some(Content::RelationMap(RelationMapUpdate { database, tablespace, entries }))
}

pub(super) fn decode_database(kind: u8, main: &[u8]) -> Option<Content<'_>> {
    let mut reader = Reader::new(main);
    let database = Oid(reader.u32()?);
    Some(match kind {
        DATABASE_CREATE_COPY | DATABASE_CREATE_LOGGED => {
            Content::DatabaseCreate { database, tablespace: Oid(reader.u32()?) }
        }
        DATABASE_DROP => {
            let count = reader.u32()?;
            Content::DatabaseDrop(DatabaseDrop { database, tablespaces: Oids::read(&mut reader, count)? })
        }
        _ => Content::Other,
    })
}

pub(super) fn decode_tablespace(kind: u8, main: &[u8]) -> Option<Content<'_>> {
    let mut reader = Reader::new(main);
    let tablespace = Oid(reader.u32()?);
    Some(match kind {
        TABLESPACE_CREATE => {
            let path = reader.rest().split(|byte| *byte == 0).next()?;
            Content::TablespaceCreate { tablespace, path }
        }
        TABLESPACE_DROP => Content::TablespaceDrop { tablespace },
        _ => Content::Other,
    })
}
