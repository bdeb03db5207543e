//! Who is refused or warned is told the way on, and it works.

use crate::protection::Streaming;
use crate::world::World;
use lifeboat_testkit::postgres::Installation;
use serde_json::Value;
use std::path::PathBuf;

/// A machine with a plan for a server that nobody can reach, and an empty vault.
fn world() -> World {
    let world = World::new();
    world.plan("host=127.0.0.1 port=1 user=nobody");
    world.run(&["vault", "init"]).expect(0);
    world
}

fn finding<'a>(examined: &'a Value, check: &str) -> &'a Value {
    let findings = examined["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("{check}: {examined:#}"))
}

#[test]
fn a_vault_whose_making_was_killed_is_begun_anew_and_one_with_data_never_is() {
    let world = world();
    let keys = world.path("vault/keys");
    // As a kill between the keys and the header leaves it; what else lies on the disk is not ours.
    for left in ["lifeboat.json", "journal", "plans"] {
        let path = world.path("vault").join(left);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap()
        } else {
            std::fs::remove_file(path).unwrap()
        }
    }
    std::fs::create_dir(world.path("vault/lost+found")).unwrap();
    for command in [&["vault", "init"][..], &["vault", "status"]] {
        let ran = world.run(command).expect(2);
        assert!(ran.stderr.contains("was begun and not ended"), "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("vault init --start-over"), "{command:?}: {}", ran.stderr);
    }
    world.run(&["vault", "init", "--start-over"]).expect(0);
    world.run(&["vault", "status"]).expect(0);
    // A second one.
    for command in [&["vault", "init"][..], &["vault", "init", "--start-over"]] {
        let ran = world.run(command).expect(2);
        assert!(ran.stderr.contains("there is a vault at"), "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("next: it is ready"), "{command:?}: {}", ran.stderr);
    }
    // The header alone is lost.
    let header = std::fs::read(world.path("vault/lifeboat.json")).unwrap();
    std::fs::remove_file(world.path("vault/lifeboat.json")).unwrap();
    let before = std::fs::read_dir(&keys).unwrap().count();
    for command in [&["vault", "init"][..], &["vault", "init", "--start-over"], &["backup", "list"]] {
        let ran = world.run(command).expect(2);
        assert!(ran.stderr.contains("has lost its header"), "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("next: do not make a new vault there"), "{command:?}: {}", ran.stderr);
    }
    assert_eq!(std::fs::read_dir(&keys).unwrap().count(), before);
    std::fs::write(world.path("vault/lifeboat.json"), header).unwrap();
    world.run(&["backup", "list"]).expect(0);
    let wrong = world.command(&["backup", "list"]).env("LIFEBOAT_PASSPHRASE", "another").output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("next: bring the passphrase"), "{said}");
    let ran = world.run(&["plan", "check", "none.yaml"]).expect(2);
    assert!(ran.stderr.contains("next: name the plan, or write a first one"), "{}", ran.stderr);
}

#[test]
fn a_time_that_nobody_quoted_is_told_to_be_quoted() {
    let world = World::new();
    let wrong = ["restore", "ledger-db", "--into", "back", "--to", "2026-11-21", "18:31Z"];
    let ran = world.run(&[&wrong[..], &["--json"]].concat()).expect(2);
    assert!(ran.stderr.contains("'2026-11-21 18:31Z'"), "{}", ran.stderr);
    let next = ran.json()["error"]["next"].as_str().unwrap().to_owned();
    assert!(next.contains("'2026-11-21 18:31Z'"), "{next}");
}

#[test]
fn a_doctor_without_a_plan_takes_the_vaults_and_its_statements_can_be_pasted() {
    let (world, cluster) = World::with_server(&Installation::newest());
    cluster.psql("CREATE ROLE \"Stream er\" LOGIN");
    let directory = cluster.data_directory().display().to_string();
    let plan = format!("user='Stream er'\"\n      dataDirectory: {directory}");
    world.change_plan("user=postgres dbname=postgres\"", &format!("dbname=postgres {plan}"));
    let doctor = || world.run(&["doctor", "--json"]).json();
    let examined = doctor();
    for check in ["role", "role sees", "role backs up"] {
        let next = finding(&examined, check)["next"].as_str().unwrap();
        // From the statement on: where it is to be run stands before it.
        let begin = next.find("ALTER").or(next.find("GRANT")).unwrap();
        cluster.psql(&next[begin..]);
    }
    let examined = doctor();
    for check in ["role", "role sees", "role backs up"] {
        assert_eq!(finding(&examined, check)["level"], "ok", "{examined:#}");
    }
    cluster.psql("ALTER SYSTEM SET synchronous_commit = remote_write");
    cluster.psql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (lifeboat, other)'");
    cluster.psql("SELECT pg_reload_conf()");
    let synchronous = loop {
        let examined = doctor();
        let found = finding(&examined, "synchronous").clone();
        if found["found"].as_str().unwrap().contains("remote_write") {
            break found;
        }
    };
    assert_eq!(synchronous["level"], "warn", "{synchronous}");
    assert!(synchronous["next"].as_str().unwrap().contains("not RPO 0"), "{synchronous}");

    // The plan is in the vault, if not here.
    world.run(&["vault", "check", "--repair"]).expect(0);
    std::fs::remove_file(world.path("lifeboat.yaml")).unwrap();
    let ran = world.run(&["doctor", "--json", "--vault", &world.copy("vault")]);
    let examined = ran.json();
    assert!(finding(&examined, "plan")["found"].as_str().unwrap().contains("from the vault"), "{examined:#}");
    assert_eq!(finding(&examined, "role")["service"], "ledger-db", "{examined:#}");
}

#[test]
fn what_was_never_streamed_was_not_lost_and_a_hole_is_the_streams_to_fill() {
    let (world, _cluster) = World::with_server(&Installation::newest());
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    let fresh = world.run(&["status"]).expect(1).stdout;
    assert!(fresh.contains("it was never streamed: start `lifeboat serve`"), "{fresh}");
    assert!(fresh.contains("lifeboat_ledger_db: there is none"), "{fresh}");
    assert!(!fresh.contains("dropped") && !fresh.contains(", ,"), "{fresh}");

    let streaming = Streaming::start(&world);
    // Each ends a segment and waits for it.
    for _ in 0..3 {
        world.run(&["doctor", "--deep"]);
    }
    assert_eq!(streaming.stop().1, Some(0));
    let checked = world.run(&["vault", "check"]).expect(0).stdout;
    assert!(!checked.contains("only the stream"), "{checked}");
    let mut segments = segments(&world.path("vault/services/ledger-db/wal"));
    segments.sort();
    std::fs::remove_file(&segments[segments.len() - 2]).unwrap();
    let checked = world.run(&["vault", "check", "--repair"]).expect(1).stdout;
    assert!(checked.contains("only the stream can fill the hole"), "{checked}");
    assert!(!checked.contains("--repair heals"), "{checked}");
    assert!(checked.contains("the vault has a hole in its WAL, and is sound else"), "{checked}");
}

/// Whole segments of WAL below a directory.
fn segments(below: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match (path.is_dir(), path.extension()) {
            (true, None) => segments(&path),
            (false, None) => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn what_a_plan_asks_for_and_is_not_carried_out_yet_is_said() {
    let (world, _cluster) = World::with_server(&Installation::newest());
    world.change_plan("services:", "scenarios: [{name: fire}]\nservices:");
    let checked = world.json(&["plan", "check"]);
    assert_eq!(
        (&checked["warnings"], &checked["findings"][0]["code"]),
        (&1.into(), &"LB0122".into()),
        "{checked:#}"
    );
    let mut serving = world.command(&["serve", "--json"]);
    let mut serving =
        serving.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let said = std::io::BufRead::lines(std::io::BufReader::new(serving.stderr.take().unwrap()));
    let found = said.map_while(Result::ok).find(|line| line.contains("accepted and not carried out yet"));
    serving.kill().unwrap();
    serving.wait().unwrap();
    assert!(found.is_some_and(|line| line.contains("scenarios")));
}
