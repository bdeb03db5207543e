//! `lifeboat view`: data directories that read their pages from the vault, until they are whole.

mod drop;
mod finish;
mod list;
mod serve;

use crate::failure::Next;
use crate::output::Exit;
use crate::settings::Settings;
use crate::showing;
use anyhow::Context;
use lifeboat_postgres::view::{Place, Status};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What `lifeboat view` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the views of this machine
    List,
    /// Show how far one is
    Status {
        /// Its directory.
        directory: PathBuf,
    },
    /// Show one again after its process or its machine was stopped
    Show {
        /// Its directory.
        directory: PathBuf,
    },
    /// Fetch all that is still only in the vault
    Hydrate {
        /// Its directory.
        directory: PathBuf,
    },
    /// Make one a plain data directory: its server is restarted once, and needs the vault no more
    Finish(finish::Args),
    /// Remove one, with all that was written to it
    Drop(drop::Args),
    /// The process behind a view. Not for people: others start it, and hand it the key.
    #[command(hide = true)]
    Serve(serve::Args),
}

/// Runs it.
///
/// # Errors
/// If it could not run.
pub async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List => list::list(settings).await,
        Command::Status { directory } => list::status(settings, &directory).await,
        Command::Show { directory } => show(settings, &directory).await,
        Command::Hydrate { directory } => hydrate(settings, &directory).await,
        Command::Finish(args) => finish::run(settings, args).await,
        Command::Drop(args) => drop::run(settings, args).await,
        Command::Serve(args) => serve::run(settings, args).await,
    }
}

/// The view at a directory that somebody named.
fn place(directory: &Path) -> anyhow::Result<Place> {
    let absolute = std::path::absolute(directory).context("the directory has no absolute path")?;
    let place = Place::of(&absolute);
    if !place.home.exists() {
        return Err(anyhow::anyhow!(
            "{} is no view: there is no {}",
            absolute.display(),
            place.home.display()
        ))
        .next("`lifeboat view list` shows those of this machine; `lifeboat recover` makes one");
    }
    Ok(place)
}

/// One view, for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    directory: &'a Path,
    #[serde(flatten)]
    status: &'a Status,
}

async fn show(settings: &Settings, directory: &Path) -> anyhow::Result<Exit> {
    let place = place(directory)?;
    if !place.is_shown() {
        let opened = settings.open().await?;
        showing::show(settings, &opened, &place).await?;
    }
    list::status(settings, directory).await
}

async fn hydrate(settings: &Settings, directory: &Path) -> anyhow::Result<Exit> {
    let place = place(directory)?;
    showing::hydrate(settings, &place)
        .await
        .next(format!("the process behind it tells more in {}", showing::log(&place).display()))?;
    list::status(settings, directory).await
}
