//! A recovery document as a plan.
//!
//! Deterministic and offline: the same text gives the same plan. Each section is given a topic by its heading; what stands
//! in it is read as what that topic knows (objectives, backups, scenarios, people…), commands as steps of runbooks, and
//! what nothing is known for is kept as a note and told with its line.
//!
//! # Invariants
//! - **I1 no command is lost.** Each fence of commands is in a runbook; what a shell refuses is there too, and told.
//! - **I2 no line is lost.** Each line is in the plan, is a heading, or is told of with the reason.
//! - **I3 it loads.** What is imported passes the check of plans, whatever the document says.
//!
//! Deliberately absent: reading files, and any guess that a person could not follow from the document alone.

mod backups;
mod calendar;
mod choices;
mod comments;
mod communication;
mod draft;
mod duties;
mod merge;
mod metadata;
mod objectives;
mod outline;
mod pace;
mod parts;
mod people;
mod rendered;
mod runbooks;
mod script;
mod topics;
mod variables;
mod words;

#[cfg(test)]
mod merging;
#[cfg(test)]
mod tests;

pub use comments::write_over;
pub use merge::{Change, Did, MergeError, Merged, merge};

use crate::document::{Document, Kind};
use crate::facts::{Facts, procedures};
use crate::model::{Origin, Plan};
use crate::tree;
use crate::values::FieldOrigin;
use draft::{Draft, Map};
use outline::{Piece, What};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use topics::Topic;
use words::Names;

/// Something of the document that the plan has not, or not as what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missed {
    /// The line.
    pub line: u32,
    /// Why, and what became of it.
    pub reason: String,
}

/// How much of a section was understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// The heading.
    pub title: String,
    /// Its line.
    pub line: u32,
    /// Lines that say something, without headings, those of subsections not among them.
    pub lines: usize,
    /// Those that became fields of the plan.
    pub captured: usize,
    /// Those that are kept as notes.
    pub noted: usize,
    /// Commands in fences.
    pub commands: usize,
    /// Those that are in runbooks.
    pub commands_captured: usize,
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The plan.
    pub plan: Plan,
    /// What was not understood, by line.
    pub missed: Vec<Missed>,
    /// How much of each section was understood.
    pub coverage: Vec<Coverage>,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Took,
    Noted,
}

/// Imports a document; `name` is the name of its file. What `plan render` wrote is read back as the plan that it was.
#[must_use]
pub fn markdown(source: &str, name: &str) -> Imported {
    if rendered::is_rendered(source) {
        return rendered::read(source, name);
    }
    let document = Document::read(source);
    let facts = Facts::of(&document);
    let mut import = Importer::new(&document, &facts, name);
    if let Some(why) = rendered::why_not(source) {
        import.miss(1, why);
    }
    import.sections();
    import.finish(source)
}

struct Importer<'a> {
    document: &'a Document,
    facts: &'a Facts<'a>,
    topics: Vec<Topic>,
    file: String,
    plan: Map,
    fates: Vec<Fate>,
    missed: Vec<Missed>,
    scenario_names: Names,
    runbook_names: Names,
    /// The scenario of each section that is one.
    scenarios: BTreeMap<usize, String>,
    /// Whether the unit that is read is a scenario.
    is_scenario: bool,
}

impl<'a> Importer<'a> {
    fn new(document: &'a Document, facts: &'a Facts<'a>, file: &str) -> Self {
        Self {
            document,
            facts,
            topics: topics::of(document),
            file: file.to_owned(),
            plan: Map::default(),
            fates: vec![Fate::Open; document.lines.len() + 2],
            missed: Vec::new(),
            scenario_names: Names::default(),
            runbook_names: Names::default(),
            scenarios: BTreeMap::new(),
            is_scenario: false,
        }
    }

    fn topic(&self, section: usize) -> Topic {
        self.topics[section]
    }

    /// The lines are in the plan.
    fn took(&mut self, first: u32, last: u32) {
        self.fate(first, last, Fate::Took);
    }

    fn fate(&mut self, first: u32, last: u32, fate: Fate) {
        let last = (last as usize).min(self.fates.len().saturating_sub(1));
        for line in (first as usize)..=last {
            if self.fates[line] == Fate::Open {
                self.fates[line] = fate;
            }
        }
    }

    fn miss(&mut self, line: u32, reason: impl Into<String>) {
        self.missed.push(Missed { line, reason: reason.into() });
    }

    /// The plan's name, as far as it is known.
    fn name(&self) -> &str {
        let name = self.plan.get("metadata").and_then(|draft| match &draft.value {
            draft::Shape::Map(map) => map.text_of("name"),
            _ => None,
        });
        name.unwrap_or("system")
    }

    /// The service of that title, made if there is none.
    fn service(&mut self, title: &str, line: u32) -> &mut Map {
        self.titled("services", "service", title, line)
    }

    /// The item of `list` with that title, made if there is none. One whose title gives no name is called by its
    /// number: `tier-2`.
    fn titled(&mut self, list: &str, noun: &str, title: &str, line: u32) -> &mut Map {
        let items = match self.plan.get(list).map(|draft| &draft.value) {
            Some(draft::Shape::List(items)) => &items[..],
            _ => &[],
        };
        let known = items.iter().find_map(|item| match &item.value {
            draft::Shape::Map(map) if map.text_of("title") == Some(title) => {
                map.text_of("name").map(str::to_owned)
            }
            _ => None,
        });
        let label = known.or_else(|| words::label(title));
        let label = label.unwrap_or_else(|| format!("{noun}-{}", items.len() + 1));
        let item = self.plan.named(list, &label, line);
        if title != label {
            item.say("title", title, line);
        }
        item
    }

    /// Whether a line stands in a scenario or procedure.
    fn is_in_unit(&self, line: u32) -> bool {
        let sections = &self.document.sections;
        let at = sections.partition_point(|section| section.level == 0 || section.title.whole().line <= line);
        matches!(self.topics[at.saturating_sub(1)], Topic::Scenario | Topic::Procedure)
    }

    /// The headings around a section, outermost first.
    fn breadcrumbs(&self, section: usize) -> String {
        let mut titles: Vec<&str> = self
            .document
            .path(section)
            .skip(1)
            .filter(|at| !(*at == 1 && self.topics[*at] == Topic::Overview))
            .map(|at| words::unnumbered(self.document.sections[at].title.plain()))
            .collect();
        titles.reverse();
        titles.join(" › ")
    }

    /// A name with the capitals that the document gives it near a line.
    fn as_written(&self, name: &str, line: u32) -> String {
        let small = name.to_lowercase();
        let first = (line as usize).saturating_sub(12);
        let near = self.document.lines.iter().take(line as usize).skip(first).rev();
        let found = near.filter_map(|text| {
            let at = text.to_lowercase().find(&small)?;
            text.get(at..at + name.len()).filter(|piece| piece.to_lowercase() == small).map(str::to_owned)
        });
        found.into_iter().next().unwrap_or_else(|| words::capital(name))
    }

    /// The heading of the first column of the table that a line stands in, in small letters.
    fn first_column(&self, line: u32) -> Option<String> {
        let at = self.document.blocks.partition_point(|block| block.place.line <= line).checked_sub(1)?;
        match &self.document.blocks[at].kind {
            Kind::Table(table) => table.header.first().map(|text| text.plain().trim().to_lowercase()),
            _ => None,
        }
    }

    fn sections(&mut self) {
        metadata::read(self);
        objectives::of_all(self);
        let mut of_unit = vec![false; self.document.sections.len()];
        for at in 0..self.document.sections.len() {
            if of_unit[at] {
                continue;
            }
            let topic = self.topics[at];
            let owner = procedures::owner(self.document, at);
            let is_unit = match topic {
                Topic::Scenario => true,
                Topic::Procedure | Topic::Procedures => owner == Some(at),
                Topic::Other => owner == Some(at) && outline::pieces(self.facts, at).iter().any(is_commands),
                _ => false,
            };
            if is_unit {
                let end = self.document.sections[at].end;
                let parts: Vec<usize> = (at..end)
                    .filter(|part| *part == at || procedures::owner(self.document, *part) == Some(at))
                    .filter(|part| {
                        let of_unit = [
                            Topic::Scenario,
                            Topic::Scenarios,
                            Topic::Procedure,
                            Topic::Procedures,
                            Topic::Other,
                        ];
                        of_unit.contains(&self.topics[*part])
                    })
                    .collect();
                let says = parts.iter().any(|part| !outline::pieces(self.facts, *part).is_empty());
                parts.iter().for_each(|part| of_unit[*part] = true);
                if says {
                    self.is_scenario = topic == Topic::Scenario;
                    runbooks::unit(self, at, &parts, self.is_scenario);
                    self.is_scenario = false;
                }
                continue;
            }
            self.section(at, topic);
        }
    }

    /// One section by its topic; what its topic does not know becomes a runbook or a note.
    fn section(&mut self, at: usize, topic: Topic) {
        let pieces = outline::pieces(self.facts, at);
        if pieces.is_empty() {
            return;
        }
        let left = match topic {
            Topic::Contents => {
                pieces.iter().for_each(|piece| self.took(piece.line, piece.last_line));
                Vec::new()
            }
            Topic::Overview => metadata::overview(self, pieces),
            Topic::Objectives => objectives::section(self, pieces),
            Topic::Backups => backups::section(self, at, pieces),
            Topic::Roles => people::roles(self, at, pieces),
            Topic::Contacts => people::contacts(self, at, pieces),
            Topic::Escalation => people::escalation(self, pieces),
            Topic::Communication => communication::section(self, at, pieces),
            Topic::StatusPage => communication::status_page(self, at, pieces),
            Topic::Testing => calendar::testing(self, at, pieces),
            Topic::Checklist => calendar::checklist(self, at, pieces),
            Topic::Maintenance => calendar::maintenance(self, pieces),
            Topic::AfterIncident => duties::after_incident(self, at, pieces),
            Topic::Compliance => duties::compliance(self, at, pieces),
            Topic::Kpis => duties::kpis(self, pieces),
            Topic::Scenarios
            | Topic::Scenario
            | Topic::Procedures
            | Topic::Procedure
            | Topic::Resources
            | Topic::Other => pieces,
        };
        self.rest(at, left, topic == Topic::Resources);
    }

    /// Commands become a runbook of their own; anything else a note.
    fn rest(&mut self, at: usize, pieces: Vec<Piece<'a>>, is_known: bool) {
        let title = self.document.sections[at].title.clone();
        let name = words::unnumbered(title.plain()).to_owned();
        let name = if name.is_empty() { "Beginning".to_owned() } else { name };
        let line = title.whole().line;
        let (commands, others): (Vec<_>, Vec<_>) = pieces.into_iter().partition(is_commands);
        if !commands.is_empty() {
            let about = self.breadcrumbs(at);
            runbooks::loose(self, &name, line, &about, commands);
        }
        let mut text = String::new();
        let mut first = None;
        for piece in others {
            let (from, to) = (piece.line, piece.last_line);
            let open = (from..=to).any(|line| self.fates.get(line as usize) == Some(&Fate::Open));
            if !open {
                continue;
            }
            if !is_known {
                self.miss(from, format!("`{name}` says what no part of a plan is known for; kept as a note"));
            }
            let lines = self.document.lines.iter().take(to as usize).skip(from.saturating_sub(1) as usize);
            if !text.is_empty() {
                text.push('\n');
            }
            for line in lines {
                _ = writeln!(text, "{}", line.trim_end());
            }
            first.get_or_insert(from);
            self.fate(from, to, if is_known { Fate::Took } else { Fate::Noted });
        }
        if let Some(first) = first {
            let mut note = Map::default();
            note.say("title", &name, line);
            note.say("text", text, first);
            if note.get("text").is_some() {
                self.plan.add("notes", Draft::map(note, first));
            }
        }
    }

    fn finish(mut self, source: &str) -> Imported {
        metadata::services(&mut self);
        self.left_over();
        let coverage = self.coverage();
        let mut root = Map::default();
        root.say("apiVersion", "lifeboat/v1", 1);
        root.say("kind", "RecoveryPlan", 1);
        root.entries.append(&mut self.plan.entries);
        let mut plan: Plan = match serde_json::from_value(root.json()) {
            Ok(plan) => plan,
            // I3: our mistake; the person hears of it, and of nothing else.
            Err(error) => {
                self.missed = vec![Missed { line: 1, reason: format!("nothing could be imported: {error}") }];
                empty()
            }
        };
        plan.origin = Some(origin(&plan, &root.lines(), source, &self.file));
        self.missed.sort();
        self.missed.dedup();
        Imported { plan, missed: self.missed, coverage }
    }

    /// Lines that nothing has taken are told of.
    fn left_over(&mut self) {
        for block in &self.document.blocks {
            let Kind::Html(html) = &block.kind else { continue };
            if crate::document::html::says_something(html) {
                self.miss(block.place.line, "HTML is not read");
            } else if !html.trim_start().starts_with("<!--") {
                self.took(block.place.line, block.last_line);
            }
        }
        if let Some(cut) = self.document.cut {
            self.miss(cut, "the document is too long; what follows was not read");
        }
    }

    fn coverage(&self) -> Vec<Coverage> {
        let sections = &self.document.sections;
        let mut all: Vec<Coverage> = sections
            .iter()
            .map(|section| Coverage {
                title: section.title.plain().trim().to_owned(),
                line: section.title.whole().line,
                lines: 0,
                captured: 0,
                noted: 0,
                commands: 0,
                commands_captured: 0,
            })
            .collect();
        for block in &self.document.blocks {
            if block.item.is_some() {
                continue;
            }
            for line in block.place.line..=block.last_line {
                let text =
                    self.document.lines.get(line.saturating_sub(1) as usize).map_or("", |text| text.trim());
                if !text.chars().any(char::is_alphanumeric)
                    || text.starts_with("```")
                    || text.starts_with("~~~")
                {
                    continue;
                }
                let of = &mut all[block.section];
                of.lines += 1;
                match self.fates.get(line as usize) {
                    Some(Fate::Took) => of.captured += 1,
                    Some(Fate::Noted) => of.noted += 1,
                    _ => {}
                }
            }
        }
        for snippet in self.facts.snippets.iter().filter(|snippet| !snippet.inline) {
            let of = &mut all[snippet.section];
            for command in snippet.script.commands.iter().filter(|command| command.inside.is_none()) {
                of.commands += 1;
                let line = snippet.whole(command).line;
                of.commands_captured += usize::from(self.fates.get(line as usize) == Some(&Fate::Took));
            }
        }
        all.retain(|of| of.lines > 0);
        all
    }
}

fn is_commands(piece: &Piece<'_>) -> bool {
    matches!(piece.what, What::Shell(_)) || has_commands(piece)
}

/// Whether an item of a list has commands in a fence.
fn has_commands(piece: &Piece<'_>) -> bool {
    match &piece.what {
        What::Entries(entries) => entries.iter().any(|entry| entry.has_code()),
        _ => false,
    }
}

/// For each field its line, of those that are known, and the hash of what was imported.
fn origin(plan: &Plan, lines: &BTreeMap<String, u32>, source: &str, file: &str) -> Origin {
    let tree = tree::of(plan);
    let mut fields = BTreeMap::new();
    for (way, value) in tree::leaves(&tree) {
        if matches!(way.as_str(), "apiVersion" | "kind") {
            continue;
        }
        // The nearest place above that is known: a step that is written in another form.
        let mut at = way.as_str();
        let line = loop {
            match (lines.get(at), at.rfind(['.', '['])) {
                (Some(line), _) => break *line,
                (None, Some(cut)) => at = &at[..cut],
                (None, None) => break 1,
            }
        };
        fields.insert(way, FieldOrigin { line: line.max(1), hash: hash(value) });
    }
    origin_of(source, file, fields)
}

fn origin_of(source: &str, file: &str, fields: BTreeMap<String, FieldOrigin>) -> Origin {
    Origin { document: file.to_owned(), sha256: hex(&Sha256::digest(source.as_bytes())), fields }
}

/// The beginning of the SHA-256 of a value.
pub(crate) fn hash(value: &serde_json::Value) -> String {
    hex(&Sha256::digest(value.to_string().as_bytes())[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        _ = write!(out, "{byte:02x}");
        out
    })
}

/// A plan that says nothing.
fn empty() -> Plan {
    let text =
        "{apiVersion: lifeboat/v1, kind: RecoveryPlan, metadata: {name: plan}, services: [{name: system}]}";
    match crate::load(text) {
        Ok(loaded) => loaded.plan,
        Err(findings) => unreachable!("the empty plan is none: {findings:?}"),
    }
}
