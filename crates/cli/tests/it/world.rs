//! A user's machine: a scratch directory, a plan, a vault, and the binary.

use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// What opens every vault of these tests.
pub const PASSPHRASE: &str = "a passphrase for tests";

/// One user's machine.
pub struct World {
    scratch: tempfile::TempDir,
}

impl World {
    /// A machine with nothing on it.
    pub fn new() -> Self {
        Self { scratch: lifeboat_testkit::postgres::scratch_directory() }
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

    /// The address of the vault's copy `name`.
    pub fn copy(&self, name: &str) -> String {
        format!("file://{}", self.path(name).display())
    }

    /// Writes the plan for a server reached by `connection`, its vault in one directory.
    pub fn plan(&self, connection: &str) {
        self.plan_with_copies(connection, &["vault"]);
    }

    /// The same, with a copy of the vault in each of these directories, one of which must have a write.
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

    /// The binary, run in the scratch directory by someone who knows the passphrase.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.args(arguments).current_dir(self.scratch.path()).stdin(Stdio::null());
        command.env("LIFEBOAT_PASSPHRASE", PASSPHRASE).env_remove("LIFEBOAT_PLAN").env("TZ", "UTC");
        let programs = Installation::all().into_iter().map(|installation| installation.bin_dir);
        command.env("LIFEBOAT_POSTGRES_BIN", std::env::join_paths(programs).unwrap());
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
    fn of(arguments: &[&str], output: Output) -> Self {
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
        "check",
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
