//! What the stream has taken comes back: every commit that waited for the vault.

use super::*;
use lifeboat_postgres::backup::{self, BackupOptions};
use lifeboat_postgres::client::{Connection, Purpose};
use lifeboat_postgres::restore::{self, Recovery, RestoreOptions, Stop};
use lifeboat_postgres::server;
use lifeboat_testkit::postgres::{give_to_server_user, scratch_directory};
use lifeboat_vault::point::RestorePoint;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

async fn backup(vault: &TestVault, cluster: &Cluster) -> RestorePoint {
    let options = BackupOptions {
        vault: vault.vault.clone(),
        service: vault.service.clone(),
        conninfo: conninfo(&cluster.conninfo()),
        data_directory: None,
        rate: None,
        level: backup::DEFAULT_LEVEL,
        workers: backup::DEFAULT_WORKERS,
        accept_new_cluster: false,
        progress: Arc::default(),
    };
    backup::run(&options).await.unwrap()
}

/// Writes all WAL of timeline 1 as an archive directory would have it; the last segment ends in zeros.
async fn write_archive(vault: &TestVault, into: &Path) -> Lsn {
    let archive = vault.archive().await;
    let stretch = vault.stretch(1).await;
    let mut file = WalFileName::holding(Timeline(1), stretch.start, archive.segment_size());
    while file.range().start < stretch.end {
        let fetched = archive.fetch(Timeline(1), file.range().start).await.unwrap();
        let (Fetched::Whole(bytes) | Fetched::Beginning { bytes, .. }) = fetched else {
            panic!("{file} is not in the vault")
        };
        std::fs::write(into.join(file.to_string()), bytes).unwrap();
        file = file.next();
    }
    stretch.end
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_stream_after_a_backup_misses_no_slot_and_no_wal() {
    let [installation, _] = installations();
    let cluster = Cluster::start(&installation, &ClusterOptions::new().set("wal_keep_size", "1GB"));
    let vault = TestVault::new().await;
    write(&cluster, 1000);
    let point = backup(&vault, &cluster).await;
    let stream = vault.stream(&cluster);
    let end = write(&cluster, 1000);
    stream.wait_durable(end);
    assert_eq!(stream.alarms(AlarmKind::SlotLost), []);
    assert_eq!(stream.alarms(AlarmKind::Hole), []);
    stream.stop().await;
    let stretch = vault.stretch(1).await;
    assert!(stretch.start <= point.start && stretch.end >= end, "{stretch:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn m2_every_commit_that_waited_for_the_vault_survives_the_loss_of_the_primary() {
    for installation in installations() {
        let cluster = Cluster::start(&installation, &ClusterOptions::new());
        let vault = TestVault::new().await;
        let stream = vault.stream(&cluster);
        stream.wait_connected();
        cluster.psql("create table ledger (i bigint primary key)");
        let point = backup(&vault, &cluster).await;
        cluster.set("synchronous_standby_names", "lifeboat");
        until("synchronous", || {
            (cluster.psql("select sync_state from pg_stat_replication") == "sync").then_some(())
        });
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut sql = Connection::connect(&conninfo(&cluster.conninfo()), Purpose::Sql).await.unwrap();
        let counter = acknowledged.clone();
        let client = tokio::spawn(async move {
            for i in 1.. {
                if sql.query(&format!("insert into ledger values ({i})")).await.is_err() {
                    return;
                }
                counter.store(i, Ordering::SeqCst);
            }
        });
        until("commits", || (acknowledged.load(Ordering::SeqCst) > 200).then_some(()));
        cluster.kill9();
        client.await.unwrap();
        // The stream dies with it, as when a whole site burns.
        stream.kill().await;
        let acknowledged = acknowledged.load(Ordering::SeqCst);

        let scratch = scratch_directory();
        let wal = scratch.path().join("wal");
        std::fs::create_dir(&wal).unwrap();
        let end = write_archive(&vault, &wal).await;
        give_to_server_user(&wal);
        let into = scratch.path().join("restored");
        let restore_command = format!("cp {}/%f %p", wal.display());
        let recovery = Recovery {
            restore_command: restore_command.clone(),
            timeline: Timeline(1),
            stop: Stop { lsn: end, inclusive: false },
        };
        let options = RestoreOptions {
            vault: vault.vault.clone(),
            point,
            recovery,
            into: into.clone(),
            tablespaces: std::collections::BTreeMap::new(),
            owner: server::server_account().unwrap().map(server::Account::pair),
            delta: false,
            workers: 2,
            progress: Arc::default(),
        };
        let plan = restore::plan(&options).await.unwrap();
        restore::apply(&options, plan).await.unwrap();
        // To the end of all WAL, wherever its last record ends.
        std::fs::write(
            into.join("postgresql.auto.conf"),
            format!("restore_command = '{restore_command}'\nrecovery_target_timeline = 'latest'\n"),
        )
        .unwrap();
        let options = ClusterOptions::new().set("synchronous_standby_names", "");
        let restored = Cluster::open(&installation, &into, &options);
        until("the end of recovery", || (restored.psql("select pg_is_in_recovery()") == "f").then_some(()));
        let found = restored.psql("select count(*), max(i) from ledger");
        let (count, max) = found.split_once('|').unwrap();
        assert_eq!(count, max, "rows in between are missing");
        // One more may have been durable when its client was cut off.
        let count: u64 = count.parse().unwrap();
        assert!((acknowledged..=acknowledged + 1).contains(&count), "{count} of {acknowledged}");
    }
}
