//! Starts resident processes: the helper that fetches WAL for a recovering server, which holds the key, so that no
//! key is derived per segment, and reads ahead; and whoever shows a view.
//!
//! # Invariants
//! - The key goes through a resident's standard input, never by an argument or its environment.
//! - A resident outlives whoever started it, and ends when nobody needs it.

use crate::secrets;
use crate::settings::{Opened, Settings};
use anyhow::{Context, bail};
use lifeboat_base::ServiceName;
use lifeboat_postgres::fetch;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// The helper's socket, in the data directory.
pub const SOCKET: &str = "lifeboat.socket";
/// What the helper says, in the data directory.
pub const LOG: &str = "lifeboat.wal.log";
/// What a resident prints once it listens.
pub const READY: &str = "ready";
/// How long that may take: the key is derived, and a slow vault is asked.
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
    let mut arguments: Vec<OsString> = vec!["wal".into(), "helper".into()];
    arguments.extend(settings.vault_arguments()?.into_iter().map(OsString::from));
    arguments.extend([wanted.service.as_str().into(), wanted.data_directory.into()]);
    arguments.extend(["--idle-seconds".into(), wanted.idle_limit.as_secs().to_string().into()]);
    if let Some((user, group)) = wanted.owner {
        arguments.extend(["--owner".into(), format!("{user}:{group}").into()]);
    }
    let resident = Resident { name: "the WAL helper", arguments, log: wanted.data_directory.join(LOG) };
    resident.start(opened).await
}

/// A process of this program that stays.
#[derive(Debug)]
pub struct Resident {
    /// What people call it.
    pub name: &'static str,
    /// What it is to do.
    pub arguments: Vec<OsString>,
    /// Where what it says goes.
    pub log: PathBuf,
}

impl Resident {
    /// Starts it, hands it the key, and returns once it says that it is ready.
    ///
    /// # Errors
    /// If it does not come to that; its log says more.
    pub async fn start(&self, opened: &Opened) -> anyhow::Result<()> {
        let Self { name, arguments, log } = self;
        let failed = || format!("{name} was not started; its log is {}", log.display());
        let errors = OpenOptions::new().create(true).append(true).open(log).with_context(failed)?;
        let mut command = Command::new(this_program()?);
        command.args(arguments);
        command.env_remove(secrets::PASSPHRASE_VARIABLE).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = tokio::process::Command::from(command).spawn().with_context(failed)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{name} has no standard input and output");
        };
        let key = secrets::hand_over(&opened.unlock)?;
        stdin.write_all(key.as_bytes()).await.with_context(failed)?;
        drop(stdin);
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        let read = tokio::time::timeout(READY_LIMIT, stdout.read_line(&mut line)).await;
        match read {
            Ok(Ok(_)) if line.trim() == READY => Ok(()),
            Ok(_) => bail!("{name} ended at once{}; its log is {}", last_line(log), log.display()),
            Err(_) => {
                bail!("{name} is not ready after {} s; its log is {}", READY_LIMIT.as_secs(), log.display())
            }
        }
    }
}

/// What a log says last, for an error.
fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().map_or_else(String::new, |line| format!(", saying \u{201c}{line}\u{201d}"))
}
