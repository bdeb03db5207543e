//! `lifeboat plan import`: a recovery document as a plan; again over a plan that people have worked on, as a merge.

use super::{lint, written};
use crate::failure::{Next, guided};
use crate::output::{Exit, Style, Tone};
use crate::settings::{Settings, read_plan_text};
use anyhow::anyhow;
use lifeboat_plan::import::{self, Change, Coverage, Did, Imported, MergeError, Missed};
use lifeboat_plan::{Plan, Severity};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What `lifeboat plan import` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The document (Markdown); `-` is standard input.
    document: PathBuf,
    /// Where the plan goes; into a plan that is there already, what the document says now is merged [default: standard
    /// output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fail, and write nothing, if anything of the document was not understood.
    #[arg(long)]
    strict: bool,
    /// Show how much of each section was understood.
    #[arg(long)]
    report: bool,
}

#[derive(Serialize)]
struct Told {
    document: String,
    file: Option<String>,
    plan: Plan,
    missed: Vec<Missed>,
    sections: Vec<Coverage>,
    changes: Vec<Change>,
    conflicts: usize,
}

/// Runs it.
///
/// # Errors
/// If the document cannot be read, or the plan not be merged or written.
pub fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<Exit> {
    let source = lint::read(&arguments.document)?;
    let standard = arguments.document.as_os_str() == "-";
    let name = match arguments.document.file_name() {
        Some(name) if !standard => name.to_string_lossy().into_owned(),
        _ => "document.md".to_owned(),
    };
    let imported = import::markdown(&source, &name);
    let old = match &arguments.output {
        Some(path) if path.exists() => Some((path, read_plan_text(path)?)),
        _ => None,
    };
    let (plan, text, changes) = match old {
        Some((path, old)) => merged(&imported, path, &old)?,
        None => (imported.plan.clone(), lifeboat_plan::write(&imported.plan), Vec::new()),
    };
    checked(&text)?;
    let conflicts = changes.iter().filter(|change| change.did == Did::Conflict).count();
    let fails = arguments.strict && !imported.missed.is_empty();
    if let Some(path) = arguments.output.as_ref().filter(|_| !fails) {
        written::whole(path, &text)?;
    }
    let told = Told {
        document: if standard {
            "standard input".to_owned()
        } else {
            arguments.document.display().to_string()
        },
        file: arguments.output.as_ref().map(|path| path.display().to_string()),
        plan,
        missed: imported.missed,
        sections: imported.coverage,
        changes,
        conflicts,
    };
    let to_file = arguments.output.is_some();
    if settings.output.is_json() {
        settings.output.result("plan.import", &told, |_| String::new())?;
    } else if !to_file && !arguments.report && !fails {
        settings.output.data(&text)?;
    }
    settings.output.say_styled(|style| talk(style, &told, fails));
    if arguments.report && !settings.output.is_json() {
        settings.output.result("plan.import", &told, |style| report(style, &told))?;
    }
    Ok(if fails || conflicts > 0 { Exit::Findings } else { Exit::Good })
}

/// What the document says now, in a plan that people have worked on.
fn merged(imported: &Imported, path: &Path, old: &str) -> anyhow::Result<(Plan, String, Vec<Change>)> {
    let file = path.display();
    let loaded = lifeboat_plan::load(old).map_err(|findings| {
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        guided(
            anyhow!(
                "{file} is there and is no plan that can be used: {errors} error{}",
                if errors == 1 { "" } else { "s" }
            ),
            format!("`lifeboat plan check {file}` shows what is wrong; or name another file with -o"),
        )
    })?;
    let merged = import::merge(&loaded.plan, imported).map_err(|error| {
        let next = match error {
            MergeError::NoOrigin => {
                "import into another file with -o, and take over from there what you want; or move this one away".to_owned()
            }
            MergeError::OtherDocument(_) => {
                "name the plan of this document with -o; if the document was renamed, change `origin.document` in the plan"
                    .to_owned()
            }
            MergeError::NoPlan(_) => format!(
                "import into another file with -o, compare it with {file}, and change what does not fit together"
            ),
        };
        guided(anyhow::Error::new(error).context(format!("{file} was left as it is")), next)
    })?;
    let text = import::write_over(&merged.plan, old);
    Ok((merged.plan, text, merged.changes))
}

/// What is written is a plan: what people changed and what the document says now may not fit together.
fn checked(text: &str) -> anyhow::Result<()> {
    let Err(findings) = lifeboat_plan::load(text) else { return Ok(()) };
    let wrong: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.message.as_str())
        .take(3)
        .collect();
    Err(anyhow!("{}", wrong.join("; ")).context("what would be written is no plan that can be used"))
        .next("import into a new file with -o, and merge by hand")
}

fn talk(style: &Style, told: &Told, fails: bool) -> String {
    let mut out = String::new();
    for missed in &told.missed {
        let mark = style.paint(Tone::Faint, &format!("{}:{}:", told.document, missed.line));
        _ = writeln!(out, "{mark} {}", crate::output::clean(&missed.reason));
    }
    for change in &told.changes {
        let line = change.line.map_or(String::new(), |line| format!(" (line {line})"));
        let path = crate::output::clean(&change.path);
        let text = match change.did {
            Did::Added => format!("new: {path}{line}"),
            Did::Followed => format!("follows the document: {path}{line}"),
            Did::Removed => format!("no more in the document, taken out: {path}"),
            Did::Conflict => {
                let text =
                    format!("changed by people and in the document{line}; left as people have it: {path}");
                style.paint(Tone::Doubtful, &text)
            }
        };
        _ = writeln!(out, "{text}");
    }
    let sum = |of: fn(&Coverage) -> usize| told.sections.iter().map(of).sum::<usize>();
    let (lines, captured) = (sum(|of| of.lines), sum(|of| of.captured));
    let (commands, kept) = (sum(|of| of.commands), sum(|of| of.commands_captured));
    let what = format!(
        "{captured} of {lines} lines and {kept} of {commands} commands became fields of the plan; {}",
        match told.missed.len() {
            0 => "all was understood".to_owned(),
            1 => "1 thing was not understood".to_owned(),
            count => format!("{count} things were not understood"),
        }
    );
    let tone = if told.missed.is_empty() { Tone::Good } else { Tone::Doubtful };
    _ = write!(out, "{}", style.paint(tone, &what));
    match (&told.file, fails) {
        (_, true) => {
            _ = write!(
                out,
                "\n{}",
                style.paint(Tone::Bad, "nothing was written: --strict takes no such document")
            )
        }
        (Some(file), false) => {
            _ = write!(out, "\nwritten to {}; `lifeboat plan show {0}` shows it", crate::output::clean(file));
        }
        (None, false) => {}
    }
    out
}

fn report(style: &Style, told: &Told) -> String {
    let mut table =
        crate::output::Table::new(&["LINE", "SECTION", "LINES", "CAPTURED", "NOTED", "COMMANDS", "CAPTURED"]);
    let mut all = [0; 5];
    for of in &told.sections {
        let counts = [of.lines, of.captured, of.noted, of.commands, of.commands_captured];
        all.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        let title: String = of.title.chars().take(60).collect();
        table.row([of.line.to_string(), title].into_iter().chain(counts.map(|count| count.to_string())));
    }
    table.row([String::new(), "all".to_owned()].into_iter().chain(all.map(|count| count.to_string())));
    table.render(style)
}
