//! Takes one finished file of `pg_wal` into the vault: what `archive_command` runs where replication
//! cannot be opened, and how a hole is filled from another archive.
//!
//! # Invariants
//! - **H1 idempotent.** The same file again is a success, whether it came whole, or in pieces by the stream.
//! - **H2 nothing is overwritten.** Other contents under the same name are refused.
//! - **H3 the file itself says whose it is.** A segment's first page names its cluster, place and size; a
//!   history belongs to the control file beside it.
//! - **H4 an old primary is not archived unnoticed.** What it wrote after the fork is refused, so that its
//!   own archiver reports failure.
//!
//! Partial segments (`.partial`) and backup labels (`.backup`) are accepted and not kept: up to the fork
//! the next timeline's first segment holds the same bytes, and Lifeboat's restore points carry their
//! labels themselves.

use lifeboat_base::{Lsn, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::wal::{WalPageError, WalPageHeader};
use lifeboat_pgformat::{
    ControlError, ControlFile, HistoryError, PG_CONTROL_PATH, SegmentSize, TimelineHistory, WalFileName,
    WalName,
};
use lifeboat_vault::wal::{self, Cluster, Fetched, WalArchive, WalError};
use lifeboat_vault::{Vault, WriteError};
use std::path::{Path, PathBuf};

/// The largest file that is read: the largest segment that PostgreSQL can have.
const FILE_LIMIT_BYTES: u64 = 1 << 30;
/// Timelines after a segment's own that are looked at for a fork (H4).
const LATER_TIMELINES_LIMIT: u32 = 1000;

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The vault has it now.
    Stored,
    /// The vault had it already.
    AlreadyThere,
    /// It is of a kind that the vault does not need.
    NotNeeded,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Too large to be WAL.
    #[error("{} has {bytes} bytes, more than any WAL segment", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Its name is none that `archive_command` gets.
    #[error("{} is not named as a file of pg_wal is; pass %p of archive_command", path.display())]
    NotWal {
        /// The file.
        path: PathBuf,
    },
    /// Its first page is not WAL.
    #[error("{} does not begin with a WAL page: it is damaged or not written yet", path.display())]
    Page {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: WalPageError,
    },
    /// It says that it is something else.
    #[error("{} is not what its name says: {what}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The difference.
        what: String,
    },
    /// No control file tells whose history it is.
    #[error(
        "whose timeline history {} is cannot be told: {} does not read. Push a WAL segment first, or push it from the server's own pg_wal", path.display(), control.display()
    )]
    NoControl {
        /// The file.
        path: PathBuf,
        /// Where its cluster's control file should be.
        control: PathBuf,
        /// What is wrong with it.
        source: ControlError,
    },
    /// A history that does not parse.
    #[error("{} does not read as a timeline history", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// Why.
        source: HistoryError,
    },
    /// Another cluster's.
    #[error(
        "{} belongs to cluster {found}, but the vault protects cluster {known} as {service}: nothing was stored. Correct archive_command, or give this cluster a service of its own",
        path.display()
    )]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// Its cluster.
        found: SystemId,
        /// What the vault knows.
        known: String,
        /// The service.
        service: ServiceName,
    },
    /// H2.
    #[error(
        "the vault has other contents for {name}: two servers write the same timeline, or a number was used again. Nothing was overwritten. Stop one of them; the one that goes on must be promoted to a new timeline"
    )]
    Differs {
        /// The name.
        name: String,
    },
    /// H4.
    #[error(
        "{name} begins at {start}, but timeline {newer} left timeline {timeline} at {left_at}: this server is an old primary that came back. Nothing was stored. Stop it, and make it a standby of the new primary"
    )]
    OldPrimary {
        /// The name.
        name: String,
        /// Where its segment begins.
        start: Lsn,
        /// Its timeline.
        timeline: Timeline,
        /// The one that goes on.
        newer: Timeline,
        /// Where it forked off.
        left_at: Lsn,
    },
    /// The vault.
    #[error("the vault did not take {name}")]
    Vault {
        /// The name.
        name: String,
        /// Why.
        source: WalError,
    },
}

impl PushError {
    /// Whether the same call may succeed later; else a person has to look.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Vault { .. })
    }
}

/// Takes the file at `path`, as `archive_command` names it with `%p`. Returns when it is durable.
///
/// # Errors
/// [`PushError`]; nothing was overwritten then.
pub async fn push(vault: &Vault, service: &ServiceName, path: &Path) -> Result<Pushed, PushError> {
    let not_wal = || PushError::NotWal { path: path.to_owned() };
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(not_wal)?;
    // Which kind it is does not hang on the size of segments; the place of a segment does.
    match WalName::classify(name, SegmentSize::DEFAULT) {
        WalName::History(timeline) => push_history(vault, service, path, name, timeline).await,
        _ if is_plain_segment(name) => push_segment(vault, service, path, name).await,
        WalName::Partial(_) | WalName::Backup { .. } => Ok(Pushed::NotNeeded),
        _ if name.split_once('.').is_some_and(|(stem, kind)| {
            is_plain_segment(stem) && (kind == "partial" || kind.ends_with(".backup"))
        }) =>
        {
            Ok(Pushed::NotNeeded)
        }
        _ => Err(not_wal()),
    }
}

fn is_plain_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
}

async fn push_segment(
    vault: &Vault,
    service: &ServiceName,
    path: &Path,
    name: &str,
) -> Result<Pushed, PushError> {
    let bytes = read(path).await?;
    let header = WalPageHeader::decode(&bytes);
    let header = header.map_err(|source| PushError::Page { path: path.to_owned(), source })?;
    let mismatch = |what: String| PushError::Mismatch { path: path.to_owned(), what };
    let identity = header.segment.ok_or_else(|| mismatch("it does not begin a segment".to_owned()))?;
    let size = identity.segment_size;
    let file = WalFileName::parse(name, size)
        .ok_or_else(|| mismatch(format!("no segment of {} bytes has this name", size.bytes())))?;
    if bytes.len() as u64 != size.bytes() {
        return Err(mismatch(format!("it has {} bytes of {}", bytes.len(), size.bytes())));
    }
    // A timeline's first segment begins with a copy of the one before.
    if header.lsn != file.range().start || header.timeline > file.timeline {
        let (lsn, timeline) = (header.lsn, header.timeline);
        return Err(mismatch(format!("its first page is of {lsn} on timeline {timeline}")));
    }
    let cluster = Cluster {
        system_id: identity.system_id,
        major: header.version.number(),
        segment_bytes: size.bytes() as u32,
    };
    let archive = archive(vault, service, path, name, cluster).await?;
    let failed = |source| PushError::Vault { name: name.to_owned(), source };
    refuse_old_primary(&archive, name, file).await?;
    let there = match archive.fetch(file.timeline, file.range().start).await {
        Ok(Fetched::Whole(there)) => there,
        Ok(Fetched::Beginning { bytes: mut there, end }) => {
            there.truncate(end.bytes_since(file.range().start) as usize);
            there
        }
        // Pieces behind a hole of the segment: the whole of it fills the hole.
        Ok(Fetched::Absent) | Err(WalError::Hole { .. }) => Vec::new(),
        Err(source) => return Err(failed(source)),
    };
    if !bytes.starts_with(&there) {
        return Err(PushError::Differs { name: name.to_owned() });
    }
    if there.len() == bytes.len() {
        return Ok(Pushed::AlreadyThere);
    }
    match archive.put_segment(file, &bytes).await {
        Ok(()) => Ok(Pushed::Stored),
        Err(WalError::Write { source: WriteError::Conflict { .. }, .. }) => {
            Err(PushError::Differs { name: name.to_owned() })
        }
        Err(source) => Err(failed(source)),
    }
}

/// H4: whether a later timeline of the vault left this segment's timeline before the segment began.
async fn refuse_old_primary(archive: &WalArchive, name: &str, file: WalFileName) -> Result<(), PushError> {
    let failed = |source| PushError::Vault { name: name.to_owned(), source };
    let start = file.range().start;
    for newer in (file.timeline.0..).skip(1).take(LATER_TIMELINES_LIMIT as usize).map(Timeline) {
        let Some(history) = archive.history_file(newer).await.map_err(failed)? else { return Ok(()) };
        let history = TimelineHistory::parse(newer, &history);
        let history = history.map_err(|source| failed(WalError::History { timeline: newer, source }))?;
        if let Some(range) = history.range_of(file.timeline)
            && range.end <= start
        {
            let (name, timeline) = (name.to_owned(), file.timeline);
            return Err(PushError::OldPrimary { name, start, timeline, newer, left_at: range.end });
        }
    }
    Ok(())
}

async fn push_history(
    vault: &Vault,
    service: &ServiceName,
    path: &Path,
    name: &str,
    timeline: Timeline,
) -> Result<Pushed, PushError> {
    let bytes = read(path).await?;
    TimelineHistory::parse(timeline, &bytes)
        .map_err(|source| PushError::History { path: path.to_owned(), source })?;
    let failed = |source| PushError::Vault { name: name.to_owned(), source };
    let cluster = match cluster_beside(path).await {
        Ok(cluster) => cluster,
        Err(error) => {
            // A copy elsewhere can only be of the service's one cluster.
            let mut known = wal::clusters(vault, service).await.map_err(failed)?;
            if known.len() != 1 {
                return Err(error);
            }
            known.remove(0)
        }
    };
    let archive = archive(vault, service, path, name, cluster).await?;
    if archive.history_file(timeline).await.map_err(failed)?.is_some_and(|there| there == bytes) {
        return Ok(Pushed::AlreadyThere);
    }
    match archive.put_history(timeline, &bytes).await {
        Ok(()) => Ok(Pushed::Stored),
        Err(WalError::HistoryConflict { .. }) => Err(PushError::Differs { name: name.to_owned() }),
        Err(source) => Err(failed(source)),
    }
}

/// The cluster in whose `pg_wal` the file lies, by its control file.
async fn cluster_beside(path: &Path) -> Result<Cluster, PushError> {
    // `%p` is relative to the data directory, where the server runs archive_command: `pg_wal/…`.
    let directory = path.parent().and_then(Path::parent).unwrap_or_else(|| Path::new(""));
    let control = directory.join(PG_CONTROL_PATH);
    let bytes = read(&control).await?;
    let parsed = ControlFile::parse(&bytes).map_err(|source| PushError::NoControl {
        path: path.to_owned(),
        control,
        source,
    })?;
    Ok(Cluster {
        system_id: parsed.system_id,
        major: parsed.version.number(),
        segment_bytes: parsed.wal_segment_size.bytes() as u32,
    })
}

/// The archive of the file's cluster; a service without one yet gets it.
async fn archive(
    vault: &Vault,
    service: &ServiceName,
    path: &Path,
    name: &str,
    cluster: Cluster,
) -> Result<WalArchive, PushError> {
    let failed = |source| PushError::Vault { name: name.to_owned(), source };
    wal::admit(vault, service, cluster, false).await.map_err(|error| match error {
        WalError::OtherCluster { service, found, known } => {
            PushError::OtherCluster { path: path.to_owned(), found, known, service }
        }
        error => failed(error),
    })
}

async fn read(path: &Path) -> Result<Vec<u8>, PushError> {
    let failed = |source| PushError::Read { path: path.to_owned(), source };
    let bytes = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if bytes > FILE_LIMIT_BYTES {
        return Err(PushError::TooLarge { path: path.to_owned(), bytes });
    }
    tokio::fs::read(path).await.map_err(failed)
}
