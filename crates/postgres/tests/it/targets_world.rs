//! A server whose WAL is put into a vault file by file, at the moments that a test chooses.

use lifeboat_base::{Lsn, ServiceName, SystemClock, SystemId, Timeline};
use lifeboat_pgformat::{WalFileName, WalName};
use lifeboat_postgres::backup::{self, BackupOptions};
use lifeboat_postgres::client::Conninfo;
use lifeboat_testkit::faulty::{FaultPlan, FaultyStore};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation, scratch_directory};
use lifeboat_vault::point::RestorePoint;
use lifeboat_vault::wal::{self, WalArchive};
use lifeboat_vault::{Copies, Vault, VaultCopy, address};
use std::sync::Arc;

pub struct World {
    pub cluster: Cluster,
    pub vault: Vault,
    pub store: FaultyStore,
    pub service: ServiceName,
    pub archive: WalArchive,
    pub scratch: tempfile::TempDir,
}

/// Small segments, so that there are many; all WAL kept, so that tests choose what is archived.
pub fn options() -> ClusterOptions {
    ClusterOptions::new().wal_segment_mib(1).set("wal_keep_size", "1GB").set("autovacuum", "off")
}

pub fn conninfo(cluster: &Cluster) -> Conninfo {
    Conninfo::parse(&cluster.conninfo(), &|_| None).unwrap()
}

impl World {
    pub async fn start(installation: &Installation, options: &ClusterOptions) -> Self {
        let cluster = Cluster::start(installation, options);
        let scratch = scratch_directory();
        let inner =
            address::open(&format!("file://{}", scratch.path().join("vault").display()), true, &|_| None);
        let store = FaultyStore::new(inner.unwrap(), FaultPlan::none());
        let copies = Copies::new(vec![VaultCopy::new("one", None, Arc::new(store.clone()))], 1);
        let vault = Vault::init(copies, Some("a long passphrase"), &[], Arc::new(SystemClock::new())).await;
        let (vault, service) = (vault.unwrap(), "ledger-db".parse().unwrap());
        let system: i64 =
            cluster.psql("SELECT system_identifier FROM pg_control_system()").trim().parse().unwrap();
        let segment_bytes =
            cluster.psql("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'").trim().parse();
        let known = wal::Cluster {
            system_id: SystemId(system as u64),
            major: installation.major,
            segment_bytes: segment_bytes.unwrap(),
        };
        let archive = WalArchive::establish(&vault, &service, known).await.unwrap();
        Self { cluster, vault, store, service, archive, scratch }
    }

    pub async fn backup(&self) -> RestorePoint {
        let options = BackupOptions {
            vault: self.vault.clone(),
            service: self.service.clone(),
            conninfo: conninfo(&self.cluster),
            data_directory: Some(self.cluster.data_directory().to_owned()),
            rate: None,
            level: backup::DEFAULT_LEVEL,
            workers: backup::DEFAULT_WORKERS,
            accept_new_cluster: false,
            progress: Arc::default(),
        };
        backup::run(&options).await.unwrap()
    }

    /// Puts the finished segments of the server into the vault, having finished the current one.
    pub async fn archive_all(&self) -> Vec<WalFileName> {
        self.archive_of(&self.cluster, |_| true).await
    }

    /// Puts those of `cluster`'s finished segments into the vault that are `wanted`.
    pub async fn archive_of(
        &self,
        cluster: &Cluster,
        wanted: impl Fn(&WalFileName) -> bool,
    ) -> Vec<WalFileName> {
        cluster.psql("SELECT pg_create_restore_point('the end of a segment')");
        cluster.psql("SELECT pg_switch_wal()");
        let position = position(cluster);
        let directory = cluster.data_directory().join("pg_wal");
        let mut names: Vec<String> = std::fs::read_dir(&directory)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .collect();
        names.sort();
        let mut put = Vec::new();
        for name in names {
            let read = || std::fs::read(directory.join(&name)).unwrap();
            match WalName::classify(&name, self.archive.segment_size()) {
                WalName::Segment(file) if file.range().end <= position && wanted(&file) => {
                    self.archive.put_segment(file, &read()).await.unwrap();
                    put.push(file);
                }
                WalName::History(timeline) => self.archive.put_history(timeline, &read()).await.unwrap(),
                _ => {}
            }
        }
        put
    }

    /// Puts the unfinished segment's beginning into the vault as a piece, up to what is flushed.
    pub async fn archive_piece(&self, timeline: Timeline) -> Lsn {
        let end: Lsn = self.cluster.psql("SELECT pg_current_wal_flush_lsn()").trim().parse().unwrap();
        let file = WalFileName::holding(timeline, end, self.archive.segment_size());
        let path = self.cluster.data_directory().join("pg_wal").join(file.to_string());
        let bytes = std::fs::read(path).unwrap();
        let start = file.range().start;
        let piece = &bytes[..end.bytes_since(start) as usize];
        self.archive.put_piece(timeline, start, piece).await.unwrap();
        end
    }
}

pub fn position(cluster: &Cluster) -> Lsn {
    cluster.psql("SELECT pg_current_wal_insert_lsn()").trim().parse().unwrap()
}
