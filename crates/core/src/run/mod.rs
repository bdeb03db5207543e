//! Decides what a run does next.
//!
//! A run is one execution of a runbook. What happened to it is a row of [`Event`]s in its chain of the journal;
//! [`State::apply`] folds them, and [`next`] says what is to be done now. The engine performs that and records what
//! came of it as further events. A machine that takes a run over folds the same events and decides the same.
//!
//! The order of a step: condition → probe → approval → [`Event::Intended`] → act → [`Event::Came`] → verify.
//!
//! # Invariants
//! - **R1 intent first.** An act is only ever an answer to [`Effect::Act`], which the engine records as intended
//!   before it acts; no outcome is accepted that was not intended.
//! - **R2 never a blind retry.** A destructive act whose outcome is not known is never repeated because time has
//!   passed or another machine took over: its probe says that it did not happen, and has said so after the act could
//!   no longer be under way; or a person says so.
//! - **R3 what needs people waits for them.** A destructive act has as many approvals of different people as its rule
//!   asks, one of whom is not who asked for the run, each for exactly what will be done; or one person broke the
//!   glass, with a reason.
//! - **R4 a step waits for what it needs**, and for nothing else.
//! - **R5 no step is lost.** A run ends when each step is done, was passed over, or has been told as left.
//! - **R6 an abort acts no more.** After it, nothing is begun but probes and undoing; what was under way is settled
//!   first.
//!
//! Deliberately absent: what a step does and how it is proven ([`crate::runbook`], and whoever has [`Actions`]), signatures, leases, and where all this is kept.

mod actions;
mod decide;
mod event;
mod rules;
mod standing;
mod state;
#[cfg(test)]
mod tests;

pub use actions::{Actions, BoundStep, Circumstances, Observed, Told};
pub use decide::{Effect, Next, next};
pub use event::{Answer, Ask, Ending, Event, Found, Outcome, Side};
pub use rules::{Class, Doing, Leads, OnFailure, Rules, RulesError, RunRules, StepNumber};
pub use standing::{Standing, standing};
pub use state::{Misfit, State};
