//! Views: a data directory that is there at once, and whose pages come from the vault as they are read
//! (`docs/decisions/0015-views.md`).
//!
//! ```text
//! server ─▶ FUSE (fs, nodes) ─▶ overlay (presence, record) ─▶ the directory behind it (disk)
//!                                   └─▶ the restore point (pages) ─▶ vault
//! ```
//!
//! [`plan`] looks, [`create`] makes the view, [`View::show`] shows it, [`View::hydrate`] fetches what nobody asked
//! for yet, and [`View::finish`] leaves a plain data directory. A view that was killed, or whose machine was, is
//! shown again.

mod attributes;
mod birth;
pub mod control;
mod disk;
mod fs;
mod hydrate;
mod nodes;
mod overlay;
mod pages;
mod place;
mod presence;
mod record;
mod show;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

pub use birth::{ViewPlan, create, plan};
pub use overlay::Keep;
pub(crate) use overlay::Written;
pub use pages::{AWAY_LIMIT, Happened, Listener, TOLD_EVERY};
pub(crate) use place::within;
pub use place::{About, LOG_FILE, Place, real_name};
pub use show::{Status, View, ViewError, discard, finish_hidden, is_possible, mounted, put_in_place};
