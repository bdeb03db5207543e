//! What tests of backup and restore share: a vault whose copies fail on command, and a way to see what a
//! restore point is worth.

use lifeboat_base::{Lsn, ServiceName, SystemClock, Timeline};
use lifeboat_postgres::backup::{self, BackupError, BackupOptions};
use lifeboat_postgres::client::Conninfo;
use lifeboat_postgres::restore::{self, Recovery, RestoreError, RestoreOptions, Stop};
use lifeboat_postgres::{server, target};
use lifeboat_testkit::faulty::{FaultPlan, FaultyStore};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation, scratch_directory};
use lifeboat_vault::keys::Unlock;
use lifeboat_vault::point::{self, RestorePoint};
use lifeboat_vault::wal::{Fetched, WalArchive, clusters};
use lifeboat_vault::{Copies, Vault, VaultCopy, address};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Threads: each fills a pack of its own, so that a small cluster has several.
pub const WORKERS: usize = 4;

/// A vault of copies that fail on command, and room for restores.
pub struct Bench {
    pub vault: Vault,
    pub stores: Vec<FaultyStore>,
    pub service: ServiceName,
    pub scratch: tempfile::TempDir,
}

impl Bench {
    /// A vault of so many copies, all of which must have a write.
    pub async fn new(copies: usize) -> Self {
        let scratch = scratch_directory();
        let store = |number: usize| {
            let place = format!("file://{}", scratch.path().join(format!("copy{number}")).display());
            FaultyStore::new(address::open(&place, true, &|_| None).unwrap(), FaultPlan::none())
        };
        let stores: Vec<_> = (0..copies).map(store).collect();
        let vault_copies = stores
            .iter()
            .enumerate()
            .map(|(number, store)| VaultCopy::new(format!("copy{number}"), None, Arc::new(store.clone())));
        let vault_copies = Copies::new(vault_copies.collect(), copies);
        let clock = Arc::new(SystemClock::new());
        let vault = Vault::init(vault_copies, Some("a long passphrase"), &[], clock).await.unwrap();
        Self { vault, stores, service: "db".parse().unwrap(), scratch }
    }

    /// The vault of another process's bench, of one copy, which stays that process's own.
    pub async fn reopen(place: &Path) -> Self {
        // Below the other's, which removes it: this process is going to be killed.
        let scratch = tempfile::tempdir_in(place).unwrap();
        let store = address::open(&format!("file://{}", place.join("copy0").display()), false, &|_| None);
        let store = FaultyStore::new(store.unwrap(), FaultPlan::none());
        let copies = Copies::new(vec![VaultCopy::new("copy0", None, Arc::new(store.clone()))], 1);
        let unlock = Unlock::Passphrase("a long passphrase".to_owned().into());
        let vault = Vault::open(copies, &unlock, Arc::new(SystemClock::new())).await.unwrap();
        Self { vault, stores: vec![store], service: "db".parse().unwrap(), scratch }
    }

    /// How to back `cluster` up, from its files or over the connection.
    pub fn backup_options(&self, cluster: &Cluster, local: bool) -> BackupOptions {
        let conninfo = Conninfo::parse(&cluster.conninfo(), &|_| None).unwrap();
        self.options(conninfo, local.then(|| cluster.data_directory().to_owned()))
    }

    /// How to back up a server that is reached in this way.
    pub fn options(&self, conninfo: Conninfo, data_directory: Option<PathBuf>) -> BackupOptions {
        BackupOptions {
            vault: self.vault.clone(),
            service: self.service.clone(),
            conninfo,
            data_directory,
            rate: None,
            level: 1,
            workers: WORKERS,
            accept_new_cluster: false,
            progress: Arc::default(),
        }
    }

    pub async fn backup(&self, cluster: &Cluster, local: bool) -> Result<RestorePoint, BackupError> {
        backup::run(&self.backup_options(cluster, local)).await
    }

    /// What the vault calls restorable.
    pub async fn points(&self) -> BTreeSet<String> {
        let points = point::list(&self.vault, &self.service).await.unwrap();
        points.into_iter().map(|point| point.id).collect()
    }

    pub async fn point(&self, id: &str) -> RestorePoint {
        point::read(&self.vault, &self.service, id).await.unwrap()
    }

    /// How to restore `point` into `into`, a name below the scratch directory.
    pub fn restore_options(&self, point: &RestorePoint, into: &str) -> RestoreOptions {
        self.restore_options_at(point, self.scratch.path(), into)
    }

    /// The same, below another directory.
    pub fn restore_options_at(&self, point: &RestorePoint, place: &Path, into: &str) -> RestoreOptions {
        let recovery = Recovery {
            restore_command: format!("cp \"{}/%f\" \"%p\"", place.join("wal").display()),
            timeline: point.timeline,
            stop: Stop { lsn: point.stop, inclusive: false },
        };
        RestoreOptions {
            vault: self.vault.clone(),
            point: point.clone(),
            recovery,
            into: place.join(into),
            tablespaces: BTreeMap::new(),
            owner: server::server_account().unwrap().map(server::Account::pair),
            delta: false,
            workers: 2,
            progress: Arc::default(),
        }
    }

    pub async fn restore(&self, point: &RestorePoint, into: &str) -> Result<PathBuf, RestoreError> {
        let options = self.restore_options(point, into);
        restored(&options).await?;
        Ok(options.into)
    }

    fn wal_directory(&self) -> PathBuf {
        self.scratch.path().join("wal")
    }

    /// Puts the WAL that the vault holds where the `restore_command` finds it.
    async fn lay_out_wal(&self, point: &RestorePoint) {
        let directory = self.wal_directory();
        std::fs::create_dir_all(&directory).unwrap();
        let cluster = clusters(&self.vault, &self.service).await.unwrap();
        let cluster = cluster.into_iter().find(|cluster| cluster.system_id == point.system_id).unwrap();
        let archive = WalArchive::of(&self.vault, &self.service, cluster).unwrap();
        for timeline in archive.timelines().await.unwrap() {
            if let Some(history) = archive.history_file(timeline).await.unwrap() {
                std::fs::write(directory.join(format!("{:08X}.history", timeline.0)), history).unwrap();
            }
            for stretch in archive.coverage(timeline).await.unwrap().stretches {
                let bytes = u64::from(point.segment_bytes);
                let mut at = stretch.start.segment_start(bytes);
                while at < stretch.end {
                    let segment = match archive.fetch(timeline, at).await.unwrap() {
                        Fetched::Whole(bytes) | Fetched::Beginning { bytes, .. } => bytes,
                        Fetched::Absent => panic!("the vault holds {stretch} but not {at}"),
                    };
                    std::fs::write(directory.join(segment_name(timeline, at, bytes)), segment).unwrap();
                    at = at.advance(bytes);
                }
            }
        }
    }

    /// Restores a point with nothing but what the vault holds and starts it: the server, at its consistency.
    pub async fn revive(&self, installation: &Installation, point: &RestorePoint, into: &str) -> Cluster {
        self.lay_out_wal(point).await;
        let end = target::own_end(&self.vault, point).await.unwrap();
        let mut options = self.restore_options(point, into);
        options.recovery = end.recovery(options.recovery.restore_command);
        restored(&options).await.unwrap();
        let directory = options.into;
        let auto = directory.join("postgresql.auto.conf");
        let text = std::fs::read_to_string(&auto).unwrap();
        std::fs::write(&auto, text + "recovery_target_action = 'promote'\n").unwrap();
        let options = ClusterOptions::new().set("archive_mode", "off");
        let revived = Cluster::open(installation, &directory, &options);
        // It answers read-only a moment before it is promoted.
        while revived.psql("SELECT pg_is_in_recovery()") == "t" {
            std::thread::yield_now();
        }
        revived
    }
}

fn segment_name(timeline: Timeline, at: Lsn, segment_bytes: u64) -> String {
    let number = at.0 / segment_bytes;
    let per_id = (1 << 32) / segment_bytes;
    format!("{:08X}{:08X}{:08X}", timeline.0, number / per_id, number % per_id)
}

/// Plans a restore and carries it out.
pub async fn restored(options: &RestoreOptions) -> Result<(), RestoreError> {
    let plan = restore::plan(options).await?;
    restore::apply(options, plan).await
}

/// What an error says, and all that caused it.
pub fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether PostgreSQL would start there.
pub fn is_startable(directory: &Path) -> bool {
    directory.join("global/pg_control").exists()
}

/// Every file below a directory and what is in it, but those that are Lifeboat's own.
pub fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                todo.push(path);
            } else if !name.starts_with("lifeboat") {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Compares two trees without printing megabytes.
#[track_caller]
pub fn assert_same_tree(found: &Path, wanted: &Path) {
    assert_tree(found, &tree(wanted));
}

/// Compares a tree with one that was read before.
#[track_caller]
pub fn assert_tree(found: &Path, wanted: &BTreeMap<String, Vec<u8>>) {
    let found = tree(found);
    let names = |tree: &BTreeMap<String, Vec<u8>>| tree.keys().cloned().collect::<BTreeSet<_>>();
    let (here, there) = (names(&found), names(wanted));
    let odd: Vec<_> = here.symmetric_difference(&there).collect();
    assert!(odd.is_empty(), "only in one of both: {odd:?}");
    let differing: Vec<_> = found.iter().filter(|(name, bytes)| wanted[*name] != **bytes).collect();
    let differing: Vec<_> = differing.into_iter().map(|(name, _)| name).collect();
    assert!(differing.is_empty(), "contents differ: {differing:?}");
}
