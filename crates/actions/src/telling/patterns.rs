//! Secrets that nobody declared, told by how they are written.
//!
//! Looked for on one line: what follows a name that speaks of a secret (`password=`, `--token `, `"secret": "`,
//! `PASSWORD '…'`), credentials in headers and URLs, and keys that are known by their beginning.

use std::ops::Range;

/// Parts of a name that say that its value is secret; without `_`, `-` and `.`.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pgpass",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "sessionkey",
    "authkey",
    "sshpass",
];
/// Headers whose whole value is secret.
const HEADERS: [&str; 5] = ["authorization", "proxy-authorization", "x-api-key", "cookie", "set-cookie"];
/// Beginnings of keys, and how many characters follow at least.
const PREFIXES: [(&str, usize); 12] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("sk_live_", 16),
    ("AGE-SECRET-KEY-", 20),
    ("eyJ", 30),
];
/// A shorter word after `Bearer` is one.
const TOKEN_CHARS: usize = 8;

/// Appends where they stand.
pub(super) fn spans(line: &str, spans: &mut Vec<Range<usize>>) {
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !is_word(bytes[at]) {
            if bytes[at..].starts_with(b"://") {
                spans.extend(user_info(bytes, at + 3));
            }
            at += 1;
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
        let word = &line[at..end];
        let lower = word.to_ascii_lowercase();
        if HEADERS.contains(&lower.as_str()) {
            spans.extend(header(bytes, end));
        } else if lower == "bearer" {
            spans.extend(token(bytes, end));
        } else if lower.len() <= NAME_BYTES && is_secret_name(&lower) {
            spans.extend(assigned(bytes, end, bytes[at] == b'-'));
        }
        for (prefix, least) in PREFIXES {
            // Behind another word's end, too: `key=AKIA…` is one word for some tools.
            for (found, _) in word.match_indices(prefix).filter(|_| word.len() >= prefix.len() + least) {
                let length = bytes[at + found..].iter().take_while(|byte| is_token(**byte)).count();
                if length >= prefix.len() + least {
                    spans.push(at + found..at + found + length);
                }
            }
        }
        at = end;
    }
}

/// No name is longer.
const NAME_BYTES: usize = 200;

fn is_secret_name(lower: &str) -> bool {
    let plain: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
    NAMES.iter().any(|name| plain.contains(name))
}

/// Whether an environment variable of that name holds a secret, as far as its name tells; not where one lies, nor the
/// working directory.
pub(crate) fn names_a_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_place = ["file", "path", "dir", "sock"].iter().any(|end| lower.ends_with(end));
    !is_place && !matches!(lower.as_str(), "pwd" | "oldpwd") && is_secret_name(&lower)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'=' | b'~')
}

fn blanks(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// `name=value`, `name: value`, `"name": "value"`, `name 'value'`; for an option also `--name value`.
fn assigned(bytes: &[u8], end: usize, is_option: bool) -> Option<Range<usize>> {
    let mut at = end;
    // The quote that ends a name, perhaps escaped.
    while matches!(bytes.get(at), Some(b'"' | b'\'' | b'\\' | b']')) {
        at += 1;
    }
    let after_name = at;
    at = blanks(bytes, at);
    let mut has_sign = false;
    while matches!(bytes.get(at), Some(b'=' | b':' | b'>')) && at < after_name + 8 {
        at += 1;
        has_sign = true;
    }
    at = blanks(bytes, at);
    let is_quoted = matches!(bytes.get(at), Some(b'"' | b'\'' | b'\\'));
    if !(has_sign || is_quoted || (is_option && at > after_name)) {
        return None;
    }
    let mut quote = None;
    while let Some(byte @ (b'"' | b'\'' | b'\\')) = bytes.get(at) {
        quote = Some(*byte).filter(|byte| *byte != b'\\').or(quote);
        at += 1;
    }
    let ends = |byte: &u8| match quote {
        Some(quote) => *byte == quote,
        None => byte.is_ascii_whitespace() || matches!(byte, b'&' | b';' | b'"' | b'\'' | b'`'),
    };
    let length = bytes[at..].iter().take_while(|byte| !ends(byte)).count();
    (length > 0).then_some(at..at + length)
}

fn header(bytes: &[u8], end: usize) -> Option<Range<usize>> {
    let mut at = end;
    while matches!(bytes.get(at), Some(b'"' | b'\'' | b' ')) {
        at += 1;
    }
    if !matches!(bytes.get(at), Some(b':' | b'=')) {
        return None;
    }
    at = blanks(bytes, at + 1);
    (at < bytes.len()).then_some(at..bytes.len())
}

fn token(bytes: &[u8], end: usize) -> Option<Range<usize>> {
    let at = blanks(bytes, end);
    let length = bytes[at..].iter().take_while(|byte| is_token(**byte)).count();
    (at > end && length >= TOKEN_CHARS).then_some(at..at + length)
}

/// The password in `scheme://user:password@host`.
fn user_info(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = &bytes[from..];
    let authority = rest.iter().take_while(|byte| !byte.is_ascii_whitespace() && **byte != b'"').count();
    // A password may itself hold what ends an authority.
    let at = rest[..authority].iter().rposition(|byte| *byte == b'@')?;
    let colon = rest[..at].iter().position(|byte| *byte == b':')?;
    let port = rest[colon + 1..at].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_port = port > 0 && rest.get(colon + 1 + port) == Some(&b'/');
    (!is_port && colon + 1 < at).then_some(from + colon + 1..from + at)
}
