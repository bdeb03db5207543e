//! The commands and their arguments, as one tree; each command's own stand beside it.

use crate::commands::{
    advance, backup, completions, doctor, init, journal, man, plan, promote, recover, restore, run, runbook,
    serve, status, stream, vault, view, wal,
};
use crate::settings::Global;
use clap::{Parser, Subcommand};

/// Turns a disaster-recovery plan into a running system: protects PostgreSQL, recovers it to the moment,
/// and proves it.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit status: 0 it holds; 1 an objective or a check failed; 2 it could not run.\n\
    Secrets are never arguments: LIFEBOAT_PASSPHRASE opens the vault, PGPASSWORD or ~/.pgpass the server.")]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a first plan: asks, or takes arguments
    Init(init::Args),
    /// Check the plan, and describe what a plan is
    #[command(subcommand)]
    Plan(plan::Command),
    /// Make the vault, look at it, check and heal it
    #[command(subcommand)]
    Vault(vault::Command),
    /// Take backups, list, verify and remove them
    #[command(subcommand)]
    Backup(backup::Command),
    /// Stream a service's WAL into the vault, until stopped
    Stream(stream::Args),
    /// Stream, back up and prune as the plan says, until stopped
    Serve(serve::Args),
    /// Show to which moments services can be taken back, what would be lost now, and what is wrong
    Status(status::Args),
    /// Make a new restore point of the newest one and the WAL since, at no cost to production
    Advance(advance::Args),
    /// Take a service back to a moment at once: its server answers first, and is copied while in use
    Recover(recover::Args),
    /// Look after what `recover` made: fill it, make it a plain data directory, remove it
    #[command(subcommand)]
    View(view::Command),
    /// Take a service back to a moment, into a directory of its own
    Restore(restore::Args),
    /// Open a restored server for writing, once it has reached its moment
    Promote(promote::Args),
    /// Look at runbooks before they are needed; write them out for the day without Lifeboat
    #[command(subcommand)]
    Runbook(runbook::Command),
    /// Carry runbooks out, step by verified step; agree to steps, answer, show how it goes
    #[command(subcommand)]
    Run(run::Command),
    /// Search the archived WAL; bring single files of it into the vault and out of it
    #[command(subcommand)]
    Wal(wal::Command),
    /// Show what happened, and verify that it was written so
    #[command(subcommand)]
    Journal(journal::Command),
    /// Look whether everything is as it must be, before it is needed
    Doctor(doctor::Args),
    /// Lose a database twice and bring it back: see the whole of it in a minute
    Demo(crate::demo::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the manual, or write its pages into a directory
    Man(man::Args),
    /// The process behind the commands of a step
    #[command(name = lifeboat_actions::SUPERVISOR_COMMAND, hide = true)]
    StepSupervisor,
}

impl Command {
    /// Whether it leaves what is protected as it is.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        match self {
            Self::Recover(_) | Self::View(_) | Self::Restore(_) | Self::Status(_) | Self::Journal(_) => true,
            Self::Vault(command) => matches!(command, vault::Command::Status | vault::Command::Check(_)),
            Self::Wal(command) => !matches!(command, wal::Command::Push(_)),
            Self::Backup(command) => !matches!(command, backup::Command::Run(_) | backup::Command::Prune(_)),
            _ => false,
        }
    }

    /// The exit status when the command could not run (X1).
    #[must_use]
    pub fn exit_if_it_could_not_run(&self) -> u8 {
        match self {
            Self::Wal(wal::Command::Fetch(_)) => wal::fetch::NO_ANSWER,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_of_commands_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// Whatever has to do with a secret names the file that holds it.
    #[test]
    fn s1_no_argument_takes_a_secret() {
        fn look(command: &clap::Command, found: &mut Vec<String>) {
            for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
                let name = argument.get_id().as_str();
                let is_about_one = ["pass", "secret", "key", "token", "identity", "glass"]
                    .iter()
                    .any(|word| name.contains(word));
                if is_about_one {
                    let takes = argument.get_value_names().map(|names| names.join(" "));
                    assert_eq!(takes.as_deref(), Some("FILE"), "{} --{name}", command.get_name());
                    found.push(name.to_owned());
                }
            }
            command.get_subcommands().for_each(|below| look(below, found));
        }
        let (mut command, mut found) = (Arguments::command(), Vec::new());
        command.build();
        look(&command, &mut found);
        assert!(
            ["passphrase_file", "identity", "break_glass"]
                .iter()
                .all(|name| found.contains(&(*name).to_owned())),
            "{found:?}"
        );
    }
}
