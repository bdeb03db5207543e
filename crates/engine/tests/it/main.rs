//! Holds the engine against a vault in memory, on a simulated clock.

mod run;
mod serve;
mod world;
