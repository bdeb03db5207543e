//! Scenarios and procedures: what is said of them, and their steps.

use super::Importer;
use super::choices::choices;
use super::draft::{Draft, Map};
use super::outline::{self, Entry, Piece, What, flat};
use super::pace;
use super::parts::{Part, counted, goes_on, grade, jump, metric, part};
use super::script::{self, Chunk};
use super::variables::Variables;
use super::words::{self, condition};
use crate::document::{Kind, Table, Text};
use crate::facts::commands::Snippet;
use crate::facts::procedures;
use crate::facts::statements::split;
use crate::values::EnvironmentName;
use std::collections::BTreeSet;

/// A step that is being made.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub map: Map,
    pub line: u32,
    /// The number of the item that it came from.
    pub number: Option<u64>,
    /// The number of the item that it leads to, and on what condition.
    pub leads_to: Option<u64>,
    sets: BTreeSet<String>,
    exports: BTreeSet<String>,
    uses: BTreeSet<String>,
}

/// A scenario or procedure that is being made.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub about: Map,
    /// What leads in to the commands that follow: their name, its line and its number.
    lead: Option<(String, u32, Option<u64>)>,
    steps: Vec<Step>,
    variables: Variables,
}

/// A section that is a scenario or a procedure, with its parts.
pub(super) fn unit(import: &mut Importer<'_>, section: usize, parts: &[usize], is_scenario: bool) {
    let document = import.document;
    let title = document.sections[section].title.clone();
    let (line, name) = (title.whole().line, words::unnumbered(title.plain()).to_owned());
    let mut book = Book::default();
    let mut others: Vec<(String, u32, Book)> = Vec::new();
    let own = outline::pieces(import.facts, section);
    let own_commands = own.iter().any(|piece| matches!(piece.what, What::Shell(_)));
    for at in parts.iter().copied() {
        let of_part = &document.sections[at].title;
        let role = if at == section { None } else { part(of_part.plain()) };
        let pieces = outline::pieces(import.facts, at);
        let has_commands = pieces.iter().any(|piece| matches!(piece.what, What::Shell(_)));
        // Another way to do it, not the next thing to do.
        let apart = at != section && has_commands && own_commands && !goes_on(of_part.plain());
        if apart {
            let mut other = Book::default();
            other.pieces(import, pieces, None);
            let title = format!("{name}: {}", words::unnumbered(of_part.plain()));
            others.push((title, of_part.whole().line, other));
        } else {
            let from = book.steps.len();
            book.pieces(import, pieces, role);
            if at != section {
                book.headed(from, of_part);
            }
        }
    }
    if !is_scenario && import.topic(section) == super::topics::Topic::Other {
        let about = import.breadcrumbs(section);
        book.about.say("description", about, line);
    }
    let is_scenario = is_scenario
        || ["symptoms", "impact", "severity", "examples", "objectives"]
            .iter()
            .any(|key| book.about.get(key).is_some());
    let outer = std::mem::replace(&mut import.is_scenario, is_scenario);
    let runbook = book.finish(import, &name, line);
    import.is_scenario = outer;
    if runbook.is_none() && !is_scenario {
        book.noted(import, &name, line);
    }
    if is_scenario {
        let mut scenario = Map::default();
        let label = import.scenario_names.take(&name, "scenario");
        scenario.say("name", &label, line);
        scenario.say("title", &name, line);
        for (key, draft) in book.about.entries {
            let key = if key == "when" { "description" } else { &key };
            scenario.put(key, draft);
        }
        if let Some(runbook) = runbook {
            scenario.say("runbook", runbook, line);
        }
        import.scenarios.insert(section, label);
        import.plan.add("scenarios", Draft::map(scenario, line));
    }
    for (title, line, mut other) in others {
        other.finish(import, &title, line);
    }
}

/// Commands that stand outside of any procedure, as one.
pub(super) fn loose(
    import: &mut Importer<'_>,
    title: &str,
    line: u32,
    about: &str,
    pieces: Vec<Piece<'_>>,
) -> Option<String> {
    let mut book = Book::default();
    book.about.say("description", about, line);
    book.pieces(import, pieces, Some(Part::Steps));
    book.finish(import, title, line)
}

impl Book {
    fn pieces(&mut self, import: &mut Importer<'_>, pieces: Vec<Piece<'_>>, role: Option<Part>) {
        let mut pieces = pieces.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            let before_commands = matches!(pieces.peek(), Some(Piece { what: What::Shell(_), .. }));
            import.took(piece.line, piece.last_line);
            if !matches!(piece.what, What::Shell(_) | What::Code(_)) {
                self.led();
            }
            match piece.what {
                What::Prose(text) => self.prose(import, text, role),
                What::Entries(entries) => {
                    for (at, entry) in entries.iter().enumerate() {
                        let leads_in = before_commands && at + 1 == entries.len() && entry.below.is_empty();
                        match entry
                            .key
                            .as_ref()
                            .filter(|_| leads_in && entry.value.is_empty() && entry.inside.is_empty())
                        {
                            Some(key) => self.lead = Some((flat(key), entry.line, entry.number)),
                            None => self.entry(import, entry, role),
                        }
                    }
                }
                What::Shell(snippet) => match self.lead.take() {
                    Some((title, _, number)) => {
                        let (only_if, name) = condition(&title);
                        self.commands(import, snippet, Some(&name), only_if.as_deref(), number);
                    }
                    None => self.commands(import, snippet, None, None, None),
                },
                What::Table(table) => self.table(table, role, piece.line),
                What::Code(code) => {
                    let lead = self.lead.take();
                    let prints = |text: &String| {
                        let small = text.to_lowercase();
                        ["expect", "output", "should see", "should look", "ausgabe", "输出"]
                            .iter()
                            .any(|word| small.contains(word))
                    };
                    match (&lead, self.steps.last_mut()) {
                        (Some((text, line, _)), Some(step)) if prints(text) => {
                            step.map.say("verify", format!("It prints:\n{}", code.text().trim_end()), *line);
                        }
                        _ => {
                            let name = lead.as_ref().map(|(name, ..)| name.as_str());
                            self.other_code(&code.language, &code.text(), name, piece.line);
                        }
                    }
                }
            }
        }
        self.led();
    }

    /// What is said of a procedure without steps is kept as a note.
    fn noted(&self, import: &mut Importer<'_>, name: &str, line: u32) {
        let mut said: Vec<String> = Vec::new();
        for (_, draft) in &self.about.entries {
            draft.texts(&mut |text| said.push(text.to_owned()));
        }
        if !said.is_empty() {
            let mut note = Map::default();
            note.say("title", name, line);
            note.say("text", said.join("\n"), line);
            import.plan.add("notes", Draft::map(note, line));
        }
    }

    /// The heading of a step is its name, and may say how long it takes.
    fn headed(&mut self, from: usize, title: &Text) {
        let Some(first) = self.steps.get_mut(from) else { return };
        pace::of_title(title, Some(&mut first.map));
        let mut name = words::unnumbered(title.plain()).to_owned();
        _ = pace::take(&mut name);
        if procedures::is_step(title.plain()) && !name.is_empty() {
            if let Some(own) = first.map.text_of("name").map(str::to_owned) {
                first.map.entries.retain(|(key, _)| key != "name");
                name = format!("{name}: {own}");
            }
            first.map.entries.insert(0, ("name".to_owned(), Draft::text(name, title.whole().line)));
        }
    }

    /// A table of steps, with a column of commands or without; or of remarks.
    fn table(&mut self, table: &Table, role: Option<Part>, first: u32) {
        let header: Vec<String> = table.header.iter().map(flat).collect();
        let is_command = |head: &str| {
            let small = head.to_lowercase();
            ["command", "befehl", "commande", "comando", "命令"].iter().any(|word| small.contains(word))
        };
        let command = header.iter().position(|head| is_command(head));
        let pace = pace::column(&header);
        let counts = header
            .first()
            .is_some_and(|head| matches!(head.to_lowercase().as_str(), "#" | "nr" | "nr." | "no" | "no."));
        let is_step = role == Some(Part::Steps)
            || role.is_none()
                && (counts
                    || pace.is_some()
                    || header.iter().any(|head| part(head) == Some(Part::Steps) || is_command(head)));
        for row in &table.rows {
            let line = row.first().map_or(first, |cell| cell.whole().line);
            let run = command.and_then(|at| row.get(at)).map(flat).filter(|run| !run.is_empty());
            let takes = pace.and_then(|at| row.get(at)).filter(|cell| pace::is_time(cell) && is_step);
            let says = header.iter().zip(row).enumerate().filter(|(at, (_, cell))| {
                let timed = takes.is_some() && Some(*at) == pace;
                !cell.is_empty() && !timed && (run.is_none() || Some(*at) != command)
            });
            let cells: Vec<String> =
                says.map(|(_, (head, cell))| format!("{head}: {}", flat(cell))).collect();
            match run.filter(|_| is_step) {
                Some(run) => {
                    let is_check = script::looks(&run);
                    let chunk = Chunk { line, run: Some(run), is_check, ..Chunk::default() };
                    let mut step = self.of_chunk(&chunk);
                    step.map.say("description", cells.join("; "), line);
                    self.steps.push(step);
                }
                None if is_step => self.manual(None, &cells.join("\n"), line),
                None => self.about.tell("notes", cells.join("; "), line),
            }
            if let Some(step) = self.steps.last_mut().filter(|_| takes.is_some()) {
                pace::of_cell(takes, &mut step.map, line);
            }
        }
    }

    /// What led in to nothing is for a person to do.
    fn led(&mut self) {
        if let Some((text, line, number)) = self.lead.take() {
            let (only_if, text) = condition(&text);
            let from = self.steps.len();
            self.manual(None, &text, line);
            if let Some(step) = self.steps.get_mut(from) {
                step.number = number;
                if let Some(when) = only_if {
                    step.map.say("onlyIf", when, line);
                }
            }
        }
    }

    fn other_code(&mut self, language: &str, text: &str, name: Option<&str>, line: u32) {
        match language {
            "sql" | "postgresql" | "psql" | "pgsql" => {
                let mut step = Step { line, ..Step::default() };
                if let Some(name) = name {
                    step.map.say("name", name, line);
                }
                let bound = self.variables.bind(text, line + 1);
                step.map.put("sql", Draft::text(bound.trim_end(), line));
                self.steps.push(step);
            }
            "mermaid" | "plantuml" | "dot" | "text" | "txt" | "" if name.is_none() => {
                self.about.tell("notes", text.trim_end(), line);
            }
            _ => self.manual(name, text.trim_end(), line),
        }
    }

    fn prose(&mut self, import: &mut Importer<'_>, text: &Text, role: Option<Part>) {
        let lines = text.lines();
        let whole = flat(text);
        let number = counted(&whole);
        let described =
            self.about.get("description").is_some() || !self.steps.is_empty() || import.is_scenario;
        let leads_in = whole.ends_with([':', '：']) && described && matches!(role, None | Some(Part::Steps));
        if number.is_some() || leads_in {
            let name = if number.is_some() {
                words::unnumbered(&whole)
            } else {
                whole.trim_end_matches([':', '：'])
            };
            self.lead = Some((name.to_owned(), text.whole().line, number));
            return;
        }
        let keyed = lines
            .iter()
            .any(|line| split(line).0.is_some_and(|key| part(key.plain()).is_some() || metric(&key)));
        if keyed {
            for line in lines {
                let (key, value) = split(&line);
                let at = line.whole().line;
                match key {
                    Some(key) => self.field(import, &key, &value, at),
                    None => self.about.tell("notes", flat(&line), at),
                }
            }
            return;
        }
        let (words, line) = (flat(text), text.whole().line);
        let key = match role {
            Some(Part::Symptoms) => "symptoms",
            Some(Part::Impact) => "impact",
            Some(Part::Examples) => "examples",
            Some(Part::Response) => "response",
            Some(Part::When) => {
                self.about.say("when", words, line);
                return;
            }
            Some(Part::Note | Part::Severity) => "notes",
            _ if self.steps.is_empty() && self.about.get("description").is_none() && role.is_none() => {
                self.about.say("description", words, line);
                return;
            }
            _ => return self.manual(None, &words, line),
        };
        self.about.tell(key, words, line);
    }

    /// `Impact: Complete outage`
    fn field(&mut self, import: &mut Importer<'_>, key: &Text, value: &Text, line: u32) {
        let words = flat(value);
        if super::objectives::of_scenario(import, &mut self.about, key, value, line) {
            return;
        }
        let many = || value.plain().split(", ").map(str::trim).filter(|word| !word.is_empty());
        match part(key.plain()) {
            Some(Part::Symptoms) => self.about.tell("symptoms", words, line),
            Some(Part::Impact) => self.about.tell("impact", words, line),
            Some(Part::Examples) => many().for_each(|example| self.about.tell("examples", example, line)),
            Some(Part::Response | Part::Steps) => self.about.tell("response", words, line),
            Some(Part::When) => _ = self.about.say("when", words, line),
            Some(Part::Description) => _ = self.about.say("description", words, line),
            Some(Part::Severity) => match grade(&words) {
                Some(grade) => _ = self.about.say("severity", grade, line),
                None => self.about.tell("notes", format!("{}: {words}", flat(key)), line),
            },
            Some(Part::Note) | None => self.about.tell("notes", format!("{}: {words}", flat(key)), line),
        }
    }

    fn entry(&mut self, import: &mut Importer<'_>, entry: &Entry<'_>, role: Option<Part>) {
        let (line, bare) = (entry.line, entry.inside.is_empty());
        let key = match role {
            Some(Part::Symptoms) => Some("symptoms"),
            Some(Part::Impact) => Some("impact"),
            Some(Part::Examples) => Some("examples"),
            Some(Part::Response) if entry.number.is_none() => Some("response"),
            Some(Part::Note | Part::Severity | Part::When | Part::Description) => Some("notes"),
            _ => None,
        };
        if let Some(key) = key.filter(|_| bare) {
            return self.about.tell(key, entry.text(), line);
        }
        let of_key = entry.key.as_ref().and_then(|key| part(key.plain()));
        if let Some(title) =
            entry.key.as_ref().filter(|_| entry.number.is_none() && bare && role != Some(Part::Steps))
        {
            let is_field = of_key.is_some() || metric(title);
            if !entry.value.is_empty() && is_field && entry.below.is_empty() {
                return self.field(import, title, &entry.value, line);
            }
            if entry.value.is_empty() && is_field {
                for below in &entry.below {
                    self.entry(import, below, of_key.or(Some(Part::Note)));
                }
                return;
            }
            if entry.is_data {
                return self.about.tell("notes", entry.text(), line);
            }
        }
        self.step(import, entry, None);
    }

    /// An item as a step, or several: one for each command in it.
    fn step(&mut self, import: &mut Importer<'_>, entry: &Entry<'_>, above: Option<&str>) {
        let line = entry.line;
        let fences: Vec<_> =
            entry.inside.iter().filter(|(_, block)| matches!(block.kind, Kind::Code(_))).collect();
        let deep = entry.below.iter().any(|below| !below.inside.is_empty());
        let titled = entry.key.is_some() && (entry.value.is_empty() || !fences.is_empty());
        let title = if titled { entry.key.as_ref().map_or(String::new(), flat) } else { entry.whole() };
        let title = match above {
            Some(above) => format!("{above}: {title}"),
            None => title,
        };
        let rest = if titled { flat(&entry.value) } else { String::new() };
        // `(if available)` may stand behind the bold words.
        let (only_if, mut name) = condition(&title);
        let (only_if, again) = match (only_if, condition(&name)) {
            (Some(first), (Some(second), rest)) => (Some(format!("{first}, and if {second}")), Some(rest)),
            (first, _) => (first, None),
        };
        name = again.unwrap_or(name);
        let (only_if, rest) = match (only_if, condition(&rest)) {
            (None, (Some(when), rest)) => (Some(when), rest),
            (own, _) => (own, rest),
        };
        if name.is_empty() {
            name.clone_from(&title);
        }
        let takes = pace::take(&mut name);
        let from = self.steps.len();
        let mut description: Vec<String> = takes.iter().filter_map(|(_, words)| words.clone()).collect();
        if !rest.trim_matches([':', ' ']).is_empty() {
            description.push(rest.trim_matches([':', ' ']).to_owned());
        }
        for (_, block) in &entry.inside {
            match &block.kind {
                Kind::Paragraph(text) => description.push(flat(text)),
                Kind::Table(table) => {
                    description.extend(
                        table.rows.iter().map(|row| row.iter().map(flat).collect::<Vec<_>>().join(" | ")),
                    );
                }
                _ => {}
            }
        }
        if !fences.is_empty() || deep {
            for below in entry.below.iter().filter(|below| below.inside.is_empty()) {
                description.push(format!("- {}", below.text()));
            }
            for (number, block) in fences {
                let Kind::Code(code) = &block.kind else { continue };
                match outline::snippet(import.facts, *number) {
                    Some(snippet) => {
                        self.commands(import, snippet, Some(&name), only_if.as_deref(), entry.number)
                    }
                    None => {
                        let named = (self.steps.len() == from).then_some(name.as_str());
                        self.other_code(&code.language, &code.text(), named.or(Some("…")), block.place.line);
                    }
                }
            }
            for below in entry.below.iter().filter(|below| !below.inside.is_empty()) {
                self.step(import, below, Some(&name));
            }
        } else {
            self.by_hand(import, entry, &name, titled);
        }
        let Some(first) = self.steps.get_mut(from) else { return };
        first.number = entry.number.or(first.number);
        if let Some(when) = &only_if {
            first.map.say("onlyIf", when, line);
        }
        if !description.is_empty() {
            let own = first.map.text_of("description").map(str::to_owned);
            first.map.entries.retain(|(key, _)| key != "description");
            let all: Vec<String> = own.into_iter().chain(description).collect();
            first.map.say("description", all.join("\n"), line);
        }
        pace::of_item(takes, self.steps[from..].iter_mut().map(|step| &mut step.map), line);
        for step in &mut self.steps[from..] {
            step.leads_to = step.leads_to.or_else(|| jump(&title));
        }
    }

    /// An item without a fence: commands in its text, or something for a person to do.
    fn by_hand(&mut self, import: &mut Importer<'_>, entry: &Entry<'_>, name: &str, titled: bool) {
        let inline: Vec<&Snippet> =
            if entry.is_data { Vec::new() } else { outline::inline(import.facts, entry.block) };
        let line = entry.line;
        if !inline.is_empty() && entry.below.is_empty() {
            let runs: Vec<String> =
                inline.iter().map(|snippet| snippet.code.text().trim().to_owned()).collect();
            let lead = entry.key.as_ref().map(flat).unwrap_or_else(|| name.to_owned());
            let (_, lead) = condition(&lead);
            // What is typed is no part of what it is called.
            let lead = runs.iter().fold(lead, |lead, run| {
                if lead.len() > run.len() { lead.replace(run.as_str(), "") } else { lead }
            });
            let lead = lead.split_whitespace().collect::<Vec<_>>().join(" ");
            let lead = lead.trim_end_matches([':', '：', ' ']).to_owned();
            let whole = entry.whole();
            let behind = runs
                .first()
                .and_then(|run| whole.strip_prefix(run.as_str()))
                .map(|rest| rest.trim().to_owned());
            for (at, (snippet, run)) in inline.iter().zip(&runs).enumerate() {
                let chunk = script::chunks(snippet, &[]).into_iter().next().unwrap_or_default();
                let chunk = Chunk { line, comments: Vec::new(), run: Some(run.clone()), ..chunk };
                let mut step = self.of_chunk(&chunk);
                match &behind {
                    Some(rest) if at == 0 => _ = step.map.say("verify", rest, line),
                    None if at == 0 => _ = step.map.say("name", &lead, line),
                    _ => {}
                }
                self.steps.push(step);
            }
            return;
        }
        let below: Vec<String> = entry.below.iter().map(|below| below.text()).collect();
        if below.is_empty() && !titled {
            return self.manual(None, name, line);
        }
        let list: Vec<String> = below.iter().map(|text| format!("- {text}")).collect();
        let text = if list.is_empty() { name.to_owned() } else { list.join("\n") };
        let name = (!list.is_empty()).then_some(name);
        self.manual(name, &text, line);
    }

    fn manual(&mut self, name: Option<&str>, text: &str, line: u32) {
        if text.trim().is_empty() {
            return;
        }
        let mut step = Step { line, leads_to: jump(text), ..Step::default() };
        if let Some(name) = name {
            step.map.say("name", name, line);
        }
        step.map.say("manual", text.trim(), line);
        self.steps.push(step);
    }

    /// The commands of a fence, under the title of the item that they stand in.
    fn commands(
        &mut self,
        import: &mut Importer<'_>,
        snippet: &Snippet,
        title: Option<&str>,
        only_if: Option<&str>,
        number: Option<u64>,
    ) {
        let shown: Vec<String> = match &import.document.blocks.get(snippet.block).map(|block| &block.kind) {
            Some(Kind::Code(code)) => code.lines.iter().map(|line| line.text.clone()).collect(),
            _ => Vec::new(),
        };
        if let Some(refused) = &snippet.script.refused {
            let line = snippet.refused_at(refused).line;
            import.miss(line, format!("a shell refuses this: {}; it is kept as it stands", refused.what));
        }
        let chunks = script::chunks(snippet, &shown);
        let many = chunks.len() > 1;
        for (at, chunk) in chunks.iter().enumerate() {
            let mut step = self.of_chunk(chunk);
            let comment = chunk.comments.first().cloned();
            let (of_comment, plain) = comment.as_deref().map_or((None, None), |comment| {
                let (when, does) = condition(comment);
                (when, Some(words::capital(&does)))
            });
            let same = |a: &str, b: &str| words::label(a).is_some_and(|label| Some(label) == words::label(b));
            let name = match (title, &plain) {
                (Some(title), Some(comment)) if many && !same(title, comment) => {
                    Some(format!("{title}: {comment}"))
                }
                (Some(title), _) if at == 0 || plain.is_some() => Some(title.to_owned()),
                (None, Some(comment)) => Some(comment.clone()),
                _ => None,
            };
            let mut remarks: Vec<String> = chunk.comments.iter().skip(1).cloned().collect();
            if !chunk.inner.is_empty() {
                remarks.push(format!("Then: {}", chunk.inner.join("; ")));
            }
            if let (Some(title), Some(comment)) = (title, &plain)
                && !many
                && !same(title, comment)
            {
                remarks.insert(0, comment.clone());
            }
            if chunk.run.is_none() {
                step.map.say("manual", chunk.comments.join("\n"), chunk.line);
            } else {
                if let Some(name) = name {
                    step.map.say("name", name, chunk.line);
                }
                step.map.say("description", remarks.join("\n"), chunk.line);
            }
            if let Some(when) = of_comment.as_deref().or(only_if) {
                step.map.say("onlyIf", when, chunk.line);
            }
            step.number = number.filter(|_| at == 0);
            self.steps.push(step);
        }
    }

    fn of_chunk(&mut self, chunk: &Chunk) -> Step {
        let (sets, exports, uses) = (chunk.sets.clone(), chunk.exports.clone(), chunk.uses.clone());
        let mut step = Step { line: chunk.line, sets, exports, uses, ..Step::default() };
        let Some(run) = &chunk.run else { return step };
        step.uses.extend(script::demands(run).map(str::to_owned));
        let demanded: Vec<String> = script::demands(run).map(str::to_owned).collect();
        demanded.iter().for_each(|name| self.variables.expect(name, chunk.line));
        let bound = self.variables.bind(run, chunk.line);
        let kind = if chunk.is_check { "check" } else { "shell" };
        match chunk.expect.as_ref().filter(|_| chunk.is_check) {
            Some(expect) => {
                let check = step.map.within("check", chunk.line);
                check.put("run", Draft::text(bound, chunk.line));
                check.say("expect", expect, chunk.line);
            }
            None => _ = step.map.put(kind, Draft::text(bound, chunk.line)),
        }
        step
    }

    /// Puts the runbook into the plan, if it has steps; its name.
    fn finish(&mut self, import: &mut Importer<'_>, title: &str, line: u32) -> Option<String> {
        if self.steps.is_empty() {
            return None;
        }
        self.outputs();
        for step in &mut self.steps {
            pace::settle(&mut step.map, step.line);
        }
        for step in &self.steps {
            if let Some(text) = step.map.text_of("manual") {
                self.variables.declare(text, step.line);
            }
        }
        let steps = std::mem::take(&mut self.steps);
        let steps = choices(steps);
        let label = import.runbook_names.take(title, "runbook");
        let mut runbook = Map::default();
        runbook.say("title", title, line);
        // What a scenario has is said there.
        let own = |key: &str| matches!(key, "when" | "description" | "notes");
        let about: Vec<(String, Draft)> = if import.is_scenario {
            Vec::new()
        } else {
            self.about.entries.iter().filter(|(key, _)| own(key)).cloned().collect()
        };
        for (key, draft) in about {
            runbook.put(&key, draft);
        }
        if let Some(variables) = self.variables.map.get("variables") {
            runbook.put("variables", variables.clone());
        }
        runbook.put(
            "steps",
            Draft::list(steps.into_iter().map(|step| Draft::map(step.map, step.line)).collect()),
        );
        import.plan.within("runbooks", line).put(&label, Draft::map(runbook, line));
        Some(label)
    }

    /// A value that later steps need leaves its step by name; what nobody sets, a run must bind.
    fn outputs(&mut self) {
        let mut set: BTreeSet<String> = BTreeSet::new();
        for at in 0..self.steps.len() {
            let (uses, sets, line) =
                (self.steps[at].uses.clone(), self.steps[at].sets.clone(), self.steps[at].line);
            for name in uses.iter().filter(|name| !set.contains(*name) && !sets.contains(*name)) {
                self.variables.expect(name, line);
            }
            let is_last = at + 1 == self.steps.len();
            let exports = if is_last { BTreeSet::new() } else { self.steps[at].exports.clone() };
            let later: BTreeSet<&String> = self.steps[at + 1..].iter().flat_map(|step| &step.uses).collect();
            let given: Vec<String> = sets
                .iter()
                .filter(|name| {
                    (later.contains(name) || exports.contains(*name))
                        && name.parse::<EnvironmentName>().is_ok()
                })
                .cloned()
                .collect();
            set.extend(sets);
            let step = &mut self.steps[at];
            if !given.is_empty()
                && let Some(run) =
                    step.map.text_of("shell").or_else(|| step.map.text_of("check")).map(str::to_owned)
            {
                step.map.entries.retain(|(key, _)| key != "shell" && key != "check");
                let shell = step.map.within("shell", line);
                shell.put("run", Draft::text(run, line));
                given.iter().for_each(|name| shell.tell("outputs", name, line));
            }
        }
    }
}
