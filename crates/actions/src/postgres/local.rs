//! A server whose data directory is on this machine: whether it runs, how it is stopped and started.
//!
//! # Invariants
//! - **L1 no other process.** A number in a file that a killed server left is signalled only while that process works
//!   in the directory, as a server does in its own.
//! - **L2 stopped is seen.** It is said to be stopped when no process of it works in the directory any more.

use super::reach::Until;
use lifeboat_postgres::server::{Account, find};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Makes a server that starts a standby, which takes no writes.
pub(super) const STANDBY_SIGNAL: &str = "standby.signal";
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);
/// How long clients and standbys may take to be told and sent all, before it is stopped at once.
const FAST: Duration = Duration::from_secs(20);
/// How long a server that is stopped at once may take to end its processes, before they are killed.
const IMMEDIATE: Duration = Duration::from_secs(8);

/// Why a server on this machine could not be handled.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    #[error("the plan does not say where its data directory is (`dataDirectory`)")]
    Nowhere,
    #[error("{} is no data directory on this machine", .0.display())]
    NoDirectory(PathBuf),
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("processes of the server in {} live on", .0.display())]
    LivesOn(PathBuf),
    #[error("PostgreSQL's programs are not to be found")]
    Programs(#[source] lifeboat_postgres::server::InstallationError),
    #[error("{program} could not be run")]
    Run { program: String, source: std::io::Error },
    #[error("{program} said: {said}")]
    Refused { program: String, said: String },
}

/// A data directory of this machine.
#[derive(Debug)]
pub(super) struct Local {
    directory: PathBuf,
}

impl Local {
    /// What the plan names, if it is one.
    pub(super) fn new(directory: Option<&str>) -> Result<Self, LocalError> {
        let directory = PathBuf::from(directory.ok_or(LocalError::Nowhere)?);
        match directory.join("PG_VERSION").is_file() {
            true => Ok(Self { directory: directory.canonicalize().unwrap_or(directory) }),
            false => Err(LocalError::NoDirectory(directory)),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The server's first process (L1).
    pub(super) fn process(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.directory.join("postmaster.pid")).ok()?;
        let number = text.lines().next()?.trim().parse::<i32>().ok()?;
        Pid::from_raw(number).filter(|_| self.is_of_it(number))
    }

    /// Whether a process works in the directory; one that has ended and was not waited for works nowhere.
    fn is_of_it(&self, number: i32) -> bool {
        std::fs::read_link(format!("/proc/{number}/cwd")).is_ok_and(|cwd| cwd == self.directory)
    }

    /// All processes that work in the directory: the server's, and those that outlived it.
    pub(super) fn processes(&self) -> Vec<Pid> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.filter(|number| self.is_of_it(*number)).filter_map(Pid::from_raw).collect()
    }

    pub(super) fn is_standby(&self) -> bool {
        self.directory.join(STANDBY_SIGNAL).exists()
    }

    /// Has the next start make it a standby.
    pub(super) fn make_standby(&self) -> Result<(), LocalError> {
        if self.is_standby() {
            return Ok(());
        }
        let path = self.directory.join(STANDBY_SIGNAL);
        let written = std::fs::File::create(&path).and_then(|file| {
            file.sync_all()?;
            if let Some(owner) = self.owner() {
                std::os::unix::fs::chown(&path, Some(owner.user), Some(owner.group))?;
            }
            std::fs::File::open(&self.directory)?.sync_all()
        });
        written.map_err(|source| LocalError::Write { path, source })
    }

    /// Takes that back.
    pub(super) fn unmake_standby(&self) -> Result<(), LocalError> {
        let path = self.directory.join(STANDBY_SIGNAL);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(LocalError::Write { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Stops it: in order if there is time, then at once, then by killing whatever is left (L2).
    pub(super) async fn stop(&self, until: Until) -> Result<&'static str, LocalError> {
        let halves = until.left() / 2;
        let ways =
            [(Signal::INT, FAST.min(halves), "in order"), (Signal::QUIT, IMMEDIATE.min(halves), "at once")];
        for (signal, limit, how) in ways {
            let Some(process) = self.process() else { break };
            // It may be gone already, which the next look shows.
            let _ = kill_process(process, signal);
            if self.is_gone(until.within(limit)).await {
                return Ok(how);
            }
        }
        let left = self.processes();
        if left.is_empty() {
            return Ok("before");
        }
        for process in left {
            let _ = kill_process(process, Signal::KILL);
        }
        match self.is_gone(until).await {
            true => Ok("by killing it"),
            false => Err(LocalError::LivesOn(self.directory.clone())),
        }
    }

    async fn is_gone(&self, until: Until) -> bool {
        loop {
            if self.processes().is_empty() {
                return true;
            }
            if until.is_over() {
                return false;
            }
            until.pause(POLL).await;
        }
    }

    /// Starts it as it was started last.
    pub(super) async fn start(&self, until: Until) -> Result<(), LocalError> {
        let seconds = until.left().as_secs().max(1).to_string();
        // `restart` takes the options of the last start; one that is down is started.
        self.pg_ctl(&["restart", "-w", "-m", "fast", "-t", &seconds]).await
    }

    async fn pg_ctl(&self, arguments: &[&str]) -> Result<(), LocalError> {
        let version = std::fs::read_to_string(self.directory.join("PG_VERSION")).unwrap_or_default();
        let installation = find(version.trim().parse().ok()).map_err(LocalError::Programs)?;
        let program = installation.program("pg_ctl");
        let mut command = std::process::Command::new(&program);
        if let Some(owner) = self.owner() {
            owner.apply(&mut command);
        }
        let mut command = Command::from(command);
        command.args(arguments).arg("-D").arg(&self.directory).current_dir(&self.directory);
        // A log of its own: what is left open by the server it starts is no output of ours.
        command.arg("-l").arg(self.directory.join("lifeboat.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let program = program.display().to_string();
        let status = command.status().await;
        let status = status.map_err(|source| LocalError::Run { program: program.clone(), source })?;
        match status.success() {
            true => Ok(()),
            false => Err(LocalError::Refused {
                program,
                said: format!("{status}; see {}", self.directory.join("lifeboat.log").display()),
            }),
        }
    }

    /// Whom its programs run as, if we are root.
    fn owner(&self) -> Option<Account> {
        let metadata = std::fs::metadata(&self.directory).ok()?;
        geteuid().is_root().then(|| Account { user: metadata.uid(), group: metadata.gid() })
    }
}
