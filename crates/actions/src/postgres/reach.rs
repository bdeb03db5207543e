//! How the servers of a cluster are reached, and asked.
//!
//! # Invariants
//! - **R1 in time.** Logins and statements have limits below the step's own, here and at the server.
//! - **R2 no password is told.** It comes from the plan's file or the environment, as libpq takes it, and goes nowhere
//!   else.
//! - **R3 the primary is asked for.** Of several hosts the primary is the one that is not in recovery, whatever the
//!   connection string would be content with.

use lifeboat_base::error_chain;
use lifeboat_core::runbook::Server;
use lifeboat_core::runbook::postgres::{NO_LIBRARY, On};
use lifeboat_postgres::client::{
    ClientError, Connection, Conninfo, ConninfoError, Password, Purpose, Row, TargetSessionAttrs,
};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How long a server may take to let us in.
const LOGIN: Duration = Duration::from_secs(10);
/// Of a step's time, what is kept to say how it went.
const RESERVE: u32 = 10;
/// The longest such reserve.
const RESERVE_LIMIT: Duration = Duration::from_secs(3);
/// Largest file with a password that is read.
const PASSWORD_LIMIT_BYTES: u64 = 64 << 10;
/// Permission bits that only others than the owner need.
const OTHERS: u32 = 0o077;
/// SQLSTATE `read_only_sql_transaction`.
const READ_ONLY_TRANSACTION: &str = "25006";
/// SQLSTATE `feature_not_supported`: a standby is asked for a transaction that writes.
const NOT_DURING_RECOVERY: &str = "0A000";
/// SQLSTATE `insufficient_privilege`: asked after whether the transaction may write at all.
pub(super) const NOT_PERMITTED: &str = "42501";
/// SQLSTATE `undefined_file`: a session could not load what it must.
const UNDEFINED_FILE: &str = "58P01";
/// A write that changes nothing: whether it may be is asked before who asks, and before rows are looked for.
const WRITE: &str = "UPDATE pg_catalog.pg_description SET description = description WHERE false";

/// Why a server did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("the plan's connection string cannot be used")]
    Address(#[source] ConninfoError),
    #[error("the file {} with the password cannot be read", path.display())]
    Password { path: PathBuf, source: std::io::Error },
    #[error("others than its owner can read {path}, which holds a password; run: chmod 0600 {path}", path = path.display())]
    Exposed { path: PathBuf },
    #[error("{0}")]
    Client(#[source] Box<ClientError>),
    #[error("{at} did not answer in the time of the step")]
    Late { at: String },
    #[error("no server that `{at}` leads to is a primary: all that answer are in recovery")]
    NoPrimary { at: String },
    #[error("the plan's role at {at} is no superuser, and only one can have it refuse sessions")]
    NotSuperuser { at: String },
    #[error("the answer of {at} was not understood")]
    Answer { at: String },
}

impl AskError {
    /// For a person, with what the server said.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Client(error) => {
                let mut text = error_chain(error.as_ref());
                if self.code() == Some(NOT_PERMITTED) {
                    text += "; grant it, or connect as a superuser (docs/runbooks.md, \"Rights\")";
                }
                text
            }
            error => error_chain(error),
        }
    }

    /// The server's SQLSTATE, if it spoke.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Client(error) => error.server_error().map(|said| said.code.as_str()),
            _ => None,
        }
    }

    /// Whether a server was there, and let no session begin because it is fenced.
    pub(crate) fn is_fence(&self) -> bool {
        match self {
            Self::Client(error) => error
                .server_error()
                .is_some_and(|said| said.code == UNDEFINED_FILE && said.message.contains(NO_LIBRARY)),
            _ => false,
        }
    }

    /// Whether the server said that the statement failed, and lives on: then that is all that came of it.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Client(error) => error.server_error().is_some_and(|said| said.severity == "ERROR"),
            _ => false,
        }
    }
}

impl From<ClientError> for AskError {
    fn from(error: ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

/// The moment by which all must be over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until(Instant);

impl Until {
    /// For a step with that limit.
    pub(crate) fn of(limit: Duration) -> Self {
        Self(Instant::now() + limit.saturating_sub((limit / RESERVE).min(RESERVE_LIMIT)))
    }

    /// That, or earlier.
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self(self.0.min(Instant::now() + limit))
    }

    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub(crate) fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// Waits a while, but not longer than there is.
    pub(crate) async fn pause(self, length: Duration) {
        tokio::time::sleep(length.min(self.left())).await;
    }
}

/// How one address of the plan is reached.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    info: Conninfo,
    on: On,
}

/// A session with a server, under the step's limit (R1).
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    until: Until,
}

impl Reach {
    /// To one of the cluster's servers.
    ///
    /// # Errors
    /// If the plan does not say how, or the password cannot be had.
    pub(crate) fn new(server: &Server, on: On) -> Result<Self, AskError> {
        let text = server.address(on).unwrap_or_default();
        let info = Conninfo::parse(text, &|name| std::env::var(name).ok()).map_err(AskError::Address)?;
        let info = info.with_default_application_name("lifeboat").with_target(TargetSessionAttrs::Any);
        let info = match &server.password_file {
            Some(file) => info.with_password(password(Path::new(file))?),
            None => info,
        };
        Ok(Self { info, on })
    }

    /// Each of its hosts for itself.
    pub(crate) fn hosts(&self) -> Vec<Self> {
        let one = |host: &lifeboat_postgres::client::Host| Self {
            info: self.info.clone().with_host(host.clone()),
            on: self.on,
        };
        self.info.hosts().iter().map(one).collect()
    }

    /// The same, with settings for the session.
    pub(crate) fn with_options(&self, options: &str) -> Self {
        Self { info: self.info.clone().with_more_options(options), on: self.on }
    }

    /// As what a person is told, or another program.
    pub(crate) fn told(&self) -> String {
        self.info.without_secrets()
    }

    /// Opens a session: with the primary where the primary is meant (R3), else with whoever answers first.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn open(&self, until: Until) -> Result<Session, AskError> {
        if self.on != On::Primary {
            return self.any(until).await;
        }
        let (mut failed, mut has_standby) = (None, false);
        for host in self.hosts() {
            match host.any(until).await {
                Ok(mut session) => match session.is_in_recovery().await {
                    Ok(false) => return Ok(session),
                    Ok(true) => has_standby = true,
                    Err(error) => failed = Some(error),
                },
                Err(error) => failed = Some(error),
            }
        }
        Err(match failed {
            Some(error) => error,
            None if has_standby => AskError::NoPrimary { at: self.told() },
            None => AskError::Late { at: self.told() },
        })
    }

    /// Opens a session with whoever answers first.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn any(&self, until: Until) -> Result<Session, AskError> {
        let limit = LOGIN.min(until.left());
        let connected = tokio::time::timeout(limit, Connection::connect(&self.info, Purpose::Sql)).await;
        let connection = connected.map_err(|_| AskError::Late { at: self.told() })??;
        let mut session = Session { connection, until };
        // The server gives up what nobody waits for any more.
        let limit_ms = until.left().as_millis().max(1);
        session.rows(&format!("SET statement_timeout = {limit_ms}")).await?;
        Ok(session)
    }
}

impl Session {
    /// Runs statements and returns the rows of all.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, AskError> {
        let cancel = self.connection.cancel_handle();
        match tokio::time::timeout(self.until.left(), self.connection.query(sql)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                if let Some(cancel) = cancel {
                    // As well as can be: the server has a limit of its own.
                    tokio::spawn(async move { cancel.cancel().await });
                }
                Err(AskError::Late { at: self.at() })
            }
        }
    }

    /// The first value of the first row; nothing if there is none, or it is null.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn value(&mut self, sql: &str) -> Result<Option<String>, AskError> {
        let rows = self.rows(sql).await?;
        Ok(rows.first().and_then(|row| row.at(0)).map(str::to_owned))
    }

    /// The same, where there must be one.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn text(&mut self, sql: &str) -> Result<String, AskError> {
        let value = self.value(sql).await?;
        value.ok_or_else(|| AskError::Answer { at: self.at() })
    }

    /// # Errors
    /// [`AskError`].
    pub(crate) async fn is_in_recovery(&mut self) -> Result<bool, AskError> {
        Ok(self.text("SELECT pg_is_in_recovery()").await? == "t")
    }

    /// Which cluster it is, by its system identifier.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn system(&mut self) -> Result<String, AskError> {
        self.text("SELECT system_identifier FROM pg_control_system()").await
    }

    /// Whether a transaction can write: one that is as all are, or one that asks for it. Nothing is written.
    ///
    /// # Errors
    /// [`AskError`] if that could not be found out.
    pub(crate) async fn takes_writes(&mut self, asked_for: bool) -> Result<bool, AskError> {
        let begin = if asked_for { "BEGIN READ WRITE" } else { "BEGIN" };
        match self.rows(&format!("{begin}; {WRITE}; ROLLBACK")).await {
            Ok(_) => Ok(true),
            Err(error) => {
                let is_open = match error.code() {
                    Some(READ_ONLY_TRANSACTION | NOT_DURING_RECOVERY) => false,
                    Some(NOT_PERMITTED) => true,
                    _ => return Err(error),
                };
                self.rows("ROLLBACK").await?;
                Ok(is_open)
            }
        }
    }

    /// Which server this is, among those that run: when it was started.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn started(&mut self) -> Result<String, AskError> {
        self.text("SELECT pg_postmaster_start_time()::text").await
    }

    /// Which address it has.
    pub(crate) fn at(&self) -> String {
        self.connection.endpoint().to_string()
    }
}

/// The first line of a file that only its owner can read (R2).
fn password(path: &Path) -> Result<Password, AskError> {
    let failed = |source| AskError::Password { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() && metadata.mode() & OTHERS != 0 {
        return Err(AskError::Exposed { path: path.to_owned() });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(PASSWORD_LIMIT_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(Password::new(text.lines().next().unwrap_or_default().to_owned()))
}
