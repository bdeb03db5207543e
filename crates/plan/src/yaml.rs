//! YAML text as a tree in which every node knows its place.
//!
//! # Invariants
//! - **Y1 bounded.** Source, nesting and the number of nodes (what aliases stand for included) have
//!   named limits; beyond them there is a finding, never a deep stack or a large allocation.
//! - **Y2 nothing dropped.** A mapping keeps its entries in order, duplicates among them.
//!
//! Deliberately absent: what any key means, merge keys (`<<`) and tags, which YAML 1.2's core schema
//! does not have either.

use crate::finding::{Code, Finding, Mark};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use std::collections::BTreeMap;

/// The largest plan that is read.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;
/// The deepest nesting of lists and mappings, aliases included.
pub const MAX_DEPTH: usize = 64;
/// The most nodes a plan may have once aliases are written out.
pub const MAX_NODES: usize = 200_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub mark: Mark,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// What a scalar is by YAML's core schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(&'a str),
}

impl Node {
    /// The scalar's text as written, whatever its type.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The scalar by YAML's core schema.
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(resolve(text)),
            Value::Scalar { text, plain: false } => Some(Scalar::Text(text)),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }

    /// The value of a key; the first one where it stands twice.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|(k, _)| k.text() == Some(key)).map(|(_, value)| value)
            }
            Value::List(_) | Value::Scalar { .. } => None,
        }
    }

    /// What it is, for a sentence.
    pub fn kind(&self) -> &'static str {
        match (&self.value, self.scalar()) {
            (Value::List(_), _) => "a list",
            (Value::Map(_), _) => "a mapping",
            (_, Some(Scalar::Null)) => "nothing",
            (_, Some(Scalar::Bool(_))) => "true or false",
            (_, Some(Scalar::Integer(_) | Scalar::Float(_))) => "a number",
            _ => "text",
        }
    }

    /// Nodes in this tree and its depth.
    fn extent(&self) -> (usize, usize) {
        let over = |children: &mut dyn Iterator<Item = &Node>| {
            let (mut nodes, mut depth) = (0, 0);
            for (n, d) in children.map(Node::extent) {
                nodes += n;
                depth = depth.max(d);
            }
            (nodes + 1, depth + 1)
        };
        match &self.value {
            Value::Scalar { .. } => (1, 0),
            Value::List(items) => over(&mut items.iter()),
            Value::Map(entries) => over(&mut entries.iter().flat_map(|(k, v)| [k, v])),
        }
    }
}

/// Reads a plain (unquoted) scalar as YAML 1.2's core schema does (chapter 10.3.2).
pub(crate) fn resolve(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        _ => {}
    }
    let radix = |digits: &str, radix| {
        let plain = !digits.starts_with(['+', '-']);
        plain.then(|| i64::from_str_radix(digits, radix).ok()).flatten().map(Scalar::Integer)
    };
    let prefixed = match text.get(..2) {
        Some("0x") => radix(&text[2..], 16),
        Some("0o") => radix(&text[2..], 8),
        _ => None,
    };
    let numeric = text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    prefixed
        .or_else(|| text.parse().ok().map(Scalar::Integer))
        .or_else(|| numeric.then(|| text.parse().ok().map(Scalar::Float)).flatten())
        .unwrap_or(Scalar::Text(text))
}

/// Reads the one document of `source`.
pub(crate) fn parse(source: &str) -> Result<Node, Finding> {
    let whole = |message: String| Finding::error(Code::Document, Mark::START, message);
    if source.len() > MAX_SOURCE_BYTES {
        return Err(whole(format!(
            "the plan has {} bytes; at most {MAX_SOURCE_BYTES} are read",
            source.len()
        )));
    }
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut builder =
        Builder { source, parser: Parser::new_from_str(source), anchors: BTreeMap::new(), nodes: 0 };
    builder.document()
}

struct Builder<'a> {
    source: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    /// Finished nodes that an alias may stand for, with their nodes and depth.
    anchors: BTreeMap<usize, (Node, usize, usize)>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Node, Finding> {
        let empty = || {
            Finding::error(Code::Document, Mark::START, "the plan is empty")
                .with_help("a plan begins with `apiVersion: lifeboat/v1` and `kind: RecoveryPlan`")
        };
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                _ if root.is_some() => {
                    return Err(Finding::error(
                        Code::Document,
                        mark(span),
                        "a second document begins here; a plan is one document",
                    )
                    .with_help("take the `---` line out, or keep each plan in a file of its own"));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        match root {
            Some(node) if !node.is_null() => Ok(node),
            _ => Err(empty()),
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Finding> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn syntax(&self, error: &ScanError) -> Finding {
        let place = mark(Span::empty(*error.marker()));
        let line = self.source.lines().nth(place.line.saturating_sub(1) as usize).unwrap_or_default();
        let indentation = line.chars().take_while(|c| c.is_whitespace());
        if let Some(tab) = indentation.clone().position(|c| c == '\t') {
            let column = u32::try_from(tab + 1).unwrap_or(u32::MAX);
            return Finding::error(
                Code::Syntax,
                Mark { column, ..place },
                "this line is indented with a tab; YAML takes only spaces",
            )
            .with_help("put two spaces where the tab is");
        }
        Finding::error(Code::Syntax, place, format!("this is not YAML: {}", error.info()))
            .with_help("if this line looks right, a bracket or quote further up may be without its end")
    }

    /// The node that begins with `event`. Recursion is bounded by [`MAX_DEPTH`].
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Finding> {
        let place = mark(span);
        self.count(1, depth, place)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = self.tag(tag.as_deref(), place)?;
                let plain = style == ScalarStyle::Plain && !tagged;
                (Node { mark: place, value: Value::Scalar { text: text.into_owned(), plain } }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.tag(tag.as_deref(), place)?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                (Node { mark: place, value: Value::List(items) }, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.tag(tag.as_deref(), place)?;
                let mut entries = Vec::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => break,
                        (event, span) => {
                            let key = self.node(event, span, depth + 1)?;
                            let (event, span) = self.next()?;
                            entries.push((key, self.node(event, span, depth + 1)?));
                        }
                    }
                }
                (Node { mark: place, value: Value::Map(entries) }, anchor)
            }
            Event::Alias(id) => return self.alias(id, depth, place),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                return Err(Finding::error(Code::Syntax, place, "this is not YAML: a value is missing here"));
            }
        };
        // Anchors count from 1.
        if anchor > 0 {
            let (nodes, height) = node.extent();
            self.count(nodes, depth, place)?;
            self.anchors.insert(anchor, (node.clone(), nodes, height));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, depth: usize, place: Mark) -> Result<Node, Finding> {
        let Some((node, nodes, height)) = self.anchors.get(&id) else {
            return Err(Finding::error(
                Code::Syntax,
                place,
                "this alias stands for what it is itself part of",
            ));
        };
        let (node, nodes, height) = (node, *nodes, *height);
        let node = node.clone();
        self.count(nodes, depth + height, place)?;
        Ok(node)
    }

    /// Y1: refuses what would make the tree too large, before it is made.
    fn count(&mut self, nodes: usize, depth: usize, place: Mark) -> Result<(), Finding> {
        if depth > MAX_DEPTH {
            let message = format!("the plan is nested more than {MAX_DEPTH} deep here");
            return Err(Finding::error(Code::Limit, place, message));
        }
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let message = format!("the plan has more than {MAX_NODES} values, aliases written out");
            return Err(Finding::error(Code::Limit, place, message));
        }
        Ok(())
    }

    /// Whether a tag makes the scalar text; any other tag is refused.
    fn tag(&self, tag: Option<&Tag>, place: Mark) -> Result<bool, Finding> {
        match tag {
            None => Ok(false),
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
            Some(tag) if tag.is_yaml_core_schema() && matches!(&*tag.suffix, "map" | "seq") => Ok(false),
            Some(_) => Err(Finding::error(Code::Syntax, place, "a plan has no use for YAML tags")
                .with_help("take the word that begins with `!` out; put text in quotes")),
        }
    }
}

/// A span as a person counts it: lines and columns from 1, columns in characters.
fn mark(span: Span) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let one_line = span.start.line() == span.end.line();
    let length = if one_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    Mark {
        line: number(span.start.line().max(1)),
        column: number(span.start.col() + 1),
        length: number(length.max(1)),
    }
}
