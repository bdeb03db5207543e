//! Answers *what destroyed the data, and when* from the archived WAL.
//!
//! Reads a stretch of WAL record by record (`pgformat::search` counts), gives relations their names from
//! catalogue snapshots, and tells each suspect transaction with the target that recovers to right before it.
//!
//! # Invariants
//! - **Q1 only what was committed in the stretch** is told. Reading begins [`WARM_UP_BYTES`] earlier, so that
//!   transactions that began before it are counted in full, unless they are older still.
//! - **Q2 bounded.** At most [`FINDINGS_LIMIT`] findings and [`SNAPSHOTS_LIMIT`] snapshots.
//! - **Q3 gaps are named.** Holes and damage in the stretch are told beside the findings, not skipped silently.
//! - **Q4 no false all-clear.** Where nothing was read, or no catalogue knows the table that is asked for, there
//!   is no answer; what was below the limit is told by its largest.

use crate::catalogue::{self, CatalogueError};
use crate::target::find::{first_after, tail};
use crate::target::line::{Line, Timelines};
use crate::target::{ScanError, Target, scan};
use crate::window::shown;
use jiff::{SignedDuration, Timestamp};
use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::search::{Below, Effect, EffectKind, Search, SearchOptions, Suspect};
use lifeboat_pgformat::{CatalogueRelation, CatalogueSnapshot};
use lifeboat_vault::Vault;
use lifeboat_vault::wal::{self, WalArchive, WalError};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Findings in one answer.
pub const FINDINGS_LIMIT: usize = 10_000;
/// Snapshots that give names.
pub const SNAPSHOTS_LIMIT: usize = 16;
/// Names of tables that are told where one is not known.
pub const NAMES_LIMIT: usize = 10_000;
/// Read before the stretch (Q1).
pub const WARM_UP_BYTES: u64 = 64 << 20;

/// The first OID that is not PostgreSQL's own.
const FIRST_USER_OID: u32 = 16_384;

/// An end of the stretch to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// By commit time.
    Time(Timestamp),
    /// By position.
    Lsn(Lsn),
}

/// What to look for, and where.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// Commits from here on; from the beginning of the WAL if left out.
    pub from: Option<Bound>,
    /// Commits up to here; to the end if left out.
    pub to: Option<Bound>,
    /// Only this table: `orders`, `public.orders` or `shop.public.orders`.
    pub table: Option<String>,
    /// Changed rows from which on they are told.
    pub min_rows: u64,
    /// Whether rewrites (`VACUUM FULL`) are told although nothing else happened.
    pub rewrites: bool,
    /// The timeline; the newest if left out.
    pub timeline: Option<Timeline>,
    /// The cluster; may be left out where there has been only one.
    pub system: Option<SystemId>,
}

impl Default for SearchRequest {
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            table: None,
            min_rows: 1000,
            rewrites: false,
            timeline: None,
            system: None,
        }
    }
}

/// How far a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchProgress {
    /// Where it reads.
    pub at: Lsn,
    /// Bytes read.
    pub done_bytes: u64,
    /// Bytes to read.
    pub total_bytes: u64,
}

/// One suspect transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it did.
    pub suspect: Suspect,
    /// Recovers to right before it.
    pub target: Target,
}

/// What a search found.
#[derive(Debug)]
pub struct SearchReport {
    /// The cluster.
    pub system_id: SystemId,
    /// The timeline.
    pub timeline: Timeline,
    /// Stretches that were searched.
    pub searched: Vec<LsnRange>,
    /// What lies between them and is not in the vault (Q3).
    pub holes: Vec<LsnRange>,
    /// Whether the stretch reaches to the end of the WAL that the vault has.
    pub to_the_end: bool,
    /// When the first transaction of the stretch committed, whatever it did.
    pub first_commit: Option<Timestamp>,
    /// When the last one did.
    pub last_commit: Option<Timestamp>,
    /// Oldest first.
    pub findings: Vec<Finding>,
    /// The transaction that deleted the most below the limit (Q4).
    pub most_deleted: Option<Finding>,
    /// The transaction that updated the most below the limit (Q4).
    pub most_updated: Option<Finding>,
    /// There are more findings; ask for more rows, one table or less time.
    pub is_cut: bool,
    /// Transactions that were too many or too large to count in full.
    pub is_incomplete: bool,
    /// What ended the search early (Q3).
    pub ended_by: Option<ScanError>,
    /// Where the catalogue snapshots that gave names were taken.
    pub snapshots: Vec<Lsn>,
}

/// Why nothing was searched.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// No WAL.
    #[error("the vault holds no WAL of {0}")]
    NoWal(ServiceName),
    /// Several clusters.
    #[error(
        "{service} has been several clusters ({}): say which by its system identifier",
        have.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Several {
        /// The service.
        service: ServiceName,
        /// Them.
        have: Vec<SystemId>,
    },
    /// No such timeline.
    #[error("the vault has no WAL of timeline {0}")]
    UnknownTimeline(Timeline),
    /// Nothing lies between the bounds (Q4).
    #[error(
        "the vault has no transaction between the bounds: its WAL of timeline {timeline} is {}{}",
        have.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        last_commit.map_or(String::new(), |time| format!(", and the last commit in it is of {}", shown(time)))
    )]
    Nothing {
        /// The timeline.
        timeline: Timeline,
        /// The WAL that there is of it.
        have: Vec<LsnRange>,
        /// The last commit in it.
        last_commit: Option<Timestamp>,
    },
    /// No catalogue knows the table (Q4).
    #[error("no table was called `{table}` then, as far as {snapshots} catalogue snapshots know")]
    UnknownTable {
        /// What was asked for.
        table: String,
        /// How many were looked through.
        snapshots: usize,
        /// Those that are known, as `schema.name`; at most [`NAMES_LIMIT`].
        known: Vec<String>,
    },
    /// The WAL's names.
    #[error("the WAL in the vault cannot be listed")]
    Wal(#[source] WalError),
    /// The bounds.
    #[error("the bounds of the search cannot be found")]
    Bounds(#[source] ScanError),
    /// The names.
    #[error("the names of relations cannot be read")]
    Catalogue(#[source] CatalogueError),
}

/// Searches; `progress` is told once a segment.
///
/// # Errors
/// [`SearchError`]; damage on the way ends the search and is in the report.
pub async fn search(
    vault: &Vault,
    service: &ServiceName,
    request: &SearchRequest,
    progress: &(dyn Fn(SearchProgress) + Sync),
) -> Result<SearchReport, SearchError> {
    let line = line(vault, service, request).await?;
    let ranges = ranges(&line, request).await.map_err(SearchError::Bounds)?;
    let (Some(begin), Some(end)) = (ranges.first().map(|r| r.start), ranges.last().map(|r| r.end)) else {
        return Err(nothing(&line).await);
    };
    let system_id = line.archive().cluster().system_id;
    let mut snapshots = snapshots(vault, service, system_id, begin, end).await?;
    if let Some(table) = &request.table {
        must_be_known(vault, service, system_id, table, &mut snapshots).await?;
    }
    let mut report = SearchReport {
        system_id,
        timeline: line.timeline(),
        searched: Vec::new(),
        holes: holes(&ranges),
        to_the_end: line.stretches().last().is_some_and(|stretch| stretch.end == end),
        first_commit: None,
        last_commit: None,
        findings: Vec::new(),
        most_deleted: None,
        most_updated: None,
        is_cut: false,
        is_incomplete: false,
        ended_by: None,
        snapshots: snapshots.iter().map(|snapshot| snapshot.lsn).collect(),
    };
    let options = SearchOptions { min_rows: request.min_rows, rewrites: request.rewrites };
    let mut search = Search::new(options, snapshots);
    search.tell_below(Below { deleted: 1, updated: 1 });
    let total_bytes = ranges.iter().map(LsnRange::len).sum();
    let mut done_bytes = 0;
    for range in ranges {
        let on_the_way = |at: Lsn| {
            progress(SearchProgress {
                at,
                done_bytes: done_bytes + at.bytes_since(range.start),
                total_bytes,
            });
        };
        let outcome = one_stretch(&line, range, request, &mut search, &mut report, &on_the_way).await;
        done_bytes += range.len();
        report.searched.push(range);
        if let Err(error) = outcome {
            report.ended_by = Some(error);
        }
        if report.is_cut || report.ended_by.is_some() {
            break;
        }
    }
    report.is_incomplete = search.is_incomplete();
    Ok(report)
}

/// Searches one contiguous stretch.
async fn one_stretch(
    line: &Line,
    range: LsnRange,
    request: &SearchRequest,
    search: &mut Search,
    report: &mut SearchReport,
    progress: &(dyn Fn(Lsn) + Sync),
) -> Result<(), ScanError> {
    let holding = line.stretches().iter().find(|s| s.start <= range.start && range.start < s.end);
    let floor = holding.map_or(range.start, |stretch| stretch.start);
    let start = Lsn(range.start.0.saturating_sub(WARM_UP_BYTES)).max(floor);
    scan::digest(line, LsnRange { start, end: range.end }, |digest| {
        if let Some(said) = digest.said().next().filter(|said| said.lsn >= range.start) {
            progress(said.lsn);
        }
        for said in digest.said() {
            let suspect = search.take(&said)?;
            if said.lsn < range.start {
                continue;
            }
            if let Some((_, time)) = search.last_commit().filter(|(lsn, _)| *lsn == said.lsn) {
                report.first_commit = report.first_commit.or(Some(time));
                report.last_commit = Some(time);
            }
            let Some(suspect) = suspect else { continue };
            if report.take(suspect, request).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            search.tell_below(report.below());
        }
        Ok(ControlFlow::Continue(()))
    })
    .await
}

impl SearchReport {
    /// Takes what is asked for of a suspect; breaks when there is no room.
    fn take(&mut self, mut suspect: Suspect, request: &SearchRequest) -> ControlFlow<()> {
        if let Some(table) = &request.table {
            suspect.what.retain(|effect| is_of_table(effect, table));
            suspect.below.retain(|effect| is_of_table(effect, table));
        }
        self.keep_the_most(&mut suspect);
        if suspect.what.is_empty() {
            return ControlFlow::Continue(());
        }
        if self.findings.len() >= FINDINGS_LIMIT {
            self.is_cut = true;
            return ControlFlow::Break(());
        }
        let target = Target::BeforeXid(suspect.xid);
        self.findings.push(Finding { suspect, target });
        ControlFlow::Continue(())
    }

    /// Takes what is below the limit out of a suspect, and keeps the largest of it.
    fn keep_the_most(&mut self, suspect: &mut Suspect) {
        for effect in std::mem::take(&mut suspect.below) {
            let most = match effect.kind {
                EffectKind::Delete => &mut self.most_deleted,
                _ => &mut self.most_updated,
            };
            if rows(most) < effect.rows.unwrap_or(0) {
                let target = Target::BeforeXid(suspect.xid);
                let suspect = Suspect { what: vec![effect], below: Vec::new(), ..suspect.clone() };
                *most = Some(Finding { suspect, target });
            }
        }
    }

    /// From where on something below the limit is more than what is known.
    fn below(&self) -> Below {
        Below { deleted: rows(&self.most_deleted) + 1, updated: rows(&self.most_updated) + 1 }
    }
}

/// Rows of a finding of one effect.
fn rows(finding: &Option<Finding>) -> u64 {
    finding
        .iter()
        .flat_map(|finding| &finding.suspect.what)
        .filter_map(|effect| effect.rows)
        .max()
        .unwrap_or(0)
}

/// What there is instead of what lies between the bounds.
async fn nothing(line: &Line) -> SearchError {
    let have = line.stretches().to_vec();
    let last_commit = match have.last() {
        // It is said beside what went wrong: not knowing it is no other fault.
        Some(last) => tail(line, *last).await.ok().and_then(|tail| tail.last_commit),
        None => None,
    };
    let last_commit = last_commit.map(|moment| moment.time);
    SearchError::Nothing { timeline: line.timeline(), have, last_commit }
}

/// Q4. A snapshot that knows the table although it is not of the stretch is taken along.
async fn must_be_known(
    vault: &Vault,
    service: &ServiceName,
    system: SystemId,
    table: &str,
    snapshots: &mut Vec<CatalogueSnapshot>,
) -> Result<(), SearchError> {
    let is_file = table.chars().all(|c| c.is_ascii_digit() || c == '/');
    if is_file || snapshots.iter().any(|snapshot| knows(snapshot, table)) {
        return Ok(());
    }
    let mut known: BTreeSet<String> = snapshots.iter().flat_map(tables).collect();
    let mut looked = snapshots.len();
    let all = catalogue::list(vault, service, system).await.map_err(SearchError::Catalogue)?;
    let have: Vec<Lsn> = snapshots.iter().map(|snapshot| snapshot.lsn).collect();
    for lsn in all.into_iter().rev().filter(|lsn| !have.contains(lsn)).take(SNAPSHOTS_LIMIT) {
        let snapshot = catalogue::load(vault, service, system, lsn).await.map_err(SearchError::Catalogue)?;
        if knows(&snapshot, table) {
            snapshots.push(snapshot);
            return Ok(());
        }
        looked += 1;
        known.extend(tables(&snapshot));
    }
    let known = known.into_iter().take(NAMES_LIMIT).collect();
    Err(SearchError::UnknownTable { table: table.to_owned(), snapshots: looked, known })
}

/// Tables of people's own, as `schema.name`.
fn tables(snapshot: &CatalogueSnapshot) -> impl Iterator<Item = String> {
    let relations = snapshot.databases.iter().flat_map(|database| &database.relations);
    let own = relations.filter(|relation| is_table(relation) && relation.oid.0 >= FIRST_USER_OID);
    own.map(|relation| format!("{}.{}", relation.schema, relation.name))
}

fn is_table(relation: &CatalogueRelation) -> bool {
    matches!(relation.kind, 'r' | 'p' | 'm')
}

fn knows(snapshot: &CatalogueSnapshot, table: &str) -> bool {
    snapshot.databases.iter().any(|database| {
        let mut tables = database.relations.iter().filter(|relation| is_table(relation));
        tables.any(|relation| is_called(table, Some(&database.name), &relation.schema, &relation.name))
    })
}

/// Whether `table` is as much as was given of this name.
fn is_called(table: &str, database: Option<&str>, schema: &str, name: &str) -> bool {
    let in_schema = format!("{schema}.{name}");
    table == name
        || table == in_schema
        || database.is_some_and(|database| table == format!("{database}.{in_schema}"))
}

/// Whether an effect is on `table`, by as much of its name as was given, or by its file.
fn is_of_table(effect: &Effect, table: &str) -> bool {
    // With its database goes every table.
    if effect.kind == EffectKind::DropDatabase {
        return true;
    }
    if effect.file.is_some_and(|file| file.to_string() == table) {
        return true;
    }
    let Some(relation) = &effect.relation else { return false };
    is_called(table, effect.database_name.as_deref(), &relation.schema, &relation.name)
}

async fn line(vault: &Vault, service: &ServiceName, request: &SearchRequest) -> Result<Line, SearchError> {
    let mut clusters = wal::clusters(vault, service).await.map_err(SearchError::Wal)?;
    clusters.retain(|cluster| request.system.is_none_or(|wanted| wanted == cluster.system_id));
    if clusters.len() > 1 {
        let have = clusters.iter().map(|cluster| cluster.system_id).collect();
        return Err(SearchError::Several { service: service.clone(), have });
    }
    let no_wal = || SearchError::NoWal(service.clone());
    let cluster = clusters.pop().ok_or_else(no_wal)?;
    let archive = WalArchive::of(vault, service, cluster).map_err(SearchError::Wal)?;
    let timelines = Timelines::load(&archive).await.map_err(SearchError::Wal)?;
    let timeline = match request.timeline {
        Some(chosen) if !timelines.all().any(|timeline| timeline == chosen) => {
            return Err(SearchError::UnknownTimeline(chosen));
        }
        Some(chosen) => chosen,
        None => timelines.all().next_back().ok_or_else(no_wal)?,
    };
    Ok(timelines.line(timeline))
}

/// What of the line's stretches lies between the bounds.
async fn ranges(line: &Line, request: &SearchRequest) -> Result<Vec<LsnRange>, ScanError> {
    let mut ranges = Vec::new();
    for stretch in line.stretches() {
        let start = match request.from {
            None => Some(stretch.start),
            Some(Bound::Lsn(lsn)) => Some(lsn.max(stretch.start)),
            // The first commit at the time or later.
            Some(Bound::Time(time)) => {
                let before = time.saturating_sub(SignedDuration::from_micros(1)).unwrap_or(Timestamp::MIN);
                first_after(line, *stretch, before).await?.map(|moment| moment.lsn)
            }
        };
        let end = match request.to {
            None => stretch.end,
            Some(Bound::Lsn(lsn)) => lsn.min(stretch.end),
            Some(Bound::Time(time)) => {
                first_after(line, *stretch, time).await?.map_or(stretch.end, |moment| moment.lsn)
            }
        };
        let range = start.map(|start| LsnRange { start, end });
        ranges.extend(range.filter(|range| !range.is_empty()));
    }
    Ok(ranges)
}

fn holes(ranges: &[LsnRange]) -> Vec<LsnRange> {
    ranges.windows(2).map(|pair| LsnRange { start: pair[0].end, end: pair[1].start }).collect()
}

/// The newest snapshot from before the stretch, those in it, and the first after it: it knows tables that were
/// made since. Where they differ the oldest counts.
async fn snapshots(
    vault: &Vault,
    service: &ServiceName,
    system: SystemId,
    begin: Lsn,
    end: Lsn,
) -> Result<Vec<CatalogueSnapshot>, SearchError> {
    let all = catalogue::list(vault, service, system).await.map_err(SearchError::Catalogue)?;
    let before = all.iter().rev().find(|lsn| **lsn <= begin);
    let within = all.iter().filter(|lsn| begin < **lsn && **lsn < end);
    let mut wanted: Vec<Lsn> = before.into_iter().chain(within).copied().take(SNAPSHOTS_LIMIT).collect();
    wanted.extend(all.iter().find(|lsn| **lsn >= end));
    let mut snapshots = Vec::new();
    for lsn in wanted {
        let snapshot = catalogue::load(vault, service, system, lsn).await;
        snapshots.push(snapshot.map_err(SearchError::Catalogue)?);
    }
    Ok(snapshots)
}
