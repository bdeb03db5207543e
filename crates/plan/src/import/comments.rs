//! People's comments in a plan, carried over when it is written anew.
//!
//! # Invariants
//! - **K1 none is lost.** A comment whose place is gone stands at the end, with what it stood at.
//!
//! Deliberately absent: the way in which values were written; a plan is written in one style.

use crate::tree;
use crate::write;
use crate::yaml::{self, Node, Value as Yaml};
use saphyr_parser::{Event, Parser};
use serde_json::Value;
use std::fmt::Write as _;

/// A comment and the place that it stands at.
struct Comment {
    way: Option<String>,
    text: String,
    /// Whether it stands behind a value, not above one.
    trails: bool,
}

/// A plan as YAML, with the comments of the text that it replaces.
#[must_use]
pub fn write_over(plan: &crate::Plan, old: &str) -> String {
    let tree = tree::of(plan);
    let mut lines = write::lines(&tree);
    let mut lost = Vec::new();
    for comment in comments(old) {
        let at = comment.way.as_deref().and_then(|way| {
            // The place, or the one that holds it on its line.
            let mut way = way;
            loop {
                if let Some(at) = lines.iter().position(|line| line.way.as_deref() == Some(way)) {
                    return Some(at);
                }
                way = &way[..way.rfind(['.', '['])?];
            }
        });
        match (at, comment.way) {
            (Some(at), _) if comment.trails => {
                let line = &mut lines[at];
                _ = write!(line.text, "    {}", comment.text);
            }
            (Some(at), Some(way)) => {
                let exact = lines[at].way.as_deref() == Some(way.as_str());
                let indent = lines[at].text.len() - lines[at].text.trim_start().len();
                let text = format!("{}{}", " ".repeat(indent), comment.text);
                _ = exact;
                lines.insert(at, write::Line { way: None, text });
            }
            (_, way) => lost.push((way, comment.text)),
        }
    }
    let mut out = String::new();
    for line in lines {
        out.push_str(&line.text);
        out.push('\n');
    }
    for (way, text) in lost {
        match way {
            Some(way) => _ = writeln!(out, "{text}    (stood at {way})"),
            None => _ = writeln!(out, "{text}"),
        }
    }
    out
}

/// The comments of a text, each with the place below or before it.
fn comments(source: &str) -> Vec<Comment> {
    let Ok(root) = yaml::parse(source) else { return Vec::new() };
    let mut places = Vec::new();
    gather("", &root, &mut places);
    let texts = texts(source);
    let mut comments = Vec::new();
    for (number, line) in (1_usize..).zip(source.lines()) {
        let within = |at: usize| texts.iter().any(|(from, to)| (number, at) >= *from && (number, at) < *to);
        let mut before = None;
        let start = line.chars().enumerate().find(|(at, c)| {
            let free = before.is_none_or(char::is_whitespace);
            before = Some(*c);
            *c == '#' && free && !within(*at)
        });
        let Some((column, _)) = start else { continue };
        let text: String = line.chars().skip(column).collect();
        let trails = !line.chars().take(column).all(char::is_whitespace);
        let line_of = |place: &&(u32, String)| place.0 as usize;
        let way = if trails {
            places.iter().find(|place| line_of(place) == number)
        } else {
            places.iter().find(|place| line_of(place) > number)
        };
        comments.push(Comment {
            way: way.map(|(_, way)| way.clone()),
            text: text.trim_end().to_owned(),
            trails,
        });
    }
    comments
}

/// Where texts stand: line and column of the first character and of the one behind the last.
fn texts(source: &str) -> Vec<((usize, usize), (usize, usize))> {
    let mut texts = Vec::new();
    let mut parser = Parser::new_from_str(source);
    while let Some(Ok((event, span))) = parser.next_event() {
        match event {
            Event::Scalar(..) => {
                texts.push(((span.start.line(), span.start.col()), (span.end.line(), span.end.col())));
            }
            Event::StreamEnd => break,
            _ => {}
        }
    }
    texts
}

/// The line of each key and item with the way to it.
fn gather(way: &str, node: &Node, places: &mut Vec<(u32, String)>) {
    match &node.value {
        Yaml::Map(entries) => {
            for (key, value) in entries {
                let below = tree::join(way, key.text().unwrap_or_default());
                places.push((key.mark.line, below.clone()));
                gather(&below, value, places);
            }
        }
        Yaml::List(items) => {
            let values: Vec<Value> = items.iter().map(plain).collect();
            let ways = tree::items(way, &values);
            for (at, item) in items.iter().enumerate() {
                let below = ways.as_ref().map_or_else(|| format!("{way}[{at}]"), |ways| ways[at].0.clone());
                places.push((item.mark.line, below.clone()));
                gather(&below, item, places);
            }
        }
        Yaml::Scalar { .. } => {}
    }
}

/// As much of a node as names it.
fn plain(node: &Node) -> Value {
    let entries = match &node.value {
        Yaml::Map(entries) => entries.as_slice(),
        _ => return Value::Null,
    };
    let texts =
        entries.iter().filter_map(|(key, value)| Some((key.text()?.to_owned(), Value::from(value.text()?))));
    Value::Object(texts.collect())
}
