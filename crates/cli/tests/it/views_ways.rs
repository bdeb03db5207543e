//! What may befall a view besides a kill under load: finishing that is cut off, reboots, full disks, places that
//! will not do, and all that a server does with files.

use crate::views::{Seen, starts_by_hand};
use crate::world::World;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation, give_to_server_user};
use rustix::process::{Signal, kill_process};
use std::path::Path;
use std::process::{Command, Stdio};

pub const TABLES: &str = "
    CREATE TABLE ledger AS SELECT g AS id, repeat(md5(g::text), 20) AS t FROM generate_series(1, 5000) g;
    CREATE INDEX ON ledger (id);
    CREATE TABLE kept AS SELECT g AS id, repeat(md5(g::text), 20) AS t FROM generate_series(1, 5000) g;
    CHECKPOINT;";
pub const SUM: &str = "SELECT count(*) || ' ' || sum(hashtext(id || t)::bigint) FROM ledger";

pub fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status().unwrap();
    assert!(status.success(), "{program} {arguments:?} {}", path.display());
}

/// Stops the server in order, and waits until it has.
pub fn stop_server(seen: &Seen) {
    kill_process(seen.server().unwrap(), Signal::INT).unwrap();
    while seen.server().is_some() {
        std::thread::yield_now();
    }
}

/// Starts the plain directory as any, and compares.
pub fn must_be_plain(seen: &Seen, sum: &str) {
    assert!(!seen.home().exists());
    assert!(starts_by_hand(&seen.world, seen.cluster.installation(), &seen.directory));
    let server = Cluster::open(seen.cluster.installation(), &seen.directory, &ClusterOptions::new());
    assert_eq!(server.psql(SUM), sum);
}

#[test]
fn f1_f2_finishing_waits_for_all_of_it_and_goes_on_wherever_it_was_cut_off() {
    let installation = Installation::newest();
    let (world, cluster) = Seen::backed_up(&installation, TABLES);
    let mut seen = Seen::recovered(world, cluster, "seen");
    let sum = seen.psql(SUM).unwrap();

    // F1: nothing is stopped for what is not here.
    let server = seen.server();
    std::fs::rename(seen.world.path("vault/services"), seen.world.path("away")).unwrap();
    std::fs::create_dir(seen.world.path("vault/services")).unwrap();
    let refused = seen.view(&["finish"]).expect(2);
    assert!(refused.stderr.contains("is not whole"), "{}", refused.stderr);
    assert_eq!(seen.server(), server);
    assert_eq!(seen.psql(SUM).unwrap(), sum);
    std::fs::remove_dir(seen.world.path("vault/services")).unwrap();
    std::fs::rename(seen.world.path("away"), seen.world.path("vault/services")).unwrap();

    // F2: whoever finishes is killed, and whoever shows it, once the server has stopped.
    let directory = seen.directory.display().to_string();
    let mut command = seen.world.command(&["view", "finish", &directory, "--no-start"]);
    let mut finishing = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while seen.server().is_some() {
        assert_eq!(finishing.try_wait().unwrap(), None);
        std::thread::yield_now();
    }
    if seen.process().is_some() {
        seen.kill_view();
    }
    finishing.kill().unwrap();
    finishing.wait().unwrap();
    // It may have been faster than whoever kills.
    if seen.home().exists() {
        let ran = seen.view(&["finish", "--no-start"]).expect(0);
        assert!(ran.stdout.contains("is a plain data directory"), "{}", ran.stdout);
    }
    must_be_plain(&seen, &sum);

    // Unmounted, and no more; then with its control file; then with its name; then with only rubbish left.
    for cut_off_after in 0..4 {
        let name = format!("seen{cut_off_after}");
        seen.recover(&name, &["--promote", "--beside-production"]);
        seen.view(&["hydrate"]).expect(0);
        stop_server(&seen);
        seen.kill_view();
        run("umount", &["-l"], &seen.directory);
        let (home, data) = (seen.home(), seen.home().join("data"));
        if cut_off_after > 0 {
            std::fs::rename(home.join("control"), data.join("global/pg_control")).unwrap();
            let told = seen.view(&["show"]).expect(2);
            assert!(told.stderr.contains("lifeboat view finish"), "{}", told.stderr);
            assert!(data.exists());
        }
        if cut_off_after > 1 {
            std::fs::rename(&data, &seen.directory).unwrap();
        }
        if cut_off_after > 2 {
            std::fs::remove_file(home.join("about.json")).unwrap();
        }
        seen.view(&["finish"]).expect(0);
        must_be_plain(&seen, &sum);
    }
}

#[test]
fn f2_nothing_is_removed_for_the_sake_of_a_data_directory_that_is_not_there() {
    let seen = Seen::new(&Installation::newest(), TABLES, "seen");
    stop_server(&seen);
    seen.kill_view();
    run("umount", &["-l"], &seen.directory);
    // As a person does who tidies up, or a mount that did not come back.
    std::fs::rename(seen.home().join("data"), seen.world.path("elsewhere")).unwrap();
    seen.view(&["finish"]).expect(2);
    assert!(seen.home().join("pages").exists() && seen.home().join("control").exists());
    std::fs::rename(seen.world.path("elsewhere"), seen.home().join("data")).unwrap();
    seen.view(&["show", "--start"]).expect(0);
    assert_eq!(seen.psql("SELECT count(*) FROM kept").unwrap(), "5000");
}

#[test]
fn f3_what_cannot_be_put_in_its_place_is_served_on_as_a_view() {
    let seen = Seen::new(&Installation::newest(), TABLES, "seen");
    let sum = seen.psql(SUM).unwrap();
    let held = std::fs::File::open(seen.directory.join("PG_VERSION")).unwrap();
    let refused = seen.view(&["finish"]).expect(2);
    assert!(refused.stderr.contains("its server was started again"), "{}", refused.stderr);
    assert_eq!(seen.psql(SUM).unwrap(), sum);
    seen.psql("INSERT INTO ledger VALUES (0, 'open')").unwrap();
    let status = seen.view(&["status", "--json"]).expect(0).json();
    assert_eq!(status["isWhole"], true, "{status:#}");
    drop(held);
    seen.view(&["finish"]).expect(0);
    assert_eq!(seen.psql("SELECT count(*) FROM ledger").unwrap(), "5001");
    seen.must_be_sound(&["ledger", "pg_class"]);
}

#[test]
fn o5_after_a_reboot_nothing_starts_by_mistake_and_it_is_shown_again() {
    let installation = Installation::newest();
    let mut seen = Seen::new(&installation, TABLES, "seen");
    seen.psql("INSERT INTO ledger VALUES (0, 'before the reboot')").unwrap();
    seen.kill_view();
    seen.kill_server();
    run("umount", &["-l"], &seen.directory);
    assert!(!starts_by_hand(&seen.world, &installation, &seen.directory));
    assert!(!starts_by_hand(&seen.world, &installation, &seen.home().join("data")));
    let told = seen.view(&["status"]).expect(2);
    assert!(told.stderr.contains("lifeboat view show"), "{}", told.stderr);
    let into = seen.directory.to_str().unwrap().to_owned();
    for (asked, way_on) in [
        (vec!["restore", "ledger-db", "--into", &into], "lifeboat view finish"),
        (vec!["recover", "ledger-db", "--dry-run", "--into", &into], "lifeboat view show"),
    ] {
        let told = seen.world.run(&asked).expect(2);
        assert!(told.stderr.contains(way_on), "{asked:?}: {}", told.stderr);
    }
    seen.view(&["show"]).expect(0);
    assert_eq!(seen.server(), None, "nobody asked for a server");
    seen.view(&["show", "--start"]).expect(0);
    assert_eq!(seen.psql("SELECT count(*) FROM ledger").unwrap(), "5001");
    let server = seen.server();
    seen.view(&["show", "--start"]).expect(0);
    assert_eq!(seen.server(), server, "what runs is left alone");
    // One that waits at its target, too, in the state that it was in.
    seen.recover("waits", &[]);
    seen.kill_server();
    seen.kill_view();
    seen.view(&["show", "--start"]).expect(0);
    assert_eq!(seen.psql("SELECT pg_is_in_recovery(), count(*) FROM ledger").unwrap(), "t|5000");
}

#[test]
fn places_that_will_not_do_are_refused_with_nothing_touched() {
    let (world, cluster) = Seen::backed_up(&Installation::newest(), TABLES);
    let refused = |into: &str| {
        let ran = world.run(&["recover", "ledger-db", "--into", into]);
        assert_eq!(ran.code, Some(2), "{into}: {}", ran.stderr);
        ran.stderr
    };
    // Somebody's files, at the place and behind it.
    for (into, path) in [("full", "full/mine"), ("behind", "behind.lifeboat/mine")] {
        std::fs::create_dir(world.path(path).parent().unwrap()).unwrap();
        std::fs::write(world.path(path), "mine").unwrap();
        refused(into);
        assert_eq!(std::fs::read(world.path(path)).unwrap(), b"mine");
    }
    // A file system of its own cannot be taken the place of.
    std::fs::create_dir(world.path("mounted")).unwrap();
    run("mount", &["-t", "tmpfs", "none"], &world.path("mounted"));
    let said = refused("mounted");
    run("umount", &[], &world.path("mounted"));
    assert!(said.contains("a file system of its own"), "{said}");
    assert!(!world.path("mounted.lifeboat").exists());

    // Two at once: one of them does it.
    let recover = ["recover", "ledger-db", "--into", "two"];
    let start = || world.command(&recover).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let done = both.iter().filter(|output| output.status.success()).count();
    assert!(done >= 1, "{both:?}");
    let seen = Seen::recovered(world, cluster, "two");
    assert_eq!(seen.psql("SELECT count(*) FROM ledger").unwrap(), "5000");
}

#[test]
fn a_place_with_blanks_and_a_long_name_is_as_good_as_any() {
    let name = format!("a b 'c' \\ ä/{}", "long".repeat(40));
    let (world, cluster) = Seen::backed_up(&Installation::newest(), TABLES);
    let parent = world.path("a b 'c' \\ ä");
    std::fs::create_dir(&parent).unwrap();
    let seen = Seen::recovered(world, cluster, &name);
    let sum = seen.psql(SUM).unwrap();
    // Others on this machine may be dead, which is its exit status.
    let listed = seen.world.run(&["view", "list", "--json"]).json();
    let is_listed = |view: &serde_json::Value| view["directory"] == *seen.directory.display().to_string();
    assert!(listed["views"].as_array().unwrap().iter().any(is_listed), "{listed:#}");
    seen.kill_view();
    seen.view(&["show", "--start"]).expect(0);
    assert_eq!(seen.psql(SUM).unwrap(), sum);
    seen.view(&["finish"]).expect(0);
    assert_eq!(seen.psql(SUM).unwrap(), sum);
    assert!(!seen.home().exists());
}

#[test]
fn o1_a_disk_that_is_full_is_told_and_costs_nothing_that_was_acknowledged() {
    let (world, cluster) = Seen::backed_up(&Installation::newest(), TABLES);
    let disk = world.path("disk");
    std::fs::create_dir(&disk).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=400m", "none"], &disk);
    give_to_server_user(&disk);
    let seen = Seen::recovered(world, cluster, "disk/seen");
    seen.psql("CREATE TABLE filling (id serial PRIMARY KEY, t text)").unwrap();
    let mut rows = 0;
    let told = loop {
        let sql = "INSERT INTO filling (t) SELECT repeat('x', 1000) FROM generate_series(1, 20000)";
        match seen.psql(sql) {
            Ok(_) => rows += 20_000,
            Err(told) => break told,
        }
        assert!(rows < 1_000_000, "there is no end to the disk");
    };
    assert!(told.contains("No space left on device") || told.contains("server"), "{told}");
    run("mount", &["-o", "remount,size=1g"], &disk);
    seen.view(&["show", "--start"]).expect(0);
    assert_eq!(seen.psql("SELECT count(*) FROM filling").unwrap(), rows.to_string());
    assert_eq!(seen.psql("SELECT count(*) FROM kept").unwrap(), "5000");
    seen.must_be_sound(&["filling", "ledger", "kept", "pg_class"]);
    seen.view(&["finish"]).expect(0);
    assert_eq!(seen.psql("SELECT count(*) FROM filling").unwrap(), rows.to_string());
    stop_server(&seen);
    run("umount", &["-l"], &disk);
}

#[test]
fn o2_all_that_a_server_does_with_files_it_does_on_a_view() {
    let installation = Installation::newest();
    let world = World::new();
    let cluster = Cluster::start(&installation, &ClusterOptions::new());
    cluster.script("postgres", TABLES);
    cluster.psql("CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 1000) AS id");
    world.plan(&cluster.conninfo());
    world.run(&["vault", "init"]).expect(0);
    let streaming = crate::protection::Streaming::start(&world);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    // A tablespace that only the WAL knows.
    let space = cluster.scratch().join("space");
    std::fs::create_dir(&space).unwrap();
    give_to_server_user(&space);
    cluster.psql(&format!("CREATE TABLESPACE later LOCATION '{}'", space.display()));
    cluster.psql("CREATE TABLE apart TABLESPACE later AS SELECT * FROM kept");
    cluster.psql("TRUNCATE fleeting");
    world.run(&["doctor", "--deep"]);
    streaming.stop();
    let sum = cluster.psql(SUM);
    let seen = Seen::recovered(world, cluster, "seen");

    assert_eq!(seen.psql("SELECT count(*) FROM fleeting").unwrap(), "0");
    assert_eq!(seen.psql("SELECT count(*) FROM apart").unwrap(), "5000");
    seen.psql("INSERT INTO fleeting SELECT generate_series(1, 5000)").unwrap();
    for sql in [
        "TRUNCATE kept",
        "INSERT INTO kept SELECT g, 'new' FROM generate_series(1, 100) g",
        "VACUUM FULL ledger",
        "CREATE TABLE copied AS SELECT * FROM ledger",
        "DROP TABLE ledger",
        "ALTER TABLE copied RENAME TO ledger",
        "CREATE INDEX ON ledger (id)",
        "CREATE DATABASE logged STRATEGY wal_log",
        "CREATE DATABASE copied STRATEGY file_copy",
        "DROP DATABASE logged",
        "CREATE DATABASE logged TEMPLATE copied",
        "ALTER TABLE apart SET TABLESPACE pg_default",
        "DROP TABLESPACE later",
        "VACUUM (FREEZE, ANALYZE)",
        "CHECKPOINT",
    ] {
        seen.psql(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let check = |seen: &Seen| {
        assert_eq!(seen.psql(SUM).unwrap(), sum);
        assert_eq!(seen.psql("SELECT count(*), min(t) FROM kept").unwrap(), "100|new");
        assert_eq!(seen.psql("SELECT count(*) FROM apart").unwrap(), "5000");
        seen.must_be_sound(&["ledger", "kept", "apart", "pg_class", "pg_attribute", "pg_database"]);
    };
    check(&seen);

    // Copies of it are whole: by the server, and by us.
    let copy = seen.cluster.scratch().join("copy");
    let mut command = seen.cluster.installation().command("pg_basebackup");
    let address = seen.psql("SELECT current_setting('unix_socket_directories')").unwrap();
    let copied =
        command.args(["-h", &address, "-p", "5432", "-U", "postgres", "-X", "stream", "-c", "fast", "-D"]);
    let copied = copied.arg(&copy).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let server = Cluster::open(&installation, &copy, &ClusterOptions::new());
    assert_eq!(server.psql(SUM), sum);
    drop(server);

    seen.kill_view();
    seen.view(&["show", "--start"]).expect(0);
    check(&seen);
    seen.view(&["finish"]).expect(0);
    check(&seen);
    assert_eq!(seen.psql("SELECT count(*) FROM fleeting").unwrap(), "0", "it crashed");
}

#[test]
fn a_server_on_a_view_is_backed_up_as_any() {
    let seen = Seen::new(&Installation::newest(), TABLES, "seen");
    let sum = seen.psql(SUM).unwrap();
    seen.psql("INSERT INTO kept SELECT 0, 'more'").unwrap();
    let address = seen.psql("SELECT current_setting('unix_socket_directories')").unwrap();
    let other = World::new();
    other.plan(&format!("host={address} port=5432 user=postgres dbname=postgres"));
    other.run(&["vault", "init"]).expect(0);
    // While it lives on, with a socket of the same name.
    let id = other.json(&["backup", "run", "ledger-db"])["id"].as_str().unwrap().to_owned();
    other.run(&["backup", "verify", &id]).expect(0);
    let status = seen.view(&["status", "--json"]).expect(0).json();
    assert!(status["pagesHere"].as_u64() > Some(0), "{status:#}");
    assert_eq!(seen.psql(SUM).unwrap(), sum);
}
