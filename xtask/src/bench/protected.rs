//! A server with a plan and a vault, and the released program to work on them.

use super::measure::say;
use super::scratch::Scratch;
use super::sizes;
use anyhow::{Context, bail, ensure};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Opens vaults that live for one measurement.
const PASSPHRASE: &str = "correct horse battery staple";
/// For the vault to have what the server has flushed.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(20);
/// The service in the plan.
pub const SERVICE: &str = "bench";

/// What a measurement works on.
pub struct Protected {
    pub cluster: Cluster,
    pub scratch: Scratch,
    program: PathBuf,
}

impl Protected {
    /// Starts a server set up as production is, with an empty vault.
    pub fn start(root: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        // `fsync` is on: what is measured must be what users get.
        let options = ClusterOptions::new()
            .set("fsync", "on")
            .set("shared_buffers", "512MB")
            .set("max_wal_size", "4GB")
            .set("checkpoint_timeout", "5min");
        let options = settings.iter().fold(options, |options, (name, value)| options.set(name, value));
        let cluster = Cluster::start(&Installation::oldest(), &options);
        let plan = format!(
            "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {{name: bench}}\n\
             vault:\n  copies: ['file://{}']\n  durable: 1\n\
             services:\n  - name: {SERVICE}\n    postgres:\n      connection: {}\n      dataDirectory: {}\n      \
             base: {{schedule: '0 3 * * *', timeZone: UTC}}\n",
            scratch.path().join("vault").display(),
            cluster.socket_conninfo(),
            cluster.data_directory().display()
        );
        std::fs::write(scratch.path().join("lifeboat.yaml"), plan)?;
        let protected = Self { cluster, scratch, program: root.join("target/release/lifeboat") };
        super::measure::run(&mut protected.lifeboat(&["vault", "init"])).context("make the vault")?;
        Ok(protected)
    }

    /// The program with these arguments, its plan and its passphrase.
    pub fn lifeboat(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("LIFEBOAT_PASSPHRASE", PASSPHRASE);
        command.env("LIFEBOAT_PLAN", self.scratch.path().join("lifeboat.yaml"));
        command
    }

    /// Where the program is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Puts `to` into the plan in the place of `from`.
    pub fn change_plan(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let path = self.path("lifeboat.yaml");
        let text = std::fs::read_to_string(&path)?;
        ensure!(text.contains(from), "the plan has no `{from}`");
        Ok(std::fs::write(path, text.replace(from, to))?)
    }

    /// A path in the scratch directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Production's process.
    pub fn server(&self) -> Option<u32> {
        super::recovered::server_in(self.cluster.data_directory())
    }

    /// Where the vault's only copy is.
    pub fn vault(&self) -> PathBuf {
        self.path("vault")
    }

    /// Fills the database as pgbench does, with room in each page for a row's next version.
    pub fn fill(&self, gigabytes: f64) -> anyhow::Result<f64> {
        ensure!(
            sizes::has_room_for(self.scratch.path(), gigabytes),
            "the disk is too small; set {} to less",
            sizes::GB
        );
        say(&format!("filling a database of {gigabytes} GB"));
        let scale = sizes::scale(gigabytes).to_string();
        self.cluster.pgbench(&["-i", "-q", "-I", "dtGvp", "-F", "90", "-s", &scale]);
        self.cluster.psql("CHECKPOINT");
        Ok(self.database_bytes()? as f64)
    }

    /// Bytes of WAL that the server has written since it was made.
    pub fn written(&self) -> anyhow::Result<u64> {
        let text = self.cluster.psql("SELECT (pg_current_wal_lsn() - '0/0')::bigint");
        text.trim().parse().context("read how much WAL there is")
    }

    /// Waits until the vault has all that the server has written so far.
    pub fn until_durable(&self) -> anyhow::Result<()> {
        let wanted = self.cluster.psql("SELECT pg_current_wal_lsn()");
        let sql = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name LIKE 'lifeboat%' \
             AND flush_lsn >= '{}'",
            wanted.trim()
        );
        let started = Instant::now();
        while self.cluster.psql(&sql).trim() == "0" {
            if started.elapsed() > PATIENCE {
                bail!("the vault does not get what the server had written at {wanted}");
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Bytes of all tables.
    pub fn database_bytes(&self) -> anyhow::Result<u64> {
        let sql = "SELECT sum(pg_database_size(oid)) FROM pg_database";
        self.cluster.psql(sql).trim().parse().context("read the size of the databases")
    }
}

/// `lifeboat stream`, stopped when dropped.
pub struct Streaming {
    pub child: Child,
}

impl Streaming {
    /// Starts it, and waits until WAL flows.
    pub fn start(protected: &Protected) -> anyhow::Result<Self> {
        let mut command = protected.lifeboat(&["stream", SERVICE, "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("run lifeboat stream")?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        while let Some(line) = lines.next() {
            if line?.contains("\"connected\"") {
                // What it says later has a reader too.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child });
            }
        }
        bail!("the stream did not begin")
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // As an operator's `kill` does; it makes durable what it has.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
