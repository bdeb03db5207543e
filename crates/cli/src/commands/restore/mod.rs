//! `lifeboat restore`: a service back at a moment, in a directory of its own.
//!
//! ```text
//! resolve the target ─▶ print it ─▶ plan ─▶ (--dry-run ends here) ─▶ apply ─▶ start ─▶ reach ─▶ promote
//! ```
//!
//! What an earlier call left in the directory is gone on with, wherever it was: half its files, all of them, or a
//! server on its way. `recover` goes the same way, with a view in the place of the files.
//!
//! # Invariants
//! - **R1 printed first.** What will happen is said before the first byte is written, with the command that a
//!   person could type.
//! - **R2 read-only until told.** A started server waits at its target; only `--promote` opens it.
//! - **R3 the end is compared.** A server that stopped elsewhere than resolved is an error, and not opened.
//! - **R4 never backwards.** A whole directory is gone on with to the same moment or a later one; nothing that was
//!   replayed is taken back.

mod left;
mod told;

use crate::failure::Next;
use crate::helper;
use crate::output::Exit;
use crate::recovery::{self, Hold, Stopwatch, Wanted, quoted};
use crate::settings::{Opened, Settings};
use crate::signals::{self, unless_stopped};
use crate::{journal, points, production, showing};
use anyhow::{Context, anyhow, bail, ensure};
pub use left::resolve;
use left::{Way, goes_on, is_running, must_lead_there};
use lifeboat_base::{ServiceName, Timeline};
use lifeboat_postgres::fetch;
use lifeboat_postgres::restore::{self, RestoreOptions};
use lifeboat_postgres::server;
use lifeboat_postgres::target::{self, Resolved, Target};
use lifeboat_postgres::view::control::{self, Request};
use lifeboat_postgres::view::{self, Place};
use lifeboat_vault::Scope;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use told::{Objective, Restored, ServerView, TargetView, after, before};

/// Restores of a service, in the journal.
const SCOPE: &str = "restore";

/// PostgreSQL's own.
const DEFAULT_PORT: u16 = 5432;

/// Arguments of `lifeboat restore`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Moments: latest; a time with its zone (2026-11-21T10:15:00+08:00); lsn:16/B374D848; \
    xid:4711, with that transaction; before:xid:4711, without it; name:LABEL, from pg_create_restore_point.\n\
    `lifeboat wal search` finds the transaction that destroyed something.\n\
    Killed or stopped, the same command takes the restore up again."
)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// The directory to restore into: new, empty, or left by this restore.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Restore over an old data directory of the same cluster, fetching only what differs.
    #[arg(long)]
    delta: bool,
    /// Where a tablespace goes: its directory on production, and the one to use [default: the plan's, else
    /// inside of DIR].
    #[arg(long = "tablespace", value_name = "OLD=NEW", value_parser = parse_tablespace)]
    tablespaces: Vec<(String, PathBuf)>,
    /// Threads that open, decompress and write.
    #[arg(long, default_value_t = restore::DEFAULT_WORKERS as u64, value_parser = clap::value_parser!(u64).range(1..=64))]
    workers: u64,
}

/// What `restore` and `recover` are asked for alike.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// The service.
    pub service: ServiceName,
    /// The moment to go back to.
    #[arg(long, value_name = "MOMENT", default_value = "latest")]
    pub to: Target,
    /// Which branch of history, where there are several.
    #[arg(long, value_name = "N", value_parser = parse_timeline)]
    pub timeline: Option<Timeline>,
    /// Start the server, and wait until it has reached the moment.
    #[arg(long)]
    start: bool,
    /// Open it for writing once it has. Fence production first.
    #[arg(long, requires = "start")]
    promote: bool,
    /// Open it even though production, as the plan knows it, still takes writes: for a drill.
    #[arg(long, requires = "promote")]
    beside_production: bool,
    /// Say what would be done, and end.
    #[arg(long)]
    dry_run: bool,
    /// The port that names the started server's socket.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub port: u16,
    /// Where.
    #[arg(skip)]
    into: PathBuf,
    /// How it is done.
    #[arg(skip)]
    how: How,
}

/// How the files come to be there.
#[derive(Debug)]
pub enum How {
    /// All of them, before the server starts.
    Full { delta: bool, tablespaces: Vec<(String, PathBuf)>, workers: usize },
    /// As they are read; the rest right away, or when somebody asks for it.
    View { hydrate: bool },
}

impl Default for How {
    fn default() -> Self {
        Self::Full { delta: false, tablespaces: Vec::new(), workers: restore::DEFAULT_WORKERS }
    }
}

impl How {
    /// The command; its events and documents are called so too.
    fn name(&self) -> &'static str {
        if matches!(self, Self::Full { .. }) { "restore" } else { "recover" }
    }

    fn is_view(&self) -> bool {
        matches!(self, Self::View { .. })
    }

    fn is_delta(&self) -> bool {
        matches!(self, Self::Full { delta: true, .. })
    }

    fn tablespaces(&self) -> &[(String, PathBuf)] {
        match self {
            Self::Full { tablespaces, .. } => tablespaces,
            Self::View { .. } => &[],
        }
    }

    fn workers(&self) -> usize {
        match self {
            Self::Full { workers, .. } => *workers,
            Self::View { .. } => restore::DEFAULT_WORKERS,
        }
    }
}

fn parse_timeline(text: &str) -> Result<Timeline, std::num::ParseIntError> {
    text.parse().map(Timeline)
}

fn parse_tablespace(text: &str) -> anyhow::Result<(String, PathBuf)> {
    match text.split_once('=') {
        Some((old, new)) if old.starts_with('/') && new.starts_with('/') => Ok((old.to_owned(), new.into())),
        _ => bail!("write two absolute paths: /old/directory=/new/directory"),
    }
}

/// Restores.
///
/// # Errors
/// If the service is not back where it was asked to be.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let Args { asked, into, delta, tablespaces, workers } = args;
    bring_back(settings, asked, into, How::Full { delta, tablespaces, workers: workers as usize }).await
}

/// Brings a service back, for `restore` and `recover`.
///
/// # Errors
/// If it is not where it was asked to be.
pub async fn bring_back(settings: &Settings, asked: Asked, into: PathBuf, how: How) -> anyhow::Result<Exit> {
    let into = view::real_name(&into).context("the directory has no absolute path")?;
    let asked = Asked { into: into.clone(), how, ..asked };
    let opened = settings.open().await?;
    points::must_be_known(&opened, &asked.service).await?;
    let mut watch = Stopwatch::start(settings);
    show_again(settings, &opened, &asked, &into).await?;
    let left = restore::left_in(&into).filter(|left| left.service == asked.service);
    let resolved = resolve(settings, &opened, &asked, left.as_ref()).await?;
    watch.lap("resolved");
    must_be_of(asked.how.tablespaces(), &resolved)?;
    if asked.start {
        // Known before the first byte is written.
        recovery::installation(resolved.point.major)?;
    }
    let wanted = Wanted {
        delta: asked.how.is_delta(),
        tablespaces: tablespaces(&opened, &asked),
        workers: asked.how.workers(),
        ..Wanted::of(&resolved, &into)
    };
    let (command, name) = (typed(settings, &asked, &into), asked.how.name());
    let (options, way) = match left.filter(|left| goes_on(left, &resolved, &asked)) {
        Some(left) => {
            must_lead_there(&left, &resolved, &into)?;
            (recovery::options(settings, &opened, &wanted)?, Way::GoOn(left))
        }
        None if asked.how.is_view() => {
            let options = recovery::options(settings, &opened, &wanted)?;
            let plan = view::plan(&options).await.context("nothing was recovered")?;
            if matches!(asked.how, How::View { hydrate: true }) {
                plan.must_fit().context("nothing was recovered")?;
            }
            (options, Way::View(Box::new(plan)))
        }
        None => {
            let (options, plan) = recovery::plan(settings, &opened, &wanted).await?;
            (options, Way::Write(Box::new(plan)))
        }
    };
    let mut done = Restored {
        service: asked.service.clone(),
        target: TargetView::new(&asked.to, &resolved),
        into: into.clone(),
        size_bytes: resolved.point.size_bytes,
        files: usize::try_from(resolved.point.files).unwrap_or(usize::MAX),
        tablespaces: BTreeMap::new(),
        command: command.clone(),
        dry_run: asked.dry_run,
        restored: false,
        kept_bytes: 0,
        view: None,
        server: None,
        start_command: None,
        wal_held_until: None,
        segments: Vec::new(),
        seconds: 0.0,
        objective: None,
    };
    match &way {
        Way::Write(plan) => {
            (done.size_bytes, done.files) = (plan.size_bytes, plan.files);
            done.tablespaces = plan.tablespaces.clone();
        }
        Way::View(plan) => (done.size_bytes, done.files) = (plan.size_bytes, plan.files),
        Way::GoOn(_) => {
            let linked = |oid| Some((oid, std::fs::read_link(into.join(format!("pg_tblspc/{oid}"))).ok()?));
            let oids = resolved.point.tablespaces.iter().map(|tablespace| tablespace.oid);
            done.tablespaces = oids.filter_map(linked).collect();
        }
    }
    settings.output.say_styled(|style| before(&resolved, &way, &done, &asked, style));
    let mut beside = asked.beside_production;
    if asked.promote {
        let allowed = may_promote(settings, &opened, &resolved, beside).await;
        match allowed {
            Ok(allowed) => beside = allowed,
            // Whoever only looks has been warned.
            Err(_) if asked.dry_run => {}
            Err(error) => return Err(error),
        }
    }
    if !asked.dry_run {
        note(settings, &opened, &done, &format!("{name}.started")).await;
        let hold = Hold::take(settings, &opened, &resolved.point).await;
        let call = Call { settings, opened: &opened, asked: &asked, resolved: &resolved, beside };
        match call.carry_out(&mut done, &options, way, watch).await {
            Ok(()) if done.server.is_some() => hold.release().await,
            Ok(()) => done.wal_held_until = hold.leave().await,
            Err(error) => {
                // What is there can be gone on with, and then needs its WAL.
                hold.leave().await;
                let data = serde_json::json!({ "into": into, "reason": format!("{error:#}") });
                note_data(settings, &opened, &asked.service, &format!("{name}.failed"), data).await;
                if recovery::was_stopped(&error) {
                    return Err(error).next(format!("the same command goes on with it: {command}"));
                }
                return Err(error);
            }
        }
        note(settings, &opened, &done, &format!("{name}.finished")).await;
    }
    settings.output.result(name, &done, |style| after(&done, style))?;
    Ok(if done.objective.as_ref().is_some_and(|objective| !objective.met) {
        Exit::Findings
    } else {
        Exit::Good
    })
}

/// A view that is there, and that nobody shows since its process or its machine was stopped, is shown again.
async fn show_again(settings: &Settings, opened: &Opened, asked: &Asked, into: &Path) -> anyhow::Result<()> {
    let place = Place::of(into);
    let about = place.about().with_context(|| format!("{} cannot be read", place.home.display()))?;
    let Some(about) = about.filter(|about| about.service == asked.service) else { return Ok(()) };
    if !asked.how.is_view() {
        let (service, into) = (&about.service, quoted(&into.display().to_string()));
        return Err(anyhow!("{into} is a view of {service}: not all of its files are there")).next(format!(
            "`lifeboat recover {service} --into {into}` goes on with it, and `lifeboat view finish {into}` makes a \
             plain data directory of it"
        ));
    }
    if place.is_shown() {
        return Ok(());
    }
    if asked.dry_run {
        let into = quoted(&into.display().to_string());
        return Err(anyhow!("nobody shows the view at {into} now, so what it is at cannot be seen"))
            .next(format!("lifeboat view show {into}"));
    }
    if place.is_whole() {
        return view::put_in_place(&place).context("the finished view was to be put in its place");
    }
    settings.output.say(format!("showing the view at {} again", into.display()));
    showing::show(settings, opened, &place).await
}

/// Production is asked once more whenever something is about to be opened beside it.
async fn may_promote(
    settings: &Settings,
    opened: &Opened,
    resolved: &Resolved,
    beside: bool,
) -> anyhow::Result<bool> {
    let (service, system) = (&resolved.point.service, resolved.point.system_id);
    let plan = opened.plan.as_ref().map(|file| &file.plan);
    production::may_open_beside(&settings.output, plan, service, system, beside).await
}

/// What nobody has cannot be put elsewhere: most likely it is misspelt.
fn must_be_of(tablespaces: &[(String, PathBuf)], resolved: &Resolved) -> anyhow::Result<()> {
    let known: Vec<&str> = resolved.point.tablespaces.iter().map(|found| found.location.as_str()).collect();
    for (old, _) in tablespaces {
        ensure!(
            known.contains(&old.as_str()),
            "restore point {} has no tablespace at {old}: it has {}",
            resolved.point.id,
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
    }
    Ok(())
}

/// The plan's places for tablespaces, and those of this call before them.
fn tablespaces(opened: &Opened, asked: &Asked) -> BTreeMap<String, PathBuf> {
    let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
    if let Ok(postgres) = opened.postgres(&asked.service) {
        let planned = postgres.tablespaces.iter();
        places.extend(planned.map(|(old, new)| (old.to_string(), new.as_path().to_owned())));
    }
    places.extend(asked.how.tablespaces().iter().cloned());
    places
}

/// The command that does the same again, from any directory.
fn typed(settings: &Settings, asked: &Asked, into: &Path) -> String {
    let mut words = vec!["lifeboat".to_owned(), asked.how.name().to_owned(), asked.service.to_string()];
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), quoted(&value)]);
    add("--to", asked.to.to_string());
    add("--into", into.display().to_string());
    if let Some(timeline) = asked.timeline {
        add("--timeline", timeline.to_string());
    }
    if asked.port != DEFAULT_PORT {
        add("--port", asked.port.to_string());
    }
    for (old, new) in asked.how.tablespaces() {
        add("--tablespace", format!("{old}={}", new.display()));
    }
    let flags = [
        ("--delta", asked.how.is_delta()),
        ("--start", asked.start),
        ("--promote", asked.promote),
        ("--beside-production", asked.beside_production),
        ("--hydrate", matches!(asked.how, How::View { hydrate: true })),
    ];
    for (flag, given) in flags {
        words.extend(given.then(|| flag.to_owned()));
    }
    // Where the vault is cannot be said if it cannot be found; then we would not be here.
    words.extend(settings.vault_arguments().unwrap_or_default().iter().map(|word| quoted(word)));
    words.extend(settings.key_arguments().unwrap_or_default().iter().map(|word| quoted(word)));
    words.join(" ")
}

/// One call, with what was decided.
struct Call<'a> {
    settings: &'a Settings,
    opened: &'a Opened,
    asked: &'a Asked,
    resolved: &'a Resolved,
    /// Whether production may be alive beside what is opened.
    beside: bool,
}

impl Call<'_> {
    async fn carry_out(
        &self,
        done: &mut Restored,
        options: &RestoreOptions,
        way: Way,
        mut watch: Stopwatch,
    ) -> anyhow::Result<()> {
        let Self { settings, opened, asked, resolved, .. } = *self;
        let into = &options.into;
        let users = match way {
            Way::Write(plan) => {
                recovery::apply(settings, opened, options, *plan).await?;
                watch.lap("restored");
                Vec::new()
            }
            Way::View(plan) => {
                let place = plan.place.clone();
                view::create(options, *plan).await.context("nothing was recovered")?;
                showing::show(settings, opened, &place).await?;
                watch.lap("shown");
                Vec::new()
            }
            Way::GoOn(left) => {
                if !is_running(into) {
                    restore::aim(into, &options.recovery, options.owner)?;
                }
                left.users
            }
        };
        done.restored = true;
        done.kept_bytes = options.progress.kept_bytes.load(std::sync::atomic::Ordering::Relaxed);
        match recovery::installation(resolved.point.major) {
            Ok(installation) => done.start_command = Some(recovery::start_command(&installation, into)),
            Err(error) if !asked.start => settings.output.warn(format!("{error:#}")),
            Err(error) => return Err(error),
        }
        if asked.start {
            self.bring_up(done, options, &users, &mut watch).await?;
        } else if asked.how.is_view() {
            // For a start by hand; a full restore has written it.
            server::write_configuration(into, asked.port, options.owner)?;
        }
        if let How::View { hydrate } = asked.how {
            let request = if hydrate { Request::Hydrate } else { Request::Status };
            done.view = Some(control::ask(&Place::of(into), request).await?);
        }
        done.seconds = watch.total().as_secs_f64();
        let planned = opened.plan.as_ref().and_then(|plan| {
            let service = plan.plan.service(&asked.service)?;
            plan.plan.objectives_of(service).rto
        });
        // A directory alone answers nobody: the objective is about a server.
        done.objective = planned.filter(|_| asked.start).map(|rto| Objective {
            rto_seconds: rto.0.as_secs_f64(),
            met: done.seconds <= rto.0.as_secs_f64(),
        });
        done.segments = watch.segments;
        Ok(())
    }

    /// Starts the server, waits until it is where it should be, and opens it if that was asked for.
    async fn bring_up(
        &self,
        done: &mut Restored,
        options: &RestoreOptions,
        users: &[String],
        watch: &mut Stopwatch,
    ) -> anyhow::Result<()> {
        let Self { settings, opened, asked, resolved, beside } = *self;
        // Listened to at every moment at which a server of ours may run.
        let _stopping = signals::stopping();
        let started = recovery::start(settings, opened, &resolved.point, &options.into, asked.port, users);
        let mut server = unless_stopped(started).await.context("the server was not started yet")??;
        let reached = recovery::reach(settings, &mut server, &resolved.point, options.recovery.stop).await?;
        target::reached(reached, resolved).context("the server is not where it should be")?;
        watch.lap("replayed");
        if asked.promote {
            if let Err(error) = may_promote(settings, opened, resolved, beside).await {
                // It has reached its moment, which took its time: it waits there for a word.
                server.detach();
                let directory = quoted(&options.into.display().to_string());
                return Err(error)
                    .context("the server waits at its moment, read-only")
                    .next(format!("fence production, and then: lifeboat promote {directory}"));
            }
            server.promote().await.context("the server was not opened for writing")?;
            // Nothing is replayed any more: whoever holds the vault's key for it goes.
            fetch::end_helper(&options.into.join(helper::SOCKET)).await;
            watch.lap("opened");
        }
        let (pid, address) = (server.pid(), server.address());
        server.detach();
        done.server = Some(ServerView { pid, address, reached, promoted: asked.promote });
        Ok(())
    }
}

async fn note(settings: &Settings, opened: &Opened, done: &Restored, kind: &str) {
    let server = done.server.as_ref();
    let data = serde_json::json!({
        "target": done.target, "into": done.into, "segments": done.segments,
        "started": server.is_some(), "promoted": server.is_some_and(|server| server.promoted),
        "reached": server.map(|server| server.reached),
    });
    note_data(settings, opened, &done.service, kind, data).await;
}

/// A vault that takes no writes still restores.
async fn note_data(
    settings: &Settings,
    opened: &Opened,
    service: &ServiceName,
    kind: &str,
    data: serde_json::Value,
) {
    let noted = journal::note(&opened.vault, &Scope::service(service, SCOPE), kind, data).await;
    if let Err(error) = noted {
        settings.output.warn(format!("{error:#}"));
    }
}
