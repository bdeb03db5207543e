//! The vault: the encrypted repository on object storage that holds the last copy of a team's data.
//!
//! Usable alone: a bare restore on a burnt-down site needs this, an address and a key, and no plan.
//!
//! Deliberately absent: what a plan says, and how PostgreSQL is spoken to.

pub mod address;
pub mod check;
mod copies;
#[doc(hidden)]
pub mod fuzz;
pub mod journal;
pub mod keys;
pub mod layer;
pub mod lease;
pub mod names;
pub mod pins;
pub mod point;
pub mod prune;
mod scope;
pub mod seal;
mod vault;
pub mod wal;

pub use copies::{
    Copies, CopyFailure, Created, Found, Listed, Listing, Reach, ReadError, VaultCopy, WriteError, refusals,
};
pub use scope::{BadScope, Scope};
pub use vault::{FORMAT, Header, OpenVaultError, Vault};
