//! `lifeboat backup verify`: a backup counts once it has been recovered (DESIGN §1.1).
//!
//! The point is restored into a scratch directory, a real server recovers it to consistency, is opened, and
//! asked: every table and index of every database, then the plan's own checks. Nothing of it is kept.
//!
//! # Invariants
//! - **V1 could not verify is never green.** Without a server of the version, or with a vault that does not
//!   answer, no verdict is written; the command ends with 2.
//! - **V2 nothing stays.** The scratch directory goes, whatever came of it, but for `--keep`.

use crate::failure::Next;
use crate::output::{Exit, Tone};
use crate::points;
use crate::recovery::{self, Segment, Stopwatch, Wanted};
use crate::settings::{Opened, Settings};
use crate::{journal, settings, show};
use anyhow::{Context, ensure};
use lifeboat_base::{ServiceName, error_chain, format_duration};
use lifeboat_postgres::restore::{self, Stop};
use lifeboat_postgres::verify::{self, Check, CheckOutcome};
use lifeboat_vault::point::RestorePoint;
use lifeboat_vault::{Scope, names, refusals};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The port of the throw-away server; it only names its socket.
const PORT: u16 = 5432;

/// Arguments of `lifeboat backup verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The restore point's name, or enough of its beginning.
    id: String,
    /// Where to make the scratch directory: it needs room for the whole database.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Leave the scratch directory.
    #[arg(long)]
    keep: bool,
}

/// What verifying brought.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The restore point.
    pub id: String,
    /// Its service.
    pub service: ServiceName,
    /// Whether all holds.
    pub good: bool,
    /// What was asked, and answered.
    pub checks: Vec<CheckOutcome>,
    /// Where the time went.
    pub segments: Vec<Segment>,
    /// All of it.
    pub seconds: f64,
    /// The scratch directory, if it was kept.
    pub kept: Option<PathBuf>,
}

impl Verified {
    /// What was found, in a sentence.
    #[must_use]
    pub fn detail(&self) -> String {
        let failed: Vec<String> = self
            .checks
            .iter()
            .filter(|check| !check.passed)
            .map(|check| format!("{}: {}", check.name, check.answer))
            .collect();
        if failed.is_empty() {
            let took = format_duration(Duration::from_secs_f64(self.seconds));
            return format!("recovered in {took}, {} checks passed", self.checks.len());
        }
        failed.join("; ")
    }
}

/// Verifies a restore point and shows what came of it.
///
/// # Errors
/// If it could not be tried.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let point = points::find(&opened, &args.id).await?;
    let scratch = args.scratch.unwrap_or_else(std::env::temp_dir);
    let verified = verify(settings, &opened, &point, &scratch, args.keep).await?;
    settings.output.result("backup.verify", &verified, |style| {
        let mut out = String::new();
        for check in &verified.checks {
            let (tone, mark) = if check.passed { (Tone::Good, "ok    ") } else { (Tone::Bad, "FAILED") };
            let line = format!("{}: {}", check.name, check.answer);
            out.push_str(&format!("{} {}\n", style.paint(tone, mark), crate::output::clean(&line)));
        }
        out.push_str(&format!("{}\n", recovery::times(&verified.segments)));
        let (tone, verdict) = if verified.good { (Tone::Good, "verified") } else { (Tone::Bad, "FAILED") };
        let at = show::time(settings.clock.now());
        out.push_str(&format!("{} {verdict} {at}\n", style.paint(tone, &verified.id)));
        out
    })?;
    Ok(if verified.good { Exit::Good } else { Exit::Findings })
}

/// Verifies a restore point and journals the verdict.
///
/// # Errors
/// V1.
pub async fn verify(
    settings: &Settings,
    opened: &Opened,
    point: &RestorePoint,
    scratch: &Path,
    keep: bool,
) -> anyhow::Result<Verified> {
    // Known before anything is fetched.
    recovery::installation(point.major).context("it could not be verified here")?;
    std::fs::create_dir_all(scratch).with_context(|| format!("{} cannot be used", scratch.display()))?;
    let scratch = std::path::absolute(scratch).context("the scratch directory has no absolute path")?;
    let into = scratch.join(format!("lifeboat-verify-{}-{}", point.id, std::process::id()));
    whole(opened).await?;
    let mut watch = Stopwatch::start(settings);
    let scratch = Scratch { path: into.clone(), is_kept: keep };
    let checks = try_it(settings, opened, point, &into, &mut watch).await;
    drop(scratch);
    let checks = checks?;
    let verified = Verified {
        id: point.id.clone(),
        service: point.service.clone(),
        good: checks.iter().all(|check| check.passed),
        checks,
        seconds: watch.total().as_secs_f64(),
        segments: watch.segments,
        kept: keep.then_some(into),
    };
    if !verified.good {
        // V1: what failed may be what a copy that is away, or a full disk, made of it.
        whole(opened).await?;
    }
    let kind = if verified.good { "verify.succeeded" } else { "verify.failed" };
    let data = serde_json::json!({
        "point": point.id, "detail": verified.detail(), "checks": verified.checks,
        "segments": verified.segments,
    });
    journal::note(&opened.vault, &Scope::service(&point.service, journal::VERIFY), kind, data).await?;
    Ok(verified)
}

/// V1: every copy answers, or nothing can be said against a restore point.
async fn whole(opened: &Opened) -> anyhow::Result<()> {
    let silent = opened.vault.copies().list(names::KEYS).await.failures;
    ensure!(silent.is_empty(), "no verdict while a copy of the vault is away ({})", refusals(&silent));
    Ok(())
}

/// A scratch directory that goes when this does, also when the process is asked to stop (V2).
struct Scratch {
    path: PathBuf,
    is_kept: bool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed is named like it, for a person to find.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Recovers it and asks; an error says that nothing was found out.
async fn try_it(
    settings: &Settings,
    opened: &Opened,
    point: &RestorePoint,
    into: &Path,
    watch: &mut Stopwatch,
) -> anyhow::Result<Vec<CheckOutcome>> {
    let wanted = Wanted {
        point: point.clone(),
        timeline: point.timeline,
        stop: Stop::Consistency,
        into: into.to_owned(),
        delta: false,
        tablespaces: BTreeMap::new(),
        workers: restore::DEFAULT_WORKERS,
    };
    let (options, plan) = recovery::plan(settings, opened, &wanted).await?;
    recovery::apply(settings, opened, &options, plan)
        .await
        .next("`lifeboat vault check` tells what the vault lacks")?;
    watch.lap("restored");
    let mut server = recovery::start(settings, opened, point, into, PORT).await?;
    let reached = match recovery::reach(settings, &mut server, point, Stop::Consistency).await {
        Ok(reached) => reached,
        Err(error) => return Ok(vec![failed("recovery", format!("{error:#}"))]),
    };
    // Promoted: unlogged relations are reset, and checks may need to write temporary files.
    if let Err(error) = server.promote().await {
        return Ok(vec![failed("opening", error_chain(&error))]);
    }
    watch.lap("recovered");
    let answer = format!("consistent at {reached}, and open");
    let mut checks = vec![CheckOutcome { name: "recovery".to_owned(), passed: true, answer }];
    match verify::examine(&mut server, point, &questions(opened, point)?).await {
        Ok(outcomes) => checks.extend(outcomes),
        Err(error) => checks.push(failed("questions", error_chain(&error))),
    }
    watch.lap("checked");
    server.kill9();
    Ok(checks)
}

/// The plan's own questions, put to the database that it connects to.
fn questions(opened: &Opened, point: &RestorePoint) -> anyhow::Result<Vec<Check>> {
    let Ok(postgres) = opened.postgres(&point.service) else { return Ok(Vec::new()) };
    let database = settings::parse_conninfo(postgres.connection.as_str())?.database().to_owned();
    let question = |(number, check): (usize, &lifeboat_plan::Check)| Check {
        name: check.name.clone().unwrap_or_else(|| format!("check {}", number + 1)),
        database: Some(database.clone()),
        query: check.query.clone(),
    };
    Ok(postgres.checks.iter().enumerate().map(question).collect())
}

fn failed(name: &str, answer: String) -> CheckOutcome {
    CheckOutcome { name: name.to_owned(), passed: false, answer }
}
