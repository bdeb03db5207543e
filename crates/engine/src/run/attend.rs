//! Carries on whatever run nobody carries: after a restart, or in place of a machine that died.

use super::carry::must_be_signed;
use super::{CarryError, CarryOptions, RunId, carry, list, load, resume};
use crate::serve::stopped;
use lifeboat_base::error_chain;
use lifeboat_core::run::Ending;
use lifeboat_vault::lease::FenceError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Between two looks for runs: one listing, and the chain of each run that was not over at the last.
const LOOK: Duration = Duration::from_secs(5);
/// How long one waits for the lease of a run: longer than one that is not renewed lasts.
const PATIENCE: Duration = Duration::from_secs(12);

/// What became of a run that was carried on.
#[derive(Debug)]
pub enum Attended {
    /// It is over.
    Ended(Ending),
    /// It was left, and is looked at again.
    Left(String),
}

/// Told of runs that were carried on.
pub type AttendObserver = Arc<dyn Fn(&RunId, Attended) + Send + Sync>;

/// What to carry runs on with.
#[derive(Clone)]
pub struct AttendOptions {
    /// For each run.
    pub carry: Arc<CarryOptions>,
    /// Told what became of each.
    pub observer: AttendObserver,
}

/// Carries on all runs that are not over and that nobody else carries, until `stop` is true.
pub async fn attend(options: AttendOptions, mut stop: watch::Receiver<bool>) {
    let (mut over, mut busy) = (BTreeSet::new(), BTreeSet::new());
    let mut told = BTreeMap::new();
    let mut carrying: JoinSet<(RunId, Option<Attended>)> = JoinSet::new();
    while !*stop.borrow() {
        // A vault that is silent has no runs now.
        for id in list(&options.carry.vault).await.unwrap_or_default() {
            if over.contains(&id) || busy.contains(&id) {
                continue;
            }
            busy.insert(id.clone());
            let (options, stop) = (options.carry.clone(), stop.clone());
            carrying.spawn(async move {
                let attended = carry_on(&options, &id, stop).await;
                (id, attended)
            });
        }
        let look = tokio::time::sleep(LOOK);
        tokio::pin!(look);
        loop {
            tokio::select! {
                () = &mut look => break,
                () = stopped(&mut stop) => break,
                Some(came) = carrying.join_next(), if !carrying.is_empty() => {
                    // A run whose carrying broke off stays busy: it would break off again.
                    let Ok((id, attended)) = came else { continue };
                    busy.remove(&id);
                    match attended {
                        None => {}
                        // Said once, however often it is tried.
                        Some(Attended::Left(why)) if told.get(&id) == Some(&why) => {}
                        Some(Attended::Left(why)) => {
                            told.insert(id.clone(), why.clone());
                            (options.observer)(&id, Attended::Left(why));
                        }
                        Some(ended) => {
                            (options.observer)(&id, ended);
                            over.insert(id);
                        }
                    }
                }
            }
        }
    }
    // What is under way is waited for.
    while let Some(came) = carrying.join_next().await {
        if let Ok((id, Some(attended))) = came {
            (options.observer)(&id, attended);
        }
    }
}

/// None if another carries it.
async fn carry_on(options: &CarryOptions, id: &RunId, stop: watch::Receiver<bool>) -> Option<Attended> {
    match load(&options.vault, id).await {
        Ok(known) => {
            if let Some(ending) = known.state.ending() {
                return Some(Attended::Ended(ending.clone()));
            }
            // Before the lease: taking that is a record each time.
            if let Err(error) = must_be_signed(&known) {
                return Some(Attended::Left(error_chain(&error)));
            }
        }
        Err(error) => return Some(Attended::Left(error_chain(&error))),
    }
    let mut waiting = stop.clone();
    let taken = tokio::select! {
        taken = resume(&options.vault, id, &options.actor, PATIENCE) => taken,
        () = stopped(&mut waiting) => return None,
    };
    let mut fenced = match taken {
        Ok(fenced) => fenced,
        Err(FenceError::Busy { .. }) => return None,
        Err(error) => return Some(Attended::Left(error_chain(&error))),
    };
    let carried = carry(options, id, &mut fenced, stop).await;
    fenced.end().await;
    match carried {
        Ok(Some(ending)) => Some(Attended::Ended(ending)),
        Ok(None) => None,
        Err(CarryError::Fence(_)) => None,
        Err(error) => Some(Attended::Left(error_chain(&error))),
    }
}
