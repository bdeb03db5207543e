//! The two notations of a connection string, taken apart into keys and values.
//!
//! # Invariants
//! - No error shows a value: a misplaced quote or `@` can make a piece of the password look like
//!   something else. Errors name keys and byte positions only.
//! - Values live in [`Zeroizing`] memory from here on, as any of them may be the password.
//!
//! Deliberately absent: what the values mean (the parent module) and `dbname` holding another
//! connection string, which libpq allows and nobody expects.
//!
//! Source: PostgreSQL manual, "Connection Strings".

use super::ConninfoError;
use zeroize::Zeroizing;

/// A key as it was written, and its value.
pub(super) type Setting = (String, Zeroizing<String>);

/// Longest connection string that is looked at; a real one has a few hundred bytes.
const TEXT_LIMIT_BYTES: usize = 64 << 10;

/// Takes a connection string of either notation apart.
pub(super) fn parse(text: &str) -> Result<Vec<Setting>, ConninfoError> {
    if text.len() > TEXT_LIMIT_BYTES {
        return Err(ConninfoError::TooLong { bytes: text.len(), limit: TEXT_LIMIT_BYTES });
    }
    if text.contains('\0') {
        return Err(ConninfoError::Nul);
    }
    let uri = ["postgresql://", "postgres://"].iter().find_map(|scheme| text.trim().strip_prefix(scheme));
    match uri {
        Some(rest) => parse_uri(rest),
        None => parse_pairs(text),
    }
}

fn parse_pairs(text: &str) -> Result<Vec<Setting>, ConninfoError> {
    let mut settings = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let position = text.len() - rest.len();
        let end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (key, tail) = rest.split_at(end);
        let tail = tail.trim_start().strip_prefix('=').ok_or(ConninfoError::NoEquals { position })?;
        if key.is_empty() {
            return Err(ConninfoError::NoKey { position });
        }
        let (value, tail) = take_value(tail.trim_start(), key)?;
        settings.push((key.to_owned(), value));
        rest = tail.trim_start();
    }
    Ok(settings)
}

/// Reads one value, quoted or bare, and returns what follows it.
fn take_value<'a>(text: &'a str, key: &str) -> Result<(Zeroizing<String>, &'a str), ConninfoError> {
    let quoted = text.starts_with('\'');
    let body = if quoted { &text[1..] } else { text };
    let mut value = Zeroizing::new(String::with_capacity(body.len()));
    let mut chars = body.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            // A lone backslash at the end of a bare value stands for nothing, as in libpq.
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &body[index + 1..])),
            c if !quoted && c.is_ascii_whitespace() => return Ok((value, &body[index..])),
            c => value.push(c),
        }
    }
    if quoted { Err(ConninfoError::OpenQuote { key: key.to_owned() }) } else { Ok((value, "")) }
}

fn parse_uri(rest: &str) -> Result<Vec<Setting>, ConninfoError> {
    let mut settings = Vec::new();
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
    let (authority, database) = rest.split_once('/').map_or((rest, ""), |(hosts, name)| (hosts, name));
    let (user_part, hosts) =
        authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    // More than one `@` means an unescaped one, in the password as like as not.
    if user_part.contains('@') || database.contains('@') {
        return Err(ConninfoError::UriAt);
    }
    let (user, password) = user_part.split_once(':').map_or((user_part, ""), |(user, word)| (user, word));
    push_decoded(&mut settings, "user", user)?;
    push_decoded(&mut settings, "password", password)?;

    let mut names = Vec::new();
    let mut ports = Vec::new();
    for host in hosts.split(',') {
        let (name, port) = split_host(host)?;
        names.push(decode("host", name)?.to_string());
        ports.push(port);
    }
    push(&mut settings, "host", names.join(","), names.iter().all(String::is_empty));
    push(&mut settings, "port", ports.join(","), ports.iter().all(|port| port.is_empty()));
    push_decoded(&mut settings, "dbname", database)?;

    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(ConninfoError::UriQuery)?;
        let key = decode("query", key)?.to_string();
        let value = decode(&key, value)?;
        // JDBC's spelling, which libpq takes too.
        match (key.as_str(), value.as_str()) {
            ("ssl", "true") => settings.push(("sslmode".to_owned(), Zeroizing::new("require".to_owned()))),
            _ => settings.push((key, value)),
        }
    }
    Ok(settings)
}

/// Splits `name:port`, `[::1]:port` and both without a port.
fn split_host(text: &str) -> Result<(&str, &str), ConninfoError> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, tail) = bracketed.split_once(']').ok_or(ConninfoError::UriBracket)?;
        return match tail.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if tail.is_empty() => Ok((address, "")),
            None => Err(ConninfoError::UriBracket),
        };
    }
    Ok(text.split_once(':').unwrap_or((text, "")))
}

fn push(settings: &mut Vec<Setting>, key: &str, value: String, absent: bool) {
    if !absent {
        settings.push((key.to_owned(), Zeroizing::new(value)));
    }
}

fn push_decoded(settings: &mut Vec<Setting>, key: &str, text: &str) -> Result<(), ConninfoError> {
    if !text.is_empty() {
        settings.push((key.to_owned(), decode(key, text)?));
    }
    Ok(())
}

/// Undoes percent-encoding.
fn decode(key: &str, text: &str) -> Result<Zeroizing<String>, ConninfoError> {
    let bad = || ConninfoError::Percent { key: key.to_owned() };
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or_else(bad)?;
        let mut value = [0];
        hex::decode_to_slice(digits, &mut value).map_err(|_| bad())?;
        if value == [0] {
            return Err(ConninfoError::Nul);
        }
        bytes.push(value[0]);
        rest = tail;
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| bad())?;
    Ok(Zeroizing::new(text.to_owned()))
}
