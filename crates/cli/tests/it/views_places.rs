//! Views at the places and by the names that people give them, and with others' files in the way.

use crate::views::Seen;
use crate::views_ways::{SUM, TABLES, must_be_plain, run, stop_server};
use lifeboat_testkit::postgres::{Installation, give_to_server_user};
use std::os::unix::fs::symlink;

#[test]
fn a_view_is_the_same_by_whatever_name_it_is_called() {
    let (world, cluster) = Seen::backed_up(&Installation::newest(), TABLES);
    std::fs::create_dir(world.path("real")).unwrap();
    symlink("real", world.path("link")).unwrap();
    let mut seen = Seen::recovered(world, cluster, "real/first");
    // As a shell completes it, and through a link.
    let called = "link/seen/";
    seen.recover_as("real/seen", called, &["--promote", "--beside-production"]);
    let sum = seen.psql(SUM).unwrap();
    assert!(seen.home().join("data").exists());
    let view = |words: &[&str]| seen.world.run(&[&["view", words[0], called], &words[1..]].concat());
    let status = view(&["status", "--json"]).expect(0).json();
    assert_eq!(status["directory"], *seen.directory.display().to_string());
    let refused = seen.world.run(&["restore", "ledger-db", "--into", called]).expect(2);
    assert!(refused.stderr.contains("lifeboat view finish"), "{}", refused.stderr);

    seen.kill_view();
    let refused = view(&["drop", "--yes"]).expect(2);
    assert!(refused.stderr.contains("a server runs in"), "{}", refused.stderr);
    view(&["show", "--start"]).expect(0);
    assert_eq!(seen.psql(SUM).unwrap(), sum);
    view(&["finish"]).expect(0);
    assert!(!seen.home().exists());
    assert_eq!(seen.psql(SUM).unwrap(), sum);
}

#[test]
fn f3_nothing_is_hidden_by_a_view_and_nothing_keeps_it_from_its_place() {
    let (world, cluster) = Seen::backed_up(&Installation::newest(), TABLES);
    std::fs::create_dir(world.path("there")).unwrap();
    symlink("there", world.path("link")).unwrap();
    let refused = world.run(&["recover", "ledger-db", "--into", "link"]).expect(2);
    assert!(refused.stderr.contains("is a link"), "{}", refused.stderr);
    assert!(!world.path("link.lifeboat").exists());
    let there = world.path("there");
    run("mount", &["--bind", &there.display().to_string()], &there);
    let refused = world.run(&["recover", "ledger-db", "--into", "there"]);
    run("umount", &[], &there);
    assert!(refused.expect(2).stderr.contains("a file system of its own"));
    let seen = Seen::recovered(world, cluster, "seen");
    let sum = seen.psql(SUM).unwrap();

    // While it was not shown, somebody wrote to where it was.
    seen.kill_view();
    seen.kill_server();
    run("umount", &["-l"], &seen.directory);
    std::fs::write(seen.directory.join("mine"), "mine").unwrap();
    let refused = seen.view(&["show", "--start"]).expect(2);
    assert!(refused.stderr.contains("is not an empty directory"), "{}", refused.stderr);
    std::fs::remove_file(seen.directory.join("mine")).unwrap();
    seen.view(&["show", "--start"]).expect(0);
    // And below it, while it was.
    let below = seen.world.path("below");
    std::fs::create_dir(&below).unwrap();
    run("mount", &["--bind", &seen.world.path("").display().to_string()], &below);
    std::fs::write(below.join("seen/mine"), "mine").unwrap();
    let refused = seen.view(&["finish"]).expect(2);
    assert!(refused.stderr.contains("its server was started again"), "{}", refused.stderr);
    assert_eq!(seen.psql(SUM).unwrap(), sum);
    std::fs::remove_file(below.join("seen/mine")).unwrap();
    run("umount", &[], &below);
    seen.view(&["finish"]).expect(0);
    assert_eq!(seen.psql(SUM).unwrap(), sum);
}

#[test]
fn what_is_filled_becomes_plain_without_its_vault() {
    let (world, cluster) = Seen::backed_up(&Installation::newest(), TABLES);
    let mut seen = Seen::recovered(world, cluster, "seen");
    let sum = seen.psql(SUM).unwrap();
    let gone = |seen: &Seen| {
        stop_server(seen);
        seen.kill_view();
        run("umount", &["-l"], &seen.directory);
        std::fs::rename(seen.world.path("vault"), seen.world.path("away")).unwrap();
    };
    // Not what lacks anything.
    gone(&seen);
    seen.view(&["finish"]).expect(2);
    assert!(seen.home().join("control").exists());
    std::fs::rename(seen.world.path("away"), seen.world.path("vault")).unwrap();
    seen.view(&["show", "--start"]).expect(0);
    seen.view(&["hydrate"]).expect(0);
    gone(&seen);
    let ran = seen.view(&["finish"]).expect(0);
    assert!(ran.stdout.contains("is a plain data directory"), "{}", ran.stdout);
    must_be_plain(&seen, &sum);
    std::fs::rename(seen.world.path("away"), seen.world.path("vault")).unwrap();

    // Its server has just gone, and what fetched WAL for it has not.
    seen.recover("dropped", &[]);
    let mine = seen.home().join("mine");
    std::fs::write(&mine, "mine").unwrap();
    seen.kill_server();
    let refused = seen.view(&["drop", "--yes"]).expect(2);
    assert!(refused.stderr.contains("none of the view's"), "{}", refused.stderr);
    assert_eq!(std::fs::read(&mine).unwrap(), b"mine");
    std::fs::remove_file(&mine).unwrap();
    seen.view(&["drop", "--yes"]).expect(0);
    assert!(!seen.home().exists() && !seen.directory.exists());
}

#[test]
fn what_does_not_fit_is_not_begun_and_the_server_keeps_its_room() {
    let (world, cluster) = Seen::backed_up(
        &Installation::newest(),
        &format!(
            "CREATE TABLE big AS SELECT repeat('x', 1000) AS t FROM generate_series(1, 30000); {TABLES}"
        ),
    );
    let disk = world.path("disk");
    std::fs::create_dir(&disk).unwrap();
    // What must be left to spare, and a little.
    run("mount", &["-t", "tmpfs", "-o", "size=286m", "none"], &disk);
    give_to_server_user(&disk);
    let refused = world.run(&["recover", "ledger-db", "--into", "disk/seen", "--hydrate"]).expect(2);
    assert!(refused.stderr.contains("make room"), "{}", refused.stderr);
    let seen = Seen::recovered(world, cluster, "disk/seen");
    let sum = seen.psql(SUM).unwrap();
    let status = || seen.view(&["status", "--json"]).json();
    let refused = seen.view(&["hydrate"]).expect(2);
    assert!(refused.stderr.contains("no room for what is not here yet"), "{}", refused.stderr);
    assert_eq!(seen.psql(SUM).unwrap(), sum);
    run("mount", &["-o", "remount,size=1g"], &disk);
    seen.view(&["hydrate"]).expect(0);
    assert_eq!((&status()["isWhole"], &status()["failure"]), (&true.into(), &serde_json::Value::Null));
    seen.view(&["finish"]).expect(0);
    assert_eq!(seen.psql(SUM).unwrap(), sum);
    stop_server(&seen);
    run("umount", &["-l"], &disk);
}
