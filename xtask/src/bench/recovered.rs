//! A service taken back by `recover` or `restore`, its server started; and how it is taken away again.

use super::measure::{output, run as measure};
use super::protected::{Protected, SERVICE};
use super::scratch::{about, processes, signal};
use anyhow::Context;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The socket of each recovered server is in its own directory.
pub const PORT: &str = "5432";
/// What opens it for writing though production lives.
pub const WRITABLE: [&str; 2] = ["--promote", "--beside-production"];
/// Answered from the first pages of a table that all have.
const QUESTION: &str = "SELECT bid FROM pgbench_branches WHERE bid = 1";

/// A recovered server that has answered.
pub struct Recovered {
    pub into: PathBuf,
    /// What the command printed.
    pub document: Value,
    pub address: String,
    /// From the command to the first answer.
    pub seconds: f64,
}

impl Recovered {
    /// Runs `recover` or `restore` with these arguments too, and asks a question.
    pub fn first_answer(protected: &Protected, command: &str, more: &[&str]) -> anyhow::Result<Self> {
        Self::first_answer_from(protected, command, more, &[])
    }

    /// The same, with more in the command's environment.
    pub fn first_answer_from(
        protected: &Protected,
        command: &str,
        more: &[&str],
        environment: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let into = protected.path("recovered");
        let text = into.display().to_string();
        drop_caches();
        let started = Instant::now();
        let arguments = [command, SERVICE, "--into", &text, "--start", "--json", "--port", PORT];
        let mut lifeboat = protected.lifeboat(&[&arguments[..], more].concat());
        let printed = output(lifeboat.envs(environment.iter().map(|(name, value)| (name, value))))?;
        let document: Value = serde_json::from_slice(&printed).context("read what it printed")?;
        let address = document["server"]["address"].as_str().context("no server was started")?.to_owned();
        let mut recovered = Self { into, document, address, seconds: 0.0 };
        recovered.ask(protected, QUESTION)?;
        recovered.seconds = started.elapsed().as_secs_f64();
        Ok(recovered)
    }

    /// What the server answers.
    pub fn ask(&self, protected: &Protected, sql: &str) -> anyhow::Result<String> {
        let mut command = protected.cluster.installation().command("psql");
        let printed =
            output(command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", &self.address, "-c", sql]))?;
        Ok(String::from_utf8_lossy(&printed).trim().to_owned())
    }

    /// Seconds of one segment of the recovery, by its name; none if it had no such.
    pub fn segment(&self, name: &str) -> Option<f64> {
        let segments = self.document["segments"].as_array()?;
        segments.iter().find(|segment| segment["name"] == name)?["seconds"].as_f64()
    }

    pub fn is_view(&self) -> bool {
        !self.document["view"].is_null()
    }

    /// The server's process as it is now.
    pub fn server(&self) -> Option<u32> {
        server_in(&self.home().join("data")).or_else(|| server_in(&self.into))
    }

    /// The process behind the view.
    pub fn process(&self) -> Option<u32> {
        let directory = self.into.as_os_str().as_encoded_bytes();
        processes().find(|pid| {
            let line = about(*pid, "cmdline");
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            words.windows(2).any(|two| two == [b"view".as_slice(), b"serve"]) && words.contains(&directory)
        })
    }

    /// What stands behind a view.
    pub fn home(&self) -> PathBuf {
        let mut home = self.into.clone().into_os_string();
        home.push(".lifeboat");
        home.into()
    }

    /// A command about the view.
    pub fn view(&self, protected: &Protected, verb: &str, more: &[&str]) -> Command {
        let directory = self.into.display().to_string();
        protected.lifeboat(&[&["view", verb, &directory], more].concat())
    }

    /// What `view status` tells.
    pub fn status(&self, protected: &Protected) -> anyhow::Result<Value> {
        let printed = output(&mut self.view(protected, "status", &["--json"]))?;
        serde_json::from_slice(&printed).context("read the view's status")
    }

    /// Stops its server and removes it.
    pub fn remove(self, protected: &Protected) -> anyhow::Result<()> {
        if let Some(pid) = self.server() {
            end("-QUIT", pid);
        }
        if self.home().exists() {
            return measure(&mut self.view(protected, "drop", &["--yes"])).map(drop);
        }
        std::fs::remove_dir_all(&self.into).context("remove what was recovered")
    }
}

/// The server that runs in a data directory.
pub fn server_in(directory: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(directory.join("postmaster.pid")).ok()?;
    let pid = text.lines().next()?.parse().ok()?;
    (!about(pid, "cmdline").is_empty()).then_some(pid)
}

/// Signals a process that is not our child, and returns when it has gone.
pub fn end(how: &str, pid: u32) {
    signal(how, pid);
    // The dead that nobody has asked for yet have no command line.
    while !about(pid, "cmdline").is_empty() {
        std::thread::yield_now();
    }
}

/// What one way left in memory must not help the next.
pub fn drop_caches() {
    // Allowed to root alone; without it all ways have the same advantage.
    let _ = Command::new("sync").status();
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
}
