//! `lifeboat vault`: make the vault, look at it, check and heal it.

mod check;
mod init;
mod status;

use crate::output::Exit;
use crate::settings::Settings;

/// What `lifeboat vault` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the vault in the copies that the plan names
    Init(init::Args),
    /// Show copies, keys and services
    Status,
    /// Check that all is there and whole in every copy, and heal what is not
    Check(check::Args),
}

/// Runs it.
///
/// # Errors
/// If it could not run.
pub async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Init(args) => init::run(settings, args).await,
        Command::Check(args) => check::run(settings, args).await,
        Command::Status => status::run(settings).await,
    }
}
