//! A server of a test's own, with its data.

use super::guard::Guard;
use super::installation::Installation;
use super::options::{ClusterOptions, line};
use super::process::{attempt, children, ended, must, runs};
use super::user::{give_to_server_user, scratch_directory};
use super::{initdb, ready};
use crate::ports::Port;
use crate::wait::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// To start, crash recovery included, and to stop, last WAL to standbys included.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of the server's log, what a failed test prints.
const LOG_TAIL_LINES: usize = 80;

/// A PostgreSQL server and its data directory, both gone when dropped.
///
/// # Invariants
/// - Its port and socket stay its own while it is down, so [`Cluster::conninfo`] never changes.
/// - Where the server listens is given on its command line, not in the data directory: a copy of that
///   can be started elsewhere at the same time.
/// - When the test's process dies without dropping it, a guard kills the server and removes the data.
/// - Its system identifier is its own.
#[derive(Debug)]
pub struct Cluster {
    installation: Installation,
    data: PathBuf,
    wait: bool,
    postmaster: Mutex<Option<Child>>,
    port: Port,
    // Before `scratch`: it removes what the server's user owns.
    guard: Guard,
    scratch: tempfile::TempDir,
}

impl Cluster {
    /// Makes a data directory and starts a server on it.
    ///
    /// # Panics
    /// When any of that fails, with what the programs printed and the server's log.
    #[must_use]
    pub fn start(installation: &Installation, options: &ClusterOptions) -> Self {
        let cluster = Self::unstarted(installation, options, None);
        initdb::create(installation, options, &cluster.data);
        cluster.configure(options);
        cluster.restart();
        cluster
    }

    /// Starts a server on a data directory that exists, such as a restored one; only the directory
    /// itself outlives the server. The server's user becomes its owner.
    ///
    /// # Panics
    /// When it does not start, with its log.
    #[must_use]
    pub fn open(installation: &Installation, data: &Path, options: &ClusterOptions) -> Self {
        let cluster = Self::unstarted(installation, options, Some(data));
        cluster.configure(options);
        cluster.restart();
        cluster
    }

    /// A streaming standby of this server, caught up to now, fed through a slot of its own.
    ///
    /// It is known to the primary by its [`Cluster::name`], as slot and as `application_name`.
    ///
    /// # Panics
    /// When the copy cannot be made or does not start.
    #[must_use]
    pub fn standby(&self, options: &ClusterOptions) -> Self {
        let standby = Self::unstarted(&self.installation, options, None);
        let mut copy = self.command("pg_basebackup");
        copy.args(["-R", "-X", "stream", "--checkpoint=fast", "-C", "-S", &standby.name()]);
        must(with_data(copy, &standby.data));
        standby.configure(options);
        standby.restart();
        standby
    }

    fn unstarted(installation: &Installation, options: &ClusterOptions, data: Option<&Path>) -> Self {
        let scratch = scratch_directory();
        let data = data.map_or_else(|| scratch.path().join("data"), Path::to_owned);
        Self {
            installation: installation.clone(),
            wait: options.wait,
            postmaster: Mutex::new(None),
            port: Port::lease(),
            guard: Guard::start(scratch.path(), &data),
            data,
            scratch,
        }
    }

    fn configure(&self, options: &ClusterOptions) {
        let text = options.configuration() + &line("cluster_name", &self.name());
        self.append_configuration(&text);
    }

    fn append_configuration(&self, text: &str) {
        let path = self.data.join("postgresql.conf");
        let file = File::options().append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(format!("\n{text}").as_bytes()));
        written.unwrap_or_else(|error| panic!("append to {}: {error}", path.display()));
    }

    /// Stops the server if it runs, and starts it.
    ///
    /// # Panics
    /// When it does not start, with its log.
    pub fn restart(&self) {
        self.stop();
        give_to_server_user(&self.data);
        let mut postgres = with_data(self.installation.command("postgres"), &self.data);
        for (name, value) in [
            ("port", self.port.number.to_string()),
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("unix_socket_directories", self.scratch.path().display().to_string()),
        ] {
            postgres.arg("-c").arg(format!("{name}={value}"));
        }
        let log = File::options().create(true).append(true).open(self.log_path()).expect("open the log");
        let log_twin = log.try_clone().expect("open the log twice");
        postgres.stdin(Stdio::null()).stdout(log_twin).stderr(log);
        let child = postgres.spawn().unwrap_or_else(|error| panic!("run {postgres:?}: {error}"));
        self.guard.watch(child.id());
        *self.postmaster() = Some(child);
        if self.wait {
            self.wait_until_ready();
        }
    }

    /// Waits until the server accepts connections.
    ///
    /// # Panics
    /// When it ends, or still does not accept any after two minutes; with its log.
    pub fn wait_until_ready(&self) {
        let ready = wait_for(PATIENCE, || {
            assert!(self.is_running(), "the server ended instead of starting:\n{}", self.log_tail());
            ready::accepts_connections(&self.socket_path()).then_some(())
        });
        assert!(ready.is_some(), "the server does not accept connections:\n{}", self.log_tail());
    }

    /// Whether the server's process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let mut postmaster = self.postmaster();
        let Some(child) = postmaster.as_mut() else { return false };
        let running = child.try_wait().expect("look at our own child").is_none();
        if !running {
            *postmaster = None;
            self.guard.forget();
        }
        running
    }

    /// Stops the server as an administrator would (a fast shutdown); nothing when it is down.
    ///
    /// # Panics
    /// When it does not stop, with its log.
    pub fn stop(&self) {
        self.end(Signal::INT);
    }

    fn end(&self, signal: Signal) {
        let Some(mut child) = self.postmaster().take() else { return };
        let running = child.try_wait().expect("look at our own child").is_none();
        if running {
            kill_process(Pid::from_child(&child), signal).expect("signal our own child");
            if !ended(&mut child, PATIENCE) {
                child.kill().expect("kill our own child");
                child.wait().expect("wait for our own child");
                self.guard.forget();
                panic!("the server did not stop in {PATIENCE:?}:\n{}", self.log_tail());
            }
        }
        self.guard.forget();
    }

    /// Kills every process of the server as a power cut would, and returns when all are gone.
    ///
    /// # Panics
    /// When it does not run, or its processes cannot be killed.
    pub fn kill9(&self) {
        let mut child = self.postmaster().take().expect("only a running server can be killed");
        let workers = children(child.id());
        child.kill().expect("kill our own child");
        child.wait().expect("wait for our own child");
        self.guard.forget();
        for worker in &workers {
            let pid = i32::try_from(*worker).ok().and_then(Pid::from_raw).expect("a pid from /proc");
            // It may have followed its parent already.
            let _ = kill_process(pid, Signal::KILL);
        }
        let gone = wait_for(PATIENCE, || workers.iter().all(|worker| !runs(*worker)).then_some(()));
        assert!(gone.is_some(), "workers of a killed server live on: {workers:?}");
    }

    /// Loses the data directory: kills the server if it runs, and removes all of it.
    ///
    /// # Panics
    /// When it cannot be removed.
    pub fn erase_data_directory(&self) {
        if self.is_running() {
            self.kill9();
        }
        self.release_shared_memory();
        std::fs::remove_dir_all(&self.data)
            .unwrap_or_else(|error| panic!("remove {}: {error}", self.data.display()));
    }

    /// A killed server leaves a System V segment behind, which its next start would have taken over.
    fn release_shared_memory(&self) {
        let Ok(text) = std::fs::read_to_string(self.data.join("postmaster.pid")) else { return };
        // Source: line 7 of the lock file, "shmem key and ID", in miscadmin.h.
        let id = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
        if let Some(id) = id {
            // Gone already is as well.
            let _ = Command::new("ipcrm").args(["-m", id]).stderr(Stdio::null()).status();
        }
    }

    /// Ends recovery: the standby becomes a primary on a new timeline.
    ///
    /// # Panics
    /// When it is no standby, or does not finish.
    pub fn promote(&self) {
        assert_eq!(self.psql("select pg_promote()"), "t", "pg_promote:\n{}", self.log_tail());
    }

    /// Appends a line to `postgresql.conf` and has the server read it, which takes it a moment.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set(&self, name: &str, value: &str) {
        self.append_configuration(&line(name, value));
        if let Some(child) = self.postmaster().as_ref() {
            // A server that has just ended reads it at its next start.
            let _ = kill_process(Pid::from_child(child), Signal::HUP);
        }
    }

    /// What `sql` returns: a row a line, columns separated by `|`, no trailing newline.
    ///
    /// # Panics
    /// When it fails, with the server's message.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        match self.try_psql(sql) {
            Ok(rows) => rows,
            Err(complaint) => panic!("{complaint}"),
        }
    }

    /// As [`Cluster::psql`], for what is meant to fail.
    ///
    /// # Errors
    /// What psql printed.
    pub fn try_psql(&self, sql: &str) -> Result<String, String> {
        let mut psql = self.command("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        attempt(&mut psql).map(|rows| rows.trim_end_matches('\n').to_owned())
    }

    /// Runs `sql` in `database`, each statement on its own, as a person would type them; returns the rows.
    ///
    /// # Panics
    /// When one fails, with the server's message.
    #[track_caller]
    pub fn script(&self, database: &str, sql: &str) -> String {
        let script = self.scratch.path().join("script.sql");
        std::fs::write(&script, sql).unwrap_or_else(|error| panic!("write {}: {error}", script.display()));
        let mut psql = self.command("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f"]).arg(&script);
        must(psql).trim().to_owned()
    }

    /// Runs pgbench with these arguments and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn pgbench(&self, arguments: &[&str]) -> String {
        let mut pgbench = self.command("pgbench");
        pgbench.args(arguments);
        must(pgbench)
    }

    /// A command that runs one of the installation's programs as the server's user, its environment
    /// leading to this server.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.installation.command(program);
        command.env("PGHOST", self.scratch.path()).env("PGPORT", self.port.number.to_string());
        command.env("PGUSER", "postgres").env("PGDATABASE", "postgres");
        command
    }

    /// How to reach it over TCP, as libpq's keywords and values.
    #[must_use]
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port.number)
    }

    /// How to reach it over its Unix socket.
    #[must_use]
    pub fn socket_conninfo(&self) -> String {
        let directory = self.scratch.path().display();
        format!("host={directory} port={} user=postgres dbname=postgres", self.port.number)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// Its `cluster_name`, different for all that run at once.
    #[must_use]
    pub fn name(&self) -> String {
        format!("cluster_{}", self.port.number)
    }

    /// The programs that it runs.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Its data directory.
    #[must_use]
    pub fn data_directory(&self) -> &Path {
        &self.data
    }

    /// A directory that the server's user owns, removed with the cluster: room for tablespaces.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The pid of the postmaster, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.postmaster().as_ref().map(Child::id)
    }

    /// All that the server has logged since the cluster was made.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    fn socket_path(&self) -> PathBuf {
        self.scratch.path().join(format!(".s.PGSQL.{}", self.port.number))
    }

    fn postmaster(&self) -> MutexGuard<'_, Option<Child>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    #[expect(clippy::print_stderr, reason = "a failed test shows what its server had to say")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of PostgreSQL {}, {}:\n{}", self.installation.major, self.name(), self.log_tail());
        }
        // Immediate: nothing of it is kept, but its shared memory is given back.
        let Some(mut child) = self.postmaster().take() else { return };
        let _ = kill_process(Pid::from_child(&child), Signal::QUIT);
        if !ended(&mut child, PATIENCE) {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.guard.forget();
    }
}

fn with_data(mut command: Command, data: &Path) -> Command {
    command.arg("-D").arg(data);
    command
}
