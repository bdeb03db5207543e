//! A plan as a document for people and auditors: Markdown that is read back, and HTML that is one file.
//!
//! A plan becomes pieces of a page (`blocks`), by one table of what its parts are called and how they stand
//! (`fields`); Markdown and HTML are printed from the same pieces. [`crate::import::markdown`] inverts the Markdown by
//! the same table.
//!
//! # Invariants
//! - **D1 nothing is lost.** All that the plan says is on the page, but where it was imported from.
//! - **D2 round trip.** What is read of the Markdown is the plan that was printed.
//! - **D3 the same each time.** The page depends on the plan alone: no clock, no place.
//! - **D4 no injection.** No text of a plan becomes markup, script or a link to where it does not say.
//!
//! Deliberately absent: choices of style, and pictures or fonts from elsewhere.

mod blocks;
pub(crate) mod fields;
mod html;
pub(crate) mod inline;
pub(crate) mod markdown;
pub(crate) mod objectives;
mod picture;
mod svg;
mod times;

#[cfg(test)]
mod tests;

pub(crate) use blocks::label_column;

use crate::model::Plan;

/// The version of the Markdown that is written and read.
pub(crate) const FORMAT: u32 = 1;
/// What stands at the beginning of the comment that says so.
pub(crate) const MARK: &str = "<!-- lifeboat-plan ";
/// The kind of a fence whose text is a JSON string.
pub(crate) const QUOTED: &str = "json-string";

/// A plan as Markdown.
#[must_use]
pub fn markdown(plan: &Plan) -> String {
    markdown::print(&blocks::of(plan))
}

/// A plan as one page of HTML that needs nothing else.
#[must_use]
pub fn html(plan: &Plan) -> String {
    html::print(plan, &blocks::of(plan))
}

/// Whether a text begins as a page that was rendered from a plan.
#[must_use]
pub fn is_rendered(text: &str) -> bool {
    text.contains(MARK)
}
