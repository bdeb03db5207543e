//! Which pages of a file a delta layer must tell of. Pure.

use lifeboat_pgformat::PAGE_SIZE_BYTES;
use lifeboat_vault::layer::FRAME_BYTES;
use std::ops::Range;

const FRAME_PAGES: u32 = (FRAME_BYTES / PAGE_SIZE_BYTES) as u32;

/// A frame of which something is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its first byte in the file.
    pub(super) begin: u64,
    /// The pages to read, lowest bit first.
    pub(super) pages: u32,
    /// Those of them below which the older point's would show: being zero is to be told.
    pub(super) covering: u32,
}

/// Whether replay may change what lies at `path`: nothing at the top of the data directory is (A2).
pub(super) fn is_of_wal(path: &str) -> bool {
    path.contains('/')
}

/// The frames of a file of `length` bytes: of its pages before `base` those that are `own`, and all from there on.
pub(super) fn frames_of(length: u64, base: u32, own: &[Range<u32>]) -> Vec<Frame> {
    let pages = u32::try_from(length.div_ceil(PAGE_SIZE_BYTES as u64)).unwrap_or(u32::MAX);
    let base = base.min(pages);
    let before = own.iter().map(|run| (run.start..run.end.min(base), true));
    let mut frames: Vec<Frame> = Vec::new();
    for (run, is_covering) in before.chain([(base..pages, false)]) {
        for page in run {
            let begin = u64::from(page - page % FRAME_PAGES) * PAGE_SIZE_BYTES as u64;
            if frames.last().is_none_or(|last| last.begin != begin) {
                frames.push(Frame { begin, pages: 0, covering: 0 });
            }
            let Some(frame) = frames.last_mut() else { continue };
            frame.pages |= 1 << (page % FRAME_PAGES);
            if is_covering {
                frame.covering |= 1 << (page % FRAME_PAGES);
            }
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_and_what_came_after_the_cut_is_read() {
        let page = PAGE_SIZE_BYTES as u64;
        let frame = |number: u64, pages, covering| Frame { begin: number * 16 * page, pages, covering };
        assert_eq!(frames_of(40 * page, 40, &[]), []);
        assert_eq!(frames_of(40 * page, 40, &[1..3, 17..18]), [frame(0, 0b110, 0b110), frame(1, 2, 2)]);
        // Cut to five pages, of which one was written, and grown to seven.
        let written = |run: Range<u32>| vec![run];
        assert_eq!(frames_of(7 * page, 5, &written(2..3)), [frame(0, 0b110_0100, 0b100)]);
        // Cut, and so short now: what was written behind the cut is gone.
        assert_eq!(frames_of(3 * page, 20, &written(2..20)), [frame(0, 0b100, 0b100)]);
        assert_eq!(frames_of(100, 0, &[]), [frame(0, 1, 0)]);
        assert_eq!(frames_of(0, 0, &[]), []);
    }

    #[test]
    fn a2_the_top_of_the_data_directory_is_none_of_replays() {
        assert!(is_of_wal("base/5/1") && is_of_wal("pg_xact/0000"));
        assert!(!is_of_wal("postgresql.conf") && !is_of_wal("base"));
    }
}
