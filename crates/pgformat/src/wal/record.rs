//! One WAL record: its header, the blocks it touches, its data.
//!
//! A record is a header of 24 bytes, headers of the block references, then the blocks' images and data,
//! then the main data. Nothing is copied: all parts borrow from the record's bytes.
//!
//! Format: `access/xlogrecord.h`.

use super::content::{Content, DecodeError};
use super::rmgr::Rmgr;
use crate::bytes::{Reader, u32_at, u64_at};
use crate::{Fork, MajorVersion, Oid, RelationLocator};
use lifeboat_base::Lsn;

/// Bytes in a record's header.
pub const RECORD_HEADER_SIZE_BYTES: usize = 24;

const MAX_BLOCK_ID: u8 = 32;
const ID_MAIN_SHORT: u8 = 255;
const ID_MAIN_LONG: u8 = 254;
const ID_ORIGIN: u8 = 253;
const ID_TOP_XID: u8 = 252;

const BLOCK_FORK_MASK: u8 = 0x0F;
const BLOCK_HAS_IMAGE: u8 = 0x10;
const BLOCK_WILL_INIT: u8 = 0x40;
const BLOCK_SAME_RELATION: u8 = 0x80;
const IMAGE_HAS_HOLE: u8 = 0x01;
const IMAGE_COMPRESSED: u8 = 0x04 | 0x08 | 0x10;

/// What begins every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes in the record, the header among them, page headers not.
    pub total_bytes: u32,
    /// The transaction that wrote it; 0 for none.
    pub xid: u32,
    /// Where the record before it begins.
    pub previous: Lsn,
    /// What kind of record, by the resource manager's own numbers, in the upper four bits.
    pub info: u8,
    /// Who wrote it.
    pub rmgr: Rmgr,
    /// CRC-32C over the record but for these four bytes.
    pub crc: u32,
}

impl RecordHeader {
    /// Reads the header that begins `bytes`; `None` if they are too few.
    #[inline]
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<RECORD_HEADER_SIZE_BYTES>()?;
        Some(Self {
            total_bytes: u32_at(bytes, 0)?,
            xid: u32_at(bytes, 4)?,
            previous: Lsn(u64_at(bytes, 8)?),
            info: bytes[16],
            rmgr: Rmgr(bytes[17]),
            crc: u32_at(bytes, 20)?,
        })
    }

    /// The kind of record alone, without the bits that WAL itself uses.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.info & 0xF0
    }

    /// Whether it ends its segment (`pg_switch_wal`): the rest of that is not WAL.
    #[inline]
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.rmgr == Rmgr::XLOG && self.kind() == 0x40
    }
}

/// A record, whole.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Where it begins.
    pub lsn: Lsn,
    /// Where the next may begin: its end, rounded up to 8 bytes; for a switch, the end of the segment.
    pub end_lsn: Lsn,
    /// The version that wrote it.
    pub version: MajorVersion,
    /// Its header.
    pub header: RecordHeader,
    /// All its bytes, the header among them.
    pub bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Whether the record's CRC holds.
    #[must_use]
    pub fn crc_holds(&self) -> bool {
        let Some((head, body)) = self.bytes.split_at_checked(RECORD_HEADER_SIZE_BYTES) else { return false };
        crc32c::crc32c_append(crc32c::crc32c(body), &head[..20]) == self.header.crc
    }

    /// Finds the record's parts.
    ///
    /// # Errors
    /// [`DecodeError`] if the parts do not fill the record, or lie outside of it.
    pub fn layout(&self) -> Result<Layout<'a>, DecodeError> {
        let body = self.bytes.get(RECORD_HEADER_SIZE_BYTES..).unwrap_or_default();
        Layout::find(body).ok_or(DecodeError { lsn: self.lsn, what: "parts of the record" })
    }

    /// What the record says, if it is of a kind that is decoded.
    ///
    /// # Errors
    /// [`DecodeError`] if its bytes are not what its kind has.
    pub fn content(&self) -> Result<Content<'a>, DecodeError> {
        Content::decode(self)
    }
}

/// Where a record's parts are.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    block_headers: &'a [u8],
    block_data: &'a [u8],
    /// The relation of the first block.
    pub(super) first: Option<RelationLocator>,
    /// The data that belongs to no block.
    pub main: &'a [u8],
    /// The top-level transaction, where a subtransaction's first record tells it.
    pub top_xid: Option<u32>,
}

/// A block that a record touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockReference<'a> {
    /// Its number within the record.
    pub id: u8,
    /// The relation.
    pub locator: RelationLocator,
    /// The fork.
    pub fork: Fork,
    /// The block within the fork.
    pub block: u32,
    /// Whether replay makes the page anew.
    pub initialises: bool,
    /// The page's image, without its hole, possibly compressed.
    pub image: Option<&'a [u8]>,
    /// Whether the image is compressed.
    pub image_compressed: bool,
    /// The data that belongs to the block.
    pub data: &'a [u8],
}

impl<'a> Layout<'a> {
    fn find(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let mut top_xid = None;
        let (mut first, mut previous) = (None, None);
        let mut block_bytes = 0;
        let mut headers_end = 0;
        let mut main_bytes = 0;
        // Every round takes a byte at least; a record of blocks alone ends when what is left is their data.
        while reader.rest().len() > block_bytes {
            match reader.u8()? {
                ID_MAIN_SHORT => {
                    main_bytes = usize::from(reader.u8()?);
                    break;
                }
                ID_MAIN_LONG => {
                    main_bytes = usize::try_from(reader.u32()?).ok()?;
                    break;
                }
                ID_ORIGIN => _ = reader.u16()?,
                ID_TOP_XID => top_xid = Some(reader.u32()?),
                id => {
                    let header = BlockHeader::read(id, &mut reader, previous)?;
                    previous = Some(header.locator);
                    first = first.or(previous);
                    block_bytes += header.image_bytes + header.data_bytes;
                    headers_end = body.len() - reader.rest().len();
                }
            }
        }
        let block_data = reader.take(block_bytes)?;
        let main = reader.take(main_bytes)?;
        let whole = reader.rest().is_empty();
        whole.then_some(Self { block_headers: &body[..headers_end], block_data, first, main, top_xid })
    }

    /// The blocks, in the record's order.
    pub fn blocks(&self) -> impl Iterator<Item = BlockReference<'a>> + use<'a> {
        let mut headers = Reader::new(self.block_headers);
        let mut data = Reader::new(self.block_data);
        let mut previous = None;
        std::iter::from_fn(move || {
            // What `find` has read once reads again: `None` is the end.
            let header = loop {
                match headers.u8()? {
                    ID_ORIGIN => _ = headers.u16()?,
                    ID_TOP_XID => _ = headers.u32()?,
                    id => break BlockHeader::read(id, &mut headers, previous)?,
                }
            };
            previous = Some(header.locator);
            let image = data.take(header.image_bytes)?;
            Some(BlockReference {
                id: header.id,
                locator: header.locator,
                fork: header.fork,
                block: header.block,
                initialises: header.flags & BLOCK_WILL_INIT != 0,
                image: (header.flags & BLOCK_HAS_IMAGE != 0).then_some(image),
                image_compressed: header.image_compressed,
                data: data.take(header.data_bytes)?,
            })
        })
    }
}

struct BlockHeader {
    id: u8,
    flags: u8,
    fork: Fork,
    locator: RelationLocator,
    block: u32,
    image_bytes: usize,
    image_compressed: bool,
    data_bytes: usize,
}

impl BlockHeader {
    /// Reads what follows the ID.
    fn read(id: u8, reader: &mut Reader<'_>, previous: Option<RelationLocator>) -> Option<Self> {
        if id > MAX_BLOCK_ID {
            return None;
        }
        let flags = reader.u8()?;
        let data_bytes = usize::from(reader.u16()?);
        let (mut image_bytes, mut image_compressed) = (0, false);
        if flags & BLOCK_HAS_IMAGE != 0 {
            image_bytes = usize::from(reader.u16()?);
            let _hole_offset = reader.u16()?;
            let image_flags = reader.u8()?;
            image_compressed = image_flags & IMAGE_COMPRESSED != 0;
            if image_compressed && image_flags & IMAGE_HAS_HOLE != 0 {
                let _hole_bytes = reader.u16()?;
            }
        }
        let locator = if flags & BLOCK_SAME_RELATION != 0 { previous? } else { read_locator(reader)? };
        let fork = Fork::from_number(flags & BLOCK_FORK_MASK)?;
        Some(Self {
            id,
            flags,
            fork,
            locator,
            block: reader.u32()?,
            image_bytes,
            image_compressed,
            data_bytes,
        })
    }
}

#[inline]
pub(super) fn read_locator(reader: &mut Reader<'_>) -> Option<RelationLocator> {
    let (tablespace, database, relfilenode) = (Oid(reader.u32()?), Oid(reader.u32()?), Oid(reader.u32()?));
    Some(RelationLocator { tablespace, database, relfilenode })
}
