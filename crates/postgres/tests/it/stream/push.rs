//! `archive_command` instead of a stream.

use super::*;
use lifeboat_postgres::push::{PushError, Pushed, push};
use std::path::PathBuf;

/// Every file that the server would archive, oldest first.
fn ready(cluster: &Cluster) -> Vec<PathBuf> {
    let wal = cluster.data_directory().join("pg_wal");
    let status = std::fs::read_dir(wal.join("archive_status")).unwrap();
    let names = status.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let mut files: Vec<_> = names.filter_map(|name| Some(wal.join(name.strip_suffix(".ready")?))).collect();
    files.sort();
    files
}

fn archiving() -> ClusterOptions {
    // Fails for ever, so that everything stays ready.
    ClusterOptions::new().wal_segment_mib(1).set("archive_mode", "on").set("archive_command", "false")
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_h2_h3_what_a_server_archives_is_taken_once_and_only_from_its_cluster() {
    for installation in installations() {
        let cluster = Cluster::start(&installation, &archiving());
        let vault = TestVault::new().await;
        let end = write(&cluster, 10_000);
        cluster.psql("select pg_switch_wal()");
        let files = until("files to archive", || Some(ready(&cluster)).filter(|files| files.len() > 2));
        for file in &files {
            assert_eq!(push(&vault.vault, &vault.service, file).await.unwrap(), Pushed::Stored);
            assert_eq!(push(&vault.vault, &vault.service, file).await.unwrap(), Pushed::AlreadyThere);
        }
        let stretch = vault.stretch(1).await;
        assert!(stretch.end >= end);
        assert!(vault.assert_equal_to_server(&cluster, 1, stretch).await > 2);

        // The same name with one other byte.
        let scratch = tempfile::tempdir().unwrap();
        let copy = scratch.path().join(files[0].file_name().unwrap());
        let mut bytes = std::fs::read(&files[0]).unwrap();
        bytes[500_000] ^= 1;
        std::fs::write(&copy, &bytes).unwrap();
        let error = push(&vault.vault, &vault.service, &copy).await.unwrap_err();
        assert!(matches!(error, PushError::Differs { .. }), "{error}");
        // Cut short, and under a name that is another's.
        std::fs::write(&copy, &bytes[..500_000]).unwrap();
        let error = push(&vault.vault, &vault.service, &copy).await.unwrap_err();
        assert!(matches!(error, PushError::Mismatch { .. }), "{error}");
        let other = scratch.path().join("0000000100000000000000EE");
        std::fs::write(&other, &bytes).unwrap();
        let error = push(&vault.vault, &vault.service, &other).await.unwrap_err();
        assert!(matches!(error, PushError::Mismatch { .. }), "{error}");
        let error = push(&vault.vault, &vault.service, &scratch.path().join("notes.txt")).await.unwrap_err();
        assert!(matches!(error, PushError::NotWal { .. }), "{error}");
        let label = scratch.path().join("000000010000000000000002.00000028.backup");
        assert_eq!(push(&vault.vault, &vault.service, &label).await.unwrap(), Pushed::NotNeeded);

        let stranger = Cluster::start(&installation, &archiving());
        write(&stranger, 10);
        stranger.psql("select pg_switch_wal()");
        let files = until("a file to archive", || Some(ready(&stranger)).filter(|files| !files.is_empty()));
        let error = push(&vault.vault, &vault.service, &files[0]).await.unwrap_err();
        assert!(matches!(error, PushError::OtherCluster { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_h4_push_and_stream_agree_and_an_old_primary_is_refused() {
    let installation = Installation::newest();
    let primary = Cluster::start(&installation, &archiving());
    let standby = primary.standby(&archiving());
    let vault = TestVault::new().await;
    let stream = vault.stream(&primary);
    let end = write(&primary, 5000);
    stream.wait_durable(end);
    stream.stop().await;
    // Some of these came in pieces or joined, the last not to its end.
    primary.psql("select pg_switch_wal()");
    let files = until("files to archive", || Some(ready(&primary)).filter(|files| files.len() > 1));
    for file in &files {
        push(&vault.vault, &vault.service, file).await.unwrap();
    }
    until("the standby has it", || {
        let replayed: Lsn = standby.psql("select pg_last_wal_replay_lsn()").parse().unwrap();
        (replayed >= flushed(&primary)).then_some(())
    });
    standby.promote();
    let switched = write(&standby, 3000);
    standby.psql("select pg_switch_wal()");
    let files = until("the new timeline's files", || {
        let files = ready(&standby);
        let named = |part: &str| files.iter().any(|f| f.to_string_lossy().contains(part));
        (named("00000002.history") && named("/00000002000")).then_some(files)
    });
    for file in files.iter().filter(|file| file.to_string_lossy().contains("/00000002")) {
        push(&vault.vault, &vault.service, file).await.unwrap();
    }
    assert!(vault.stretch(2).await.end >= switched);
    let before = vault.stretch(1).await;
    // The old primary goes on as if nothing had happened.
    write(&primary, 20_000);
    primary.psql("select pg_switch_wal()");
    let files = until("the old primary's files", || {
        let files = ready(&primary);
        (files.len() > 4).then_some(files)
    });
    let error = push(&vault.vault, &vault.service, files.last().unwrap()).await.unwrap_err();
    assert!(matches!(error, PushError::OldPrimary { newer: Timeline(2), .. }), "{error}");
    assert_eq!(vault.stretch(1).await, before);
}
