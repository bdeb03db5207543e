//! A recovery that was stopped or killed, and the same command again.

use crate::protection::Streaming;
use crate::restoring::Restored;
use crate::world::{Ran, World};
use lifeboat_testkit::postgres::{Cluster, Installation};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A command under way.
struct UnderWay(Child);

impl UnderWay {
    fn start(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.command(arguments);
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until something is true while the command runs.
    #[track_caller]
    fn until(&mut self, is_so: impl Fn() -> bool) {
        while !is_so() {
            assert_eq!(self.0.try_wait().unwrap(), None, "it ended too early");
            std::thread::yield_now();
        }
    }

    /// Asks it to stop as a person at a terminal or a supervisor does, and waits for its end.
    fn stop(self, signal: Signal) -> Ran {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        Ran::of(&["(stopped)"], self.0.wait_with_output().unwrap())
    }

    fn kill9(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The process of the server in a directory.
fn server_in(directory: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(directory.join("postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.parse().ok()?)
}

/// Stops a server in order, and waits until it has.
fn stop_server(directory: &Path) {
    let server = server_in(directory).unwrap();
    kill_process(server, Signal::INT).unwrap();
    while directory.join("postmaster.pid").exists() {
        std::thread::yield_now();
    }
}

/// The pins that a vault holds of the service.
fn pins(world: &World) -> usize {
    let found = std::fs::read_dir(world.path("vault/services/ledger-db/pins"));
    let has_some = |pin: &PathBuf| std::fs::read_dir(pin).is_ok_and(|mut numbers| numbers.next().is_some());
    found.map_or(0, |pins| pins.map(|pin| pin.unwrap().path()).filter(has_some).count())
}

/// A backed up server, its stream, and the transaction that left 1000 rows in `ledger`; more followed.
fn protected() -> (World, Cluster, Streaming, String) {
    let (world, cluster) = World::with_server(&Installation::newest());
    let streaming = Streaming::start(&world);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    let moment = cluster.psql("SELECT txid_current()");
    cluster.psql("INSERT INTO ledger SELECT generate_series(1001, 2000)");
    world.run(&["doctor", "--deep"]);
    (world, cluster, streaming, format!("xid:{}", moment.trim()))
}

fn rows(restored: &Restored) -> String {
    restored.psql("SELECT count(*) FROM ledger").unwrap()
}

#[test]
fn r1_r3_a_replay_that_is_stopped_stops_its_server_and_the_same_command_goes_on() {
    let (world, cluster, streaming, moment) = protected();
    streaming.stop();
    cluster.stop();
    let back = world.path("back");
    let restore = ["restore", "ledger-db", "--to", &moment, "--into", "back", "--start"];
    for signal in [Signal::INT, Signal::TERM] {
        let mut under_way = UnderWay::start(&world, &restore);
        under_way.until(|| server_in(&back).is_some());
        // R1: prune is told while WAL is still needed.
        assert!(pins(&world) > 0);
        let stopped = under_way.stop(signal).expect(2);
        assert!(stopped.stderr.contains("replay was stopped, and the server with it"), "{}", stopped.stderr);
        assert!(
            stopped.stderr.contains("next: the same command goes on with it: lifeboat restore ledger-db")
        );
        assert_eq!(server_in(&back), None, "{}", stopped.stderr);
        assert!(pins(&world) > 0, "whoever goes on needs the WAL");
    }
    // Without --start it says how to go on by hand.
    let by_hand = world.json(&restore[..6]);
    assert_eq!((&by_hand["restored"], &by_hand["server"]), (&true.into(), &serde_json::Value::Null));
    let done = world.json(&restore);
    let restored = Restored::of(&done, &Installation::newest());
    assert_eq!(rows(&restored), "1000");
    assert_eq!(done["segments"].as_array().unwrap().len(), 2, "nothing was written again: {done:#}");
}

#[test]
fn r3_r4_a_recovery_whose_command_was_killed_is_adopted_restarted_and_never_taken_back() {
    let (world, cluster, streaming, moment) = protected();
    let back = world.path("back");
    let restore = ["restore", "ledger-db", "--to", &moment, "--into", "back", "--start"];
    let mut under_way = UnderWay::start(&world, &restore);
    under_way.until(|| server_in(&back).is_some());
    under_way.kill9();
    let server = server_in(&back).unwrap();

    // Its server goes on, and is gone on with.
    let done = world.json(&restore);
    assert_eq!(done["server"]["pid"], server.as_raw_nonzero().get(), "{done:#}");
    let restored = Restored::of(&done, &Installation::newest());
    assert_eq!(rows(&restored), "1000");

    // A newer backup changes nothing about what the directory holds; another moment does.
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    world.run(&["doctor", "--deep"]);
    streaming.stop();
    let later = ["restore", "ledger-db", "--into", "back", "--start"];
    let running = world.run(&later).expect(2);
    assert!(running.stderr.contains("whole and not opened yet (its server runs)"), "{}", running.stderr);
    assert!(running.stderr.contains("lifeboat promote "), "{}", running.stderr);

    stop_server(&back);
    // The same moment again, then one that is later.
    let again = Restored::of(&world.json(&restore), &Installation::newest());
    assert_eq!(rows(&again), "1000");
    stop_server(&back);
    let done = world.json(&later);
    let latest = Restored::of(&done, &Installation::newest());
    assert_eq!(rows(&latest), "2000");
    stop_server(&back);
    let backwards = world.run(&restore).expect(2);
    assert!(backwards.stderr.contains("(its server is stopped)"), "{}", backwards.stderr);
    assert!(backwards.stderr.contains("-D ") && backwards.stderr.contains("lifeboat promote "));

    // Killed after its target was reached, it is opened by the same command.
    cluster.stop();
    let opened = world.json(&[&later[..], &["--promote"]].concat());
    let opened = Restored::of(&opened, &Installation::newest());
    opened.psql("INSERT INTO ledger VALUES (0)").unwrap();
    world.run(&later).expect(2);
}

#[test]
fn a_verification_that_is_stopped_says_what_is_true_and_leaves_nothing() {
    let (world, cluster, streaming, _) = protected();
    streaming.stop();
    cluster.stop();
    std::fs::create_dir(world.path("scratch")).unwrap();
    let is_there = |name: &str| {
        let mut found = std::fs::read_dir(world.path("scratch")).unwrap().map(|entry| entry.unwrap().path());
        found.any(|directory| directory.join(name).exists())
    };
    // Shown, or restored; then with a server in it.
    for name in ["base", "postmaster.pid"] {
        let mut under_way = UnderWay::start(&world, &["backup", "verify", "latest", "--scratch", "scratch"]);
        under_way.until(|| is_there(name));
        let stopped = under_way.stop(Signal::TERM).expect(2);
        assert!(stopped.stderr.contains("nothing was found out"), "{}", stopped.stderr);
        assert!(!stopped.stderr.contains("takes it up again"), "{}", stopped.stderr);
        assert_eq!(std::fs::read_dir(world.path("scratch")).unwrap().count(), 0);
    }
    let listed = world.json(&["backup", "list"]);
    assert_eq!(listed["restorePoints"][0]["state"], "written", "{listed:#}");
    assert_eq!(pins(&world), 0);
}
