//! `lifeboat plan`: everything that is wrong with a plan, what a plan may say, and what a recovery document says that
//! would go wrong.

mod diff;
mod import;
mod lint;
mod render;
mod show;
mod written;

use crate::failure::Next;
use crate::output::{Exit, Tone};
use crate::settings::{DEFAULT_PLAN, Settings, read_plan_text};
use anyhow::Context;
use lifeboat_plan::{Finding, Severity};
use serde::Serialize;
use std::path::PathBuf;

/// What `lifeboat plan` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show every error with line, column and the nearest right key
    Check {
        /// The plan [default: --plan, else lifeboat.yaml].
        file: Option<PathBuf>,
    },
    /// Find what would go wrong on the day with a recovery document (Markdown) or a plan
    Lint(lint::Arguments),
    /// Say in words what changed from one plan to another
    Diff {
        /// The plan as it was.
        from: PathBuf,
        /// The plan as it is.
        to: PathBuf,
    },
    /// Turn a recovery document (Markdown) into a plan, or bring a plan up to date with it
    Import(import::Arguments),
    /// Write a plan as the document for people and auditors: Markdown or HTML
    Render(render::Arguments),
    /// Show a plan as a person reads it
    Show {
        /// The plan [default: --plan, else lifeboat.yaml].
        file: Option<PathBuf>,
    },
    /// Print the JSON Schema of a plan, for editors
    Schema,
}

#[derive(Serialize)]
struct Checked {
    file: String,
    valid: bool,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

/// Runs it.
///
/// # Errors
/// If the plan cannot be read.
pub fn run(settings: &Settings, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Check { file } => check(settings, file.clone()),
        Command::Lint(arguments) => lint::run(settings, arguments),
        Command::Diff { from, to } => diff::run(settings, from, to),
        Command::Import(arguments) => import::run(settings, arguments),
        Command::Render(arguments) => render::run(settings, arguments),
        Command::Show { file } => show::run(settings, file.clone()),
        Command::Schema => {
            let text = serde_json::to_string_pretty(&lifeboat_plan::schema()).context("write JSON")?;
            settings.output.data(&format!("{text}\n"))?;
            Ok(Exit::Good)
        }
    }
}

/// The plan that is named, else the one that is used; and its text.
fn read(settings: &Settings, file: Option<PathBuf>) -> anyhow::Result<(PathBuf, String)> {
    let path = file.or_else(|| settings.plan_path()).unwrap_or_else(|| DEFAULT_PLAN.into());
    match read_plan_text(&path) {
        Err(error) if !path.exists() => {
            Err(error).next("name the plan, or write a first one with `lifeboat init`")
        }
        text => Ok((path, text?)),
    }
}

fn check(settings: &Settings, file: Option<PathBuf>) -> anyhow::Result<Exit> {
    let (path, text) = read(settings, file)?;
    let findings = match lifeboat_plan::load(&text) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    };
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let file = path.display().to_string();
    let checked = Checked { file: file.clone(), valid: errors == 0, errors, warnings, findings };
    settings.output.result("plan.check", &checked, |style| {
        let mut out = String::new();
        for finding in &checked.findings {
            let shown = lifeboat_plan::render(finding, &file, &text);
            let (first, rest) = shown.split_once('\n').unwrap_or((&shown, ""));
            let tone = if finding.severity == Severity::Error { Tone::Bad } else { Tone::Doubtful };
            out.push_str(&format!("{}\n{rest}\n", style.paint(tone, first)));
        }
        let warned = match warnings {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            count => format!(", {count} warnings"),
        };
        let (tone, verdict) = match errors {
            0 => (Tone::Good, format!("{file} is a plan that can be used{warned}")),
            1 => (Tone::Bad, format!("{file}: 1 error{warned}")),
            count => (Tone::Bad, format!("{file}: {count} errors{warned}")),
        };
        out.push_str(&format!("{}\n", style.paint(tone, &verdict)));
        out
    })?;
    Ok(if errors == 0 { Exit::Good } else { Exit::Findings })
}
