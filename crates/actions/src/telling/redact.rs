//! Takes secrets out of text: by their value, and by how secrets are written.
//!
//! A value is found as it is, as JSON and a shell quote it, with any of it percent-encoded, in hexadecimal, and inside
//! base64 at any place of it. Of a value with several lines each line is looked for, so that text can be let go line by
//! line. What nobody declared is found by its form ([`super::patterns`]).
//!
//! # Invariants
//! - **E1 none by value.** No text that leaves here holds a line of a known secret that has at least
//!   [`SHORTEST_CHARS`] characters, however it came in pieces.
//! - **E2 never the wrong way.** In doubt text is taken out, not left.
//!
//! Deliberately absent: secrets that a command itself changes (reversed, compressed, wrapped by `base64` over lines).

use super::{clean::Cleaner, patterns};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::ops::Range;
use std::sync::Arc;

/// A shorter text cannot be told from others, and cannot be kept secret here.
pub(crate) const SHORTEST_CHARS: usize = 4;
/// What stands for a secret.
pub(super) const MARK: &str = "[redacted]";
/// A line that is longer is let go in parts.
const LINE_BYTES: usize = 128 << 10;
/// So much before and behind a place decides what stands there.
const CONTEXT_BYTES: usize = 512;
/// A private key has fewer lines.
const KEY_LINES: usize = 400;

/// A text that is looked for.
#[derive(Debug, PartialEq, Eq)]
struct Needle {
    text: String,
    /// What is around it belongs to it.
    is_base64: bool,
}

/// Knows what must not be told.
#[derive(Default)]
pub(crate) struct Redactor {
    needles: Vec<Needle>,
    /// By the first byte.
    first: Vec<Vec<usize>>,
    longest: usize,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("needles", &self.needles.len()).finish_non_exhaustive()
    }
}

impl Redactor {
    /// With the values of secrets.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut redactor = Self { first: vec![Vec::new(); 256], ..Self::default() };
        for secret in secrets {
            redactor.add(secret);
        }
        redactor
    }

    fn add(&mut self, secret: &str) {
        let mut shown = String::new();
        let mut cleaner = Cleaner::default();
        cleaner.push(secret.as_bytes(), &mut shown);
        cleaner.finish(&mut shown);
        for line in shown.lines().map(str::trim).filter(|line| line.chars().count() >= SHORTEST_CHARS) {
            let quoted = serde_json::Value::from(line).to_string();
            self.needle(&quoted[1..quoted.len() - 1], false);
            self.needle(&line.replace('\'', r"'\''"), false);
            self.needle(line, false);
            self.encoded(line.as_bytes());
        }
        self.encoded(secret.as_bytes());
    }

    fn encoded(&mut self, bytes: &[u8]) {
        if bytes.len() < SHORTEST_CHARS {
            return;
        }
        let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.needle(&hexadecimal.to_uppercase(), false);
        self.needle(&hexadecimal, false);
        // Wherever in a longer text it begins: the characters that depend on its neighbours are left out.
        for (before, skip) in [(0, 0), (1, 2), (2, 3)] {
            let padded = [&vec![0; before], bytes].concat();
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let text = engine.encode(&padded);
                let end = text.len() - usize::from(padded.len() % 3 != 0);
                self.needle(&text[skip..end.max(skip)], true);
            }
        }
    }

    fn needle(&mut self, text: &str, is_base64: bool) {
        let needle = Needle { text: text.to_owned(), is_base64 };
        let Some(first) = text.bytes().next() else { return };
        if text.len() >= SHORTEST_CHARS && !self.needles.contains(&needle) {
            self.first[usize::from(first)].push(self.needles.len());
            self.longest = self.longest.max(text.len());
            self.needles.push(needle);
        }
    }

    /// The text without them.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut key = KeyBlock::default();
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
            out.push_str(&without(line, &self.spans(line, &mut key)));
            out.push_str(end);
        }
        out
    }

    /// Whether there is one in it.
    pub(crate) fn finds(&self, text: &str) -> bool {
        self.text(text) != text
    }

    /// Where in a line they stand, in order, apart from each other.
    fn spans(&self, line: &str, key: &mut KeyBlock) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        self.values(line, &mut spans);
        if line.contains(['%', '+']) {
            let (decoded, places) = percent_decoded(line);
            let mut found = Vec::new();
            self.values_in(&decoded, &mut found);
            spans.extend(found.into_iter().map(|span| places[span.start]..places[span.end]));
        }
        patterns::spans(line, &mut spans);
        spans.extend(key.span(line));
        merged(spans, line)
    }

    fn values(&self, line: &str, spans: &mut Vec<Range<usize>>) {
        self.values_in(line.as_bytes(), spans);
    }

    fn values_in(&self, line: &[u8], spans: &mut Vec<Range<usize>>) {
        for (at, byte) in line.iter().enumerate() {
            let Some(bucket) = self.first.get(usize::from(*byte)) else { return };
            for needle in bucket.iter().map(|index| &self.needles[*index]) {
                if line[at..].starts_with(needle.text.as_bytes()) {
                    spans.push(match needle.is_base64 {
                        true => run_of_base64(line, at..at + needle.text.len()),
                        false => at..at + needle.text.len(),
                    });
                }
            }
        }
    }
}

fn run_of_base64(line: &[u8], of: Range<usize>) -> Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    let before = line[..of.start].iter().rev().take_while(|byte| is_part(byte)).count();
    let behind = line[of.end..].iter().take_while(|byte| is_part(byte)).count();
    of.start - before..of.end + behind
}

/// The bytes that a line stands for, and where in it each begins; one more for the end.
fn percent_decoded(line: &str) -> (Vec<u8>, Vec<usize>) {
    let bytes = line.as_bytes();
    let (mut decoded, mut places) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        places.push(at);
        let digits = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match byte {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    places.push(bytes.len());
    (decoded, places)
}

fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn boundary_behind(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

fn merged(mut spans: Vec<Range<usize>>, line: &str) -> Vec<Range<usize>> {
    spans.sort_unstable_by_key(|span| span.start);
    let mut apart: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        let span = boundary_before(line, span.start)..boundary_behind(line, span.end);
        match apart.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => apart.push(span),
        }
    }
    apart
}

fn without(line: &str, spans: &[Range<usize>]) -> String {
    let (mut out, mut at) = (String::with_capacity(line.len()), 0);
    for span in spans {
        out.push_str(&line[at..span.start]);
        out.push_str(MARK);
        at = span.end;
    }
    out.push_str(&line[at..]);
    out
}

/// Inside a private key, which has many lines.
#[derive(Debug, Default)]
struct KeyBlock {
    lines_left: usize,
}

impl KeyBlock {
    fn span(&mut self, line: &str) -> Option<Range<usize>> {
        let begins = line.find("-----BEGIN").filter(|at| line[*at..].contains("PRIVATE KEY"));
        let start = match (self.lines_left, begins) {
            (0, None) => return None,
            (0, Some(at)) => at,
            (_, _) => 0,
        };
        self.lines_left = self.lines_left.saturating_sub(1);
        if begins.is_some() {
            self.lines_left = KEY_LINES;
        }
        let Some(end) = line[start..].find("-----END") else { return Some(start..line.len()) };
        self.lines_left = 0;
        let behind = start + end + "-----END".len();
        let dashes = line[behind..].find("-----").map_or(line.len(), |at| behind + at + 5);
        Some(start..dashes)
    }
}

/// Takes secrets out of text that comes piece by piece, and lets it go line by line.
#[derive(Debug)]
pub(super) struct Stream {
    redactor: Arc<Redactor>,
    line: String,
    key: KeyBlock,
    /// A very long line was cut within a secret, which goes on.
    is_inside: bool,
}

impl Stream {
    /// At the beginning.
    pub(super) fn new(redactor: Arc<Redactor>) -> Self {
        Self { redactor, line: String::new(), key: KeyBlock::default(), is_inside: false }
    }

    /// Takes text in, and lets go what is whole.
    pub(super) fn push(&mut self, text: &str, out: &mut dyn FnMut(&str)) {
        for part in text.split_inclusive('\n') {
            self.line.push_str(part);
            if part.ends_with('\n') {
                self.line.pop();
                self.end_line("\n", out);
            } else if self.line.len() > LINE_BYTES {
                self.cut_line(out);
            }
        }
    }

    /// Lets go what is left.
    pub(super) fn finish(&mut self, out: &mut dyn FnMut(&str)) {
        if !self.line.is_empty() {
            self.end_line("\n", out);
        }
    }

    fn end_line(&mut self, end: &str, out: &mut dyn FnMut(&str)) {
        self.swallow();
        let line = std::mem::take(&mut self.line);
        self.is_inside = false;
        let spans = self.redactor.spans(&line, &mut self.key);
        out(&(without(&line, &spans) + end));
    }

    /// Lets go of a very long line what nothing that follows can change.
    fn cut_line(&mut self, out: &mut dyn FnMut(&str)) {
        self.swallow();
        // A key that begins here is found again when the line has ended.
        let mut key = KeyBlock { lines_left: self.key.lines_left };
        let spans = self.redactor.spans(&self.line, &mut key);
        // Each byte of a secret may be written as three.
        let hold = 3 * self.redactor.longest + CONTEXT_BYTES;
        let mut cut = self.line.len().saturating_sub(hold);
        for span in spans.iter().rev() {
            if span.end + CONTEXT_BYTES > cut && span.start < cut + CONTEXT_BYTES {
                cut = cut.min(span.start.saturating_sub(CONTEXT_BYTES));
            }
        }
        cut = boundary_before(&self.line, cut);
        if cut > 0 {
            let before: Vec<Range<usize>> = spans.into_iter().take_while(|span| span.end <= cut).collect();
            out(&without(&self.line[..cut], &before));
            self.line.drain(..cut);
        } else if self.line.len() > LINE_BYTES + 2 * hold {
            // All of it may be one secret.
            out(MARK);
            self.key = key;
            self.line.clear();
            self.is_inside = true;
        }
    }

    /// What is left of a secret in which a line was cut.
    fn swallow(&mut self) {
        if !self.is_inside {
            return;
        }
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '&' | ';' | ',');
        match self.line.find(ends) {
            Some(at) => {
                self.line.drain(..at);
                self.is_inside = false;
            }
            None => self.line.clear(),
        }
    }
}
