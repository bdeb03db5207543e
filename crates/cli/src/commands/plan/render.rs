//! `lifeboat plan render`: a plan as the document that people and auditors read.
//!
//! # Invariants
//! - **W1 whole or not at all.** The page is written beside its place and moved there.
//! - **W2 nothing of others is lost.** A file that was not rendered from a plan is replaced only with `--force`.

use super::show::load;
use super::written;
use crate::failure::Next;
use crate::output::{Exit, clean};
use crate::settings::Settings;
use anyhow::{Context, bail};
use lifeboat_plan::rendering;
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How much of a file is looked at for the mark of a rendered plan.
const HEAD_BYTES: u64 = 4096;

/// What `lifeboat plan render` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The plan [default: --plan, else lifeboat.yaml].
    file: Option<PathBuf>,
    /// Markdown, which `plan import` reads back, or HTML, one file for the browser and the printer.
    #[arg(long, value_enum, default_value_t = Format::Md)]
    format: Format,
    /// Where the page goes; one that was rendered before is replaced [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace whatever file is there.
    #[arg(long, requires = "output")]
    force: bool,
}

/// How a plan is written for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Md,
    Html,
}

#[derive(Serialize)]
struct Rendered {
    plan: String,
    format: Format,
    file: Option<String>,
    bytes: usize,
    text: Option<String>,
}

/// Runs it.
///
/// # Errors
/// If the plan cannot be read or is none, or the page cannot be written.
pub fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<Exit> {
    let shown = load(settings, arguments.file.clone())?;
    let text = match arguments.format {
        Format::Md => rendering::markdown(&shown.plan),
        Format::Html => rendering::html(&shown.plan),
    };
    if let Some(path) = &arguments.output {
        if !arguments.force {
            is_ours(path)?;
        }
        written::whole(path, &text)?;
    }
    let rendered = Rendered {
        plan: shown.file,
        format: arguments.format,
        file: arguments.output.as_ref().map(|path| path.display().to_string()),
        bytes: text.len(),
        text: arguments.output.is_none().then(|| text.clone()),
    };
    if settings.output.is_json() {
        settings.output.result("plan.render", &rendered, |_| String::new())?;
    } else {
        match &rendered.file {
            Some(file) => settings.output.say(format!("written to {}", clean(file))),
            None => settings.output.data(&text)?,
        }
    }
    Ok(Exit::Good)
}

/// W2.
fn is_ours(path: &Path) -> anyhow::Result<()> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("{} is there and cannot be read", path.display()))
                .next("name another file with -o, or replace this one with --force");
        }
    };
    let mut head = Vec::new();
    file.take(HEAD_BYTES)
        .read_to_end(&mut head)
        .with_context(|| format!("{} is there and cannot be read", path.display()))
        .next("name another file with -o, or replace this one with --force")?;
    if head.is_empty() || rendering::is_rendered(&String::from_utf8_lossy(&head)) {
        return Ok(());
    }
    let refuse =
        || bail!("{} is there and was not rendered from a plan; it was left as it is", path.display());
    refuse().next("name another file with -o, or replace this one with --force")
}
