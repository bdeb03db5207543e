//! A session with a server: commands go out, rows and copies come back.
//!
//! # Invariants
//! - **One command at a time.** A connection whose command was dropped before its end refuses the next
//!   one: answers are never mistaken for another command's.
//! - **Bounded.** Rows gathered in memory, notices and parameters have limits; copies are streamed and
//!   never gathered.
//! - Names of commands in errors are keywords only: a command may hold a password.
//!
//! Deliberately absent: prepared statements and parameters. Commands here are few and our own; values
//! go through [`super::quote_literal`].

use super::cancel::{CancelHandle, CancelTarget};
use super::connect::{Purpose, explain};
use super::endpoint::Endpoint;
use super::error::ClientError;
use super::row::{Columns, Row, RowError, read_columns};
use super::server_error::ServerError;
use super::wire::{Incoming, Wire, WireError};
use bytes::Bytes;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of rows that [`Connection::query`] gathers.
const RESULT_LIMIT_BYTES: usize = 64 << 20;
/// Notices that are kept; older ones make room.
const NOTICE_LIMIT: usize = 64;
/// Server parameters that are kept; PostgreSQL reports about fifteen.
const PARAMETER_LIMIT: usize = 256;
/// Letters of a command that errors name.
const LABEL_CHARS: usize = 40;
/// Longest wait for the goodbye to be sent.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// What a session was opened as.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) endpoint: Endpoint,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) purpose: Purpose,
    pub(super) encrypted: bool,
    pub(super) local: Option<IpAddr>,
}

/// The server's version, as `15.20` or `9.6.24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// The first number.
    pub major: u32,
    /// The second number; zero for development versions.
    pub minor: u32,
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a running command brings next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEvent {
    /// A result with these columns begins.
    Columns(Columns),
    /// A row of it.
    Row(Row),
    /// A copy begins.
    CopyOut,
    /// Bytes of the copy. They share memory with their neighbours: keep them for long as a copy only.
    Data(Bytes),
    /// The copy ends.
    CopyEnd,
    /// A statement ends, with its tag (`SELECT 1`).
    Complete(String),
}

/// One statement's rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResultSet {
    /// Its rows.
    pub rows: Vec<Row>,
    /// Its tag (`SELECT 1`, `INSERT 0 1`).
    pub tag: String,
}

/// A session with a server.
pub struct Connection {
    pub(super) wire: Wire,
    pub(super) session: Session,
    cancel: CancelTarget,
    key: Option<(i32, i32)>,
    parameters: BTreeMap<String, String>,
    notices: VecDeque<ServerError>,
    busy: bool,
    running: Running,
}

/// The command that runs.
#[derive(Default)]
struct Running {
    label: String,
    slot: Option<String>,
    columns: Option<Columns>,
    error: Option<ServerError>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("session", &self.session).field("busy", &self.busy).finish()
    }
}

/// The client's error for a stream of messages that ended.
pub(super) fn lost(endpoint: &Endpoint, error: WireError) -> ClientError {
    let endpoint = endpoint.clone();
    match error {
        WireError::Closed => ClientError::Closed { endpoint },
        WireError::Io(source) => ClientError::Broken { endpoint, source },
        error @ (WireError::TooLong { .. } | WireError::Malformed { .. }) => {
            ClientError::Protocol { endpoint, what: error.to_string() }
        }
    }
}

impl Connection {
    /// Takes over after the login, up to the server's first readiness.
    pub(super) async fn begin(
        wire: Wire,
        session: Session,
        cancel: CancelTarget,
    ) -> Result<Self, ClientError> {
        let mut connection = Self {
            wire,
            session,
            cancel,
            key: None,
            parameters: BTreeMap::new(),
            notices: VecDeque::new(),
            busy: true,
            running: Running { label: "the login".to_owned(), ..Running::default() },
        };
        match connection.step().await? {
            None => Ok(connection),
            Some(_) => Err(connection.unexpected("a result before any command")),
        }
    }

    /// Runs one or more statements and returns the rows of all, which are gathered in memory.
    ///
    /// # Errors
    /// [`ClientError`]; the first error of the server ends all statements.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, ClientError> {
        Ok(self.query_all(sql).await?.into_iter().flat_map(|set| set.rows).collect())
    }

    /// Runs one or more statements and returns what each brought.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn query_all(&mut self, sql: &str) -> Result<Vec<ResultSet>, ClientError> {
        let mut stream = self.stream(sql).await?;
        let mut sets = Vec::new();
        let mut current = ResultSet::default();
        let mut weight = 0;
        while let Some(event) = stream.next().await? {
            match event {
                CommandEvent::Row(row) => {
                    weight += row.weight();
                    if weight > RESULT_LIMIT_BYTES {
                        return Err(ClientError::ResultTooLarge { limit_bytes: RESULT_LIMIT_BYTES });
                    }
                    current.rows.push(row);
                }
                CommandEvent::Complete(tag) => {
                    sets.push(ResultSet { tag, ..std::mem::take(&mut current) });
                }
                CommandEvent::Columns(_) => {}
                CommandEvent::CopyOut | CommandEvent::Data(_) | CommandEvent::CopyEnd => {
                    return Err(stream.connection.unexpected("a copy where rows were asked for"));
                }
            }
        }
        Ok(sets)
    }

    /// Runs one statement of which exactly the first row matters.
    ///
    /// # Errors
    /// As [`Connection::query`], and [`ClientError::Row`] if there is no row.
    pub async fn query_one(&mut self, sql: &str) -> Result<Row, ClientError> {
        let first = self.query(sql).await?.into_iter().next();
        first.ok_or_else(|| self.bad_row(RowError::NoRow))
    }

    /// Starts a command and returns what it brings as a stream, for copies and long results.
    ///
    /// # Errors
    /// [`ClientError`] if it cannot be sent; the server's errors come from the stream.
    pub async fn stream(&mut self, command: &str) -> Result<CommandStream<'_>, ClientError> {
        self.send(command, None).await?;
        Ok(CommandStream { connection: self })
    }

    /// Starts a `COPY … TO STDOUT` and returns its bytes as a stream.
    ///
    /// # Errors
    /// As [`Connection::stream`].
    pub async fn copy_out(&mut self, command: &str) -> Result<CopyOut<'_>, ClientError> {
        Ok(CopyOut { stream: self.stream(command).await? })
    }

    /// Sends a command; `slot` is the replication slot that errors will be about.
    pub(super) async fn send(&mut self, command: &str, slot: Option<&str>) -> Result<(), ClientError> {
        if self.busy {
            return Err(ClientError::Busy { endpoint: self.session.endpoint.clone() });
        }
        self.wire.queue(|buffer| frontend::query(command, buffer))?;
        self.running = Running { label: label(command), slot: slot.map(str::to_owned), ..Running::default() };
        self.busy = true;
        match self.wire.flush().await {
            // The server's last words may still be there to be read, and tell more.
            Ok(()) | Err(WireError::Closed) => Ok(()),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// The next message that belongs to the running command. Cancel safe.
    pub(super) async fn receive(&mut self) -> Result<Incoming, ClientError> {
        loop {
            let message = match self.wire.receive().await {
                Ok(Incoming::Other(message)) => message,
                Ok(incoming) => return Ok(incoming),
                Err(error) => {
                    return Err(match self.running.error.take() {
                        Some(error) => self.explain(error),
                        None => self.lost(error),
                    });
                }
            };
            match message {
                Message::NoticeResponse(body) => self.keep_notice(ServerError::read(body.fields())),
                Message::ParameterStatus(body) => {
                    if let (Ok(name), Ok(value)) = (body.name(), body.value())
                        && self.parameters.len() < PARAMETER_LIMIT
                    {
                        self.parameters.insert(name.to_owned(), value.to_owned());
                    }
                }
                Message::BackendKeyData(body) => self.key = Some((body.process_id(), body.secret_key())),
                Message::NotificationResponse(_) => {}
                message => return Ok(Incoming::Other(message)),
            }
        }
    }

    /// The next event of the running command; `None` when the server is ready again. Cancel safe.
    pub(super) async fn step(&mut self) -> Result<Option<CommandEvent>, ClientError> {
        loop {
            if !self.busy {
                return Ok(None);
            }
            let message = match self.receive().await? {
                Incoming::CopyData(bytes) => return Ok(Some(CommandEvent::Data(bytes))),
                Incoming::CopyBoth | Incoming::Negotiate => {
                    return Err(self.unexpected("replication where a result was asked for"));
                }
                Incoming::Other(message) => message,
            };
            match message {
                Message::RowDescription(body) => {
                    let columns = read_columns(&body).ok_or_else(|| self.unexpected("malformed columns"))?;
                    self.running.columns = Some(Columns::clone(&columns));
                    return Ok(Some(CommandEvent::Columns(columns)));
                }
                Message::DataRow(body) => {
                    let row = self.running.columns.as_ref().and_then(|columns| Row::read(columns, &body));
                    let row = row.ok_or_else(|| self.unexpected("a row that does not fit its columns"))?;
                    return Ok(Some(CommandEvent::Row(row)));
                }
                Message::CommandComplete(body) => {
                    self.running.columns = None;
                    let tag = body.tag().unwrap_or_default().to_owned();
                    return Ok(Some(CommandEvent::Complete(tag)));
                }
                Message::CopyOutResponse(_) => return Ok(Some(CommandEvent::CopyOut)),
                Message::CopyDone => return Ok(Some(CommandEvent::CopyEnd)),
                Message::CopyInResponse(_) => self.refuse_copy_in().await?,
                Message::EmptyQueryResponse => {}
                Message::ErrorResponse(body) => self.note_error(ServerError::read(body.fields()))?,
                Message::ReadyForQuery(_) => {
                    self.busy = false;
                    return match self.running.error.take() {
                        Some(error) => Err(self.explain(error)),
                        None => Ok(None),
                    };
                }
                _ => return Err(self.unexpected("a message that does not belong here")),
            }
        }
    }

    /// Keeps an error until the server is ready again; a fatal one is the last that is heard.
    pub(super) fn note_error(&mut self, error: ServerError) -> Result<(), ClientError> {
        if matches!(error.severity.as_str(), "FATAL" | "PANIC") {
            return Err(self.explain(error));
        }
        self.running.error.get_or_insert(error);
        Ok(())
    }

    /// Notes that the server is ready again after replication.
    pub(super) fn set_ready(&mut self) -> Result<(), ClientError> {
        self.busy = false;
        match self.running.error.take() {
            Some(error) => Err(self.explain(error)),
            None => Ok(()),
        }
    }

    async fn refuse_copy_in(&mut self) -> Result<(), ClientError> {
        self.wire.queue(|buffer| frontend::copy_fail("this client sends no data", buffer))?;
        self.wire.flush().await.map_err(|error| self.lost(error))
    }

    fn keep_notice(&mut self, notice: ServerError) {
        if self.notices.len() == NOTICE_LIMIT {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    /// Notices and warnings that came since they were last taken, oldest first; the latest 64.
    pub fn take_notices(&mut self) -> Vec<ServerError> {
        self.notices.drain(..).collect()
    }

    /// A parameter that the server reports by itself (`server_version`, `in_hot_standby`, …).
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The server's version; `None` if it reports none that can be read.
    #[must_use]
    pub fn server_version(&self) -> Option<ServerVersion> {
        let text = self.parameter("server_version")?;
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let is_release = text.chars().find(|c| !c.is_ascii_digit()) == Some('.');
        let minor = if is_release { numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0) } else { 0 };
        Some(ServerVersion { major, minor })
    }

    /// Which address the session has.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.session.endpoint
    }

    /// Whether the session is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.session.encrypted
    }

    /// The server process of the session, as in `pg_stat_activity.pid`.
    #[must_use]
    pub fn backend_pid(&self) -> Option<i32> {
        self.key.map(|(pid, _)| pid)
    }

    /// Whether the server is in recovery, a standby most likely.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn is_in_recovery(&mut self) -> Result<bool, ClientError> {
        if self.session.purpose == Purpose::Replication {
            return match self.parameter("in_hot_standby") {
                Some(value) => Ok(value == "on"),
                None => self.is_read_only().await,
            };
        }
        // Not from the parameter: a promotion is reported only with the next answer.
        let row = self.query_one("select pg_catalog.pg_is_in_recovery()").await?;
        Ok(row.at(0) == Some("t"))
    }

    /// Whether the session cannot write.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn is_read_only(&mut self) -> Result<bool, ClientError> {
        let reported = (self.parameter("in_hot_standby"), self.parameter("default_transaction_read_only"));
        if let (Some(standby), Some(read_only)) = reported {
            return Ok(standby == "on" || read_only == "on");
        }
        let row = self.query_one("SHOW transaction_read_only").await?;
        Ok(row.at(0) == Some("on"))
    }

    /// What ends the running command from elsewhere; `None` if the server gave no key for it.
    #[must_use]
    pub fn cancel_handle(&self) -> Option<CancelHandle> {
        self.key.map(|key| CancelHandle { target: self.cancel.clone(), key })
    }

    /// Says goodbye. Dropping a connection ends it too, and the server logs an unexpected end.
    pub async fn close(mut self) {
        let goodbye = async {
            // Nobody is left to tell if any of this fails: the connection is gone either way.
            let _ = self.wire.queue(|buffer| {
                frontend::terminate(buffer);
                Ok(())
            });
            let _ = self.wire.flush().await;
            let _ = self.wire.shutdown().await;
        };
        let _ = timeout(CLOSE_LIMIT, goodbye).await;
    }

    pub(super) fn explain(&self, error: ServerError) -> ClientError {
        explain(error, &self.session, &self.running.label, self.running.slot.as_deref())
    }

    pub(super) fn lost(&self, error: WireError) -> ClientError {
        lost(&self.session.endpoint, error)
    }

    pub(super) fn unexpected(&self, what: &str) -> ClientError {
        ClientError::Protocol { endpoint: self.session.endpoint.clone(), what: what.to_owned() }
    }

    pub(super) fn bad_row(&self, source: RowError) -> ClientError {
        ClientError::Row { endpoint: self.session.endpoint.clone(), source }
    }
}

/// The keywords that a command begins with: enough to know it, and never a value.
fn label(command: &str) -> String {
    let keyword = |word: &&str| word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    let words: Vec<&str> = command.split_whitespace().take(2).take_while(keyword).collect();
    let label: String = words.join(" ").chars().take(LABEL_CHARS).collect();
    if label.is_empty() { "a command".to_owned() } else { format!("`{label} …`") }
}

/// A running command.
pub struct CommandStream<'a> {
    connection: &'a mut Connection,
}

impl CommandStream<'_> {
    /// What comes next; `None` once the command is done and the connection free. Cancel safe.
    ///
    /// # Errors
    /// [`ClientError`]; after an error of the server the connection is free too.
    pub async fn next(&mut self) -> Result<Option<CommandEvent>, ClientError> {
        self.connection.step().await
    }
}

/// A running `COPY … TO STDOUT`.
pub struct CopyOut<'a> {
    stream: CommandStream<'a>,
}

impl CopyOut<'_> {
    /// The next bytes; `None` once the command is done and the connection free. Cancel safe.
    ///
    /// # Errors
    /// As [`CommandStream::next`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(event) = self.stream.next().await? {
            if let CommandEvent::Data(bytes) = event {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_hold_no_values() {
        assert_eq!(label("select 1"), "`select …`");
        assert_eq!(label("ALTER ROLE x PASSWORD 'secret'"), "`ALTER ROLE …`");
        assert_eq!(label("'secret'"), "a command");
        assert_eq!(label(""), "a command");
    }
}
