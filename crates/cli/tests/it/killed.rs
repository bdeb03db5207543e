//! `lifeboat restore`, killed in the middle, and what may become of what it leaves.

use crate::protection::Streaming;
use crate::restoring::Restored;
use crate::world::World;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use std::path::Path;
use std::process::Stdio;

/// Whether PostgreSQL would take the directory for a whole one.
fn has_control_file(directory: &Path) -> bool {
    directory.join("global/pg_control").exists()
}

/// Starts a restore into `into` and kills it once its files are made and none can be whole.
fn kill_in_the_middle(world: &World, arguments: &[&str], into: &Path) {
    let mut command = world.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !into.join("base").exists() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it had begun");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!has_control_file(into), "it was faster than the one who kills");
}

#[test]
fn r1_r3_a_killed_restore_leaves_what_never_starts_and_the_same_command_goes_on() {
    let installation = Installation::newest();
    let world = World::new();
    let cluster = Cluster::start(&installation, &ClusterOptions::new());
    cluster.psql("CREATE TABLE ledger AS SELECT g AS id, repeat(md5(g::text), 20) AS t FROM generate_series(1, 30000) g");
    world.plan(&cluster.conninfo());
    world.run(&["vault", "init"]).expect(0);
    let streaming = Streaming::start(&world);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    let last = cluster.psql("BEGIN; DELETE FROM ledger WHERE id > 10; SELECT txid_current(); COMMIT");
    let last = last.split_whitespace().find(|word| word.parse::<u64>().is_ok()).unwrap().to_owned();
    cluster.psql("INSERT INTO ledger VALUES (0)");
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    world.run(&["doctor", "--deep"]);
    assert_eq!(streaming.stop().1, Some(0));
    cluster.stop();

    let (before, with) = (format!("before:xid:{last}"), format!("xid:{last}"));
    for (into, to, then_to, rows) in [("same", &before, &before, "30000"), ("another", &before, &with, "10")]
    {
        let directory = world.path(into);
        let restore = ["restore", "ledger-db", "--into", into, "--start", "--workers", "1", "--to"];
        kill_in_the_middle(&world, &[&restore[..], &[to]].concat(), &directory);
        // R1 of recovery: prune sees the pin until it is forgotten.
        assert!(world.path("vault/services/ledger-db/pins").read_dir().unwrap().next().is_some());

        // Nobody starts or opens it.
        std::fs::write(world.path("empty.conf"), "").unwrap();
        let setting = format!("config_file={}", world.path("empty.conf").display());
        let mut server = installation.command("postgres");
        let refused = server.arg("-D").arg(&directory).args(["-c", &setting]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        // Which of its files PostgreSQL misses first depends on how far the restore was.
        let is_half = said.contains("global/pg_control") || said.contains("is not a valid data directory");
        assert!(!refused.status.success() && is_half, "{said}");
        world.run(&["promote", into]).expect(2);
        assert!(!has_control_file(&directory));

        // The same command goes on; so does one to another moment from the same restore point.
        let done = world.json(&[&restore[..], &[then_to]].concat());
        let restored = Restored::of(&done, &installation);
        assert_eq!(restored.psql("SELECT count(*) FROM ledger").unwrap(), rows);
        restored.psql("INSERT INTO ledger VALUES (-1)").unwrap_err();
    }
    // A newer restore point is no reason to begin anew, as long as the one that was begun with leads there.
    let latest = ["restore", "ledger-db", "--into", "newer", "--workers", "1", "--to", "latest"];
    let first = world.json(&["backup", "list"])["restorePoints"][0]["id"].clone();
    let begun = ["restore", "ledger-db", "--into", "newer", "--workers", "1", "--to", &before];
    kill_in_the_middle(&world, &begun, &world.path("newer"));
    let done = world.json(&latest);
    assert_eq!(done["target"]["restorePoint"], first, "{done:#}");
    // One that does not lead there is another restore.
    let begun = ["restore", "ledger-db", "--into", "other", "--workers", "1", "--to", "latest"];
    kill_in_the_middle(&world, &begun, &world.path("other"));
    let other = world.run(&["restore", "ledger-db", "--to", &before, "--into", "other"]).expect(2);
    assert!(other.stderr.contains("holds an unfinished restore of point"), "{}", other.stderr);
    assert!(!has_control_file(&world.path("other")));
}
