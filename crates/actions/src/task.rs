//! What an adapter has at hand while it carries out one step.

use crate::Hands;
use crate::telling::{Line, Redactor, SHORTEST_CHARS, names_a_secret};
use lifeboat_core::port::Trouble;
use lifeboat_core::run::{BoundStep, Circumstances, Found, Observed, Outcome, Told};
use lifeboat_core::runbook::Binding;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A shorter value of a variable that nobody declared, `true` or a number, is no secret.
const UNDECLARED_BYTES: usize = 8;

/// Told each line that a step prints, while it prints it, with the step's ID; secrets are taken out.
pub type Lines = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// What steps are carried out with.
#[derive(Clone)]
pub struct Tools {
    /// The program that calls [`supervise`](crate::supervise), and its arguments.
    pub supervisor: Vec<OsString>,
    /// Below it each run has a directory, in which its commands run. Made if it is not there.
    pub workspace: PathBuf,
    /// What commands find, and where secrets are looked for.
    pub environment: BTreeMap<String, String>,
    /// Told what steps print.
    pub lines: Lines,
}

/// The command of this program that watches over commands.
pub const SUPERVISOR_COMMAND: &str = "step-supervisor";

impl Tools {
    /// Those of this process: its program, its environment, and a workspace below the directory for temporary files.
    #[must_use]
    pub fn of_this_process(lines: Lines) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let environment = std::env::vars_os();
        let text = |value: OsString| value.to_string_lossy().into_owned();
        // Where this program is not known, whoever starts it says so.
        let program = std::env::current_exe().unwrap_or_default();
        Self {
            supervisor: vec![program.into(), SUPERVISOR_COMMAND.into()],
            workspace: std::env::temp_dir().join(format!("lifeboat-runs-{user}")),
            environment: environment.map(|(name, value)| (text(name), text(value))).collect(),
            lines,
        }
    }
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tools").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

/// A step, under its circumstances.
#[derive(Debug)]
pub(crate) struct Task {
    /// What it is called.
    pub step: String,
    /// What it is bound to.
    pub binding: Binding,
    /// When it is done.
    pub under: Circumstances,
    /// With what.
    pub tools: Arc<Tools>,
    /// Knows what must not be told.
    pub redactor: Arc<Redactor>,
    /// Whether what it prints was shown live.
    is_shown: AtomicBool,
}

/// Something that must be there before anything is begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MissingSecret {
    #[error(
        "nothing was begun: `{0}` is not in the environment of this machine. Set it, start Lifeboat again with it, and \
         resume the run"
    )]
    NotThere(String),
    #[error(
        "nothing was begun: the secret `{0}` has fewer than {SHORTEST_CHARS} characters, and could not be taken out of \
         what is printed"
    )]
    TooShort(String),
}

impl Task {
    /// With all that the step needs; an error if this Lifeboat does not know it.
    pub(crate) fn new(hands: &Hands, step: &BoundStep, under: Circumstances) -> Result<Self, Trouble> {
        let binding: Binding = serde_json::from_value(step.does.clone())?;
        let environment = &hands.tools.environment;
        let is_secret = |name: &String, value: &String| {
            binding.secrets.contains(name) || (names_a_secret(name) && value.len() >= UNDECLARED_BYTES)
        };
        let secrets = environment
            .iter()
            .filter(|(name, value)| is_secret(name, value))
            .map(|(_, value)| value.as_str());
        let redactor = Arc::new(Redactor::new(secrets));
        Ok(Self {
            step: step.id.clone(),
            binding,
            under,
            tools: Arc::clone(&hands.tools),
            redactor,
            is_shown: AtomicBool::new(false),
        })
    }

    /// What is missing of the secrets that the plan declares, if anything.
    pub(crate) fn missing_secret(&self) -> Option<MissingSecret> {
        self.binding.secrets.iter().find_map(|name| self.secret(name).err())
    }

    /// A secret, by the name of its environment variable.
    pub(crate) fn secret(&self, name: &str) -> Result<&str, MissingSecret> {
        let value = self.tools.environment.get(name).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| MissingSecret::NotThere(name.to_owned()))?;
        match value.chars().count() < SHORTEST_CHARS {
            true => Err(MissingSecret::TooShort(name.to_owned())),
            false => Ok(value),
        }
    }

    /// How long it may take.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(self.binding.timeout)
    }

    /// Takes lines of it.
    pub(crate) fn lines(&self) -> Line {
        self.is_shown.store(true, Ordering::Relaxed);
        let (lines, step) = (Arc::clone(&self.tools.lines), self.step.clone());
        Box::new(move |line| lines(&step, line))
    }

    /// What came of it, without secrets (A3).
    pub(crate) fn told<T: Safe>(&self, told: Result<Told<T>, Trouble>) -> Result<Told<T>, Trouble> {
        match told {
            Ok(Told { result, observed, output }) => {
                let observed: Observed =
                    observed.into_iter().map(|(name, value)| (name, self.redactor.text(&value))).collect();
                let output = self.redactor.text(&output);
                if !self.is_shown.swap(true, Ordering::Relaxed) {
                    output.lines().for_each(|line| (self.tools.lines)(&self.step, line));
                }
                Ok(Told { result: result.safe(&|text| self.redactor.text(text)), observed, output })
            }
            Err(trouble) => Err(self.redactor.text(&lifeboat_base::error_chain(trouble.as_ref())).into()),
        }
    }
}

/// What can be made safe to tell.
pub(crate) trait Safe {
    /// With each text changed.
    fn safe(self, change: &dyn Fn(&str) -> String) -> Self;
}

impl Safe for Found {
    fn safe(self, _: &dyn Fn(&str) -> String) -> Self {
        self
    }
}

impl Safe for Outcome {
    fn safe(self, change: &dyn Fn(&str) -> String) -> Self {
        match self {
            Self::Done => Self::Done,
            Self::Failed { why } => Self::Failed { why: change(&why) },
            Self::Unknown { why } => Self::Unknown { why: change(&why) },
        }
    }
}

impl Safe for Option<String> {
    fn safe(self, change: &dyn Fn(&str) -> String) -> Self {
        self.map(|text| change(&text))
    }
}
