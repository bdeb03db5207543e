//! Runs, as the vault knows them.

use super::{
    BEGUN_RECORD, Begun, EVENT_RECORD, OUTPUT_RECORD, Output, REFUSED_RECORD, RUNS, RunId, STEPS_RECORD,
};
use jiff::Timestamp;
use lifeboat_core::run::{BoundStep, Event, Misfit, Observed, RulesError, RunRules, State, StepNumber};
use lifeboat_vault::Vault;
use lifeboat_vault::journal::{self, JournalError, Record};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is known of a run.
#[derive(Debug, Clone)]
pub struct Known {
    /// Which.
    pub id: RunId,
    /// What it pins.
    pub begun: Begun,
    /// Its steps.
    pub steps: Vec<BoundStep>,
    /// Their rules.
    pub rules: RunRules,
    /// When it was asked for.
    pub at: Timestamp,
    /// What has happened, with when.
    pub events: Vec<(Event, Timestamp)>,
    /// How far it is.
    pub state: State,
    /// What steps observed, the later over the earlier.
    pub observed: BTreeMap<StepNumber, Observed>,
    /// What they printed, or the end of it, in order.
    pub outputs: Vec<Output>,
    /// The last word of the inbox that was taken over or refused.
    pub heard: u64,
    /// Why words of the inbox came to nothing, by their numbers.
    pub refused: BTreeMap<u64, String>,
}

impl Known {
    pub(super) fn take_output(&mut self, output: Output) {
        self.observed.entry(output.step).or_default().extend(output.observed.clone());
        self.outputs.push(output);
    }
}

/// Why a run cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadRunError {
    /// The journal.
    #[error("run {id} cannot be read")]
    Journal {
        /// Which.
        id: RunId,
        /// Why.
        source: JournalError,
    },
    /// No such run.
    #[error("there is no run {0} in this vault; `lifeboat run list` shows those that are")]
    NoSuchRun(RunId),
    /// The machine that was asked died while it wrote down what it was asked.
    #[error("run {0} was never begun: the machine that was asked for it ended first. Start it again")]
    NeverBegun(RunId),
    /// Not one of ours.
    #[error("record {number} of run {id} is not one that this Lifeboat understands")]
    Foreign {
        /// Which.
        id: RunId,
        /// The record.
        number: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// Steps that wait for what does not come before them.
    #[error("run {id} cannot be carried out")]
    Rules {
        /// Which.
        id: RunId,
        /// Why.
        source: RulesError,
    },
    /// Changed, or from a newer Lifeboat.
    #[error("record {number} of run {id} does not follow from those before it")]
    Misfit {
        /// Which.
        id: RunId,
        /// The record.
        number: u64,
        /// Why.
        source: Misfit,
    },
}

/// All runs, the oldest first.
///
/// # Errors
/// [`JournalError`].
pub async fn list(vault: &Vault) -> Result<Vec<RunId>, JournalError> {
    let scopes = journal::scopes(vault).await?;
    let ids = scopes.iter().filter_map(|scope| scope.as_str().strip_prefix(RUNS)?.strip_prefix('/'));
    let mut ids: Vec<RunId> = ids.filter_map(|id| id.parse().ok()).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Reads a run from its chain alone (Y2).
///
/// # Errors
/// [`ReadRunError`].
pub async fn load(vault: &Vault, id: &RunId) -> Result<Known, ReadRunError> {
    let scope = id.scope();
    let (mut reading, mut after) = (Reading::default(), 0);
    loop {
        let page = journal::read(vault, &scope, after).await;
        let page = page.map_err(|source| ReadRunError::Journal { id: id.clone(), source })?;
        let Some(last) = page.records.last() else { break };
        after = last.number;
        for record in page.records {
            reading.take(id, record)?;
        }
    }
    match reading {
        Reading { known: Some(known), .. } => Ok(known),
        Reading { begun: None, .. } => Err(ReadRunError::NoSuchRun(id.clone())),
        Reading { .. } => Err(ReadRunError::NeverBegun(id.clone())),
    }
}

#[derive(Default)]
struct Reading {
    begun: Option<(Begun, Timestamp)>,
    steps: Vec<BoundStep>,
    /// Once all its steps are read.
    known: Option<Known>,
}

#[derive(Deserialize)]
struct Steps {
    steps: Vec<BoundStep>,
}

impl Reading {
    fn take(&mut self, id: &RunId, record: Record) -> Result<(), ReadRunError> {
        let number = record.number;
        let foreign = |source| ReadRunError::Foreign { id: id.clone(), number, source };
        if let (Some(known), Some(heard)) = (&mut self.known, record.data.get("heard")) {
            known.heard = known.heard.max(heard.as_u64().unwrap_or_default());
        }
        match record.kind.as_str() {
            BEGUN_RECORD => {
                let begun = serde_json::from_value(record.data).map_err(foreign)?;
                self.begun = Some((begun, record.time));
            }
            STEPS_RECORD => {
                let Steps { steps } = serde_json::from_value(record.data).map_err(foreign)?;
                self.steps.extend(steps);
                let Some((begun, at)) = &self.begun else { return Ok(()) };
                if self.steps.len() < begun.steps {
                    return Ok(());
                }
                let rules = self.steps.iter().map(|step| step.rules.clone()).collect();
                let rules = RunRules::new(begun.requester.clone(), rules);
                let rules = rules.map_err(|source| ReadRunError::Rules { id: id.clone(), source })?;
                self.known = Some(Known {
                    id: id.clone(),
                    begun: begun.clone(),
                    steps: std::mem::take(&mut self.steps),
                    state: State::new(&rules),
                    rules,
                    at: *at,
                    events: Vec::new(),
                    observed: BTreeMap::new(),
                    outputs: Vec::new(),
                    heard: 0,
                    refused: BTreeMap::new(),
                });
            }
            EVENT_RECORD => {
                let Some(known) = &mut self.known else { return Err(ReadRunError::NeverBegun(id.clone())) };
                let event: Event = serde_json::from_value(record.data).map_err(foreign)?;
                let misfit = |source| ReadRunError::Misfit { id: id.clone(), number, source };
                known.state.apply(&known.rules, &event, record.time).map_err(misfit)?;
                known.events.push((event, record.time));
            }
            OUTPUT_RECORD => {
                let Some(known) = &mut self.known else { return Err(ReadRunError::NeverBegun(id.clone())) };
                known.take_output(serde_json::from_value(record.data).map_err(foreign)?);
            }
            REFUSED_RECORD => {
                let Some(known) = &mut self.known else { return Err(ReadRunError::NeverBegun(id.clone())) };
                let why = record.data.get("why").and_then(|why| why.as_str()).unwrap_or_default();
                known.refused.insert(known.heard, why.to_owned());
            }
            // `lease.taken`, and what is told to people alone.
            _ => {}
        }
        Ok(())
    }
}
