//! Carries steps out: the adapters between a run and the world.
//!
//! Each takes a [`Binding`](lifeboat_core::runbook::Binding), which holds all that it needs, and says what came of it.
//! What the plan's own commands say (`probe`, `verify`, `undo`) goes before what an adapter knows by itself.
//!
//! # Invariants
//! - **A1 in time.** Whatever is begun is over within the step's limit, also if whoever began it has died.
//! - **A2 certain or unknown.** An act has failed only where it is certain that it did nothing more; anything else that
//!   is not done is told as not known.
//! - **A3 no secret leaves.** What is told of a step has the secrets that it was given taken out, and what looks like
//!   one.
//! - **A4 all or nothing.** A step whose secrets are not all there begins nothing.
//!
//! Deliberately absent: order, repetition, approvals, the journal.

mod files;
mod net;
mod notify;
mod postgres;
mod shell;
mod task;
mod telling;

pub use shell::{SuperviseError, supervise};
pub use task::{Lines, SUPERVISOR_COMMAND, Tools};

use lifeboat_core::port::{Trouble, Work};
use lifeboat_core::run::{Actions, BoundStep, Circumstances, Found, Outcome, Side, Told};
use lifeboat_core::runbook::Deed;
use std::sync::Arc;
use std::time::Duration;
use task::Task;

/// Carries steps out on this machine.
#[derive(Debug)]
pub struct Hands {
    tools: Arc<Tools>,
}

impl Hands {
    /// With what they need.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        Self { tools: Arc::new(tools) }
    }
}

impl Actions for Hands {
    fn probe(&self, step: &BoundStep, under: Circumstances) -> Work<Told<Found>> {
        let task = Task::new(self, step, under);
        Box::pin(async move {
            let task = task?;
            task.told(probe(&task).await)
        })
    }

    fn act(&self, step: &BoundStep, side: Side, under: Circumstances) -> Work<Told<Outcome>> {
        let task = Task::new(self, step, under);
        Box::pin(async move {
            let task = task?;
            task.told(match (task.missing_secret(), side) {
                (Some(missing), _) => Ok(Outcome::Failed { why: missing.to_string() }.into()),
                (None, Side::Act) => act(&task).await,
                (None, Side::Undo) => undo(&task).await,
            })
        })
    }

    fn verify(&self, step: &BoundStep, under: Circumstances) -> Work<Told<Option<String>>> {
        let task = Task::new(self, step, under);
        Box::pin(async move {
            let task = task?;
            task.told(verify(&task).await)
        })
    }
}

async fn probe(task: &Task) -> Result<Told<Found>, Trouble> {
    if let Some(missing) = task.missing_secret() {
        return Err(missing.into());
    }
    if let Some(check) = &task.binding.probe {
        return shell::probe(task, check).await;
    }
    match &task.binding.deed {
        Deed::FilesPut(deed) => Ok(files::probe(task, deed)),
        Deed::Postgres(deed) => postgres::probe(deed, task).await,
        _ => Ok(Found::Unknown.into()),
    }
}

async fn act(task: &Task) -> Result<Told<Outcome>, Trouble> {
    match &task.binding.deed {
        Deed::People => Ok(Outcome::Done.into()),
        Deed::Wait { seconds } => {
            tokio::time::sleep(Duration::from_secs(*seconds)).await;
            Ok(Outcome::Done.into())
        }
        Deed::Shell(deed) => shell::deed(task, deed).await,
        Deed::Check(check) => shell::check(task, check).await,
        Deed::HttpCheck(deed) => Ok(net::http(task, deed).await),
        Deed::TcpCheck(deed) => Ok(net::tcp(task, deed).await),
        Deed::TlsCheck(deed) => Ok(net::tls(task, deed).await),
        Deed::FilesPut(deed) => Ok(files::act(deed)),
        Deed::Webhook(deed) => notify::webhook(task, deed).await,
        Deed::Postgres(deed) => postgres::act(deed, Side::Act, task).await,
    }
}

async fn undo(task: &Task) -> Result<Told<Outcome>, Trouble> {
    if let Some(undo) = &task.binding.undo {
        return shell::act(task, undo, &[]).await;
    }
    match &task.binding.deed {
        Deed::FilesPut(deed) => Ok(files::undo(task, deed)),
        Deed::Postgres(deed) => postgres::act(deed, Side::Undo, task).await,
        _ => Ok(Outcome::Failed { why: "there is no way to undo it".to_owned() }.into()),
    }
}

/// The deed's own way to tell, then the plan's.
async fn verify(task: &Task) -> Result<Told<Option<String>>, Trouble> {
    if let Some(missing) = task.missing_secret() {
        return Err(missing.into());
    }
    let told = match &task.binding.deed {
        Deed::FilesPut(deed) => files::verify(deed),
        Deed::Postgres(deed) => postgres::verify(deed, task).await?,
        _ => None.into(),
    };
    let Some(check) = task.binding.verify.as_ref().filter(|_| told.result.is_none()) else { return Ok(told) };
    let checked = shell::check(task, check).await?;
    let result = match checked.result {
        Outcome::Done => None,
        Outcome::Failed { why } | Outcome::Unknown { why } => Some(why),
    };
    let mut observed = told.observed;
    observed.extend(checked.observed);
    Ok(Told { result, observed, output: told.output + &checked.output })
}
