//! What to connect to, as whom, and how carefully: libpq's connection strings.
//!
//! A string that works for `psql` works here: `key=value` and `postgresql://`, with libpq's
//! environment variables as fallbacks. The environment comes in as an argument, so this module reads
//! none; files (`passfile`, certificates) are read when a connection is made.
//!
//! # Invariants
//! - **Nothing is ignored silently.** An unknown key is an error that names the nearest one; a key of
//!   libpq that would weaken or move the connection if ignored is refused by name.
//! - **No password is printed**, by `Display`, `Debug`, errors or [`Conninfo::without_secrets`].
//!
//! Deliberately absent: service files and GSSAPI; both are refused with what to do instead.
//!
//! Source: PostgreSQL manual, "Database Connection Control Functions" and "Environment Variables".

mod error;
mod settings;
mod syntax;
#[cfg(test)]
mod tests;

pub use error::ConninfoError;

use super::Password;
use settings::Settings;
pub(super) use settings::ssl_mode_name;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Hosts that one connection string may list.
const HOST_LIMIT: usize = 32;
/// PostgreSQL's own port.
const DEFAULT_PORT: u16 = 5432;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The local socket where the distribution puts it: `/var/run/postgresql`, else `/tmp`.
    DefaultSocket,
    /// The local socket in this directory.
    Socket(PathBuf),
    /// A name or address on the network.
    Network {
        /// Name, or address as text; certificates are checked against it.
        name: String,
        /// The address to use for it, without asking the resolver (`hostaddr`).
        address: Option<IpAddr>,
    },
}

/// One of the servers to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Where it listens.
    pub place: Place,
    /// Its port; also part of a local socket's file name.
    pub port: u16,
}

/// How much encryption is insisted on (`sslmode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never encrypt.
    Disable,
    /// Encrypt if the server insists.
    Allow,
    /// Encrypt if the server can.
    Prefer,
    /// Encrypt, whoever answers.
    Require,
    /// Encrypt; the certificate must come from a trusted authority.
    VerifyCa,
    /// Encrypt; the certificate must come from a trusted authority and name this host.
    VerifyFull,
}

/// Whether the login must be bound to the encrypted channel (`channel_binding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// When both sides can.
    Prefer,
    /// Or not at all: a server that cannot is refused.
    Require,
}

/// Which of several servers will do (`target_session_attrs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetSessionAttrs {
    /// The first that answers.
    Any,
    /// Sessions can write.
    ReadWrite,
    /// Sessions cannot write.
    ReadOnly,
    /// Not in recovery.
    Primary,
    /// In recovery.
    Standby,
    /// In recovery if there is one, else any.
    PreferStandby,
}

/// Trust anchors (`sslrootcert`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// `~/.postgresql/root.crt` if it is there, else the system's for `verify-full`.
    Default,
    /// The operating system's.
    System,
    /// This file's.
    File(PathBuf),
}

/// Everything that TLS needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsSettings {
    pub(super) mode: SslMode,
    pub(super) roots: Roots,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) binding: ChannelBinding,
}

/// How the operating system looks for dead peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keepalive {
    pub(super) on: bool,
    pub(super) idle: Option<Duration>,
    pub(super) interval: Option<Duration>,
    pub(super) count: Option<u32>,
    pub(super) unacknowledged_ms: Option<u32>,
}

/// A connection string, understood.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo {
    hosts: Vec<Host>,
    pub(super) user: String,
    pub(super) database: Option<String>,
    pub(super) password: Option<Password>,
    pub(super) passfile: Option<PathBuf>,
    pub(super) home: Option<PathBuf>,
    pub(super) tls: TlsSettings,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) application_name: Option<String>,
    pub(super) options: Option<String>,
    pub(super) target: TargetSessionAttrs,
    pub(super) keepalive: Keepalive,
}

impl Conninfo {
    /// Reads a connection string; what it leaves open comes from the environment that `lookup` shows
    /// (`PGHOST`, `PGPASSWORD`, … and `HOME`, `USER`), then from libpq's defaults.
    ///
    /// # Errors
    /// [`ConninfoError`], which says what to write instead and shows no value.
    pub fn parse(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConninfoError> {
        let settings = Settings::gather(syntax::parse(text)?, lookup)?;
        let home = lookup("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        settings::interpret(&settings, home, || lookup("USER").or_else(|| lookup("LOGNAME")))
    }

    /// The servers to try, in order; at least one.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Whom to connect as.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database, which is named as the user if nothing else is said.
    #[must_use]
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap_or(&self.user)
    }

    /// How much encryption is insisted on.
    #[must_use]
    pub fn ssl_mode(&self) -> SslMode {
        self.tls.mode
    }

    /// The same, for another database.
    #[must_use]
    pub fn with_database(mut self, name: &str) -> Self {
        self.database = Some(name.to_owned());
        self
    }

    /// The same, with this password before any other source of one.
    #[must_use]
    pub fn with_password(mut self, password: Password) -> Self {
        self.password = Some(password);
        self
    }

    /// The same, shown under this name in `pg_stat_activity` unless the string names one.
    #[must_use]
    pub fn with_default_application_name(mut self, name: &str) -> Self {
        self.application_name.get_or_insert_with(|| name.to_owned());
        self
    }

    /// The same, for one of its servers only.
    #[must_use]
    pub fn with_host(mut self, host: Host) -> Self {
        self.hosts = vec![host];
        self
    }

    /// The same, taking what kind of server answers.
    #[must_use]
    pub fn with_target(mut self, target: TargetSessionAttrs) -> Self {
        self.target = target;
        self
    }

    /// The same, with these settings for the session beside those that it names (`-c name=value`).
    #[must_use]
    pub fn with_more_options(mut self, options: &str) -> Self {
        let given = self.options.take().map(|given| given + " ").unwrap_or_default();
        self.options = Some(given + options);
        self
    }

    /// A `key=value` string that a person could paste, or that fits `primary_conninfo`, without the
    /// password. Paths of password and key files stay: they say where a secret is, not what it is.
    #[must_use]
    pub fn without_secrets(&self) -> String {
        settings::write(self)
    }

    pub(super) fn home_file(&self, name: &str) -> Option<PathBuf> {
        self.home.as_deref().map(|home: &Path| home.join(name))
    }
}

impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_secrets())
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conninfo({})", self.without_secrets())
    }
}
