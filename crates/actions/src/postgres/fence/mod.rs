//! Keeps the old primary from writing, and proves it.
//!
//! The means are tried in the plan's order until one is proven. What proves a fence is a server that was seen to end,
//! a server that refuses, or the word of the plan's own commands; never silence.
//!
//! # Invariants
//! - **F1 proven or not known.** It is done when something proves it and no address of the plan takes a write. Until
//!   then the outcome is not known, with what a person can do.
//! - **F2 here only.** Nothing is changed that a standby would replay: it must be able to open.
//! - **F3 never two.** It is not undone once a standby is open.

mod refuse;

use super::local::Local;
use super::promote::FENCED;
use super::reach::{AskError, Reach};
use super::{Job, LOOK, failed, must_stay_closed, printed, unknown};
use crate::shell;
use lifeboat_base::error_chain;
use lifeboat_core::run::{Found, Observed, Outcome, Told};
use lifeboat_core::runbook::postgres::{Fence, Means, On};
use std::fmt::Write;

/// By which means it was done.
const BY: &str = "FENCED_BY";
/// Whether the server on this machine was a standby's before.
const STANDBY: &str = "FENCED_STANDBY_BEFORE";

/// What is seen at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// A write would be taken, there.
    Writes(String),
    /// It answers, and no write is taken.
    Closed(String),
    /// It does not answer, or not so that it could be asked.
    Silent(String),
}

/// What is seen at every address of the plan's connection.
async fn look(job: &Job<'_>) -> Result<Vec<Seen>, AskError> {
    let mut all = Vec::new();
    for host in Reach::new(job.server, On::Primary)?.hosts() {
        all.push(match look_at(job, &host).await {
            Ok(seen) => seen,
            Err(error) if error.is_fence() => Seen::Closed(format!("{} lets no session begin", host.told())),
            Err(error) => Seen::Silent(error.told()),
        });
    }
    Ok(all)
}

async fn look_at(job: &Job<'_>, host: &Reach) -> Result<Seen, AskError> {
    let mut session = host.any(job.until.within(LOOK)).await?;
    let at = session.at();
    Ok(match session.takes_writes(true).await? {
        true => Seen::Writes(at),
        false => Seen::Closed(format!("{at} refuses writes, even to whoever asks for them")),
    })
}

/// What is told of what was seen; an error if there is one that writes.
fn judged(seen: &[Seen]) -> Result<String, String> {
    let mut text = String::new();
    for seen in seen {
        match seen {
            Seen::Writes(at) => return Err(format!("{at} still takes writes")),
            Seen::Closed(what) | Seen::Silent(what) => {
                let _ = writeln!(text, "  {what}");
            }
        }
    }
    Ok(text)
}

fn all_closed(seen: &[Seen]) -> bool {
    !seen.is_empty() && seen.iter().all(|seen| matches!(seen, Seen::Closed(_)))
}

/// What says that it is fenced: what proved it before, unless it writes again; or all that answers now.
pub(super) async fn is_fenced(job: &Job<'_>, with: &Fence) -> Result<Told<Found>, AskError> {
    let seen = look(job).await?;
    let mut observed = refuse::previous(job).await;
    // Before the first act: whatever becomes of that, the undo knows.
    if job.before(STANDBY).is_none()
        && with.by.contains(&Means::Stop)
        && let Ok(local) = Local::new(job.server.data_directory.as_deref())
    {
        observed.insert(job.name(STANDBY), if local.is_standby() { "yes" } else { "no" }.to_owned());
    }
    let told = match judged(&seen) {
        Err(why) => printed(Found::NotDone, why + "\n"),
        Ok(text) if all_closed(&seen) => {
            observed
                .insert(job.name(FENCED), "every address of the plan answers and refuses writes".to_owned());
            printed(Found::Done, text)
        }
        Ok(text) if job.before(FENCED).is_some() || stopped(job, with).is_some() => {
            observed.extend(stopped(job, with).map(|proof| (job.name(FENCED), proof)));
            printed(Found::Done, text)
        }
        Ok(text) => printed(Found::NotDone, text),
    };
    Ok(Told { observed, ..told })
}

/// What proves that its server is stopped on this machine, and would be a standby if it were started.
fn stopped(job: &Job<'_>, with: &Fence) -> Option<String> {
    let local = Local::new(job.server.data_directory.as_deref()).ok()?;
    let is_so = with.by.contains(&Means::Stop) && local.is_standby() && local.processes().is_empty();
    is_so.then(|| proof_of(&local))
}

fn proof_of(local: &Local) -> String {
    format!(
        "no process runs in {}, and a start would make a standby of it (standby.signal)",
        local.directory().display()
    )
}

pub(super) async fn fence(job: &Job<'_>, with: &Fence) -> Result<Told<Outcome>, Outcome> {
    let (mut text, mut observed) = (String::new(), Observed::new());
    for means in &with.by {
        let (name, tried) = match means {
            Means::Stop => ("stop", stop(job).await),
            Means::Command(commands) => ("command", command(job, commands, &mut text).await),
            Means::Refuse => ("refuse", refuse::refuse(job).await),
        };
        let proof = match tried {
            Ok(proof) => proof,
            Err(why) => {
                let _ = writeln!(text, "{name}: {why}");
                continue;
            }
        };
        let seen = look(job).await.map_err(|error| unknown(error.told()))?;
        let silent = seen.iter().filter(|seen| matches!(seen, Seen::Silent(_))).count();
        match judged(&seen) {
            Err(why) => {
                let _ = writeln!(text, "{name}: {proof}; but {why}");
            }
            // One server was stopped: of several that are silent, which one is not known.
            Ok(_) if *means == Means::Stop && silent > 1 => {
                let _ = writeln!(text, "{name}: {proof}; but {silent} addresses of the plan are silent");
            }
            Ok(_) if *means == Means::Refuse && silent > 0 => {
                let _ = writeln!(text, "{name}: {proof}; but {silent} addresses of the plan are silent");
            }
            Ok(what) => {
                let _ = write!(text, "{name}: {proof}\n{what}");
                observed.insert(job.name(FENCED), format!("{name}: {proof}"));
                observed.insert(job.name(BY), name.to_owned());
                return Ok(Told { observed, ..printed(Outcome::Done, text) });
            }
        }
    }
    let why = format!(
        "nothing proves that the old primary cannot write: {}. Switch it off or cut it off by hand; then let the run \
         try again, or answer for it",
        text.trim().replace('\n', "; ")
    );
    Ok(Told { observed, ..printed(unknown(why), text) })
}

/// Stops the server on this machine; a start would make a standby of it.
async fn stop(job: &Job<'_>) -> Result<String, String> {
    let local = Local::new(job.server.data_directory.as_deref()).map_err(|error| error_chain(&error))?;
    // Before it ends, so that whatever starts it anew at once finds it.
    local.make_standby().map_err(|error| error_chain(&error))?;
    let how = local.stop(job.until).await.map_err(|error| error_chain(&error))?;
    Ok(format!("its server was stopped {how}: {}", proof_of(&local)))
}

/// Has the plan's own commands do it.
async fn command(job: &Job<'_>, commands: &str, text: &mut String) -> Result<String, String> {
    let told = shell::act(job.task, commands, &[]).await;
    let told = told.map_err(|error| error.to_string())?;
    text.push_str(&told.output);
    match told.result {
        Outcome::Done => Ok("the plan's commands ended well".to_owned()),
        Outcome::Failed { why } | Outcome::Unknown { why } => Err(why),
    }
}

/// F1, later on.
pub(super) async fn must_hold(job: &Job<'_>) -> Result<Told<Option<String>>, AskError> {
    let seen = look(job).await?;
    Ok(match judged(&seen) {
        Err(why) => Some(why).into(),
        Ok(text) if all_closed(&seen) || job.before(FENCED).is_some() => printed(None, text),
        Ok(text) => {
            printed(Some("no address of the plan answers, which proves nothing by itself".to_owned()), text)
        }
    })
}

/// As it was before the step (F3).
pub(super) async fn unfence(job: &Job<'_>) -> Result<Told<Outcome>, Outcome> {
    must_stay_closed(job, None).await?;
    let by = job.before(BY).unwrap_or_default().to_owned();
    let mut text = String::new();
    if job.before(STANDBY) == Some("no") {
        let local = Local::new(job.server.data_directory.as_deref());
        let local = local.map_err(|error| failed(error_chain(&error)))?;
        local.unmake_standby().map_err(|error| failed(error_chain(&error)))?;
        if local.process().is_none() || by == "stop" {
            local.start(job.until).await.map_err(|error| unknown(error_chain(&error)))?;
        }
        text += "its server was started again\n";
    }
    if by == "command" {
        return Err(failed("what the plan's commands did is undone by the plan's `undo`, and it has none"));
    }
    // By which means is not known where the machine died that did it.
    if by != "stop" {
        text += &refuse::take_back(job).await?;
    }
    Ok(printed(Outcome::Done, text))
}
