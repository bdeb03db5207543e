//! Restore points that are recoveries, as a user gets them.

use crate::protection::Streaming;
use crate::snapshot;
use crate::world::World;
use lifeboat_testkit::postgres::{Installation, give_to_server_user};
use serde_json::Value;

const ADVANCE: [&str; 4] = ["advance", "ledger-db", "--scratch", "scratch"];

fn left(world: &World) -> usize {
    std::fs::read_dir(world.path("scratch")).unwrap().count()
}

#[test]
fn a1_a2_a_restore_point_is_recovered_forward_while_production_is_down() {
    let (world, cluster) = World::with_server(&Installation::newest());
    let streaming = Streaming::start(&world);
    let base = world.json(&["backup", "run", "ledger-db"])["id"].clone();
    assert_eq!(world.json(&ADVANCE)["point"], Value::Null, "there is no checkpoint since");

    let place = world.path("apart");
    std::fs::create_dir(&place).unwrap();
    give_to_server_user(&place);
    cluster.psql(&format!("CREATE TABLESPACE apart LOCATION '{}'", place.display()));
    cluster.psql("CREATE TABLE far TABLESPACE apart AS SELECT g AS id FROM generate_series(1, 500) g");
    cluster.psql("DELETE FROM ledger WHERE id > 900");
    cluster.psql("CHECKPOINT");
    cluster.psql("INSERT INTO far VALUES (501)");
    world.run(&["doctor", "--deep"]);
    streaming.stop();
    cluster.kill9();

    let advanced = world.json(&ADVANCE);
    assert_eq!((&advanced["verified"], &advanced["from"]), (&Value::from("passed"), &base));
    let point = &advanced["point"];
    assert_eq!((&point["state"], &point["advancedFrom"]), (&Value::from("verified"), &base));
    assert_eq!(point["tablespaces"][0]["location"], place.display().to_string());
    assert!(point["storedBytes"].as_u64().unwrap() < point["sizeBytes"].as_u64().unwrap() / 10);
    assert_eq!(left(&world), 0);
    snapshot!("advance", &advanced);
    // Both were recoveries: of what happened is told what would.
    let status = world.run(&["status", "--json"]).json();
    let recovery = &status["services"][0]["recovery"];
    assert_eq!(recovery["measured"], 2, "{status:#}");
    assert!(recovery["seconds"].as_f64().unwrap() > 0.0);
    let told = world.run(&ADVANCE).expect(0);
    assert!(told.stdout.contains("nothing to advance"), "{}", told.stdout);

    // Both ways back begin from it, and bring what came after its checkpoint.
    for (command, into) in [("restore", "back"), ("recover", "seen")] {
        let back = world.json(&[command, "ledger-db", "--into", into, "--start", "--promote"]);
        assert_eq!(back["target"]["restorePoint"], point["id"], "{back:#}");
        let directory = world.path(into).display().to_string();
        let pid = back["server"]["pid"].as_i64().unwrap();
        let address = back["server"]["address"].as_str().unwrap().to_owned();
        let psql = cluster.installation().program("psql");
        let question = "SELECT (SELECT count(*) FROM ledger), (SELECT max(id) FROM far), \
            (SELECT spcname FROM pg_tablespace WHERE spcname = 'apart')";
        let answer = std::process::Command::new(psql)
            .args(["-XqAt", "-d", &address, "-c", question])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&answer.stdout);
        assert_eq!(said.trim(), "900|501|apart", "{}", String::from_utf8_lossy(&answer.stderr));
        let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        while rustix::process::test_kill_process(pid).is_ok() {
            std::thread::yield_now();
        }
        if command == "recover" {
            world.run(&["view", "drop", &directory, "--yes"]).expect(0);
        }
    }
}

#[test]
fn a_service_is_advanced_as_the_plan_says() {
    let (world, cluster) = World::with_server(&Installation::newest());
    world.change_plan("keep:", "advance: {every: 1s, wal: 1MiB}\n      keep:");
    let mut serving = Streaming::run(&world, &["serve", "--verify-in", "scratch", "--json"]);
    let done = |event: &'static str, job: &'static str| {
        move |document: &Value| document["event"] == event && document["job"] == job
    };
    serving.wait_until("a backup", done("succeeded", "baseBackup"));
    for round in 0..2 {
        cluster.psql(&format!("INSERT INTO ledger SELECT g + {round} FROM generate_series(1, 50000) g"));
        cluster.psql("CHECKPOINT");
        // The WAL of its checkpoint may not have been there yet.
        serving.wait_until("an advance", |document| {
            done("succeeded", "advance")(document) && document["detail"].as_str().unwrap().contains("became")
        });
    }
    serving.stop();
    let listed = world.json(&["backup", "list"]);
    let points = listed["restorePoints"].as_array().unwrap();
    assert_eq!(points.len(), 3, "{listed:#}");
    for (older, newer) in points.iter().zip(&points[1..]) {
        assert_eq!((&newer["advancedFrom"], &newer["state"]), (&older["id"], &Value::from("verified")));
    }
    assert_eq!(left(&world), 0);
}
