//! How a failure is told: what happened, why, and what to do next.

use crate::away::plain;
use crate::output::{Output, Tone};
use serde::Serialize;
use std::fmt;

/// An error with the step that a person can take; it adds no line of its own to the chain.
#[derive(Debug)]
struct Guided {
    error: anyhow::Error,
    next: String,
}

impl fmt::Display for Guided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for Guided {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Adds what to do next to an error.
pub trait Next<T> {
    /// `next` is one sentence or two: a command to type, a setting to change.
    fn next(self, next: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Next<T> for Result<T, E> {
    fn next(self, next: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| guided(error, next))
    }
}

/// An error with what to do next.
pub fn guided(error: impl Into<anyhow::Error>, next: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Guided { error: error.into(), next: next.into() })
}

/// Whether an error says what to do next.
#[must_use]
pub fn is_guided(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Guided>().is_some()
}

/// What a failure looks like to a machine.
#[derive(Debug, Serialize)]
struct FailureDocument {
    error: ErrorBody,
}

#[derive(Debug, Serialize)]
struct ErrorBody {
    message: String,
    causes: Vec<String>,
    next: Option<String>,
}

/// Tells a failure on standard error, and with `--json` as the document on standard output.
pub fn report(output: &Output, error: &anyhow::Error) {
    let next = error.downcast_ref::<Guided>().map(|guided| guided.next.clone());
    let causes: Vec<String> = error.chain().skip(1).map(|cause| plain(&cause.to_string())).collect();
    output.say_styled(|style| {
        let mut text =
            format!("{} {}", style.paint(Tone::Bad, "error:"), crate::output::clean(&error.to_string()));
        for cause in &causes {
            text.push_str(&format!(
                "\n  {} {}",
                style.paint(Tone::Faint, "because"),
                crate::output::clean(cause)
            ));
        }
        if let Some(next) = &next {
            text.push_str(&format!(
                "\n  {} {}",
                style.paint(Tone::Strong, "next:"),
                crate::output::clean(next)
            ));
        }
        text
    });
    document(output, error.to_string(), causes, next);
}

/// Tells arguments that nobody understands, which have been told on standard error, to a machine.
pub fn report_usage(output: &Output, error: &clap::Error, hint: Option<String>) {
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    let next = hint.unwrap_or_else(|| "`lifeboat help COMMAND` tells every argument".to_owned());
    document(output, message, Vec::new(), Some(next));
}

fn document(output: &Output, message: String, causes: Vec<String>, next: Option<String>) {
    if output.is_json() {
        let body = FailureDocument { error: ErrorBody { message, causes, next } };
        // Standard error has said it already.
        let _ = output.result("failure", &body, |_| String::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn what_to_do_next_is_found_below_context_and_repeats_nothing() {
        let inner = std::io::Error::other("disk on fire");
        let error =
            Err::<(), _>(inner).context("read the plan").next("buy a disk").context("start").unwrap_err();
        let lines: Vec<String> = error.chain().map(ToString::to_string).collect();
        assert_eq!(lines, ["start", "read the plan", "disk on fire"]);
        assert_eq!(error.downcast_ref::<Guided>().unwrap().next, "buy a disk");
    }
}
