//! A user's machine: a scratch directory, a plan, a vault, and the binary.

use lifeboat_testkit::postgres::Installation;
use serde_json::Value;
use std::path::{Path, PathBuf};
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
        let copy = self.copy("vault");
        let text = format!(
            "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {{name: bank}}\n\
             vault: {{copies: [\"{copy}\"]}}\n\
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

/// `value` with all that differs between runs replaced, by the names of the fields.
pub fn redact(value: &mut Value, directory: &Path) {
    const VARYING: &[&str] = &[
        "id",
        "vault",
        "time",
        "created",
        "started",
        "finished",
        "verifiedAt",
        "systemId",
        "start",
        "stop",
        "sizeBytes",
        "storedBytes",
        "files",
        "head",
        "headSha256",
        "actor",
        "previous",
        "sha256",
        "layerBytes",
        "walBytes",
        "objects",
    ];
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if VARYING.contains(&name.as_str()) && !field.is_array() && !field.is_null() {
                    *field = Value::String(format!("[{name}]"));
                } else if name == "layers" {
                    *field = Value::String("[layers]".to_owned());
                } else {
                    redact(field, directory);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| redact(value, directory)),
        Value::String(text) => *text = text.replace(&directory.display().to_string(), "[scratch]"),
        _ => {}
    }
}

/// Snapshots a document, without what differs between runs.
#[macro_export]
macro_rules! snapshot {
    ($world:expr, $name:literal, $document:expr) => {{
        let mut document = $document;
        $crate::world::redact(&mut document, &$world.path(""));
        insta::assert_json_snapshot!($name, document);
    }};
}
