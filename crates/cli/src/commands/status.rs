//! `lifeboat status`: to which moments each service can be taken back, what would be lost now, and what is
//! wrong.
//!
//! # Invariants
//! - **S1 unknown is not well.** What cannot be asked (a server, a slot) is said to be unknown, and no green.
//! - **S2 durable is counted.** What is at risk is held against what is in as many copies as the plan asks, outside of
//!   the service's own failure domain: as the stream counts, and not as recovery reads.

use crate::forecast::{self, ForecastView};
use crate::output::{Exit, Style, Tone, clean};
use crate::points::{self, PointView, State};
use crate::settings::{self, Opened, Settings};
use crate::{journal, show};
use anyhow::Context;
use jiff::Timestamp;
use lifeboat_base::{ByteCount, Lsn, LsnRange, ServiceName, SystemId, Timeline, format_duration};
use lifeboat_plan::Postgres;
use lifeboat_postgres::client::{Connection, Purpose};
use lifeboat_postgres::slot::{self, SlotHealth, SlotLimits};
use lifeboat_postgres::window::{Window, window_of};
use lifeboat_vault::Scope;
use lifeboat_vault::wal::{self, WalArchive};
use serde::Serialize;
use std::time::Duration;

/// How long a server may take to tell how its slot is.
const SERVER_LIMIT: Duration = Duration::from_secs(10);
/// Looks at the vault while a stream runs, for what the server has just written, and how long between them.
const LOOKS: usize = 3;
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `lifeboat status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of this service alone.
    service: Option<ServiceName>,
}

#[derive(Serialize)]
struct Status {
    services: Vec<ServiceStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceStatus {
    service: ServiceName,
    restore_points: usize,
    newest: Option<PointView>,
    last_verified: Option<PointView>,
    windows: Vec<WindowView>,
    exposure: Option<ExposureView>,
    recovery: Option<ForecastView>,
    slot: Option<SlotView>,
    problems: Vec<String>,
    unknown: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WindowView {
    system_id: SystemId,
    timeline: Timeline,
    spans: Vec<SpanView>,
    holes: Vec<LsnRange>,
    wal_end: Lsn,
    last_commit: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanView {
    from: Lsn,
    from_time: Timestamp,
    to: Lsn,
    restore_points: usize,
}

/// What would be lost if the primary were lost now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExposureView {
    flushed_on_server: Lsn,
    durable: Lsn,
    behind_bytes: u64,
    last_commit: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SlotView {
    name: String,
    exists: bool,
    active: bool,
    wal_status: String,
    retained_bytes: u64,
    keep_limit_bytes: Option<u64>,
    alarm: Option<String>,
}

/// Shows it.
///
/// # Errors
/// If the vault cannot be read.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let services = match args.service {
        Some(service) => {
            points::must_be_known(&opened, &service).await?;
            vec![service]
        }
        None => points::services(&opened).await?,
    };
    let mut status = Status { services: Vec::new() };
    for service in services {
        status.services.push(look(&opened, service).await?);
    }
    let now = settings.clock.now();
    settings.output.result("status", &status, |style| {
        status.services.iter().map(|service| human(service, now, style)).collect::<Vec<_>>().join("\n")
    })?;
    let well = |service: &ServiceStatus| service.problems.is_empty() && service.unknown.is_empty();
    Ok(if status.services.iter().all(well) { Exit::Good } else { Exit::Findings })
}

async fn look(opened: &Opened, service: ServiceName) -> anyhow::Result<ServiceStatus> {
    let points::Known { points, views, unread } = points::of_service(&opened.vault, &service).await?;
    let windows = window_of(&opened.vault.as_seen(), &service, &points).await;
    let points = views;
    let windows = windows.with_context(|| format!("the window of {service} is not known"))?;
    let mut status = ServiceStatus {
        restore_points: points.len(),
        newest: points.last().cloned(),
        last_verified: points.iter().rev().find(|point| point.state == State::Verified).cloned(),
        windows: windows.iter().map(WindowView::new).collect(),
        exposure: None,
        recovery: None,
        slot: None,
        problems: unread,
        unknown: Vec::new(),
        service,
    };
    if points.is_empty() {
        status.problems.push("no restore point: it cannot be brought back at all".to_owned());
    } else if windows.iter().all(|window| window.spans.is_empty()) {
        status.problems.push("no restore point has its WAL in the vault".to_owned());
    }
    for window in &windows {
        for hole in &window.holes {
            let line = format!("a hole: WAL {hole} of timeline {} is not in the vault", window.timeline);
            status.problems.push(line);
        }
    }
    if let Some(newest) = points.last() {
        let (suspect, damaged): (Vec<_>, Vec<_>) =
            newest.damaged_pages.iter().cloned().partition(|page| page.suspect);
        let told =
            |pages: &[_]| Some(format!("the newest restore point has pages {}", points::damage(pages)?));
        status.problems.extend(told(&damaged));
        // A verdict has settled it, one way or the other.
        status.unknown.extend(told(&suspect).filter(|_| newest.state == State::Written));
    }
    for point in &points {
        let what = match point.state {
            State::Failed => "failed its verification",
            State::Doubtful => "recovers, but not all was answered with yes",
            State::Written | State::Verified => continue,
        };
        let detail = point.verified_detail.as_deref().unwrap_or_default();
        status.problems.push(format!("restore point {} {what}: {detail}", point.id));
    }
    match predict(opened, &status.service, &points, &windows).await {
        Ok(recovery) => {
            status.problems.extend(recovery.as_ref().and_then(ForecastView::problem));
            status.recovery = recovery;
        }
        Err(error) => status.unknown.push(format!("how long a recovery takes: {error:#}")),
    }
    if let Ok(postgres) = opened.postgres(&status.service) {
        let stream = Scope::service(&status.service, journal::STREAM);
        // A journal that does not read is the business of `journal verify`; then it is taken to have been.
        let first = lifeboat_vault::journal::read(&opened.vault, &stream, 0).await;
        let was_streamed = first.map_or(true, |page| !page.records.is_empty());
        let asked = tokio::time::timeout(SERVER_LIMIT, ask(&mut status, postgres, was_streamed)).await;
        match asked {
            Ok(Ok(server)) => {
                if let Err(error) = expose(opened, &mut status, &server).await {
                    status.unknown.push(format!("exposure: {error:#}"));
                }
            }
            // S1.
            Ok(Err(error)) => status.unknown.push(format!("exposure and slot: {error:#}")),
            Err(_) => status.unknown.push("exposure and slot: the server does not answer in time".to_owned()),
        }
    }
    Ok(status)
}

/// How long a recovery to the newest moment would take; none if there is nothing to begin from.
async fn predict(
    opened: &Opened,
    service: &ServiceName,
    points: &[PointView],
    windows: &[Window],
) -> anyhow::Result<Option<ForecastView>> {
    // The newest line comes last.
    let Some(span) = windows.last().and_then(|window| window.spans.last()) else { return Ok(None) };
    let Some(newest) = span.points.last() else { return Ok(None) };
    let planned = opened.plan.as_ref().map(|plan| &plan.plan);
    let objective = planned.and_then(|plan| plan.objectives_of(plan.service(service)?).rto);
    let (replay_bytes, objective) = (span.to.bytes_since(newest.start), objective.map(|rto| rto.0));
    forecast::look(&opened.vault, service, points, replay_bytes, objective).await.map(Some)
}

/// How far the server is.
struct Server {
    system: SystemId,
    timeline: Timeline,
    flushed: Lsn,
    is_streamed: bool,
}

/// Asks the server how far it is and how its slot is.
async fn ask(status: &mut ServiceStatus, postgres: &Postgres, was_streamed: bool) -> anyhow::Result<Server> {
    let info = settings::conninfo(postgres, &postgres.connection)?;
    let slot = postgres.slot_name(&status.service)?;
    let mut sql = Connection::connect(&info, Purpose::Sql).await?;
    let health = slot::watch(&mut sql, slot.as_str()).await?;
    let question = "SELECT (SELECT system_identifier FROM pg_control_system()) AS system, \
         (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline";
    let row = sql.query_one(question).await?;
    let system = SystemId(row.parse::<i64>("system")? as u64);
    let timeline = Timeline(row.parse("timeline")?);
    let endpoint = sql.endpoint().to_string();
    sql.close().await;
    let directory = postgres.data_directory.as_ref().map(|path| path.as_path());
    let limits = SlotLimits::default().with_room_of(directory);
    let alarm = slot::assess(slot.as_str(), &endpoint, &health, &limits);
    // What was never there was not lost.
    let alarm = alarm.filter(|_| health.exists || was_streamed).map(|alarm| alarm.to_string());
    if postgres.stream.enabled {
        status.problems.extend(alarm.clone());
        if !was_streamed && !health.exists {
            let line =
                "it was never streamed: start `lifeboat serve` or `lifeboat stream`, which makes the slot";
            status.problems.push(line.to_owned());
        } else if health.exists && !health.active {
            status.problems.push("nobody streams: start `lifeboat serve` or `lifeboat stream`".to_owned());
        }
        status.slot = Some(SlotView::new(slot.as_str(), &health, alarm));
    }
    Ok(Server { system, timeline, flushed: health.flushed, is_streamed: health.active })
}

/// Holds what the server has against what the vault has for good (S2).
async fn expose(opened: &Opened, status: &mut ServiceStatus, server: &Server) -> anyhow::Result<()> {
    let Server { system, timeline, flushed, is_streamed } = *server;
    let ours = |window: &&WindowView| window.system_id == system && window.timeline == timeline;
    let Some(window) = status.windows.iter().find(ours) else {
        let newest = status.windows.iter().filter(|window| window.system_id == system);
        let newest = newest.map(|window| window.timeline).max().filter(|newest| *newest > timeline);
        status.problems.push(match newest {
            Some(newest) => format!(
                "the server is on timeline {timeline}, the vault on timeline {newest}: an old primary answers, or the connection still leads to it"
            ),
            None => format!(
                "the server is on timeline {timeline} of cluster {system}, of which the vault has nothing"
            ),
        });
        return Ok(());
    };
    // That there is none at all, or none with its WAL, has been said.
    if window.spans.is_empty() && status.windows.iter().any(|window| !window.spans.is_empty()) {
        let line =
            "no restore point reaches what the server writes now: take a backup, `lifeboat backup run`";
        status.problems.push(line.to_owned());
    }
    let vault = opened.vault_of(&status.service).as_seen();
    let clusters = wal::clusters(&vault, &status.service).await?;
    let cluster = clusters.into_iter().find(|cluster| cluster.system_id == system);
    let cluster = cluster.with_context(|| format!("the vault does not know cluster {system}"))?;
    let archive = WalArchive::of(&vault, &status.service, cluster)?;
    let mut looks = 0;
    let (end, silent) = loop {
        looks += 1;
        let (coverage, silent) = archive.durable(timeline).await?;
        let end = coverage.end();
        if !is_streamed || looks == LOOKS || end.is_some_and(|end| end >= flushed) {
            break (end, silent);
        }
        // What it has just written is on its way.
        tokio::time::sleep(LOOK_PAUSE).await;
    };
    if end.is_none_or(|end| end < flushed) {
        for failure in silent {
            let line =
                format!("exposure: it may be less than it seems, as a copy does not answer: {failure}");
            status.unknown.push(line);
        }
    }
    let durable = end.unwrap_or(window.spans.first().map_or(Lsn(0), |span| span.from));
    let exposure = ExposureView {
        flushed_on_server: flushed,
        durable,
        behind_bytes: flushed.bytes_since(durable),
        last_commit: window.last_commit,
    };
    if end.is_none() {
        status.problems.push(
            "no WAL of what the server writes now is in as many copies as the plan asks, outside of the service's own failure domain: if that is lost, what is not in another copy is lost with it".to_owned(),
        );
    }
    if let Some(end) = end.filter(|end| *end < window.wal_end) {
        status.problems.push(format!(
            "WAL from {end} to {} is in fewer copies than the plan asks: `lifeboat vault check --repair` brings it to those that lack it",
            window.wal_end
        ));
    }
    let plan = opened.plan.as_ref().map(|plan| &plan.plan);
    let service = plan.and_then(|plan| plan.service(&status.service).map(|service| (plan, service)));
    let rpo = service.and_then(|(plan, service)| plan.objectives_of(service).rpo);
    // Without a commit in the WAL, what is there is as old as the newest restore point.
    let since = window.last_commit.or(status.newest.as_ref().map(|point| point.finished));
    let now = opened.vault.clock().now();
    let said = rpo.zip(since).and_then(|(rpo, since)| beyond(exposure.behind_bytes, since, rpo.0, now));
    status.problems.extend(said);
    status.exposure = Some(exposure);
    Ok(())
}

/// What is said where more may be lost now than `rpo` allows: what the vault has is as of `since`.
fn beyond(behind_bytes: u64, since: Timestamp, rpo: Duration, now: Timestamp) -> Option<String> {
    if behind_bytes == 0 || since + rpo >= now {
        return None;
    }
    let (behind, since, rpo) = (ByteCount(behind_bytes), show::time(since), format_duration(rpo));
    Some(format!(
        "{behind} of WAL are not in the vault, which has what was committed up to {since}: more may be lost now than the {rpo} that the plan allows"
    ))
}

impl SlotView {
    fn new(name: &str, health: &SlotHealth, alarm: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            exists: health.exists,
            active: health.active,
            wal_status: health.wal_status.clone(),
            retained_bytes: health.retained_bytes,
            keep_limit_bytes: health.keep_limit_bytes,
            alarm,
        }
    }
}

impl WindowView {
    fn new(window: &Window) -> Self {
        let span = |span: &lifeboat_postgres::window::Span| SpanView {
            from: span.from,
            from_time: span.from_time,
            to: span.to,
            restore_points: span.points.len(),
        };
        Self {
            system_id: window.system_id,
            timeline: window.timeline,
            spans: window.spans.iter().map(span).collect(),
            holes: window.holes.clone(),
            wal_end: window.wal_end,
            last_commit: window.last_commit,
        }
    }
}

fn human(status: &ServiceStatus, now: Timestamp, style: &Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Strong, status.service.as_str()));
    let mut line = |name: &str, value: String| {
        out.push_str(&format!("  {name:<14} {}\n", clean(&value)));
    };
    for window in &status.windows {
        let count = window.spans.len();
        for (index, span) in window.spans.iter().enumerate() {
            let is_last = index + 1 == count;
            let until = match window.last_commit {
                Some(time) if is_last => format!("{} ({})", show::time(time), span.to),
                _ => span.to.to_string(),
            };
            let from = show::time(span.from_time);
            line("recoverable", format!("{from} to {until}, timeline {}", window.timeline));
        }
    }
    match &status.exposure {
        Some(exposure) if exposure.behind_bytes == 0 => {
            line("exposure", format!("none: the vault has all, up to {}", exposure.durable));
        }
        Some(exposure) => {
            let ExposureView { flushed_on_server, durable, behind_bytes, last_commit } = exposure;
            let since = last_commit.map(|time| {
                format!("; commits after {} ({}) may be in it", show::time(time), show::ago(now, time))
            });
            let behind = ByteCount(*behind_bytes);
            let since = since.unwrap_or_default();
            line("exposure", format!("{behind} of WAL, {durable} to {flushed_on_server}{since}"));
        }
        None => line("exposure", "unknown".to_owned()),
    }
    if let Some(recovery) = &status.recovery {
        line("recovery", recovery.text());
    }
    if let Some(slot) = &status.slot {
        let streams = if slot.active { "streamed" } else { "nobody streams" };
        let kept = ByteCount(slot.retained_bytes);
        line(
            "slot",
            match (slot.exists, slot.wal_status.as_str()) {
                (false, _) => format!("{}: there is none", slot.name),
                (true, "") => format!("{}: {streams}, keeps no WAL yet", slot.name),
                (true, wal_status) => format!("{}: {streams}, {wal_status}, keeps {kept}", slot.name),
            },
        );
    }
    match &status.newest {
        Some(point) => line("newest backup", format!("{}, {}", show::ago(now, point.finished), point.id)),
        None => line("newest backup", "none".to_owned()),
    }
    match status.last_verified.as_ref().and_then(|point| Some((point, point.verified_at?))) {
        Some((point, at)) => {
            let age = Duration::try_from(at.duration_since(point.finished)).unwrap_or_default();
            let after = format!("{} after it was taken", format_duration(age));
            line("last verified", format!("{}, {}, {after}", show::ago(now, at), point.id));
        }
        None => line("last verified", "never: `lifeboat backup verify` proves one".to_owned()),
    }
    for problem in &status.problems {
        out.push_str(&format!("  {} {}\n", style.paint(Tone::Bad, "PROBLEM"), clean(problem)));
    }
    for unknown in &status.unknown {
        out.push_str(&format!("  {} {}\n", style.paint(Tone::Doubtful, "UNKNOWN"), clean(unknown)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_lost_is_a_problem_once_it_is_older_than_the_plan_allows() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let check = |behind_bytes, since: &str, expected: bool| {
            let said = beyond(behind_bytes, since.parse().unwrap(), Duration::from_secs(60), now);
            assert_eq!(said.is_some(), expected, "{said:?}");
        };
        check(1000, "2026-11-22T09:58:00Z", true);
        check(1000, "2026-11-22T09:59:30Z", false);
        // A quiet database loses nothing, however long ago it last wrote.
        check(0, "2026-11-20T09:58:00Z", false);
        // The server's clock is ahead.
        check(1000, "2026-11-22T10:05:00Z", false);
    }
}
