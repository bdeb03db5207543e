//! Why a connection string was refused.

/// The connection string, or an environment variable that fills it, cannot be used.
///
/// No variant shows a password, nor a value that could be a piece of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConninfoError {
    /// Longer than any sensible string.
    #[error("the connection string has {bytes} bytes; at most {limit} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What is read at most.
        limit: usize,
    },
    /// A zero byte, which PostgreSQL's protocol cannot carry.
    #[error("the connection string contains a zero byte; remove it")]
    Nul,
    /// A word without a value.
    #[error(
        "no `=` after the word at byte {position} of the connection string; quote values that hold spaces, as in password='two words'"
    )]
    NoEquals {
        /// Where the word begins.
        position: usize,
    },
    /// A value without a word.
    #[error("no key before the `=` at byte {position} of the connection string")]
    NoKey {
        /// Where the `=` is.
        position: usize,
    },
    /// A quote that does not end.
    #[error(
        "the quote that begins the value of `{key}` does not end; write a quote inside it as \\' and a backslash as \\\\"
    )]
    OpenQuote {
        /// Whose value.
        key: String,
    },
    /// An `@` too many before the host.
    #[error(
        "more than one `@` before the host of the connection URI; write an @ in a user or password as %40"
    )]
    UriAt,
    /// Brackets around an address that do not fit.
    #[error("an IPv6 address in the connection URI is written as in postgresql://[2001:db8::1]:5432/name")]
    UriBracket,
    /// A parameter without a value.
    #[error("each parameter after the `?` of the connection URI is written as key=value, joined by &")]
    UriQuery,
    /// Percent-encoding that is none.
    #[error(
        "`{key}` in the connection URI is not percent-encoded UTF-8; a % itself is written as %25, a / in a password as %2F"
    )]
    Percent {
        /// Which part.
        key: String,
    },
    /// A key that nobody knows.
    #[error("`{key}` is no connection parameter{}", .nearest.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// As written.
        key: String,
        /// The nearest key there is.
        nearest: Option<&'static str>,
    },
    /// A key that libpq knows and this client does not offer.
    #[error("`{key}` is not offered here: {instead}")]
    Unsupported {
        /// As written.
        key: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A value out of range.
    #[error("the value of `{key}` cannot be used: it must be {wanted}")]
    BadValue {
        /// Whose value.
        key: &'static str,
        /// What would do.
        wanted: &'static str,
    },
    /// Lists of different lengths.
    #[error("`{key}` lists {count} values for {hosts} hosts; give one for each host")]
    Uneven {
        /// The list that does not fit.
        key: &'static str,
        /// Its length.
        count: usize,
        /// Number of hosts.
        hosts: usize,
    },
    /// More hosts than are tried.
    #[error("the connection string lists {count} hosts; at most {limit} are tried")]
    TooManyHosts {
        /// As listed.
        count: usize,
        /// What is tried at most.
        limit: usize,
    },
    /// Nobody to connect as.
    #[error("no user is named; add user=… to the connection string or set PGUSER")]
    NoUser,
}
