//! What is done to a PostgreSQL cluster.
//!
//! A file a step: its probe, its act, what proves it, and the way back. What was there before a change is observed by
//! the probe, so that it is known whatever becomes of the act.
//!
//! # Invariants
//! - **G1 again is as once.** Whatever was killed anywhere is found as it stands, and gone on with.
//! - **G2 a refusal is certain, silence is not.** A step has failed where nothing was sent, or the server refused it; a
//!   connection that was lost says nothing.

mod fence;
mod local;
mod promote;
mod query;
mod reach;
mod recover;
mod replay;
mod restart;
mod rewire;
mod writes;

use crate::task::Task;
use lifeboat_core::run::{Circumstances, Found, Observed, Outcome, Side, Told};
use lifeboat_core::runbook::Server;
use lifeboat_core::runbook::postgres::{On, Postgres};
use reach::{AskError, Reach, Session, Until};
use std::time::Duration;

/// A server that does not answer by then is taken to be silent.
const LOOK: Duration = Duration::from_secs(5);

/// What a step is done with.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    server: &'a Server,
    task: &'a Task,
    under: &'a Circumstances,
    /// All is over by then.
    until: Until,
}

impl<'a> Job<'a> {
    fn new(task: &'a Task) -> Result<Self, NoServer> {
        let Task { binding, under, .. } = task;
        let server = binding.server.as_ref().ok_or(NoServer)?;
        Ok(Self { server, task, under, until: Until::of(Duration::from_secs(binding.timeout)) })
    }

    async fn open(&self, on: On) -> Result<Session, AskError> {
        Reach::new(self.server, on)?.open(self.until).await
    }

    /// The name under which something about this service is observed: one that a shell takes.
    fn name(&self, what: &str) -> String {
        let service = self.server.service.to_ascii_uppercase().replace('-', "_");
        format!("LIFEBOAT_{service}_{what}")
    }

    /// What this step observed before under that name.
    fn before(&self, what: &str) -> Option<&str> {
        self.under.before.get(&self.name(what)).map(String::as_str)
    }

    /// What any step observed under that name.
    fn known(&self, what: &str) -> Option<&str> {
        self.under.known.get(&self.name(what)).map(String::as_str)
    }
}

/// The step is bound to no cluster.
#[derive(Debug, thiserror::Error)]
#[error("the step is bound to no PostgreSQL cluster: the run was made by another Lifeboat")]
pub(crate) struct NoServer;

/// Whether it is done already.
pub(crate) async fn probe(
    deed: &Postgres,
    task: &Task,
) -> Result<Told<Found>, Box<dyn std::error::Error + Send + Sync>> {
    let job = Job::new(task)?;
    let told = match deed {
        Postgres::StopWrites(with) => writes::is_stopped(&job, with).await,
        Postgres::ResumeWrites(_) => writes::is_resumed(&job).await,
        Postgres::Promote(with) => promote::is_promoted(&job, with).await,
        Postgres::Fence(with) => fence::is_fenced(&job, with).await,
        Postgres::Restart(_) => restart::is_restarted(&job).await,
        Postgres::Rewire(with) => Ok(rewire::is_written(with)),
        Postgres::Recover(with) => Ok(recover::is_recovered(with)),
        Postgres::Check(_) | Postgres::Sql(_) | Postgres::WaitReplay(_) => return Ok(Found::Unknown.into()),
    };
    // What could not be asked is not known, and why is told.
    Ok(told.unwrap_or_else(|error| printed(Found::Unknown, error.told())))
}

/// Does it, or undoes it.
pub(crate) async fn act(
    deed: &Postgres,
    side: Side,
    task: &Task,
) -> Result<Told<Outcome>, Box<dyn std::error::Error + Send + Sync>> {
    let job = Job::new(task)?;
    let told = match (side, deed) {
        (Side::Act, Postgres::StopWrites(with)) => writes::stop(&job, with).await,
        (Side::Act, Postgres::ResumeWrites(_)) => writes::resume(&job).await,
        (Side::Undo, Postgres::StopWrites(_) | Postgres::ResumeWrites(_)) => writes::set_back(&job).await,
        (Side::Act, Postgres::Check(with)) => query::check(&job, with).await,
        (Side::Act, Postgres::Sql(with)) => query::run(&job, with).await,
        (Side::Act, Postgres::WaitReplay(with)) => replay::wait(&job, with).await,
        (Side::Act, Postgres::Promote(with)) => promote::promote(&job, with).await,
        (Side::Act, Postgres::Fence(with)) => fence::fence(&job, with).await,
        (Side::Undo, Postgres::Fence(_)) => fence::unfence(&job).await,
        (Side::Act, Postgres::Restart(with)) => restart::restart(&job, with).await,
        (Side::Act, Postgres::Rewire(with)) => rewire::rewire(&job, with).await,
        (Side::Undo, Postgres::Rewire(with)) => rewire::put_back(&job, with).await,
        (Side::Act, Postgres::Recover(with)) => recover::recover(&job, with).await,
        (Side::Undo, _) => Err(failed("there is no way to undo it")),
    };
    Ok(told.unwrap_or_else(Told::from))
}

/// Why the world is not as the step wants it.
pub(crate) async fn verify(
    deed: &Postgres,
    task: &Task,
) -> Result<Told<Option<String>>, Box<dyn std::error::Error + Send + Sync>> {
    let job = Job::new(task)?;
    let told = match deed {
        Postgres::StopWrites(_) => writes::must_be(&job, false).await,
        Postgres::ResumeWrites(_) => writes::must_be(&job, true).await,
        Postgres::Promote(with) => promote::must_be_open(&job, with).await,
        Postgres::Fence(_) => fence::must_hold(&job).await,
        Postgres::Restart(_) => restart::must_be_new(&job).await,
        Postgres::Rewire(with) => Ok(rewire::must_be_written(with)),
        Postgres::Check(_) | Postgres::Sql(_) | Postgres::WaitReplay(_) | Postgres::Recover(_) => {
            return Ok(None.into());
        }
    };
    Ok(told.unwrap_or_else(|error| Some(error.told()).into()))
}

/// Certain that nothing was done, or nothing more.
fn failed(why: impl Into<String>) -> Outcome {
    Outcome::Failed { why: why.into() }
}

/// Perhaps something was done.
fn unknown(why: impl Into<String>) -> Outcome {
    Outcome::Unknown { why: why.into() }
}

/// Of what was asked before anything was done.
fn before(error: AskError) -> Outcome {
    failed(error.told())
}

/// Of the first statement that changes something (G2).
fn sent(error: AskError) -> Outcome {
    match error.is_refusal() {
        true => failed(error.told()),
        false => unknown(error.told()),
    }
}

/// Of what came after something was done.
fn after(error: AskError) -> Outcome {
    unknown(error.told())
}

/// The standby that is open, if one is: beside it nothing may write again.
async fn open_standby(job: &Job<'_>, but: Option<&str>) -> Option<String> {
    for number in 1..=u16::try_from(job.server.standbys.len()).unwrap_or(u16::MAX) {
        let reach = Reach::new(job.server, On::Standby(number)).ok()?;
        let Ok(mut session) = reach.any(job.until.within(LOOK)).await else { continue };
        let is_open = session.is_in_recovery().await.is_ok_and(|recovering| !recovering);
        let is_it = session.started().await.ok().as_deref() == but;
        if is_open && !(is_it && but.is_some()) {
            return Some(session.at());
        }
    }
    None
}

/// Why nothing may write again where writes were stopped (law 5), if a standby was opened since.
async fn must_stay_closed(job: &Job<'_>, but: Option<&str>) -> Result<(), Outcome> {
    let open = open_standby(job, but).await;
    match open.or_else(|| job.known("PROMOTED_LSN").map(|_| "a standby that this run promoted".to_owned())) {
        None => Ok(()),
        Some(at) => Err(failed(format!(
            "{at} takes writes by now: with the old primary open beside it there would be two. Bring the old one \
             back as a standby instead"
        ))),
    }
}

/// With what a person is told.
fn printed<T>(result: T, output: impl Into<String>) -> Told<T> {
    Told { result, observed: Observed::new(), output: output.into() }
}
