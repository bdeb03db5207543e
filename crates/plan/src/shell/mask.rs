//! Placeholders in angle brackets, which a shell would read as redirections.

/// Stand-ins of one character each, from the private use area, so that columns stay true.
const STAND_INS: [(char, char); 5] =
    [('<', '\u{e000}'), ('>', '\u{e001}'), (' ', '\u{e002}'), ('|', '\u{e003}'), ('\'', '\u{e004}')];
/// A placeholder is a few words.
const MAX_CHARS: usize = 60;

/// The length in bytes of the placeholder that `text` begins with: `<pod-name>`.
pub(crate) fn placeholder(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('<')?;
    if !inner.starts_with(char::is_alphabetic) {
        return None;
    }
    let goes_on = |c: char| c.is_alphanumeric() || "_-. /:|,'".contains(c);
    let end = inner.char_indices().take(MAX_CHARS).find(|(_, c)| !goes_on(*c))?;
    let behind = inner.get(end.0 + 1..)?;
    let closed = end.1 == '>' && !inner[..end.0].ends_with(' ');
    // `<in>out` is two redirections.
    (closed && !behind.starts_with(|c: char| c.is_alphanumeric())).then_some(end.0 + 2)
}

/// The text with placeholders made into words.
pub(super) fn hide(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if out.ends_with('<') { None } else { placeholder(rest) };
        match length {
            Some(length) => {
                out.extend(rest[..length].chars().map(|c| swap(c, |(plain, hidden)| (plain, hidden))));
                rest = &rest[length..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// The text as it was written.
pub(super) fn show(text: &str) -> String {
    text.chars().map(|c| swap(c, |(plain, hidden)| (hidden, plain))).collect()
}

fn swap(c: char, way: impl Fn((char, char)) -> (char, char)) -> char {
    STAND_INS.iter().map(|pair| way(*pair)).find(|(from, _)| *from == c).map_or(c, |(_, to)| to)
}
