//! Steps that are about PostgreSQL, on a real primary with a standby.

mod fencing;
mod pair;
mod promoting;
mod questions;
mod rewiring;
mod writes;
