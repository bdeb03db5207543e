//! Looks at every page on its way in.

use lifeboat_base::Lsn;
use lifeboat_pgformat::{PAGE_SIZE_BYTES, PageHeader, PageState, RelationFile, verify};

/// A page whose checksum does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspect {
    /// Byte of the page within its file.
    pub(super) offset: u64,
    /// Block within the relation's fork.
    pub(super) block: u32,
    /// Its LSN, if the header makes sense: only then may it be a page that was written while we read it.
    pub(super) lsn: Option<Lsn>,
}

/// The pages of `raw` (bytes of `relation` from `begin` on) that do not verify.
pub(crate) fn suspects(relation: &RelationFile, begin: u64, raw: &[u8]) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    for (index, page) in raw.as_chunks::<PAGE_SIZE_BYTES>().0.iter().enumerate() {
        let offset = begin + (index * PAGE_SIZE_BYTES) as u64;
        let Some(block) = relation.block_at(offset) else { continue };
        if matches!(verify(page, block), PageState::Damaged { .. }) {
            let header = PageHeader::decode(page);
            suspects.push(Suspect { offset, block, lsn: header.is_plausible().then_some(header.lsn) });
        }
    }
    suspects
}

/// Whether all bytes are zero: such a frame costs nothing to store.
pub(crate) fn is_zero(raw: &[u8]) -> bool {
    raw.chunks(256).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}
