//! What an earlier call left in the directory, and whether this one goes on with it (R4).

use super::Asked;
use crate::failure::Next;
use crate::points::{self, State};
use crate::recovery::{self, quoted};
use crate::settings::{Opened, Settings};
use crate::{journal, show};
use anyhow::{Context, anyhow};
use lifeboat_base::Timeline;
use lifeboat_postgres::restore::{Left, RestorePlan, Stop};
use lifeboat_postgres::server::Server;
use lifeboat_postgres::target::{self, Resolved, TargetError};
use lifeboat_postgres::view::ViewPlan;
use lifeboat_vault::point::{self, RestorePoint};
use std::collections::BTreeMap;
use std::path::Path;

/// What is to be done with the directory.
pub(super) enum Way {
    /// Files are written, all or those that an earlier try did not come to.
    Write(Box<RestorePlan>),
    /// Names are written, and pages shown.
    View(Box<ViewPlan>),
    /// All of them are there.
    GoOn(Left),
}

/// Whether all that is left to do in a directory is to start what is there.
pub(super) fn goes_on(left: &Left, resolved: &Resolved, asked: &Asked) -> bool {
    let leads_there = left.point == resolved.point.id
        && left.aim.is_some_and(|aim| leads_to(aim, resolved, !is_running(&asked.into)));
    // Over what is not on the way there, a delta is written; without one it is an error.
    left.aim.is_some() && (!asked.how.is_delta() || (left.delta && leads_there))
}

/// R4. A server that is stopped can be given a later end.
fn leads_to(aim: (Timeline, Stop), resolved: &Resolved, is_stopped: bool) -> bool {
    let (timeline, before) = aim;
    let now = resolved.stop();
    let is_later = (before.lsn, before.inclusive) < (now.lsn, now.inclusive);
    timeline == resolved.timeline && (before == now || (is_later && is_stopped))
}

pub(super) fn is_running(directory: &Path) -> bool {
    Server::adopt(directory, &[]).is_some()
}

/// R4, with the way to what is there and the way to what was asked for.
pub(super) fn must_lead_there(left: &Left, resolved: &Resolved, into: &Path) -> anyhow::Result<()> {
    let Some(aim) = left.aim else { return Ok(()) };
    let is_running = is_running(into);
    let is_same = left.point == resolved.point.id;
    if is_same && leads_to(aim, resolved, !is_running) {
        return Ok(());
    }
    let (timeline, Stop { lsn, .. }) = aim;
    let directory = quoted(&into.display().to_string());
    let installation = recovery::installation(resolved.point.major).ok();
    let stop = installation.as_ref().map(|installation| {
        let program = installation.program("pg_ctl").display().to_string();
        recovery::as_server_account(&[&program, "-D", &into.display().to_string(), "stop"])
    });
    let next = match (is_running, stop) {
        (true, Some(stop)) if is_same && leads_to(aim, resolved, true) => {
            format!("stop it, and this command takes it on to there: {stop}. To open it where it is: ")
        }
        _ => "restore to the other moment into another directory. To open the one that is there: ".to_owned(),
    };
    let start = installation.filter(|_| !is_running).map_or_else(String::new, |installation| {
        format!("{}, and once it is paused ", recovery::start_command(&installation, into))
    });
    let state = if is_running { "its server runs" } else { "its server is stopped" };
    Err(anyhow!(
        "{} holds a restore of {} from restore point {} to {lsn} of timeline {timeline}, whole and not opened \
         yet ({state}); this one goes from {} to {} of timeline {}",
        into.display(),
        left.service,
        left.point,
        resolved.point.id,
        resolved.stop,
        resolved.timeline
    ))
    .next(format!("{next}{start}lifeboat promote {directory}"))
}

/// Where exactly the moment is: among the restore points that have not failed, or if none of those reaches it,
/// among all. From the one that an earlier call began with, if that leads there too.
///
/// # Errors
/// If there is no such moment, or nothing leads there.
pub async fn resolve(
    settings: &Settings,
    opened: &Opened,
    asked: &Asked,
    left: Option<&Left>,
) -> anyhow::Result<Resolved> {
    let (vault, output) = (&opened.vault, &settings.output);
    let (all, unread) = point::list_readable(vault, &asked.service).await?;
    for (id, error) in &unread {
        output.warn(points::unreadable(id, error));
    }
    if let Some((_, error)) = unread.into_iter().next().filter(|_| all.is_empty()) {
        return Err(error.into());
    }
    // The day on which this is needed is no day to insist on a journal.
    let verdicts = journal::verdicts(vault, &asked.service).await.unwrap_or_else(|error| {
        output.warn(format!("which restore points failed is not known: {error:#}"));
        BTreeMap::new()
    });
    let is_failed =
        |point: &RestorePoint| verdicts.get(&point.id).is_some_and(|verdict| verdict.state == State::Failed);
    let good: Vec<RestorePoint> = all.iter().filter(|point| !is_failed(point)).cloned().collect();
    let resolve_among = async |points: &[_]| {
        target::resolve_among(vault, &asked.service, points, &asked.to, asked.timeline).await
    };
    let (mut among, mut resolved) = (&good, resolve_among(&good).await);
    let is_out = matches!(resolved, Err(TargetError::NoPoint { .. } | TargetError::OutOfWindow { .. }));
    if is_out && good.len() < all.len() {
        (among, resolved) = (&all, resolve_among(&all).await);
    }
    let mut resolved =
        resolved.with_context(|| format!("{} cannot be restored to {}", asked.service, asked.to))?;
    let begun = left.filter(|left| left.point != resolved.point.id && (!asked.how.is_delta() || left.delta));
    if let Some(point) = begun.and_then(|left| among.iter().find(|point| point.id == left.point)) {
        // Should it not lead there, what is in the directory is told as what it is.
        let from_left = resolve_among(std::slice::from_ref(point)).await.ok();
        let same_end = |from_left: &Resolved| {
            (from_left.timeline, from_left.stop()) == (resolved.timeline, resolved.stop())
        };
        resolved = from_left.filter(same_end).unwrap_or(resolved);
    }
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
