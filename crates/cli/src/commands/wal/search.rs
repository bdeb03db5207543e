//! `lifeboat wal search`: what destroyed the data, and when; with the command that recovers to right before it.

use crate::failure::guided;
use crate::output::{Exit, Style, Tone, clean};
use crate::points;
use crate::progress::{Progress, Reading};
use crate::settings::{self, Opened, Settings};
use crate::show;
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::search::{Effect, EffectKind};
use lifeboat_postgres::catalogue;
use lifeboat_postgres::search::{
    Bound, Finding, SearchError, SearchProgress, SearchReport, SearchRequest, search,
};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long the server may take to tell its tables' names.
const NAMES_LIMIT: Duration = Duration::from_secs(5);

/// Tables that are named where one is not known, and none is near.
const TABLES_SHOWN: usize = 20;

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
    /// The cluster, by its system identifier, where the service has been several.
    #[arg(long, value_name = "ID")]
    system: Option<u64>,
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
    /// Whether that reaches to the end of the WAL that the vault has.
    to_the_end: bool,
    first_commit: Option<Timestamp>,
    last_commit: Option<Timestamp>,
    min_rows: u64,
    table: Option<String>,
    holes: Vec<LsnRange>,
    /// Something may be missing: limits were reached, or the WAL did not read to its end.
    incomplete: bool,
    findings: Vec<FindingView>,
    /// What deleted, and what updated, the most rows below the limit.
    below: Vec<FindingView>,
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
    points::must_be_known(&opened, &args.service).await?;
    let request = SearchRequest {
        from: args.from,
        to: args.to,
        table: args.table,
        min_rows: args.min_rows,
        rewrites: args.rewrites,
        timeline: args.timeline.map(Timeline),
        system: args.system.map(SystemId),
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
    let report = report.map_err(advised)?;
    let incomplete = report.is_cut || report.is_incomplete || report.ended_by.is_some();
    let searched = Searched {
        service: args.service.clone(),
        timeline: report.timeline,
        searched: report.searched.clone(),
        to_the_end: report.to_the_end,
        first_commit: report.first_commit,
        last_commit: report.last_commit,
        min_rows: args.min_rows,
        table: request.table.clone(),
        holes: report.holes.clone(),
        incomplete,
        findings: report.findings.iter().map(view).collect(),
        below: report.most_deleted.iter().chain(&report.most_updated).map(view).collect(),
    };
    settings
        .output
        .result("wal.search", &searched, |style| human(&args.service, &request, &report, style))?;
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

/// What to do about a search that read nothing.
fn advised(error: SearchError) -> anyhow::Error {
    let next = match &error {
        SearchError::UnknownTable { table, known, .. } => {
            let name = table.rsplit('.').next().unwrap_or(table);
            let names = known.iter().map(|known| known.rsplit('.').next().unwrap_or(known));
            let near = lifeboat_plan::nearest(name, names);
            let near: Vec<&str> = known
                .iter()
                .filter(|known| near.is_some_and(|near| known.rsplit('.').next() == Some(near)))
                .map(String::as_str)
                .collect();
            match (near.is_empty(), known.is_empty()) {
                (false, _) => format!("did you mean {}?", near.join(" or ")),
                (true, false) => format!(
                    "the tables are: {}{}",
                    known.iter().take(TABLES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "),
                    if known.len() > TABLES_SHOWN { ", and more" } else { "" }
                ),
                (true, true) => "search without --table: what has no name is told by its file".to_owned(),
            }
        }
        SearchError::Nothing { .. } => "what came later is not known: is `lifeboat status` well? Else give \
            other bounds, or leave --from and --to out"
            .to_owned(),
        SearchError::Several { .. } => "add --system with one of them".to_owned(),
        _ => return anyhow::Error::new(error).context("nothing was searched"),
    };
    guided(anyhow::Error::new(error).context("nothing was searched"), next)
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

fn human(service: &ServiceName, request: &SearchRequest, report: &SearchReport, style: &Style) -> String {
    let mut out = String::new();
    let way_back = |finding: &Finding| {
        let target = clean(&finding.target.to_string());
        format!("  before it: lifeboat restore {service} --to {target} --into DIR --start\n")
    };
    for finding in &report.findings {
        out.push_str(&format!("{}\n", style.paint(Tone::Strong, &describe(finding))));
        out.push_str(&way_back(finding));
    }
    for hole in &report.holes {
        out.push_str(&format!(
            "{}\n",
            style.paint(Tone::Bad, &format!("not searched, for the vault lacks it: {hole}"))
        ));
    }
    let of = request.table.as_ref().map_or("one table".to_owned(), |table| clean(table));
    let about = request.table.as_ref().map_or(String::new(), |table| format!(" of {}", clean(table)));
    out.push_str(&match report.findings.len() {
        0 => format!(
            "nothing{about} was dropped or truncated, and no transaction deleted, updated or inserted {} rows of \
             {of} (--min-rows)\n",
            request.min_rows
        ),
        count => format!("{count} found; told from {} rows of {of} on (--min-rows)\n", request.min_rows),
    });
    for finding in report.most_deleted.iter().chain(&report.most_updated) {
        let line = format!("the most below that: {}", describe(finding));
        out.push_str(&format!("{}\n{}", style.paint(Tone::Doubtful, &line), way_back(finding)));
    }
    out.push_str(&format!("{}\n", searched(report)));
    out
}

/// Where was looked, and up to when.
fn searched(report: &SearchReport) -> String {
    let ranges: Vec<String> = report.searched.iter().map(ToString::to_string).collect();
    let commits = match (report.first_commit, report.last_commit) {
        (Some(first), Some(last)) => {
            format!("its commits are of {} to {}", show::precise(first), show::precise(last))
        }
        _ => "nothing committed in it".to_owned(),
    };
    let end = match (report.to_the_end, report.ended_by.is_some() || report.is_cut) {
        (_, true) => "; it was not searched to its end",
        (true, _) => "; there the vault's WAL ends, and what came later is not known",
        (false, _) => "",
    };
    format!("searched: {} of timeline {}; {commits}{end}", ranges.join(", "), report.timeline)
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
