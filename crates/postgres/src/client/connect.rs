//! From a connection string to a session: which server, over which socket, how encrypted.
//!
//! # Invariants
//! - Every step that waits for the network is under one limit per address, even if the connection
//!   string sets none.
//! - Hosts are tried in order; a server that answered and refused *us* (password, `pg_hba.conf`,
//!   database) ends the search, so that a wrong password never locks an account on every host.
//! - Encryption falls back to none only where `sslmode` is `allow` or `prefer`.
//!
//! Source: PostgreSQL manual, "Connection Strings" and "SSL Session Encryption".

use super::Password;
use super::auth::{Login, LoginError};
use super::cancel::CancelTarget;
use super::connection::{Connection, Session};
use super::conninfo::{Conninfo, Host, Keepalive, Place, SslMode, TargetSessionAttrs};
use super::endpoint::Endpoint;
use super::error::{ClientError, Refusal};
use super::passfile::{self, PassfileError, Wanted};
use super::quiet::Quiet;
use super::server_error::{ServerError, Situation};
use super::tls::Tls;
use super::wire::{Socket, Wire};
use postgres_protocol::message::frontend;
use rustix::net::sockopt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Limit for one address if the connection string sets none. libpq would wait for ever.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Addresses of one name that are tried.
const ADDRESS_LIMIT: usize = 16;
/// Where distributions put the local socket.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// Silence before the operating system asks whether the peer is still there. Its own default, two
/// hours, would outlast every objective.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Questions without an answer until the connection is given up.
const KEEPALIVE_COUNT: u32 = 3;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// SQL.
    Sql,
    /// Physical replication and base backups; no SQL but `SHOW`.
    Replication,
    /// Replication commands and SQL, in one database.
    ReplicationDatabase,
}

impl Connection {
    /// Connects to the first of the servers that will do.
    ///
    /// # Errors
    /// [`ClientError`]: that of the server if there was one, [`ClientError::AllFailed`] if several
    /// were tried.
    pub async fn connect(info: &Conninfo, purpose: Purpose) -> Result<Self, ClientError> {
        let networked = info.hosts().iter().any(|host| matches!(host.place, Place::Network { .. }));
        let tls = match info.tls.mode {
            SslMode::Disable => None,
            _ if !networked => None,
            _ => Some(Tls::load(info).map_err(ClientError::TlsSetup)?),
        };
        let connector = Connector { info, purpose, tls };
        if info.target == TargetSessionAttrs::PreferStandby {
            match connector.first_of(TargetSessionAttrs::Standby).await {
                Err(error) if !is_final(&error) => {}
                outcome => return outcome,
            }
            return connector.first_of(TargetSessionAttrs::Any).await;
        }
        connector.first_of(info.target).await
    }
}

/// Whether the other servers need not be asked.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Refusal { refusal, .. } => !matches!(
            refusal,
            Refusal::NotReady { .. }
                | Refusal::ShuttingDown { .. }
                | Refusal::TooManyConnections { .. }
                | Refusal::TooManyWalSenders { .. }
        ),
        ClientError::NoPassword { .. }
        | ClientError::UnsupportedLogin { .. }
        | ClientError::TlsSetup(_)
        | ClientError::Unsendable => true,
        _ => false,
    }
}

struct Connector<'a> {
    info: &'a Conninfo,
    purpose: Purpose,
    tls: Option<Tls>,
}

/// How a session is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    None,
    IfOffered,
    Insisted,
}

impl Connector<'_> {
    async fn first_of(&self, target: TargetSessionAttrs) -> Result<Connection, ClientError> {
        let limit = self.info.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        let mut failures = Vec::new();
        for host in self.info.hosts() {
            let endpoints = match timeout(limit, resolve(host)).await {
                Ok(Ok(endpoints)) => endpoints,
                Ok(Err(error)) => {
                    failures.push(error);
                    continue;
                }
                Err(_) => {
                    failures.push(ClientError::ConnectTimeout { endpoint: self.name(host), limit });
                    continue;
                }
            };
            for endpoint in endpoints {
                let late = |_| ClientError::ConnectTimeout { endpoint: endpoint.to_string(), limit };
                let attempt = timeout(limit, self.open_checked(host, &endpoint, target)).await;
                match attempt.map_err(late).and_then(|outcome| outcome) {
                    Ok(connection) => return Ok(connection),
                    Err(error) if is_final(&error) => return Err(error),
                    Err(error) => failures.push(error),
                }
            }
        }
        if failures.len() > 1 {
            return Err(ClientError::AllFailed { failures });
        }
        // A name that resolves to nothing without an error leaves no failure behind.
        Err(failures.pop().unwrap_or_else(|| ClientError::AllFailed { failures: Vec::new() }))
    }

    fn name(&self, host: &Host) -> String {
        match &host.place {
            Place::Network { name, .. } => format!("{name}:{}", host.port),
            Place::Socket(directory) => directory.display().to_string(),
            Place::DefaultSocket => "the local socket".to_owned(),
        }
    }

    async fn open_checked(
        &self,
        host: &Host,
        endpoint: &Endpoint,
        target: TargetSessionAttrs,
    ) -> Result<Connection, ClientError> {
        let mut connection = self.open(host, endpoint).await?;
        let (wanted, fits) = match target {
            TargetSessionAttrs::Any | TargetSessionAttrs::PreferStandby => return Ok(connection),
            TargetSessionAttrs::ReadWrite => ("read-write", !connection.is_read_only().await?),
            TargetSessionAttrs::ReadOnly => ("read-only", connection.is_read_only().await?),
            TargetSessionAttrs::Primary => ("primary", !connection.is_in_recovery().await?),
            TargetSessionAttrs::Standby => ("standby", connection.is_in_recovery().await?),
        };
        if fits {
            return Ok(connection);
        }
        connection.close().await;
        Err(ClientError::WrongTarget { endpoint: endpoint.clone(), wanted })
    }

    /// Opens a session, with the second try that `allow` and `prefer` ask for.
    async fn open(&self, host: &Host, endpoint: &Endpoint) -> Result<Connection, ClientError> {
        let (first, second) = match (endpoint, self.info.tls.mode) {
            (Endpoint::Unix(_), _) | (_, SslMode::Disable) => (Encryption::None, None),
            (_, SslMode::Allow) => (Encryption::None, Some(Encryption::Insisted)),
            (_, SslMode::Prefer) => (Encryption::IfOffered, Some(Encryption::None)),
            _ => (Encryption::Insisted, None),
        };
        let failure = match (self.open_with(host, endpoint, first).await, second) {
            (Err(failure), Some(_)) if other_encryption_may_help(&failure) => failure,
            (outcome, _) => return outcome,
        };
        let Some(second) = second else { return Err(failure) };
        match self.open_with(host, endpoint, second).await {
            // No better: the first answer is the one to act on.
            Err(again) if other_encryption_may_help(&again) => Err(failure),
            outcome => outcome,
        }
    }

    async fn open_with(
        &self,
        host: &Host,
        endpoint: &Endpoint,
        encryption: Encryption,
    ) -> Result<Connection, ClientError> {
        let name = match &host.place {
            Place::Network { name, .. } => name.as_str(),
            Place::Socket(_) | Place::DefaultSocket => "",
        };
        let tls = self.tls.as_ref().filter(|_| encryption != Encryption::None);
        let channel = open_channel(endpoint, &self.info.keepalive, tls, name).await?;
        if !channel.encrypted && encryption == Encryption::Insisted {
            let mode = super::conninfo::ssl_mode_name(self.info.tls.mode);
            return Err(ClientError::TlsRefused { endpoint: endpoint.clone(), mode });
        }
        self.log_in(host, endpoint, channel).await
    }

    async fn log_in(
        &self,
        host: &Host,
        endpoint: &Endpoint,
        channel: Channel,
    ) -> Result<Connection, ClientError> {
        let info = self.info;
        let database = info.database();
        let situation = Situation {
            endpoint,
            user: &info.user,
            database,
            purpose: self.purpose,
            encrypted: channel.encrypted,
            local: channel.local,
            doing: "the login",
            slot: None,
        };
        let mut wire = Wire::new(channel.stream);
        let mut parameters = vec![("user", info.user.as_str()), ("client_encoding", "UTF8")];
        match self.purpose {
            Purpose::Sql => parameters.push(("database", database)),
            Purpose::Replication => parameters.push(("replication", "true")),
            Purpose::ReplicationDatabase => {
                parameters.extend([("database", database), ("replication", "database")]);
            }
        }
        parameters.extend(info.application_name.as_deref().map(|name| ("application_name", name)));
        parameters.extend(info.options.as_deref().map(|options| ("options", options)));
        wire.queue(|buffer| frontend::startup_message(parameters, buffer))?;

        let password = || self.password(host);
        let login = Login {
            endpoint,
            user: &info.user,
            binding: info.tls.binding,
            end_point: channel.end_point,
            password: &password,
        };
        let begin = async {
            wire.flush().await?;
            login.run(&mut wire).await
        };
        match begin.await {
            Ok(()) => {}
            Err(LoginError::Client(error)) => return Err(*error),
            Err(LoginError::Server(error)) => return Err(error.explain(&situation)),
            Err(LoginError::Wire(error)) => return Err(super::connection::lost(endpoint, error)),
        }
        wire.trust();
        let cancel = CancelTarget {
            endpoint: endpoint.clone(),
            tls: self.tls.clone().filter(|_| channel.encrypted),
            name: match &host.place {
                Place::Network { name, .. } => name.clone(),
                Place::Socket(_) | Place::DefaultSocket => String::new(),
            },
            keepalive: info.keepalive.clone(),
            limit: info.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        };
        let session = Session {
            endpoint: endpoint.clone(),
            user: info.user.clone(),
            database: database.to_owned(),
            purpose: self.purpose,
            encrypted: channel.encrypted,
            local: channel.local,
        };
        Connection::begin(wire, session, cancel).await
    }

    /// The password for `host`: given, or from the password file.
    fn password(&self, host: &Host) -> Result<Option<Password>, PassfileError> {
        let info = self.info;
        if let Some(password) = &info.password {
            return Ok(Some(password.clone()));
        }
        let given = info.passfile.clone();
        let default = || info.home_file(".pgpass").filter(|path| path.exists());
        let Some(path) = given.or_else(default) else { return Ok(None) };
        let directory;
        let name = match &host.place {
            Place::Network { name, .. } => name.as_str(),
            Place::DefaultSocket => "localhost",
            // As in libpq: the usual socket is "localhost", others go by their directory.
            Place::Socket(path) if SOCKET_DIRECTORIES.iter().any(|usual| path == Path::new(usual)) => {
                "localhost"
            }
            Place::Socket(path) => {
                directory = path.display().to_string();
                &directory
            }
        };
        let database = match self.purpose {
            Purpose::Replication => "replication",
            Purpose::Sql | Purpose::ReplicationDatabase => info.database(),
        };
        passfile::read(&path, Wanted { host: name, port: host.port, database, user: &info.user })
    }
}

/// Whether the server might let us in with, or without, encryption.
fn other_encryption_may_help(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Tls { .. }
            | ClientError::TlsRefused { .. }
            | ClientError::Refusal { refusal: Refusal::NotInHba { .. }, .. }
    )
}

/// The addresses of a host.
async fn resolve(host: &Host) -> Result<Vec<Endpoint>, ClientError> {
    let socket = |directory: &Path| directory.join(format!(".s.PGSQL.{}", host.port));
    match &host.place {
        Place::Socket(directory) => Ok(vec![Endpoint::Unix(socket(directory))]),
        Place::DefaultSocket => {
            let paths: Vec<PathBuf> =
                SOCKET_DIRECTORIES.iter().map(|directory| socket(Path::new(directory))).collect();
            match paths.iter().find(|path| path.exists()) {
                Some(path) => Ok(vec![Endpoint::Unix(path.clone())]),
                None => Err(ClientError::NoSocket { paths }),
            }
        }
        Place::Network { name, address: Some(address) } => {
            Ok(vec![Endpoint::Tcp { name: name.clone(), address: (*address, host.port).into() }])
        }
        Place::Network { name, address: None } => {
            let unknown = |source| ClientError::UnknownHost { host: name.clone(), source };
            let addresses = tokio::net::lookup_host((name.as_str(), host.port)).await.map_err(unknown)?;
            let endpoint = |address| Endpoint::Tcp { name: name.clone(), address };
            let endpoints: Vec<_> = addresses.take(ADDRESS_LIMIT).map(endpoint).collect();
            if endpoints.is_empty() {
                return Err(unknown(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
            }
            Ok(endpoints)
        }
    }
}

/// A byte stream to a server, before any login.
pub(super) struct Channel {
    pub(super) stream: Box<dyn Socket>,
    pub(super) encrypted: bool,
    pub(super) end_point: Option<Vec<u8>>,
    pub(super) local: Option<IpAddr>,
}

/// Opens a byte stream, encrypted if `tls` is given and the server offers it.
pub(super) async fn open_channel(
    endpoint: &Endpoint,
    keepalive: &Keepalive,
    tls: Option<&Tls>,
    name: &str,
) -> Result<Channel, ClientError> {
    let failed = |source: io::Error| {
        let endpoint = endpoint.clone();
        match (source.kind(), &endpoint) {
            (io::ErrorKind::ConnectionRefused, _) => ClientError::Refused { endpoint, source },
            (io::ErrorKind::NotFound, Endpoint::Unix(path)) => {
                ClientError::NoSocket { paths: vec![path.clone()] }
            }
            _ => ClientError::Connect { endpoint, source },
        }
    };
    let address = match endpoint {
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            let stream = Box::new(Quiet::new(stream));
            return Ok(Channel { stream, encrypted: false, end_point: None, local: None });
        }
        Endpoint::Tcp { address, .. } => address,
    };
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    set_keepalive(&stream, keepalive).map_err(failed)?;
    let local = stream.local_addr().ok().map(|address| address.ip());
    if let Some(tls) = tls
        && offers_tls(&mut stream, endpoint).await?
    {
        let failed = |source| ClientError::Tls { endpoint: endpoint.clone(), source };
        let (stream, end_point) = tls.wrap(stream, name).await.map_err(failed)?;
        return Ok(Channel { stream, encrypted: true, end_point, local });
    }
    let stream = Box::new(Quiet::new(stream));
    Ok(Channel { stream, encrypted: false, end_point: None, local })
}

/// Asks the server whether it encrypts.
///
/// Exactly one byte is read: whatever a middleman puts behind the answer meets the TLS handshake, not
/// our message buffer.
async fn offers_tls(stream: &mut TcpStream, endpoint: &Endpoint) -> Result<bool, ClientError> {
    let broken = |source| ClientError::Broken { endpoint: endpoint.clone(), source };
    let mut request = bytes::BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(broken)?;
    match stream.read_u8().await {
        Ok(b'S') => Ok(true),
        Ok(b'N') => Ok(false),
        Ok(_) => {
            let what = "it did not answer whether it encrypts; is PostgreSQL behind this port?".to_owned();
            Err(ClientError::Protocol { endpoint: endpoint.clone(), what })
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(ClientError::Closed { endpoint: endpoint.clone() })
        }
        Err(error) => Err(broken(error)),
    }
}

fn set_keepalive(stream: &TcpStream, keepalive: &Keepalive) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, keepalive.on)?;
    if keepalive.on {
        sockopt::set_tcp_keepidle(stream, keepalive.idle.unwrap_or(KEEPALIVE_IDLE))?;
        sockopt::set_tcp_keepintvl(stream, keepalive.interval.unwrap_or(KEEPALIVE_INTERVAL))?;
        sockopt::set_tcp_keepcnt(stream, keepalive.count.unwrap_or(KEEPALIVE_COUNT))?;
    }
    if let Some(limit_ms) = keepalive.unacknowledged_ms {
        sockopt::set_tcp_user_timeout(stream, limit_ms)?;
    }
    Ok(())
}

/// The client's error for what a server reported outside any command.
pub(super) fn explain(error: ServerError, session: &Session, doing: &str, slot: Option<&str>) -> ClientError {
    error.explain(&Situation {
        endpoint: &session.endpoint,
        user: &session.user,
        database: &session.database,
        purpose: session.purpose,
        encrypted: session.encrypted,
        local: session.local,
        doing,
        slot,
    })
}
