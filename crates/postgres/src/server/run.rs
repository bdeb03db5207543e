//! One server of our own: started, asked how far it is, promoted, stopped.

use super::account::Account;
use super::configuration::{Configuration, configure, conninfo_value, escape};
use super::install::Installation;
use crate::client::{ClientError, Connection, Conninfo, ConninfoError, Purpose};
use crate::restore::{RestoreError, Stop, end_recovery, link_made_by_replay, pid_file, running_server};
use crate::view::real_name;
use lifeboat_base::Lsn;
use lifeboat_pgformat::{ControlError, ControlFile, PG_CONTROL_PATH};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The log of a server that we started, in its data directory.
pub const RECOVERED_LOG: &str = "lifeboat.log";
/// Between two looks at a server that is on its way.
pub(super) const POLL: Duration = Duration::from_millis(20);
/// Of a server's log, what an error shows.
const LOG_TAIL_BYTES: u64 = 16 << 10;
/// Lines of it.
const LOG_TAIL_LINES: usize = 12;
/// From the loss of a connection to the end of a server that is ending.
const ENDING_LIMIT: Duration = Duration::from_secs(5);
/// Where `postmaster.pid` names the port, and after it the directory of the socket.
const PORT_LINE: usize = 3;
/// How long a server may take to stop before it is killed.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// The data directory.
    pub directory: PathBuf,
    /// The programs.
    pub installation: Installation,
    /// Whom it runs as, if not ourselves.
    pub account: Option<Account>,
    /// The port; it only names the socket.
    pub port: u16,
    /// Roles to log in as, the first that exists is taken.
    pub users: Vec<String>,
}

/// Why a server of ours does not run as it should.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A file of its configuration.
    #[error("{} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directory has no sound control file.
    #[error("{} has no sound {PG_CONTROL_PATH}: it is no whole data directory", path.display())]
    Control {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        source: ControlError,
    },
    /// Tablespaces that replay made.
    #[error("the tablespaces that were made since the backup cannot be put in their place")]
    Tablespaces(#[source] RestoreError),
    /// It ended.
    #[error("the server ended before it was ready; its log, {}, ends with:\n{tail}", log.display())]
    Ended {
        /// The log.
        log: PathBuf,
        /// Its end.
        tail: String,
    },
    /// It opened by itself (V2).
    #[error("the server opened for writing instead of waiting at its target: do not use it; its log is {}", .0.display())]
    OpenedEarly(PathBuf),
    /// It paused elsewhere (V2).
    #[error("the server paused at {reached}, short of its target {target}; its log, {}, ends with:\n{tail}", log.display())]
    PausedShort {
        /// Where it should have stopped.
        target: Lsn,
        /// Where it stopped.
        reached: Lsn,
        /// The log.
        log: PathBuf,
        /// Its end.
        tail: String,
    },
    /// Nobody is let in.
    #[error("the server lets none of {} in", .users.join(", "))]
    Login {
        /// The roles that were tried.
        users: Vec<String>,
        /// What it said to the last.
        source: ClientError,
    },
    /// One of before lives on.
    #[error("processes of the server that ran in {} before live on: end them", .0.display())]
    Stranded(PathBuf),
    /// There is nobody to log in as.
    #[error("no role was named to log in as")]
    NoUser,
    /// It did not answer a question.
    #[error("the server did not answer")]
    Client(#[source] ClientError),
    /// The socket's directory cannot be named in a connection string.
    #[error("the socket's directory cannot be named")]
    Conninfo(#[source] ConninfoError),
}

fn file_error(path: &Path) -> impl Fn(std::io::Error) -> ServerError + '_ {
    |source| ServerError::File { path: path.to_owned(), source }
}

/// A server of ours. Dropping it stops the server at once, unless it was [`Server::detach`]ed.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    pid: u32,
    directory: PathBuf,
    sockets: PathBuf,
    port: u16,
    users: Vec<String>,
}

/// What a server gets of our environment.
const KEPT_ENVIRONMENT: [&str; 6] = ["PATH", "HOME", "USER", "TZ", "TMPDIR", "LD_LIBRARY_PATH"];

impl Server {
    /// Starts a server; it may still be far from answering.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn start(options: &StartOptions) -> Result<Self, ServerError> {
        let directory = &options.directory;
        let control_path = directory.join(PG_CONTROL_PATH);
        let control = std::fs::read(&control_path).map_err(file_error(&control_path))?;
        let control = ControlFile::parse(&control)
            .map_err(|source| ServerError::Control { path: directory.clone(), source })?;
        let owner = options.account.map(Account::pair);
        let Configuration { sockets, settings } =
            configure(directory, &control, options.port, owner).map_err(file_error(directory))?;
        let log_path = directory.join(RECOVERED_LOG);
        let log = OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.map_err(file_error(&log_path))?;
        if let Some((user, group)) = owner {
            chown(&log_path, Some(user), Some(group)).map_err(file_error(&log_path))?;
        }
        let mut command = Command::new(options.installation.program("postgres"));
        command.arg("-D").arg(directory);
        for (name, value) in &settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        if let Some(account) = options.account {
            account.apply(&mut command);
        }
        let errors = log.try_clone().map_err(file_error(&log_path))?;
        // A group of its own: a Ctrl-C for us is not one for it.
        command.current_dir(directory).process_group(0);
        // Whoever may run commands on this server reads its environment: ours holds keys and credentials.
        command
            .env_clear()
            .envs(KEPT_ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let program = options.installation.program("postgres");
        let child = command.spawn().map_err(file_error(&program))?;
        Ok(Self {
            pid: child.id(),
            child: Some(child),
            directory: directory.clone(),
            sockets,
            port: options.port,
            users: options.users.clone(),
        })
    }

    /// Logs in as this role from now on, before any other.
    fn log_in_as(&mut self, user: &str) {
        self.users.retain(|other| other != user);
        self.users.insert(0, user.to_owned());
    }

    /// The server of ours that runs in `directory` though whoever started it has ended; `None` if none does.
    #[must_use]
    pub fn adopt(directory: &Path, users: &[String]) -> Option<Self> {
        let process = running_server(directory)?;
        // The number in a file that a killed server left may be another process's by now.
        if !works_in(process, directory) {
            return None;
        }
        let text = pid_file(directory).ok()?;
        let mut lines = text.lines().skip(PORT_LINE);
        let port = lines.next()?.trim().parse().ok()?;
        let sockets = lines.next().map(str::trim).filter(|sockets| !sockets.is_empty());
        Some(Self {
            child: None,
            pid: u32::try_from(process).ok()?,
            directory: directory.to_owned(),
            sockets: sockets.map_or_else(|| directory.to_owned(), PathBuf::from),
            port,
            users: users.to_vec(),
        })
    }

    /// How to reach it, as what `psql` takes: once it answered, as the role that every cluster is made with.
    #[must_use]
    pub fn address(&self) -> String {
        let user = conninfo_value(self.users.first().map_or("postgres", String::as_str));
        let host = conninfo_value(&self.sockets.display().to_string());
        format!("host={host} port={} user={user} dbname=postgres", self.port)
    }

    /// Its data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Roles to log in as, the best first.
    #[must_use]
    pub fn users(&self) -> &[String] {
        &self.users
    }

    /// The port that names its socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Leaves it running when this is dropped.
    pub fn detach(&mut self) {
        self.child = None;
    }

    /// Waits until it answers, however long its recovery takes, and connects.
    ///
    /// # Errors
    /// [`ServerError::Ended`] if it ends before; [`ServerError::Login`].
    pub async fn answering(&mut self) -> Result<Connection, ServerError> {
        loop {
            self.must_run()?;
            if let Some((user, mut connection)) = self.connect().await? {
                self.log_in_as(&user);
                self.prefer_bootstrap_role(&mut connection).await;
                return Ok(connection);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until it has paused where it should (V2), and tells how far replay is on the way.
    ///
    /// # Errors
    /// [`ServerError`]; the server is then not to be used.
    pub async fn recovered(
        &mut self,
        stop: Stop,
        replayed: &(dyn Fn(Lsn) + Sync),
    ) -> Result<Lsn, ServerError> {
        let mut connection = self.answering().await?;
        // A server that has opened refuses to speak of pauses.
        let question = "SELECT pg_is_in_recovery() AS recovering, pg_last_wal_replay_lsn() AS replayed, \
             CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END AS state";
        loop {
            self.must_run()?;
            let row = match connection.query_one(question).await {
                Ok(row) => row,
                Err(error) => {
                    self.must_survive().await?;
                    return Err(ServerError::Client(error));
                }
            };
            let text = |column: &str| row.optional(column).ok().flatten().unwrap_or_default().to_owned();
            if text("recovering") != "t" {
                return Err(ServerError::OpenedEarly(self.log()));
            }
            let reached: Lsn = text("replayed").parse().unwrap_or(Lsn(0));
            replayed(reached);
            if text("state") == "paused" {
                let Stop { lsn: target, inclusive } = stop;
                // Of the record at `target`, replay has seen the end, or has stopped right before it.
                let is_there = if inclusive { reached > target } else { reached >= last_before(target) };
                if is_there {
                    return Ok(reached);
                }
                let (log, tail) = (self.log(), self.log_tail());
                return Err(ServerError::PausedShort { target, reached, log, tail });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Opens it for writing, on a timeline of its own, and takes the recovery settings out.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn promote(&mut self) -> Result<(), ServerError> {
        link_made_by_replay(&self.directory).map_err(ServerError::Tablespaces)?;
        // What `pg_ctl promote` does: it needs no role.
        let signal = self.directory.join("promote");
        File::create(&signal).map_err(file_error(&signal))?;
        self.signal(Signal::USR1);
        let mut connection = self.answering().await?;
        loop {
            self.must_run()?;
            if !connection.is_in_recovery().await.map_err(ServerError::Client)? {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        end_recovery(&self.directory).map_err(file_error(&self.directory))
    }

    /// Has it write all that replay changed: in recovery that is a restartpoint. It takes as long as the disk does.
    ///
    /// # Errors
    /// [`ServerError`]; also if no role that it lets in may ask for that.
    pub async fn checkpoint(&mut self) -> Result<(), ServerError> {
        let mut connection = self.answering().await?;
        connection.query("CHECKPOINT").await.map(drop).map_err(ServerError::Client)
    }

    /// Kills it without a word, as a power cut would. Its data is as good as its WAL.
    pub fn kill9(mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            // Reaped, so that its number is free again; there is nothing to learn from it.
            let _ = child.wait();
        }
    }

    /// Stops it in order: what it has is on the disk afterwards.
    ///
    /// # Errors
    /// [`ServerError`] if it had ended already.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        self.halt().await
    }

    /// As [`Server::stop`], for one who only borrows it.
    ///
    /// # Errors
    /// As [`Server::stop`].
    pub async fn halt(&mut self) -> Result<(), ServerError> {
        self.must_run()?;
        self.signal(Signal::INT);
        let mut waited = Duration::ZERO;
        while self.must_run().is_ok() {
            if waited > STOP_LIMIT {
                self.signal(Signal::QUIT);
                break;
            }
            tokio::time::sleep(POLL).await;
            waited += POLL;
        }
        self.child = None;
        remove_sockets(&self.sockets, &self.directory);
        Ok(())
    }

    /// A connection to `database`, as the first of the users that exists.
    ///
    /// # Errors
    /// [`ServerError::Login`], [`ServerError::Client`].
    pub async fn connect_to(&self, database: &str) -> Result<Connection, ServerError> {
        let mut refused = None;
        for user in &self.users {
            match self.log_in(user, database).await? {
                Ok(connection) => return Ok(connection),
                Err(error) => refused = Some(error),
            }
        }
        Err(match refused {
            Some(source) if is_missing(&source) => ServerError::Login { users: self.users.clone(), source },
            Some(error) => ServerError::Client(error),
            None => ServerError::NoUser,
        })
    }

    /// The superuser that `initdb` made may do everything, whatever it is called.
    async fn prefer_bootstrap_role(&mut self, connection: &mut Connection) {
        /// `BOOTSTRAP_SUPERUSERID` in PostgreSQL's `pg_authid.dat`.
        const QUESTION: &str = "SELECT rolname FROM pg_roles WHERE oid = 10 AND rolcanlogin";
        // Whoever logged in will do.
        let Ok(rows) = connection.query(QUESTION).await else { return };
        if let Some(name) = rows.first().and_then(|row| row.at(0)) {
            self.log_in_as(name);
        }
    }

    /// A connection and its role, or `None` while it lets nobody in yet.
    async fn connect(&self) -> Result<Option<(String, Connection)>, ServerError> {
        let mut refused = None;
        for user in &self.users {
            for database in ["postgres", "template1"] {
                match self.log_in(user, database).await? {
                    Ok(connection) => return Ok(Some((user.clone(), connection))),
                    Err(error) if is_missing(&error) => refused = Some(error),
                    // 57P03: it is starting up; anything else before it listens.
                    Err(_) => return Ok(None),
                }
            }
        }
        match refused {
            Some(source) => Err(ServerError::Login { users: self.users.clone(), source }),
            None => Err(ServerError::NoUser),
        }
    }

    async fn log_in(
        &self,
        user: &str,
        database: &str,
    ) -> Result<Result<Connection, ClientError>, ServerError> {
        let text = format!(
            "host='{}' port={} user='{}' dbname='{}' connect_timeout=5 application_name=lifeboat",
            escape(&self.sockets.display().to_string()),
            self.port,
            escape(user),
            escape(database)
        );
        let info = Conninfo::parse(&text, &|_| None).map_err(ServerError::Conninfo)?;
        Ok(Connection::connect(&info, Purpose::Sql).await)
    }

    /// A server that lost its connection is ending, as a rule; then its log says more than the connection.
    async fn must_survive(&mut self) -> Result<(), ServerError> {
        let mut waited = Duration::ZERO;
        while waited < ENDING_LIMIT {
            self.must_run()?;
            tokio::time::sleep(POLL).await;
            waited += POLL;
        }
        Ok(())
    }

    fn must_run(&mut self) -> Result<(), ServerError> {
        let has_ended = match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            // One that was adopted is another's child: until that one has waited for it, its number is taken.
            None => !i32::try_from(self.pid).is_ok_and(|pid| works_in(pid, &self.directory)),
        };
        if !has_ended {
            return Ok(());
        }
        self.child = None;
        Err(ServerError::Ended { log: self.log(), tail: self.log_tail() })
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid as i32) {
            // It may be gone already, which is looked at elsewhere.
            let _ = kill_process(pid, signal);
        }
    }

    fn log(&self) -> PathBuf {
        self.directory.join(RECOVERED_LOG)
    }

    fn log_tail(&self) -> String {
        tail(&self.log()).unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        self.signal(Signal::QUIT);
        let _ = child.wait();
        remove_sockets(&self.sockets, &self.directory);
    }
}

/// Ends the server that still runs in `directory` though the process that started it was killed. What it holds
/// is meant to be thrown away: nothing is written any more.
pub async fn end_orphan(directory: &Path) {
    let Some(pid) = running_server(directory).and_then(Pid::from_raw) else { return };
    let mut waited = Duration::ZERO;
    // The number may be another process's by now.
    while works_in(pid.as_raw_nonzero().get(), directory) {
        let signal = if waited < STOP_LIMIT { Signal::QUIT } else { Signal::KILL };
        // It may be gone already, which the next look shows.
        let _ = kill_process(pid, signal);
        tokio::time::sleep(POLL).await;
        waited += POLL;
    }
}

/// Whether the role, or the database, does not exist.
fn is_missing(error: &ClientError) -> bool {
    error.server_error().is_some_and(|said| said.code == "28000" || said.code == "3D000")
}

/// The start of the record before `target` may be all that replay has seen: pages have headers between.
fn last_before(target: Lsn) -> Lsn {
    /// The longest header of a WAL page, and padding.
    const SLACK_BYTES: u64 = 64;
    Lsn(target.0.saturating_sub(SLACK_BYTES))
}

/// Whether a process works in `directory`, as a server does in its own.
pub(super) fn works_in(process: i32, directory: &Path) -> bool {
    let cwd = std::fs::read_link(format!("/proc/{process}/cwd"));
    // A view whose process was killed cannot be looked into: its name must do.
    let named = directory.canonicalize().or_else(|_| real_name(directory));
    let directory = named.unwrap_or_else(|_| directory.to_owned());
    cwd.is_ok_and(|cwd| cwd == directory)
}

fn remove_sockets(sockets: &Path, directory: &Path) {
    if sockets != directory {
        // Empty once the server has stopped; if not, it is left.
        let _ = std::fs::remove_dir(sockets);
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"))
}
