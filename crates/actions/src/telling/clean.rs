//! Bytes of any program as text that cannot act on a terminal.
//!
//! What is no UTF-8 is shown as such; escape sequences and control characters go; a carriage return ends a line, as
//! progress bars write them. A new line ends every escape sequence, so that a broken one hides nothing behind it.

/// Where in the stream it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence, until its final byte.
    Control,
    /// In a string for the terminal (a title, a link), until BEL or ESC `\`.
    Words,
}

/// Makes text of bytes, wherever they are cut.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    /// The beginning of a character.
    pending: Vec<u8>,
    at: At,
    was_return: bool,
}

impl Cleaner {
    /// Takes in bytes, appends what is safe of them.
    pub(super) fn push(&mut self, bytes: &[u8], to: &mut String) {
        let mut bytes = match self.pending.is_empty() {
            true => bytes.to_vec(),
            false => [std::mem::take(&mut self.pending).as_slice(), bytes].concat(),
        };
        let cut = whole_characters(&bytes);
        self.pending = bytes.split_off(cut);
        self.text(&String::from_utf8_lossy(&bytes), to);
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self, to: &mut String) {
        let left = std::mem::take(&mut self.pending);
        self.text(&String::from_utf8_lossy(&left), to);
    }

    fn text(&mut self, text: &str, to: &mut String) {
        for c in text.chars() {
            self.character(c, to);
        }
    }

    fn character(&mut self, c: char, to: &mut String) {
        let was_return = std::mem::take(&mut self.was_return);
        match (self.at, c) {
            (_, '\n') => {
                self.at = At::Text;
                if !was_return {
                    to.push('\n');
                }
            }
            (At::Text, '\r') => {
                self.was_return = true;
                to.push('\n');
            }
            (_, '\u{1b}') => self.at = At::Escape,
            (At::Text, '\u{9b}') | (At::Escape, '[') => self.at = At::Control,
            (At::Escape, ']' | 'P' | 'X' | '^' | '_') => self.at = At::Words,
            // Intermediate characters, before the one that ends it.
            (At::Escape, ' '..='/') => {}
            (At::Control, '\u{40}'..='\u{7e}') | (At::Words, '\u{7}') | (At::Escape, _) => self.at = At::Text,
            (At::Control | At::Words, _) => {}
            (At::Text, '\t') => to.push('\t'),
            (At::Text, c) if c.is_control() || turns_text_around(c) => {}
            (At::Text, c) => to.push(c),
        }
    }
}

/// Characters that make a line read otherwise than it is written.
fn turns_text_around(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Before a character whose end is still to come, if there is one.
fn whole_characters(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    for at in (from..bytes.len()).rev() {
        let length = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return if at + length > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}
