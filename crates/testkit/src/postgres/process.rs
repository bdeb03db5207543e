//! Running programs to their end, and watching processes come and go.

use crate::wait::wait_for;
use std::process::{Child, Command, Output};
use std::time::Duration;

/// Runs `command` and returns what it printed.
///
/// # Panics
/// When it cannot be run or fails, with all that it printed.
#[track_caller]
pub(super) fn must(mut command: Command) -> String {
    match attempt(&mut command) {
        Ok(printed) => printed,
        Err(complaint) => panic!("{complaint}"),
    }
}

/// Runs `command`; when it fails, returns the command and all that it printed.
pub(super) fn attempt(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|error| format!("run {command:?}: {error}"))?;
    let printed = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(printed);
    }
    Err(format!("{command:?} failed ({status}):\n{printed}{}", String::from_utf8_lossy(&stderr)))
}

/// Waits until `child` has ended; false when it has not within `limit`.
pub(super) fn ended(child: &mut Child, limit: Duration) -> bool {
    wait_for(limit, || child.try_wait().expect("wait for our own child")).is_some()
}

/// The processes whose parent is `pid`.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|child| status(*child).is_some_and(|(_, parent)| parent == pid)).collect()
}

/// Whether `pid` runs: a zombie does not.
pub(super) fn runs(pid: u32) -> bool {
    status(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// State and parent, from the fields after the name, which may itself hold spaces and brackets.
///
/// Source: proc_pid_stat(5).
fn status(pid: u32) -> Option<(char, u32)> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
