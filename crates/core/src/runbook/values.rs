//! What stands for a runbook's variables.

use jiff::Timestamp;
use lifeboat_plan::{Label, Runbook, Variable, VariableType};
use serde_json::Value;
use std::collections::BTreeMap;

/// What is bound, by name; secrets by the name of the environment variable that holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Values {
    texts: BTreeMap<String, String>,
    /// Given to commands.
    pub environment: BTreeMap<String, String>,
    /// Names of environment variables that the machine itself must have.
    pub secrets: Vec<String>,
    /// Variables that are secret.
    secret: Vec<String>,
    /// Nothing is bound: texts stay as they are.
    is_template: bool,
}

/// Arguments of actions that a shell or a database reads as its language.
const COMMANDS: [&str; 4] = ["run", "query", "command", "reload"];

/// How careful one must be with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// Words, or a typed argument: anything goes.
    Words,
    /// Commands for a shell, or for a database (B3).
    Commands,
}

impl Values {
    /// Binds a runbook's variables; the problems, if any.
    pub fn new(runbook: &Runbook, given: &BTreeMap<String, String>) -> Result<Self, Vec<String>> {
        let (mut values, mut problems) = (Self::default(), Vec::new());
        for name in given.keys() {
            if !runbook.variables.keys().any(|known| known.as_str() == name) {
                problems.push(unknown(name, runbook));
            }
        }
        for (name, variable) in &runbook.variables {
            if let Err(problem) = values.add(name, variable, given.get(name.as_str())) {
                problems.push(problem);
            }
        }
        if problems.is_empty() { Ok(values) } else { Err(problems) }
    }

    /// Texts as they stand in the plan, with nothing bound.
    pub fn template(runbook: &Runbook) -> Self {
        let mut values = Self { is_template: true, ..Self::default() };
        for (name, variable) in &runbook.variables {
            let text = format!("{{{{ {name} }}}}");
            if let Some(environment) = &variable.environment {
                values.environment.insert(environment.as_str().to_owned(), text);
            }
        }
        values
    }

    fn add(&mut self, name: &Label, variable: &Variable, given: Option<&String>) -> Result<(), String> {
        let environment = variable.environment.as_ref().map(|name| name.as_str().to_owned());
        if variable.kind == VariableType::Secret {
            if given.is_some() || variable.default.is_some() {
                return Err(format!(
                    "`{name}` is a secret: it is never an argument, nor written into a plan. Put it into the \
                     environment of whoever carries the run"
                ));
            }
            self.secrets.push(environment.unwrap_or_else(|| environment_name(name.as_str())));
            self.secret.push(name.as_str().to_owned());
            return Ok(());
        }
        let Some(text) = given.or(variable.default.as_ref()) else {
            let what = variable.description.as_ref().map(|what| format!(" ({what})")).unwrap_or_default();
            let like = variable.format.as_deref().unwrap_or("…");
            return Err(format!("`{name}`{what} is not bound; add `--var {name}={like}`"));
        };
        let text = typed(variable.kind, text).map_err(|why| format!("`{name}` is {why}, not `{text}`"))?;
        if let Some(environment) = environment {
            self.environment.insert(environment, text.clone());
        }
        self.texts.insert(name.as_str().to_owned(), text);
        Ok(())
    }

    /// The text with values for its `{{ name }}`.
    pub fn fill(&self, text: &str, into: Into) -> Result<String, String> {
        if self.is_template {
            return Ok(text.to_owned());
        }
        let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, behind)) = rest.split_once("{{ ") {
            filled.push_str(before);
            // What is no name is another tool's template.
            let found = behind.split_once(" }}").filter(|(name, _)| name.parse::<Label>().is_ok());
            let Some((name, behind)) = found else {
                filled.push_str("{{ ");
                rest = behind;
                continue;
            };
            filled.push_str(self.value(name, into)?);
            rest = behind;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&self, name: &str, into: Into) -> Result<&str, String> {
        if self.secret.iter().any(|secret| secret == name) {
            return Err(format!(
                "`{name}` is a secret: commands find it in their environment, it stands in no text"
            ));
        }
        let Some(value) = self.texts.get(name) else {
            return Err(format!("no variable of this runbook is called `{name}`"));
        };
        if into == Into::Commands && !is_one_word(value) {
            return Err(format!(
                "`{name}` is `{value}`, which a shell would not take as one word: give the variable an \
                 `environment` name in the plan, and write \"$NAME\" in the commands"
            ));
        }
        Ok(value)
    }

    /// The same for every text in an argument.
    pub fn fill_all(&self, value: &mut Value) -> Result<(), String> {
        self.fill_each(value, Into::Words)
    }

    fn fill_each(&self, value: &mut Value, into: Into) -> Result<(), String> {
        match value {
            Value::String(text) => *text = self.fill(text, into)?,
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.fill_each(item, into))?,
            Value::Object(map) => map.iter_mut().try_for_each(|(name, item)| {
                let into = if COMMANDS.contains(&name.as_str()) { Into::Commands } else { into };
                self.fill_each(item, into)
            })?,
            _ => {}
        }
        Ok(())
    }
}

/// B3: nothing that a shell or a database reads as anything but a part of a word, nor a command as an option.
fn is_one_word(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._:/@+,%=-".contains(&b);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_plain)
}

/// In the form in which commands and people get it; or what it should be.
fn typed(kind: VariableType, text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    match kind {
        VariableType::Text | VariableType::Secret => Ok(text.to_owned()),
        VariableType::Number => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(text.to_owned()),
            _ => Err("a number"),
        },
        VariableType::Date => {
            text.parse::<jiff::civil::Date>().map(|date| date.to_string()).map_err(|_| "a day, as 2026-11-22")
        }
        VariableType::Time => text
            .parse::<Timestamp>()
            .map(|time| time.to_string())
            .map_err(|_| "a moment with its offset, as 2026-11-22T03:15:00Z"),
        VariableType::Duration => match lifeboat_base::parse_duration(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err("a length of time, as 90s or 15m"),
        },
    }
}

/// `db-password` as `DB_PASSWORD`.
fn environment_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn unknown(name: &str, runbook: &Runbook) -> String {
    let known: Vec<&str> = runbook.variables.keys().map(Label::as_str).collect();
    match lifeboat_plan::nearest(name, known.iter().copied()) {
        Some(near) => format!("this runbook has no variable `{name}`; did you mean `{near}`?"),
        None if known.is_empty() => format!("this runbook has no variables, so `{name}` cannot be bound"),
        None => format!("this runbook has no variable `{name}`; it has {}", known.join(", ")),
    }
}
