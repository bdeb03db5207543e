//! `lifeboat backup verify`: a backup counts once it has been recovered (DESIGN §1.1).
//!
//! The point is restored into a scratch directory, a real server recovers it to consistency, is opened, and
//! asked: `pg_amcheck` over every database, then the plan's own checks. Nothing of it is kept.
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
use anyhow::{Context, anyhow};
use lifeboat_base::{ServiceName, format_duration};
use lifeboat_postgres::client::Connection;
use lifeboat_postgres::restore::{self, Stop};
use lifeboat_postgres::server::{self, Server};
use lifeboat_vault::Scope;
use lifeboat_vault::point::RestorePoint;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lines of `pg_amcheck` that a verdict repeats.
const AMCHECK_LINES: usize = 20;
/// How long one of the plan's questions may take.
const CHECK_LIMIT: Duration = Duration::from_secs(600);
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
    pub checks: Vec<Answer>,
    /// Where the time went.
    pub segments: Vec<Segment>,
    /// All of it.
    pub seconds: f64,
    /// The scratch directory, if it was kept.
    pub kept: Option<PathBuf>,
}

/// One question and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// Which.
    pub name: String,
    /// Whether it was as it should be.
    pub good: bool,
    /// What came, if not.
    pub detail: String,
}

impl Answer {
    fn good(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), good: true, detail: detail.into() }
    }

    fn bad(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), good: false, detail: detail.into() }
    }
}

impl Verified {
    /// What was found, in a sentence.
    #[must_use]
    pub fn detail(&self) -> String {
        let failed: Vec<String> = self
            .checks
            .iter()
            .filter(|check| !check.good)
            .map(|check| format!("{}: {}", check.name, check.detail))
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
            let (tone, mark) = if check.good { (Tone::Good, "ok    ") } else { (Tone::Bad, "FAILED") };
            let line = format!("{} {}", check.name, check.detail);
            out.push_str(&format!("{} {}\n", style.paint(tone, mark), crate::output::clean(&line)));
        }
        let times = verified.segments.iter().map(|segment| {
            format!("{} {}", segment.name, format_duration(Duration::from_secs_f64(segment.seconds)))
        });
        out.push_str(&format!("{}\n", times.collect::<Vec<_>>().join(", ")));
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
    let mut watch = Stopwatch::start(settings);
    let checks = try_it(settings, opened, point, &into, &mut watch).await;
    if !keep {
        // What cannot be removed is named like this, for a person to find.
        if let Err(error) = std::fs::remove_dir_all(&into)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            settings.output.warn(format!("{} was not removed: {error}", into.display()));
        }
    }
    let checks = checks?;
    let verified = Verified {
        id: point.id.clone(),
        service: point.service.clone(),
        good: checks.iter().all(|check| check.good),
        checks,
        seconds: watch.total().as_secs_f64(),
        segments: watch.segments,
        kept: keep.then_some(into),
    };
    let kind = if verified.good { "verify.succeeded" } else { "verify.failed" };
    let data = serde_json::json!({
        "point": point.id, "detail": verified.detail(), "checks": verified.checks,
        "segments": verified.segments,
    });
    journal::note(&opened.vault, &Scope::service(&point.service, journal::VERIFY), kind, data).await?;
    Ok(verified)
}

/// Recovers it and asks; an error says that nothing was found out.
async fn try_it(
    settings: &Settings,
    opened: &Opened,
    point: &RestorePoint,
    into: &Path,
    watch: &mut Stopwatch,
) -> anyhow::Result<Vec<Answer>> {
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
    let mut checks = Vec::new();
    if !point.damaged_pages.is_empty() {
        let detail = format!("{} pages were damaged on production", point.damaged_pages.len());
        checks.push(Answer::bad("pages", detail));
    }
    let mut server = recovery::start(settings, opened, point, into, PORT).await?;
    match recovery::reach(settings, &mut server, point, Stop::Consistency).await {
        Ok(reached) => checks.push(Answer::good("recovery", format!("consistent at {reached}"))),
        Err(error) => {
            checks.push(Answer::bad("recovery", format!("{error:#}")));
            return Ok(checks);
        }
    }
    if let Err(error) = server.promote().await {
        checks.push(Answer::bad("opening", format!("{:#}", anyhow!(error))));
        return Ok(checks);
    }
    watch.lap("recovered");
    checks.push(amcheck(&server, point).await?);
    watch.lap("checked");
    checks.extend(canaries(opened, point, &mut server).await?);
    watch.lap("asked");
    // It is thrown away: how it stops says nothing of the backup.
    let _ = server.stop().await;
    Ok(checks)
}

/// `pg_amcheck` over every table and B-tree index of every database.
async fn amcheck(server: &Server, point: &RestorePoint) -> anyhow::Result<Answer> {
    const NAME: &str = "pg_amcheck";
    let program = recovery::installation(point.major)?.program(NAME);
    if !program.exists() {
        return Ok(Answer::good(NAME, "left out: it is not installed here"));
    }
    let mut command = std::process::Command::new(program);
    command.args(["--all", "--install-missing", "--maintenance-db", &server.address()]);
    command.env("LC_ALL", "C").stdin(std::process::Stdio::null());
    if let Some(account) = server::server_account().context("pg_amcheck has nobody to run as")? {
        account.apply(&mut command);
        command.current_dir("/");
    }
    let output = tokio::process::Command::from(command).output().await.context("pg_amcheck did not run")?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(AMCHECK_LINES).collect();
    let said = lines.join(" | ");
    Ok(match output.status.code() {
        Some(0) => Answer::good(NAME, "every table and index is sound"),
        // 2: there is corruption; 1: it could not look, which is no finding about the backup.
        Some(2) => Answer::bad(NAME, said),
        _ if said.contains("could not open extension control file") => {
            Answer::good(NAME, "left out: the amcheck extension is not installed here")
        }
        _ => return Err(anyhow!("pg_amcheck could not look: {said}")),
    })
}

/// The plan's own questions.
async fn canaries(opened: &Opened, point: &RestorePoint, server: &mut Server) -> anyhow::Result<Vec<Answer>> {
    let Ok(postgres) = opened.postgres(&point.service) else { return Ok(Vec::new()) };
    let info = settings::parse_conninfo(postgres.connection.as_str())?;
    let mut connection = recovery::connect(server, info.database()).await?;
    let mut answers = Vec::new();
    for (number, check) in postgres.checks.iter().enumerate() {
        let name = check.name.clone().unwrap_or_else(|| format!("check {}", number + 1));
        let asked = tokio::time::timeout(CHECK_LIMIT, ask(&mut connection, &check.query)).await;
        answers.push(match asked {
            Ok(Ok(answer)) if answer == "t" => Answer::good(&name, "true"),
            Ok(Ok(answer)) => Answer::bad(&name, format!("answered {answer}, not true")),
            Ok(Err(error)) => Answer::bad(&name, format!("{error:#}")),
            Err(_) => {
                answers.push(Answer::bad(&name, format!("no answer in {} s", CHECK_LIMIT.as_secs())));
                // The connection is in the middle of it.
                return Ok(answers);
            }
        });
    }
    Ok(answers)
}

async fn ask(connection: &mut Connection, query: &str) -> anyhow::Result<String> {
    let row = connection.query_one(query).await?;
    Ok(row.at(0).unwrap_or("NULL").to_owned())
}
