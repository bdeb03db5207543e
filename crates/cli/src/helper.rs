//! Starts the resident helper that fetches WAL for a recovering server: it holds the key, so that no key is
//! derived per segment, and reads ahead.
//!
//! # Invariants
//! - The key goes through the helper's standard input, never by an argument or its environment.
//! - The helper outlives whoever started it, and ends when nobody needs it.

use crate::secrets;
use crate::settings::{Opened, Settings};
use anyhow::{Context, bail};
use lifeboat_base::ServiceName;
use lifeboat_postgres::fetch;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// The helper's socket, in the data directory.
pub const SOCKET: &str = "lifeboat.socket";
/// What the helper says, in the data directory.
pub const LOG: &str = "lifeboat.wal.log";
/// What the helper prints once its socket listens.
pub const READY: &str = "ready";
/// How long it may take until it listens: the key is derived, and a slow vault is asked.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// For whom.
#[derive(Debug)]
pub struct HelperFor<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// The data directory.
    pub data_directory: &'a Path,
    /// Whom the server runs as, if not ourselves.
    pub owner: Option<(u32, u32)>,
    /// How long nobody may ask before it ends.
    pub idle_limit: Duration,
}

/// This program, for commands that others run.
///
/// # Errors
/// If the operating system does not tell.
pub fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("where this program is cannot be found out")
}

/// Starts it, and returns once it listens. One that serves the directory already is ended: it may hold an older
/// key, or know of other copies.
///
/// # Errors
/// If it does not come to that; its log says more.
pub async fn start(settings: &Settings, opened: &Opened, wanted: &HelperFor<'_>) -> anyhow::Result<()> {
    fetch::end_helper(&wanted.data_directory.join(SOCKET)).await;
    let log = wanted.data_directory.join(LOG);
    let failed = || format!("the WAL helper was not started; its log is {}", log.display());
    let errors = std::fs::OpenOptions::new().create(true).append(true).open(&log).with_context(failed)?;
    let mut command = Command::new(this_program()?);
    command.args(["wal", "helper"]).args(settings.vault_arguments()?).arg(wanted.service.as_str());
    command.arg(wanted.data_directory).arg("--idle-seconds").arg(wanted.idle_limit.as_secs().to_string());
    if let Some((user, group)) = wanted.owner {
        command.arg("--owner").arg(format!("{user}:{group}"));
    }
    command.env_remove(secrets::PASSPHRASE_VARIABLE).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
    let mut child = tokio::process::Command::from(command).spawn().with_context(failed)?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("the WAL helper has no standard input and output");
    };
    let key = secrets::hand_over(&opened.unlock)?;
    stdin.write_all(key.as_bytes()).await.with_context(failed)?;
    drop(stdin);
    let mut line = String::new();
    let mut stdout = BufReader::new(stdout);
    let read = tokio::time::timeout(READY_LIMIT, stdout.read_line(&mut line)).await;
    match read {
        Ok(Ok(_)) if line.trim() == READY => Ok(()),
        Ok(_) => bail!("the WAL helper ended at once; its log is {}", log.display()),
        Err(_) => bail!(
            "the WAL helper does not listen after {} s; its log is {}",
            READY_LIMIT.as_secs(),
            log.display()
        ),
    }
}
