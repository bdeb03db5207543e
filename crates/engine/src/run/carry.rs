//! From the lease to the end of the run, or of the lease.

use super::inbox::since;
use super::{
    Begun, EVENT_RECORD, Known, OUTPUT_RECORD, Output, REFUSED_RECORD, ReadRunError, RunId, RunObserver,
    RunTold, load, output, speech,
};
use crate::serve::stopped;
use jiff::Timestamp;
use lifeboat_base::error_chain;
use lifeboat_core::port::Work;
use lifeboat_core::run::{
    self, Actions, BoundStep, Circumstances, Effect, Ending, Event, Found, Next, Outcome, Side, StepNumber,
    Told,
};
use lifeboat_vault::Vault;
use lifeboat_vault::lease::{FenceError, Fenced};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How often the inbox is looked at, one listing each time.
const LISTEN: Duration = Duration::from_secs(1);

/// What to carry, and with what.
pub struct CarryOptions {
    /// The vault.
    pub vault: Vault,
    /// What carries the steps out.
    pub actions: Arc<dyn Actions>,
    /// Who we are: `user@host, pid`.
    pub actor: String,
    /// Told what happens.
    pub observer: RunObserver,
}

/// Why a run is carried no further, here.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// Its chain.
    #[error("the run cannot be carried on")]
    Read(#[source] ReadRunError),
    /// Whoever is said to have asked for it has not signed.
    #[error("run {0} was not begun by whom it names: {1}. Nothing of it is done; start it again")]
    Unsigned(RunId, String),
    /// The lease is lost, or its home silent: another machine, or a later try, goes on.
    #[error("the run is no longer ours to carry; nothing more is begun here")]
    Fence(#[source] FenceError),
}

/// What an effect came to.
struct Came {
    step: StepNumber,
    event: Event,
    /// What was observed and printed, at what.
    beside: Option<Output>,
    /// Why it could not be told.
    trouble: Option<String>,
}

/// Carries a run until it ends (`Some`) or `stop` is true (`None`); what is under way is then waited for.
///
/// # Errors
/// [`CarryError`]; what was under way is in doubt for whoever takes over.
pub async fn carry(
    options: &CarryOptions,
    id: &RunId,
    fenced: &mut Fenced,
    mut stop: watch::Receiver<bool>,
) -> Result<Option<Ending>, CarryError> {
    let known = load(&options.vault, id).await.map_err(CarryError::Read)?;
    must_be_signed(&known)?;
    let mut carried = Carried { options, known, fenced, work: JoinSet::new(), busy: BTreeSet::new() };
    if carried.known.state.ending().is_none() {
        carried.record(Event::Carried { by: options.actor.clone() }).await?;
    }
    let clock = options.vault.clock().clone();
    let mut listening = tokio::time::interval(LISTEN);
    listening.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_stopping = false;
    loop {
        if let Some(ending) = carried.known.state.ending() {
            return Ok(Some(ending.clone()));
        }
        if !carried.fenced.still_held() {
            carried.fenced.confirm().await.map_err(CarryError::Fence)?;
        }
        if is_stopping && carried.busy.is_empty() {
            return Ok(None);
        }
        let next = match is_stopping {
            true => Next::default(),
            false => run::next(&carried.known.rules, &carried.known.state, &carried.busy, clock.now()),
        };
        let has_effects = !next.effects.is_empty();
        for effect in next.effects {
            carried.perform(effect).await?;
        }
        if has_effects && carried.busy.is_empty() {
            continue;
        }
        let wait = next.wake.map_or(LISTEN, |wake| until(wake, clock.now()));
        tokio::select! {
            Some(came) = carried.work.join_next(), if !carried.work.is_empty() => {
                carried.came(came.expect("effects catch what panics in them")).await?;
            }
            // By its own clock: steps that follow each other quickly must not drown people's words (Y3).
            _ = listening.tick() => carried.listen().await?,
            () = tokio::time::sleep(wait) => {}
            () = stopped(&mut stop), if !is_stopping => is_stopping = true,
        }
    }
}

/// Y4.
pub(super) fn must_be_signed(known: &Known) -> Result<(), CarryError> {
    let Begun { approvers, requester, signature, .. } = &known.begun;
    let beginning = speech::beginning(&known.id, &known.begun);
    let checked = speech::check(approvers, requester, &beginning, signature.as_deref());
    checked.map_err(|why| CarryError::Unsigned(known.id.clone(), why))
}

fn until(wake: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(wake.duration_since(now)).unwrap_or(Duration::ZERO)
}

struct Carried<'a> {
    options: &'a CarryOptions,
    known: Known,
    fenced: &'a mut Fenced,
    work: JoinSet<Came>,
    busy: BTreeSet<StepNumber>,
}

impl Carried<'_> {
    /// Writes an event down, and takes it in.
    async fn record(&mut self, event: Event) -> Result<(), CarryError> {
        let data = serde_json::to_value(&event).expect("names and texts serialise");
        self.append(event, data).await
    }

    async fn append(&mut self, event: Event, data: serde_json::Value) -> Result<(), CarryError> {
        let record = self.fenced.append(EVENT_RECORD, data).await.map_err(CarryError::Fence)?;
        let applied = self.known.state.apply(&self.known.rules, &event, record.time);
        applied.map_err(|source| {
            let id = self.known.id.clone();
            CarryError::Read(ReadRunError::Misfit { id, number: record.number, source })
        })?;
        self.known.events.push((event.clone(), record.time));
        (self.options.observer)(&self.known, RunTold::Event(event, record.time));
        Ok(())
    }

    fn fits(&self, event: &Event) -> Result<(), run::Misfit> {
        let now = self.options.vault.clock().now();
        self.known.state.clone().apply(&self.known.rules, event, now)
    }

    /// Begins an effect, or performs one that takes no time.
    async fn perform(&mut self, effect: Effect) -> Result<(), CarryError> {
        match effect {
            Effect::Ask(step, ask) => {
                let shown = self.step(step).map(|of| of.hash.clone()).unwrap_or_default();
                self.record(Event::Asked { step, ask, shown }).await
            }
            Effect::Abandon(step) => {
                let reason = format!("step {} failed, and its rule is to undo", step.0 + 1);
                self.record(Event::Aborted { by: self.options.actor.clone(), undo: true, reason }).await
            }
            Effect::End(ending) => self.record(Event::Ended(ending)).await,
            Effect::Act { step, side, attempt } => self.act(step, side, attempt).await,
            Effect::Probe(step) => {
                let Some(of) = self.step(step) else { return Ok(()) };
                let work = self.options.actions.probe(of, self.circumstances(step));
                let event = move |found| Event::Probed { step, found };
                self.begin(step, "probe", work, event, |_| Found::Unknown);
                Ok(())
            }
            Effect::Verify(step) => {
                let Some(of) = self.step(step) else { return Ok(()) };
                let work = self.options.actions.verify(of, self.circumstances(step));
                self.begin(
                    step,
                    "verify",
                    work,
                    move |wrong| Event::Verified { step, wrong },
                    |why| Some(format!("it could not be looked at: {why}")),
                );
                Ok(())
            }
        }
    }

    async fn act(&mut self, step: StepNumber, side: Side, attempt: u32) -> Result<(), CarryError> {
        let event = Event::Intended { step, side, attempt };
        if self.fits(&event).is_err() {
            // What happened beside it since it was decided has made it needless.
            return Ok(());
        }
        self.record(event).await?;
        // Y1.
        self.fenced.confirm().await.map_err(CarryError::Fence)?;
        let Some(of) = self.step(step) else { return Ok(()) };
        let work = self.options.actions.act(of, side, self.circumstances(step));
        let at = match side {
            Side::Act => "act",
            Side::Undo => "undo",
        };
        self.begin(
            step,
            at,
            work,
            move |outcome| Event::Came { step, side, attempt, outcome },
            |why| Outcome::Unknown { why: why.to_owned() },
        );
        Ok(())
    }

    fn step(&self, step: StepNumber) -> Option<&BoundStep> {
        self.known.steps.get(step.0 as usize)
    }

    fn circumstances(&self, step: StepNumber) -> Circumstances {
        let known = &self.known;
        Circumstances {
            run: known.id.to_string(),
            fence: self.fenced.lease().epoch().0,
            before: known.observed.get(&step).cloned().unwrap_or_default(),
            known: known
                .observed
                .values()
                .flatten()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }

    fn begin<T: Send + 'static>(
        &mut self,
        step: StepNumber,
        at: &'static str,
        work: Work<Told<T>>,
        event: impl FnOnce(T) -> Event + Send + 'static,
        failed: impl FnOnce(&str) -> T + Send + 'static,
    ) {
        self.busy.insert(step);
        self.work.spawn(async move {
            // In a task of its own, so that a panic is an outcome that is not known.
            let mut work = JoinSet::from_iter([work]);
            let why = match work.join_next().await {
                Some(Ok(Ok(Told { result, observed, output: text }))) => {
                    let beside = Output { step, at: at.to_owned(), observed, text, whole_bytes: None };
                    return Came { step, event: event(result), beside: Some(beside), trouble: None };
                }
                Some(Ok(Err(trouble))) => error_chain(trouble.as_ref()),
                Some(Err(broken)) => format!("it broke off: {broken}"),
                None => "nothing was begun".to_owned(),
            };
            Came { step, event: event(failed(&why)), beside: None, trouble: Some(why) }
        });
    }

    /// What an effect came to; one that an abort has made needless is dropped.
    async fn came(&mut self, came: Came) -> Result<(), CarryError> {
        let Came { step, event, beside, trouble } = came;
        self.busy.remove(&step);
        if let Some(beside) = beside.filter(|of| !of.observed.is_empty() || !of.text.is_empty()) {
            self.keep(beside).await?;
        }
        if let Some(why) = trouble {
            (self.options.observer)(&self.known, RunTold::Trouble(step, why));
        }
        match self.fits(&event) {
            Ok(()) => self.record(event).await,
            Err(_) => Ok(()),
        }
    }

    /// Before the outcome that it belongs to: what follows may need it.
    async fn keep(&mut self, beside: Output) -> Result<(), CarryError> {
        let id = self.known.id.clone();
        let kept = output::keep(&self.options.vault, &id, &self.options.actor, beside).await;
        let kept = kept.map_err(|source| CarryError::Read(ReadRunError::Journal { id, source }))?;
        let data = serde_json::to_value(&kept).expect("names and texts serialise");
        self.fenced.append(OUTPUT_RECORD, data).await.map_err(CarryError::Fence)?;
        self.known.take_output(kept.clone());
        (self.options.observer)(&self.known, RunTold::Output(kept));
        Ok(())
    }

    /// Takes over what people said (Y3). A home that is silent says nothing now.
    async fn listen(&mut self) -> Result<(), CarryError> {
        let said =
            since(&self.options.vault, &self.known.id, &self.known.begun.approvers, self.known.heard).await;
        for (number, request) in said.unwrap_or_default() {
            self.known.heard = number;
            let event = request.map(super::Request::event);
            let fits = match &event {
                Ok(event) => self.fits(event).map_err(|misfit| misfit.to_string()),
                Err(why) => Err(why.clone()),
            };
            match (event, fits) {
                (Ok(event), Ok(())) => {
                    let mut data = serde_json::to_value(&event).expect("names and texts serialise");
                    data["heard"] = number.into();
                    self.append(event, data).await?;
                }
                (_, Err(why)) | (Err(why), Ok(())) => {
                    let data = serde_json::json!({ "heard": number, "why": why });
                    self.fenced.append(REFUSED_RECORD, data).await.map_err(CarryError::Fence)?;
                    (self.options.observer)(&self.known, RunTold::Refused(why));
                }
            }
        }
        Ok(())
    }
}
