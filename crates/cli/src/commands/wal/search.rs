//! `lifeboat wal search`: what destroyed the data, and when; with the command that recovers to right before it.

use crate::output::{Exit, Style, Tone, clean};
use crate::progress::{Progress, Reading};
use crate::settings::{self, Opened, Settings};
use anyhow::Context;
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange, ServiceName, Timeline};
use lifeboat_pgformat::search::{Effect, EffectKind};
use lifeboat_postgres::catalogue;
use lifeboat_postgres::search::{Bound, Finding, SearchProgress, SearchReport, SearchRequest, search};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long the server may take to tell its tables' names.
const NAMES_LIMIT: Duration = Duration::from_secs(5);

/// Arguments of `lifeboat wal search`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A time carries its zone: 2026-11-21T10:15:00+08:00. A position is lsn:16/B374D848.")]
pub struct Args {
    /// The service.
    service: ServiceName,
    /// Only what committed since: a time, or lsn:X.
    #[arg(long, value_name = "WHEN", value_parser = bound)]
    from: Option<Bound>,
    /// Only what was written until: a time, or lsn:X.
    #[arg(long, value_name = "WHEN", value_parser = bound)]
    to: Option<Bound>,
    /// Only what happened to this table: name or schema.name, as it was called then.
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Tell transactions that changed so many rows of one table; drops and truncates are always told.
    #[arg(long, value_name = "N", default_value_t = SearchRequest::default().min_rows)]
    min_rows: u64,
    /// Tell rewrites too (VACUUM FULL, CLUSTER): nothing is lost by them.
    #[arg(long)]
    rewrites: bool,
    /// The timeline to search [default: the newest].
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
}

fn bound(text: &str) -> Result<Bound, String> {
    if let Some(lsn) = text.strip_prefix("lsn:") {
        return lsn.parse().map(Bound::Lsn).map_err(|_| format!("`{lsn}` is not a log position"));
    }
    let zoneless = "it needs a zone, as in 2026-11-21T10:15:00Z or 2026-11-21T10:15:00+08:00";
    text.parse::<Timestamp>().map(Bound::Time).map_err(|_| format!("`{text}` is not a time; {zoneless}"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Searched {
    service: ServiceName,
    timeline: Timeline,
    searched: Vec<LsnRange>,
    holes: Vec<LsnRange>,
    /// Something may be missing: limits were reached, or the WAL did not read to its end.
    incomplete: bool,
    findings: Vec<FindingView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FindingView {
    xid: u32,
    commit_lsn: Lsn,
    commit_time: Timestamp,
    effects: Vec<EffectView>,
    /// For `lifeboat restore --to`.
    recover_to: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EffectView {
    kind: &'static str,
    relation: String,
    rows: Option<u64>,
    certain: bool,
}

/// Searches.
///
/// # Errors
/// If nothing could be searched.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let request = SearchRequest {
        from: args.from,
        to: args.to,
        table: args.table,
        min_rows: args.min_rows,
        rewrites: args.rewrites,
        timeline: args.timeline.map(Timeline),
        ..SearchRequest::default()
    };
    note_names(&opened, &args.service).await;
    let (done, total) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (shown_done, shown_total) = (done.clone(), total.clone());
    let bar =
        Progress::start(&settings.output, &format!("searching the WAL of {}", args.service), move || {
            Reading { done: shown_done.load(Ordering::Relaxed), total: shown_total.load(Ordering::Relaxed) }
        });
    let report = search(&opened.vault, &args.service, &request, &|progress: SearchProgress| {
        done.store(progress.done_bytes, Ordering::Relaxed);
        total.store(progress.total_bytes, Ordering::Relaxed);
    })
    .await;
    bar.finish().await;
    let report = report.context("nothing was searched")?;
    let incomplete = report.is_cut || report.is_incomplete || report.ended_by.is_some();
    let searched = Searched {
        service: args.service.clone(),
        timeline: report.timeline,
        searched: report.searched.clone(),
        holes: report.holes.clone(),
        incomplete,
        findings: report.findings.iter().map(view).collect(),
    };
    settings.output.result("wal.search", &searched, |style| human(&args.service, &report, style))?;
    if let Some(error) = &report.ended_by {
        settings.output.warn(format!("the search ended early: {error}"));
    }
    if report.is_cut {
        settings.output.warn("there is more: ask for more rows, one table, or less time");
    }
    if report.is_incomplete {
        settings.output.warn("transactions were too many or too large to count in full");
    }
    Ok(if incomplete || !report.holes.is_empty() { Exit::Findings } else { Exit::Good })
}

/// Asks the server, if it still answers, what tables are called that were made since the last snapshot.
async fn note_names(opened: &Opened, service: &ServiceName) {
    let Ok(postgres) = opened.postgres(service) else { return };
    let Ok(conninfo) = settings::conninfo(postgres, &postgres.connection) else { return };
    // A search must not wait for the server that was lost; without new names it shows files.
    let _ = tokio::time::timeout(NAMES_LIMIT, catalogue::capture(&opened.vault, service, &conninfo)).await;
}

fn view(finding: &Finding) -> FindingView {
    let effect = |effect: &Effect| EffectView {
        kind: kind(effect.kind),
        relation: relation(effect),
        rows: effect.rows,
        certain: effect.certain,
    };
    FindingView {
        xid: finding.suspect.xid,
        commit_lsn: finding.suspect.commit_lsn,
        commit_time: finding.suspect.commit_time,
        effects: finding.suspect.what.iter().map(effect).collect(),
        recover_to: finding.target.to_string(),
    }
}

fn human(service: &ServiceName, report: &SearchReport, style: &Style) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        out.push_str(&format!("{}\n", style.paint(Tone::Strong, &describe(finding))));
        out.push_str(&format!(
            "  before it: lifeboat restore {service} --to {} --into DIR --start\n",
            clean(&finding.target.to_string())
        ));
    }
    for hole in &report.holes {
        out.push_str(&format!(
            "{}\n",
            style.paint(Tone::Bad, &format!("not searched, for the vault lacks it: {hole}"))
        ));
    }
    let searched: Vec<String> = report.searched.iter().map(ToString::to_string).collect();
    let found = match report.findings.len() {
        0 => "nothing that dropped, truncated or changed so many rows".to_owned(),
        count => format!("{count} found"),
    };
    out.push_str(&format!("timeline {}, {}: {found}\n", report.timeline, searched.join(", ")));
    out
}

/// A transaction in a sentence.
#[must_use]
pub fn describe(finding: &Finding) -> String {
    let suspect = &finding.suspect;
    let effects: Vec<String> = suspect.what.iter().map(effect).collect();
    format!(
        "{}  transaction {} at {}: {}",
        suspect.commit_time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"),
        suspect.xid,
        suspect.commit_lsn,
        effects.join(", ")
    )
}

/// `DELETE of 4711 rows of public.orders`.
fn effect(effect: &Effect) -> String {
    let rows = effect.rows.map(|rows| format!(" of {rows} rows")).unwrap_or_default();
    let doubt = if effect.certain { "" } else { " (or something more harmless)" };
    format!("{}{rows} of {}{doubt}", kind(effect.kind), relation(effect))
}

fn kind(kind: EffectKind) -> &'static str {
    match kind {
        EffectKind::DropDatabase => "DROP DATABASE",
        EffectKind::Drop => "DROP",
        EffectKind::Truncate => "TRUNCATE",
        EffectKind::Delete => "DELETE",
        EffectKind::Update => "UPDATE",
        EffectKind::Insert => "INSERT",
        EffectKind::Rewrite => "REWRITE",
    }
}

/// What it was called then, or its file.
fn relation(effect: &Effect) -> String {
    match (&effect.relation, &effect.file, &effect.database_name) {
        (Some(relation), ..) => format!("{}.{}", relation.schema, relation.name),
        (None, Some(file), _) => format!("file {} (no snapshot has its name)", file.relfilenode.0),
        (None, None, Some(database)) => format!("database {database}"),
        (None, None, None) => format!("database {}", effect.database.0),
    }
}
