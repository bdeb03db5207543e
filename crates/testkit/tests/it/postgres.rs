//! Clusters of every PostgreSQL found here.

use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation, scratch_directory, server_user};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn every_version_starts_dies_and_starts_again() {
    for installation in Installation::all() {
        let cluster = Cluster::start(&installation, &ClusterOptions::new());
        let version = cluster.psql("show server_version_num");
        assert_eq!(version.parse::<u32>().unwrap() / 10_000, installation.major);
        assert_eq!(cluster.psql("show data_checksums"), "on");
        cluster.psql("create table t as select generate_series(1, 1000) as i");
        cluster.kill9();
        assert!(!cluster.is_running());
        cluster.restart();
        assert!(cluster.log().contains("was not properly shut down"), "kill9 is no clean shutdown");
        assert_eq!(cluster.psql("select count(*), sum(i) from t"), "1000|500500");
        let conninfo = cluster.conninfo();
        cluster.stop();
        cluster.restart();
        assert_eq!(cluster.conninfo(), conninfo);
        assert_eq!(cluster.psql("select count(*) from t"), "1000");
    }
}

#[test]
fn system_identifiers_differ_between_copies() {
    let installation = Installation::oldest();
    let identity = "select system_identifier from pg_control_system()";
    let first = Cluster::start(&installation, &ClusterOptions::new());
    let second = Cluster::start(&installation, &ClusterOptions::new());
    assert_ne!(first.psql(identity), second.psql(identity));
    assert_ne!(first.port(), second.port());
    first.psql("select pg_switch_wal()");
    let mut check = first.installation().command("pg_waldump");
    let segment = first.data_directory().join("pg_wal/000000010000000000000001");
    assert!(check.arg(segment).output().unwrap().status.success(), "WAL carries the new identifier too");
}

#[test]
fn options_reach_initdb_and_server() {
    for installation in Installation::all() {
        let options =
            ClusterOptions::new().wal_segment_mib(1).without_checksums().set("wal_level", "logical");
        let cluster = Cluster::start(&installation, &options.set("application_name", "it's"));
        assert_eq!(cluster.psql("show wal_segment_size"), "1MB");
        assert_eq!(cluster.psql("show data_checksums"), "off");
        assert_eq!(cluster.psql("show wal_level"), "logical");
        assert_eq!(cluster.try_psql("select 1/0").unwrap_err().matches("division by zero").count(), 1);
        cluster.set("work_mem", "7MB");
        let applied = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            cluster.psql("show work_mem") == "7MB"
        });
        assert!(applied);
    }
}

#[test]
fn a_standby_follows_and_takes_over() {
    for installation in Installation::all() {
        let primary = Cluster::start(&installation, &ClusterOptions::new());
        let standby = primary.standby(&ClusterOptions::new());
        primary.set("synchronous_standby_names", &standby.name());
        primary.restart();
        primary.psql("set synchronous_commit = remote_apply; create table t as select 1 as i");
        assert_eq!(standby.psql("select i from t"), "1");
        primary.kill9();
        standby.promote();
        standby.psql("insert into t values (2)");
        assert_eq!(standby.psql("select pg_is_in_recovery(), count(*) from t"), "f|2");
        standby.psql("checkpoint");
        assert_eq!(standby.psql("select timeline_id from pg_control_checkpoint()"), "2");
    }
}

#[test]
fn an_erased_cluster_starts_again_on_what_was_restored() {
    let installation = Installation::newest();
    let cluster = Cluster::start(&installation, &ClusterOptions::new());
    cluster.pgbench(&["-i", "-q", "-s", "1"]);
    let backup = scratch_directory();
    let copy = backup.path().join("data");
    cluster.stop();
    assert!(
        Command::new("cp").arg("-a").arg(cluster.data_directory()).arg(&copy).status().unwrap().success()
    );
    cluster.restart();
    cluster.erase_data_directory();
    assert!(!cluster.data_directory().exists());
    let opened = Cluster::open(&installation, &copy, &ClusterOptions::new());
    assert_eq!(opened.psql("select count(*) from pgbench_accounts"), "100000");
    drop(opened);
    assert!(Command::new("mv").arg(&copy).arg(cluster.data_directory()).status().unwrap().success());
    cluster.restart();
    assert_eq!(cluster.psql("select count(*) from pgbench_accounts"), "100000");
}

#[test]
fn nothing_is_left_when_a_cluster_is_dropped() {
    let cluster = Cluster::start(&Installation::oldest(), &ClusterOptions::new());
    let pid = cluster.pid().unwrap();
    let scratch = cluster.scratch().to_owned();
    if let Some(user) = server_user() {
        assert_eq!(std::fs::metadata(cluster.data_directory()).unwrap().uid(), user.uid);
    }
    drop(cluster);
    assert!(!scratch.exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

/// Not a test of its own: what [`nothing_is_left_when_the_test_process_is_killed`] kills.
#[test]
#[ignore = "run, and killed, by another test"]
#[expect(clippy::print_stdout, reason = "tells the other test what to look for")]
fn hold_a_cluster_until_killed() {
    let cluster = Cluster::start(&Installation::oldest(), &ClusterOptions::new());
    println!("\nholding {} {}", cluster.pid().unwrap(), cluster.scratch().display());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn nothing_is_left_when_the_test_process_is_killed() {
    use std::io::{BufRead, BufReader};
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--nocapture", "--exact", "postgres::hold_a_cluster_until_killed"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().strip_prefix("holding ").map(str::to_owned)).unwrap();
    let (pid, scratch) = line.split_once(' ').unwrap();
    assert!(Path::new(scratch).join("data").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = (0..1_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !Path::new(scratch).exists() && !Path::new(&format!("/proc/{pid}")).exists()
    });
    assert!(gone, "{line}");
}
