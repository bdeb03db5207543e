//! The table of objectives, read back and put where each row belongs.

use super::lines::What;
use super::{Entries, Reader};
use crate::rendering::inline;
use crate::rendering::markdown::{read_name, read_objective};
use crate::rendering::objectives::{COLUMNS, EVERYTHING, NAME, OF, SCENARIO, SERVICE, TIERS};
use crate::yaml::{Node, Value};
use std::collections::BTreeMap;

/// A row of the table.
pub(super) struct Row {
    line: u32,
    of: String,
    name: String,
    objectives: Entries,
}

impl Reader<'_> {
    /// The rows below the heading.
    pub(super) fn objectives(&mut self) -> Vec<Row> {
        let mut all = Vec::new();
        while let Some(piece) = self.peek() {
            match &piece.what {
                What::Heading(1 | 2, _) => break,
                What::Hint => self.take(),
                What::Table(header, rows) => {
                    self.take();
                    self.columns(header, piece.line);
                    for (line, cells) in rows {
                        all.push(self.row(header, cells, *line));
                    }
                }
                _ => self.miss("objectives stand in the table; this was left out"),
            }
        }
        all
    }

    fn columns(&mut self, header: &[String], line: u32) {
        let known = |title: &String| {
            [OF, NAME].contains(&title.as_str()) || COLUMNS.iter().any(|(column, _)| column == title)
        };
        for title in header.iter().filter(|title| !known(title)) {
            self.tell(line, format!("the column `{title}` is not known here; it was left out"));
        }
    }

    fn row(&mut self, header: &[String], cells: &[String], line: u32) -> Row {
        let cell = |title: &str| {
            let at = header.iter().position(|column| column == title);
            at.and_then(|at| cells.get(at)).map_or("", String::as_str)
        };
        let mut objectives = Entries::default();
        for (title, key) in COLUMNS {
            let (time, words) = read_objective(cell(title));
            if let Some(time) = time {
                let time = self.text(time, line);
                self.put(&mut objectives, key, time);
            }
            if let Some(words) = words {
                let words = self.text(words, line);
                self.put(&mut objectives, &format!("words.{key}"), words);
            }
        }
        Row { line, of: inline::read(cell(OF)), name: cell(NAME).to_owned(), objectives }
    }

    /// Puts each row where it belongs.
    pub(super) fn place(&mut self, rows: Vec<Row>, root: &mut Entries) {
        let mut named: BTreeMap<(&str, String), Entries> = BTreeMap::new();
        for Row { line, of, name, objectives } in rows {
            if of == EVERYTHING {
                if !objectives.0.is_empty() {
                    let value = self.node(line, Value::Map(objectives.0));
                    self.put(root, "objectives", value);
                }
            } else if let Some((_, _, kind)) = TIERS.iter().find(|(_, title, _)| *title == of) {
                let (title, label) = read_name(&name, true);
                let label = label.or_else(|| title.as_deref().and_then(super::words::label));
                let mut tier = Entries::default();
                let texts = [("name", label), ("title", title), ("kind", Some((*kind).to_owned()))];
                for (key, text) in texts {
                    if let Some(text) = text.filter(|text| key != "kind" || !text.is_empty()) {
                        let text = self.text(text, line);
                        self.put(&mut tier, key, text);
                    }
                }
                if !objectives.0.is_empty() {
                    let value = self.node(line, Value::Map(objectives.0));
                    self.put(&mut tier, "objectives", value);
                }
                let tier = self.node(line, Value::Map(tier.0));
                self.add(root, "tiers", tier);
            } else if let Some(list) =
                [(SERVICE, "services"), (SCENARIO, "scenarios")].iter().find(|(title, _)| *title == of)
            {
                let name = inline::read_mark(&name);
                if objectives.0.is_empty() {
                    continue;
                }
                if !has(root, list.1, &name) {
                    self.tell(
                        line,
                        format!("no {} is called `{name}`; its objectives were left out", of.to_lowercase()),
                    );
                    continue;
                }
                named.insert((list.1, name), objectives);
            } else {
                self.tell(line, format!("objectives of `{of}` are not known; they were left out"));
            }
        }
        for ((list, name), objectives) in named {
            let line = objectives.0.first().map_or(1, |(key, _)| key.mark.line);
            let value = self.node(line, Value::Map(objectives.0));
            let key = self.text("objectives", line);
            if let Some(entries) = find(root, list, &name) {
                entries.push((key, value));
            }
        }
    }
}

fn has(root: &mut Entries, list: &str, name: &str) -> bool {
    find(root, list, name).is_some()
}

/// What the thing of that name has.
fn find<'m>(root: &'m mut Entries, list: &str, name: &str) -> Option<&'m mut Vec<(Node, Node)>> {
    let (_, Node { value: Value::List(items), .. }) =
        root.0.iter_mut().find(|(key, _)| key.text() == Some(list))?
    else {
        return None;
    };
    items.iter_mut().find_map(|item| match &mut item.value {
        Value::Map(entries) => {
            let is_it =
                |(key, value): &(Node, Node)| key.text() == Some("name") && value.text() == Some(name);
            entries.iter().any(is_it).then_some(entries)
        }
        _ => None,
    })
}
