//! Brings a service back by this same program: the command that is shown is the command that is run.
//!
//! The program itself goes on where it was killed, and opens nothing beside a production that takes writes.

use super::local::Local;
use super::{Job, printed, unknown};
use crate::shell;
use lifeboat_core::run::{Found, Outcome, Told};
use lifeboat_core::runbook::postgres::{Postgres, Recover};

/// What a data directory holds while its server has not opened.
const SIGNALS: [&str; 2] = ["recovery.signal", "standby.signal"];

/// Whether what is to be opened is open: files without a server say nothing, the program goes on with them.
pub(super) fn is_recovered(with: &Recover) -> Told<Found> {
    let Ok(local) = Local::new(Some(&with.into)) else { return Found::NotDone.into() };
    let is_open = !SIGNALS.iter().any(|signal| local.directory().join(signal).exists());
    match with.promote && is_open && local.process().is_some() {
        true => printed(Found::Done, format!("an open server runs in {}\n", with.into)),
        false => Found::NotDone.into(),
    }
}

pub(super) async fn recover(job: &Job<'_>, with: &Recover) -> Result<Told<Outcome>, Outcome> {
    let shown = Postgres::Recover(with.clone()).statements().join("\n");
    let program = std::env::current_exe().map_err(|error| super::failed(error.to_string()))?;
    let program = program.display().to_string().replace('\'', r"'\''");
    // By its name as a person types it, this program and no other of that name.
    let text = format!("lifeboat() {{ '{program}' \"$@\"; }}\n{shown}\n");
    shell::act(job.task, &text, &[]).await.map_err(|error| unknown(error.to_string()))
}
