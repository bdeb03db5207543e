//! pgBackRest beside Lifeboat: the same server, zstd 3, AES-256, two processes each.

use super::measure::{Taken, bytes_below, run as measure, say};
use super::protected::{Protected, SERVICE, Streaming};
use super::recovered::{PORT, drop_caches};
use super::scratch::Scratch;
use anyhow::{Context, ensure};
use lifeboat_testkit::postgres::{Cluster, as_server_user, give_to_server_user};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// For the server to take a setting.
const PATIENCE: Duration = Duration::from_secs(60);

/// pgBackRest, set up for the same server.
pub struct Peer {
    home: Scratch,
    configuration: PathBuf,
    archive: String,
}

impl Peer {
    /// A server that both protect.
    pub fn beside(root: &Path) -> anyhow::Result<(Protected, Self)> {
        let home = Scratch::new()?;
        let configuration = home.path().join("pgbackrest.conf");
        let archive =
            format!("pgbackrest --config={} --stanza=bench archive-push %p", configuration.display());
        let settings = [("archive_mode", "on"), ("archive_command", &archive), ("wal_level", "replica")];
        let protected = Protected::start(root, &settings)?;
        let peer = Self { home, configuration, archive };
        peer.set_up(&protected)?;
        Ok((protected, peer))
    }

    fn set_up(&self, protected: &Protected) -> anyhow::Result<()> {
        let home = self.home.path();
        for name in ["repo", "log", "lock", "spool"] {
            std::fs::create_dir(home.join(name))?;
        }
        let cluster = &protected.cluster;
        let text = format!(
            "[global]\nrepo1-path={home}/repo\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=correct-horse\n\
             repo1-retention-full=2\ncompress-type=zst\ncompress-level=3\nprocess-max=2\nstart-fast=y\n\
             log-path={home}/log\nlock-path={home}/lock\nspool-path={home}/spool\nlog-level-console=warn\n\
             [bench]\npg1-path={data}\npg1-port={port}\npg1-socket-path={socket}\npg1-user=postgres\n",
            home = home.display(),
            data = cluster.data_directory().display(),
            port = cluster.port(),
            socket = cluster.scratch().display(),
        );
        std::fs::write(&self.configuration, text)?;
        give_to_server_user(home);
        measure(&mut self.command(&["stanza-create"]))?;
        Ok(())
    }

    /// Fills the database without archiving what that writes: neither tool is to be loaded with it.
    pub fn fill(&self, protected: &Protected, gigabytes: f64) -> anyhow::Result<f64> {
        let cluster = &protected.cluster;
        self.archive_by(cluster, "true")?;
        let bytes = protected.fill(gigabytes)?;
        cluster.psql("SELECT pg_switch_wal()");
        self.archive_by(cluster, &self.archive)?;
        measure(&mut self.command(&["check"]))?;
        Ok(bytes)
    }

    /// A full backup by each tool, with the stream running from before the first on.
    pub fn full_backups(&self, protected: &Protected) -> anyhow::Result<Streaming> {
        let streaming = Streaming::start(protected)?;
        say("full backups");
        measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?;
        measure(&mut self.command(&["--type=full", "backup"]))?;
        Ok(streaming)
    }

    fn archive_by(&self, cluster: &Cluster, command: &str) -> anyhow::Result<()> {
        cluster.set("archive_command", command);
        let started = Instant::now();
        while cluster.psql("SHOW archive_command") != command {
            ensure!(started.elapsed() < PATIENCE, "the server does not take another archive_command");
        }
        Ok(())
    }

    /// Bytes of its repository: backups, and archived WAL.
    pub fn stored_bytes(&self) -> [u64; 2] {
        ["backup", "archive"].map(|name| bytes_below(&self.home.path().join("repo").join(name)))
    }

    /// Restores, starts a server and asks it `question`; seconds until it has answered all of it.
    pub fn first_answer(&self, protected: &Protected, question: &[&str]) -> anyhow::Result<f64> {
        drop_caches();
        let started = Instant::now();
        let (into, _) = self.restore_into("restored")?;
        let installation = protected.cluster.installation();
        let control = |arguments: &[&str]| {
            let mut command = as_server_user(Command::new(installation.program("pg_ctl")));
            command.arg("-D").arg(&into).args(arguments);
            command
        };
        let options =
            format!("-c port={PORT} -c archive_mode=off -c unix_socket_directories={}", into.display());
        measure(&mut control(&["-w", "-t", "3600", "-l", "/dev/null", "-o", &options, "start"]))?;
        let mut ask = installation.command(question[0]);
        ask.args(["-U", "postgres", "-p", PORT, "-h"]).arg(&into).args(&question[1..]).arg("postgres");
        measure(&mut ask)?;
        let seconds = started.elapsed().as_secs_f64();
        measure(&mut control(&["-m", "immediate", "stop"]))?;
        std::fs::remove_dir_all(&into).context("remove what was restored")?;
        Ok(seconds)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = as_server_user(Command::new("pgbackrest"));
        command
            .arg(format!("--config={}", self.configuration.display()))
            .arg("--stanza=bench")
            .args(arguments);
        command
    }

    pub fn restore(&self) -> anyhow::Result<Taken> {
        let (into, taken) = self.restore_into("restored")?;
        std::fs::remove_dir_all(&into)?;
        Ok(taken)
    }

    fn restore_into(&self, name: &str) -> anyhow::Result<(PathBuf, Taken)> {
        let into = self.home.path().join(name);
        std::fs::create_dir(&into)?;
        give_to_server_user(&into);
        let taken = measure(&mut self.command(&[&format!("--pg1-path={}", into.display()), "restore"]))?;
        Ok((into, taken))
    }
}
