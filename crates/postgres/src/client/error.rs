//! What went wrong with a server, in words that help at 3 a.m., and what to do about it.
//!
//! # Invariants
//! - Servers are understood by SQLSTATE and by the names of settings and files, which no language
//!   setting translates; their prose is only passed on.
//! - `Display` says what we know and what to do next; the server's own words are the `source`.
//! - What a server says before it is authenticated is not passed on.

use super::endpoint::Endpoint;
use super::passfile::PassfileError;
use super::row::RowError;
use super::server_error::ServerError;
use super::tls::TlsSetupError;
use super::wire::Unsendable;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The same call may succeed later.
    Retry,
    /// A person must change a setting, ours or the server's; trying again changes nothing.
    FixConfiguration,
    /// Neither helps: what was asked for cannot be had.
    GiveUp,
}

/// Talking to a server failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there.
    #[error("nothing listens at {endpoint}; check that PostgreSQL is running, its port and listen_addresses")]
    Refused {
        /// Where.
        endpoint: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// The name has no address.
    #[error("the host name `{host}` cannot be resolved; check its spelling and this machine's DNS")]
    UnknownHost {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// There is no local socket.
    #[error(
        "there is no PostgreSQL socket at {}; check that the server is running, or name its host and port",
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
    )]
    NoSocket {
        /// Where it was looked for.
        paths: Vec<PathBuf>,
    },
    /// The operating system could not connect.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Where.
        endpoint: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// No login within the limit.
    #[error(
        "{endpoint} did not complete a login within {}; check the network and firewalls, or raise connect_timeout",
        lifeboat_base::format_duration(*limit)
    )]
    ConnectTimeout {
        /// Host or socket.
        endpoint: String,
        /// How long was waited.
        limit: Duration,
    },
    /// None of several servers would do.
    #[error("none of {} servers could be used: {}", .failures.len(), list(.failures))]
    AllFailed {
        /// Why, in the order tried.
        failures: Vec<ClientError>,
    },
    /// The server is of the wrong kind.
    #[error("{endpoint} is not a server as asked for by target_session_attrs={wanted}")]
    WrongTarget {
        /// Which server.
        endpoint: Endpoint,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The server does not encrypt.
    #[error(
        "{endpoint} does not offer TLS, which sslmode={mode} insists on; set ssl=on there, or choose a weaker sslmode"
    )]
    TlsRefused {
        /// Which server.
        endpoint: Endpoint,
        /// What was asked for.
        mode: &'static str,
    },
    /// Our side of TLS could not be set up.
    #[error("TLS cannot be set up")]
    TlsSetup(#[source] TlsSetupError),
    /// The TLS handshake failed.
    #[error(
        "no TLS session with {endpoint}; check its certificate, its name in it (subjectAltName) and sslrootcert"
    )]
    Tls {
        /// Which server.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// A password is needed and there is none.
    #[error(
        "{endpoint} asks for the password of `{user}` and none is at hand; set PGPASSWORD or write a line into the password file{}",
        .passfile.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
    )]
    NoPassword {
        /// Which server.
        endpoint: Endpoint,
        /// As whom.
        user: String,
        /// Why the password file gave none, if there was one.
        passfile: Option<PassfileError>,
    },
    /// A way to log in that is not spoken here.
    #[error(
        "{endpoint} wants {method}, which is not spoken here; let `{user}` log in with scram-sha-256 or cert in pg_hba.conf"
    )]
    UnsupportedLogin {
        /// Which server.
        endpoint: Endpoint,
        /// As whom.
        user: String,
        /// What it wanted.
        method: &'static str,
    },
    /// The server could not prove that it knows the password, or broke the login's rules.
    #[error(
        "{endpoint} did not prove that it knows the password of `{user}`: it may be an impostor; the password itself was not shown to it"
    )]
    ServerNotProven {
        /// Which server.
        endpoint: Endpoint,
        /// As whom.
        user: String,
        /// What was wrong.
        source: io::Error,
    },
    /// `channel_binding=require` could not be had.
    #[error(
        "{endpoint} did not bind the login to the TLS session, which channel_binding=require insists on; it needs TLS and scram-sha-256"
    )]
    NoChannelBinding {
        /// Which server.
        endpoint: Endpoint,
    },
    /// The server refused, for a reason that we know.
    #[error("{refusal}")]
    Refusal {
        /// What it means and what to do.
        refusal: Refusal,
        /// The server's words.
        source: Box<ServerError>,
    },
    /// The server reported any other error.
    #[error("{endpoint} reported an error for {doing}")]
    Server {
        /// Which server.
        endpoint: Endpoint,
        /// What it was asked.
        doing: String,
        /// The server's words.
        source: Box<ServerError>,
    },
    /// The connection ended.
    #[error("{endpoint} closed the connection; the server stopped, crashed, or a firewall cut in")]
    Closed {
        /// Which server.
        endpoint: Endpoint,
    },
    /// A server that shuts down has sent all its WAL.
    #[error("{endpoint} ended replication because it is shutting down; it had sent all its WAL")]
    ReplicationEnded {
        /// Which server.
        endpoint: Endpoint,
    },
    /// The connection broke.
    #[error("the connection to {endpoint} broke")]
    Broken {
        /// Which server.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// Nothing was heard for too long.
    #[error(
        "nothing was heard from {endpoint} for {}; the server hangs or the network lost it",
        lifeboat_base::format_duration(*limit)
    )]
    Silent {
        /// Which server.
        endpoint: Endpoint,
        /// How long was waited.
        limit: Duration,
    },
    /// The server did not speak as PostgreSQL does.
    #[error("{endpoint} does not speak PostgreSQL's protocol as expected: {what}")]
    Protocol {
        /// Which server.
        endpoint: Endpoint,
        /// What was off.
        what: String,
    },
    /// More rows than are kept in memory.
    #[error("the result has more than {limit_bytes} bytes of rows; ask for less at a time")]
    ResultTooLarge {
        /// What is kept at most.
        limit_bytes: usize,
    },
    /// A command was dropped before its end.
    #[error("the connection to {endpoint} still carries an abandoned command; open another one")]
    Busy {
        /// Which server.
        endpoint: Endpoint,
    },
    /// What was to be sent cannot be.
    #[error("the command cannot be sent: it contains a zero byte or is too long")]
    Unsendable,
    /// No name in the replication protocol can hold a double quote.
    #[error(
        "`{name}` cannot be named in a replication command; a slot has 1 to 63 lower-case letters, digits and underscores"
    )]
    BadName {
        /// As given.
        name: String,
    },
    /// A row does not hold what was expected.
    #[error("the answer of {endpoint} does not have the expected form")]
    Row {
        /// Which server.
        endpoint: Endpoint,
        /// What was off.
        source: RowError,
    },
}

impl From<Unsendable> for ClientError {
    fn from(_: Unsendable) -> Self {
        Self::Unsendable
    }
}

fn list(failures: &[ClientError]) -> String {
    let with_source = |failure: &ClientError| match std::error::Error::source(failure) {
        Some(source) => format!("{failure} ({source})"),
        None => failure.to_string(),
    };
    failures.iter().map(with_source).collect::<Vec<_>>().join("; ")
}

impl ClientError {
    /// What the caller should do.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Self::Refused { .. }
            | Self::UnknownHost { .. }
            | Self::NoSocket { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::WrongTarget { .. }
            | Self::Closed { .. }
            | Self::ReplicationEnded { .. }
            | Self::Broken { .. }
            | Self::Busy { .. }
            | Self::Silent { .. } => Advice::Retry,
            Self::TlsRefused { .. }
            | Self::TlsSetup(_)
            | Self::Tls { .. }
            | Self::NoPassword { .. }
            | Self::UnsupportedLogin { .. }
            | Self::ServerNotProven { .. }
            | Self::BadName { .. }
            | Self::NoChannelBinding { .. } => Advice::FixConfiguration,
            Self::Refusal { refusal, .. } => refusal.advice(),
            Self::Server { source, .. } => source.advice(),
            Self::AllFailed { failures } => {
                let retry = failures.iter().any(|failure| failure.advice() == Advice::Retry);
                if retry { Advice::Retry } else { Advice::FixConfiguration }
            }
            Self::Protocol { .. } | Self::ResultTooLarge { .. } | Self::Unsendable | Self::Row { .. } => {
                Advice::GiveUp
            }
        }
    }

    /// The reason of a refusal that is understood, for callers that react to one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refusal { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// What the server itself said, if it spoke.
    #[must_use]
    pub fn server_error(&self) -> Option<&ServerError> {
        match self {
            Self::Refusal { source, .. } | Self::Server { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Refusals that are understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The password does not fit.
    #[error(
        "{endpoint} refused user `{user}`: the password is wrong, expired or not set; check PGPASSWORD and the password file"
    )]
    WrongPassword {
        /// Which server.
        endpoint: Endpoint,
        /// As whom.
        user: String,
    },
    /// No line in `pg_hba.conf` lets us in.
    #[error(
        "{endpoint} lets nobody in from here as `{user}`; add this line to its pg_hba.conf and run `select pg_reload_conf()`: {line}"
    )]
    NotInHba {
        /// Which server.
        endpoint: Endpoint,
        /// As whom.
        user: String,
        /// The line to add.
        line: String,
    },
    /// The role may not log in, does not exist, or its operating system user does not match.
    #[error(
        "{endpoint} refused user `{user}`; check that the role exists, may log in, and what pg_hba.conf asks of it"
    )]
    NotAuthorized {
        /// Which server.
        endpoint: Endpoint,
        /// As whom.
        user: String,
    },
    /// The role lacks a right.
    #[error(
        "user `{user}` may not do this at {endpoint}; for replication run there: alter role {quoted_user} replication"
    )]
    NotPermitted {
        /// Which server.
        endpoint: Endpoint,
        /// As whom.
        user: String,
        /// The same, quoted for SQL.
        quoted_user: String,
    },
    /// No such database.
    #[error("there is no database `{database}` at {endpoint}; name one with dbname=…")]
    NoDatabase {
        /// Which server.
        endpoint: Endpoint,
        /// Its name.
        database: String,
    },
    /// The server cannot take us now.
    #[error("{endpoint} is starting up, in recovery, or shutting down; it may answer soon")]
    NotReady {
        /// Which server.
        endpoint: Endpoint,
    },
    /// The server is going away.
    #[error("{endpoint} ended the connection because it is shutting down, restarting, or a person ended it")]
    ShuttingDown {
        /// Which server.
        endpoint: Endpoint,
    },
    /// No room for another client.
    #[error("{endpoint} has no connection left; raise max_connections there or end idle sessions")]
    TooManyConnections {
        /// Which server.
        endpoint: Endpoint,
    },
    /// No room for another replication client.
    #[error(
        "{endpoint} has no replication connection left; raise max_wal_senders there (needs a restart) or end a standby's"
    )]
    TooManyWalSenders {
        /// Which server.
        endpoint: Endpoint,
    },
    /// No room for another slot.
    #[error(
        "{endpoint} has no replication slot left; drop one that nobody uses, or raise max_replication_slots (needs a restart)"
    )]
    TooManySlots {
        /// Which server.
        endpoint: Endpoint,
    },
    /// `wal_level` does not allow it.
    #[error(
        "{endpoint} writes too little WAL for this; set wal_level=replica and max_wal_senders there (needs a restart)"
    )]
    WalLevel {
        /// Which server.
        endpoint: Endpoint,
    },
    /// No such slot.
    #[error(
        "the replication slot {slot} does not exist at {endpoint}; it was dropped, or a promotion left it behind: WAL may be lost"
    )]
    SlotMissing {
        /// Which server.
        endpoint: Endpoint,
        /// Its name.
        slot: String,
    },
    /// Somebody else reads from the slot.
    #[error(
        "the replication slot {slot} is in use at {endpoint}; see pg_replication_slots.active_pid and end the other reader"
    )]
    SlotInUse {
        /// Which server.
        endpoint: Endpoint,
        /// Its name.
        slot: String,
    },
    /// The slot exists already.
    #[error("the replication slot {slot} exists already at {endpoint}")]
    SlotExists {
        /// Which server.
        endpoint: Endpoint,
        /// Its name.
        slot: String,
    },
    /// The server gave the slot up.
    #[error(
        "{endpoint} gave up the replication slot {slot}: its WAL outgrew max_slot_wal_keep_size or it was idle too long; drop it, make it anew, and take a new backup"
    )]
    SlotLost {
        /// Which server.
        endpoint: Endpoint,
        /// Its name.
        slot: String,
    },
    /// The WAL asked for is gone.
    #[error(
        "{endpoint} no longer has the WAL that was asked for: a hole that only an archive can fill; take a new backup, and keep a replication slot"
    )]
    WalRemoved {
        /// Which server.
        endpoint: Endpoint,
    },
}

impl Refusal {
    /// What the caller should do.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Self::NotReady { .. }
            | Self::ShuttingDown { .. }
            | Self::TooManyConnections { .. }
            | Self::TooManyWalSenders { .. }
            | Self::SlotInUse { .. } => Advice::Retry,
            Self::WrongPassword { .. }
            | Self::NotInHba { .. }
            | Self::NotAuthorized { .. }
            | Self::NotPermitted { .. }
            | Self::NoDatabase { .. }
            | Self::TooManySlots { .. }
            | Self::WalLevel { .. } => Advice::FixConfiguration,
            Self::SlotMissing { .. }
            | Self::SlotExists { .. }
            | Self::SlotLost { .. }
            | Self::WalRemoved { .. } => Advice::GiveUp,
        }
    }
}
