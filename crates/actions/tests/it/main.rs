//! Carries steps out against a real machine, and looks whether what is promised of them holds.

mod hands;
mod postgres;
mod shell;
