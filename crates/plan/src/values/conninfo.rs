//! Connection strings, checked as libpq would read them.
//!
//! # Invariants
//! - **N1 no secrets.** A string with a password in it is refused, and no error repeats a value.
//!
//! Deliberately absent: connecting, and defaults from the environment; those are the client's.
//!
//! Source: PostgreSQL manual, "Database Connection Control Functions", connection strings and the
//! key words of PostgreSQL 18.

use crate::finding::nearest;
use std::fmt;
use std::str::FromStr;

const MAX_BYTES: usize = 4096;

const KEYWORDS: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "passfile",
    "require_auth",
    "channel_binding",
    "connect_timeout",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "replication",
    "gssencmode",
    "sslmode",
    "sslnegotiation",
    "requiressl",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslkeylogfile",
    "sslcertmode",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "requirepeer",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "min_protocol_version",
    "max_protocol_version",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "service",
    "target_session_attrs",
    "load_balance_hosts",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_scope",
];

/// Key words whose values are secrets.
const SECRETS: [&str; 5] =
    ["password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"];

/// Where a server is and who asks: `host=db.internal user=lifeboat`, or a `postgresql://` URI.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo(String);

/// The text cannot be used as a connection string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseConninfoError {
    /// It holds a secret.
    #[error("the connection string holds a secret, `{0}`; a plan is kept in Git and read by many")]
    Secret(&'static str),
    /// A key word that libpq does not know.
    #[error("`{keyword}` is no key word of a connection string{}", suggestion(*nearest))]
    Keyword {
        /// What was written.
        keyword: String,
        /// What was meant, perhaps.
        nearest: Option<&'static str>,
    },
    /// No `=` after a key word.
    #[error("the connection string has no `=` after {0}")]
    NoValue(String),
    /// A quote without its end.
    #[error("the connection string has a quoted value that does not end")]
    Quote,
    /// It says nothing at all.
    #[error("the connection string is empty")]
    Empty,
    /// Longer than any that is meant.
    #[error("the connection string is longer than {MAX_BYTES} bytes")]
    Long,
    /// Port out of range.
    #[error("the port in the connection string is not a number from 1 to 65535")]
    Port,
    /// A character that no server name or value can have.
    #[error("the connection string holds a control character")]
    Control,
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

impl Conninfo {
    /// The string as written; it holds no secret.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conninfo").field(&self.0).finish()
    }
}

impl FromStr for Conninfo {
    type Err = ParseConninfoError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_BYTES {
            return Err(ParseConninfoError::Long);
        }
        if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
            return Err(ParseConninfoError::Control);
        }
        let uri = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
        let pairs = match uri {
            Some(rest) => uri_pairs(rest)?,
            None => keyword_pairs(text)?,
        };
        if pairs.is_empty() && uri.is_none() {
            return Err(ParseConninfoError::Empty);
        }
        Ok(Self(text.trim().to_owned()))
    }
}

fn check(keyword: &str, value: &str) -> Result<(), ParseConninfoError> {
    if let Some(secret) = SECRETS.iter().find(|secret| **secret == keyword) {
        return Err(ParseConninfoError::Secret(secret));
    }
    if !KEYWORDS.contains(&keyword) {
        let nearest = nearest(keyword, KEYWORDS.iter().copied());
        // What is no word may be a piece of a value that lost its quotes: not repeated (N1).
        let word = keyword.len() <= 32 && keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let shown = if word { keyword.to_owned() } else { "…".to_owned() };
        return Err(ParseConninfoError::Keyword { keyword: shown, nearest });
    }
    let port = |text: &str| text.is_empty() || text.parse::<u16>().is_ok_and(|port| port > 0);
    if keyword == "port" && !value.split(',').all(|part| port(part.trim())) {
        return Err(ParseConninfoError::Port);
    }
    Ok(())
}

/// `keyword = 'value'`, with blanks around `=` and backslash escapes.
fn keyword_pairs(text: &str) -> Result<Vec<(String, String)>, ParseConninfoError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (keyword, tail) = rest.split_at(end);
        let Some(tail) = tail.trim_start().strip_prefix('=') else {
            return Err(ParseConninfoError::NoValue(format!(
                "`{}`",
                keyword.chars().take(32).collect::<String>()
            )));
        };
        let (value, tail) = value(tail.trim_start())?;
        // At once: what follows a password without quotes may be more of it (N1).
        check(keyword, &value)?;
        pairs.push((keyword.to_owned(), value));
        rest = tail.trim_start();
    }
    Ok(pairs)
}

fn value(text: &str) -> Result<(String, &str), ParseConninfoError> {
    let quoted = text.starts_with('\'');
    let body = if quoted { &text[1..] } else { text };
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if c.is_whitespace() && !quoted => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted { Err(ParseConninfoError::Quote) } else { Ok((value, "")) }
}

/// What follows `postgresql://`: `user@host:port,host:port/dbname?keyword=value&…`.
fn uri_pairs(rest: &str) -> Result<Vec<(String, String)>, ParseConninfoError> {
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = address.split('/').next().unwrap_or_default();
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (user, hosts),
        None => ("", authority),
    };
    // `user:@host` has an empty password, which is none.
    if user.split_once(':').is_some_and(|(_, password)| !password.is_empty()) {
        return Err(ParseConninfoError::Secret("password"));
    }
    let mut pairs = Vec::new();
    for host in hosts.split(',') {
        let after_literal = host.rsplit_once(']').map_or(host, |(_, tail)| tail);
        if let Some((_, port)) = after_literal.rsplit_once(':') {
            pairs.push(("port".to_owned(), port.to_owned()));
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((keyword, value)) = pair.split_once('=') else {
            // Not repeated: it may be a password with a `?` in it.
            return Err(ParseConninfoError::NoValue("a parameter".to_owned()));
        };
        match keyword {
            "ssl" => {}
            _ => pairs.push((keyword.to_owned(), value.to_owned())),
        }
    }
    pairs.iter().try_for_each(|(keyword, value)| check(keyword, value))?;
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_libpq_reads() {
        let good = [
            "host=db user=lifeboat",
            "host = '/var/run/post gresql' dbname='a\\'b' port=5432,5433",
            "postgresql://lifeboat@db.internal:5432,db2/orders?sslmode=verify-full",
            "postgres:///orders?host=/run/postgresql",
            "postgresql://[::1]:5432/",
            "service=orders",
        ];
        for text in good {
            assert_eq!(text.parse::<Conninfo>().map(|_| ()), Ok(()), "{text}");
        }
    }

    #[test]
    fn n1_refuses_secrets_and_repeats_none() {
        let secret = [
            "host=db password=hunter2",
            "host=db password = 'hunter2'",
            "postgresql://u:hunter2@db/orders",
            "postgres://db/orders?password=hunter2",
            "host=db sslpassword=hunter2",
            "host=db password=correct hunter2",
            "host=db password=correct hunter2=x",
        ];
        for text in secret {
            let error = text.parse::<Conninfo>().unwrap_err();
            assert!(matches!(error, ParseConninfoError::Secret(_)), "{text}: {error}");
            assert!(!error.to_string().contains("hunter2"));
        }
        for text in ["postgres://u:p?hunter2@db/x", "postgres://u:p?hunter2@db=x"] {
            assert!(!text.parse::<Conninfo>().unwrap_err().to_string().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn refuses_what_libpq_refuses() {
        for text in
            ["", "host", "hst=db", "host='db", "host=db port=0", "host=db port=x", "postgres://db:70000/"]
        {
            assert!(text.parse::<Conninfo>().is_err(), "{text}");
        }
        assert_eq!(
            "hots=db".parse::<Conninfo>().unwrap_err().to_string(),
            "`hots` is no key word of a connection string; did you mean `host`?"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([a-z]{1,8}=?'?\\\\? ?){0,6}|.{0,60}|postgres://[a-z:@/?&=,\\[\\]]{0,30}") {
            let _ = text.parse::<Conninfo>();
        }
    }
}
