//! The pictures of the HTML page: which service needs which, and how long a recovery takes.
//!
//! Both are drawn with shapes that print, in the colours of the page; what they show stands as text beside them.
//!
//! Deliberately absent: any text that is not escaped by [`super::html`].

use super::html::{attribute, text};
use super::picture::Picture;
use super::times::Times;
use crate::values::Interval;
use std::fmt::Write as _;
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// The longest title in a box, in characters.
const MAX_TITLE_CHARS: usize = 28;
/// Pixels of a box, and between boxes.
const HEIGHT: usize = 40;
const GAP_X: usize = 64;
const GAP_Y: usize = 16;
const CHAR_WIDTH: usize = 8;
const EDGE: usize = 8;
/// The units of a bar's width.
const WHOLE: u128 = 1000;

/// The services as boxes, each wave a column, and what needs what as arrows.
pub(super) fn picture(picture: &Picture) -> String {
    let titles: Vec<String> = picture.nodes.iter().map(|node| shorten(&node.title)).collect();
    let width = |at: usize| titles[at].width() * CHAR_WIDTH + 28;
    let waves = picture.waves();
    let tallest = waves.iter().map(Vec::len).max().unwrap_or_default();
    let whole_height = tallest * (HEIGHT + GAP_Y) - GAP_Y;
    let mut boxes = vec![(0, 0, 0); picture.nodes.len()];
    let mut left = EDGE;
    for wave in &waves {
        let widest = wave.iter().map(|at| width(*at)).max().unwrap_or_default();
        let height = wave.len() * (HEIGHT + GAP_Y) - GAP_Y;
        let mut top = EDGE + (whole_height - height) / 2;
        for at in wave {
            boxes[*at] = (left, top, widest);
            top += HEIGHT + GAP_Y;
        }
        left += widest + GAP_X;
    }
    let (whole_width, whole_height) = (left - GAP_X + EDGE, whole_height + 2 * EDGE);
    let mut out = format!(
        "<figure class=\"needs\">\n<svg viewBox=\"0 0 {whole_width} {whole_height}\" width=\"{whole_width}\" height=\"{whole_height}\" \
         role=\"img\" aria-label=\"Which service needs which; the table below says the same\">\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" \
         refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path class=\"tip\" d=\"M0 0 8 4 0 8z\"/></marker></defs>\n"
    );
    for (at, node) in picture.nodes.iter().enumerate() {
        let (x, y, _) = boxes[at];
        for need in &node.needs {
            let (from_x, from_y, width) = boxes[*need];
            let (from_x, from_y, y) = (from_x + width, from_y + HEIGHT / 2, y + HEIGHT / 2);
            let bend = GAP_X / 2;
            _ = writeln!(
                out,
                "<path class=\"edge\" d=\"M{from_x} {from_y}C{} {from_y} {} {y} {x} {y}\" marker-end=\"url(#tip)\"/>",
                from_x + bend,
                x.saturating_sub(bend)
            );
        }
    }
    for (at, node) in picture.nodes.iter().enumerate() {
        let (x, y, width) = boxes[at];
        _ = writeln!(
            out,
            "<g><title>{}</title><rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{HEIGHT}\" rx=\"8\"/><text x=\"{}\" \
             y=\"{}\" text-anchor=\"middle\">{}</text></g>",
            attribute(&node.title),
            x + width / 2,
            y + HEIGHT / 2 + 5,
            attribute(&titles[at])
        );
    }
    out.push_str("</svg>\n</figure>\n");
    out
}

fn shorten(title: &str) -> String {
    match title.char_indices().nth(MAX_TITLE_CHARS) {
        Some((cut, _)) => format!("{}…", title[..cut].trim_end()),
        None => title.to_owned(),
    }
}

/// The steps of a recovery as bars on one scale, with the line that they may not cross.
pub(super) fn times(times: &Times) -> String {
    let whole = times.whole().as_millis().max(1);
    let place = |time: Duration| (time.as_millis() * WHOLE / whole).min(WHOLE);
    let bound = times.rto.map(|Interval(rto)| place(rto));
    let is_late = times.rto.is_some_and(|Interval(rto)| times.total() > rto);
    let mut out = "<figure class=\"times\">\n<table>\n<thead class=\"unseen\"><tr><th scope=\"col\">Step</th><th scope=\"col\">Takes</th>\
                   <th scope=\"col\">On the scale</th></tr></thead>\n<tbody>\n"
        .to_owned();
    let mut row = |name: &str, time: Duration, class: &str, from: u128, to: u128| {
        let line = match bound {
            Some(at) => format!("<path class=\"bound\" d=\"M{at} 0V14\"/>"),
            None => String::new(),
        };
        _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td><svg viewBox=\"0 0 {WHOLE} 14\" preserveAspectRatio=\"none\" \
             aria-hidden=\"true\"><rect class=\"{class}\" x=\"{from}\" y=\"3\" width=\"{}\" height=\"8\"/>{line}</svg></td></tr>",
            text(name),
            Interval(time),
            to.saturating_sub(from).max(4)
        );
    };
    for (name, begins, takes) in &times.steps {
        let ends = begins.saturating_add(*takes);
        let late = times.rto.is_some_and(|Interval(rto)| ends > rto);
        row(name, *takes, if late { "late" } else { "step" }, place(*begins), place(ends));
    }
    for (name, class, bound) in [("RTO", "rto", times.rto), ("MTD", "mtd", times.mtd)] {
        if let Some(Interval(bound)) = bound {
            row(name, bound, class, 0, place(bound));
        }
    }
    let class = if is_late { " class=\"late\"" } else { "" };
    _ = write!(
        out,
        "</tbody>\n</table>\n<figcaption{class}>{}</figcaption>\n</figure>\n",
        text(&times.verdict())
    );
    out
}
