//! Runs the real binary as a user does, against real servers and stores.

mod basics;
mod demo;
mod protection;
mod restoring;
mod world;
