//! Stops a primary's writes, and lets them go on.
//!
//! Stopped means: transactions are read-only unless they say otherwise, and no session is open that began before. It is
//! no fence: an application that sets its transactions to write can (`postgres.fence` is one).

use super::reach::{AskError, Session, Until};
use super::{Job, after, before, failed, must_stay_closed, open_standby, printed, sent, unknown};
use lifeboat_core::run::{Found, Observed, Outcome, Told};
use lifeboat_core::runbook::postgres::{On, READ_ONLY, StopWrites, set_back as resetting, set_read_only};
use std::time::Duration;

/// Between two looks at what takes effect soon.
const POLL: Duration = Duration::from_millis(50);
/// How long a server may take to have read its settings, and to have ended a session.
const EFFECT: Duration = Duration::from_secs(30);
/// What the setting was before the step, and whether the server's own files say so.
const PREVIOUS: &str = "READ_ONLY_BEFORE";

/// What a new session has.
async fn setting(session: &mut Session) -> Result<String, AskError> {
    session.text(&format!("SHOW {READ_ONLY}")).await
}

/// Sessions that began before the settings were last read, and are not let be.
async fn old_sessions(session: &mut Session, with: &StopWrites) -> Result<u64, AskError> {
    let sql = with.end_sessions().replacen("count(pg_terminate_backend(pid))", "count(*)", 1);
    let count = session.text(&format!("{sql} AND backend_start < pg_conf_load_time()")).await?;
    count.parse().map_err(|_| AskError::Answer { at: session.at() })
}

/// Whether writes are stopped; and what was before, unless that is known.
pub(super) async fn is_stopped(job: &Job<'_>, with: &StopWrites) -> Result<Told<Found>, AskError> {
    let mut session = job.open(On::Primary).await?;
    let now = setting(&mut session).await?;
    let is_done = now == "on" && old_sessions(&mut session, with).await? == 0;
    let found = if is_done { Found::Done } else { Found::NotDone };
    Ok(Told { observed: previous(job, &now), ..found.into() })
}

/// Whether writes go on; and what was before, unless that is known.
pub(super) async fn is_resumed(job: &Job<'_>) -> Result<Told<Found>, AskError> {
    let mut session = job.open(On::Primary).await?;
    let now = setting(&mut session).await?;
    let found = if now == "off" { Found::Done } else { Found::NotDone };
    Ok(Told { observed: previous(job, &now), ..found.into() })
}

fn previous(job: &Job<'_>, now: &str) -> Observed {
    match job.before(PREVIOUS) {
        // A second look may see what the step itself has done.
        Some(_) => Observed::new(),
        None => Observed::from([(job.name(PREVIOUS), now.to_owned())]),
    }
}

pub(super) async fn stop(job: &Job<'_>, with: &StopWrites) -> Result<Told<Outcome>, Outcome> {
    let mut session = job.open(On::Primary).await.map_err(before)?;
    // What a role may not see it could not end.
    let hidden = "SELECT count(*) FROM pg_stat_activity WHERE backend_type IS NULL";
    if session.text(hidden).await.map_err(before)? != "0" {
        return Err(failed(format!(
            "the plan's role at {} does not see the sessions of others, and would not end them: grant it \
             pg_read_all_stats and pg_signal_backend, or connect as a superuser (docs/runbooks.md, \"Rights\")",
            session.at()
        )));
    }
    apply(&mut session, &set_read_only("on")).await?;
    let mut session = effective(job, "on").await?;
    let until = job.until.within(EFFECT);
    let mut ended = 0_u64;
    loop {
        let count = session.text(&with.end_sessions()).await.map_err(after)?;
        ended = ended.max(count.parse().unwrap_or(0));
        if old_sessions(&mut session, with).await.map_err(after)? == 0 {
            return Ok(printed(
                Outcome::Done,
                format!(
                    "{}: transactions are read-only unless they say otherwise; {ended} sessions were ended\n",
                    session.at()
                ),
            ));
        }
        if until.is_over() {
            return Err(unknown(format!(
                "sessions that were open before are still there at {}, and may write: see pg_stat_activity",
                session.at()
            )));
        }
        until.pause(POLL).await;
    }
}

pub(super) async fn resume(job: &Job<'_>) -> Result<Told<Outcome>, Outcome> {
    let mut session = job.open(On::Primary).await.map_err(before)?;
    let started = session.started().await.map_err(before)?;
    // The plan's connection may lead to what this run promoted.
    if let Some(at) = open_standby(job, Some(&started)).await {
        return Err(failed(format!(
            "{at} takes writes already; {} beside it would make two primaries",
            session.at()
        )));
    }
    apply(&mut session, &resetting(READ_ONLY)).await?;
    let session = effective(job, "off").await?;
    Ok(printed(Outcome::Done, format!("{}: transactions write again\n", session.at())))
}

/// As it was before the step.
pub(super) async fn set_back(job: &Job<'_>) -> Result<Told<Outcome>, Outcome> {
    let was = job.before(PREVIOUS).ok_or_else(|| failed("what the setting was before is not known"))?;
    let was = if was == "on" { "on" } else { "off" };
    if was == "off" {
        must_stay_closed(job, None).await?;
    }
    let mut session = job.open(On::Primary).await.map_err(before)?;
    apply(&mut session, &resetting(READ_ONLY)).await?;
    // What the server's own files say, if that is it; else as it was said here.
    if effective(job, was).await.is_err() {
        apply(&mut session, &set_read_only(was)).await?;
        effective(job, was).await?;
    }
    Ok(printed(Outcome::Done, format!("{}: {READ_ONLY} is {was} as before\n", session.at())))
}

/// Statements that may be repeated, each for itself: `ALTER SYSTEM` bears no transaction.
pub(super) async fn apply(session: &mut Session, statements: &[String]) -> Result<(), Outcome> {
    for (at, statement) in statements.iter().enumerate() {
        let done = session.rows(statement).await;
        done.map_err(|error| if at == 0 { sent(error) } else { after(error) })?;
    }
    Ok(())
}

/// A session that began once new ones have that setting.
async fn effective(job: &Job<'_>, wanted: &str) -> Result<Session, Outcome> {
    let until: Until = job.until.within(EFFECT);
    loop {
        let mut session = job.open(On::Primary).await.map_err(after)?;
        let found = setting(&mut session).await.map_err(after)?;
        if found == wanted {
            return Ok(session);
        }
        if until.is_over() {
            return Err(unknown(format!(
                "{} still has {READ_ONLY} = {found}: something else sets it (the role, the database, a line of \
                 postgresql.conf, `options` in the connection string)",
                session.at()
            )));
        }
        until.pause(POLL).await;
    }
}

/// Asked by a session of its own, with a write.
pub(super) async fn must_be(job: &Job<'_>, open: bool) -> Result<Told<Option<String>>, AskError> {
    let mut session = job.open(On::Primary).await?;
    let takes = session.takes_writes(false).await?;
    Ok(match (takes, open) {
        (true, false) => Some(format!("{} still takes writes", session.at())).into(),
        (false, true) => Some(format!("{} still refuses writes", session.at())).into(),
        (false, false) => printed(None, format!("a write at {} was refused\n", session.at())),
        (true, true) => printed(None, format!("a write at {} was accepted\n", session.at())),
    })
}
