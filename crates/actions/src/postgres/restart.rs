//! Restarts a primary.
//!
//! That it was restarted shows in when it was started: the moment before is observed first.

use super::local::Local;
use super::reach::{AskError, Reach};
use super::{Job, LOOK, failed, printed, unknown};
use crate::shell;
use lifeboat_base::error_chain;
use lifeboat_core::run::{Found, Observed, Outcome, Told};
use lifeboat_core::runbook::postgres::{On, Restart};
use std::time::Duration;

/// Between two looks.
const POLL: Duration = Duration::from_millis(100);
/// When it had been started before.
const STARTED: &str = "STARTED_BEFORE";

/// Whether it was started since it was first asked.
pub(super) async fn is_restarted(job: &Job<'_>) -> Result<Told<Found>, AskError> {
    let mut session = Reach::new(job.server, On::Primary)?.any(job.until.within(LOOK)).await?;
    let started = session.started().await?;
    Ok(match job.before(STARTED) {
        Some(before) if before != started => {
            printed(Found::Done, format!("{} was started at {started}\n", session.at()))
        }
        Some(_) => Found::NotDone.into(),
        None => {
            let observed = Observed::from([(job.name(STARTED), started)]);
            Told { observed, ..Found::NotDone.into() }
        }
    })
}

pub(super) async fn restart(job: &Job<'_>, with: &Restart) -> Result<Told<Outcome>, Outcome> {
    let output = match &with.command {
        Some(command) => {
            let told = shell::act(job.task, command, &[]).await;
            let told = told.map_err(|error| unknown(error.to_string()))?;
            if told.result != Outcome::Done {
                return Ok(told);
            }
            told.output
        }
        None => {
            let local = Local::new(job.server.data_directory.as_deref()).map_err(|error| {
                failed(format!("{}; or say how it is restarted (`command`)", error_chain(&error)))
            })?;
            local.start(job.until).await.map_err(|error| unknown(error_chain(&error)))?;
            String::new()
        }
    };
    let reach = Reach::new(job.server, On::Primary).map_err(super::after)?;
    loop {
        match reach.any(job.until.within(LOOK)).await {
            Ok(session) => return Ok(printed(Outcome::Done, format!("{output}{} answers\n", session.at()))),
            Err(error) if job.until.is_over() => return Err(unknown(error.told())),
            Err(_) => job.until.pause(POLL).await,
        }
    }
}

/// It answers, and was started since.
pub(super) async fn must_be_new(job: &Job<'_>) -> Result<Told<Option<String>>, AskError> {
    let mut session = Reach::new(job.server, On::Primary)?.any(job.until.within(LOOK)).await?;
    let started = session.started().await?;
    let is_old = job.before(STARTED) == Some(started.as_str());
    Ok(is_old.then(|| format!("{} still runs as started at {started}", session.at())).into())
}
