//! The beginning and the end of a long text.

use std::collections::VecDeque;

/// So much of the beginning is kept, and so much of the end.
const HALF_BYTES: usize = 8 << 20;

/// The beginning and the end of a text that comes piece by piece.
#[derive(Debug, Default)]
pub(super) struct Kept {
    head: String,
    tail: VecDeque<String>,
    tail_bytes: usize,
    left_out: usize,
}

impl Kept {
    /// Takes in a piece: a line with its end, or a part of a very long one.
    pub(super) fn push(&mut self, piece: &str) {
        self.push_within(piece, HALF_BYTES);
    }

    fn push_within(&mut self, piece: &str, half: usize) {
        if self.tail.is_empty() && self.left_out == 0 && self.head.len() + piece.len() <= half {
            self.head.push_str(piece);
            return;
        }
        self.tail_bytes += piece.len();
        self.tail.push_back(piece.to_owned());
        while self.tail_bytes > half {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_bytes -= oldest.len();
            self.left_out += oldest.len();
        }
    }

    /// All of it, with a line where something is left out.
    pub(super) fn finish(self) -> String {
        let Self { mut head, tail, left_out, .. } = self;
        if left_out > 0 {
            head.push_str(&format!("[{left_out} bytes left out here]\n"));
        }
        tail.iter().for_each(|piece| head.push_str(piece));
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_long_text_is_left_out_and_told() {
        let mut kept = Kept::default();
        (0..9).for_each(|number| kept.push_within(&format!("{number}\n"), 6));
        assert_eq!(kept.finish(), "0\n1\n2\n[6 bytes left out here]\n6\n7\n8\n");
        let mut whole = Kept::default();
        (0..6).for_each(|number| whole.push_within(&format!("{number}\n"), 6));
        assert_eq!(whole.finish(), "0\n1\n2\n3\n4\n5\n");
    }
}
