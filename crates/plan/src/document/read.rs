//! From pulldown-cmark's events to blocks.

use super::{
    Block, Code, CodeLine, Document, Item, Kind, Link, MAX_BLOCKS, MAX_DOCUMENT_BYTES, Place, ROOT, Section,
    Table, Text,
};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use std::ops::Range;

/// Reads a document.
pub(super) fn read(source: &str) -> Document {
    // A mark of the encoding is no part of the first line.
    let whole = source.strip_prefix('\u{feff}').unwrap_or(source);
    let source = prefix(whole, MAX_DOCUMENT_BYTES);
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut reader = Reader::new(source);
    for (event, range) in Parser::new_ext(source, options).into_offset_iter() {
        if reader.document.blocks.len() + reader.document.sections.len() >= MAX_BLOCKS {
            reader.document.cut = Some(reader.lines.at(range.start).0);
            break;
        }
        reader.event(event, range);
    }
    if source.len() < whole.len() {
        let line = reader.lines.at(source.len()).0;
        reader.document.cut.get_or_insert(line);
    }
    reader.finish()
}

/// The longest beginning of at most `limit` bytes that is text.
fn prefix(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Where lines begin.
struct Lines<'a> {
    source: &'a str,
    starts: Vec<usize>,
    /// The last answer: columns on one line are counted on from it.
    last: (usize, u32, u32),
}

impl<'a> Lines<'a> {
    fn new(source: &'a str) -> Self {
        let starts = std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { source, starts, last: (0, 1, 1) }
    }

    /// Line and column of a byte.
    fn at(&mut self, offset: usize) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let number = u32::try_from(line).unwrap_or(u32::MAX);
        let start = self.starts[line - 1];
        let (from, column) = match self.last {
            (at, last, column) if last == number && at <= offset => (at, column),
            _ => (start, 1),
        };
        let passed = self.source.get(from..offset).map_or(0, |piece| piece.chars().count());
        let column = column + u32::try_from(passed).unwrap_or(0);
        self.last = (offset, number, column);
        (number, column)
    }
}

/// What text is being gathered for.
enum Gather {
    Nothing,
    Heading(u8),
    Paragraph,
    Cell,
    Code(Code),
    Html(String),
    Metadata,
}

struct Reader<'a> {
    document: Document,
    lines: Lines<'a>,
    gather: Gather,
    text: Text,
    strong: u32,
    place: Place,
    /// Lists around, each with the number of its next item and its own number.
    lists: Vec<(Option<u64>, usize)>,
    list_count: usize,
    /// Items around, as indices of blocks.
    items: Vec<usize>,
    table: Table,
    row: Vec<Text>,
    in_header: bool,
    /// The block of the last table that was written as HTML.
    html_table: Option<usize>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str) -> Self {
        let root = Section::new(Text::default(), 0, None);
        let document = Document {
            sections: vec![root],
            blocks: Vec::new(),
            links: Vec::new(),
            comments: Vec::new(),
            cut: None,
            lines: source.lines().map(str::to_owned).collect(),
        };
        Self {
            document,
            lines: Lines::new(source),
            gather: Gather::Nothing,
            text: Text::default(),
            strong: 0,
            place: Place::new(1, 1, 1),
            lists: Vec::new(),
            list_count: 0,
            items: Vec::new(),
            table: Table { header: Vec::new(), rows: Vec::new() },
            row: Vec::new(),
            in_header: false,
            html_table: None,
        }
    }

    fn event(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(tag) => self.start(tag, range),
            Event::End(tag) => self.end(tag, range),
            Event::Text(text) => self.words(&text, range, false),
            Event::Code(text) => self.code_span(&text, range),
            Event::SoftBreak | Event::HardBreak => self.words("\n", range, false),
            Event::Html(text) | Event::InlineHtml(text) => self.html(&text, range),
            Event::TaskListMarker(done) => {
                if let Some(Kind::Item(item)) = self.innermost() {
                    item.done = Some(done);
                }
            }
            Event::FootnoteReference(_) | Event::Rule | Event::InlineMath(_) | Event::DisplayMath(_) => {}
        }
    }

    fn innermost(&mut self) -> Option<&mut Kind> {
        let at = *self.items.last()?;
        self.document.blocks.get_mut(at).map(|block| &mut block.kind)
    }

    fn section(&self) -> usize {
        self.document.sections.len() - 1
    }

    fn start(&mut self, tag: Tag<'_>, range: Range<usize>) {
        let (line, column) = self.lines.at(range.start);
        let here = Place::new(line, column, 1);
        match tag {
            Tag::Heading { level, .. } => self.begin(Gather::Heading(depth(level)), here),
            Tag::Paragraph => self.begin(Gather::Paragraph, here),
            Tag::CodeBlock(kind) => {
                let info = match kind {
                    CodeBlockKind::Fenced(info) => info,
                    CodeBlockKind::Indented => CowStr::Borrowed(""),
                };
                let language = info.split([' ', ',', '{', '\t']).next().unwrap_or_default().to_lowercase();
                self.flush();
                self.begin(Gather::Code(Code { language, lines: Vec::new() }), here);
            }
            Tag::HtmlBlock => self.begin(Gather::Html(String::new()), here),
            Tag::MetadataBlock(_) => self.begin(Gather::Metadata, here),
            Tag::List(first) => {
                self.flush();
                self.list_count += 1;
                self.lists.push((first, self.list_count));
            }
            Tag::Item => {
                let depth = u32::try_from(self.lists.len().saturating_sub(1)).unwrap_or(u32::MAX);
                let (number, list) = match self.lists.last_mut() {
                    Some((Some(next), list)) => {
                        *next = next.saturating_add(1);
                        (Some(*next - 1), *list)
                    }
                    Some((None, list)) => (None, *list),
                    None => (None, 0),
                };
                let item = Item { text: Text::default(), depth, list, number, done: None };
                self.push(Kind::Item(item), here, range.clone());
                self.items.push(self.document.blocks.len() - 1);
                self.begin(Gather::Paragraph, here);
            }
            Tag::Table(_) => {
                self.table = Table { header: Vec::new(), rows: Vec::new() };
                self.place = here;
            }
            Tag::TableHead => self.in_header = true,
            Tag::TableRow => self.row.clear(),
            Tag::TableCell => {
                self.gather = Gather::Cell;
                self.text = Text::default();
            }
            Tag::Strong => self.strong += 1,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                let length = self.lines.source.get(range.clone()).map_or(1, |link| link.chars().count());
                let place = Place::new(line, column, u32::try_from(length).unwrap_or(1));
                let link = Link { target: dest_url.into_string(), place, section: self.section() };
                self.document.links.push(link);
            }
            _ => {}
        }
    }

    fn begin(&mut self, gather: Gather, place: Place) {
        // An item's first paragraph goes on with the item's own text.
        if !matches!((&self.gather, &gather), (Gather::Paragraph, Gather::Paragraph)) || !self.text.is_empty()
        {
            self.flush();
            self.text = Text::default();
        }
        self.gather = gather;
        self.place = place;
    }

    /// Ends a paragraph that has no end of its own: a tight item's.
    fn flush(&mut self) {
        if matches!(self.gather, Gather::Paragraph) {
            self.paragraph();
        }
        self.gather = Gather::Nothing;
    }

    fn paragraph(&mut self) {
        let text = std::mem::take(&mut self.text);
        self.gather = Gather::Nothing;
        if text.is_empty() {
            return;
        }
        let (place, end) = (self.place, self.lines.last.1);
        if let Some(Kind::Item(item)) = self.innermost()
            && item.text.is_empty()
        {
            item.text = text;
            return;
        }
        if self.items.is_empty()
            && let Some(level) = bold_level(&text)
        {
            self.heading(text, level);
            return;
        }
        let block = Block {
            section: self.section(),
            item: self.items.last().copied(),
            place,
            last_line: end,
            kind: Kind::Paragraph(text),
        };
        self.document.blocks.push(block);
    }

    fn heading(&mut self, text: Text, level: u8) {
        let level = level.max(1);
        let mut parent = self.section();
        while parent != ROOT && self.document.sections[parent].level >= level {
            parent = self.document.sections[parent].parent.unwrap_or(ROOT);
        }
        self.document.sections.push(Section::new(text, level, Some(parent)));
    }

    fn end(&mut self, tag: TagEnd, range: Range<usize>) {
        match tag {
            TagEnd::Heading(_) => {
                if let Gather::Heading(level) = self.gather {
                    let text = std::mem::take(&mut self.text);
                    self.heading(text, level);
                    self.gather = Gather::Nothing;
                }
            }
            TagEnd::Paragraph => self.paragraph(),
            TagEnd::CodeBlock => {
                if let Gather::Code(code) = std::mem::replace(&mut self.gather, Gather::Nothing) {
                    self.push(Kind::Code(code), self.place, range);
                }
            }
            TagEnd::HtmlBlock => {
                if let Gather::Html(html) = std::mem::replace(&mut self.gather, Gather::Nothing) {
                    self.html_block(html, range);
                }
            }
            TagEnd::MetadataBlock(_) => self.gather = Gather::Nothing,
            TagEnd::Item => {
                self.flush();
                self.items.pop();
            }
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::TableCell => {
                self.row.push(std::mem::take(&mut self.text));
                self.gather = Gather::Nothing;
            }
            TagEnd::TableHead => {
                self.in_header = false;
                self.table.header = std::mem::take(&mut self.row);
            }
            TagEnd::TableRow => {
                let row = std::mem::take(&mut self.row);
                self.table.rows.push(row);
            }
            TagEnd::Table => {
                let table =
                    std::mem::replace(&mut self.table, Table { header: Vec::new(), rows: Vec::new() });
                self.push(Kind::Table(table), self.place, range);
            }
            TagEnd::Strong => self.strong = self.strong.saturating_sub(1),
            _ => {}
        }
    }

    /// A table, the rest of the table before it, or what nobody reads.
    fn html_block(&mut self, html: String, range: Range<usize>) {
        let source = self.lines.source.get(range.clone()).unwrap_or_default();
        let found = super::html::rows(source, |at| self.lines.at(range.start + at));
        let mut rows = found.rows.into_iter();
        let before = self.html_table.filter(|at| !found.begins && at + 1 == self.document.blocks.len());
        let header = match before.and_then(|at| self.document.blocks.get_mut(at)) {
            Some(Block { kind: Kind::Table(table), last_line, .. }) if rows.len() > 0 => {
                let width = table.header.len();
                table.rows.extend(rows.map(|row| fitted(row, width)));
                *last_line = self.lines.at(range.end.max(1) - 1).0;
                return;
            }
            _ => rows.next(),
        };
        match header.filter(|_| found.begins) {
            Some(header) => {
                let width = header.len();
                let rows = rows.map(|row| fitted(row, width)).collect();
                self.push(Kind::Table(Table { header, rows }), self.place, range);
                self.html_table = Some(self.document.blocks.len() - 1);
            }
            None => self.push(Kind::Html(html), self.place, range),
        }
    }

    fn push(&mut self, kind: Kind, place: Place, range: Range<usize>) {
        let trimmed = self
            .lines
            .source
            .get(range.clone())
            .map_or(range.end, |text| range.start + text.trim_end().len());
        let last_line = self.lines.at(trimmed.max(range.start)).0;
        let item = self.items.last().copied();
        self.document.blocks.push(Block { section: self.section(), item, place, last_line, kind });
    }

    fn words(&mut self, text: &str, range: Range<usize>, code: bool) {
        let (line, column) = self.lines.at(range.start);
        match &mut self.gather {
            Gather::Code(block) => {
                for (number, piece) in (line..).zip(text.split_inclusive('\n')) {
                    let column = if number == line { column } else { 1 };
                    let piece = piece.trim_end_matches(['\n', '\r']);
                    match block.lines.last_mut() {
                        Some(last) if last.line == number => last.text.push_str(piece),
                        _ => block.lines.push(CodeLine { line: number, column, text: piece.to_owned() }),
                    }
                }
            }
            Gather::Metadata => {}
            Gather::Html(html) => html.push_str(text),
            _ => {
                // Behind a fence in a tight item no paragraph is announced.
                if matches!(self.gather, Gather::Nothing) && !self.items.is_empty() {
                    self.begin(Gather::Paragraph, Place::new(line, column, 1));
                }
                self.text.push(text, line, column, self.strong > 0, code);
            }
        }
    }

    fn code_span(&mut self, text: &str, range: Range<usize>) {
        // Behind its backticks and the blank that may follow them.
        let source = self.lines.source.get(range.clone()).unwrap_or_default();
        let ticks = source.bytes().take_while(|byte| *byte == b'`').count();
        let inner = source.get(ticks..).unwrap_or_default();
        let blank = usize::from(inner.starts_with(' ') && !text.starts_with(' '));
        self.words(text, range.start + ticks + blank..range.end, true);
    }

    fn html(&mut self, text: &str, range: Range<usize>) {
        let (line, column) = self.lines.at(range.start);
        if let Gather::Html(html) = &mut self.gather {
            html.push_str(text);
        }
        if let Some(rest) = text.trim_start().strip_prefix("<!--") {
            let place = Place::new(line, column, u32::try_from(text.trim().chars().count()).unwrap_or(1));
            self.document
                .comments
                .push((rest.split("-->").next().unwrap_or_default().trim().to_owned(), place));
        } else if text.trim().eq_ignore_ascii_case("<br>") || text.trim().eq_ignore_ascii_case("<br/>") {
            self.text.push("\n", line, column, false, false);
        }
    }

    fn finish(mut self) -> Document {
        self.flush();
        // A section ends where the next one that is not inside it begins.
        let last = u32::try_from(self.document.lines.len()).unwrap_or(u32::MAX).max(1);
        let sections = &mut self.document.sections;
        for at in 0..sections.len() {
            let level = sections[at].level;
            let inside = sections[at + 1..].iter().take_while(|section| section.level > level).count();
            sections[at].end = at + 1 + inside;
            sections[at].last_line = match sections.get(at + 1 + inside) {
                Some(next) if at != ROOT => next.title.whole().line.saturating_sub(1),
                _ => last,
            };
        }
        self.document
    }
}

/// A row with as many cells as the header.
fn fitted(mut row: Vec<Text>, width: usize) -> Vec<Text> {
    row.resize(width, Text::default());
    row
}

fn depth(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

/// The level of a paragraph that is nothing but bold, with a colon at most.
fn bold_level(text: &Text) -> Option<u8> {
    const NUMBERED: [&str; 14] = [
        "scenario",
        "szenario",
        "escenario",
        "scénario",
        "incident",
        "disaster",
        "category",
        "procedure",
        "runbook",
        "phase",
        "part",
        "场景",
        "情境",
        "情景",
    ];
    let strong: usize = text.strong().map(|(from, to)| text.plain()[from..to].trim().len()).sum();
    let words = text.plain().trim().trim_end_matches([':', '：']);
    if strong == 0 || text.plain().contains('\n') || words.chars().count() > 100 {
        return None;
    }
    let all: usize = words.split(' ').map(str::len).sum::<usize>() + words.matches(' ').count();
    if strong + 1 < all || words.is_empty() {
        return None;
    }
    let small = words.to_lowercase();
    let counted = small.starts_with(|c: char| c.is_ascii_digit())
        || NUMBERED
            .iter()
            .any(|word| small.strip_prefix(word).is_some_and(|rest| rest.contains(char::is_numeric)));
    Some(if counted { 7 } else { 8 })
}
