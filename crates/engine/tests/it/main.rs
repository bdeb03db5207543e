//! Holds the engine against a vault in memory, on a simulated clock.

mod serve;
mod world;
