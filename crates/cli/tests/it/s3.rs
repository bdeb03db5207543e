//! The vault on S3, through the binary: its address in the plan, its credentials in the environment.

use crate::protection::Streaming;
use crate::restoring::Restored;
use crate::world::World;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use lifeboat_testkit::s3::S3Server;

#[test]
fn a_vault_on_s3_protects_recovers_and_is_pruned() {
    let installation = Installation::oldest();
    let bucket = S3Server::shared().bucket();
    let mut world = World::new();
    world.environment = bucket.environment();
    let cluster = Cluster::start(&installation, &ClusterOptions::new());
    cluster.psql("CREATE TABLE ledger AS SELECT g AS id FROM generate_series(1, 1000) g");
    world.plan_with_copies(&cluster.conninfo(), &[&format!("{}/lifeboat", bucket.url())]);
    world.change_plan("{last: 2, window: 7d}", "{last: 1}");
    world.run(&["vault", "init"]).expect(0);
    let streaming = Streaming::start(&world);
    let old = world.json(&["backup", "run", "ledger-db"])["id"].clone();
    cluster.psql("INSERT INTO ledger SELECT generate_series(1001, 1500)");
    let new = world.json(&["backup", "run", "ledger-db"])["id"].clone();
    cluster.psql("INSERT INTO ledger VALUES (0)");
    // So that the last of it is in the vault.
    world.run(&["doctor", "--deep"]);
    let status = world.json(&["status"]);
    assert_eq!(status["services"][0]["restorePoints"], 2, "{status:#}");
    assert_eq!(status["services"][0]["windows"][0]["holes"].as_array().unwrap().len(), 0, "{status:#}");
    assert_eq!(streaming.stop().1, Some(0));
    let wanted = cluster.psql("SELECT count(*), sum(id) FROM ledger");
    cluster.kill9();
    cluster.erase_data_directory();

    let done = world.json(&["restore", "ledger-db", "--into", "back", "--start"]);
    let restored = Restored::of(&done, &installation);
    assert_eq!(restored.psql("SELECT count(*), sum(id) FROM ledger").unwrap(), wanted);
    // Whoever may run commands on that server reads its environment: the bucket's key is not in it.
    let environment = std::fs::read(format!("/proc/{}/environ", restored.pid)).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("AWS_ACCESS_KEY_ID"));

    let pruned = world.json(&["backup", "prune", "--grace", "0s"]);
    assert!(pruned["services"][0]["deletedObjects"].as_u64() > Some(0), "{pruned:#}");
    let listed = world.json(&["backup", "list"]);
    let ids = listed["restorePoints"].as_array().unwrap().iter().map(|point| &point["id"]);
    assert_eq!(ids.collect::<Vec<_>>(), [&new], "{old} was to go");
    let checked = world.json(&["vault", "check", "--deep"]);
    assert_eq!(checked["sound"], true, "{checked:#}");
    assert_eq!(checked["points"][0]["isRestorable"], true, "{checked:#}");
}
