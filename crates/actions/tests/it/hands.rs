//! Steps and the hands that carry them out, for tests.

use lifeboat_actions::{Hands, Tools};
use lifeboat_core::run::{
    Actions, BoundStep, Circumstances, Class, Doing, Found, Observed, OnFailure, Outcome, Rules, Side, Told,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program that watches over commands.
pub const SUPERVISOR: &str = env!("CARGO_BIN_EXE_step-supervisor");

/// Hands, with a workspace of their own, and what they told live.
pub struct World {
    pub directory: TempDir,
    pub environment: BTreeMap<String, String>,
    pub lines: Arc<Mutex<Vec<String>>>,
}

impl World {
    pub fn new() -> Self {
        let environment = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
        Self { directory: tempfile::tempdir().unwrap(), environment, lines: Arc::default() }
    }

    /// With something in the environment.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn workspace(&self) -> PathBuf {
        self.directory.path().join("workspace")
    }

    pub fn hands(&self) -> Hands {
        let lines = Arc::clone(&self.lines);
        Hands::new(Tools {
            supervisor: vec![SUPERVISOR.into()],
            workspace: self.workspace(),
            environment: self.environment.clone(),
            lines: Arc::new(move |step, line| lines.lock().unwrap().push(format!("{step}: {line}"))),
        })
    }

    pub async fn act(&self, does: Value) -> Told<Outcome> {
        self.hands().act(&step(does), Side::Act, under()).await.unwrap()
    }

    pub async fn undo(&self, does: Value, before: Observed) -> Told<Outcome> {
        self.hands().act(&step(does), Side::Undo, Circumstances { before, ..under() }).await.unwrap()
    }

    pub async fn probe(&self, does: Value) -> Told<Found> {
        self.hands().probe(&step(does), under()).await.unwrap()
    }

    pub async fn verify(&self, does: Value) -> Told<Option<String>> {
        self.hands().verify(&step(does), under()).await.unwrap()
    }
}

/// Commands as a step.
pub fn shell(run: &str) -> Value {
    json!({"deed": {"action": "shell", "with": {"run": run}}, "timeout": 30})
}

/// An action as a step.
pub fn action(name: &str, with: Value) -> Value {
    json!({"deed": {"action": name, "with": with}, "timeout": 30})
}

pub fn step(does: Value) -> BoundStep {
    BoundStep {
        id: "s".to_owned(),
        title: "a step".to_owned(),
        shown: String::new(),
        notes: Vec::new(),
        expected: None,
        hash: String::new(),
        does,
        rules: Rules {
            class: Class::Destructive,
            needs: Vec::new(),
            is_conditional: false,
            has_probe: false,
            has_verify: false,
            has_undo: false,
            approvals: 0,
            tries: 1,
            pause: Duration::ZERO,
            settles: Duration::ZERO,
            on_failure: OnFailure::Stop,
            doing: Doing::Machine,
        },
    }
}

pub fn under() -> Circumstances {
    Circumstances {
        run: "run-1".to_owned(),
        fence: 7,
        before: BTreeMap::from([("SEEN".to_owned(), "before".to_owned())]),
        known: BTreeMap::from([("files.put.before".to_owned(), "x".to_owned())]),
    }
}

/// Asks again until it is so.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < limit, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Why it failed.
#[track_caller]
pub fn failed(told: &Told<Outcome>) -> &str {
    let Outcome::Failed { why } = &told.result else { panic!("{told:?}") };
    why
}

/// Why it is not known.
#[track_caller]
pub fn unknown(told: &Told<Outcome>) -> &str {
    let Outcome::Unknown { why } = &told.result else { panic!("{told:?}") };
    why
}
