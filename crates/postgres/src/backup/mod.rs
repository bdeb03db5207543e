//! Takes a backup of a live server into a base layer and publishes it as a restore point.
//!
//! Two ways to read, one way to store: straight and in parallel from a local data directory
//! (`local`), or over the replication connection from any reachable server (`remote`).
//!
//! # Invariants
//! - **B1 the manifest comes last**, after the layer and after all WAL from start to stop is durable in the
//!   vault: a killed backup is garbage, never a lie.
//! - **B2 its own WAL.** A temporary slot keeps the WAL from before the start, so that a backup never
//!   depends on a stream that may not be running.
//! - **B3 damage is reported.** A page that fails its checksum, was not torn by us and does not mend when
//!   read again is named by file and block.
//! - **B4 bounded memory.** Each worker holds one pack; one waits, and two are on their way to the vault.
//! - **B5 looked at again.** Before the manifest is written the vault is listed: what it acknowledged and
//!   lost, or cut short, is found now and not on the bad day.
//!
//! Deliberately absent: who may take a backup now (leases), and when (schedules).

mod damage;
pub(crate) mod filler;
#[doc(hidden)]
pub mod fuzz;
pub(crate) mod local;
pub(crate) mod pages;
mod rate;
mod remote;
mod wal;

use crate::client::{Advice, ClientError, Connection, Conninfo, Purpose, SlotOptions};
use crate::lineage::{self, LineageError};
use crate::restore::{MARKER_FILE, TABLESPACES_DIRECTORY};
use crate::server::{OUR_FILES, SOCKET_PREFIX};
use damage::Findings;
use lifeboat_base::{Lsn, ServiceName, SystemId, error_chain};
use lifeboat_pgformat::{BackupLabel, LabelError, parse_tablespace_map};
use lifeboat_vault::layer::{FileEntry, LayerReader, LayerWriter};
use lifeboat_vault::point::{PointError, RestorePoint, Tablespace, new_id, publish, read};
use lifeboat_vault::wal::{self as vault_wal, Cluster, WalError};
use lifeboat_vault::{Vault, WriteError, names, refusals};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// zstd's level for layers: the balance that the field has settled on.
pub const DEFAULT_LEVEL: i32 = 3;
/// Threads that read, compress and seal.
pub const DEFAULT_WORKERS: usize = 2;
/// Times that the vault is looked at before what it does not show counts as lost.
const LOOKS: usize = 3;
/// Between them.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// What to back up, and how.
#[derive(Debug)]
pub struct BackupOptions {
    /// The vault.
    pub vault: Vault,
    /// The service.
    pub service: ServiceName,
    /// How to reach the server.
    pub conninfo: Conninfo,
    /// Its data directory, if it is on this machine and may be read.
    pub data_directory: Option<PathBuf>,
    /// Most bytes to read in a second.
    pub rate: Option<u64>,
    /// zstd's level.
    pub level: i32,
    /// Threads.
    pub workers: usize,
    /// Whether a cluster other than the service's so far is taken on, as after an upgrade.
    pub accept_new_cluster: bool,
    /// Where it tells how far it is.
    pub progress: Arc<BackupProgress>,
}

/// How far a backup is. Shared with whoever shows it, and whoever may stop it.
#[derive(Debug, Default)]
pub struct BackupProgress {
    /// Raw bytes read.
    pub done_bytes: AtomicU64,
    /// Raw bytes to read, as far as known; zero before that.
    pub total_bytes: AtomicU64,
    /// Set to stop the backup at the next frame.
    pub cancelled: AtomicBool,
}

impl BackupProgress {
    fn add(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Why there is no new restore point.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The server.
    #[error("the server did not carry the backup through")]
    Server(#[source] ClientError),
    /// The vault.
    #[error("the vault did not take the backup")]
    Vault(#[source] WriteError),
    /// The WAL that the backup needs.
    #[error("the WAL that the backup needs is not in the vault")]
    Wal(#[source] WalError),
    /// A file of the data directory.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The data directory is another cluster's.
    #[error(
        "{} holds cluster {found}, but the server at the other end is cluster {expected}: correct dataDirectory in the plan, or leave it out to back up over the connection",
        path.display()
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Its cluster.
        found: SystemId,
        /// The server's.
        expected: SystemId,
    },
    /// The connection leads to another cluster.
    #[error(
        "nothing was backed up: if the connection is wrong, correct it; if the service was made anew or upgraded, accept the new cluster explicitly"
    )]
    Foreign(#[source] WalError),
    /// The server is not the one that the vault goes on with.
    #[error("nothing was backed up: this is not the server that the vault protects")]
    Lineage(#[source] LineageError),
    /// Something that the server said makes no sense here.
    #[error("the server said what Lifeboat does not understand: {0}")]
    Unexpected(String),
    /// The label does not read.
    #[error("the server's backup label does not read")]
    Label(#[source] LabelError),
    /// A version or build that Lifeboat does not read.
    #[error("{0}")]
    Unsupported(String),
    /// The vault lost what it had acknowledged.
    #[error(
        "the vault acknowledged the backup, but does not hold all of it when looked at again: {0}; no restore point was made. Look at the store before the next backup"
    )]
    NotKept(String),
    /// `pg_control` was written while the server sent it.
    #[error(
        "global/pg_control came torn over the connection, which PostgreSQL mends by itself; take the backup again"
    )]
    TornControl,
    /// Somebody stopped it.
    #[error(
        "the backup was stopped; what it had written is no restore point, and `lifeboat backup prune` removes it, a day from now at the earliest"
    )]
    Cancelled,
}

impl BackupError {
    /// What the caller should do.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Self::Server(error) => error.advice(),
            Self::Vault(_) | Self::Wal(_) | Self::NotKept(_) | Self::TornControl => Advice::Retry,
            Self::Lineage(LineageError::Server(error)) => error.advice(),
            Self::Lineage(LineageError::Vault(_)) => Advice::Retry,
            Self::Lineage(_) | Self::OtherCluster { .. } | Self::Foreign(_) | Self::File { .. } => {
                Advice::FixConfiguration
            }
            Self::Unexpected(_) | Self::Label(_) | Self::Unsupported(_) | Self::Cancelled => Advice::GiveUp,
        }
    }
}

/// What the server is, asked before anything else.
struct Server {
    cluster: Cluster,
    checksums: bool,
    database_bytes: u64,
}

/// What reading yields, whichever way.
struct Taken {
    files: Vec<FileEntry>,
    findings: Findings,
    label: Vec<u8>,
    tablespace_map: Vec<u8>,
    stop: Lsn,
}

/// Takes a backup.
///
/// # Errors
/// [`BackupError`]; whatever it had written by then is garbage that no manifest names (B1).
pub async fn run(options: &BackupOptions) -> Result<RestorePoint, BackupError> {
    let clock = options.vault.clock().clone();
    let started = clock.now();
    let mut sql = connect(options, Purpose::Sql).await?;
    let server = ask(&mut sql).await?;
    // What is looked up here is what was just written: a copy that is away does not hide it.
    let seen = options.vault.as_seen();
    let (cluster, accept_new) = (server.cluster.clone(), options.accept_new_cluster);
    let archive = vault_wal::admit(&seen, &options.service, cluster, accept_new).await;
    let archive = archive.map_err(|error| match error {
        error @ WalError::OtherCluster { .. } => BackupError::Foreign(error),
        error => BackupError::Wal(error),
    })?;

    // B2: from here on the server keeps what we need.
    let mut keeper = connect(options, Purpose::Replication).await?;
    lineage::check(&mut keeper, &archive).await.map_err(BackupError::Lineage)?;
    let slot = format!("lifeboat_backup_{}", lifeboat_base::RandomId::new(clock.as_ref()).short());
    let temporary = SlotOptions { temporary: true, reserve_wal: true };
    keeper.create_physical_slot(&slot, temporary).await.map_err(BackupError::Server)?;

    options.progress.total_bytes.store(server.database_bytes, Ordering::Relaxed);
    let writer = LayerWriter::new(&options.vault, &options.service, new_id(clock.as_ref()), options.level);
    let writer = Arc::new(writer);
    let label = format!("lifeboat {}", writer.id());
    let taken = match &options.data_directory {
        Some(directory) => local::take(options, &mut sql, &server, &writer, directory, &label).await?,
        None => remote::take(options, &server, &writer, &label).await?,
    };
    let parsed = BackupLabel::parse(&taken.label).map_err(BackupError::Label)?;
    let (first, start, stop) = (parsed.start_timeline, parsed.start_lsn, taken.stop);
    let damaged_pages = damage::settle(taken.findings, start, stop, options, &mut sql).await;
    let span = (start, stop);
    let timeline = wal::ensure(&archive, keeper, &slot, first, span, parsed.from_standby, &clock).await?;

    let tablespaces = tablespaces(&taken.tablespace_map)?;
    let size_bytes = taken.files.iter().map(|file| file.length).sum();
    let files = taken.files.len() as u64;
    let id = writer.id().to_owned();
    let writer = Arc::try_unwrap(writer).expect("the workers have ended");
    let stored_bytes = writer.finish(taken.files).await.map_err(BackupError::Vault)?;
    look_again(&options.vault, &options.service, &id, stored_bytes).await?;
    let point = RestorePoint {
        id: id.clone(),
        service: options.service.clone(),
        system_id: server.cluster.system_id,
        major: server.cluster.major,
        segment_bytes: server.cluster.segment_bytes,
        layers: vec![id],
        advanced_from: None,
        timeline,
        start,
        stop,
        started,
        finished: clock.now(),
        from_standby: parsed.from_standby,
        checksums: server.checksums,
        backup_label: text(taken.label)?,
        tablespace_map: text(taken.tablespace_map)?,
        tablespaces,
        damaged_pages,
        size_bytes,
        stored_bytes,
        files,
    };
    announce(&options.vault, &point).await?;
    Ok(point)
}

/// Publishes the point, and reads it back. An answer that got lost is no failure; a manifest that does not
/// read is taken away again, for it would hide all others.
pub(crate) async fn announce(vault: &Vault, point: &RestorePoint) -> Result<(), BackupError> {
    let published = publish(vault, point).await;
    let mut last = None;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        match read(vault, &point.service, &point.id).await {
            Ok(found) if found == *point => return Ok(()),
            Ok(_) => break,
            Err(error @ PointError::Unknown { .. }) => {
                last = Some(error);
                break;
            }
            Err(error) => last = Some(error),
        }
    }
    let name = names::point(&point.service, &point.id);
    match published {
        Err(error) => Err(BackupError::Vault(error)),
        Ok(_) => {
            let why = last.map_or_else(|| "it reads otherwise".to_owned(), |error| error_chain(&error));
            vault.copies().delete(vec![name.clone()]).await;
            Err(BackupError::NotKept(format!("{name}: {why}")))
        }
    }
}

/// B5 for the layer; for WAL, `wal::ensure` does it.
pub(crate) async fn look_again(
    vault: &Vault,
    service: &ServiceName,
    layer: &str,
    stored_bytes: u64,
) -> Result<(), BackupError> {
    let copies = vault.copies().as_seen();
    let prefix = names::layer(service, layer);
    let listing = copies.list(&prefix).await;
    if !listing.is_complete {
        let silent = refusals(&listing.failures);
        return Err(BackupError::NotKept(format!("{prefix} cannot be listed ({silent})")));
    }
    // A copy that does not answer now took the writes before, or they would not have counted.
    let enough = copies.durable().saturating_sub(listing.failures.len());
    let is_short = |holders: &[usize]| copies.counted(holders) < enough;
    if let Some((name, _)) = listing.objects.iter().find(|(_, listed)| is_short(&listed.copies)) {
        return Err(BackupError::NotKept(format!("{name} is in too few copies")));
    }
    let there: u64 = listing.objects.values().map(|listed| listed.size).sum();
    if there != stored_bytes {
        return Err(BackupError::NotKept(format!(
            "of {stored_bytes} bytes below {prefix}, {there} are there"
        )));
    }
    // Small, and without it nothing of the layer is found.
    let index = LayerReader::open(vault, service, layer).await;
    index.map(drop).map_err(|error| BackupError::NotKept(error_chain(&error)))
}

async fn connect(options: &BackupOptions, purpose: Purpose) -> Result<Connection, BackupError> {
    Connection::connect(&options.conninfo, purpose).await.map_err(BackupError::Server)
}

async fn ask(sql: &mut Connection) -> Result<Server, BackupError> {
    let question = "SELECT s.system_identifier, \
         current_setting('server_version_num')::int / 10000 AS major, \
         current_setting('block_size') AS block_size, \
         current_setting('data_checksums') AS checksums, \
         (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size') AS segment_bytes \
         FROM pg_control_system() s";
    let row = sql.query_one(question).await.map_err(BackupError::Server)?;
    let unexpected = |error: crate::client::RowError| BackupError::Unexpected(error.to_string());
    let block_size: u32 = row.parse("block_size").map_err(unexpected)?;
    if block_size != 8192 {
        return Err(BackupError::Unsupported(format!(
            "the server was built with pages of {block_size} bytes; Lifeboat protects servers with 8192, as every package has"
        )));
    }
    // For the progress alone, and not for every role to ask (pg_monitor may).
    let size = "SELECT coalesce(sum(pg_tablespace_size(oid)), 0)::bigint AS bytes FROM pg_tablespace";
    let size = sql.query_one(size).await.ok().and_then(|row| row.parse("bytes").ok());
    Ok(Server {
        cluster: Cluster {
            // SQL has no unsigned integers: it prints the upper half of the identifiers as negative.
            system_id: SystemId(row.parse::<i64>("system_identifier").map_err(unexpected)? as u64),
            major: row.parse("major").map_err(unexpected)?,
            segment_bytes: row.parse("segment_bytes").map_err(unexpected)?,
        },
        checksums: row.text("checksums").map_err(unexpected)? == "on",
        database_bytes: size.unwrap_or(0),
    })
}

fn text(bytes: Vec<u8>) -> Result<String, BackupError> {
    String::from_utf8(bytes).map_err(|_| {
        BackupError::Unsupported("a tablespace's path is not UTF-8; move it to one that is".to_owned())
    })
}

fn tablespaces(map: &[u8]) -> Result<Vec<Tablespace>, BackupError> {
    let entries = parse_tablespace_map(map).map_err(|error| BackupError::Unexpected(error.to_string()))?;
    let tablespace = |entry: lifeboat_pgformat::TablespaceMapEntry| {
        Ok(Tablespace { oid: entry.tablespace.0, location: text(entry.location)? })
    };
    entries.into_iter().map(tablespace).collect()
}

/// Whether a path is what a restore left in the data directory: its marker and its configuration, which the
/// next restore writes anew, and the tablespaces, which are taken by the links that lead to them. The lock file of
/// the server's socket, which lies there too, would keep what is restored from starting while that server lives.
fn is_our_own(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    let is_ours = path == MARKER_FILE || OUR_FILES.contains(&path) || path.starts_with(SOCKET_PREFIX);
    first == TABLESPACES_DIRECTORY || (first == path && is_ours)
}
