//! What is said where something is not as a person thinks: names, plans, damage, and what nobody looked at.

use crate::protection::Streaming;
use crate::snapshot;
use crate::world::World;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use serde_json::Value;
use std::os::unix::fs::FileExt;

const SECOND: &str = "services:\n  - name: users-db\n    postgres:\n      \
    connection: \"host=127.0.0.1 port=1 user=nobody\"\n      \
    base: {schedule: \"0 3 * * *\", timeZone: UTC}\n";

fn events(world: &World, scope: &str) -> Vec<String> {
    let shown = world.json(&["journal", "show", "--scope", scope]);
    let events = shown["events"].as_array().unwrap().iter();
    events.map(|event| event["record"]["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_name_that_nobody_knows_is_an_error_that_tells_those_that_are_known() {
    let world = World::new();
    world.plan("host=127.0.0.1 port=1 user=nobody");
    world.run(&["vault", "init"]).expect(0);
    let copy = world.copy("vault");
    let commands: [&[&str]; 9] = [
        &["status", "leger-db"],
        &["backup", "list", "leger-db"],
        &["backup", "run", "leger-db"],
        &["backup", "prune", "leger-db"],
        &["wal", "search", "leger-db"],
        &["wal", "push", "leger-db", "none"],
        &["restore", "leger-db", "--into", "back"],
        &["stream", "leger-db"],
        &["serve", "leger-db"],
    ];
    for command in commands {
        let ran = world.run(command).expect(2);
        assert!(ran.stderr.contains("did you mean `ledger-db`?"), "{command:?}: {}", ran.stderr);
        // With nothing but the vault.
        let command = [command, &["--vault", &copy]].concat();
        let output = world.command(&command).current_dir("/").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("did you mean `ledger-db`?"), "{command:?}: {said}");
    }
    let doctor = world.run(&["doctor", "leger-db"]).expect(1);
    assert!(doctor.stdout.contains("did you mean `ledger-db`?"), "{}", doctor.stdout);
    // One that the plan has, and nobody has backed up yet, is another thing.
    let ran = world.run(&["status", "ledger-db"]).expect(1);
    assert!(ran.stdout.contains("no restore point"), "{}", ran.stdout);
    world.run(&["backup", "list", "ledger-db"]).expect(0);
}

#[test]
fn whoever_writes_with_a_changed_plan_renews_the_one_in_the_vault() {
    let (world, _cluster) = World::with_server(&Installation::newest());
    assert_eq!(events(&world, "plan"), ["plan.stored"]);
    let copy = world.copy("vault");
    // From a directory without a plan.
    let listed = |world: &World| {
        let output =
            world.command(&["status", "--json", "--vault", &copy]).current_dir("/").output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let services = status["services"].as_array().unwrap().iter();
        services.map(|service| service["service"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&world), ["ledger-db"]);
    world.change_plan("services:\n", SECOND);
    // Reading changes nothing.
    world.run(&["status"]);
    world.run(&["backup", "prune", "--dry-run", "ledger-db"]).expect(0);
    assert_eq!(listed(&world), ["ledger-db"]);
    let ran = world.run(&["backup", "run", "ledger-db"]).expect(0);
    assert!(ran.stderr.contains("The plan has changed"), "{}", ran.stderr);
    assert_eq!(listed(&world), ["users-db", "ledger-db"]);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    assert_eq!(events(&world, "plan"), ["plan.stored", "plan.stored"], "the same plan is stored once");

    let mut count = 2;
    for (command, keep) in
        [(&["backup", "prune", "ledger-db"][..], "last: 3"), (&["vault", "check", "--repair"], "last: 4")]
    {
        world.change_plan(&format!("last: {}", count), keep);
        // Two backups without a stream may have a hole between them.
        world.run(command);
        count += 1;
        assert_eq!(events(&world, "plan").len(), count, "{command:?}");
    }
    for command in [&["stream", "ledger-db", "--json"][..], &["serve", "ledger-db", "--json"]] {
        world.change_plan(&format!("last: {}", count), &format!("last: {}", count + 1));
        let mut running = Streaming::run(&world, command);
        running.wait_for("connected");
        // It goes beside what protects: asked until it is there.
        let stored = (0..100).any(|_| events(&world, "plan").len() > count);
        assert!(stored, "{command:?}");
        assert_eq!(running.stop().1, Some(0));
        count += 1;
    }
    // What the plan no longer has, and the vault does, is shown and not pruned.
    let text = std::fs::read_to_string(world.path("lifeboat.yaml")).unwrap();
    let (head, _) = text.split_once("  - name: ledger-db").unwrap();
    std::fs::write(world.path("lifeboat.yaml"), head).unwrap();
    let listed = world.json(&["backup", "list"]);
    assert!(listed["restorePoints"].as_array().unwrap().len() >= 2, "{listed}");
    let ran = world.run(&["backup", "prune"]).expect(0);
    assert!(ran.stderr.contains("ledger-db: the plan does not know it"), "{}", ran.stderr);
    let repaired = world.json(&["journal", "show", "--scope", "vault"]);
    assert_eq!(repaired["events"][1]["record"]["kind"], "vault.repaired", "{repaired}");
}

/// A page of `ledger` that no longer has the sum that it says, at rest, as a disk leaves it.
fn damage_a_page(cluster: &Cluster) {
    let path = cluster.psql("SELECT pg_relation_filepath('ledger')");
    cluster.psql("CHECKPOINT");
    cluster.stop();
    let file = std::fs::File::options().write(true).open(cluster.data_directory().join(path.trim())).unwrap();
    file.write_all_at(&[0xFF; 16], 8192 + 4000).unwrap();
    cluster.restart();
}

#[test]
fn a_restore_point_that_cannot_be_read_hides_no_other() {
    let (world, _cluster) = World::with_server(&Installation::newest());
    let backup = || world.json(&["backup", "run", "ledger-db"])["id"].as_str().unwrap().to_owned();
    let ids = [backup(), backup()];
    let rot = |id: &str| {
        let path = world.path(&format!("vault/services/ledger-db/points/{id}"));
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, "rotten").unwrap();
        (path, whole)
    };
    let (path, whole) = rot(&ids[0]);
    let listed = world.run(&["backup", "list", "--json"]).expect(1);
    assert!(listed.stderr.contains(&ids[0]), "{}", listed.stderr);
    let points = listed.json()["restorePoints"].clone();
    assert_eq!((points.as_array().unwrap().len(), &points[0]["id"]), (1, &Value::String(ids[1].clone())));
    let status = world.run(&["status", "--json"]).expect(1).json();
    let problems = status["services"][0]["problems"].as_array().unwrap().clone();
    assert!(problems.iter().any(|problem| problem.as_str().unwrap().contains(&ids[0])), "{status:#}");
    let to = ["restore", "ledger-db", "--to", "latest", "--into", "back", "--dry-run"];
    let restored = world.run(&to).expect(0);
    assert!(restored.stderr.contains(&ids[0]), "{}", restored.stderr);
    world.run(&["backup", "show", &ids[0]]).expect(2);
    world.run(&["backup", "show", "latest"]).expect(0);
    // The newest is not passed over in silence, and where there is no other there is nothing to go on with.
    std::fs::write(path, whole).unwrap();
    rot(&ids[1]);
    let newest = world.run(&["backup", "show", "latest"]).expect(2);
    assert!(newest.stderr.contains(&ids[1]), "{}", newest.stderr);
    world.run(&["backup", "show", &ids[0]]).expect(0);
    rot(&ids[0]);
    let nothing = world.run(&to).expect(2);
    assert!(nothing.stderr.contains("damaged"), "{}", nothing.stderr);
}

#[test]
fn a_cluster_without_a_restore_point_and_wal_that_does_not_count_are_no_green() {
    let world = World::new();
    let first = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    world.plan_with_copies(&first.conninfo(), &["vault", "second"]);
    world.run(&["vault", "init"]).expect(0);
    let id = world.json(&["backup", "run", "ledger-db"])["id"].as_str().unwrap().to_owned();
    let problems = || {
        let status = world.run(&["status", "--json"]).expect(1).json();
        status["services"][0]["problems"].clone()
    };
    let says = |what: &str| {
        let problems = problems();
        assert!(problems.to_string().contains(what), "{what}: {problems:#}");
    };
    assert!(!problems().to_string().contains("as many copies"), "{:#}", problems());
    // What is lost together with the service does not count (copies C7), and the other copy lost what it had.
    let plan = std::fs::read_to_string(world.path("lifeboat.yaml")).unwrap();
    for (copy, domain) in [("vault", "cellar"), ("second", "attic")] {
        let copy = format!("{:?}", world.copy(copy));
        world.change_plan(&copy, &format!("{{url: {copy}, domain: {domain}}}"));
    }
    world.change_plan("name: ledger-db", "name: ledger-db\n    domain: cellar");
    assert!(!problems().to_string().contains("as many copies"), "{:#}", problems());
    std::fs::remove_dir_all(world.path("second/services/ledger-db/wal")).unwrap();
    says("in as many copies as the plan asks");
    std::fs::write(world.path("lifeboat.yaml"), plan).unwrap();
    // After an upgrade, the WAL of the new cluster alone brings nothing back.
    let second = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    world.change_plan(&first.conninfo(), &second.conninfo());
    let refused = world.run(&["backup", "run", "ledger-db"]).expect(2);
    assert!(refused.stderr.contains("accept the new cluster"), "{}", refused.stderr);
    let accepted = world.json(&["backup", "run", "ledger-db", "--accept-new-cluster"]);
    assert!(!problems().to_string().contains("no restore point reaches"), "{:#}", problems());
    let newest = accepted["id"].as_str().unwrap();
    assert_ne!(newest, id);
    for copy in ["vault", "second"] {
        std::fs::remove_file(world.path(&format!("{copy}/services/ledger-db/points/{newest}"))).unwrap();
    }
    says("no restore point reaches what the server writes now");
}

#[test]
fn damage_on_production_is_told_by_table_and_block_and_is_never_green() {
    let (world, cluster) = World::with_server(&Installation::newest());
    damage_a_page(&cluster);
    let told = "page 1 of public.ledger in postgres (base/";
    let ran = world.run(&["backup", "run", "ledger-db"]).expect(1);
    let line = ran.stdout.lines().find(|line| line.contains("DAMAGED")).unwrap_or_default().to_owned();
    assert!(line.contains(told) && line.contains("production itself could not read it"), "{}", ran.stdout);
    assert!(ran.stderr.contains(told), "{}", ran.stderr);

    let status = world.run(&["status", "--json"]).expect(1).json();
    let problems = status["services"][0]["problems"].as_array().unwrap().clone();
    assert!(problems.iter().any(|problem| problem.as_str().unwrap().contains(told)), "{status:#}");

    let mut serving = Streaming::run(&world, &["serve", "ledger-db", "--json"]);
    let page = serving.wait_for("damagedPage");
    assert!(page["detail"].as_str().unwrap().starts_with(told), "{page}");
    let done = serving.wait_until("the backup", |event| {
        event["job"] == "baseBackup"
            && ["succeeded", "failed", "doubtful"].iter().any(|name| event["event"] == *name)
    });
    assert_eq!(done["event"], "doubtful", "{done}");
    assert!(done["detail"].as_str().unwrap().contains(told), "{done}");
    assert_eq!(serving.stop().1, Some(0));
}

#[test]
fn a_page_that_is_only_suspect_is_not_called_damaged() {
    let (world, cluster) = World::with_server(&Installation::newest());
    damage_a_page(&cluster);
    // May replicate, and not read a page again.
    cluster.psql("CREATE ROLE streamer LOGIN REPLICATION");
    let own = cluster.conninfo();
    let theirs = own.replace("user=postgres", "user=streamer");
    world.change_plan(&own, &theirs);
    let ran = world.run(&["backup", "run", "ledger-db"]).expect(1);
    assert!(ran.stdout.contains("SUSPECT") && !ran.stdout.contains("DAMAGED"), "{}", ran.stdout);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("could not read"), "{}", ran.stderr);
    let status = world.run(&["status", "--json"]).expect(1).json();
    let unknown = status["services"][0]["unknown"].as_array().unwrap().clone();
    assert!(unknown.iter().any(|line| line.as_str().unwrap().contains("SUSPECT")), "{status:#}");
}

#[test]
fn a_search_says_what_it_read_and_gives_no_false_all_clear() {
    let (world, cluster) = World::with_server(&Installation::newest());
    let streaming = Streaming::start(&world);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    cluster.psql("CREATE TABLE stock AS SELECT g AS id FROM generate_series(1, 800) g");
    cluster.psql("DELETE FROM ledger WHERE id <= 3");
    let wrong = cluster.psql("BEGIN; DELETE FROM stock; SELECT txid_current(); COMMIT");
    let wrong = wrong.split_whitespace().find(|word| word.parse::<u64>().is_ok()).unwrap().to_owned();
    cluster.psql("DELETE FROM ledger WHERE id <= 903");
    world.run(&["doctor", "--deep"]);
    assert_eq!(streaming.stop().1, Some(0));

    let search = ["wal", "search", "ledger-db"];
    let ran = world.run(&[&search[..], &["--table", "stock"]].concat()).expect(0);
    // A whole table of 800 rows is below the limit, and told all the same.
    assert!(ran.stdout.contains("DELETE of 800 rows of public.stock"), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("--to before:xid:{wrong}")), "{}", ran.stdout);
    assert!(ran.stdout.contains("1000 rows of stock (--min-rows)"), "{}", ran.stdout);
    let found = world.json(&[&search[..], &["--table", "stock"]].concat());
    assert_eq!(found["findings"].as_array().unwrap().len(), 0, "{found:#}");
    assert_eq!(found["below"][0]["effects"][0]["rows"], 800, "{found:#}");
    assert_eq!(found["toTheEnd"], true, "{found:#}");
    let (first, last) = (found["firstCommit"].as_str().unwrap(), found["lastCommit"].as_str().unwrap());
    assert!(first < last, "{found:#}");
    assert!(ran.stdout.contains("searched: 0/") && ran.stdout.contains("of timeline 1"), "{}", ran.stdout);
    let found = world.json(&search);
    assert_eq!(found["below"][0]["effects"][0]["rows"], 900, "of all tables the most: {found:#}");

    // Nothing was read: no answer.
    let ran = world.run(&[&search[..], &["--from", "2999-01-01T00:00:00Z"]].concat()).expect(2);
    assert!(ran.stderr.contains("no transaction between the bounds"), "{}", ran.stderr);
    assert!(ran.stderr.contains("the last commit in it is of 20"), "{}", ran.stderr);
    let ran = world.run(&[&search[..], &["--table", "stok"]].concat()).expect(2);
    assert!(ran.stderr.contains("did you mean public.stock?"), "{}", ran.stderr);
    let ran = world.run(&[&search[..], &["--table", "zebra"]].concat()).expect(2);
    assert!(ran.stderr.contains("the tables are: public.ledger, public.stock"), "{}", ran.stderr);
    let ran = world.run(&[&search[..], &["--system", "1"]].concat()).expect(2);
    assert!(ran.stderr.contains("holds no WAL"), "{}", ran.stderr);
}

#[test]
fn a_journal_that_was_cut_off_shows_against_heads_that_were_kept() {
    let world = World::new();
    world.plan("host=127.0.0.1 port=1 user=nobody");
    world.run(&["vault", "init"]).expect(0);
    world.run(&["vault", "check", "--repair"]).expect(0);
    let kept = world.json(&["journal", "verify"]);
    std::fs::write(world.path("heads.json"), kept.to_string()).unwrap();
    let against = ["journal", "verify", "--against", "heads.json"];
    snapshot!("journal_verify_against", world.json(&against));
    // It may grow.
    world.run(&["vault", "check", "--repair"]).expect(0);
    world.run(&against).expect(0);
    let records = |scope: &str| {
        let directory = std::fs::read_dir(world.path("vault/journal").join(scope)).unwrap();
        let mut paths: Vec<_> = directory.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let mut vault = records("vault");
    assert_eq!(vault.len(), 3);
    for record in vault.drain(1..) {
        std::fs::remove_file(record).unwrap();
    }
    // From inside it cannot be seen, which is said.
    let ran = world.run(&["journal", "verify"]).expect(0);
    assert!(ran.stdout.contains("not to be seen from here"), "{}", ran.stdout);
    assert!(ran.stdout.contains(kept["scopes"][0]["headSha256"].as_str().unwrap()), "{}", ran.stdout);
    let ran = world.run(&against).expect(1);
    assert!(ran.stdout.contains("vault: it was cut off: it had 2 records"), "{}", ran.stdout);
    for record in records("plan") {
        std::fs::remove_file(record).unwrap();
    }
    let ran = world.run(&against).expect(1);
    assert!(ran.stdout.contains("plan: the whole chain is gone: it had 1 records"), "{}", ran.stdout);
    // The same chain made anew is another one.
    world.change_plan("last: 2", "last: 3");
    world.run(&["vault", "check", "--repair"]).expect(0);
    let ran = world.run(&against).expect(1);
    assert!(ran.stdout.contains("plan: record 1 is another one than was kept"), "{}", ran.stdout);

    let ran = world.run(&["journal", "show", "--scope", "services/nope"]).expect(2);
    assert!(ran.stderr.contains("the journal has nothing of `services/nope`"), "{}", ran.stderr);
    let ran = world.run(&["journal", "show", "--scope", "plam"]).expect(2);
    assert!(ran.stderr.contains("did you mean `plan`?"), "{}", ran.stderr);
}
