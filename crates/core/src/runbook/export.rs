//! The break-glass copy: a runbook as a shell script that a person follows where there is no Lifeboat.

use crate::run::{BoundStep, Class, Doing};
use lifeboat_plan::{Runbook, VariableType};
use std::fmt::Write as _;

/// What every such script begins with: it asks before each step, and says at the end what was passed over.
const HEAD: &str = r#"set -u
skipped=""
# A step's commands: `{{ name }}` becomes the value, which is one plain word.
filled() { sed BINDINGS; }
say() { printf '\n%s\n' "$1"; }
ask() {
  printf '%s ' "$1"
  read -r answer || answer=q
  case "$answer" in y|yes) return 0 ;; s|skip) return 1 ;; q|quit) printf 'stopped before step %s\n' "$2"; exit 1 ;; *) ask "$1" "$2" ;; esac
}
bind() {
  while :; do
    printf '%s ' "$1"
    read -r value || exit 1
    case "$value" in ''|*[!A-Za-z0-9._:/@+,%=-]*) printf 'one word, of letters, digits and . _ : / @ + , %% = -\n' ;; *) return ;; esac
  done
}
"#;

/// The script for `sh`.
#[must_use]
pub fn script(plan: &str, name: &str, runbook: &Runbook, steps: &[BoundStep]) -> String {
    let mut out = String::from("#!/bin/sh\n");
    comment(&mut out, &format!("{} of the plan {plan}, for the day without Lifeboat.", title(name, runbook)));
    comment(&mut out, "It shows each step and asks before it: y does it, s passes it over, q stops.");
    comment(&mut out, "Nothing here knows what was done before: look before you repeat a step.");
    let mut bindings = String::new();
    for name in runbook.variables.keys() {
        let variable = identifier(name.as_str());
        let _ = write!(bindings, "-e \"s|{{{{ {name} }}}}|${variable}|g\" ");
    }
    let filter = if bindings.is_empty() { "cat".to_owned() } else { format!("sed {}", bindings.trim_end()) };
    out.push_str(&HEAD.replace("sed BINDINGS", &filter));
    for (name, variable) in &runbook.variables {
        let what = variable.description.as_deref().unwrap_or(name.as_str());
        let like = variable.format.as_ref().map(|format| format!(", as {format}")).unwrap_or_default();
        match variable.kind {
            VariableType::Secret => {
                let environment = variable
                    .environment
                    .as_ref()
                    .map_or_else(|| identifier(name.as_str()).to_uppercase(), ToString::to_string);
                let _ = writeln!(out, ": \"${{{environment}:?set it: {}}}\"", plain(what));
            }
            _ => {
                let _ = writeln!(
                    out,
                    "bind {}; {}=$value",
                    quoted(&format!("{what}{like}:")),
                    identifier(name.as_str())
                );
                if let Some(environment) = &variable.environment {
                    let _ = writeln!(out, "export {environment}=\"$value\"");
                }
            }
        }
    }
    for (number, step) in (1..).zip(steps) {
        of_step(&mut out, number, step);
    }
    out.push_str(
        "\nif [ -n \"$skipped\" ]; then say \"passed over:$skipped\"; exit 1; fi\nsay 'all steps are done'\n",
    );
    out
}

fn of_step(out: &mut String, number: usize, step: &BoundStep) {
    let class = match (&step.rules.doing, step.rules.class) {
        (Doing::Machine, Class::Destructive) => " [DESTRUCTIVE]",
        (Doing::Machine, Class::Read) => " [reads]",
        _ => "",
    };
    let _ = writeln!(out, "\nsay {}", quoted(&format!("{number}. {}{class}", step.title)));
    for note in &step.notes {
        let _ = writeln!(out, "printf '%s\\n' {}", quoted(&format!("   {note}")));
    }
    if step.rules.approvals > 0 {
        let text = format!("   {} people must agree to it", step.rules.approvals);
        let _ = writeln!(out, "printf '%s\\n' {}", quoted(&text));
    }
    let marker =
        (0..).map(|n| format!("STEP_{number}_{n}")).find(|marker| !step.shown.contains(marker.as_str()));
    let marker = marker.unwrap_or_default();
    let _ = writeln!(out, "text=$(filled <<'{marker}'\n{}\n{marker}\n)", step.shown);
    out.push_str("printf '%s\\n' \"$text\" | sed 's/^/   /'\n");
    let _ = match step.rules.doing {
        Doing::Machine => writeln!(
            out,
            "if ask 'do it? [y/s/q]' {number}; then\n  until sh -c \"$text\" < /dev/null; do\n    say 'it FAILED'; ask 'again? [y/s/q]' {number} || {{ skipped=\"$skipped {number}\"; break; }}\n  done\nelse skipped=\"$skipped {number}\"; fi"
        ),
        _ => writeln!(out, "ask 'done? [y/s/q]' {number} || skipped=\"$skipped {number}\""),
    };
}

fn title(name: &str, runbook: &Runbook) -> String {
    runbook.title.clone().unwrap_or_else(|| name.to_owned())
}

fn comment(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "# {line}");
    }
}

fn identifier(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("v_{plain}")
}

/// For the message of a shell's `${name:?message}`.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric() || " .,:-".contains(*c)).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
