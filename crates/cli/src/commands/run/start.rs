//! `lifeboat run start` and `resume`: carries a run from here to its end, or until asked to stop.

use super::carried::carry_options;
use super::sign::Speaker;
use super::{Which, words};
use crate::failure::Next;
use crate::output::{Exit, Style, Tone, clean};
use crate::plans::sha256;
use crate::settings::{PlanFile, Settings};
use crate::signals;
use anyhow::{Context, anyhow};
use lifeboat_base::format_duration;
use lifeboat_core::run::{BoundStep, Doing, Ending};
use lifeboat_core::runbook::{Bound, Problem, Wanted, bind, template};
use lifeboat_engine::run::{Begun, RunId, begin, beginning, carry, load, resume as take_over};
use lifeboat_vault::lease::Fenced;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// How long it waits for the lease of a run that a dead machine carried.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a run is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// The real thing.
    Live,
    /// A rehearsal: commands find `LIFEBOAT_TARGET=drill` in their environment.
    Drill,
}

/// Arguments of `lifeboat run start`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ctrl-C leaves the run where it is: `lifeboat run resume` or any `lifeboat serve` carries it on."
)]
pub struct Args {
    /// The runbook of the plan.
    runbook: String,
    /// Binds a variable of the runbook; may be given several times. Secrets stand in the environment instead.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    var: Vec<(String, String)>,
    /// What it is done to.
    #[arg(long, value_enum, default_value = "live")]
    target: Target,
    /// Show every step with its class, its exact command and how long it takes, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Begin it and leave it to `lifeboat serve`.
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
    #[command(flatten)]
    speaker: Speaker,
}

/// Arguments of `lifeboat run resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The run, or `latest`.
    pub id: Which,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DryRun<'a> {
    runbook: &'a str,
    target: &'a str,
    plan_hash: &'a str,
    secrets: &'a [String],
    steps: &'a [BoundStep],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Started<'a> {
    run: &'a RunId,
    runbook: &'a str,
    ended: Option<&'a Ending>,
}

/// Starts a run.
///
/// # Errors
/// If it cannot be begun, or not carried on.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let target = match args.target {
        Target::Live => "live",
        Target::Drill => "drill",
    };
    let variables: BTreeMap<String, String> = args.var.iter().cloned().collect();
    if args.dry_run {
        let plan = match settings.plan_file()? {
            Some(plan) => plan,
            None => settings.open().await?.required_plan()?.clone(),
        };
        let hash = sha256(plan.text.as_bytes());
        // Nobody asks for it yet.
        let wanted =
            Wanted { runbook: &args.runbook, variables: &variables, target, requester: "", plan_hash: &hash };
        let bound = bound(&plan, &wanted)?;
        return shown(settings, &wanted, &bound);
    }
    let opened = settings.open().await?;
    let plan = opened.required_plan()?;
    // What is wrong with the runbook, before what is wrong with a key.
    template(&plan.plan, &args.runbook).map_err(|problems| cannot(&problems))?;
    let person = args.speaker.person(&plan.plan.people.approvers).await?;
    let hash = sha256(plan.text.as_bytes());
    let wanted = Wanted {
        runbook: &args.runbook,
        variables: &variables,
        target,
        requester: &person.name,
        plan_hash: &hash,
    };
    let bound = bound(plan, &wanted)?;
    if !args.detach {
        must_have_secrets(&bound.secrets)?;
    }
    let id = RunId::new(settings.clock.as_ref());
    let mut begun = Begun {
        runbook: args.runbook.clone(),
        plan_hash: hash.clone(),
        target: target.to_owned(),
        requester: person.name.clone(),
        signature: None,
        approvers: bound.approvers,
        variables,
        secrets: bound.secrets,
        steps: bound.steps.len(),
    };
    begun.signature = person.sign(&beginning(&id, &begun)).await?;
    let options = carry_options(settings, &opened.vault);
    let begins = begin(&opened.vault, &id, &options.actor, &begun, &bound.steps, PATIENCE).await;
    let fenced = begins.context("the run was not begun")?;
    settings.output.say_styled(|style| {
        let text = format!("run {id}: {} ({target}), {} steps", clean(&args.runbook), bound.steps.len());
        style.paint(Tone::Strong, &text)
    });
    if args.detach {
        fenced.end().await;
        let started = Started { run: &id, runbook: &args.runbook, ended: None };
        settings.output.result("run.start", &started, |_| {
            format!(
                "{id}\n`lifeboat serve` carries it; `lifeboat run show {id} --follow` shows how it goes\n"
            )
        })?;
        return Ok(Exit::Good);
    }
    carried(settings, &opened.vault, &id, fenced).await
}

/// Carries a run on.
///
/// # Errors
/// If it cannot be carried on.
pub async fn resume(settings: &Settings, which: &Which) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let id = which.find(&opened.vault).await?;
    let known = load(&opened.vault, &id).await?;
    if let Some(ending) = known.state.ending() {
        return Err(anyhow!("run {id} is over: {}", words::ending(ending).0))
            .next(format!("`lifeboat run start {}` does it again", known.begun.runbook));
    }
    must_have_secrets(&known.begun.secrets)?;
    let fenced = take_over(&opened.vault, &id, &crate::journal::actor(), PATIENCE).await;
    let fenced = fenced.with_context(|| format!("run {id} cannot be carried on from here")).next(format!(
        "if another machine carries it, `lifeboat run show {id} --follow` shows how it goes"
    ))?;
    carried(settings, &opened.vault, &id, fenced).await
}

async fn carried(
    settings: &Settings,
    vault: &lifeboat_vault::Vault,
    id: &RunId,
    mut fenced: Fenced,
) -> anyhow::Result<Exit> {
    let options = carry_options(settings, vault);
    let ended = carry(&options, id, &mut fenced, signals::stopping()).await;
    fenced.end().await;
    let ended = ended.next(format!("`lifeboat run resume {id}` goes on where it is"))?;
    let runbook = load(vault, id).await?.begun.runbook;
    let started = Started { run: id, runbook: &runbook, ended: ended.as_ref() };
    settings.output.result("run.start", &started, |style| match &ended {
        Some(ending) => {
            let (text, tone) = words::ending(ending);
            format!("run {id}: {}\n", style.paint(tone, &text))
        }
        None => format!("run {id} is not over: `lifeboat run resume {id}` carries it on\n"),
    })?;
    Ok(if ended == Some(Ending::Completed) { Exit::Good } else { Exit::Findings })
}

fn must_have_secrets(secrets: &[String]) -> anyhow::Result<()> {
    let missing: Vec<&str> =
        secrets.iter().filter(|name| std::env::var_os(name).is_none()).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(anyhow!("the environment lacks {}, which the runbook's secret variables need", missing.join(", ")))
        .next("set them where the run is carried; they are never arguments")
}

/// B1: all that stands against it, at once.
fn bound(plan: &PlanFile, wanted: &Wanted<'_>) -> anyhow::Result<Bound> {
    bind(&plan.plan, wanted).map_err(|problems| cannot(&problems))
}

fn cannot(problems: &[Problem]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    anyhow!("the run cannot begin; nothing was done:\n{}", lines.join("\n"))
}

fn shown(settings: &Settings, wanted: &Wanted<'_>, bound: &Bound) -> anyhow::Result<Exit> {
    let dry = DryRun {
        runbook: wanted.runbook,
        target: wanted.target,
        plan_hash: wanted.plan_hash,
        secrets: &bound.secrets,
        steps: &bound.steps,
    };
    settings.output.result("run.dryRun", &dry, |style| {
        let mut out = String::new();
        for (at, step) in bound.steps.iter().enumerate() {
            of_step(&mut out, style, at, step);
        }
        let known: u64 = bound.steps.iter().filter_map(|step| step.expected).sum();
        let unknown = bound.steps.iter().filter(|step| step.expected.is_none()).count();
        let _ = write!(out, "{} steps", bound.steps.len());
        if known > 0 {
            let _ = write!(out, ", {} together", format_duration(Duration::from_secs(known)));
        }
        if unknown > 0 {
            let _ = write!(out, "; of {unknown} the plan does not say how long they take");
        }
        out.push_str("\nNothing was done.\n");
        out
    })?;
    Ok(Exit::Good)
}

fn of_step(out: &mut String, style: &Style, at: usize, step: &BoundStep) {
    let rules = &step.rules;
    let mut facts = match &rules.doing {
        Doing::Machine => vec![words::class(rules.class).to_owned()],
        Doing::Person => vec!["by hand".to_owned()],
        Doing::Choice(_) => vec!["a person decides".to_owned()],
        Doing::Nobody => Vec::new(),
    };
    if rules.approvals > 0 {
        facts.push(format!("{} must agree", rules.approvals));
    }
    if let Some(expected) = step.expected {
        facts.push(format!("takes {}", format_duration(Duration::from_secs(expected))));
    }
    for (has, what) in
        [(rules.has_probe, "probed"), (rules.has_verify, "verified"), (rules.has_undo, "can be undone")]
    {
        if has {
            facts.push(what.to_owned());
        }
    }
    let title = format!("{}. {}", at + 1, clean(&step.title));
    let _ = writeln!(
        out,
        "{}  {}",
        style.paint(Tone::Strong, &title),
        style.paint(Tone::Faint, &facts.join(" · "))
    );
    for note in &step.notes {
        let _ = writeln!(out, "     {}", clean(note));
    }
    let mark = if rules.doing == Doing::Machine { "$ " } else { "" };
    for line in step.shown.lines() {
        let _ = writeln!(out, "     {mark}{}", clean(line));
    }
}
