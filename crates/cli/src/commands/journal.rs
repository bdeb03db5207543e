//! `lifeboat journal`: what happened, and whether it was written so.

use crate::journal::records;
use crate::output::{Exit, Table, Tone, clean};
use crate::settings::Settings;
use crate::show;
use anyhow::Context;
use lifeboat_vault::journal::{self, Fault, Record, Scope};
use serde::Serialize;

/// Characters of an event's details that a line shows.
const DETAIL_CHARS: usize = 160;

/// What `lifeboat journal` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show events, oldest first
    Show {
        /// Those of one scope: services/orders-db/backup.
        #[arg(long)]
        scope: Option<Scope>,
        /// The newest so many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        last: usize,
    },
    /// Find any record that was edited, lost or moved, and name the first of each chain
    Verify,
}

#[derive(Serialize)]
struct Events {
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Event {
    scope: Scope,
    // Not flattened: its `kind` is the event's, and that of the document the command's.
    record: Record,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    sound: bool,
    scopes: Vec<VerifiedScope>,
    silent_copies: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifiedScope {
    scope: Scope,
    records: u64,
    head: u64,
    head_sha256: String,
    proven: bool,
    first_fault: Option<FaultView>,
}

#[derive(Serialize)]
struct FaultView {
    number: u64,
    what: String,
}

impl From<&Fault> for FaultView {
    fn from(fault: &Fault) -> Self {
        Self { number: fault.number, what: fault.what.to_string() }
    }
}

/// Runs it.
///
/// # Errors
/// If the journal cannot be read.
pub async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Show { scope, last } => show(settings, scope, last).await,
        Command::Verify => verify(settings).await,
    }
}

async fn show(settings: &Settings, scope: Option<Scope>, last: usize) -> anyhow::Result<Exit> {
    let vault = settings.open().await?.vault;
    let scopes = match scope {
        Some(scope) => vec![scope],
        None => journal::scopes(&vault).await.context("the journal cannot be read")?,
    };
    let mut events = Vec::new();
    for scope in scopes {
        let found = records(&vault, &scope).await?;
        events.extend(found.into_iter().map(|record| Event { scope: scope.clone(), record }));
        // Of each scope no more than are shown in all: memory does not grow with their number.
        events.sort_by_key(|event| event.record.time);
        events.drain(..events.len().saturating_sub(last));
    }
    let events = Events { events };
    settings.output.result("journal.show", &events, |style| {
        let mut table = Table::new(&["TIME", "SCOPE", "NO.", "EVENT", "WHO", "DETAILS"]);
        for Event { scope, record } in &events.events {
            let details: String = record.data.to_string().chars().take(DETAIL_CHARS).collect();
            table.row([
                show::time(record.time),
                scope.as_str().to_owned(),
                record.number.to_string(),
                record.kind.clone(),
                record.actor.clone(),
                details,
            ]);
        }
        table.render(style)
    })?;
    Ok(Exit::Good)
}

async fn verify(settings: &Settings) -> anyhow::Result<Exit> {
    let vault = settings.open().await?.vault;
    let report = journal::verify(&vault).await.context("the journal cannot be verified")?;
    let scopes = report.scopes.iter().map(|scope| VerifiedScope {
        scope: scope.scope.clone(),
        records: scope.records,
        head: scope.head_number,
        head_sha256: scope.head_hash.clone(),
        proven: scope.is_proven,
        first_fault: scope.first_fault.as_ref().map(FaultView::from),
    });
    let verified = Verified {
        sound: report.is_sound(),
        scopes: scopes.collect(),
        silent_copies: report.silent.iter().map(|copy| format!("{}: {}", copy.copy, copy.reason)).collect(),
    };
    settings.output.result("journal.verify", &verified, |style| {
        let mut out = String::new();
        for scope in &verified.scopes {
            let line = match &scope.first_fault {
                Some(fault) => {
                    let text = format!("{}: record {} {}", scope.scope.as_str(), fault.number, fault.what);
                    style.paint(Tone::Bad, &text)
                }
                None => {
                    let hash: String = scope.head_sha256.chars().take(16).collect();
                    let doubt = if scope.proven { "" } else { ", its end not proven: a copy is silent" };
                    format!("{}: {} records, head {hash}…{doubt}", scope.scope.as_str(), scope.records)
                }
            };
            out.push_str(&format!("{line}\n"));
        }
        for silent in &verified.silent_copies {
            out.push_str(&format!("a copy is silent: {}\n", clean(silent)));
        }
        out.push_str(&if verified.sound {
            style.paint(Tone::Good, "no record was edited, lost or moved") + "\n"
        } else {
            let next = "if this is damage, `lifeboat vault check --repair` heals from another copy; if not, \
                        somebody who has the key changed it: compare with a head kept elsewhere";
            format!("{}\n{next}\n", style.paint(Tone::Bad, "the journal is not what was written"))
        });
        out
    })?;
    Ok(if verified.sound { Exit::Good } else { Exit::Findings })
}
