//! Where backups are taken from: standbys, promoted servers, restored servers, and places with hostile names.

use crate::backup_fixture::{Bench, said};
use lifeboat_base::Timeline;
use lifeboat_postgres::backup::{self, BackupError, BackupOptions};
use lifeboat_postgres::lineage::LineageError;
use lifeboat_testkit::postgres::{
    Cluster, ClusterOptions, Installation, give_to_server_user, scratch_directory,
};
use lifeboat_vault::wal::WalError;

fn primary(installation: &Installation) -> Cluster {
    let cluster = Cluster::start(installation, &ClusterOptions::new());
    cluster
        .psql("CREATE TABLE ledger AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 5000) g");
    cluster
}

#[tokio::test]
async fn a_standby_is_read_as_well_as_a_primary_and_a_promoted_one_too() {
    for installation in [Installation::oldest(), Installation::newest()] {
        let bench = Bench::new(1).await;
        let primary = primary(&installation);
        let standby = primary.standby(&ClusterOptions::new());
        for (local, into) in [(true, "local"), (false, "remote")] {
            let point = bench.backup(&standby, local).await.unwrap();
            assert!(point.from_standby);
            let revived = bench.revive(&installation, &point, into).await;
            assert_eq!(revived.psql("SELECT count(*) FROM ledger"), "5000");
        }
        // On its new timeline it is a primary like any other: the history comes with the backup.
        primary.stop();
        standby.promote();
        standby.psql("INSERT INTO ledger VALUES (0, 'after')");
        for (local, into) in [(true, "promoted-local"), (false, "promoted-remote")] {
            let point = bench.backup(&standby, local).await.unwrap();
            assert_eq!((point.timeline, point.from_standby), (Timeline(2), false));
            let revived = bench.revive(&installation, &point, into).await;
            assert_eq!(revived.psql("SELECT count(*) FROM ledger"), "5001");
        }
        // The one before it comes back: what it has is no backup of what goes on.
        let points = bench.points().await;
        primary.restart();
        for local in [true, false] {
            let error = bench.backup(&primary, local).await.unwrap_err();
            assert!(
                matches!(error, BackupError::Lineage(LineageError::OldPrimary { .. })),
                "{}",
                said(&error)
            );
        }
        assert_eq!(bench.points().await, points);
    }
}

#[tokio::test]
async fn another_cluster_is_refused_and_accepted_only_explicitly() {
    let (installation, bench) = (Installation::newest(), Bench::new(1).await);
    let (mine, other) = (primary(&installation), primary(&installation));
    bench.backup(&mine, true).await.unwrap();
    let (points, before) = (bench.points().await, bench.vault.copies().list("services").await.objects);
    for local in [true, false] {
        let error = bench.backup(&other, local).await.unwrap_err();
        assert!(matches!(error, BackupError::Foreign(WalError::OtherCluster { .. })), "{}", said(&error));
    }
    // Nothing of it is there that would have a stream take it for known.
    assert_eq!(bench.vault.copies().list("services").await.objects, before);
    let accepted = BackupOptions { accept_new_cluster: true, ..bench.backup_options(&other, true) };
    let point = backup::run(&accepted).await.unwrap();
    assert!(!points.contains(&point.id));
    // From then on it is known, as a service's clusters before an upgrade are.
    bench.backup(&other, true).await.unwrap();
    bench.backup(&mine, true).await.unwrap();
}

/// What PostgreSQL refuses is told in its own words, and no point is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_during_the_backup_of_a_standby_ends_it_clearly() {
    let (installation, bench) = (Installation::newest(), Bench::new(1).await);
    let primary = primary(&installation);
    for local in [true, false] {
        let standby = primary.standby(&ClusterOptions::new());
        // Slow enough that the promotion comes in its midst.
        let options = BackupOptions { rate: Some(512 << 10), ..bench.backup_options(&standby, local) };
        let progress = options.progress.clone();
        let running = tokio::spawn(async move { backup::run(&options).await });
        while progress.done_bytes.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            assert!(!running.is_finished(), "it ended before it began to read");
            tokio::task::yield_now().await;
        }
        standby.promote();
        // It finds out at its end, which need not be waited for at that pace.
        progress.cancelled.store(local, std::sync::atomic::Ordering::Relaxed);
        let error = running.await.unwrap().unwrap_err();
        if !local {
            assert!(matches!(error, BackupError::Server(_)), "{}", said(&error));
            assert!(said(&error).contains("promoted"), "{}", said(&error));
        }
        assert!(bench.points().await.is_empty());
    }
}

/// What is read lies on both timelines, and is consistent on the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_follows_a_promotion_during_its_backup_gives_a_point_on_the_new_timeline() {
    let (installation, bench) = (Installation::newest(), Bench::new(1).await);
    let options = ClusterOptions::new().set("wal_retrieve_retry_interval", "100ms");
    let mut upstream = primary(&installation);
    for (local, old) in [(true, Timeline(1)), (false, Timeline(2))] {
        let middle = upstream.standby(&options);
        let leaf = middle.standby(&options);
        // Slow enough that the promotion comes in its midst.
        let backup = BackupOptions { rate: Some(4 << 20), ..bench.backup_options(&leaf, local) };
        let progress = backup.progress.clone();
        let running = tokio::spawn(async move { backup::run(&backup).await });
        while progress.done_bytes.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            assert!(!running.is_finished(), "it ended before it began to read");
            tokio::task::yield_now().await;
        }
        middle.promote();
        middle.psql("INSERT INTO ledger VALUES (0, 'on the new timeline')");
        middle.psql("CHECKPOINT");
        let rows = middle.psql("SELECT count(*) FROM ledger");
        while leaf.psql("SELECT count(*) FROM ledger") != rows {
            tokio::task::yield_now().await;
        }
        // What a standby is consistent with follows what it has written.
        leaf.psql("CHECKPOINT");
        assert!(!running.is_finished(), "it ended before the promotion was followed");
        let point = running.await.unwrap().unwrap();
        assert!(point.backup_label.contains(&format!("START TIMELINE: {old}\n")), "{}", point.backup_label);
        assert_eq!((point.timeline, point.from_standby), (Timeline(old.0 + 1), true));
        let revived = bench.revive(&installation, &point, &format!("revived-{local}")).await;
        assert_eq!(revived.psql("SELECT count(*) FROM ledger"), rows);
        upstream = middle;
    }
}

/// A service that was restored once, with its tablespaces inside: its next backup takes each file once.
#[tokio::test]
async fn a_restored_server_is_backed_up_again_without_what_the_restore_left() {
    let (installation, bench) = (Installation::newest(), Bench::new(1).await);
    let cluster = primary(&installation);
    let place = cluster.scratch().join("apart");
    std::fs::create_dir(&place).unwrap();
    give_to_server_user(&place);
    cluster.psql(&format!("CREATE TABLESPACE apart LOCATION '{}'", place.display()));
    cluster.psql("CREATE TABLE apart TABLESPACE apart AS SELECT g AS id FROM generate_series(1, 1000) g");
    let first = bench.backup(&cluster, true).await.unwrap();
    let revived = bench.revive(&installation, &first, "first").await;
    for (local, into) in [(true, "again-local"), (false, "again-remote")] {
        let again = bench.backup(&revived, local).await.unwrap();
        let index = lifeboat_vault::layer::LayerReader::open(&bench.vault, &bench.service, &again.id).await;
        let index = index.unwrap();
        let ours: Vec<_> =
            index.index().files.iter().filter(|file| file.path.starts_with("lifeboat")).collect();
        assert!(ours.is_empty(), "{ours:?}");
        let second = bench.revive(&installation, &again, into).await;
        assert_eq!(second.psql("SELECT count(*) FROM apart"), "1000");
    }
}

/// Names that break careless programs: of the data directory, of tablespaces, of databases.
#[tokio::test]
async fn hostile_names_come_back_as_they_were() {
    for installation in [Installation::oldest(), Installation::newest()] {
        let bench = Bench::new(1).await;
        let cluster = primary(&installation);
        let scratch = scratch_directory();
        let root = scratch.path().join("it's a \"data\\dir\" ü %f $(touch x)");
        std::fs::create_dir(&root).unwrap();
        give_to_server_user(&root);
        let names = [
            "with space",
            "back\\slash",
            "new\nline",
            "tab\tand \"quote\"",
            "$HOME `id` %p",
            "日本語",
            "trail ",
        ];
        let mut made = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let place = cluster.scratch().join(name);
            std::fs::create_dir(&place).unwrap();
            give_to_server_user(&place);
            // A path that wanders: PostgreSQL straightens it.
            let location = cluster.scratch().join("x").join("..").join(name);
            let space = format!("space {number} {}", name.replace(['\n', '\t'], " "));
            let space = space.replace('"', "\"\"");
            // Newer versions refuse some of them: what is refused needs no backup.
            if cluster
                .try_psql(&format!("CREATE TABLESPACE \"{space}\" LOCATION '{}'", location.display()))
                .is_ok()
            {
                cluster
                    .psql(&format!("CREATE TABLE t{number} TABLESPACE \"{space}\" AS SELECT {number} AS id"));
                made.push(number);
            }
        }
        assert!(made.len() >= 5, "{made:?}");
        for name in ["Dr. \"No\"", "a/b", "..", "semi;colon'--", "ünïcode"] {
            cluster.psql(&format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")));
        }
        cluster.stop();
        // The same cluster from a data directory with a name of that kind.
        let moved = root.join("data dir");
        let status =
            std::process::Command::new("cp").arg("-a").arg(cluster.data_directory()).arg(&moved).status();
        assert!(status.unwrap().success());
        let moved = Cluster::open(&installation, &moved, &ClusterOptions::new());
        for local in [true, false] {
            let point = bench.backup(&moved, local).await.unwrap();
            assert_eq!(point.tablespaces.len(), made.len());
            let revived = bench.revive(&installation, &point, &format!("re'vived \"{local}\" \\ ü")).await;
            for number in &made {
                assert_eq!(revived.psql(&format!("SELECT id FROM t{number}")), number.to_string());
            }
            assert_eq!(revived.psql("SELECT count(*) FROM pg_database WHERE datname IN ('..', 'a/b')"), "2");
        }
    }
}
