//! `lifeboat wal push`: what `archive_command` runs where replication cannot be opened.

use crate::output::Exit;
use crate::points;
use crate::settings::Settings;
use anyhow::Context;
use lifeboat_base::ServiceName;
use lifeboat_postgres::push::{Pushed, push};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `lifeboat wal push`.
#[derive(Debug, clap::Args)]
#[command(after_help = "In postgresql.conf:\n  archive_command = 'lifeboat wal push --vault URL \
    --passphrase-file FILE SERVICE %p'\nPostgreSQL keeps a segment until the command succeeds.")]
pub struct Args {
    /// The service.
    service: ServiceName,
    /// The file: %p.
    path: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    file: PathBuf,
    outcome: &'static str,
}

/// Takes it in.
///
/// # Errors
/// If it is not in the vault now: PostgreSQL keeps it and tries again.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    if opened.plan.is_some() {
        points::must_be_known(&opened, &args.service).await?;
    }
    let pushed = push(&opened.vault_of(&args.service), &args.service, &args.path).await;
    let outcome = match pushed.context("the file was not taken into the vault")? {
        Pushed::Stored => "stored",
        Pushed::AlreadyThere => "alreadyThere",
        Pushed::NotNeeded => "notNeeded",
    };
    // PostgreSQL's log is where this would go: quiet unless a machine asked.
    if settings.output.is_json() {
        settings.output.result("wal.push", &Outcome { file: args.path, outcome }, |_| String::new())?;
    }
    Ok(Exit::Good)
}
