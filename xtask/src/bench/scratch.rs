//! A directory for one measurement, and nothing of it left behind however that ends.
//!
//! Recovered servers, the processes behind views and their mounts outlive the command that made them, as they should;
//! a measurement that breaks off, or is interrupted, must not leave them. A second process of this program waits until
//! the first has gone or has said that it is done, and then clears away.
//!
//! # Invariants
//! - Only processes are ended that name the directory, in their command line or their environment, or work in it. Its
//!   name is random, so that they are ours.
//! - Mounts go before files: nothing is removed through a view.

use anyhow::{Context, bail, ensure};
use lifeboat_testkit::postgres::scratch_directory;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The word by which this program is told to wait and clear away.
pub const SWEEP: &str = "sweep";
/// What starts while others are ended is found in a later pass.
const PASSES: usize = 10;
const BETWEEN_PASSES: Duration = Duration::from_millis(200);

/// A scratch directory with its keeper.
pub struct Scratch {
    directory: tempfile::TempDir,
    keeper: Child,
}

impl Scratch {
    pub fn new() -> anyhow::Result<Self> {
        let directory = scratch_directory();
        let this = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(this);
        command.arg(SWEEP).arg(directory.path()).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // ^C is for the measurement; its keeper stays and clears away.
        let keeper = command.process_group(0).spawn().context("start what clears away")?;
        Ok(Self { directory, keeper })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Waits for the end of the input, then ends all that belongs to `directory`, and removes it.
pub fn keep(directory: &Path) -> anyhow::Result<()> {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ensure!(name.starts_with("lifeboat-"), "{} is no scratch directory", directory.display());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).context("wait")?;
    clear_away(directory)
}

/// Ends all that belongs to `directory`, which is a scratch directory or in one, and removes it.
pub fn clear_away(directory: &Path) -> anyhow::Result<()> {
    for pass in 0..PASSES {
        if pass > 0 {
            std::thread::sleep(BETWEEN_PASSES);
        }
        let processes = belonging(directory);
        for process in &processes {
            signal("-KILL", *process);
        }
        let mounts = mounts_below(directory);
        for mount in &mounts {
            let _ = Command::new("umount").arg("-l").arg(mount).status();
        }
        if processes.is_empty() && mounts.is_empty() && clear(directory).is_ok() {
            return Ok(());
        }
    }
    bail!("{} could not be cleared", directory.display())
}

fn clear(directory: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Sends a signal to a process that may have ended.
pub fn signal(signal: &str, pid: u32) {
    let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// All processes that run.
pub fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Of a process, a file of `/proc`; empty once it has ended.
pub fn about(pid: u32, what: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default()
}

fn belonging(directory: &Path) -> Vec<u32> {
    let name = directory.as_os_str().as_encoded_bytes();
    let names_it = |text: &[u8]| text.windows(name.len()).any(|part| part == name);
    let works_there =
        |pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at.starts_with(directory));
    let own = std::process::id();
    // The measurement itself, if it still runs, has the name in neither.
    let found = processes().filter(|pid| {
        *pid != own
            && (names_it(&about(*pid, "cmdline")) || names_it(&about(*pid, "environ")) || works_there(*pid))
    });
    found.filter(|pid| !about(*pid, "cmdline").is_empty()).collect()
}

fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = text.lines().filter_map(|line| line.split(' ').nth(4).map(PathBuf::from));
    let mut found: Vec<PathBuf> = places.filter(|place| place.starts_with(directory)).collect();
    // What was mounted last goes first.
    found.reverse();
    found
}
