//! Carries steps out against a real machine, and looks whether what is promised of them holds.

mod files;
mod hands;
mod net;
mod postgres;
mod shell;
