//! `lifeboat runbook`: looks at runbooks before they are needed, and writes them out for the day without Lifeboat.

use crate::failure::Next;
use crate::output::{Exit, Tone, clean};
use crate::settings::{PlanFile, Settings};
use anyhow::{Context, anyhow};
use lifeboat_core::runbook::{Problem, cautions, script, shipped, shipped_names, template};
use lifeboat_plan::Plan;
use serde::Serialize;
use std::path::PathBuf;

/// What `lifeboat runbook` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Look whether the plan's runbooks can be carried out, and what would trouble them
    Check {
        /// These alone [default: all].
        names: Vec<String>,
    },
    /// Print one of the runbooks that come with Lifeboat, to be taken into the plan below `runbooks`
    New {
        /// Which [default: their names are printed].
        #[arg(requires = "service")]
        name: Option<String>,
        /// The service that it is about.
        #[arg(long)]
        service: Option<String>,
    },
    /// Write a runbook out, to be followed without Lifeboat
    Export(ExportArgs),
}

/// Arguments of `lifeboat runbook export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The runbook.
    name: String,
    /// As a script for `sh`, which asks before each step.
    #[arg(long, required_unless_present = "html", conflicts_with = "html")]
    shell: bool,
    /// As a page that reads and prints well, in one file.
    #[arg(long)]
    html: bool,
    /// Into this file [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    runbooks: Vec<CheckedRunbook>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckedRunbook {
    runbook: String,
    steps: usize,
    problems: Vec<String>,
    cautions: Vec<CautionView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CautionView {
    step: usize,
    what: &'static str,
    mend: &'static str,
}

/// Does it.
///
/// # Errors
/// If there is no plan, or no such runbook.
pub async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::New { name, service } => new(settings, name.as_deref(), &service.unwrap_or_default()),
        Command::Check { names } => check(settings, &plan(settings).await?, &names),
        Command::Export(args) => export(settings, &plan(settings).await?, &args),
    }
}

/// The plan at hand, else the vault's.
async fn plan(settings: &Settings) -> anyhow::Result<PlanFile> {
    match settings.plan_file()? {
        Some(plan) => Ok(plan),
        None => Ok(settings.open().await?.required_plan()?.clone()),
    }
}

fn new(settings: &Settings, name: Option<&str>, service: &str) -> anyhow::Result<Exit> {
    let Some(name) = name else {
        settings.output.data(&shipped_names().map(|name| format!("{name}\n")).collect::<String>())?;
        return Ok(Exit::Good);
    };
    let text = shipped(name, service).ok_or_else(|| anyhow!("no runbook `{name}` comes with Lifeboat"));
    let known: Vec<&str> = shipped_names().collect();
    settings.output.data(&text.next(format!("there are {}", known.join(", ")))?)?;
    Ok(Exit::Good)
}

fn problems(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn check(settings: &Settings, plan: &PlanFile, names: &[String]) -> anyhow::Result<Exit> {
    let all = || plan.plan.runbooks.keys().map(ToString::to_string).collect();
    let wanted: Vec<String> = if names.is_empty() { all() } else { names.to_vec() };
    if wanted.is_empty() {
        return Err(anyhow!("the plan has no runbooks"))
            .next("write some under `runbooks`; docs/runbooks.md says how");
    }
    let of = |name: String| match template(&plan.plan, &name) {
        Ok(steps) => CheckedRunbook {
            cautions: cautions(&steps)
                .into_iter()
                .map(|caution| CautionView { step: caution.step, what: caution.what, mend: caution.mend })
                .collect(),
            runbook: name,
            steps: steps.len(),
            problems: Vec::new(),
        },
        Err(found) => {
            CheckedRunbook { runbook: name, steps: 0, problems: problems(&found), cautions: Vec::new() }
        }
    };
    let checked = Checked { runbooks: wanted.into_iter().map(of).collect() };
    let is_sound = checked.runbooks.iter().all(|runbook| runbook.problems.is_empty());
    settings.output.result("runbook.check", &checked, |style| {
        let mut out = String::new();
        for runbook in &checked.runbooks {
            let (tone, verdict) = match (runbook.problems.len(), runbook.cautions.len()) {
                (0, 0) => (Tone::Good, format!("{} steps, ready", runbook.steps)),
                (0, _) => {
                    (Tone::Doubtful, format!("{} steps, can be carried out; to be known:", runbook.steps))
                }
                _ => (Tone::Bad, "cannot be carried out:".to_owned()),
            };
            out.push_str(&format!("{}: {}\n", clean(&runbook.runbook), style.paint(tone, &verdict)));
            for problem in &runbook.problems {
                out.push_str(&format!("  {}\n", clean(problem)));
            }
            let mut told: Vec<(&str, &str, Vec<String>)> = Vec::new();
            for caution in &runbook.cautions {
                match told.iter_mut().find(|(what, ..)| *what == caution.what) {
                    Some((.., steps)) => steps.push(caution.step.to_string()),
                    None => told.push((caution.what, caution.mend, vec![caution.step.to_string()])),
                }
            }
            for (what, mend, steps) in told {
                out.push_str(&format!(
                    "  step {}: {what}\n    {}\n",
                    steps.join(", "),
                    style.paint(Tone::Faint, mend)
                ));
            }
        }
        out
    })?;
    Ok(if is_sound { Exit::Good } else { Exit::Findings })
}

fn export(settings: &Settings, file: &PlanFile, args: &ExportArgs) -> anyhow::Result<Exit> {
    let steps =
        template(&file.plan, &args.name).map_err(|found| anyhow!("{}", problems(&found).join("\n")))?;
    let found = file.plan.runbooks.iter().find(|(name, _)| name.as_str() == args.name);
    let (label, runbook) = found.context("the runbook was there a moment ago")?;
    let text = if args.shell {
        script(file.plan.metadata.name.as_str(), &args.name, runbook, &steps)
    } else {
        let alone = Plan {
            runbooks: [(label.clone(), runbook.clone())].into(),
            scenarios: Vec::new(),
            checklists: Vec::new(),
            calendar: Default::default(),
            duties: Default::default(),
            notes: Vec::new(),
            ..file.plan.clone()
        };
        lifeboat_plan::rendering::html(&alone)
    };
    match &args.output {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
            settings.output.say(format!("written: {}", path.display()));
        }
        None => settings.output.data(&text)?,
    }
    Ok(Exit::Good)
}
