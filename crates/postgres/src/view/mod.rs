//! Views: a data directory that is there at once, and whose pages come from the vault as they are read
//! (`docs/decisions/0015-views.md`).
//!
//! What is here is the part that must be trusted: the overlay, which keeps what was written, what was fetched and
//! what became durable apart. The file system before it, and the vault behind it, are not here yet.
#![cfg_attr(not(test), expect(dead_code, reason = "the file system that uses it comes next"))]

mod disk;
mod overlay;
mod presence;
mod record;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
