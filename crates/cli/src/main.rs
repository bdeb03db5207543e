//! The one binary: reads the arguments, runs one command, exits with what came of it.
//!
//! # Invariants
//! - **X1 exit.** 0 it holds; 1 an objective or a check failed; 2 it could not run. `wal fetch` alone
//!   answers as PostgreSQL understands it: 0, 1 or 255.
//! - **X2 one voice.** Nothing prints but [`output`]: data on standard output, talk on standard error.
//! - **X3 no secrets.** No secret is an argument, and none is printed.
//!
//! Deliberately absent: what the commands do; that is in the libraries, joined in [`commands`].

mod arguments;
mod away;
mod commands;
mod failure;
mod journal;
mod output;
mod pin;
mod plans;
mod points;
mod progress;
mod secrets;
mod settings;
mod show;
mod signals;

use clap::Parser;
use output::Output;
use std::process::ExitCode;

/// Threads of the runtime: the heavy work has threads of its own, or is the caller's to bound.
const RUNTIME_THREADS: usize = 4;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let output = Output::new(arguments.global.json);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build();
    let could_not_run = arguments.command.exit_if_it_could_not_run();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            failure::report(&output, &anyhow::Error::new(error).context("the program cannot start threads"));
            return ExitCode::from(could_not_run);
        }
    };
    let outcome = runtime.block_on(commands::run(arguments.global, arguments.command, &output));
    // A read from a terminal or a store that hangs must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            failure::report(&output, &error);
            ExitCode::from(could_not_run)
        }
    }
}
