//! `lifeboat plan lint`: what would go wrong on the day with a recovery document.

use crate::failure::{Next, guided};
use crate::output::{Exit, Style, Tone};
use crate::settings::Settings;
use anyhow::{Context, anyhow};
use lifeboat_plan::document::MAX_DOCUMENT_BYTES;
use lifeboat_plan::lint::{self, Finding, Level, Options, Rule};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where the pages of the rules are read, for tools that link to them.
const PAGES: &str = "docs/lint";

/// What `lifeboat plan lint` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The documents (Markdown, or plans); `-` is standard input.
    #[arg(required_unless_present = "explain", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How findings are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The lightest finding that fails; lighter ones are shown.
    #[arg(long, value_enum, default_value_t = Lightest::Warning)]
    level: Lightest,
    /// Mend what can be mended without a question, in place.
    #[arg(long)]
    fix: bool,
    /// Tell of a rule, by code or name, instead of looking at documents.
    #[arg(long, value_name = "CODE", conflicts_with = "files")]
    explain: Option<String>,
    /// The day on which documents are judged [default: the machine's].
    #[arg(long, value_name = "YYYY-MM-DD")]
    today: Option<jiff::civil::Date>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// As `--json`.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations of a GitHub Actions run.
    Github,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Lightest {
    /// Everything.
    Note,
    /// Warnings and errors.
    Warning,
    /// Errors alone.
    Error,
}

#[derive(Serialize)]
struct Linted {
    level: Level,
    errors: usize,
    warnings: usize,
    notes: usize,
    mended: usize,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    file: String,
    findings: Vec<Finding>,
    #[serde(skip)]
    source: String,
}

/// Runs it.
///
/// # Errors
/// If a document cannot be read, or not be written back.
pub fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<Exit> {
    if let Some(code) = &arguments.explain {
        return explain(settings, code);
    }
    let sources: Vec<(PathBuf, String)> = arguments
        .files
        .iter()
        .map(|path| read(path).map(|source| (path.clone(), source)))
        .collect::<anyhow::Result<_>>()?;
    let today =
        arguments.today.unwrap_or_else(|| settings.clock.now().to_zoned(jiff::tz::TimeZone::system()).date());
    let mut mended = 0;
    let mut files = Vec::new();
    for (path, mut source) in sources {
        let tree = work_tree(&path);
        let exists = |name: &str| tree.as_ref().is_none_or(|tree| tree.has(name));
        let options = Options { today, files: tree.as_ref().map(|_| &exists as &dyn Fn(&str) -> bool) };
        let look = |source: &str| {
            if is_plan(&path, source) {
                lint::plan(source, &options)
            } else {
                lint::markdown(source, &options)
            }
        };
        let mut findings = look(&source);
        if arguments.fix && path.as_os_str() != "-" {
            let (fixed, count) = lint::apply(&source, &findings);
            if count > 0 {
                std::fs::write(&path, &fixed)
                    .with_context(|| format!("{} cannot be written", path.display()))?;
                mended += count;
                findings = look(&fixed);
                source = fixed;
            }
        }
        let file =
            if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() };
        files.push(File { file, findings, source });
    }
    let level = match arguments.level {
        Lightest::Note => Level::Note,
        Lightest::Warning => Level::Warning,
        Lightest::Error => Level::Error,
    };
    let count =
        |level| files.iter().flat_map(|file| &file.findings).filter(|finding| finding.level == level).count();
    let (errors, warnings, notes) = (count(Level::Error), count(Level::Warning), count(Level::Note));
    let linted = Linted { level, errors, warnings, notes, mended, files };
    let fails = linted.files.iter().flat_map(|file| &file.findings).any(|finding| finding.level >= level);
    match arguments.format {
        Format::Text => settings.output.result("plan.lint", &linted, |style| text(style, &linted))?,
        Format::Json => {
            settings.output.clone().into_json().result("plan.lint", &linted, |_| String::new())?
        }
        Format::Sarif => {
            let text = serde_json::to_string_pretty(&sarif(&linted)).context("write JSON")?;
            settings.output.data(&format!("{text}\n"))?;
        }
        Format::Github => settings.output.data(&github(&linted))?,
    }
    Ok(if fails { Exit::Findings } else { Exit::Good })
}

fn explain(settings: &Settings, code: &str) -> anyhow::Result<Exit> {
    let Some(rule) = lint::rule(code) else {
        let codes = lint::rules().flat_map(|rule| [rule.code, rule.name]);
        let next = match lifeboat_plan::nearest(code, codes) {
            Some(near) => format!("the nearest is {near}; docs/lint lists them all"),
            None => "docs/lint lists them all".to_owned(),
        };
        return Err(guided(anyhow!("there is no rule {code}"), next));
    };
    settings.output.data(rule.page)?;
    Ok(Exit::Good)
}

/// A document's text; what is too long is cut where the lint stops reading anyway.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let failed = || format!("{} cannot be read", path.display());
    let limit = MAX_DOCUMENT_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).with_context(failed)?;
    } else {
        let file = std::fs::File::open(path).with_context(failed).next("name the document to look at")?;
        file.take(limit).read_to_end(&mut bytes).with_context(failed)?;
    }
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(anyhow!("{}: it has more than {MAX_DOCUMENT_BYTES} bytes", failed()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow!("{}: it is not UTF-8, first in line {line}", failed())
    })
}

fn is_plan(path: &Path, source: &str) -> bool {
    let named = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    named || source.lines().any(|line| line.starts_with("apiVersion: lifeboat/"))
}

/// The repository that a document lies in.
struct Tree {
    root: PathBuf,
    document: PathBuf,
}

impl Tree {
    /// Whether a file is there, as seen from the document or from the top.
    fn has(&self, name: &str) -> bool {
        let name = name.trim_start_matches("./");
        self.document.join(name).exists() || self.root.join(name.trim_start_matches('/')).exists()
    }
}

fn work_tree(path: &Path) -> Option<Tree> {
    let document = path.canonicalize().ok()?.parent()?.to_owned();
    let root = document.ancestors().find(|directory| directory.join(".git").exists())?.to_owned();
    Some(Tree { root, document })
}

fn text(style: &Style, linted: &Linted) -> String {
    let mut out = String::new();
    for file in &linted.files {
        for finding in &file.findings {
            let shown = lint::render(finding, &file.file, &file.source);
            let (first, rest) = shown.split_once('\n').unwrap_or((&shown, ""));
            let tone = match finding.level {
                Level::Error => Tone::Bad,
                Level::Warning => Tone::Doubtful,
                Level::Note => Tone::Faint,
            };
            out.push_str(&format!("{}\n{rest}\n", style.paint(tone, first)));
        }
    }
    let of = |count: usize, word: &str| {
        (count > 0).then(|| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
    };
    let counts = [of(linted.errors, "error"), of(linted.warnings, "warning"), of(linted.notes, "note")];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let documents = of(linted.files.len(), "document").unwrap_or_default();
    let tone = if linted.errors > 0 {
        Tone::Bad
    } else if counts.is_empty() {
        Tone::Good
    } else {
        Tone::Doubtful
    };
    let mut verdict = if counts.is_empty() {
        format!("{documents}: nothing found")
    } else {
        format!("{documents}: {}", counts.join(", "))
    };
    if linted.mended > 0 {
        verdict.push_str(&format!("; {} mended", linted.mended));
    }
    out.push_str(&format!("{}\n", style.paint(tone, &verdict)));
    if !counts.is_empty() {
        out.push_str("`lifeboat plan lint --explain CODE` tells more of each\n");
    }
    out
}

/// Source: SARIF 2.1.0, OASIS standard.
fn sarif(linted: &Linted) -> Value {
    let describe = |rule: &Rule| {
        json!({
            "id": rule.code,
            "name": rule.name,
            "shortDescription": {"text": rule.name.replace('-', " ")},
            "fullDescription": {"text": rule.why},
            "help": {"text": rule.page, "markdown": rule.page},
            "helpUri": format!("{PAGES}/{}.md", rule.code),
            "defaultConfiguration": {"level": rule.level.as_str()},
        })
    };
    let results = linted.files.iter().flat_map(|file| {
        file.findings.iter().map(|finding| {
            let help = finding.help.as_deref().map_or(String::new(), |help| format!(" — {help}"));
            json!({
                "ruleId": finding.code,
                "level": finding.level.as_str(),
                "message": {"text": format!("{}{help}", finding.message)},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": file.file},
                    "region": {
                        "startLine": finding.line,
                        "startColumn": finding.column,
                        "endColumn": finding.column + finding.length,
                    },
                }}],
            })
        })
    });
    json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": {"driver": {
                "name": "lifeboat plan lint",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": lint::rules().map(describe).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

/// Source: "Workflow commands for GitHub Actions".
fn github(linted: &Linted) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut out = String::new();
    for file in &linted.files {
        for finding in &file.findings {
            let command = if finding.level == Level::Note { "notice" } else { finding.level.as_str() };
            let help = finding.help.as_deref().map_or(String::new(), |help| format!("\n{help}"));
            let line = format!(
                "::{command} file={},line={},col={},endColumn={},title={}::{}\n",
                property(&file.file),
                finding.line,
                finding.column,
                finding.column + finding.length,
                property(&format!("{} {}", finding.code, finding.rule)),
                data(&format!("{}\nwhy: {}{help}", finding.message, finding.why)),
            );
            out.push_str(&crate::output::clean(&line));
        }
    }
    out
}
