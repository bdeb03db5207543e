//! Carries runs from this process, and tells what happens.

use super::words;
use crate::commands::run::words::ways;
use crate::journal::actor;
use crate::output::{Output, Tone, clean};
use crate::settings::Settings;
use crate::show;
use jiff::Timestamp;
use lifeboat_actions::{Hands, Tools};
use lifeboat_core::run::Event;
use lifeboat_engine::run::{AttendOptions, Attended, CarryOptions, Known, RunId, RunTold, attend};
use lifeboat_vault::Vault;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::watch;

/// One thing that happened in a run, for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventView<'a> {
    time: Timestamp,
    run: &'a RunId,
    #[serde(flatten)]
    told: ToldView<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum ToldView<'a> {
    Event(&'a Event),
    Output(&'a lifeboat_engine::run::Output),
    Trouble { step: u32, why: &'a str },
    Refused { why: &'a str },
}

/// What this process carries runs with.
#[must_use]
pub(super) fn carry_options(settings: &Settings, vault: &Vault) -> CarryOptions {
    let teller = settings.clone();
    let output = settings.output.clone();
    let lines = move |_: &str, line: &str| {
        if !output.is_json() {
            output.say(format!("    │ {}", clean(line)));
        }
    };
    CarryOptions {
        vault: vault.clone(),
        actions: Arc::new(Hands::new(Tools::of_this_process(Arc::new(lines)))),
        actor: actor(),
        observer: Arc::new(move |known, told| tell(&teller, known, &told)),
    }
}

/// Carries on, beside whatever else this process does, all runs that nobody carries.
#[must_use]
pub fn attend_beside(
    settings: &Settings,
    vault: &Vault,
    stop: watch::Receiver<bool>,
) -> tokio::task::JoinHandle<()> {
    let output = settings.output.clone();
    let options = AttendOptions {
        carry: Arc::new(carry_options(settings, vault)),
        observer: Arc::new(move |id, attended| told_of(&output, id, &attended)),
    };
    tokio::spawn(attend(options, stop))
}

fn told_of(output: &Output, id: &RunId, attended: &Attended) {
    if let Attended::Left(why) = attended {
        output.warn(format!("run {id} is not carried on here: {why}"));
    }
}

fn tell(settings: &Settings, known: &Known, told: &RunTold) {
    let now = settings.clock.now();
    let (time, view) = match told {
        RunTold::Event(event, time) => (*time, ToldView::Event(event)),
        RunTold::Output(output) => (now, ToldView::Output(output)),
        RunTold::Trouble(step, why) => (now, ToldView::Trouble { step: step.0, why }),
        RunTold::Refused(why) => (now, ToldView::Refused { why }),
    };
    let output = &settings.output;
    if output.is_json() {
        let view = EventView { time, run: &known.id, told: view };
        if let Err(error) = output.event("run.event", &view, |_| String::new()) {
            output.warn(format!("{error:#}"));
        }
        return;
    }
    match told {
        RunTold::Event(event, time) => {
            if let Some((text, tone)) = words::event(known, event) {
                line(output, *time, &text, tone);
            }
            if let Event::Asked { step, ask, .. } = event {
                for way in ways(known, *step, ask) {
                    output.say(format!("    {way}"));
                }
            }
        }
        // Shown while it was printed.
        RunTold::Output(_) => {}
        RunTold::Trouble(step, why) => {
            line(output, now, &format!("{}: {}", words::step(known, *step), clean(why)), Tone::Bad);
        }
        RunTold::Refused(why) => {
            line(output, now, &format!("a word came to nothing: {}", clean(why)), Tone::Bad);
        }
    }
}

fn line(output: &Output, time: Timestamp, text: &str, tone: Tone) {
    output.say_styled(|style| {
        format!("{} {}", style.paint(Tone::Faint, &show::time(time)), style.paint(tone, text))
    });
}
