//! Views, as a user has them: killed and shown again, in real processes, under real servers.

use crate::protection::Streaming;
use crate::world::{Ran, World};
use lifeboat_postgres::client::{Connection, Conninfo, Purpose};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A service with a view of it, both taking writes, as in a drill.
pub struct Seen {
    pub world: World,
    pub cluster: Cluster,
    /// Where the view is.
    pub directory: PathBuf,
    address: String,
}

impl Seen {
    /// A backed up service: a server with what `tables` makes.
    pub fn backed_up(installation: &Installation, tables: &str) -> (World, Cluster) {
        let world = World::new();
        let cluster = Cluster::start(installation, &ClusterOptions::new());
        cluster.script("postgres", tables);
        world.plan(&cluster.conninfo());
        world.run(&["vault", "init"]).expect(0);
        let streaming = Streaming::start(&world);
        world.run(&["backup", "run", "ledger-db"]).expect(0);
        world.run(&["doctor", "--deep"]);
        streaming.stop();
        (world, cluster)
    }

    /// The same, recovered into a view called `name` that takes writes.
    pub fn new(installation: &Installation, tables: &str, name: &str) -> Self {
        let (world, cluster) = Self::backed_up(installation, tables);
        Self::recovered(world, cluster, name)
    }

    pub fn recovered(world: World, cluster: Cluster, name: &str) -> Self {
        let directory = world.path(name);
        // Whatever comes of it, it is taken away again.
        let mut seen = Self { world, cluster, directory, address: String::new() };
        seen.recover(name, &["--promote", "--beside-production"]);
        seen
    }

    /// Recovers into another view, which is the one that is looked at from now on.
    pub fn recover(&mut self, name: &str, more: &[&str]) {
        self.recover_as(name, name, more);
    }

    /// The same, with the name that it is called by.
    pub fn recover_as(&mut self, name: &str, called: &str, more: &[&str]) {
        self.end();
        self.directory = self.world.path(name);
        let recover = ["recover", "ledger-db", "--into", called, "--start"];
        let done = self.world.json(&[&recover, more].concat());
        assert!(!done["view"].is_null(), "this machine shows no views: {done:#}");
        self.address = done["server"]["address"].as_str().unwrap().to_owned();
    }

    /// Ends all that runs there, as it is.
    fn end(&self) {
        for process in [self.server(), self.process()].into_iter().flatten() {
            kill9(process);
        }
        // Not there if all went well.
        let _ = Command::new("umount").arg("-l").arg(&self.directory).stderr(Stdio::null()).status();
    }

    /// What stands behind it.
    pub fn home(&self) -> PathBuf {
        let mut home = self.directory.clone().into_os_string();
        home.push(".lifeboat");
        home.into()
    }

    pub fn view(&self, verb: &[&str]) -> Ran {
        let directory = self.directory.display().to_string();
        self.world.run(&[&["view"], &verb[..1], &[&*directory], &verb[1..]].concat())
    }

    /// The process behind the view.
    pub fn process(&self) -> Option<Pid> {
        let directory = self.directory.as_os_str().as_encoded_bytes();
        let is_it = |command: &[u8]| {
            let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
            words.windows(2).any(|two| two == [b"view".as_slice(), b"serve"]) && words.contains(&directory)
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let found =
            numbers.find(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| is_it(&c)));
        found.and_then(Pid::from_raw)
    }

    /// The server, as what is behind the view tells, or the plain directory that was one.
    pub fn server(&self) -> Option<Pid> {
        let behind = std::fs::read_to_string(self.home().join("data/postmaster.pid"));
        let text = behind.or_else(|_| std::fs::read_to_string(self.directory.join("postmaster.pid"))).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.parse().ok()?)?;
        let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        let directory = self.directory.as_os_str().as_encoded_bytes();
        command.split(|byte| *byte == 0).any(|word| word == directory).then_some(pid)
    }

    pub fn kill_view(&self) {
        kill9(self.process().expect("nothing shows the view"));
    }

    pub fn kill_server(&self) {
        kill9(self.server().expect("no server runs"));
    }

    pub async fn connect(&self) -> Connection {
        let info = Conninfo::parse(&self.address, &|_| None).unwrap();
        Connection::connect(&info, Purpose::Sql).await.unwrap()
    }

    pub fn psql(&self, sql: &str) -> Result<String, String> {
        let mut command = self.cluster.installation().command("psql");
        let ran = command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.address, "-c", sql]).output();
        let output = ran.unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }

    /// Holds indexes and tables against each other and themselves.
    pub fn must_be_sound(&self, tables: &[&str]) {
        let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'";
        assert_eq!(self.psql(available).unwrap(), "1", "the server's programs have no amcheck");
        self.psql("CREATE EXTENSION IF NOT EXISTS amcheck").unwrap();
        for table in tables {
            let heap = format!("SELECT count(*) FROM verify_heapam('{table}')");
            assert_eq!(self.psql(&heap).unwrap(), "0", "{table}");
            let indexes = format!(
                "SELECT bt_index_check(indexrelid, true) FROM pg_index WHERE indrelid = '{table}'::regclass"
            );
            self.psql(&indexes).unwrap();
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.end();
    }
}

/// Kills a process that is not our child, and returns when it has gone.
fn kill9(process: Pid) {
    // It may be gone already.
    let _ = kill_process(process, Signal::KILL);
    while is_alive(process) {
        std::thread::yield_now();
    }
}

fn is_alive(process: Pid) -> bool {
    // The dead that nobody has asked for yet have no command line.
    std::fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).is_ok_and(|line| !line.is_empty())
}

/// Whether PostgreSQL, started by hand without a word of ours, would take the directory for a whole one.
pub fn starts_by_hand(world: &World, installation: &Installation, directory: &Path) -> bool {
    std::fs::write(world.path("empty.conf"), "").unwrap();
    let setting = format!("config_file={}", world.path("empty.conf").display());
    let mut postgres = installation.command("postgres");
    postgres.args(["--single", "-c", &setting, "-D"]).arg(directory).arg("template1");
    let output = postgres.stdin(Stdio::null()).output().unwrap();
    output.status.success()
}
