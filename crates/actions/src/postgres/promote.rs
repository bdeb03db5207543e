//! Opens a standby for writing.
//!
//! # Invariants
//! - **P1 fence first.** It is not opened while a primary of the cluster takes writes where the plan says that it is;
//!   nor while none answers there and nothing says what keeps it from writing: no step of this run, and nobody.
//! - **P2 the same cluster.** What is open afterwards is the cluster that was there before, on a timeline of its own.

use super::reach::{AskError, Reach, Session};
use super::{Job, after, before, failed, printed, sent, unknown};
use lifeboat_core::run::{Found, Observed, Outcome, Told};
use lifeboat_core::runbook::postgres::{On, Postgres, Promote};
use std::time::Duration;

/// Between two looks.
const POLL: Duration = Duration::from_millis(100);
/// A primary that does not answer by then is taken to be silent.
const PRIMARY: Duration = Duration::from_secs(5);
/// The cluster, by its system identifier.
const SYSTEM: &str = "SYSTEM";
/// The timeline that the standby followed.
const FOLLOWED: &str = "TIMELINE_BEFORE";
/// The timeline that it opened.
const OPENED: &str = "TIMELINE";
/// Up to where it has the old primary's WAL.
const PROMOTED_AT: &str = "PROMOTED_LSN";
/// What proves that the old primary cannot write.
pub(super) const FENCED: &str = "FENCED";

/// The timeline of a server that is open, in decimal.
async fn open_timeline(session: &mut Session) -> Result<u32, AskError> {
    let name = session.text("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").await?;
    u32::from_str_radix(&name, 16).map_err(|_| AskError::Answer { at: session.at() })
}

/// Whether it is open; and what it was before, unless that is known.
pub(super) async fn is_promoted(job: &Job<'_>, with: &Promote) -> Result<Told<Found>, AskError> {
    let mut session = job.open(with.standby).await?;
    if session.is_in_recovery().await? {
        let mut observed = Observed::new();
        if job.before(SYSTEM).is_none() {
            let followed = "SELECT timeline_id FROM pg_control_checkpoint()";
            observed.insert(job.name(SYSTEM), session.system().await?);
            observed.insert(job.name(FOLLOWED), session.text(followed).await?);
        }
        return Ok(Told { observed, ..Found::NotDone.into() });
    }
    let timeline = open_timeline(&mut session).await?;
    let observed = Observed::from([
        (job.name(OPENED), timeline.to_string()),
        (job.name(SYSTEM), session.system().await?),
    ]);
    Ok(Told {
        observed,
        ..printed(Found::Done, format!("{} is open on timeline {timeline}\n", session.at()))
    })
}

pub(super) async fn promote(job: &Job<'_>, with: &Promote) -> Result<Told<Outcome>, Outcome> {
    let mut session = job.open(with.standby).await.map_err(before)?;
    if !session.is_in_recovery().await.map_err(before)? {
        return Ok(printed(Outcome::Done, format!("{} was open already\n", session.at())));
    }
    let system = session.system().await.map_err(before)?;
    let mut output = may_open(job, with, &system).await?;
    let replayed = session.text("SELECT pg_last_wal_replay_lsn()").await.map_err(before)?;
    for statement in Postgres::Promote(with.clone()).statements() {
        session.rows(&statement).await.map_err(sent)?;
    }
    while session.is_in_recovery().await.map_err(after)? {
        if job.until.is_over() {
            return Err(unknown(format!("{} was told to open, and is still in recovery", session.at())));
        }
        job.until.pause(POLL).await;
    }
    let timeline = open_timeline(&mut session).await.map_err(after)?;
    output += &format!("{} is open on timeline {timeline}, with the WAL up to {replayed}\n", session.at());
    let observed = Observed::from([
        (job.name(PROMOTED_AT), replayed),
        (job.name(OPENED), timeline.to_string()),
        (job.name(SYSTEM), system),
    ]);
    Ok(Told { observed, ..printed(Outcome::Done, output) })
}

/// P1. What is to be told about it.
async fn may_open(job: &Job<'_>, with: &Promote, system: &str) -> Result<String, Outcome> {
    let reach = Reach::new(job.server, On::Primary).map_err(before)?;
    let mut silent = Vec::new();
    for host in reach.hosts() {
        match writes_there(job, &host, system).await {
            Ok(Some(at)) if with.beside_production => {
                return Ok(format!(
                    "{at} takes writes too: there are two primaries from now on, as asked for\n"
                ));
            }
            Ok(Some(at)) => {
                return Err(failed(format!(
                    "{at} is a primary of the same cluster and takes writes; two of them are worse than none. Fence \
                     it first (`postgres.fence`); for a drill, write `besideProduction: true`"
                )));
            }
            Ok(None) => {}
            Err(error) => silent.push(error.told()),
        }
    }
    if silent.is_empty() || with.beside_production {
        return Ok(String::new());
    }
    let silent = silent.join("; ");
    let proof = job.known(FENCED).map(str::to_owned).or_else(|| with.fenced_by.clone());
    match proof {
        Some(proof) => Ok(format!("the old primary does not answer ({silent}); fenced: {proof}\n")),
        None => Err(failed(format!(
            "whether the old primary still takes writes could not be found out ({silent}), and silence is no proof. \
             Fence it first (`postgres.fence`), or say in the plan what keeps it from writing (`fencedBy: …`)"
        ))),
    }
}

/// Where a primary of that cluster takes writes, if it does.
async fn writes_there(job: &Job<'_>, host: &Reach, system: &str) -> Result<Option<String>, AskError> {
    let mut session = match host.any(job.until.within(PRIMARY)).await {
        Err(error) if error.is_fence() => return Ok(None),
        other => other?,
    };
    if session.system().await? != system || session.is_in_recovery().await? {
        return Ok(None);
    }
    Ok(session.takes_writes(true).await?.then(|| session.at()))
}

/// P2.
pub(super) async fn must_be_open(job: &Job<'_>, with: &Promote) -> Result<Told<Option<String>>, AskError> {
    let mut session = job.open(with.standby).await?;
    let at = session.at();
    if session.is_in_recovery().await? {
        return Ok(Some(format!("{at} is still in recovery")).into());
    }
    let (system, timeline) = (session.system().await?, open_timeline(&mut session).await?);
    if job.before(SYSTEM).is_some_and(|was| was != system) {
        return Ok(Some(format!("{at} is another cluster than before: system identifier {system}")).into());
    }
    if job.before(FOLLOWED).and_then(|was| was.parse().ok()).is_some_and(|was: u32| was >= timeline) {
        return Ok(Some(format!("{at} is open on timeline {timeline}, which is no new one")).into());
    }
    if !session.takes_writes(false).await? {
        return Ok(
            Some(format!("{at} is open and refuses writes: see its default_transaction_read_only")).into()
        );
    }
    Ok(printed(None, format!("{at} takes writes on timeline {timeline}\n")))
}
