//! `lifeboat wal`: single WAL files in and out of the vault, and what they say.

mod push;

use crate::output::Exit;
use crate::settings::Settings;

/// What `lifeboat wal` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Take one WAL file into the vault: for archive_command
    Push(push::Args),
}

/// Runs it.
///
/// # Errors
/// If it could not run.
pub async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Push(args) => push::run(settings, args).await,
    }
}
