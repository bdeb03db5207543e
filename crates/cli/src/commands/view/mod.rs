//! `lifeboat view`: data directories that read their pages from the vault, until they are whole.

mod again;
mod drop;
mod finish;
mod list;
mod serve;

use crate::failure::Next;
use crate::output::Exit;
use crate::recovery::{self, quoted};
use crate::settings::Settings;
use crate::showing;
use again::Again;
use anyhow::Context;
use lifeboat_postgres::restore::users_in;
use lifeboat_postgres::server::{Server, configured_port, stranded};
use lifeboat_postgres::view::{Place, Status, real_name};
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
        /// Start its server again too, as it was, and wait until it answers.
        #[arg(long)]
        start: bool,
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
        Command::Show { directory, start } => show(settings, &directory, start).await,
        Command::Hydrate { directory } => hydrate(settings, &directory).await,
        Command::Finish(args) => finish::run(settings, args).await,
        Command::Drop(args) => drop::run(settings, args).await,
        Command::Serve(args) => serve::run(settings, args).await,
    }
}

/// A directory that somebody named, by its one name.
fn named(directory: &Path) -> anyhow::Result<PathBuf> {
    real_name(directory).with_context(|| format!("{} has no absolute path", directory.display()))
}

/// The view at a directory that somebody named.
fn place(directory: &Path) -> anyhow::Result<Place> {
    let place = Place::of(&named(directory)?);
    if !place.home.exists() {
        return Err(anyhow::anyhow!(
            "{} is no view: there is no {}",
            place.mount.display(),
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

async fn show(settings: &Settings, directory: &Path, start: bool) -> anyhow::Result<Exit> {
    let place = place(directory)?;
    let name = quoted(&place.mount.display().to_string());
    if place.is_whole() {
        return Err(anyhow::anyhow!("all of {name} is here: it is no view any more, and lacks but its name"))
            .next(format!("lifeboat view finish {name}"));
    }
    if !place.is_shown() {
        let opened = settings.open().await?;
        showing::show(settings, &opened, &place).await?;
    }
    let users = recovery::login_roles(&users_in(&place.mount), None);
    let mut running = Server::adopt(&place.mount, &users);
    if let Some(server) = running.as_mut().filter(|_| start)
        && server.answering().await.is_err()
    {
        // It was on its way down, or hopelessly on its way up.
        running = Server::adopt(&place.mount, &[]);
    }
    let is_running = running.is_some();
    match stranded(&place.mount) {
        Some(pid) if !is_running && !start => settings.output.warn(format!(
            "its server of before, process {pid}, lost its files and lives on: lifeboat view show {name} --start \
             ends it and starts it anew"
        )),
        _ => {}
    }
    if start && !is_running {
        let port = configured_port(&place.mount).ok_or_else(|| {
            anyhow::anyhow!(
                "no server of Lifeboat's ever ran in {name}: there is no {}",
                recovery::CONFIGURATION
            )
        });
        let port = port.next(format!(
            "the command that made it goes on with it: lifeboat recover … --into {name} --start"
        ))?;
        let pid = Again::of(settings, &place, port).await?.start(settings).await?;
        settings.output.say(format!("its server answers again, process {pid}"));
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
