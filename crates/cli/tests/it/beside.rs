//! What stands beside a restored server: a production that is alive, an account, roles, tablespaces, the shell.

use crate::protection::Streaming;
use crate::restoring::Restored;
use crate::world::World;
use lifeboat_testkit::postgres::{Cluster, Installation};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A backed up server with 1000 rows in `ledger`, alive.
fn backed_up() -> (World, Cluster) {
    let (world, cluster) = World::with_server(&Installation::newest());
    let streaming = Streaming::start(&world);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    world.run(&["doctor", "--deep"]);
    streaming.stop();
    (world, cluster)
}

#[test]
fn f1_f2_nothing_is_opened_beside_a_production_that_is_alive_but_on_a_word_for_it() {
    let (world, cluster) = backed_up();
    let newest = Installation::newest();
    let restore = ["restore", "ledger-db", "--into", "back", "--start", "--promote", "--json"];
    let planned = world.run(&[&restore[..], &["--dry-run"]].concat()).expect(0);
    assert!(planned.stderr.contains("production is alive"), "{}", planned.stderr);
    assert!(planned.stderr.contains("and opens it for writing"), "{}", planned.stderr);
    let refused = world.run(&restore).expect(2);
    for said in ["production is alive", "Fence it first", "--beside-production"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    assert!(!world.path("back").exists(), "before the first byte");

    let done = world.run(&[&restore[..], &["--beside-production"]].concat()).expect(0);
    assert!(done.stderr.contains("production is alive"), "{}", done.stderr);
    let drill = Restored::of(&done.json(), &newest);
    drill.psql("INSERT INTO ledger VALUES (0)").unwrap();

    // The same for one that was started to be looked at first.
    let done = world.json(&["restore", "ledger-db", "--into", "looked-at", "--start"]);
    let looked_at = Restored::of(&done, &newest);
    let refused = world.run(&["promote", "looked-at"]).expect(2);
    assert!(refused.stderr.contains("--beside-production"), "{}", refused.stderr);
    looked_at.psql("INSERT INTO ledger VALUES (0)").unwrap_err();
    cluster.stop();
    let opened = world.run(&["promote", "looked-at"]).expect(0);
    let unknown = "whether production still takes writes could not be found out";
    assert!(opened.stderr.contains(unknown), "{}", opened.stderr);
    looked_at.psql("INSERT INTO ledger VALUES (0)").unwrap();
}

#[test]
fn a_superuser_of_another_name_is_found_and_named() {
    let (world, cluster) = World::with_server(&Installation::newest());
    cluster.psql("CREATE ROLE protector SUPERUSER LOGIN");
    let mut psql = cluster.command("psql");
    let renamed =
        psql.env("PGUSER", "protector").args(["-Xqc", "ALTER ROLE postgres RENAME TO admin"]).output();
    assert!(renamed.unwrap().status.success());
    world.plan(&cluster.conninfo().replace("user=postgres", "user=protector"));
    let streaming = Streaming::start(&world);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    world.run(&["doctor", "--deep"]);
    streaming.stop();
    let mut psql = cluster.command("psql");
    let stopped = psql.env("PGUSER", "admin").args(["-Xqc", "SELECT 1"]).output();
    assert!(stopped.unwrap().status.success());
    cluster.stop();

    let done = world.json(&["restore", "ledger-db", "--into", "back", "--start"]);
    assert!(done["server"]["address"].as_str().unwrap().contains("user=admin"), "{done:#}");
    let restored = Restored::of(&done, &Installation::newest());
    assert_eq!(restored.psql("SELECT count(*) FROM ledger").unwrap(), "1000");
    // Nor does it take the plan to open it.
    std::fs::remove_file(world.path("lifeboat.yaml")).unwrap();
    let opened = world.json(&["promote", "back"]);
    assert!(opened["address"].as_str().unwrap().contains("user=admin"), "{opened:#}");
    restored.psql("INSERT INTO ledger VALUES (0)").unwrap();
}

#[test]
fn the_start_command_that_is_printed_works_in_a_shell_and_needs_no_helper() {
    let (world, cluster) = backed_up();
    cluster.stop();
    let into = "it's back";
    let done = world.json(&["restore", "ledger-db", "--into", into]);
    assert!(done["walHeldUntil"].is_string(), "{done:#}");
    assert_eq!(done["server"], serde_json::Value::Null);
    let line = done["startCommand"].as_str().unwrap();
    let mut shell = world.command(&[]);
    let environment: Vec<_> =
        shell.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("exec {line}")]).envs(environment);
    let mut server =
        shell.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    // `promote` refuses what is not at its target yet.
    let opened = loop {
        let ran = world.run(&["promote", into, "--json"]);
        if ran.code == Some(0) {
            break ran.json();
        }
        let is_on_its_way = ["no server runs", "does not answer", "still on its way"];
        assert!(is_on_its_way.iter().any(|said| ran.stderr.contains(said)), "{}", ran.stderr);
        assert_eq!(server.try_wait().unwrap(), None, "{line}: {}", ran.stderr);
    };
    let address = opened["address"].as_str().unwrap();
    let mut psql = Installation::newest().command("psql");
    let counted = psql.args(["-XAtq", "-d", address, "-c", "SELECT count(*) FROM ledger"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), "1000");
    let pid = std::fs::read_to_string(world.path(into).join("postmaster.pid")).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.lines().next().unwrap().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
    server.wait().unwrap();
}

#[test]
fn what_cannot_be_is_said_before_the_first_byte() {
    let (world, cluster) = backed_up();
    cluster.stop();
    let unknown = ["restore", "ledger-db", "--into", "back", "--tablespace", "/no=/where"];
    let refused = world.run(&unknown).expect(2);
    assert!(refused.stderr.contains("has no tablespace at /no: it has none"), "{}", refused.stderr);

    // Whoever restores as root may write where the server may not go.
    if rustix::process::geteuid().is_root() {
        std::fs::create_dir(world.path("closed")).unwrap();
        std::fs::set_permissions(world.path("closed"), PermissionsExt::from_mode(0o700)).unwrap();
        let refused = world.run(&["restore", "ledger-db", "--into", "closed/a/back", "--start"]).expect(2);
        let closed = format!("{} is closed to it", world.path("closed").display());
        assert!(refused.stderr.contains(&closed), "{}", refused.stderr);
        assert_eq!(std::fs::read_dir(world.path("closed")).unwrap().count(), 0);
    }
    assert!(!world.path("back").exists());
}

#[test]
fn the_newest_of_several_services_is_asked_for_by_name() {
    let (world, cluster) = World::with_server(&Installation::newest());
    let connection = cluster.conninfo();
    let other = format!(
        "services:\n  - name: other-db\n    postgres:\n      connection: \"{connection}\"\n      \
         base: {{schedule: \"0 3 * * *\", timeZone: UTC}}\n      keep: {{last: 2}}\n"
    );
    world.change_plan("services:\n", &other);
    let first = world.json(&["backup", "run", "ledger-db"]);
    assert_eq!(world.json(&["backup", "show", "latest"])["id"], first["id"], "only one has any");
    let second = world.json(&["backup", "run", "other-db"]);
    let refused = world.run(&["backup", "show", "latest"]).expect(2);
    for said in ["several services", "ledger-db/latest", "other-db/latest"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    world.run(&["backup", "verify", "latest"]).expect(2);
    for (service, point) in [("ledger-db", first), ("other-db", second)] {
        assert_eq!(world.json(&["backup", "show", &format!("{service}/latest")])["id"], point["id"]);
    }
}
