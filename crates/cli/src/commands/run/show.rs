//! `lifeboat run show`: one run, from the vault alone (Z2).

use super::{Which, words};
use crate::output::{Exit, Style, Tone, clean};
use crate::settings::Settings;
use crate::{show, signals};
use jiff::Timestamp;
use lifeboat_base::format_duration;
use lifeboat_core::run::{Ask, Ending, Event, Outcome, Side, Standing, StepNumber, standing};
use lifeboat_engine::run::{Known, RunId, load, output};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Between two looks of `--follow`.
const LOOK: Duration = Duration::from_secs(1);
/// So many lines of the newest text are shown.
const LINES: usize = 12;

/// Arguments of `lifeboat run show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run, or `latest`.
    id: Which,
    /// Show it again whenever something happens, until it is over.
    #[arg(long, short)]
    follow: bool,
    /// All that this step printed, instead.
    #[arg(long, value_name = "STEP", conflicts_with = "follow")]
    output: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunView<'a> {
    run: &'a RunId,
    runbook: &'a str,
    target: &'a str,
    requester: &'a str,
    plan_hash: &'a str,
    at: Timestamp,
    state: String,
    over: bool,
    steps: Vec<StepView<'a>>,
    events: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepView<'a> {
    number: u32,
    id: &'a str,
    title: &'a str,
    class: &'static str,
    state: String,
    shown: &'a str,
    hash: &'a str,
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
    expected_seconds: Option<u64>,
    approvals: Vec<&'a str>,
    asked: Option<&'a Ask>,
}

#[derive(Serialize)]
struct Printed {
    text: String,
}

/// Shows it.
///
/// # Errors
/// If the vault cannot be read.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<Exit> {
    let vault = settings.open().await?.vault;
    let id = args.id.find(&vault).await?;
    let mut known = load(&vault, &id).await?;
    if let Some(text) = &args.output {
        let step = super::step_of(&known, text)?;
        return printed(settings, &vault, &known, step).await;
    }
    if !args.follow {
        let now = settings.clock.now();
        settings.output.result("run.show", &view(&known, now), |style| page(style, &known, now))?;
        return Ok(exit(&known));
    }
    let mut stop = signals::stopping();
    let mut shown = None;
    loop {
        let now = settings.clock.now();
        let seen = (known.events.len(), known.outputs.len());
        if shown != Some(seen) || settings.output.is_watched() {
            settings.output.event("run.show", &view(&known, now), |style| {
                // On a terminal, over what stood there.
                let clear = if settings.output.is_watched() { "\x1b[H\x1b[2J" } else { "" };
                format!("{clear}{}", page(style, &known, now))
            })?;
            shown = Some(seen);
        }
        if known.state.ending().is_some() {
            return Ok(exit(&known));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = signals::asked(&mut stop) => return Ok(Exit::Good),
        }
        known = load(&vault, &id).await?;
    }
}

/// Good unless it ended otherwise than it should.
fn exit(known: &Known) -> Exit {
    match known.state.ending() {
        None | Some(Ending::Completed | Ending::Led { .. }) => Exit::Good,
        Some(_) => Exit::Findings,
    }
}

async fn printed(
    settings: &Settings,
    vault: &lifeboat_vault::Vault,
    known: &Known,
    step: StepNumber,
) -> anyhow::Result<Exit> {
    let long = output(vault, &known.id, step).await?;
    let short = known.outputs.iter().filter(|output| output.step == step && output.whole_bytes.is_none());
    let text: String = short.map(|output| output.text.as_str()).chain([long.as_str()]).collect();
    settings.output.result("run.output", &Printed { text: text.clone() }, |_| {
        text.lines().map(|line| format!("{}\n", clean(line))).collect()
    })?;
    Ok(Exit::Good)
}

/// When a step was last begun, and when that came to something.
fn times(known: &Known, of: StepNumber) -> (Option<Timestamp>, Option<Timestamp>) {
    let (mut began, mut ended) = (None, None);
    for (event, at) in &known.events {
        match event {
            Event::Intended { step, side: Side::Act, .. } if *step == of => {
                (began, ended) = (Some(*at), None)
            }
            Event::Asked { step, ask: Ask::Work | Ask::Choice, .. } if *step == of => began = Some(*at),
            Event::Came { step, side: Side::Act, .. }
            | Event::Verified { step, .. }
            | Event::Answered { step, .. }
                if *step == of =>
            {
                ended = Some(*at);
            }
            _ => {}
        }
    }
    (began, ended)
}

/// Who agreed to a step, each once.
fn approvals(known: &Known, of: StepNumber) -> Vec<&str> {
    let mut who: Vec<&str> = Vec::new();
    for (event, _) in &known.events {
        if let Event::Approved { step, by, .. } | Event::BrokeGlass { step, by, .. } = event
            && *step == of
            && !who.contains(&by.as_str())
        {
            who.push(by);
        }
    }
    who
}

fn view(known: &Known, now: Timestamp) -> RunView<'_> {
    let steps = (0..).map(StepNumber).zip(&known.steps).map(|(number, step)| {
        let (began, ended) = times(known, number);
        StepView {
            number: number.0 + 1,
            id: &step.id,
            title: &step.title,
            class: words::class(step.rules.class),
            state: words::standing(&standing(&known.rules, &known.state, number, now)).1,
            shown: &step.shown,
            hash: &step.hash,
            began,
            ended,
            expected_seconds: step.expected,
            approvals: approvals(known, number),
            asked: known.state.asked().find(|(of, _, _)| *of == number).map(|(_, ask, _)| ask),
        }
    });
    RunView {
        run: &known.id,
        runbook: &known.begun.runbook,
        target: &known.begun.target,
        requester: &known.begun.requester,
        plan_hash: &known.begun.plan_hash,
        at: known.at,
        state: words::state(known).0,
        over: known.state.ending().is_some(),
        steps: steps.collect(),
        events: known.events.len(),
    }
}

fn elapsed(from: Timestamp, to: Timestamp) -> String {
    format_duration(Duration::try_from(to.duration_since(from)).unwrap_or_default())
}

fn page(style: &Style, known: &Known, now: Timestamp) -> String {
    let (state, tone) = words::state(known);
    let begun = &known.begun;
    let over = known.state.ending().and(known.events.last()).map_or(now, |(_, at)| *at);
    let mut out = format!(
        "run {}: {} ({})  {}\nasked for by {} at {}, {} ago\n\n",
        known.id,
        style.paint(Tone::Strong, &clean(&begun.runbook)),
        clean(&begun.target),
        style.paint(tone, &state),
        clean(&begun.requester),
        show::time(known.at),
        elapsed(known.at, over),
    );
    let mut asks = Vec::new();
    for (number, step) in (0..).map(StepNumber).zip(&known.steps) {
        let at = standing(&known.rules, &known.state, number, now);
        let (mark, words, tone) = words::standing(&at);
        let mut line = format!("{:>3} {} {}", number.0 + 1, style.paint(tone, mark), clean(&step.title));
        let (began, ended) = times(known, number);
        let mut facts = vec![words];
        if let Some(began) = began {
            facts.push(elapsed(began, ended.unwrap_or(over)));
        }
        if let Some(expected) = step.expected {
            facts.push(format!("expected {}", format_duration(Duration::from_secs(expected))));
        }
        let agreed = approvals(known, number);
        if step.rules.approvals > 0 {
            let who =
                if agreed.is_empty() { String::new() } else { format!(": {}", clean(&agreed.join(", "))) };
            facts.push(format!("{} of {} agreed{who}", agreed.len(), step.rules.approvals));
        }
        let _ = write!(line, "  {}", style.paint(Tone::Faint, &facts.join(" · ")));
        let _ = writeln!(out, "{line}");
        if let Standing::Ask(ask) = at {
            asks.push((number, ask));
        }
    }
    for (number, ask) in asks {
        let _ = writeln!(
            out,
            "\n{}",
            style.paint(Tone::Doubtful, &format!("{}: {}", words::step(known, number), words::asked(&ask)))
        );
        if let Some(why) = last_trouble(known, number) {
            let _ = writeln!(out, "  {}", clean(&why));
        }
        if let Some(step) = known.steps.get(number.0 as usize) {
            for line in step.notes.iter().flat_map(|note| note.lines()).chain(step.shown.lines()) {
                let _ = writeln!(out, "  {}", clean(line));
            }
        }
        for way in words::ways(known, number, &ask) {
            let _ = writeln!(out, "    {way}");
        }
    }
    if let Some(last) = known.outputs.last().filter(|last| !last.text.trim().is_empty()) {
        let _ =
            writeln!(out, "\n{}", style.paint(Tone::Faint, &format!("step {} printed:", last.step.0 + 1)));
        let lines: Vec<&str> = last.text.lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            let _ = writeln!(out, "  │ {}", clean(line));
        }
    }
    out
}

/// Why a step last failed, or was not as wanted.
fn last_trouble(known: &Known, of: StepNumber) -> Option<String> {
    known.events.iter().rev().find_map(|(event, _)| match event {
        Event::Came { step, outcome: Outcome::Failed { why } | Outcome::Unknown { why }, .. }
            if *step == of =>
        {
            Some(why.clone())
        }
        Event::Verified { step, wrong: Some(why) } if *step == of => Some(why.clone()),
        _ => None,
    })
}
