//! `lifeboat wal`: single WAL files in and out of the vault, and what they say.

pub mod fetch;
mod helper;
mod push;
pub mod search;

use crate::output::Exit;
use crate::settings::Settings;

/// What `lifeboat wal` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Bring one WAL file out of the vault: for restore_command
    Fetch(fetch::Args),
    /// Find what dropped, truncated or changed many rows, and when
    Search(search::Args),
    /// Take one WAL file into the vault: for archive_command
    Push(push::Args),
    /// The process behind `wal fetch`
    #[command(hide = true)]
    Helper(helper::Args),
}

/// Runs it.
///
/// # Errors
/// If it could not run.
pub async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Fetch(args) => fetch::run(settings, args).await,
        Command::Search(args) => search::run(settings, args).await,
        Command::Push(args) => push::run(settings, args).await,
        Command::Helper(args) => helper::run(settings, args).await,
    }
}
