//! Pages damaged on production, and pages that only look so because they are written while they are read.

use crate::backup_fixture::{Bench, tree};
use lifeboat_postgres::backup::{self, BackupOptions};
use lifeboat_postgres::client::Conninfo;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use std::os::unix::fs::FileExt;

const HOSTILE: &str = "sh\"op; DROP TABLE x";

/// A cluster whose table `public.ledger`, in a database with a hostile name, has damaged pages: block 1 with
/// an old LSN, block 2 with one from the future, which a page written during the backup would not have.
fn damaged_cluster(installation: &Installation, options: &ClusterOptions) -> Cluster {
    let cluster = Cluster::start(installation, options);
    cluster.psql(&format!("CREATE DATABASE \"{}\"", HOSTILE.replace('"', "\"\"")));
    let sql = |sql: &str| {
        let mut psql = cluster.command("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]).env("PGDATABASE", HOSTILE);
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    sql(
        "CREATE TABLE \"Led.ger\" AS SELECT g AS id, repeat('x', 100) AS note FROM generate_series(1, 5000) g",
    );
    sql("CHECKPOINT");
    let path = sql("SELECT pg_relation_filepath('\"Led.ger\"')");
    cluster.stop();
    let file = std::fs::File::options().write(true).open(cluster.data_directory().join(path)).unwrap();
    file.write_all_at(&[0xFF; 16], 8192 + 4000).unwrap();
    // The upper half of the LSN.
    file.write_all_at(&[0, 0xFF, 0, 0], 2 * 8192).unwrap();
    cluster.restart();
    cluster
}

#[tokio::test]
async fn b3_damaged_pages_are_named_by_database_relation_and_block_both_ways() {
    for installation in [Installation::oldest(), Installation::newest()] {
        let bench = Bench::new(1).await;
        let cluster = damaged_cluster(&installation, &ClusterOptions::new());
        for local in [true, false] {
            let point = bench.backup(&cluster, local).await.unwrap();
            let found: Vec<_> = point.damaged_pages.iter().map(|page| (page.block, page.suspect)).collect();
            assert_eq!(found, [(1, false), (2, false)], "{:?}", point.damaged_pages);
            for page in &point.damaged_pages {
                assert_eq!(page.database.as_deref(), Some(HOSTILE));
                assert_eq!(page.relation.as_deref(), Some("public.\"Led.ger\""));
            }
            let told = point.damaged_pages[0].to_string();
            assert!(told.starts_with(&format!("page 1 of public.\"Led.ger\" in {HOSTILE} (base/")), "{told}");
            assert!(point.checksums);
        }
    }
}

/// Somebody who may replicate but not read files: what came damaged is told as a suspicion.
#[tokio::test]
async fn b3_who_may_not_read_a_page_again_is_told_of_a_suspicion() {
    let bench = Bench::new(1).await;
    let cluster = damaged_cluster(&Installation::newest(), &ClusterOptions::new());
    cluster.psql("CREATE ROLE humble LOGIN REPLICATION");
    let conninfo = cluster.conninfo().replace("user=postgres", "user=humble");
    let conninfo = Conninfo::parse(&conninfo, &|_| None).unwrap();
    let options = BackupOptions { conninfo, ..bench.backup_options(&cluster, false) };
    let point = backup::run(&options).await.unwrap();
    let found: Vec<_> = point.damaged_pages.iter().map(|page| (page.block, page.suspect)).collect();
    assert_eq!(found, [(1, true), (2, true)]);
    assert!(point.damaged_pages[0].to_string().ends_with("perhaps only torn while it was sent"));
}

/// Without checksums nothing is found, and the point says that nobody looked.
#[tokio::test]
async fn b3_a_server_without_checksums_is_said_to_have_none() {
    let bench = Bench::new(1).await;
    let cluster = damaged_cluster(&Installation::newest(), &ClusterOptions::new().without_checksums());
    for local in [true, false] {
        let point = bench.backup(&cluster, local).await.unwrap();
        assert!(!point.checksums && point.damaged_pages.is_empty());
    }
}

/// Under a load that writes the same pages again and again: no page is called damaged, and what is restored
/// is whole to PostgreSQL's own eyes.
#[tokio::test(flavor = "multi_thread")]
async fn b3_torn_pages_under_load_are_no_damage_and_the_sums_hold() {
    let (installation, bench) = (Installation::newest(), Bench::new(1).await);
    // Small buffers and a hasty writer: pages go to disk all the time.
    let options = ClusterOptions::new()
        .set("shared_buffers", "1MB")
        .set("bgwriter_delay", "10ms")
        .set("max_wal_size", "64MB")
        .set("checkpoint_timeout", "30s");
    let cluster = Cluster::start(&installation, &options);
    cluster.pgbench(&["-i", "-s", "3", "-q"]);
    let mut load = cluster.command("pgbench");
    load.args(["-c", "4", "-T", "600", "-n"]);
    let mut load =
        load.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut points = Vec::new();
    for local in [true, false, true, false] {
        let point = bench.backup(&cluster, local).await.unwrap();
        assert!(point.damaged_pages.is_empty(), "{:?}", point.damaged_pages);
        points.push(point);
    }
    load.kill().unwrap();
    load.wait().unwrap();
    for (number, point) in points.iter().enumerate().skip(2) {
        let revived = bench.revive(&installation, point, &format!("revived{number}")).await;
        let sums = revived.psql(
            "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches) \
             AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(bbalance) FROM pgbench_branches) \
             AND (SELECT sum(delta) FROM pgbench_history) = (SELECT sum(bbalance) FROM pgbench_branches)",
        );
        assert_eq!(sums, "t");
        if installation.program("pg_amcheck").exists() {
            revived.psql("CREATE EXTENSION IF NOT EXISTS amcheck");
            let output = revived.command("pg_amcheck").args(["--heapallindexed"]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        revived.stop();
        let mut checksums = installation.command("pg_checksums");
        let output = checksums.arg("--check").arg("-D").arg(revived.data_directory()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(tree(revived.data_directory()).contains_key("PG_VERSION"));
    }
}
