//! `lifeboat init`: a first plan, commented and valid, from arguments or from answers.
//!
//! # Invariants
//! - A file that exists is never overwritten.
//! - What is written loads without an error; else nothing is written.

use crate::failure::Next;
use crate::output::{Exit, Output};
use crate::settings::{DEFAULT_PLAN, Settings};
use anyhow::{Context, anyhow};
use lifeboat_plan::{Severity, Starter};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Arguments of `lifeboat init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The copies of the vault are given with --vault, which may be repeated; the file's \
    name with --plan.")]
pub struct Args {
    /// The plan's name.
    #[arg(long)]
    name: Option<String>,
    /// The name of the database's service.
    #[arg(long)]
    service: Option<String>,
    /// How its server is reached: host=db.internal user=lifeboat. Never a password.
    #[arg(long)]
    connection: Option<String>,
    /// The server's data directory, if it is on this machine.
    #[arg(long, value_name = "DIR")]
    data_directory: Option<String>,
    /// The time zone of schedules [default: this machine's].
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
}

#[derive(Serialize)]
struct Written {
    file: PathBuf,
}

/// Writes it.
///
/// # Errors
/// If an answer makes no plan, or the file cannot be written.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let output = &settings.output;
    let path = settings.global.plan.clone().unwrap_or_else(|| DEFAULT_PLAN.into());
    if path.exists() {
        return Err(anyhow!("{} exists already; it was left as it is", path.display()))
            .next("choose another name with --plan");
    }
    let copies: Vec<String> = settings.global.vault.iter().map(ToString::to_string).collect();
    let starter = gather(output, args, copies)?;
    let text = lifeboat_plan::starter(&starter);
    if let Err(findings) = lifeboat_plan::load(&text) {
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        let shown: Vec<String> = errors
            .map(|finding| match &finding.help {
                Some(help) => format!("{}: {} ({help})", finding.path, finding.message),
                None => format!("{}: {}", finding.path, finding.message),
            })
            .collect();
        return Err(anyhow!("no plan can be made of that; nothing was written:\n  {}", shown.join("\n  ")));
    }
    let failed = || format!("{} cannot be written", path.display());
    let mut file = std::fs::File::create_new(&path).with_context(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(failed)?;
    let written = Written { file: path.clone() };
    output.result("init", &written, |_| {
        format!(
            "{} is written. Read it once: each line says what it may be changed to. Then:\n\
             \x20 lifeboat plan check     what is wrong with it\n\
             \x20 lifeboat vault init     makes the vault\n\
             \x20 lifeboat doctor         whether the server and the vault are as they must be\n\
             \x20 lifeboat serve          streams, takes backups and prunes as the plan says\n",
            path.display()
        )
    })?;
    Ok(Exit::Good)
}

fn gather(output: &Output, args: Args, mut copies: Vec<String>) -> anyhow::Result<Starter> {
    let can_ask = std::io::stdin().is_terminal();
    let ask = |given: Option<String>, flag: &str, question: &str, default: &str| match given {
        Some(given) => Ok(given),
        None if can_ask => output.ask(question, default),
        None if !default.is_empty() => Ok(default.to_owned()),
        None => Err(anyhow!("nobody can be asked, and {flag} is missing")),
    };
    let service = ask(args.service, "--service", "Name of the database's service", "main-db")?;
    let name = ask(args.name, "--name", "Name of the plan", &service)?;
    let connection = ask(
        args.connection,
        "--connection",
        "How its server is reached (no password)",
        "host=/var/run/postgresql user=postgres",
    )?;
    let data_directory = match args.data_directory {
        Some(directory) => Some(directory),
        None if can_ask => {
            let answer = output.ask("Its data directory, if it is on this machine (empty if not)", "")?;
            Some(answer).filter(|answer| !answer.is_empty())
        }
        None => None,
    };
    if copies.is_empty() {
        copies.push(ask(None, "--vault", "Where the vault is", "file:///var/lib/lifeboat/vault")?);
    }
    let here = jiff::tz::TimeZone::system().iana_name().unwrap_or("UTC").to_owned();
    let time_zone = ask(args.time_zone, "--time-zone", "Time zone of schedules", &here)?;
    Ok(Starter { name, service, connection, data_directory, copies, time_zone })
}
