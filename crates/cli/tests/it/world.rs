//! A user's machine: a scratch directory, a plan, a vault, and the binary.

use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What opens every vault of these tests.
pub const PASSPHRASE: &str = "a passphrase for tests";

/// One user's machine.
pub struct World {
    scratch: tempfile::TempDir,
    /// What is set there besides the passphrase.
    pub environment: Vec<(&'static str, String)>,
}

impl World {
    /// A machine with nothing on it.
    pub fn new() -> Self {
        Self { scratch: lifeboat_testkit::postgres::scratch_directory(), environment: Vec::new() }
    }

    /// A machine with a server, a table `ledger` of 1000 rows on it, its plan and an empty vault.
    pub fn with_server(installation: &Installation) -> (Self, Cluster) {
        let world = Self::new();
        let cluster = Cluster::start(installation, &ClusterOptions::new());
        cluster.psql("CREATE TABLE ledger AS SELECT g AS id FROM generate_series(1, 1000) g");
        world.plan(&cluster.conninfo());
        world.run(&["vault", "init"]).expect(0);
        (world, cluster)
    }

    /// A path on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The address of the vault's copy `name`: a directory here, unless it is an address already.
    pub fn copy(&self, name: &str) -> String {
        if name.contains("://") {
            return name.to_owned();
        }
        format!("file://{}", self.path(name).display())
    }

    /// Writes the plan for a server reached by `connection`, its vault in one directory.
    pub fn plan(&self, connection: &str) {
        self.plan_with_copies(connection, &["vault"]);
    }

    /// The same, with a copy of the vault in each of these places, one of which must have a write.
    pub fn plan_with_copies(&self, connection: &str, copies: &[&str]) {
        let copies: Vec<String> = copies.iter().map(|name| format!("{:?}", self.copy(name))).collect();
        let copies = copies.join(", ");
        let text = format!(
            "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {{name: bank}}\n\
             vault: {{copies: [{copies}], durable: 1}}\n\
             services:\n  - name: ledger-db\n    postgres:\n      connection: \"{connection}\"\n      \
             base: {{schedule: \"0 3 * * *\", timeZone: UTC}}\n      keep: {{last: 2, window: 7d}}\n"
        );
        std::fs::write(self.path("lifeboat.yaml"), text).unwrap();
    }

    /// Changes the plan: `from` must be in it.
    #[track_caller]
    pub fn change_plan(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path("lifeboat.yaml")).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(self.path("lifeboat.yaml"), text.replace(from, to)).unwrap();
    }

    /// Makes an SSH key called `name` there, and returns its public half.
    pub fn key(&self, name: &str) -> String {
        let path = self.path(name);
        let mut made = Command::new("ssh-keygen");
        let made =
            made.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path).status().unwrap();
        assert!(made.success());
        std::fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned()
    }

    /// The binary, run in the scratch directory by someone who knows the passphrase.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.args(arguments).current_dir(self.scratch.path()).stdin(Stdio::null());
        command.env("LIFEBOAT_PASSPHRASE", PASSPHRASE).env_remove("LIFEBOAT_PLAN").env("TZ", "UTC");
        let programs = Installation::all().into_iter().map(|installation| installation.bin_dir);
        command.env("LIFEBOAT_POSTGRES_BIN", std::env::join_paths(programs).unwrap());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(arguments, self.command(arguments).output().unwrap())
    }

    /// Runs it with `--json`, expects exit 0, and returns the document.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        self.run(&arguments).expect(0).json()
    }
}

/// What a run of the binary did.
#[derive(Debug)]
pub struct Ran {
    arguments: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(arguments: &[&str], output: Output) -> Self {
        Self {
            arguments: arguments.join(" "),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Requires an exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        let Self { arguments, stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "lifeboat {arguments}\n{stdout}\n{stderr}");
        self
    }

    /// The document on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("lifeboat {}: {error}\n{}", self.arguments, self.stdout))
    }
}

/// The shape of a document: names and types, with the values of fields that say what something is. Elements
/// of a list that look the same are shown once.
pub fn shape(value: &Value) -> Value {
    const TELLING: &[&str] = &[
        "kind", "event", "state", "level", "what", "code", "severity", "line", "column", "name", "scope",
        "check", "outcome", "job",
    ];
    let of = |name: &str, field: &Value| match field {
        Value::String(text) if TELLING.contains(&name) && !text.contains("://") => field.clone(),
        Value::Number(_) if TELLING.contains(&name) => field.clone(),
        field => shape(field),
    };
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, field)| (name.clone(), of(name, field))).collect())
        }
        Value::Array(values) => {
            let mut shapes: Vec<Value> = Vec::new();
            for shape in values.iter().map(shape) {
                if !shapes.contains(&shape) {
                    shapes.push(shape);
                }
            }
            Value::Array(shapes)
        }
        Value::String(_) => "a text".into(),
        Value::Number(_) => "a number".into(),
        Value::Bool(value) => (*value).into(),
        Value::Null => Value::Null,
    }
}

/// Snapshots the shape of a document.
#[macro_export]
macro_rules! snapshot {
    ($name:literal, $document:expr) => {
        insta::assert_json_snapshot!($name, $crate::world::shape(&$document))
    };
}

/// `docs/commands.md` tells of each field that a snapshot holds: a shape that nobody can read about is not stable.
#[test]
fn what_is_printed_is_documented() {
    fn fields(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(inside) => {
                for (name, field) in inside {
                    found.insert(name.clone());
                    fields(field, found);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
            _ => {}
        }
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(here.join("../../docs/commands.md")).unwrap();
    let mut documents = 0;
    for entry in std::fs::read_dir(here.join("tests/it/snapshots")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, document) = text.trim_start_matches("---\n").split_once("\n---\n").unwrap();
        let mut document: Value = serde_json::from_str(document).unwrap();
        // What an event of the journal holds is its own; `serve` is many documents, by name.
        let events = document.get_mut("events").and_then(Value::as_array_mut).into_iter().flatten();
        events.for_each(|event| event["record"]["data"] = Value::Null);
        let mut found = BTreeSet::new();
        match path.file_name().unwrap().to_str().unwrap().ends_with("__serve.snap") {
            true => document.as_object().unwrap().values().for_each(|event| fields(event, &mut found)),
            false => fields(&document, &mut found),
        }
        let is_told =
            |name: &String| page.contains(&format!("`{name}`")) || page.contains(&format!("\"{name}\""));
        let missing: Vec<&String> = found.iter().filter(|name| !is_told(name)).collect();
        assert!(missing.is_empty(), "{}: docs/commands.md lacks {missing:?}", path.display());
        documents += 1;
    }
    assert!(documents > 20, "{documents} snapshots");
}
