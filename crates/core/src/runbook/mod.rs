//! Makes a run of a runbook: its steps with their arguments, and the rules by which they are carried out.
//!
//! What a step does is a [`Deed`], typed; the runbook's variables are bound in it, and the service that it names is
//! looked up in the plan, so that a run needs the plan no more once it has begun.
//!
//! # Invariants
//! - **B1 all or nothing.** A run that could not be carried out whole is not begun: every problem of every step is
//!   told before the first.
//! - **B2 bound is bound.** What a person agrees to is what is done: its hash covers plan, order, rules and arguments.
//! - **B3 a value stays a value.** What is bound into commands cannot end a word of theirs; what cannot be trusted to
//!   that is given in the environment.
//! - **B4 no secret is bound.** A secret variable is known by its name only; whoever carries the step out has it.
//!
//! Deliberately absent: doing any of it (`actions`), and the order in which it happens ([`crate::run`]).

mod bind;
mod caution;
pub mod deed;
mod export;
mod shipped;
#[cfg(test)]
mod tests;
mod values;

pub use bind::{Binding, Bound, Problem, Server, Wanted, bind, template};
pub use caution::{Caution, cautions};
pub use deed::{CONTENT_LIMIT_BYTES, Check, Deed, FilesPut, Http, Shell, Tcp, Tls, Webhook, postgres};
pub use export::script;
pub use shipped::{shipped, shipped_names};
