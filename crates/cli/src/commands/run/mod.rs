//! `lifeboat run`: runbooks, carried out step by verified step.
//!
//! # Invariants
//! - **Z1 shown first.** A run is not begun, and no step of it agreed to, before what will be done was shown.
//! - **Z2 it is the vault's.** Whoever shows a run or speaks to it needs the vault, not the machine that carries it.
//!
//! Deliberately absent: what steps do (`actions`), and in which order (`core::run`).

mod carried;
mod list;
mod show;
mod sign;
mod speak;
mod start;
mod words;

pub use carried::attend_beside;

use crate::failure::Next;
use crate::output::Exit;
use crate::settings::Settings;
use anyhow::anyhow;
use lifeboat_core::run::StepNumber;
use lifeboat_engine::run::{Known, RunId};

/// What `lifeboat run` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Carry a runbook of the plan out, and show how it goes
    Start(start::Args),
    /// Show all runs
    List,
    /// Show one run: its steps, what it waits for, what was printed
    Show(show::Args),
    /// Agree to a step, signed with your SSH key
    Approve(speak::ApproveArgs),
    /// Answer what a run asks
    Answer(speak::AnswerArgs),
    /// Carry on a run that nobody carries any more
    Resume(start::ResumeArgs),
    /// End a run before its end, and undo what it did if asked to
    Abort(speak::AbortArgs),
}

/// Does it.
///
/// # Errors
/// If it could not.
pub async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Start(args) => start::run(settings, args).await,
        Command::List => list::run(settings).await,
        Command::Show(args) => show::run(settings, &args).await,
        Command::Approve(args) => speak::approve(settings, args).await,
        Command::Answer(args) => speak::answer(settings, args).await,
        Command::Resume(args) => start::resume(settings, &args.id).await,
        Command::Abort(args) => speak::abort(settings, args).await,
    }
}

/// The step that a person means: by its ID, or by its number.
fn step_of(known: &Known, text: &str) -> anyhow::Result<StepNumber> {
    let by_id = known.steps.iter().position(|step| step.id == text);
    let by_number =
        || text.parse::<usize>().ok().filter(|n| (1..=known.steps.len()).contains(n)).map(|n| n - 1);
    let at = by_id.or_else(by_number).and_then(|at| u32::try_from(at).ok());
    at.map(StepNumber).ok_or_else(|| anyhow!("run {} has no step `{text}`", known.id)).next(format!(
        "`lifeboat run show {}` shows its {} steps",
        known.id,
        known.steps.len()
    ))
}

/// A run's ID, or `latest`.
#[derive(Debug, Clone)]
pub enum Which {
    /// The one that was asked for last.
    Latest,
    /// That one.
    One(RunId),
}

impl std::str::FromStr for Which {
    type Err = lifeboat_engine::run::BadRunId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "latest" { Ok(Self::Latest) } else { text.parse().map(Self::One) }
    }
}

impl Which {
    /// Finds it.
    async fn find(&self, vault: &lifeboat_vault::Vault) -> anyhow::Result<RunId> {
        match self {
            Self::One(id) => Ok(id.clone()),
            Self::Latest => {
                let newest = lifeboat_engine::run::list(vault).await?.pop();
                newest
                    .ok_or_else(|| anyhow!("there are no runs in this vault"))
                    .next("`lifeboat run start` begins one")
            }
        }
    }
}
