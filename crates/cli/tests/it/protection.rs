//! Stream, backups and their proof, as a user runs them.

use crate::snapshot;
use crate::world::{PASSPHRASE, World};
use lifeboat_base::SystemClock;
use lifeboat_postgres::stream::MEMORY_LIMIT_BYTES;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use lifeboat_vault::keys::Unlock;
use lifeboat_vault::lease::{Acquired, Lease};
use lifeboat_vault::{Copies, Scope, Vault, VaultCopy, address};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// A running `lifeboat stream` or `lifeboat serve`; killed when dropped.
pub struct Streaming {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    /// What it has said.
    said: Vec<Value>,
}

impl Streaming {
    /// Starts a stream, and waits until WAL flows.
    pub fn start(world: &World) -> Self {
        let mut streaming = Self::run(world, &["stream", "ledger-db", "--json"]);
        streaming.wait_for("connected");
        streaming
    }

    /// Starts a command that goes on, with `--json`.
    pub fn run(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for an event.
    pub fn wait_for(&mut self, event: &str) -> Value {
        self.wait_until(event, |document| document["event"] == event)
    }

    pub fn wait_until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        for line in &mut self.lines {
            let document: Value = serde_json::from_str(&line.unwrap()).unwrap();
            self.said.push(document.clone());
            if is_it(&document) {
                return document;
            }
        }
        panic!("it ended before `{what}`");
    }

    /// As kill -9 does. Returns what it has said.
    fn kill9(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::take(&mut self.said)
    }

    /// Asks it to stop as a supervisor does, and returns the event and the exit code.
    pub fn stop(mut self) -> (Value, Option<i32>) {
        self.ask_to_stop();
        let stopped = self.wait_for("stopped");
        (stopped, self.child.wait().unwrap().code())
    }

    fn ask_to_stop(&self) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // It has ended already, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_streamed_and_backed_up_is_seen_by_the_doctor_and_verified() {
    let (world, cluster) = World::with_server(&Installation::oldest());
    world.run(&["doctor"]).expect(1);

    let streaming = Streaming::start(&world);
    let examined = world.run(&["doctor", "--deep", "--json"]);
    let document = examined.json();
    let findings = document["findings"].as_array().unwrap();
    let of = |check: &str| findings.iter().find(|finding| finding["check"] == check).unwrap();
    assert_eq!(of("into the vault")["level"], "ok", "{document:#}");
    assert_eq!(of("slot")["level"], "ok", "{document:#}");
    // The test's server runs without fsync, which is what a doctor is for.
    assert_eq!(of("fsync")["level"], "fail");
    let failed = findings.iter().filter(|finding| finding["level"] == "fail").count();
    assert_eq!(failed, 1, "{document:#}");

    let id = world.json(&["backup", "run", "ledger-db"])["id"].as_str().unwrap().to_owned();
    cluster.psql("INSERT INTO ledger VALUES (0)");
    let verified = world.json(&["backup", "verify", &id]);
    assert_eq!(verified["outcome"], "passed", "{verified:#}");
    let listed = world.json(&["backup", "list"]);
    assert_eq!(listed["restorePoints"][0]["state"], "verified", "{listed:#}");
    // So that what was inserted is in the vault.
    world.run(&["doctor", "--deep"]);
    let checked = world.json(&["vault", "check", "--deep"]);
    assert_eq!(checked["sound"], true, "{checked:#}");
    snapshot!("status", world.json(&["status"]));
    snapshot!("backup_verify", verified);
    snapshot!("vault_check", checked);
    let mut first = document.clone();
    first["findings"].as_array_mut().unwrap().truncate(1);
    snapshot!("doctor", first);
    let mut pruned = world.json(&["backup", "prune", "--dry-run"]);
    // Pieces go too, as far as the stream has joined them by now.
    let buried = pruned["services"][0]["buried"].as_array_mut().unwrap();
    buried.retain(|burial| burial["what"] == "wal");
    snapshot!("prune_dry_run", pruned);

    let (stopped, code) = streaming.stop();
    assert_eq!(code, Some(0));
    assert_eq!(stopped["leftBytes"], 0, "{stopped}");
    assert!(stream_lease_is_free(&world), "the next stream would wait for it to run out");
}

/// Many times what a stream may hold, of the kind that takes the most: nothing makes it small.
const BULK_WAL_BYTES: u64 = 512 << 20;

#[test]
fn m4_a_stream_holds_little_however_much_comes() {
    let world = World::new();
    let cluster = Cluster::start(&Installation::oldest(), &ClusterOptions::new());
    world.plan(&cluster.conninfo());
    world.run(&["vault", "init", "--break-glass", "glass.txt"]).expect(0);
    cluster.psql("CREATE TABLE bulk (noise bytea)");
    // A passphrase takes 64 MiB to open the vault, which are not the stream's.
    let stream = ["stream", "ledger-db", "--identity", "glass.txt", "--json"];
    let mut streaming = Streaming::run(&world, &stream);
    streaming.wait_for("connected");
    let begin = position(&cluster);
    while position(&cluster) < begin + BULK_WAL_BYTES {
        cluster.psql(
            "INSERT INTO bulk SELECT (SELECT string_agg(sha512((random() + g + i)::text::bytea), '') \
             FROM generate_series(1, 16) i) FROM generate_series(1, 32768) g",
        );
    }
    let last = cluster.psql("SELECT pg_walfile_name(pg_current_wal_lsn() - 16 * 1024 * 1024)");
    streaming.wait_until("the last segment", |document| document["segment"] == last.trim());
    let status = std::fs::read_to_string(format!("/proc/{}/status", streaming.child.id())).unwrap();
    let kib = |key: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        value.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    // The program's own text is shared, and large in a debug build.
    let peak = kib("VmHWM:") - kib("RssFile:");
    assert!(peak << 10 <= MEMORY_LIMIT_BYTES, "it took {peak} KiB");
}

/// How much WAL a server has written.
fn position(cluster: &Cluster) -> u64 {
    cluster.psql("SELECT (pg_current_wal_lsn() - '0/0')::bigint").trim().parse().unwrap()
}

#[test]
fn one_serve_acts_and_another_takes_over_when_it_is_killed() {
    let (world, cluster) = World::with_server(&Installation::newest());
    let serve = ["serve", "--verify-in", "scratch", "--json"];

    let mut first = Streaming::run(&world, &serve);
    first.wait_for("serving");
    let mut second = Streaming::run(&world, &serve);
    second.wait_for("waiting");
    let done = |event: &'static str, job: &'static str| {
        move |document: &Value| document["event"] == event && document["job"] == job
    };
    first.wait_until("a backup", done("succeeded", "baseBackup"));
    first.wait_until("its proof", done("succeeded", "verify"));
    let listed = world.json(&["backup", "list"]);
    assert_eq!(listed["restorePoints"][0]["state"], "verified", "{listed:#}");
    first.wait_until("what is at risk", |document| document["connected"] == true);
    let mut said = first.kill9();

    second.wait_for("serving");
    second.wait_for("connected");
    cluster.psql("INSERT INTO ledger VALUES (0)");
    let examined = world.run(&["doctor", "--deep", "--json"]).json();
    let findings = examined["findings"].as_array().unwrap();
    let streamed = findings.iter().find(|finding| finding["check"] == "into the vault").unwrap();
    assert_eq!(streamed["level"], "ok", "{examined:#}");
    second.ask_to_stop();
    second.wait_until("its last word", |document| {
        document["kind"] == "serve.event" && document["event"] == "stopped"
    });
    assert_eq!(second.child.wait().unwrap().code(), Some(0));
    said.extend(std::mem::take(&mut second.said));
    snapshot!("serve", events(&said));
    let left = std::fs::read_dir(world.path("scratch")).unwrap().count();
    assert_eq!(left, 0, "nothing of what was recovered is kept");
}

/// One of each event that comes whatever the timing, by what it is.
fn events(said: &[Value]) -> Value {
    let name = |document: &Value| {
        let words = ["kind", "event", "job"].iter().filter_map(|word| document[word].as_str());
        words.collect::<Vec<_>>().join(" ")
    };
    let is_certain = |document: &&Value| {
        let passing = ["joined", "interrupted", "alarmRaised", "alarmCleared", "suspended", "streamFailed"];
        let is_passing = passing.iter().any(|event| document["event"] == *event);
        !is_passing && document["job"] != "prune" && document["connected"] != false
    };
    let certain = said.iter().filter(is_certain);
    certain
        .map(|event| (name(event), event.clone()))
        .collect::<BTreeMap<String, Value>>()
        .into_iter()
        .collect()
}

#[test]
fn of_two_backups_at_once_one_is_taken_and_the_other_says_who_takes_it() {
    let (world, _cluster) = World::with_server(&Installation::newest());
    // Slow enough to outlast the patience of the other.
    let start = || {
        let mut command = world.command(&["backup", "run", "ledger-db", "--rate", "1MB"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let mut codes = both.each_ref().map(|output| output.status.code());
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(2)], "{both:#?}");
    let refused = both.iter().find(|output| !output.status.success()).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("acts for services/ledger-db/backup now"), "{said}");
    assert_eq!(world.json(&["backup", "list"])["restorePoints"].as_array().unwrap().len(), 1);
    assert_eq!(world.json(&["vault", "check", "--deep"])["sound"], true);
}

/// Whether nobody holds the lease of the stream, without waiting for it.
fn stream_lease_is_free(world: &World) -> bool {
    let store = address::open(&world.copy("vault"), false, &|_| None).unwrap();
    let copies = Copies::new(vec![VaultCopy::new("vault", None, store)], 1);
    let unlock = Unlock::Passphrase(Zeroizing::new(PASSPHRASE.to_owned()));
    let scope = Scope::service(&"ledger-db".parse().unwrap(), "stream");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let vault = Vault::open(copies, &unlock, Arc::new(SystemClock::new())).await.unwrap();
        matches!(Lease::wait(&vault, &scope, "a test", Duration::ZERO).await, Ok(Acquired::Held(_)))
    })
}

#[test]
fn wal_fetch_never_says_no_such_file_without_proof() {
    let world = World::new();
    world.plan("host=nowhere");
    // No vault, no arguments, no key: none of that is an answer.
    world.run(&["wal", "fetch", "ledger-db", "000000010000000000000001", "out"]).expect(255);
    world.run(&["wal", "fetch", "ledger-db"]).expect(255);
    world.run(&["wal", "fetch", "--no-such-flag"]).expect(255);
    world.run(&["vault", "init"]).expect(0);
    // The vault knows nothing of this service.
    world.run(&["wal", "fetch", "ledger-db", "000000010000000000000001", "out"]).expect(255);
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    let file = cluster
        .data_directory()
        .join("pg_wal")
        .join(cluster.psql("SELECT pg_walfile_name(pg_switch_wal())").trim());
    let pushed = file.display().to_string();
    let push = ["wal", "push", "ledger-db", &pushed];
    snapshot!("wal_push", world.json(&push));
    assert_eq!(world.json(&push)["outcome"], "alreadyThere");
    let name = file.file_name().unwrap().to_str().unwrap();
    snapshot!("wal_fetch", world.json(&["wal", "fetch", "ledger-db", name, "out", "--no-helper"]));
    assert_eq!(std::fs::read(world.path("out")).unwrap(), std::fs::read(&file).unwrap());
    let absent = "0000000100000000000000FF";
    let fetched = world.run(&["wal", "fetch", "ledger-db", absent, "out2", "--no-helper", "--json"]);
    assert_eq!(fetched.expect(1).json()["outcome"], "absent");
    // A copy that is away may have it.
    let (here, away) = (world.copy("vault"), world.copy("not-mounted"));
    let fetch = ["wal", "fetch", "ledger-db", absent, "out2", "--no-helper", "--patience", "0s"];
    world.run(&[&fetch[..], &["--vault", &here, "--vault", &away]].concat()).expect(255);
}

/// A question of the plan may be wrong itself: its answer takes nobody's last backup away.
#[test]
fn a_question_answered_with_no_condemns_no_restore_point() {
    let (world, _cluster) = World::with_server(&Installation::oldest());
    let id = world.json(&["backup", "run", "ledger-db"])["id"].as_str().unwrap().to_owned();
    let keep = "keep: {last: 2, window: 7d}";
    world.change_plan(keep, &format!("{keep}\n      checks: [{{name: typo, query: select * from ledgr}}]"));

    let verified = world.run(&["backup", "verify", &id, "--json"]).expect(1);
    assert_eq!(verified.json()["outcome"], "doubtful", "{:#}", verified.json());
    assert_eq!(world.json(&["backup", "list"])["restorePoints"][0]["state"], "doubtful");
    let status = world.run(&["status", "--json"]).json();
    assert!(status.to_string().contains("ledgr"), "{status:#}");
    let restored = world.run(&["restore", "ledger-db", "--into", "back", "--dry-run"]).expect(0);
    assert!(restored.stderr.contains("ledgr"), "{}", restored.stderr);
}
