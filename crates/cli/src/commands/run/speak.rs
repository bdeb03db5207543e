//! What a person says to a run: agrees, answers, ends it.

use super::sign::Speaker;
use super::{Which, step_of, words};
use crate::failure::Next;
use crate::journal::actor;
use crate::output::{Exit, Tone, clean};
use crate::settings::Settings;
use anyhow::{Context, anyhow, bail};
use lifeboat_core::run::{Answer, Ask, Doing, StepNumber};
use lifeboat_engine::run::{Known, Request, load, send, statement};
use lifeboat_vault::Vault;
use serde::Serialize;
use std::time::Duration;

/// How long it waits to be heard: whoever carries the run looks about once a second.
const HEARING: Duration = Duration::from_secs(6);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(300);

/// Arguments of `lifeboat run approve`.
#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    /// The run, or `latest`.
    id: Which,
    /// The step: its number or ID.
    step: String,
    /// Do not ask whether what is shown is what you agree to.
    #[arg(long)]
    yes: bool,
    /// Override, alone, what needs more people. It is an event that everybody sees.
    #[arg(long, requires = "reason")]
    break_glass: bool,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    speaker: Speaker,
}

/// Arguments of `lifeboat run answer`.
#[derive(Debug, clap::Args)]
pub struct AnswerArgs {
    /// The run, or `latest`.
    id: Which,
    /// The step: its number or ID.
    step: String,
    /// yes, no, done, failed, again, skip, or the number of an answer.
    answer: String,
    /// What you saw, with `done`.
    #[arg(long, value_name = "TEXT")]
    saw: Option<String>,
    /// Why, with `failed` and `skip`.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    #[command(flatten)]
    speaker: Speaker,
}

/// Arguments of `lifeboat run abort`.
#[derive(Debug, clap::Args)]
pub struct AbortArgs {
    /// The run, or `latest`.
    id: Which,
    /// Undo what was done, the newest first.
    #[arg(long)]
    undo: bool,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    speaker: Speaker,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spoken<'a> {
    run: &'a lifeboat_engine::run::RunId,
    by: &'a str,
    request: &'a Request,
    /// Whether whoever carries the run has taken it over.
    heard: bool,
    refused: Option<String>,
}

/// Agrees to a step.
///
/// # Errors
/// If it was not said.
pub async fn approve(settings: &Settings, args: ApproveArgs) -> anyhow::Result<Exit> {
    let vault = settings.open().await?.vault;
    let known = loaded(&vault, &args.id).await?;
    let step = step_of(&known, &args.step)?;
    let person = args.speaker.person(&known.begun.approvers).await?;
    let Some(bound) = known.steps.get(step.0 as usize) else { bail!("run {} has no such step", known.id) };
    // Z1.
    settings.output.say_styled(|style| {
        let heading = format!(
            "run {}: {} ({}), asked for by {}",
            known.id,
            clean(&known.begun.runbook),
            clean(&known.begun.target),
            clean(&known.begun.requester)
        );
        let mut text = format!("{}\nstep {}", heading, style.paint(Tone::Strong, &words::step(&known, step)));
        text.push_str(&format!("  {}\n", words::class(bound.rules.class)));
        for note in &bound.notes {
            text.push_str(&format!("  {}\n", clean(note)));
        }
        for line in bound.shown.lines() {
            text.push_str(&format!("  $ {}\n", clean(line)));
        }
        text.push_str(&style.paint(Tone::Faint, &format!("  hash {}", bound.hash)));
        text
    });
    let agreed = args.yes || settings.output.confirm("Do you agree to this step, as shown?")?;
    if !agreed {
        return Err(anyhow!("nothing was agreed to")).next("type `yes`, or give --yes");
    }
    let request = match args.reason {
        Some(reason) if args.break_glass => Request::BreakGlass { step, by: person.name.clone(), reason },
        _ => Request::Approve { step, by: person.name.clone(), shown: bound.hash.clone() },
    };
    say(settings, &vault, &known, &person, request).await
}

/// Answers what is asked.
///
/// # Errors
/// If it was not said.
pub async fn answer(settings: &Settings, args: AnswerArgs) -> anyhow::Result<Exit> {
    let vault = settings.open().await?.vault;
    let known = loaded(&vault, &args.id).await?;
    let step = step_of(&known, &args.step)?;
    let answer = meant(&known, step, &args)?;
    let person = args.speaker.person(&known.begun.approvers).await?;
    let request = Request::Answer { step, by: person.name.clone(), answer };
    say(settings, &vault, &known, &person, request).await
}

/// Ends a run.
///
/// # Errors
/// If it was not said.
pub async fn abort(settings: &Settings, args: AbortArgs) -> anyhow::Result<Exit> {
    let vault = settings.open().await?.vault;
    let known = loaded(&vault, &args.id).await?;
    let person = args.speaker.person(&known.begun.approvers).await?;
    let request = Request::Abort { by: person.name.clone(), undo: args.undo, reason: args.reason };
    say(settings, &vault, &known, &person, request).await
}

async fn loaded(vault: &Vault, which: &Which) -> anyhow::Result<Known> {
    let id = which.find(vault).await?;
    let known = load(vault, &id).await?;
    match known.state.ending() {
        None => Ok(known),
        Some(ending) => bail!("run {id} is over: {}", words::ending(ending).0),
    }
}

/// The answer in the words of the run; what is asked now says which there are.
fn meant(known: &Known, step: StepNumber, args: &AnswerArgs) -> anyhow::Result<Answer> {
    let asked = known.state.asked().find(|(of, _, _)| *of == step).map(|(_, ask, _)| ask.clone());
    let Some(ask) = asked else {
        return Err(anyhow!("step {} asks nothing now", words::step(known, step)))
            .next(format!("`lifeboat run show {}` shows what is asked", known.id));
    };
    let why = || args.why.clone().ok_or_else(|| anyhow!("say why: --why TEXT"));
    let saw = || args.saw.clone().ok_or_else(|| anyhow!("say what you saw: --saw TEXT"));
    let fits = |fits: bool, answer: anyhow::Result<Answer>| match fits {
        true => answer,
        false => {
            let ways = words::ways(known, step, &ask).join("\n    ");
            Err(anyhow!("`{}` is no answer to: {}", args.answer, words::asked(&ask)))
                .next(format!("one of\n    {ways}"))
        }
    };
    let is_problem = matches!(ask, Ask::Doubt { .. } | Ask::Failure { .. });
    match args.answer.as_str() {
        "yes" => fits(ask == Ask::Condition, Ok(Answer::Yes)),
        "no" => fits(ask == Ask::Condition, Ok(Answer::No)),
        "done" => fits(ask == Ask::Work || is_problem, saw().map(|saw| Answer::Done { saw })),
        "failed" => fits(ask == Ask::Work, why().map(|why| Answer::Failed { why })),
        "again" => fits(is_problem, Ok(Answer::Again)),
        "skip" => fits(is_problem || ask == Ask::Work, why().map(|why| Answer::Skip { why })),
        number => {
            let options = known.rules.step(step).map_or(0, |rules| match &rules.doing {
                Doing::Choice(leads) => leads.len(),
                _ => 0,
            });
            let chosen = number.parse::<u32>().ok().filter(|n| (1..=options).contains(&(*n as usize)));
            match chosen {
                Some(option) => fits(ask == Ask::Choice, Ok(Answer::Chose { option: option - 1 })),
                None => fits(false, Ok(Answer::No)),
            }
        }
    }
}

async fn say(
    settings: &Settings,
    vault: &Vault,
    known: &Known,
    person: &super::sign::Person,
    request: Request,
) -> anyhow::Result<Exit> {
    let signature = person.sign(&statement(&known.id, &request)).await?;
    let sent = send(vault, &known.id, &actor(), request.clone(), signature).await;
    let number = sent.context("the vault did not take it; nothing was said")?;
    let deadline = tokio::time::Instant::now() + HEARING;
    let mut heard = load(vault, &known.id).await?;
    while heard.heard < number && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
        heard = load(vault, &known.id).await?;
    }
    let is_heard = heard.heard >= number;
    let refused = heard.refused.get(&number).cloned();
    let spoken = Spoken {
        run: &known.id,
        by: &person.name,
        request: &request,
        heard: is_heard,
        refused: refused.clone(),
    };
    settings.output.result("run.spoken", &spoken, |style| match (&refused, is_heard) {
        (Some(why), _) => format!("{}\n", style.paint(Tone::Bad, &format!("it came to nothing: {}", clean(why)))),
        (None, true) => format!("{}\n", style.paint(Tone::Good, "heard")),
        (None, false) => format!(
            "{}\n",
            style.paint(
                Tone::Doubtful,
                "it is in the vault, and nobody carries the run now: it counts as soon as somebody does (`lifeboat \
                 run resume`, `lifeboat serve`)"
            )
        ),
    })?;
    Ok(if refused.is_some() { Exit::Findings } else { Exit::Good })
}
