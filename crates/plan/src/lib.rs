//! The recovery plan: read, checked and explained.
//!
//! A plan is YAML text. [`load`] returns the typed [`Plan`], or everything that is wrong with it:
//! each [`Finding`] with line, column, the way to it and what to do. [`render`] shows a finding as a
//! compiler would, [`schema`] is the same knowledge for editors, [`starter`] writes a first plan.
//!
//! A recovery document of another kind, Markdown as people keep it, is read by [`document`], understood by [`facts`]
//! and judged by [`lint`], with [`shell`] for its commands and [`tools`] for what those may say.
//!
//! The way of a plan's text: a YAML tree that knows its places → the schema's walk checks its shape →
//! the rules between places → serde makes the plan.
//!
//! # Invariants
//! - **P1 everything at once.** All that is wrong is reported, not only the first of it; what is not
//!   YAML ends the reading at that place.
//! - **P2 no panic, no flood.** Whatever the text, there is an answer, of at most [`MAX_FINDINGS`].
//! - **P3 no secrets.** A plan with a password does not load, and no finding repeats one.
//!
//! Deliberately absent: reading files (the caller's, also what is not UTF-8), and knowing actions,
//! stores or servers. The one thing that is looked up outside is the machine's time-zone database.

mod diff;
pub mod document;
pub mod facts;
mod finding;
#[doc(hidden)]
pub mod fuzz;
pub mod import;
pub mod lint;
mod model;
pub mod rendering;
mod schema;
mod sense;
mod shape;
pub mod shell;
mod starter;
pub mod tools;
mod tree;
mod values;
mod write;
mod yaml;

#[cfg(test)]
mod tests;

pub use diff::{Difference, What, diff};
pub use finding::{Code, Finding, Severity, nearest, render};
pub use model::*;
pub use schema::schema;
pub use starter::{Starter, starter};
pub use values::{
    AbsolutePath, ActionName, Cadence, Conninfo, CopyUrl, Cron, Date, EnvironmentName, FieldOrigin, Interval,
    Label, ParseActionError, ParseCadenceError, ParseConninfoError, ParseCopyUrlError, ParseCronError,
    ParseDateError, ParseEnvironmentError, ParseLabelError, ParseOriginError, ParsePathError, ParseSlotError,
    ParseSshKeyError, ParseZoneError, Size, SlotName, SshKey, Zone,
};
pub use write::write;
pub use yaml::{MAX_DEPTH, MAX_NODES, MAX_SOURCE_BYTES};

/// The most findings that are reported of one plan.
pub const MAX_FINDINGS: usize = 100;

/// A plan that can be used, and what a person should look at all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The plan.
    pub plan: Plan,
    /// What is doubtful, in the order of the document.
    pub warnings: Vec<Finding>,
}

/// Reads and checks a plan.
///
/// # Errors
/// Everything that was found, warnings among it, in the order of the document, if any of it is an
/// error; at most [`MAX_FINDINGS`].
pub fn load(source: &str) -> Result<Loaded, Vec<Finding>> {
    let root = yaml::parse(source).map_err(|finding| vec![finding])?;
    let (value, mut findings) = shape::check(&schema::SCHEMA, &root);
    findings.extend(sense::check(&root));
    let fatal = findings.iter().any(|finding| finding.severity == Severity::Error);
    // Errors first when there are too many, then all in the order in which a person reads.
    findings.sort_by_key(|finding| finding.severity);
    findings.truncate(MAX_FINDINGS);
    findings.sort_by_key(|finding| (finding.line, finding.column));
    if fatal {
        return Err(findings);
    }
    match serde_json::from_value(value) {
        Ok(plan) => Ok(Loaded { plan, warnings: findings }),
        // The schema is made from the same types and values are read by the same parsers, so this
        // is our mistake; the person with the plan still hears what it is.
        Err(error) => Err(vec![Finding::error(
            Code::Document,
            finding::Mark::START,
            format!("the plan cannot be read: {error}"),
        )]),
    }
}
