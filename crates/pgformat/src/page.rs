//! Data pages: their header and their checksum.
//!
//! The checksum is PostgreSQL's own: 32 lanes of an FNV-1a relative over the page as 32-bit words, folded
//! together and mixed with the block number, so that a page in the wrong place is noticed too. The lanes
//! are independent and held in an array, which compilers turn into vector instructions.
//!
//! # Invariants
//! - A page is 8 KiB; its length is in the type ([`Page`]).
//! - Block numbers count within the relation's fork, across its files.
//!
//! Format: `storage/bufpage.h` and `storage/checksum_impl.h`.

use crate::bytes::{u16_at, u32_at};
use lifeboat_base::Lsn;

/// Bytes in a data page.
pub const PAGE_SIZE_BYTES: usize = 8192;

/// A data page.
pub type Page = [u8; PAGE_SIZE_BYTES];

/// Bytes in a page's header.
const HEADER_SIZE_BYTES: u16 = 24;
/// The page layout of PostgreSQL 8.3 to today.
const LAYOUT_VERSION: u16 = 4;
/// Header flags that have a meaning.
const KNOWN_FLAGS: u16 = 0x0007;

/// What begins a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// The end of the WAL record that changed the page last.
    pub lsn: Lsn,
    /// The stored checksum; 0 where there is none.
    pub checksum: u16,
    /// Flags.
    pub flags: u16,
    /// Where free space begins.
    pub lower: u16,
    /// Where free space ends; zero on a page that was never initialised.
    pub upper: u16,
    /// Where the access method's own part begins.
    pub special: u16,
    /// Page size and layout version in one number.
    pub size_and_version: u16,
}

impl PageHeader {
    /// Reads the header of `page`.
    #[must_use]
    pub fn decode(page: &Page) -> Self {
        // The offsets are within the page's type: the defaults never show.
        let u16_at = |offset| u16_at(page, offset).unwrap_or_default();
        let u32_at = |offset| u64::from(u32_at(page, offset).unwrap_or_default());
        Self {
            // The halves are stored high first, each in the machine's order.
            lsn: Lsn(u32_at(0) << 32 | u32_at(4)),
            checksum: u16_at(8),
            flags: u16_at(10),
            lower: u16_at(12),
            upper: u16_at(14),
            special: u16_at(16),
            size_and_version: u16_at(18),
        }
    }

    /// Whether PostgreSQL would take the header for an initialised page's. All there is to check where
    /// a cluster has no checksums.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let size = PAGE_SIZE_BYTES as u16;
        self.flags & !KNOWN_FLAGS == 0
            && self.size_and_version == size | LAYOUT_VERSION
            && (HEADER_SIZE_BYTES..=self.upper).contains(&self.lower)
            && self.upper <= self.special
            && self.special <= size
            && self.special.is_multiple_of(8)
    }
}

/// What a look at a page's checksum found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// All zeros: the relation was extended and the page not written yet. Valid.
    Zero,
    /// The checksum holds.
    Good,
    /// The checksum does not hold: damage, a torn read, or a page that belongs elsewhere.
    Damaged {
        /// What the page's bytes give.
        expected: u16,
        /// What the page has stored.
        found: u16,
    },
}

/// Checks the page that is block `block` of its relation's fork, in a cluster with checksums.
///
/// A page that says it is new but holds other bytes than zeros is damaged, as it is to PostgreSQL.
#[must_use]
pub fn verify(page: &Page, block: u32) -> PageState {
    let header = PageHeader::decode(page);
    if header.upper == 0 && is_zero(page) {
        return PageState::Zero;
    }
    let expected = checksum(page, block);
    if header.upper != 0 && header.checksum == expected {
        PageState::Good
    } else {
        PageState::Damaged { expected, found: header.checksum }
    }
}

/// Whether the page holds nothing but zeros.
#[must_use]
pub fn is_zero(page: &Page) -> bool {
    // Folding a chunk at a time vectorises; leaving early at the first used one is what keeps it cheap.
    page.chunks_exact(256).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

const LANES: usize = 32;
const ROW_BYTES: usize = LANES * 4;
const FNV_PRIME: u32 = 16_777_619;
/// Where each lane starts: chosen at random once, by PostgreSQL.
const LANE_SEEDS: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// The checksum of `page` as block `block` of its relation's fork. Never 0. The stored one is not read.
#[must_use]
pub fn checksum(page: &Page, block: u32) -> u16 {
    let mut lanes = LANE_SEEDS;
    let (rows, _) = page.as_chunks::<ROW_BYTES>();
    let mut first = rows[0];
    // The stored checksum counts as zero.
    first[8..10].fill(0);
    mix_row(&mut lanes, &first);
    for row in &rows[1..] {
        mix_row(&mut lanes, row);
    }
    // Two more rounds, over zeros, so that the last words reach every bit.
    mix_row(&mut lanes, &[0; ROW_BYTES]);
    mix_row(&mut lanes, &[0; ROW_BYTES]);
    let folded = lanes.iter().fold(block, |all, lane| all ^ lane);
    // The remainder is below 65535: adding one fits, and keeps 0 for "no checksum".
    (folded % 65_535) as u16 + 1
}

#[inline(always)]
fn mix_row(lanes: &mut [u32; LANES], row: &[u8; ROW_BYTES]) {
    let (words, _) = row.as_chunks::<4>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        let mixed = *lane ^ u32::from_le_bytes(*word);
        *lane = mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty heap page, as `PageInit` leaves it.
    fn empty_page() -> Page {
        let mut page = [0; PAGE_SIZE_BYTES];
        page[0..8].copy_from_slice(&[0x16, 0, 0, 0, 0x48, 0xD8, 0x74, 0xB3]);
        page[12..20].copy_from_slice(&[24, 0, 0, 0x20, 0, 0x20, 4, 0x20]);
        page
    }

    fn sealed(block: u32) -> Page {
        let mut page = empty_page();
        let sum = checksum(&page, block);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        page
    }

    #[test]
    fn header_reads() {
        let header = PageHeader::decode(&empty_page());
        assert_eq!(header.lsn.to_string(), "16/B374D848");
        assert_eq!((header.lower, header.upper, header.special), (24, 8192, 8192));
        assert!(header.is_plausible());
        assert!(!PageHeader::decode(&[0xFF; PAGE_SIZE_BYTES]).is_plausible());
    }

    #[test]
    fn a_sealed_page_is_good_in_its_place_only() {
        let page = sealed(7);
        assert_eq!(verify(&page, 7), PageState::Good);
        assert!(matches!(verify(&page, 8), PageState::Damaged { .. }));
    }

    #[test]
    fn any_flipped_bit_is_damage() {
        let good = sealed(131_072);
        for bit in (0..PAGE_SIZE_BYTES * 8).step_by(61) {
            let mut page = good;
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(verify(&page, 131_072), PageState::Damaged { .. }), "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_new_and_almost_zeros_are_damage() {
        let mut page = [0; PAGE_SIZE_BYTES];
        assert_eq!(verify(&page, 0), PageState::Zero);
        page[8191] = 1;
        assert!(matches!(verify(&page, 0), PageState::Damaged { .. }));
    }
}
