//! Heap records: rows inserted, deleted, updated.
//!
//! Only what counts and attributes rows is read; it is the same from 15 to 18. Format:
//! `access/heapam_xlog.h`.

use super::content::{Content, Oids};
use super::record::Layout;
use crate::bytes::{Reader, u16_at};
use crate::{Oid, RelationLocator};

const OPERATION_MASK: u8 = 0x70;
const INSERT: u8 = 0x00;
const DELETE: u8 = 0x10;
const UPDATE: u8 = 0x20;
const TRUNCATE: u8 = 0x30;
const HOT_UPDATE: u8 = 0x40;
const INPLACE: u8 = 0x70;
const HEAP2_MULTI_INSERT: u8 = 0x50;

const INSERT_ON_TOAST: u8 = 1 << 4;
const DELETE_TAKES_BACK: u8 = 1 << 3;
const DELETE_MOVES_PARTITION: u8 = 1 << 4;

/// Tables that one statement truncated.
#[derive(Debug, Clone, Copy)]
pub struct HeapTruncate<'a> {
    /// Their database.
    pub database: Oid,
    /// `CASCADE` was said.
    pub cascade: bool,
    /// `RESTART IDENTITY` was said.
    pub restart_sequences: bool,
    /// The tables, by OID, not by file number; then sequences that were restarted.
    pub relations: Oids<'a>,
}

/// Decodes a record of the heap's first resource manager.
pub(super) fn decode<'a>(kind: u8, layout: &Layout<'a>) -> Option<Content<'a>> {
    Some(match kind & OPERATION_MASK {
        INSERT => {
            Content::Insert { locator: relation(layout)?, toast: layout.main.get(2)? & INSERT_ON_TOAST != 0 }
        }
        DELETE => {
            let flags = *layout.main.get(7)?;
            Content::Delete {
                locator: relation(layout)?,
                moved: flags & DELETE_MOVES_PARTITION != 0,
                taken_back: flags & DELETE_TAKES_BACK != 0,
            }
        }
        UPDATE => Content::Update { locator: relation(layout)?, hot: false },
        HOT_UPDATE => Content::Update { locator: relation(layout)?, hot: true },
        INPLACE => Content::Inplace { locator: relation(layout)? },
        TRUNCATE => decode_truncate(layout.main)?,
        _ => Content::Other,
    })
}

pub(super) const fn is_multi_insert(kind: u8) -> bool {
    kind & OPERATION_MASK == HEAP2_MULTI_INSERT
}

pub(super) fn decode_multi_insert<'a>(layout: &Layout<'a>) -> Option<Content<'a>> {
    Some(Content::MultiInsert {
        locator: relation(layout)?,
        rows: u16_at(layout.main, 2)?,
        toast: layout.main.first()? & INSERT_ON_TOAST != 0,
    })
}

fn decode_truncate(main: &[u8]) -> Option<Content<'_>> {
    let mut reader = Reader::new(main);
    let (database, count, flags) = (Oid(reader.u32()?), reader.u32()?, reader.u8()?);
    let _padding = reader.take(3)?;
    Some(Content::Truncate(HeapTruncate {
        database,
        cascade: flags & 1 != 0,
        restart_sequences: flags & 2 != 0,
        relations: Oids::read(&mut reader, count)?,
    }))
}

/// The relation of the first block: all rows of one record are in the same.
fn relation(layout: &Layout<'_>) -> Option<RelationLocator> {
    layout.first
}
