//! `lifeboat advance`: a new restore point, made of the newest one and the WAL since, without production.
//!
//! ```text
//! newest point ─▶ throw-away view ─▶ server replays to production's last checkpoint ─▶ delta layer ─▶ verified
//! ```
//!
//! # Invariants
//! - **A1 one writer.** The lease of the service's backups is held: an advance and a backup do not cross.
//! - **A2 proven at once.** What was stored is recovered from the vault and looked at, as any restore point is; until
//!   it passed, it counts as written only.

use crate::commands::backup::scratch::Scratch;
use crate::commands::backup::{list, verify};
use crate::failure::Next;
use crate::journal;
use crate::output::Exit;
use crate::pin::pin;
use crate::points::{self, Known, PointView, State};
use crate::progress::{Progress, Reading};
use crate::recovery::{self, Hold, Segment, Stopwatch, Wanted};
use crate::settings::{Opened, Settings};
use crate::signals::{self, unless_stopped};
use crate::throwaway::ThrowAway;
use anyhow::{Context, anyhow};
use lifeboat_base::{ByteCount, ServiceName, Timeline, format_duration};
use lifeboat_postgres::advance::{self, AdvanceOptions};
use lifeboat_postgres::backup::{self, BackupProgress};
use lifeboat_postgres::target::{self, Resolved, Target};
use lifeboat_postgres::verify::Outcome;
use lifeboat_postgres::view;
use lifeboat_vault::pins::Purpose;
use lifeboat_vault::point::RestorePoint;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long it waits for the lease of a backup that runs.
const PATIENCE: Duration = Duration::from_secs(15);
/// The port of the throw-away server; it only names its socket.
const PORT: u16 = 5432;

/// Arguments of `lifeboat advance`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service.
    service: ServiceName,
    /// To the last checkpoint before this moment: latest, a timestamp with its zone, lsn:X, xid:N, before:xid:N,
    /// name:LABEL.
    #[arg(long, value_name = "TARGET", default_value = "latest")]
    to: Target,
    /// Along this timeline, where there are several.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
    /// Where to make the scratch directory: it needs room for what replay writes.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Leave it to a later `lifeboat backup verify` to prove the new restore point.
    #[arg(long)]
    no_verify: bool,
}

/// What became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    service: ServiceName,
    /// The restore point that it began from.
    from: String,
    /// The new one; none if production made no checkpoint since.
    point: Option<PointView>,
    /// WAL that was replayed, in bytes.
    replayed_bytes: u64,
    segments: Vec<Segment>,
    seconds: f64,
    /// What verifying it brought.
    verified: Option<Outcome>,
}

/// A new restore point, and how it came about.
#[derive(Debug)]
pub struct Advanced {
    /// The new restore point.
    pub point: RestorePoint,
    /// The one that it began from.
    pub from: String,
    /// WAL that was replayed, in bytes.
    pub replayed_bytes: u64,
    segments: Vec<Segment>,
}

impl Advanced {
    /// What it brought, in a sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        let took: f64 = self.segments.iter().map(|segment| segment.seconds).sum();
        format!(
            "restore point {} from {}: {} of WAL became {} in {}",
            self.point.id,
            self.from,
            ByteCount(self.replayed_bytes),
            ByteCount(self.point.stored_bytes),
            format_duration(Duration::from_secs_f64(took))
        )
    }
}

/// Advances, and shows what came of it.
///
/// # Errors
/// If there is no new restore point though there could be one.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    points::must_be_known(&opened, &args.service).await?;
    let scratch = args.scratch.unwrap_or_else(std::env::temp_dir);
    let timeline = args.timeline.map(Timeline);
    let (from, advanced) =
        match advance(settings, &opened, &args.service, &args.to, timeline, &scratch).await? {
            Ok(advanced) => (advanced.from.clone(), Some(advanced)),
            Err(NoCheckpoint { from }) => (from, None),
        };
    let mut verdict = None;
    if let Some(advanced) = advanced.as_ref().filter(|_| !args.no_verify) {
        let verified = verify::verify(settings, &opened, &advanced.point, &scratch, false).await;
        let verified = verified.with_context(|| format!("{} is made, and not proven", advanced.point.id));
        verdict = Some(verified.next(format!("lifeboat backup verify {}", advanced.point.id))?.outcome);
    }
    let verdicts = journal::verdicts(&opened.vault, &args.service).await.unwrap_or_default();
    let view = |advanced: &Advanced| PointView::new(&advanced.point, verdicts.get(&advanced.point.id));
    let segments = advanced.as_ref().map(|advanced| advanced.segments.clone()).unwrap_or_default();
    let shown = Shown {
        service: args.service.clone(),
        from,
        point: advanced.as_ref().map(view),
        replayed_bytes: advanced.as_ref().map_or(0, |advanced| advanced.replayed_bytes),
        seconds: segments.iter().map(|segment| segment.seconds).sum(),
        segments,
        verified: verdict,
    };
    settings.output.result("advance", &shown, |style| match (&advanced, &shown.point) {
        (Some(advanced), Some(view)) => {
            let times = recovery::times(&advanced.segments);
            format!("{}{}\n{times}\n", list::human(view, style), advanced.summary())
        }
        _ => format!(
            "nothing to advance: production has made no checkpoint since restore point {}\n",
            shown.from
        ),
    })?;
    Ok(if verdict.is_some_and(|outcome| outcome != Outcome::Passed) { Exit::Findings } else { Exit::Good })
}

/// Production has made no checkpoint since the restore point.
#[derive(Debug)]
pub struct NoCheckpoint {
    /// The restore point.
    pub from: String,
}

/// Makes a restore point of the newest one that has not failed, and WAL up to production's last checkpoint.
///
/// # Errors
/// If it could not be made.
pub async fn advance(
    settings: &Settings,
    opened: &Opened,
    service: &ServiceName,
    to: &Target,
    timeline: Option<Timeline>,
    scratch: &Path,
) -> anyhow::Result<Result<Advanced, NoCheckpoint>> {
    if let Err(why) = view::is_possible() {
        return Err(anyhow!("an advance needs a view, and there are none on this machine: {why}")).next(
            "let another machine advance; until then `lifeboat backup run` takes backups from production",
        );
    }
    let mut watch = Stopwatch::start(settings);
    let points = trusted(settings, opened, service).await?;
    let latest = target::resolve_among(&opened.vault, service, &points, to, timeline).await;
    let latest = latest.with_context(|| format!("there is no WAL of {service} to advance along"))?;
    let from = latest.point.id.clone();
    let Some(resolved) = target::checkpoint_before(&opened.vault, &latest).await? else {
        return Ok(Err(NoCheckpoint { from }));
    };
    // Known before anything is fetched.
    recovery::installation(resolved.point.major)?;
    watch.lap("resolved");
    let vault = &opened.vault_of(service);
    let mut fenced = journal::fence(vault, service, journal::BACKUP, PATIENCE).await?;
    let begun = serde_json::json!({ "from": from, "timeline": resolved.timeline, "to": resolved.stop });
    fenced.append("advance.started", begun).await.context("the advance was not begun")?;
    let pinned = pin(&settings.output, vault, service, Purpose::Backup, None).await?;
    let hold = Hold::take(settings, opened, &resolved.point).await;
    let made = make(settings, opened, &resolved, scratch, &mut watch).await;
    hold.release().await;
    let ended = match &made {
        Ok(point) => {
            let data = serde_json::json!({
                "point": point.id, "from": from, "timeline": point.timeline, "start": point.start,
                "stop": point.stop, "storedBytes": point.stored_bytes, "segments": watch.segments,
                "replayedBytes": resolved.replay_bytes(),
            });
            fenced.append("advance.finished", data).await
        }
        Err(error) => {
            fenced.append("advance.failed", serde_json::json!({ "reason": format!("{error:#}") })).await
        }
    };
    pinned.release().await;
    fenced.end().await;
    let point = made.with_context(|| format!("{service} was not advanced; {from} is as it was"))?;
    if let Err(error) = ended {
        settings.output.warn(format!("the restore point is whole, but not journalled: {error}"));
    }
    let replayed_bytes = resolved.replay_bytes();
    Ok(Ok(Advanced { point, from, replayed_bytes, segments: watch.segments }))
}

/// The restore points that have not failed.
async fn trusted(
    settings: &Settings,
    opened: &Opened,
    service: &ServiceName,
) -> anyhow::Result<Vec<RestorePoint>> {
    let Known { points, views, unread } = points::of_service(&opened.vault, service).await?;
    unread.into_iter().for_each(|line| settings.output.warn(line));
    let good = points.into_iter().zip(views).filter(|(_, view)| view.state != State::Failed);
    Ok(good.map(|(point, _)| point).collect())
}

/// Replays, stops, and stores what replay wrote.
async fn make(
    settings: &Settings,
    opened: &Opened,
    resolved: &Resolved,
    scratch: &Path,
    watch: &mut Stopwatch,
) -> anyhow::Result<RestorePoint> {
    let (service, point) = (&resolved.point.service, &resolved.point);
    settings
        .output
        .say(format!("{service} from restore point {} on, to the checkpoint of {}", point.id, resolved.stop));
    let scratch = Scratch::new(scratch, &point.id, false).await?;
    let wanted = Wanted::of(resolved, scratch.path());
    // Listened to until nothing of it runs any more.
    let _stopping = signals::stopping();
    let ground = ThrowAway::make(settings, opened, &wanted).await?;
    watch.lap("shown");
    let made = async {
        let started = recovery::start(settings, opened, point, scratch.path(), PORT, &[]);
        let mut server = unless_stopped(started).await??;
        let reached = recovery::reach(settings, &mut server, point, resolved.stop()).await?;
        target::reached(reached, resolved)?;
        watch.lap("replayed");
        unless_stopped(server.checkpoint()).await?.context("what replay changed was not written")?;
        server.halt().await.context("the server was to be stopped")?;
        watch.lap("written");
        let view = ground.view().context("there is no view to be stored")?;
        let stored = store(settings, opened, resolved, view).await?;
        watch.lap("stored");
        anyhow::Ok(stored)
    };
    let made = made.await;
    let damage = ground.damage();
    ground.end().await;
    match damage {
        Some(damage) => made.with_context(|| format!("the vault holds {} damaged: {damage}", point.id)),
        None => made,
    }
}

async fn store(
    settings: &Settings,
    opened: &Opened,
    resolved: &Resolved,
    view: &view::View,
) -> anyhow::Result<RestorePoint> {
    let service = &resolved.point.service;
    let progress = Arc::new(BackupProgress::default());
    let options = AdvanceOptions {
        vault: opened.vault_of(service),
        resolved: resolved.clone(),
        level: backup::DEFAULT_LEVEL,
        progress: Arc::clone(&progress),
    };
    let shown = Arc::clone(&progress);
    let bar =
        Progress::start(&settings.output, &format!("storing what changed of {service}"), move || Reading {
            done: shown.done_bytes.load(Ordering::Relaxed),
            total: shown.total_bytes.load(Ordering::Relaxed),
        });
    let guard = signals::on_stop(move || progress.cancelled.store(true, Ordering::Relaxed));
    let stored = advance::store(&options, view).await;
    drop(guard);
    bar.finish().await;
    Ok(stored?)
}
