//! Throw-away servers of every PostgreSQL found on this machine.
//!
//! Looks in the directories of Debian's packages and in those named by `LIFEBOAT_TEST_POSTGRES`: `bin`
//! directories, separated by colons. PostgreSQL refuses to run as root: then it runs as `postgres`.

use lifeboat_pgformat::MajorVersion;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub struct Installation {
    bin: PathBuf,
    pub version: MajorVersion,
}

impl Installation {
    /// One of each major version.
    #[expect(clippy::print_stdout, reason = "a test says what it ran against")]
    pub fn all() -> Vec<Self> {
        let named = std::env::var("LIFEBOAT_TEST_POSTGRES").unwrap_or_default();
        let mut bins: Vec<PathBuf> = named.split(':').filter(|b| !b.is_empty()).map(PathBuf::from).collect();
        let packages = MajorVersion::ALL.map(|v| PathBuf::from(format!("/usr/lib/postgresql/{v}/bin")));
        bins.extend(packages);
        let mut found: Vec<Self> = bins.into_iter().filter_map(Self::probe).collect();
        found.sort_by_key(|installation| installation.version);
        found.dedup_by_key(|installation| installation.version);
        let versions: Vec<_> = found.iter().map(|installation| installation.version.number()).collect();
        // Without a server these tests would pass without having looked at anything.
        assert!(!found.is_empty(), "install PostgreSQL 15 to 18, or name its bin in LIFEBOAT_TEST_POSTGRES");
        println!("PostgreSQL {versions:?}");
        found
    }

    fn probe(bin: PathBuf) -> Option<Self> {
        let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.split_whitespace().nth(2)?.split('.').next()?.parse::<u32>().ok()?;
        let version = MajorVersion::from_server_version_num(number * 10_000).ok()?;
        Some(Self { bin, version })
    }

    /// Runs one of its programs.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let program = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).env("LC_ALL", "C").env("TZ", "UTC").current_dir("/").output().unwrap()
    }

    #[track_caller]
    pub fn must(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout.trim_ascii() == b"0"
}

/// A running server with its data, gone when dropped.
pub struct Cluster<'a> {
    pub installation: &'a Installation,
    scratch: tempfile::TempDir,
}

impl<'a> Cluster<'a> {
    pub fn start(installation: &'a Installation, settings: &str) -> Self {
        Self::start_with_segments(installation, 16, settings)
    }

    pub fn start_with_segments(installation: &'a Installation, segment_mib: u32, settings: &str) -> Self {
        let scratch = tempfile::Builder::new().prefix("lifeboat-pgformat-").tempdir().unwrap();
        if is_root() {
            let path = scratch.path().to_str().unwrap();
            assert!(Command::new("chown").args(["postgres", path]).status().unwrap().success());
        }
        let cluster = Self { installation, scratch };
        let data = cluster.data();
        let data = data.to_str().unwrap();
        let segments = format!("--wal-segsize={segment_mib}");
        installation
            .must("initdb", &["-D", data, "-k", "-A", "trust", "-U", "postgres", "--no-sync", &segments]);
        let socket = cluster.scratch.path().to_str().unwrap();
        let common = format!(
            "listen_addresses=''\nunix_socket_directories='{socket}'\nfsync=off\nautovacuum=off\n\
             max_prepared_transactions=5\nwal_keep_size=1GB\ntimezone=UTC\nlog_timezone=UTC\n{settings}\n"
        );
        let file = cluster.data().join("postgresql.conf");
        let mut configuration = std::fs::read_to_string(&file).unwrap();
        configuration.push_str(&common);
        std::fs::write(&file, configuration).unwrap();
        cluster.pg_ctl("start", &[]);
        cluster
    }

    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    pub fn pg_ctl(&self, what: &str, more: &[&str]) {
        let (data, log) = (self.data(), self.scratch.path().join("log"));
        let mut arguments = vec![what, "-w", "-s", "-D", data.to_str().unwrap(), "-l", log.to_str().unwrap()];
        arguments.extend(more);
        self.installation.must("pg_ctl", &arguments);
    }

    /// Runs SQL, each statement on its own unless it opens a transaction; returns the rows as text.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let socket = self.scratch.path().to_str().unwrap();
        let arguments =
            ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", socket, "-U", "postgres", "-d", database];
        // One session, statement by statement, as a person would type.
        let script = self.scratch.path().join("script.sql");
        std::fs::write(&script, sql).unwrap();
        let script = script.to_str().unwrap();
        self.installation.must("psql", &[&arguments[..], &["-f", script]].concat()).trim().to_owned()
    }

    pub fn wal(&self) -> PathBuf {
        self.data().join("pg_wal")
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.data().join(path)).unwrap()
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        let data = self.data();
        if Path::exists(&data.join("postmaster.pid")) {
            self.installation.run("pg_ctl", &["stop", "-w", "-m", "immediate", "-D", data.to_str().unwrap()]);
        }
    }
}
