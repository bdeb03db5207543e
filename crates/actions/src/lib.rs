//! Carries steps out: the adapters between a run and the world.
//!
//! Each takes a [`Binding`], which holds all that it needs, and says what came of it. What the plan's own commands say
//! (`probe`, `verify`, `undo`) goes before what an adapter knows by itself.
//!
//! # Invariants
//! - **A1 in time.** Whatever is begun is over within the step's limit, also if whoever began it has died.
//! - **A2 certain or unknown.** An act has failed only where it is certain that it did nothing more; anything else that
//!   is not done is told as not known.
//! - **A3 no secret leaves.** What is told of a command has the secrets that it was given taken out.
//!
//! Deliberately absent: order, repetition, approvals, the journal.

mod postgres;
mod shell;

use lifeboat_core::port::{Trouble, Work};
use lifeboat_core::run::{Actions, BoundStep, Circumstances, Found, Outcome, Side, Told};
use lifeboat_core::runbook::{Binding, Check, Deed};
use shell::{Commands, Ended};
use std::future::Future;
use std::time::Duration;

/// Carries steps out on this machine.
#[derive(Debug, Default)]
pub struct Hands {}

impl Actions for Hands {
    fn probe(&self, step: &BoundStep, under: Circumstances) -> Work<Told<Found>> {
        bound(step, async move |binding: Binding| match &binding.probe {
            Some(probe) => {
                let (ended, output) = shell::run(&Commands::check(&binding, probe, &under)).await?;
                let found = match ended {
                    Ended::Well => Found::Done,
                    Ended::Badly(_) => Found::NotDone,
                    Ended::BrokenOff(_) => Found::Unknown,
                };
                Ok(Told { output, ..found.into() })
            }
            None => match &binding.deed {
                Deed::Postgres(deed) => postgres::probe(deed, &binding, &under).await,
                _ => Ok(Found::Unknown.into()),
            },
        })
    }

    fn act(&self, step: &BoundStep, side: Side, under: Circumstances) -> Work<Told<Outcome>> {
        bound(step, async move |binding: Binding| match (side, &binding.deed) {
            (Side::Undo, deed) => match (&binding.undo, deed) {
                (Some(undo), _) => shell::act(&Commands::new(&binding, undo, &[], &under)).await,
                (None, Deed::Postgres(deed)) => postgres::act(deed, side, &binding, &under).await,
                (None, _) => Ok(Outcome::Failed { why: "there is no way to undo it".to_owned() }.into()),
            },
            (Side::Act, Deed::People) => Ok(Outcome::Done.into()),
            (Side::Act, Deed::Wait { seconds }) => {
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                Ok(Outcome::Done.into())
            }
            (Side::Act, Deed::Shell(deed)) => {
                shell::act(&Commands::new(&binding, &deed.run, &deed.outputs, &under)).await
            }
            (Side::Act, Deed::Check(check)) => checked(&binding, check, &under).await,
            (Side::Act, Deed::Postgres(deed)) => postgres::act(deed, side, &binding, &under).await,
            (Side::Act, _) => Err("this Lifeboat cannot do that".into()),
        })
    }

    fn verify(&self, step: &BoundStep, under: Circumstances) -> Work<Told<Option<String>>> {
        bound(step, async move |binding: Binding| {
            let own = match &binding.deed {
                Deed::Postgres(deed) => postgres::verify(deed, &binding, &under).await?,
                _ => None.into(),
            };
            let Some(check) = binding.verify.as_ref().filter(|_| own.result.is_none()) else {
                return Ok(own);
            };
            let told = checked(&binding, check, &under).await?;
            let wrong = match told.result {
                Outcome::Done => None,
                Outcome::Failed { why } | Outcome::Unknown { why } => Some(why),
            };
            let mut observed = own.observed;
            observed.extend(told.observed);
            Ok(Told { result: wrong, observed, output: own.output + &told.output })
        })
    }
}

/// With what the step is bound to; an error if this Lifeboat does not know it.
fn bound<T, F>(step: &BoundStep, work: impl FnOnce(Binding) -> F + Send + 'static) -> Work<T>
where
    F: Future<Output = Result<T, Trouble>> + Send,
{
    let binding = serde_json::from_value(step.does.clone());
    Box::pin(async move { work(binding?).await })
}

async fn checked(binding: &Binding, check: &Check, under: &Circumstances) -> Result<Told<Outcome>, Trouble> {
    let (ended, output) = shell::run(&Commands::check(binding, check, under)).await?;
    let result = match ended {
        Ended::Well => Outcome::Done,
        Ended::Badly(why) | Ended::BrokenOff(why) => Outcome::Failed { why },
    };
    Ok(Told { output, ..result.into() })
}
