//! The control file against `pg_controldata`, pages against what the server wrote, names against its own.

use crate::server::{options, read, version};
use lifeboat_pgformat::{
    BackupLabel, ControlFile, MajorVersion, PG_CONTROL_PATH, PageState, RelationFile, verify,
};
use lifeboat_testkit::postgres::{Cluster, Installation};

#[test]
fn control_file_says_what_pg_controldata_says() {
    for installation in Installation::all() {
        let cluster = Cluster::start(&installation, &options());
        cluster.stop();
        let control = ControlFile::parse(&read(&cluster, PG_CONTROL_PATH)).unwrap();
        assert_eq!(control.version, version(&installation));
        let mut command = installation.command("pg_controldata");
        let shown = command.arg("-D").arg(cluster.data_directory()).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let copy = &control.checkpoint_copy;
        let time = |t: jiff::Timestamp| t.strftime("%a %b %e %H:%M:%S %Y").to_string();
        for (label, value) in [
            ("pg_control version number", control.control_version.to_string()),
            ("Catalog version number", control.catalog_version.to_string()),
            ("Database system identifier", control.system_id.to_string()),
            ("Database cluster state", "shut down".to_owned()),
            ("pg_control last modified", time(control.written_at)),
            ("Latest checkpoint location", control.checkpoint.to_string()),
            ("Latest checkpoint's REDO location", copy.redo.to_string()),
            ("Latest checkpoint's TimeLineID", copy.timeline.to_string()),
            ("Latest checkpoint's PrevTimeLineID", copy.previous_timeline.to_string()),
            ("Latest checkpoint's NextXID", format!("{}:{}", copy.next_xid >> 32, copy.next_xid as u32)),
            ("Latest checkpoint's NextOID", copy.next_oid.to_string()),
            ("Latest checkpoint's oldestActiveXID", copy.oldest_active_xid.to_string()),
            ("Time of latest checkpoint", time(copy.time)),
            ("Minimum recovery ending location", control.min_recovery_point.to_string()),
            ("Min recovery ending loc's timeline", control.min_recovery_point_timeline.to_string()),
            ("Backup start location", control.backup_start.to_string()),
            ("Backup end location", control.backup_end.to_string()),
            ("wal_level setting", "replica".to_owned()),
            ("max_connections setting", control.max_connections.to_string()),
            ("max_worker_processes setting", control.max_worker_processes.to_string()),
            ("max_wal_senders setting", control.max_wal_senders.to_string()),
            ("max_prepared_xacts setting", control.max_prepared_transactions.to_string()),
            ("max_locks_per_xact setting", control.max_locks_per_transaction.to_string()),
            ("Database block size", control.block_size_bytes.to_string()),
            ("Blocks per segment of large relation", control.relation_segment_blocks.to_string()),
            ("WAL block size", control.wal_block_size_bytes.to_string()),
            ("Bytes per WAL segment", control.wal_segment_size.bytes().to_string()),
            ("Data page checksum version", control.data_checksum_version.to_string()),
        ] {
            let line = shown.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
            assert_eq!(line.map(str::trim), Some(value.as_str()), "{label} of {}", version(&installation));
        }
    }
}

#[test]
fn every_page_of_a_server_is_good() {
    for installation in Installation::all() {
        let cluster = Cluster::start(&installation, &options());
        cluster.script(
            "postgres",
            "create table t as select g, repeat('x', 900) from generate_series(1, 20000) g; vacuum t;",
        );
        let path = cluster.script("postgres", "select pg_relation_filepath('t')");
        cluster.stop();
        let file = RelationFile::parse(&path).unwrap();
        assert_eq!(file.path(version(&installation)), path);
        let bytes = read(&cluster, &path);
        let (pages, rest) = bytes.as_chunks();
        assert!(pages.len() > 2000 && rest.is_empty());
        for (block, page) in (0..).zip(pages) {
            match verify(page, block) {
                PageState::Good => assert!(matches!(verify(page, block + 1), PageState::Damaged { .. })),
                // Room that 16 and later made for rows that did not come.
                state => assert_eq!(state, PageState::Zero),
            }
        }
    }
}

#[test]
fn backup_label_of_a_server_reads() {
    for installation in Installation::all() {
        let cluster = Cluster::start(&installation, &options());
        let sql = "select pg_backup_start('nightly', true); \\pset format unaligned\n select labelfile from pg_backup_stop(false);";
        let text = cluster.script("postgres", sql);
        let at = text.find("START WAL LOCATION").unwrap();
        let text = format!("{}\n", text[at..].trim_end());
        let label = BackupLabel::parse(text.as_bytes()).unwrap();
        assert_eq!(label.render(), text);
        assert!(label.names_its_segment(lifeboat_pgformat::SegmentSize::DEFAULT));
        assert_eq!((label.label.as_str(), label.from_standby), ("nightly", false));
        let file = read(&cluster, "PG_VERSION");
        assert_eq!(MajorVersion::from_pg_version_file(&file), Ok(version(&installation)));
    }
}
