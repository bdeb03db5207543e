//! One file a command: each finds what it needs in the settings, calls the libraries, and prints.
//!
//! A command returns [`Exit`] once it ran, and an error when it could not.

pub mod advance;
pub mod backup;
pub mod completions;
pub mod doctor;
pub mod init;
pub mod journal;
pub mod man;
pub mod plan;
pub mod promote;
pub mod recover;
pub mod restore;
pub mod run;
pub mod runbook;
pub mod serve;
pub mod status;
pub mod step_supervisor;
pub mod stream;
pub mod vault;
pub mod view;
pub mod wal;

use crate::arguments::Command;
use crate::output::{Exit, Output};
use crate::settings::{Global, Settings};

/// Runs one command.
///
/// # Errors
/// If it could not run.
pub async fn run(global: Global, command: Command, output: &Output) -> anyhow::Result<Exit> {
    let settings = Settings::new(global, output).reading(command.only_reads());
    carry_out(&settings, command, output).await.map_err(|error| settings.with_way_out(error))
}

async fn carry_out(settings: &Settings, command: Command, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::Init(args) => init::run(settings, args),
        Command::Plan(command) => plan::run(settings, &command),
        Command::Vault(command) => vault::run(settings, command).await,
        Command::Backup(command) => backup::run(settings, command).await,
        Command::Stream(args) => stream::run(settings, args).await,
        Command::Wal(command) => wal::run(settings, command).await,
        Command::Serve(args) => serve::run(settings, args).await,
        Command::Journal(command) => journal::run(settings, command).await,
        Command::Doctor(args) => doctor::run(settings, args).await,
        Command::Status(args) => status::run(settings, args).await,
        Command::Runbook(command) => runbook::run(settings, command).await,
        Command::Run(command) => run::run(settings, command).await,
        Command::Promote(args) => promote::run(settings, &args).await,
        Command::Recover(args) => recover::run(settings, args).await,
        Command::View(command) => view::run(settings, command).await,
        Command::Advance(args) => advance::run(settings, args).await,
        Command::Restore(args) => restore::run(settings, args).await,
        Command::Demo(args) => crate::demo::run(&args, output).await,
        Command::Completions(args) => completions::run(settings, &args),
        Command::StepSupervisor => step_supervisor::run().await,
        Command::Man(args) => man::run(settings, &args),
    }
}
