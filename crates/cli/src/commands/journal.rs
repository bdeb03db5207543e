//! `lifeboat journal`: what happened, and whether it was written so.

use crate::failure::Next;
use crate::journal::records;
use crate::output::{Exit, Style, Table, Tone, clean};
use crate::settings::Settings;
use crate::show;
use anyhow::{Context, anyhow};
use lifeboat_vault::Vault;
use lifeboat_vault::journal::{self, Fault, KeptHead, Record, Scope};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Characters of an event's details that a line shows.
const DETAIL_CHARS: usize = 160;

/// What `lifeboat journal` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show events, oldest first
    Show {
        /// Those of one scope, and of what lies below it: services/orders-db, services/orders-db/backup.
        #[arg(long)]
        scope: Option<Scope>,
        /// The newest so many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        last: usize,
    },
    /// Find any record that was edited, lost or moved, and name the first of each chain
    ///
    /// What was cut off at the end of a chain, or a chain that is gone whole, shows only against heads that
    /// were kept outside the vault: keep what `journal verify --json` prints, and give it to --against.
    Verify {
        /// What an earlier `journal verify --json` printed: each chain must still have what it had then.
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
}

/// Largest file of heads that is read.
const HEADS_LIMIT_BYTES: u64 = 64 << 20;

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
    /// With `--against`.
    against: Option<Against>,
}

/// What came of holding the chains against heads that were kept.
#[derive(Serialize)]
struct Against {
    file: PathBuf,
    heads: usize,
    lost: Vec<LostView>,
}

#[derive(Serialize)]
struct LostView {
    scope: Scope,
    what: String,
}

/// As much of what `journal verify --json` prints as is needed.
#[derive(Deserialize)]
struct Kept {
    scopes: Vec<KeptHead>,
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
        Command::Verify { against } => verify(settings, against.as_deref()).await,
    }
}

/// Those of `known` that are `scope`, or lie below it.
fn below(known: Vec<Scope>, scope: &Scope) -> anyhow::Result<Vec<Scope>> {
    let inside = format!("{scope}/");
    let is_it = |known: &&Scope| *known == scope || known.as_str().starts_with(&inside);
    let found: Vec<Scope> = known.iter().filter(is_it).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<&str> = known.iter().map(Scope::as_str).collect();
    let all = names.join(", ");
    let next = match lifeboat_plan::nearest(scope.as_str(), names) {
        Some(near) => format!("did you mean `{near}`? There are: {all}"),
        None => format!("there are: {all}"),
    };
    Err(anyhow!("the journal has nothing of `{scope}`")).next(next)
}

async fn show(settings: &Settings, scope: Option<Scope>, last: usize) -> anyhow::Result<Exit> {
    let vault = settings.open().await?.vault;
    let known = journal::scopes(&vault).await.context("the journal cannot be read")?;
    let scopes = match scope {
        Some(scope) => below(known, &scope)?,
        None => known,
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

/// Holds the chains against what an earlier verification printed.
async fn held_against(vault: &Vault, file: &Path) -> anyhow::Result<Against> {
    let failed = || format!("the heads in {} cannot be read", file.display());
    let mut text = String::new();
    let opened = std::fs::File::open(file).with_context(failed)?;
    opened.take(HEADS_LIMIT_BYTES).read_to_string(&mut text).with_context(failed)?;
    let kept: Result<Kept, _> = serde_json::from_str(&text);
    let kept = kept.with_context(failed).next("give it what `lifeboat journal verify --json` printed")?;
    let lost = journal::compare(vault, &kept.scopes).await.context("the journal cannot be compared")?;
    let lost = lost.into_iter().map(|(scope, what)| LostView { scope, what: what.to_string() }).collect();
    Ok(Against { file: file.to_owned(), heads: kept.scopes.len(), lost })
}

async fn verify(settings: &Settings, against: Option<&Path>) -> anyhow::Result<Exit> {
    let vault = settings.open().await?.vault;
    let against = match against {
        Some(file) => Some(held_against(&vault, file).await?),
        None => None,
    };
    let kept_all = against.as_ref().is_none_or(|against| against.lost.is_empty());
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
        sound: report.is_sound() && kept_all,
        scopes: scopes.collect(),
        silent_copies: report.silent.iter().map(|copy| format!("{}: {}", copy.copy, copy.reason)).collect(),
        against,
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
                    let hash = &scope.head_sha256;
                    let doubt = if scope.proven { "" } else { ", its end not proven: a copy is silent" };
                    format!("{}: {} records, head {hash}{doubt}", scope.scope.as_str(), scope.records)
                }
            };
            out.push_str(&format!("{line}\n"));
        }
        for silent in &verified.silent_copies {
            out.push_str(&format!("a copy is silent: {}\n", clean(silent)));
        }
        let lost = verified.against.iter().flat_map(|against| &against.lost);
        for LostView { scope, what } in lost {
            let line = format!("{scope}: {}", clean(what));
            out.push_str(&format!("{}\n", style.paint(Tone::Bad, &line)));
        }
        out.push_str(&verdict(&verified, style));
        out
    })?;
    Ok(if verified.sound { Exit::Good } else { Exit::Findings })
}

/// What was found in a sentence, and no more than can be seen.
fn verdict(verified: &Verified, style: &Style) -> String {
    if !verified.sound {
        let next = "if this is damage, `lifeboat vault check --repair` heals from another copy; if not, \
                    somebody who has the key changed it: compare with a head kept elsewhere";
        let verdict = style.paint(Tone::Bad, "the journal is not what was written");
        return format!("{verdict}\n{next}\n");
    }
    let good = "each record follows from the one before it: none was edited, none is missing before the last of \
                its chain, none was moved";
    let more = match &verified.against {
        Some(against) => format!(
            "and the {} chains of {} have all that they had then",
            against.heads,
            against.file.display()
        ),
        None => "not to be seen from here: whether records were cut off at the end of a chain, or a whole chain. \
                 Keep what `lifeboat journal verify --json` prints outside the vault, and give it to --against"
            .to_owned(),
    };
    format!("{}\n{}\n", style.paint(Tone::Good, good), clean(&more))
}
