//! `lifeboat restore`: a service back at a moment, in a directory of its own.
//!
//! ```text
//! resolve the target ─▶ print it ─▶ plan ─▶ (--dry-run ends here) ─▶ apply ─▶ start ─▶ reach ─▶ promote
//! ```
//!
//! # Invariants
//! - **R1 printed first.** What will happen is said before the first byte is written, with the command that a
//!   person could type.
//! - **R2 read-only until told.** A started server waits at its target; only `--promote` opens it.
//! - **R3 the end is compared.** A server that stopped elsewhere than resolved is an error, and not opened.

use crate::output::{Exit, Style, Tone, clean};
use crate::points::State;
use crate::recovery::{self, Segment, Stopwatch, Wanted, quoted, times};
use crate::settings::{Opened, Settings};
use crate::{journal, show};
use anyhow::{Context, bail};
use jiff::Timestamp;
use lifeboat_base::{ByteCount, Lsn, ServiceName, Timeline, format_duration};
use lifeboat_postgres::restore::{self, RestorePlan};
use lifeboat_postgres::server::start_command;
use lifeboat_postgres::target::{self, Resolved, Target, TargetError};
use lifeboat_vault::Scope;
use lifeboat_vault::point::{self, RestorePoint};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Restores of a service, in the journal.
const SCOPE: &str = "restore";

/// Arguments of `lifeboat restore`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Moments: latest; a time with its zone (2026-11-21T10:15:00+08:00); lsn:16/B374D848; \
    xid:4711, with that transaction; before:xid:4711, without it; name:LABEL, from pg_create_restore_point.\n\
    `lifeboat wal search` finds the transaction that destroyed something.\n\
    Killed or stopped, the same command takes the restore up again."
)]
pub struct Args {
    /// The service.
    service: ServiceName,
    /// The moment to go back to.
    #[arg(long, value_name = "MOMENT", default_value = "latest")]
    to: Target,
    /// The directory to restore into: new, empty, or left by this restore.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Which branch of history, where there are several.
    #[arg(long, value_name = "N", value_parser = parse_timeline)]
    timeline: Option<Timeline>,
    /// Restore over an old data directory of the same cluster, fetching only what differs.
    #[arg(long)]
    delta: bool,
    /// Where a tablespace goes: its directory on production, and the one to use [default: the plan's, else
    /// inside of DIR].
    #[arg(long = "tablespace", value_name = "OLD=NEW", value_parser = parse_tablespace)]
    tablespaces: Vec<(String, PathBuf)>,
    /// Start the server, and wait until it has reached the moment.
    #[arg(long)]
    start: bool,
    /// Open it for writing once it has.
    #[arg(long, requires = "start")]
    promote: bool,
    /// Say what would be done, and end.
    #[arg(long, conflicts_with = "start")]
    dry_run: bool,
    /// The port that names the started server's socket.
    #[arg(long, default_value_t = 5432)]
    port: u16,
    /// Threads that open, decompress and write.
    #[arg(long, default_value_t = restore::DEFAULT_WORKERS as u64, value_parser = clap::value_parser!(u64).range(1..=64))]
    workers: u64,
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

/// The resolved target, for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetView {
    asked: String,
    restore_point: String,
    timeline: Timeline,
    stop: Lsn,
    inclusive: bool,
    end: Lsn,
    proven_end: Lsn,
    last_commit: Option<MomentView>,
    next_commit: Option<MomentView>,
    replay_bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MomentView {
    time: Timestamp,
    xid: u32,
    lsn: Lsn,
}

impl MomentView {
    fn of(moment: Option<target::Moment>) -> Option<Self> {
        moment.map(|target::Moment { time, xid, lsn }| Self { time, xid, lsn })
    }
}

impl TargetView {
    fn new(asked: &Target, resolved: &Resolved) -> Self {
        Self {
            asked: asked.to_string(),
            restore_point: resolved.point.id.clone(),
            timeline: resolved.timeline,
            stop: resolved.stop,
            inclusive: resolved.inclusive,
            end: resolved.end,
            proven_end: resolved.proven_end,
            last_commit: MomentView::of(resolved.last),
            next_commit: MomentView::of(resolved.next),
            replay_bytes: resolved.replay_bytes(),
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Restored {
    service: ServiceName,
    target: TargetView,
    into: PathBuf,
    size_bytes: u64,
    files: usize,
    tablespaces: BTreeMap<u32, PathBuf>,
    command: String,
    dry_run: bool,
    restored: bool,
    kept_bytes: u64,
    server: Option<ServerView>,
    start_command: Option<String>,
    segments: Vec<Segment>,
    seconds: f64,
    objective: Option<Objective>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerView {
    pid: u32,
    address: String,
    reached: Lsn,
    promoted: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Objective {
    rto_seconds: f64,
    met: bool,
}

/// Restores.
///
/// # Errors
/// If the service is not back where it was asked to be.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let mut watch = Stopwatch::start(settings);
    let resolved = resolve(settings, &opened, &args).await?;
    watch.lap("resolved");
    if args.start {
        // Known before the first byte is written.
        recovery::installation(resolved.point.major)?;
    }
    let into = std::path::absolute(&args.into).context("the directory has no absolute path")?;
    let wanted = Wanted {
        point: resolved.point.clone(),
        timeline: resolved.timeline,
        stop: resolved.stop(),
        into: into.clone(),
        delta: args.delta,
        tablespaces: tablespaces(&opened, &args),
        workers: args.workers as usize,
    };
    let command = typed(settings, &args, &into);
    let (options, plan) = recovery::plan(settings, &opened, &wanted).await?;
    let mut done = Restored {
        service: args.service.clone(),
        target: TargetView::new(&args.to, &resolved),
        into: into.clone(),
        size_bytes: plan.size_bytes,
        files: plan.files,
        tablespaces: plan.tablespaces.clone(),
        command: command.clone(),
        dry_run: args.dry_run,
        restored: false,
        kept_bytes: 0,
        server: None,
        start_command: None,
        segments: Vec::new(),
        seconds: 0.0,
        objective: None,
    };
    settings.output.say_styled(|style| before(&resolved, &plan, &done, style));
    if !args.dry_run {
        note(settings, &opened, &done, "restore.started").await;
        let carried_out = carry_out(settings, &opened, &args, &resolved, &mut done, (options, plan), watch);
        if let Err(error) = carried_out.await {
            let data = serde_json::json!({ "into": into, "reason": format!("{error:#}") });
            note_data(settings, &opened, &args.service, "restore.failed", data).await;
            return Err(error);
        }
        note(settings, &opened, &done, "restore.finished").await;
    }
    settings.output.result("restore", &done, |style| after(&done, style))?;
    Ok(if done.objective.as_ref().is_some_and(|objective| !objective.met) {
        Exit::Findings
    } else {
        Exit::Good
    })
}

/// Where exactly the moment is: among the restore points that have not failed, or if none of those reaches it,
/// among all.
async fn resolve(settings: &Settings, opened: &Opened, args: &Args) -> anyhow::Result<Resolved> {
    let (vault, output) = (&opened.vault, &settings.output);
    let all = point::list(vault, &args.service).await?;
    // The day on which this is needed is no day to insist on a journal.
    let verdicts = journal::verdicts(vault, &args.service).await.unwrap_or_else(|error| {
        output.warn(format!("which restore points failed is not known: {error:#}"));
        BTreeMap::new()
    });
    let is_failed =
        |point: &RestorePoint| verdicts.get(&point.id).is_some_and(|verdict| verdict.state == State::Failed);
    let good: Vec<RestorePoint> = all.iter().filter(|point| !is_failed(point)).cloned().collect();
    let mut resolved = target::resolve_among(vault, &args.service, &good, &args.to, args.timeline).await;
    let is_out = matches!(resolved, Err(TargetError::NoPoint { .. } | TargetError::OutOfWindow { .. }));
    if is_out && good.len() < all.len() {
        resolved = target::resolve_among(vault, &args.service, &all, &args.to, args.timeline).await;
    }
    let resolved = resolved.with_context(|| format!("{} cannot be restored to {}", args.service, args.to))?;
    if let Some(verdict) = verdicts.get(&resolved.point.id) {
        let (id, state, at) = (&resolved.point.id, verdict.state, show::time(verdict.time));
        let detail = &verdict.detail;
        match state {
            State::Failed => output.warn(format!(
                "only {id} reaches this moment, and it FAILED its verification on {at} ({detail}): it may not come back, or not as it was; look well before you rely on it"
            )),
            State::Doubtful => output.warn(format!("{id} recovered on {at}, but: {detail}")),
            State::Written | State::Verified => {}
        }
    }
    Ok(resolved)
}

/// The plan's places for tablespaces, and those of this call before them.
fn tablespaces(opened: &Opened, args: &Args) -> BTreeMap<String, PathBuf> {
    let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
    if let Ok(postgres) = opened.postgres(&args.service) {
        let planned = postgres.tablespaces.iter();
        places.extend(planned.map(|(old, new)| (old.to_string(), new.as_path().to_owned())));
    }
    places.extend(args.tablespaces.iter().cloned());
    places
}

/// The command that does the same again, from any directory.
fn typed(settings: &Settings, args: &Args, into: &Path) -> String {
    let mut words = vec!["lifeboat".to_owned(), "restore".to_owned(), args.service.to_string()];
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), quoted(&value)]);
    add("--to", args.to.to_string());
    add("--into", into.display().to_string());
    if let Some(timeline) = args.timeline {
        add("--timeline", timeline.to_string());
    }
    for (old, new) in &args.tablespaces {
        add("--tablespace", format!("{old}={}", new.display()));
    }
    for (flag, given) in [("--delta", args.delta), ("--start", args.start), ("--promote", args.promote)] {
        words.extend(given.then(|| flag.to_owned()));
    }
    // Where the vault is cannot be said if it cannot be found; then we would not be here.
    words.extend(settings.vault_arguments().unwrap_or_default().iter().map(|word| quoted(word)));
    words.join(" ")
}

async fn carry_out(
    settings: &Settings,
    opened: &Opened,
    args: &Args,
    resolved: &Resolved,
    done: &mut Restored,
    (options, plan): (restore::RestoreOptions, RestorePlan),
    mut watch: Stopwatch,
) -> anyhow::Result<()> {
    let into = options.into.clone();
    recovery::apply(settings, opened, &options, plan).await?;
    watch.lap("restored");
    done.restored = true;
    done.kept_bytes = options.progress.kept_bytes.load(std::sync::atomic::Ordering::Relaxed);
    match recovery::installation(resolved.point.major) {
        Ok(installation) => done.start_command = Some(start_command(&installation, &into)),
        Err(error) if !args.start => settings.output.warn(format!("{error:#}")),
        Err(error) => return Err(error),
    }
    if args.start {
        let mut server = recovery::start(settings, opened, &resolved.point, &into, args.port).await?;
        let reached = recovery::reach(settings, &mut server, &resolved.point, options.recovery.stop).await?;
        target::reached(reached, resolved).context("the server is not where it should be")?;
        watch.lap("replayed");
        if args.promote {
            server.promote().await.context("the server was not opened for writing")?;
            watch.lap("opened");
        }
        let (pid, address) = (server.pid(), server.address());
        server.detach();
        done.server = Some(ServerView { pid, address, reached, promoted: args.promote });
    }
    done.seconds = watch.total().as_secs_f64();
    let planned = opened.plan.as_ref().and_then(|plan| {
        let service = plan.plan.service(&args.service)?;
        plan.plan.objectives_of(service).rto
    });
    // A directory alone answers nobody: the objective is about a server.
    done.objective = planned
        .filter(|_| args.start)
        .map(|rto| Objective { rto_seconds: rto.0.as_secs_f64(), met: done.seconds <= rto.0.as_secs_f64() });
    done.segments = watch.segments;
    Ok(())
}

/// R1.
fn before(resolved: &Resolved, plan: &RestorePlan, done: &Restored, style: &Style) -> String {
    let mut out = style.paint(Tone::Strong, &format!("{} to {}", done.service, done.target.asked));
    let mut line = |name: &str, value: String| {
        out.push_str(&format!("\n  {name:<13} {}", clean(&value)));
    };
    let side = if resolved.inclusive { "up to and with" } else { "up to and without" };
    line("target", format!("timeline {}, {side} the record at {}", resolved.timeline, resolved.stop));
    match resolved.last {
        Some(last) => line("last commit", format!("{}, transaction {}", show::precise(last.time), last.xid)),
        None => line("last commit", "none near the target".to_owned()),
    }
    match resolved.next {
        Some(next) => line("left out", format!("{}, transaction {}", show::precise(next.time), next.xid)),
        None => line("left out", "nothing that was committed".to_owned()),
    }
    line("restore point", format!("{}, finished {}", resolved.point.id, show::time(resolved.point.finished)));
    line("replays", format!("{} of WAL, from {}", ByteCount(resolved.replay_bytes()), resolved.point.start));
    line(
        "writes",
        format!("{} in {} files into {}", ByteCount(plan.size_bytes), plan.files, done.into.display()),
    );
    if plan.packs_done > 0 {
        line("goes on", format!("{} of {} packs are there from an earlier try", plan.packs_done, plan.packs));
    }
    for (oid, path) in &plan.tablespaces {
        line("tablespace", format!("{oid} at {}", path.display()));
    }
    for path in &plan.removed {
        line("removes", path.display().to_string());
    }
    for (timeline, range) in &resolved.left_out {
        line("another line", format!("WAL {range} of timeline {timeline} is on no way to this"));
    }
    line("by hand", done.command.clone());
    out
}

fn after(done: &Restored, style: &Style) -> String {
    if done.dry_run {
        return "nothing was written\n".to_owned();
    }
    let mut out = String::new();
    match &done.server {
        Some(server) => {
            let state = if server.promoted { "open for writing" } else { "read-only, paused" };
            let text = format!("{} is back at {}: {state}", done.service, server.reached);
            out.push_str(&format!("{}\n", style.paint(Tone::Good, &text)));
            out.push_str(&format!("  reach it      psql {}\n", clean(&quoted(&server.address))));
            out.push_str(&format!("  its process   {}, in {}\n", server.pid, done.into.display()));
            if !server.promoted {
                let command = format!("lifeboat promote {}", quoted(&done.into.display().to_string()));
                out.push_str(&format!(
                    "  open it       {}   (look first whether it is the right moment)\n",
                    clean(&command)
                ));
            }
        }
        None => {
            let text = format!("{} is whole in {}", done.service, done.into.display());
            out.push_str(&format!("{}\n", style.paint(Tone::Good, &text)));
            if let Some(command) = &done.start_command {
                out.push_str(&format!(
                    "  start it      {}\n                it stops at its target, read-only; with LIFEBOAT_PASSPHRASE set \
                     unless a key file is named\n",
                    clean(command)
                ));
            }
        }
    }
    out.push_str(&format!("  time          {}\n", times(&done.segments)));
    if done.kept_bytes > 0 {
        out.push_str(&format!("  kept          {} were there already\n", ByteCount(done.kept_bytes)));
    }
    let total = format_duration(Duration::from_secs_f64(done.seconds));
    match &done.objective {
        Some(objective) => {
            let wanted = format_duration(Duration::from_secs_f64(objective.rto_seconds));
            let (tone, word) = if objective.met { (Tone::Good, "met") } else { (Tone::Bad, "MISSED") };
            let verdict = style.paint(tone, &format!("objective {wanted} {word}"));
            out.push_str(&format!("  in all        {total}; {verdict}\n"));
        }
        None => out.push_str(&format!("  in all        {total}\n")),
    }
    out
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
