//! `lifeboat backup`: take backups, list, verify and remove them.

pub mod list;
pub mod prune;
pub mod run;
pub mod scratch;
pub mod verify;

use crate::output::Exit;
use crate::settings::Settings;
use lifeboat_base::ServiceName;

/// What `lifeboat backup` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Take a base backup now
    Run(run::Args),
    /// List restore points
    List {
        /// Of this service alone.
        service: Option<ServiceName>,
    },
    /// Show all that is known of one restore point
    Show {
        /// Its name, or enough of its beginning; `latest`, or SERVICE/latest where several services have any.
        id: String,
    },
    /// Recover a restore point elsewhere, and ask it whether it is sound
    Verify(verify::Args),
    /// Remove what the plan does not keep, in steps
    Prune(prune::Args),
}

/// Runs it.
///
/// # Errors
/// If it could not run.
pub async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => run::run(settings, args).await,
        Command::List { service } => list::list(settings, service).await,
        Command::Verify(args) => verify::run(settings, args).await,
        Command::Prune(args) => prune::run(settings, args).await,
        Command::Show { id } => list::show(settings, &id).await,
    }
}
