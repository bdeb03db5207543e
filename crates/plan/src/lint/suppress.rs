//! Suppressions: a comment that names codes and gives a reason.
//!
//! `<!-- lifeboat-lint-ignore LB0203: why -->` beside something is for that line, on a line of its own for what follows
//! up to the next blank line; `lifeboat-lint-ignore-file` is for the whole document. In fences and YAML `#` begins the
//! comment.

use super::{Context, Finding, Found, Rule, rule, rule_of};
use crate::document::Place;

const WORD: &str = "lifeboat-lint-ignore";
/// The most that are read of one document.
const MAX_SUPPRESSIONS: usize = 1_000;

pub(super) const RULES: &[Rule] = &[
    rule_of!(
        "LB0701",
        "suppression-without-reason",
        Warning,
        nothing,
        "whoever reads the plan next cannot tell whether the danger was weighed or only silenced"
    ),
    rule_of!(
        "LB0702",
        "suppression-of-nothing",
        Warning,
        nothing,
        "it hides the next mistake of its kind at this place"
    ),
];

/// These rules look at what the others found.
fn nothing(_: &Context<'_>, _: &mut Vec<Found>) {}

struct Suppression {
    codes: Vec<String>,
    has_reason: bool,
    place: Place,
    /// The lines it is for.
    lines: (u32, u32),
    used: bool,
}

/// Takes out what is suppressed, and adds what is wrong with the suppressions (L3).
pub(super) fn apply(findings: Vec<Finding>, source: &str) -> Vec<Finding> {
    if !source.contains(WORD) {
        return findings;
    }
    let mut suppressions = find(source);
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings {
        let mut hidden = false;
        for suppression in &mut suppressions {
            let (first, last) = suppression.lines;
            let named = suppression.codes.iter().any(|code| code == finding.code || code == finding.rule);
            if named && suppression.has_reason && (first..=last).contains(&finding.line) {
                suppression.used = true;
                hidden = true;
            }
        }
        if !hidden {
            kept.push(finding);
        }
    }
    let [reason, needless] = RULES else { return kept };
    for suppression in suppressions {
        let found = |message: &str, help: &str| Found::new(suppression.place, message).help(help);
        let unknown = suppression.codes.iter().find(|code| rule(code).is_none());
        if suppression.codes.is_empty() {
            let help = format!("write `{WORD} LB0302: why it is right here`");
            kept.push(reason.finding(found("this suppression names no rule", &help)));
        } else if let Some(code) = unknown {
            kept.push(needless.finding(found(
                &format!("there is no rule {code}"),
                "`lifeboat plan lint --explain CODE` tells of each rule",
            )));
        } else if !suppression.has_reason {
            let help = format!(
                "write `{WORD} {}: why it is right here`; until then it suppresses nothing",
                suppression.codes.join(", ")
            );
            kept.push(reason.finding(found("this suppression gives no reason", &help)));
        } else if !suppression.used {
            kept.push(needless.finding(found(
                &format!("nothing here is found by {}", suppression.codes.join(", ")),
                "take it out",
            )));
        }
    }
    kept
}

fn find(source: &str) -> Vec<Suppression> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (number, line) in (1_u32..).zip(&lines) {
        if found.len() >= MAX_SUPPRESSIONS {
            break;
        }
        let Some(at) = line.find(WORD) else { continue };
        let before = line[..at].trim_end();
        let Some(content) = before.strip_suffix("<!--").or_else(|| before.strip_suffix('#')) else {
            continue;
        };
        let rest = &line[at + WORD.len()..];
        let (for_file, rest) = rest.strip_prefix("-file").map_or((false, rest), |rest| (true, rest));
        let rest = rest.split("-->").next().unwrap_or_default();
        let (codes, reason) = rest.split_once(':').unwrap_or((rest, ""));
        let codes = codes.split([',', ' ']).map(str::trim).filter(|code| !code.is_empty());
        let alone = content.trim().is_empty();
        let lines_meant = if for_file {
            (0, u32::MAX)
        } else if alone {
            (number, block_end(&lines, number))
        } else {
            (number, number)
        };
        let column = u32::try_from(line[..at].chars().count() + 1).unwrap_or(1);
        found.push(Suppression {
            codes: codes
                .map(|code| {
                    if code.to_uppercase().starts_with("LB0") { code.to_uppercase() } else { code.to_owned() }
                })
                .collect(),
            has_reason: !reason.trim().is_empty(),
            place: Place::new(number, column, u32::try_from(WORD.len()).unwrap_or(1)),
            lines: lines_meant,
            used: false,
        });
    }
    found
}

/// The last line of what follows `line`: up to a blank line, a whole fence if it begins with one.
fn block_end(lines: &[&str], line: u32) -> u32 {
    let mut at = line as usize;
    while lines.get(at).is_some_and(|line| line.trim().is_empty()) {
        at += 1;
    }
    let is_fence = |line: &str| line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
    let mut inside = false;
    while let Some(text) = lines.get(at) {
        if is_fence(text) {
            inside = !inside;
        }
        if text.trim().is_empty() && !inside {
            break;
        }
        at += 1;
    }
    u32::try_from(at).unwrap_or(u32::MAX)
}
