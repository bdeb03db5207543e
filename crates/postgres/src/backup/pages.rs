//! Looks at every page on its way in.

use lifeboat_base::Lsn;
use lifeboat_pgformat::{PAGE_SIZE_BYTES, PageHeader, PageState, RelationFile, verify};

/// A page whose checksum does not hold and that WAL will not mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspect {
    /// Byte of the page within its file.
    pub(super) offset: u64,
    /// Block within the relation's fork.
    pub(super) block: u32,
}

/// The pages of `raw` (bytes of `relation` from `begin` on) that do not verify.
///
/// A page newer than the backup's start was written while it was read: it may be torn, and WAL holds a
/// whole image of it.
pub(super) fn suspects(relation: &RelationFile, begin: u64, raw: &[u8], start: Lsn) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    for (index, page) in raw.as_chunks::<PAGE_SIZE_BYTES>().0.iter().enumerate() {
        let offset = begin + (index * PAGE_SIZE_BYTES) as u64;
        let Some(block) = relation.block_at(offset) else { continue };
        let damaged = matches!(verify(page, block), PageState::Damaged { .. });
        if damaged && !is_newer(&PageHeader::decode(page), start) {
            suspects.push(Suspect { offset, block });
        }
    }
    suspects
}

/// A header that makes no sense is damage, whatever its LSN says.
fn is_newer(header: &PageHeader, start: Lsn) -> bool {
    header.is_plausible() && header.lsn >= start
}

/// Whether all bytes are zero: such a frame costs nothing to store.
pub(super) fn is_zero(raw: &[u8]) -> bool {
    raw.chunks(256).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}
