//! From disaster back to a moment, as a user does it.

use crate::protection::Streaming;
use crate::snapshot;
use crate::world::World;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use serde_json::Value;
use std::os::unix::net::UnixStream;

/// A restored server that this test must end.
pub struct Restored {
    pub pid: i32,
    address: String,
    installation: Installation,
}

impl Restored {
    pub fn of(document: &Value, installation: &Installation) -> Self {
        let server = &document["server"];
        Self {
            pid: i32::try_from(server["pid"].as_i64().unwrap()).unwrap(),
            address: server["address"].as_str().unwrap().to_owned(),
            installation: installation.clone(),
        }
    }

    pub fn psql(&self, sql: &str) -> Result<String, String> {
        let mut command = self.installation.command("psql");
        let output = command.args(["-XAtq", "-d", &self.address, "-c", sql]).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            // It has ended already, or the test has failed.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
    }
}

fn back_to_before_the_mistake(installation: &Installation) {
    let world = World::new();
    let cluster = Cluster::start(installation, &ClusterOptions::new());
    cluster.psql("CREATE TABLE ledger (id int PRIMARY KEY)");
    world.plan(&cluster.conninfo());
    world.run(&["vault", "init"]).expect(0);
    let streaming = Streaming::start(&world);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    cluster.psql("INSERT INTO ledger SELECT generate_series(1, 1000)");
    let wrong = cluster.psql("BEGIN; DELETE FROM ledger; SELECT txid_current(); COMMIT");
    let wrong = wrong.split_whitespace().find(|word| word.parse::<u64>().is_ok()).unwrap().to_owned();
    cluster.psql("INSERT INTO ledger VALUES (0)");
    // Stopping makes all that has arrived durable.
    world.run(&["doctor", "--deep"]);
    assert_eq!(streaming.stop().1, Some(0));
    cluster.kill9();
    cluster.erase_data_directory();

    let status = world.run(&["status", "--json"]).expect(1).json();
    let service = &status["services"][0];
    assert!(service["unknown"][0].as_str().unwrap().contains("exposure"), "{status:#}");
    assert_eq!(service["problems"].as_array().unwrap().len(), 0, "{status:#}");

    let found = world.json(&["wal", "search", "ledger-db", "--table", "public.ledger"]);
    let to = format!("before:xid:{wrong}");
    let suspects = found["findings"].as_array().unwrap();
    let delete = suspects.iter().find(|suspect| suspect["effects"][0]["kind"] == "DELETE").unwrap();
    assert_eq!(delete["recoverTo"], Value::String(to.clone()), "{found:#}");
    assert_eq!(delete["effects"][0]["rows"], 1000, "{found:#}");
    let restore = ["restore", "ledger-db", "--to", &to, "--into", "back"];
    let planned = world.json(&[&restore[..], &["--dry-run"]].concat());
    assert_eq!(planned["restored"], false, "{planned:#}");
    assert!(!world.path("back").exists());
    let done = world.json(&[&restore[..], &["--start"]].concat());
    let before = Restored::of(&done, installation);
    assert_eq!(before.psql("SELECT count(*) FROM ledger").unwrap(), "1000");
    before.psql("INSERT INTO ledger VALUES (-1)").unwrap_err();
    // R2: read-only until told; the helper is still there when it is.
    let has_helper = |into: &str| UnixStream::connect(world.path(into).join("lifeboat.socket")).is_ok();
    assert!(has_helper("back"));
    let opened = world.json(&["promote", "back"]);
    assert_eq!(opened["timeline"], 2, "{opened}");
    assert!(!has_helper("back"), "nobody holds the key for a server that replays nothing");
    let noted = world.json(&["journal", "show", "--scope", "services/ledger-db/restore"]);
    let last = &noted["events"].as_array().unwrap().last().unwrap()["record"];
    assert_eq!(
        (&last["kind"], &last["data"]["timeline"]),
        (&"restore.promoted".into(), &2.into()),
        "{noted}"
    );
    world.run(&["promote", "back"]).expect(2);
    before.psql("INSERT INTO ledger VALUES (-1)").unwrap();
    let refused = world.run(&restore).expect(2);
    assert!(refused.stderr.contains("server runs in"), "{}", refused.stderr);

    let done = world.json(&["restore", "ledger-db", "--into", "latest", "--start", "--promote"]);
    let latest = Restored::of(&done, installation);
    assert!(!has_helper("latest"));
    assert_eq!(latest.psql("SELECT string_agg(id::text, ',') FROM ledger").unwrap(), "0");
    latest.psql("INSERT INTO ledger VALUES (-1)").unwrap();
    let outside = world.run(&["restore", "ledger-db", "--to", "2001-01-01T00:00:00Z", "--into", "never"]);
    let outside = outside.expect(2);
    assert!(outside.stderr.contains("What can be reached"), "{}", outside.stderr);
    snapshot!("restore_dry_run", planned);
    snapshot!("restore", done);
    snapshot!("wal_search", found);
    snapshot!("promote", opened);
    snapshot!("journal_verify", world.json(&["journal", "verify"]));
    assert_eq!(world.json(&["journal", "verify"])["sound"], true);
}

#[test]
fn back_to_before_the_mistake_on_the_oldest_version() {
    back_to_before_the_mistake(&Installation::oldest());
}

#[test]
fn back_to_before_the_mistake_on_the_newest_version() {
    back_to_before_the_mistake(&Installation::newest());
}

#[test]
fn a_copy_that_is_lost_stops_nothing_but_a_restore_that_could_miss_what_it_had() {
    let world = World::new();
    let installation = Installation::newest();
    let cluster = Cluster::start(&installation, &ClusterOptions::new());
    cluster.psql("CREATE TABLE ledger AS SELECT g AS id FROM generate_series(1, 1000) g");
    world.plan_with_copies(&cluster.conninfo(), &["here", "there"]);
    world.run(&["vault", "init"]).expect(0);
    std::fs::rename(world.path("there"), world.path("unmounted")).unwrap();

    let streaming = Streaming::start(&world);
    let ran = world.run(&["backup", "run", "ledger-db"]).expect(0);
    let there = world.copy("there");
    assert!(ran.stderr.contains(&format!("the copy {there} is away")), "{}", ran.stderr);
    cluster.psql("INSERT INTO ledger VALUES (0)");
    world.run(&["doctor", "--deep"]);
    world.run(&["backup", "list"]).expect(0);
    world.run(&["status"]).expect(0);
    world.run(&["wal", "search", "ledger-db", "--vault", &world.copy("here")]).expect(0);
    assert_eq!(streaming.stop().1, Some(0));
    cluster.stop();

    // It may have what nobody sees.
    let restore = ["restore", "ledger-db", "--to", "latest", "--into", "back", "--start", "--json"];
    let refused = world.run(&restore).expect(2);
    assert!(refused.stderr.contains(&format!("add --vault {}", world.copy("here"))), "{}", refused.stderr);
    assert!(!world.path("back").exists());
    let restored = world.run(&[&restore[..], &["--vault", &world.copy("here")]].concat()).json();
    let restored = Restored::of(&restored, &installation);
    assert_eq!(restored.psql("SELECT count(*) FROM ledger").unwrap(), "1001");

    // Back again, it is brought what it missed, and is then enough by itself.
    std::fs::rename(world.path("unmounted"), world.path("there")).unwrap();
    world.run(&["vault", "check", "--repair"]).expect(0);
    std::fs::rename(world.path("here"), world.path("lost")).unwrap();
    let restore = ["restore", "ledger-db", "--to", "latest", "--into", "again", "--vault", &there];
    world.run(&restore).expect(0);
}
