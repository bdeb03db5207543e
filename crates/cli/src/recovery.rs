//! From a restore point to a server that answers at its target: what `restore`, `backup verify` and the
//! schedule share, so that drill and disaster run the same code (DESIGN §1.8).
//!
//! # Invariants
//! - **R1 pinned.** Prune leaves a restore point alone while it is being restored.
//! - **R2 a vault that takes no writes still restores.** Pins and journal are tried, and warned about.

use crate::helper::{self, HelperFor};
use crate::pin::pin;
use crate::progress::{Progress, Reading};
use crate::settings::{Opened, Settings};
use crate::signals;
use anyhow::Context;
use lifeboat_base::{Lsn, Timeline, format_duration};
use lifeboat_postgres::restore::{self, Recovery, RestoreOptions, RestorePlan, RestoreProgress, Stop};
use lifeboat_postgres::server::{self, Account, Installation, Server, StartOptions};
use lifeboat_vault::pins;
use lifeboat_vault::point::RestorePoint;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a helper of a server that we started waits for the next request: it may be promoted much later.
const HELPER_IDLE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What is to be recovered, and where.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// From which restore point.
    pub point: RestorePoint,
    /// Along which timeline.
    pub timeline: Timeline,
    /// To where.
    pub stop: Stop,
    /// Into which directory, absolute.
    pub into: PathBuf,
    /// Over what is there already.
    pub delta: bool,
    /// Where tablespaces go.
    pub tablespaces: BTreeMap<String, PathBuf>,
    /// Threads.
    pub workers: usize,
}

/// A part of the recovery time.
#[derive(Debug, Clone, Serialize)]
pub struct Segment {
    /// Which.
    pub name: &'static str,
    /// How long it took.
    pub seconds: f64,
}

/// Measures segments of the recovery time, one after the other.
#[derive(Debug)]
pub struct Stopwatch {
    settings: Settings,
    last: Duration,
    /// What was measured.
    pub segments: Vec<Segment>,
}

impl Stopwatch {
    /// Starts.
    #[must_use]
    pub fn start(settings: &Settings) -> Self {
        Self { settings: settings.clone(), last: settings.clock.monotonic(), segments: Vec::new() }
    }

    /// Ends a segment.
    pub fn lap(&mut self, name: &'static str) {
        let now = self.settings.clock.monotonic();
        let seconds = now.saturating_sub(self.last).as_secs_f64();
        self.last = now;
        self.segments.push(Segment { name, seconds });
    }

    /// All segments together.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_secs_f64(self.segments.iter().map(|segment| segment.seconds).sum())
    }
}

/// Segments for people: `restored 2.1s, replayed 400ms`.
#[must_use]
pub fn times(segments: &[Segment]) -> String {
    let each = segments.iter().map(|segment| {
        format!("{} {}", segment.name, format_duration(Duration::from_secs_f64(segment.seconds)))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The command by which a recovering server fetches WAL.
///
/// # Errors
/// If this program or the vault cannot be named.
pub fn restore_command(settings: &Settings, point: &RestorePoint) -> anyhow::Result<String> {
    let program = helper::this_program()?;
    let mut words = vec![quoted(&program.display().to_string()), "wal".to_owned(), "fetch".to_owned()];
    words.extend(settings.vault_arguments()?.iter().map(|word| quoted(word)));
    for (flag, path) in
        [("--passphrase-file", &settings.global.passphrase_file), ("--identity", &settings.global.identity)]
    {
        if let Some(path) = path {
            let path = std::path::absolute(path).context("the key's path cannot be made absolute")?;
            words.extend([flag.to_owned(), quoted(&path.display().to_string())]);
        }
    }
    words.push(point.service.to_string());
    // PostgreSQL replaces %f and %p; other percent signs are doubled.
    let text = words.iter().map(|word| word.replace('%', "%%")).collect::<Vec<_>>().join(" ");
    Ok(format!("{text} %f \"%p\""))
}

/// A word for the shell.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._:@=+-%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What a restore would do, and whom its files will belong to.
///
/// # Errors
/// All that can be known before the first byte is written.
pub async fn plan(
    settings: &Settings,
    opened: &Opened,
    wanted: &Wanted,
) -> anyhow::Result<(RestoreOptions, RestorePlan)> {
    let account = server::server_account().context("the restored server would have nobody to run as")?;
    let options = RestoreOptions {
        vault: opened.vault.clone(),
        point: wanted.point.clone(),
        recovery: Recovery {
            restore_command: restore_command(settings, &wanted.point)?,
            timeline: wanted.timeline,
            stop: wanted.stop,
        },
        into: wanted.into.clone(),
        tablespaces: wanted.tablespaces.clone(),
        delta: wanted.delta,
        owner: account.map(Account::pair),
        workers: wanted.workers,
        progress: Arc::new(RestoreProgress::default()),
    };
    let plan = restore::plan(&options).await.context("nothing was restored")?;
    Ok((options, plan))
}

/// Carries it out, with progress; asked to stop, it stops where it can be taken up again.
///
/// # Errors
/// If the directory is not whole.
pub async fn apply(
    settings: &Settings,
    opened: &Opened,
    options: &RestoreOptions,
    plan: RestorePlan,
) -> anyhow::Result<()> {
    let (vault, point) = (&opened.vault, &options.point);
    let pinned = pin(&settings.output, vault, &point.service, pins::Purpose::Restore, Some(&point.id)).await;
    // R2: but a point that prune is deleting will not come back whole.
    if let Err(error) = &pinned {
        settings.output.warn(format!("{error:#}"));
    }
    let shown = Arc::clone(&options.progress);
    let bar = Progress::start(&settings.output, &format!("restore of {}", point.service), move || Reading {
        done: shown.done_bytes.load(Ordering::Relaxed),
        total: shown.total_bytes.load(Ordering::Relaxed),
    });
    let stopping = Arc::clone(&options.progress);
    let guard = signals::on_stop(move || stopping.cancelled.store(true, Ordering::Relaxed));
    let outcome = restore::apply(options, plan).await;
    drop(guard);
    bar.finish().await;
    if let Ok(pinned) = pinned {
        pinned.release().await;
    }
    outcome.with_context(|| format!("{} is not whole", options.into.display()))
}

/// Starts the server in a restored directory, with a helper that fetches its WAL.
///
/// # Errors
/// If its programs are missing or it does not start.
pub async fn start(
    settings: &Settings,
    opened: &Opened,
    point: &RestorePoint,
    directory: &Path,
    port: u16,
) -> anyhow::Result<Server> {
    let installation = installation(point.major)?;
    let account = server::server_account().context("the server has nobody to run as")?;
    let wanted = HelperFor {
        service: &point.service,
        data_directory: directory,
        owner: account.map(Account::pair),
        idle_limit: HELPER_IDLE,
    };
    helper::start(settings, opened, &wanted).await?;
    let options = StartOptions {
        directory: directory.to_owned(),
        installation,
        account,
        port,
        users: users(opened, point),
    };
    Server::start(&options).with_context(|| format!("the server in {} was not started", directory.display()))
}

/// PostgreSQL's programs of one version.
///
/// # Errors
/// If they are not on this machine.
pub fn installation(major: u32) -> anyhow::Result<Installation> {
    Ok(server::find(Some(major))?)
}

/// Roles to log in as: the usual superuser, then whoever the plan connects as.
fn users(opened: &Opened, point: &RestorePoint) -> Vec<String> {
    let planned = opened.postgres(&point.service).ok().and_then(|postgres| {
        let info = crate::settings::parse_conninfo(postgres.connection.as_str()).ok()?;
        Some(info.user().to_owned())
    });
    let mut users = vec!["postgres".to_owned()];
    users.extend(planned.filter(|user| user != "postgres"));
    users
}

/// Waits until the server is paused where it should be, telling how far replay is.
///
/// # Errors
/// If it ended elsewhere: it is then not to be used.
pub async fn reach(
    settings: &Settings,
    server: &mut Server,
    point: &RestorePoint,
    stop: Stop,
) -> anyhow::Result<Lsn> {
    let replayed = Arc::new(AtomicU64::new(point.start.0));
    let (shown, start) = (Arc::clone(&replayed), point.start);
    let total = stop.lsn.bytes_since(start);
    let bar = Progress::start(&settings.output, "replay of WAL", move || Reading {
        done: Lsn(shown.load(Ordering::Relaxed)).bytes_since(start).min(total),
        total,
    });
    let tell = move |lsn: Lsn| replayed.store(lsn.0.max(start.0), Ordering::Relaxed);
    let reached = server.recovered(stop, &tell).await;
    bar.finish().await;
    reached.context("the server did not reach its target: do not use it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_as_they_are() {
        assert_eq!(quoted("file:///var/lib/vault"), "file:///var/lib/vault");
        assert_eq!(quoted("/a b/c'd"), "'/a b/c'\\''d'");
        assert_eq!(quoted(""), "''");
    }
}
