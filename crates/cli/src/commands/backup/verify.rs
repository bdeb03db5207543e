//! `lifeboat backup verify`: a backup counts once it has been recovered (DESIGN §1.1).
//!
//! The point is shown on a throw-away view, a real server recovers it to the end of its own WAL, is
//! opened, and asked: every table and index of every database, then the plan's own checks. Nothing is kept.
//!
//! # Invariants
//! - **V1 could not verify is no verdict.** Without a server of the version, with a vault that does not answer,
//!   or on a machine that ran short of something, none is written; the command ends with 2.
//! - **V2 what is proven counts.** What the vault's copies, all of them, say is missing or damaged is a verdict.

use super::scratch::Scratch;
use crate::failure::{Next, guided};
use crate::output::{Exit, Tone};
use crate::points;
use crate::recovery::{self, Hold, Segment, Stopwatch, Wanted};
use crate::settings::{Opened, Settings};
use crate::signals::{self, unless_stopped};
use crate::throwaway::ThrowAway;
use crate::{journal, settings, show};
use anyhow::{Context, bail, ensure};
use lifeboat_base::{ServiceName, error_chain, format_duration};
use lifeboat_postgres::server::RECOVERED_LOG;
use lifeboat_postgres::target::{self, Resolved, ScanError, TargetError};
use lifeboat_postgres::verify::{self, Check, CheckOutcome, Outcome};
use lifeboat_vault::point::RestorePoint;
use lifeboat_vault::{ReadError, Scope, names, refusals};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The port of the throw-away server; it only names its socket.
const PORT: u16 = 5432;

/// Arguments of `lifeboat backup verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The restore point's name, or enough of its beginning; `latest`, or SERVICE/latest where several services
    /// have any.
    id: String,
    /// Where to make the scratch directory. It needs room for what replay writes; for the whole database with
    /// --keep, and on a machine without FUSE.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Restore all files, and leave them.
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
    /// What comes of it: the worst of what was found.
    pub outcome: Outcome,
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
            .filter(|check| check.outcome != Outcome::Passed)
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
            let (tone, mark) = match check.outcome {
                Outcome::Passed => (Tone::Good, "ok    "),
                Outcome::Doubtful => (Tone::Doubtful, "NO    "),
                Outcome::Failed => (Tone::Bad, "FAILED"),
            };
            let line = format!("{}: {}", check.name, check.answer);
            out.push_str(&format!("{} {}\n", style.paint(tone, mark), crate::output::clean(&line)));
        }
        out.push_str(&format!("{}\n", recovery::times(&verified.segments)));
        let (tone, verdict) = match verified.outcome {
            Outcome::Passed => (Tone::Good, "verified"),
            Outcome::Doubtful => (Tone::Doubtful, "recovers, but not all was answered with yes: DOUBTFUL"),
            Outcome::Failed => (Tone::Bad, "FAILED"),
        };
        let at = show::time(settings.clock.now());
        out.push_str(&format!("{} {verdict} {at}\n", style.paint(tone, &verified.id)));
        out
    })?;
    Ok(if verified.outcome == Outcome::Passed { Exit::Good } else { Exit::Findings })
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
    let scratch = Scratch::new(scratch, &point.id, keep).await?;
    whole(opened).await?;
    let mut watch = Stopwatch::start(settings);
    let hold = Hold::take(settings, opened, point).await;
    let tried = try_it(settings, opened, point, scratch.path(), keep, &mut watch).await;
    hold.release().await;
    let checks = match tried {
        Ok(checks) => checks,
        Err(error) if recovery::was_stopped(&error) => {
            return Err(error).next("nothing was found out, and nothing of it is left: verify it again");
        }
        Err(error) if is_proof(&error) => vec![failed("restore", format!("{error:#}"))],
        Err(error) => return Err(error),
    };
    let verified = Verified {
        id: point.id.clone(),
        service: point.service.clone(),
        outcome: checks.iter().map(|check| check.outcome).max().unwrap_or(Outcome::Doubtful),
        checks,
        seconds: watch.total().as_secs_f64(),
        segments: watch.segments,
        kept: keep.then(|| scratch.path().to_owned()),
    };
    if verified.outcome != Outcome::Passed {
        // V1: what failed may be what a copy that is away, or a full disk, made of it.
        whole(opened).await?;
    }
    drop(scratch);
    let kind = match verified.outcome {
        Outcome::Passed => journal::VERIFIED,
        Outcome::Doubtful => journal::DOUBTED,
        Outcome::Failed => journal::FAILED,
    };
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

/// V1: this machine had what a server needs.
fn ran_well(checks: &[CheckOutcome], directory: &Path) -> anyhow::Result<()> {
    if checks.iter().all(|check| check.outcome == Outcome::Passed) {
        return Ok(());
    }
    // Without a log the server never ran, and is not what failed.
    let log = std::fs::read(directory.join(RECOVERED_LOG)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let unmet = checks.iter().filter(|check| check.outcome != Outcome::Passed);
    let answers = unmet.map(|check| check.answer.as_str());
    if let Some(line) = answers.chain(log.lines()).find(|text| verify::is_of_this_machine(text)) {
        bail!("no verdict, for this machine ran short of something: {}", line.trim());
    }
    Ok(())
}

/// V2: whether the vault itself says that the point cannot be had, or not all of it.
fn is_proof(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let read = cause.downcast_ref::<ReadError>();
        let scan = cause.downcast_ref::<ScanError>();
        let target = cause.downcast_ref::<TargetError>();
        read.is_some_and(|error| matches!(error, ReadError::Missing(_) | ReadError::Damaged { .. }))
            || scan.is_some_and(|error| matches!(error, ScanError::Damaged(_) | ScanError::Record(_)))
            || target.is_some_and(|error| {
                matches!(error, TargetError::OutOfWindow { .. } | TargetError::NoHistory(_))
            })
    })
}

/// Recovers it and asks; an error says that nothing was found out.
async fn try_it(
    settings: &Settings,
    opened: &Opened,
    point: &RestorePoint,
    into: &Path,
    keep: bool,
    watch: &mut Stopwatch,
) -> anyhow::Result<Vec<CheckOutcome>> {
    // Listened to until nothing of it runs any more.
    let _stopping = signals::stopping();
    let target = target::own_end(&opened.vault, point).await.context("its own WAL is not whole")?;
    let wanted = Wanted::of(&target, into);
    if keep {
        let (options, plan) = recovery::plan(settings, opened, &wanted).await?;
        recovery::apply(settings, opened, &options, plan).await.map_err(checked)?;
        watch.lap("restored");
        let checks = examine(settings, opened, point, &target, into, watch).await?;
        return ran_well(&checks, into).map(|()| checks);
    }
    let ground = ThrowAway::make(settings, opened, &wanted).await.map_err(checked)?;
    watch.lap("restored");
    let examined = examine(settings, opened, point, &target, into, watch).await;
    let (damage, was_away) = (ground.damage(), ground.was_away());
    // A log that says why is read before it goes.
    let examined = examined.and_then(|checks| ran_well(&checks, into).map(|()| checks));
    ground.end().await;
    // V2: first of all what the vault itself says.
    if let Some(damage) = damage {
        return Ok(vec![failed("restore", format!("the vault holds it damaged: {damage}"))]);
    }
    let checks = examined?;
    let is_bad = checks.iter().any(|check| check.outcome != Outcome::Passed);
    if let Some(why) = was_away.filter(|_| is_bad) {
        bail!("no verdict, for the vault was away meanwhile ({why})");
    }
    Ok(checks)
}

/// Where to look when nothing could be restored.
fn checked(error: anyhow::Error) -> anyhow::Error {
    match recovery::was_stopped(&error) {
        true => error,
        false => guided(error, "`lifeboat vault check` tells what the vault lacks"),
    }
}

/// Starts a server in the directory, and asks it.
async fn examine(
    settings: &Settings,
    opened: &Opened,
    point: &RestorePoint,
    target: &Resolved,
    into: &Path,
    watch: &mut Stopwatch,
) -> anyhow::Result<Vec<CheckOutcome>> {
    let started = recovery::start(settings, opened, point, into, PORT, &[]);
    let mut server = unless_stopped(started).await??;
    let reached = match recovery::reach(settings, &mut server, point, target.stop()).await {
        Ok(reached) => reached,
        Err(error) if recovery::was_stopped(&error) => return Err(error),
        Err(error) => return Ok(vec![failed("recovery", format!("{error:#}"))]),
    };
    if let Err(error) = target::reached(reached, target) {
        return Ok(vec![failed("recovery", error.to_string())]);
    }
    // Promoted: unlogged relations are reset, and checks may need to write temporary files.
    if let Err(error) = server.promote().await {
        return Ok(vec![failed("opening", error_chain(&error))]);
    }
    watch.lap("recovered");
    let answer = format!("consistent at {reached}, and open");
    let mut checks = vec![CheckOutcome { name: "recovery".to_owned(), outcome: Outcome::Passed, answer }];
    let questions = questions(opened, point)?;
    match unless_stopped(verify::examine(&mut server, point, &questions)).await? {
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
    CheckOutcome { name: name.to_owned(), outcome: Outcome::Failed, answer }
}
