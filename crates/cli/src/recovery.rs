//! From a restore point to a server that answers at its target: what `restore`, `backup verify` and the
//! schedule share, so that drill and disaster run the same code (DESIGN §1.8).
//!
//! # Invariants
//! - **R1 pinned.** Prune leaves a restore point, and the WAL from it on, alone until the recovery is over.
//! - **R2 a vault that takes no writes still restores.** Pins and journal are tried, and warned about.
//! - **R3 stopped in order.** Asked to stop, nothing of ours goes on, and what is there can be gone on with.

use crate::helper::{self, HelperFor};
use crate::pin::{Pinned, pin};
use crate::progress::{Progress, Reading};
use crate::settings::{Opened, Settings, planned_user};
use crate::signals::{self, Stopped};
use anyhow::Context;
use jiff::Timestamp;
use lifeboat_base::{Lsn, Timeline, format_duration};
use lifeboat_plan::Postgres;
use lifeboat_postgres::fetch;
use lifeboat_postgres::restore::{
    self, Recovery, RestoreError, RestoreOptions, RestorePlan, RestoreProgress, Stop,
};
use lifeboat_postgres::server::{self, Account, Installation, Server, StartOptions};
use lifeboat_postgres::target::Resolved;
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

/// The configuration of our own, in a restored directory.
pub const CONFIGURATION: &str = "lifeboat.conf";
/// The role that most clusters are made with.
const USUAL_SUPERUSER: &str = "postgres";

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

impl Wanted {
    /// What a target needs, into an empty directory.
    pub fn of(resolved: &Resolved, into: &Path) -> Self {
        Self {
            point: resolved.point.clone(),
            timeline: resolved.timeline,
            stop: resolved.stop(),
            into: into.to_owned(),
            delta: false,
            tablespaces: BTreeMap::new(),
            workers: restore::DEFAULT_WORKERS,
        }
    }
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
    words.extend(settings.key_arguments()?.iter().map(|word| quoted(word)));
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

/// The command that starts the server in a restored directory, isolated, for a person to type.
#[must_use]
pub fn start_command(installation: &Installation, directory: &Path) -> String {
    let config = format!("config_file={}", directory.join(CONFIGURATION).display());
    let program = installation.program("postgres").display().to_string();
    as_server_account(&[&program, "-D", &directory.display().to_string(), "-c", &config])
}

/// A command for a person to type, run as whoever runs servers here: PostgreSQL refuses to run as root.
#[must_use]
pub fn as_server_account(words: &[&str]) -> String {
    let line = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let account = server::server_account().ok().flatten().and_then(Account::name);
    let has_runuser = ["/usr/sbin/runuser", "/sbin/runuser"].iter().any(|path| Path::new(path).exists());
    match account {
        None => line,
        Some(account) if has_runuser => format!("runuser -u {} -- {line}", quoted(&account)),
        Some(account) => format!("su {} -s /bin/sh -c {}", quoted(&account), quoted(&line)),
    }
}

/// What a restore of this is to do, and whom its files will belong to.
///
/// # Errors
/// If there is nobody to run its server, or the command that fetches its WAL cannot be named.
pub fn options(settings: &Settings, opened: &Opened, wanted: &Wanted) -> anyhow::Result<RestoreOptions> {
    let account = server::server_account().context("the restored server would have nobody to run as")?;
    Ok(RestoreOptions {
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
    })
}

/// What it would do, decided.
///
/// # Errors
/// All that can be known before the first byte is written.
pub async fn plan(
    settings: &Settings,
    opened: &Opened,
    wanted: &Wanted,
) -> anyhow::Result<(RestoreOptions, RestorePlan)> {
    let options = options(settings, opened, wanted)?;
    let plan = restore::plan(&options).await.context("nothing was restored")?;
    Ok((options, plan))
}

/// Keeps prune off a restore point (R1), as far as the vault lets us (R2).
#[derive(Debug)]
pub struct Hold(Option<Pinned>);

impl Hold {
    /// Takes it.
    pub async fn take(settings: &Settings, opened: &Opened, point: &RestorePoint) -> Self {
        let purpose = pins::Purpose::Restore;
        let pinned = pin(&settings.output, &opened.vault, &point.service, purpose, Some(&point.id)).await;
        // R2: but a point that prune is deleting will not come back whole.
        Self(pinned.map_err(|error| settings.output.warn(format!("{error:#}"))).ok())
    }

    /// Lets go.
    pub async fn release(self) {
        if let Some(pinned) = self.0 {
            pinned.release().await;
        }
    }

    /// Leaves it to whoever goes on with the recovery; returns until when prune heeds it.
    pub async fn leave(self) -> Option<Timestamp> {
        self.0?.leave().await
    }
}

/// Whether an error says that somebody asked us to stop, and that nothing is wrong.
#[must_use]
pub fn was_stopped(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let restore = cause.downcast_ref::<RestoreError>();
        cause.is::<Stopped>() || restore.is_some_and(|error| matches!(error, RestoreError::Cancelled))
    })
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
    let shown = Arc::clone(&options.progress);
    let bar =
        Progress::start(&settings.output, &format!("restore of {}", options.point.service), move || {
            Reading {
                done: shown.done_bytes.load(Ordering::Relaxed),
                total: shown.total_bytes.load(Ordering::Relaxed),
            }
        });
    let stopping = Arc::clone(&options.progress);
    let guard = signals::on_stop(move || stopping.cancelled.store(true, Ordering::Relaxed));
    let outcome = restore::apply(options, plan).await;
    drop(guard);
    bar.finish().await;
    outcome.with_context(|| format!("{} is not whole", options.into.display()))?;
    note_users(settings, &options.into, &users(opened, &options.point, &[]));
    Ok(())
}

/// Leaves word for `lifeboat promote` as whom to ask the server.
fn note_users(settings: &Settings, directory: &Path, users: &[String]) {
    if let Err(error) = restore::note_users(directory, users) {
        let marker = restore::MARKER_FILE;
        settings.output.warn(format!("as whom its server is asked was not noted in {marker}: {error}"));
    }
}

/// Starts the server in a restored directory, with a helper that fetches its WAL, or goes on with the one that
/// an earlier call started. `known` are roles that it may let in.
///
/// # Errors
/// If its programs are missing or it does not start.
pub async fn start(
    settings: &Settings,
    opened: &Opened,
    point: &RestorePoint,
    directory: &Path,
    port: u16,
    known: &[String],
) -> anyhow::Result<Server> {
    let installation = installation(point.major)?;
    let account = server::server_account().context("the server has nobody to run as")?;
    let users = users(opened, point, known);
    let running = Server::adopt(directory, &users);
    if running.is_none() {
        server::end_stranded(directory).await.context("the server of before could not be ended")?;
    }
    let wanted = HelperFor {
        service: &point.service,
        data_directory: directory,
        owner: account.map(Account::pair),
        idle_limit: HELPER_IDLE,
    };
    if running.is_none() || !fetch::is_served(&directory.join(helper::SOCKET)).await {
        helper::start(settings, opened, &wanted).await?;
    }
    if let Some(server) = running {
        settings.output.say(format!("going on with the server that runs there, process {}", server.pid()));
        return Ok(server);
    }
    let options = StartOptions { directory: directory.to_owned(), installation, account, port, users };
    Server::start(&options).with_context(|| format!("the server in {} was not started", directory.display()))
}

/// PostgreSQL's programs of one version.
///
/// # Errors
/// If they are not on this machine.
pub fn installation(major: u32) -> anyhow::Result<Installation> {
    Ok(server::find(Some(major))?)
}

fn users(opened: &Opened, point: &RestorePoint, known: &[String]) -> Vec<String> {
    login_roles(known, opened.postgres(&point.service).ok())
}

/// Roles to log in as, the best first: those that are known, the usual superuser, then whoever the plan connects as.
#[must_use]
pub fn login_roles(known: &[String], postgres: Option<&Postgres>) -> Vec<String> {
    let mut roles = known.to_vec();
    for role in [USUAL_SUPERUSER.to_owned()].into_iter().chain(postgres.and_then(planned_user)) {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles
}

/// Waits until the server is paused where it should be, telling how far replay is. Asked to stop, it stops the
/// server in order (R3).
///
/// # Errors
/// If it ended elsewhere: it is then not to be used. Or if it was stopped.
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
    // Listened to until the server has stopped.
    let _stopping = signals::stopping();
    let reached = signals::unless_stopped(server.recovered(stop, &tell)).await;
    bar.finish().await;
    let reached = match reached {
        Ok(reached) => reached.context("the server did not reach its target: do not use it")?,
        Err(stopped) => {
            server.halt().await.context("the server was to be stopped")?;
            return Err(stopped).context("replay was stopped, and the server with it");
        }
    };
    note_users(settings, server.directory(), server.users());
    Ok(reached)
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
