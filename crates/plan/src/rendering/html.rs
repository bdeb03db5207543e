//! A plan's pieces as one page of HTML: for the screen at night, for the printer, for a reader of screens.
//!
//! The page needs nothing else: no script, no font, no picture from elsewhere, and its policy lets none be loaded.
//!
//! # Invariants
//! - **H1 everything escaped.** No text of the plan stands in the page but through [`text`] or [`attribute`].
//! - **H2 links say where they lead.** An address links to itself, a name to a heading of this page that is there.

use super::blocks::{Block, Bullets, Entry, Said};
use super::{FORMAT, MARK, inline, svg};
use crate::model::Plan;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// How the page looks.
const STYLE: &str = include_str!("style.css");

/// The pieces of a plan as a page.
pub(crate) fn print(plan: &Plan, blocks: &[Block]) -> String {
    let title = plan.metadata.title.as_deref().unwrap_or(plan.metadata.name.as_str());
    let anchors = blocks.iter().filter_map(|block| match block {
        Block::Heading { anchor, .. } => anchor.clone(),
        _ => None,
    });
    let mut page = Page { out: String::new(), anchors: anchors.collect(), open: Vec::new(), blocks };
    _ = write!(
        page.out,
        "<!DOCTYPE html>\n{MARK}{FORMAT}: written by `lifeboat plan render` -->\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#plan\">To the plan</a>\n<header>\n",
        attribute(title)
    );
    page.pieces();
    page.close(0);
    page.out.push_str("</main>\n</body>\n</html>\n");
    page.out
}

struct Page<'a> {
    out: String,
    anchors: BTreeSet<String>,
    /// The levels of the sections that are open.
    open: Vec<u8>,
    blocks: &'a [Block],
}

impl Page<'_> {
    fn pieces(&mut self) {
        let mut at = 0;
        while let Some(block) = self.blocks.get(at) {
            let facts =
                self.blocks[at..].iter().take_while(|block| matches!(block, Block::Fact { .. })).count();
            if facts > 0 {
                self.facts(&self.blocks[at..at + facts]);
                at += facts;
                continue;
            }
            let is_contents = matches!(self.blocks.get(at + 1), Some(Block::Contents(_)));
            match block {
                // The contents have no section: they stand beside the rest.
                Block::Heading { .. } if is_contents => {}
                Block::Heading { level: 1, title, label, .. } => {
                    let name = name(title.as_deref(), label.as_deref());
                    _ = writeln!(self.out, "<p class=\"kind\">Disaster recovery plan</p>\n<h1>{name}</h1>");
                }
                Block::Heading { .. } => self.heading(block),
                Block::Contents(entries) => self.contents(entries),
                block => self.piece(block),
            }
            at += 1;
        }
    }

    /// Ends the sections of a level and below.
    fn close(&mut self, level: u8) {
        while self.open.last().is_some_and(|open| *open >= level) {
            self.open.pop();
            self.out.push_str("</section>\n");
        }
    }

    fn heading(&mut self, block: &Block) {
        let Block::Heading { level, lead, title, label, anchor } = block else { return };
        self.close(*level);
        self.open.push(*level);
        let kind = if lead.starts_with("Step ") { " step" } else { "" };
        let id = anchor.as_ref().map_or(String::new(), |anchor| format!(" id=\"{}\"", attribute(anchor)));
        let name = name(title.as_deref(), label.as_deref());
        let heading = match (lead.is_empty(), name.is_empty()) {
            (true, _) => name,
            (false, true) => text(lead),
            (false, false) => format!("<span class=\"lead\">{}</span> {name}", text(lead)),
        };
        _ = writeln!(self.out, "<section class=\"l{level}{kind}\"{id}>\n<h{level}>{heading}</h{level}>");
    }

    fn contents(&mut self, entries: &[Entry]) {
        self.out.push_str("</header>\n<nav aria-label=\"Contents\">\n<h2>Contents</h2>\n<ul>\n");
        let mut depth = 0;
        for (at, entry) in entries.iter().enumerate() {
            let Some(Block::Heading { lead, title, label, anchor: Some(anchor), .. }) =
                self.blocks.get(entry.heading)
            else {
                continue;
            };
            match (entry.depth, depth) {
                (1, 0) => self.out.push_str("<ul>\n"),
                (0, 1) => self.out.push_str("</ul>\n</li>\n"),
                (0, _) if at > 0 => self.out.push_str("</li>\n"),
                _ => {}
            }
            depth = entry.depth;
            let shown = title.as_deref().or(label.as_deref()).unwrap_or(lead);
            _ = write!(self.out, "<li><a href=\"#{}\">{}</a>", attribute(anchor), text(shown));
            self.out.push_str(if depth == 1 { "</li>\n" } else { "\n" });
        }
        self.out.push_str(if depth == 1 { "</ul>\n</li>\n" } else { "</li>\n" });
        self.out.push_str("</ul>\n</nav>\n<main id=\"plan\">\n");
    }

    fn facts(&mut self, facts: &[Block]) {
        self.out.push_str("<dl>\n");
        for fact in facts {
            if let Block::Fact { title, value } = fact {
                let value = self.said(value, title);
                _ = writeln!(self.out, "<div><dt>{}</dt><dd>{value}</dd></div>", text(title));
            }
        }
        self.out.push_str("</dl>\n");
    }

    fn label(&mut self, title: &str) {
        _ = writeln!(self.out, "<p class=\"label\">{}</p>", text(title));
    }

    fn piece(&mut self, block: &Block) {
        match block {
            Block::Prose(prose) => _ = writeln!(self.out, "<p class=\"prose\">{}</p>", prose_of(prose)),
            Block::Words { text: words, .. } => {
                _ = writeln!(self.out, "<pre class=\"words\">{}</pre>", text(words))
            }
            Block::Long { title, text: long } => {
                self.label(title);
                _ = writeln!(self.out, "<p class=\"prose\">{}</p>", prose_of(long));
            }
            Block::List { title, items, bullets } => {
                if let Some(title) = title {
                    self.label(title);
                }
                let (tag, class) = match bullets {
                    Bullets::Plain => ("ul", ""),
                    Bullets::Numbers => ("ol", ""),
                    Bullets::Ticks => ("ul", " class=\"ticks\""),
                };
                _ = writeln!(self.out, "<{tag}{class}>");
                for item in items {
                    _ = writeln!(self.out, "<li>{}</li>", prose_of(item));
                }
                _ = writeln!(self.out, "</{tag}>");
            }
            Block::Fence { title, text: commands, .. } => {
                self.label(title);
                _ = writeln!(self.out, "<pre tabindex=\"0\"><code>{}</code></pre>", text(commands));
            }
            Block::Action { title, name, arguments } => {
                _ = writeln!(self.out, "<p class=\"label\">{} <code>{}</code></p>", text(title), text(name));
                _ = writeln!(self.out, "<pre tabindex=\"0\"><code>{}</code></pre>", text(arguments));
            }
            Block::Table { title, columns, rows } => {
                if let Some(title) = title {
                    self.label(title);
                }
                self.table(columns, rows);
            }
            Block::Hint(hint) => _ = writeln!(self.out, "<p class=\"hint\">{}</p>", text(hint)),
            Block::Picture(picture) => {
                self.out.push_str(&svg::picture(picture));
                let mut rows = Vec::new();
                for (wave, places) in picture.waves().iter().enumerate() {
                    for at in places {
                        let after = picture.needs(*at).into_iter().map(str::to_owned).collect();
                        rows.push(vec![
                            Said::Text((wave + 1).to_string()),
                            Said::Ref("service", picture.nodes[*at].name.clone()),
                            Said::Marks(Some("service"), after),
                        ]);
                    }
                }
                self.table(&["Comes back", "Service", "After"], &rows);
            }
            Block::Times(times) => self.out.push_str(&svg::times(times)),
            Block::Heading { .. } | Block::Contents(_) | Block::Fact { .. } => {}
        }
    }

    fn table(&mut self, columns: &[&str], rows: &[Vec<Said>]) {
        self.out.push_str("<div class=\"scroll\" tabindex=\"0\">\n<table>\n<thead><tr>");
        for column in columns {
            _ = write!(self.out, "<th scope=\"col\">{}</th>", text(column));
        }
        self.out.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.out.push_str("<tr>");
            for (at, cell) in row.iter().enumerate() {
                let cell = self.said(cell, columns.get(at).copied().unwrap_or_default());
                _ = match at {
                    0 => write!(self.out, "<th scope=\"row\">{cell}</th>"),
                    _ => write!(self.out, "<td>{cell}</td>"),
                };
            }
            self.out.push_str("</tr>\n");
        }
        self.out.push_str("</tbody>\n</table>\n</div>\n");
    }

    fn said(&self, value: &Said, title: &str) -> String {
        match value {
            Said::Nothing => String::new(),
            Said::Text(said) => linked(said, title),
            Said::Mark(mark) => format!("<code>{}</code>", text(mark)),
            Said::Ref(of, name) => self.reference(of, name),
            Said::Marks(_, marks) if marks.is_empty() => inline::NOTHING.to_owned(),
            Said::Marks(of, marks) => {
                let mark = |mark: &String| match of {
                    Some(of) => self.reference(of, mark),
                    None => format!("<code>{}</code>", text(mark)),
                };
                marks.iter().map(mark).collect::<Vec<_>>().join(", ")
            }
            Said::Texts(texts) => match &texts[..] {
                [only] => prose_of(only),
                texts => {
                    let items: String =
                        texts.iter().map(|item| format!("<li>{}</li>", prose_of(item))).collect();
                    format!("<ul>{items}</ul>")
                }
            },
            Said::Name(title, label) => name(title.as_deref(), label.as_deref()),
            Said::Objective(time, words, inherited) => {
                let words = words.as_ref().map(|words| format!("<q>{}</q>", text(words)));
                let both: Vec<String> = time.iter().map(|time| text(time)).chain(words).collect();
                match inherited {
                    true => format!("<em>{}</em>", both.join(" ")),
                    false => both.join(" "),
                }
            }
        }
    }

    /// H2.
    fn reference(&self, of: &str, name: &str) -> String {
        let anchor = format!("{of}-{name}");
        let code = format!("<code>{}</code>", text(name));
        if self.anchors.contains(&anchor) {
            format!("<a href=\"#{}\">{code}</a>", attribute(&anchor))
        } else {
            code
        }
    }
}

/// What people call something, and its label.
fn name(title: Option<&str>, label: Option<&str>) -> String {
    match (title, label) {
        (Some(title), Some(label)) => format!("{} <code>{}</code>", text(title), text(label)),
        (Some(title), None) => text(title),
        (None, Some(label)) => format!("<code>{}</code>", text(label)),
        (None, None) => String::new(),
    }
}

/// H2: an address as a link to itself.
fn linked(said: &str, title: &str) -> String {
    let plain = !said.is_empty()
        && said.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '<' | '>'));
    let is_page = plain
        && ["https://", "http://"].iter().any(|scheme| said.starts_with(scheme) && said.len() > scheme.len());
    let is_mail = plain
        && title == "Mail"
        && said.matches('@').count() == 1
        && !said.contains(['?', '&', '%', ':', ',']);
    let digits = said.chars().filter(char::is_ascii_digit).count();
    let is_phone = title == "Telephone"
        && digits >= 3
        && said.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | ' ' | '(' | ')'));
    let target = if is_page {
        said.to_owned()
    } else if is_mail {
        format!("mailto:{said}")
    } else if is_phone {
        format!("tel:{}", said.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect::<String>())
    } else {
        return text(said);
    };
    format!("<a href=\"{}\">{}</a>", attribute(&target), text(said))
}

/// Prose: what stands between backticks is for a machine.
fn prose_of(prose: &str) -> String {
    let mut out = String::new();
    for (is_code, piece) in inline::code_spans(prose) {
        if is_code {
            _ = write!(out, "<code>{}</code>", text(piece));
        } else {
            out.push_str(&text(piece));
        }
    }
    out
}

/// H1: a text as it is shown. What could not be seen stands as its number.
pub(super) fn text(source: &str) -> String {
    let mut out = String::new();
    for c in source.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if !inline::is_printable(c.encode_utf8(&mut [0; 4])) => {
                _ = write!(out, "<span class=\"odd\">U+{:04X}</span>", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

/// H1: a text inside of an attribute, or where no element may stand.
pub(super) fn attribute(source: &str) -> String {
    let shown: String = source
        .chars()
        .map(|c| if inline::is_printable(c.encode_utf8(&mut [0; 4])) { c } else { '\u{fffd}' })
        .collect();
    text(&shown)
}
