//! `lifeboat run list`.

use super::words;
use crate::output::{Exit, Table};
use crate::settings::Settings;
use crate::show;
use jiff::Timestamp;
use lifeboat_engine::run::{RunId, list, load};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunView {
    run: RunId,
    runbook: String,
    target: String,
    requester: String,
    at: Timestamp,
    state: String,
    over: bool,
}

#[derive(Serialize)]
struct Runs {
    runs: Vec<RunView>,
}

/// Shows all runs, the newest last.
///
/// # Errors
/// If the vault cannot be read.
pub async fn run(settings: &Settings) -> anyhow::Result<Exit> {
    let vault = settings.open().await?.vault;
    let mut runs = Vec::new();
    for id in list(&vault).await? {
        match load(&vault, &id).await {
            Ok(known) => runs.push(RunView {
                run: id,
                runbook: known.begun.runbook.clone(),
                target: known.begun.target.clone(),
                requester: known.begun.requester.clone(),
                at: known.at,
                state: words::state(&known).0,
                over: known.state.ending().is_some(),
            }),
            Err(error) => settings.output.warn(lifeboat_base::error_chain(&error)),
        }
    }
    let runs = Runs { runs };
    settings.output.result("run.list", &runs, |style| {
        if runs.runs.is_empty() {
            return "There are no runs yet: `lifeboat run start RUNBOOK` begins one.\n".to_owned();
        }
        let mut table = Table::new(&["RUN", "RUNBOOK", "TARGET", "ASKED FOR BY", "AT", "STATE"]);
        for run in &runs.runs {
            table.row([
                run.run.to_string(),
                run.runbook.clone(),
                run.target.clone(),
                run.requester.clone(),
                show::time(run.at),
                run.state.clone(),
            ]);
        }
        table.render(style)
    })?;
    Ok(Exit::Good)
}
