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
mod catalogue;
mod commands;
mod copies;
mod demo;
mod failure;
mod forecast;
mod helper;
mod journal;
mod output;
mod pin;
mod plans;
mod points;
mod production;
mod progress;
mod recovery;
mod secrets;
mod settings;
mod show;
mod showing;
mod signals;
mod throwaway;

use anyhow::Context;
use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use output::{Exit, Output};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads of the runtime: the heavy work has threads of its own, or is the caller's to bound.
const RUNTIME_THREADS: usize = 4;

fn main() -> ExitCode {
    // The allocator asks for huge pages: each of a hundred threads that wait for a store would hold some, mostly
    // air. Where the kernel knows none, there is nothing to refuse.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let arguments = match arguments::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(error),
    };
    let output = Output::new(arguments.global.json);
    let could_not_run = arguments.command.exit_if_it_could_not_run();
    // A panic's own status would mean "no such file" to PostgreSQL; it has printed what happened.
    let run = AssertUnwindSafe(|| run(arguments, &output));
    match std::panic::catch_unwind(run) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => {
            failure::report(&output, &error);
            ExitCode::from(could_not_run)
        }
        Err(_) => ExitCode::from(could_not_run),
    }
}

fn run(arguments: arguments::Arguments, output: &Output) -> anyhow::Result<Exit> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build();
    let runtime = runtime.context("the program cannot start threads")?;
    let outcome = runtime.block_on(commands::run(arguments.global, arguments.command, output));
    // A read from a terminal or a store that hangs must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// A time with a blank in it comes as two words if nobody quotes it.
fn unquoted(error: &clap::Error) -> Option<String> {
    let is_clock = |word: &str| {
        let mut parts =
            word.splitn(2, ':').map(|part| part.bytes().next().is_some_and(|b| b.is_ascii_digit()));
        parts.next() == Some(true) && parts.next() == Some(true)
    };
    let words: Vec<String> = std::env::args().collect();
    let pair =
        words.windows(2).find(|pair| pair[0].parse::<jiff::civil::Date>().is_ok() && is_clock(&pair[1]))?;
    let about_it = error.to_string().contains(&pair[0]) || error.to_string().contains(&pair[1]);
    about_it.then(|| format!("a time that has a blank in it needs quotes: '{} {}'", pair[0], pair[1]))
}

/// What the arguments got wrong, or the help that they asked for.
fn usage(mut error: clap::Error) -> ExitCode {
    // X3: an address with a key in it is refused, and must not stand in a log for it.
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && value.contains('@')
    {
        let hidden = ContextValue::String("(not repeated: it may hold a secret)".to_owned());
        error.insert(ContextKind::InvalidValue, hidden);
    }
    // Nobody is left to tell if this fails.
    let _ = error.print();
    if error.exit_code() != 0 {
        // O2: whether it was asked for stands among what was not understood.
        let output = Output::new(std::env::args().any(|word| word == "--json"));
        let hint = unquoted(&error);
        if let Some(hint) = &hint {
            output.say(format!("  tip: {hint}"));
        }
        failure::report_usage(&output, &error, hint);
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_fetch = words.windows(2).any(|pair| pair[0] == "wal" && pair[1] == "fetch");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if is_fetch => ExitCode::from(commands::wal::fetch::NO_ANSWER),
        _ => ExitCode::from(2),
    }
}
