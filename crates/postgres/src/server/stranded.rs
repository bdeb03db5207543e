//! Servers whose data directory was taken from under them: the process behind a view was killed, and the view is
//! shown again. Such a server reads and writes nothing any more but its WAL, and keeps the next one from starting.

use super::ServerError;
use super::run::{POLL, STOP_LIMIT, works_in};
use crate::restore::PID_FILE;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::Duration;

/// Lines of `postmaster.pid` before the one that names its shared memory, by key and number. Source: `miscadmin.h`.
const SHARED_MEMORY_LINE: usize = 6;
/// How long the dead are waited for until somebody has asked for them: PostgreSQL takes them for the living.
const REAP_LIMIT: Duration = Duration::from_secs(10);
/// All segments of System V shared memory.
const SEGMENTS: &str = "/proc/sysvipc/shm";

/// The server that was started in `directory` and does not work there any more; `None` if there is none.
#[must_use]
pub fn stranded(directory: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(directory.join(PID_FILE)).ok()?;
    let process = text.lines().next()?.trim().parse().ok()?;
    (is_of(process, directory) && !works_in(process, directory)).then_some(process.unsigned_abs())
}

/// Ends the stranded server of `directory`, and returns once all its processes are gone. What it acknowledged is
/// in its WAL.
///
/// # Errors
/// [`ServerError::Stranded`] if that takes too long.
pub async fn end_stranded(directory: &Path) -> Result<(), ServerError> {
    let Ok(text) = std::fs::read_to_string(directory.join(PID_FILE)) else { return Ok(()) };
    let mut waited = Duration::ZERO;
    loop {
        let process = stranded(directory);
        let is_awaited = waited < REAP_LIMIT && is_dead(&text);
        if process.is_none() && !is_attached(&text, directory) && !is_awaited {
            return Ok(());
        }
        if waited > 2 * STOP_LIMIT {
            return Err(ServerError::Stranded(directory.to_owned()));
        }
        if let Some(pid) = process.and_then(|process| Pid::from_raw(process as i32)) {
            let signal = if waited < STOP_LIMIT { Signal::QUIT } else { Signal::KILL };
            // It may be gone already, which the next look shows.
            let _ = kill_process(pid, signal);
        }
        tokio::time::sleep(POLL).await;
        waited += POLL;
    }
}

/// Whether the process that a `postmaster.pid` names is ending, or has ended and its number is taken still: it has no
/// command any more.
fn is_dead(pid_file: &str) -> bool {
    let Ok(process) = pid_file.lines().next().unwrap_or_default().trim().parse::<u32>() else { return false };
    std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|command| command.is_empty())
}

/// Whether a process was started as a server on `directory`. Its number may be another's by now.
fn is_of(process: i32, directory: &Path) -> bool {
    let command = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    words.any(|word| word == b"-D") && words.next() == Some(directory.as_os_str().as_encoded_bytes())
}

/// Whether processes of the server that wrote this `postmaster.pid` live on without it, as for a moment they do
/// when it is killed. They are attached to its shared memory, which is nobody's but theirs.
fn is_attached(pid_file: &str, directory: &Path) -> bool {
    let segment = pid_file.lines().nth(SHARED_MEMORY_LINE).and_then(|line| line.split_whitespace().nth(1));
    let Some(segment) = segment else { return false };
    let text = std::fs::read_to_string(SEGMENTS).unwrap_or_default();
    let found = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // key, shmid, perms, size, cpid, lpid, nattch
    let attached = found.into_iter().any(|fields| {
        fields.get(1) == Some(&segment) && fields.get(6).is_some_and(|attached| *attached != "0")
    });
    // One that works where it should is no business of ours.
    let process = pid_file.lines().next().and_then(|line| line.trim().parse().ok());
    attached && process.is_some_and(|process| !works_in(process, directory))
}
