//! Brings the WAL files that a recovering PostgreSQL asks for: what `restore_command` runs.
//!
//! PostgreSQL takes every exit status from 1 to 125 for "there is no such file", ends recovery there and
//! may promote. A vault that does not answer must never look like that.
//!
//! # Invariants
//! - **X1 absence is proven.** [`Delivery::ProvenAbsent`] is said only when the copies that must answer did,
//!   twice (pieces are joined while we look), and no later WAL of that timeline is there: that is a hole. So is a
//!   segment of which only the beginning is there, before later ones.
//! - **X2 whole or not at all.** A file appears under its name by a rename, with all its bytes.
//! - **X3 what it says it is.** A segment's first page names the cluster and the place that were asked for.
//! - **X4 no guessing at the end.** Where the vault ends inside a segment, zeros follow, at which PostgreSQL
//!   stops; a restore of Lifeboat's gives a target, so that stopping early is an error there (`target`).
//! - **X5 production's places stay its own.** What a restored server replays names no directory of production's
//!   as a tablespace ([`Fetcher::isolated`]).
//!
//! Deliberately absent: which moment to recover to (`target`), and starting the helper (`cli`).

mod ahead;
mod client;
mod helper;
mod isolate;
pub(crate) mod wire;

use lifeboat_base::{Lsn, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::wal::{WalPageError, WalPageHeader};
use lifeboat_pgformat::{ControlError, ControlFile, HistoryError, PG_CONTROL_PATH};
use lifeboat_pgformat::{TimelineHistory, WalFileName, WalName};
use lifeboat_vault::wal::{self, Fetched, WalArchive, WalError};
use lifeboat_vault::{ReadError, Vault};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use client::{NoHelper, end_helper, is_served, request};
pub use helper::{HelperEnd, HelperError, HelperOptions, serve_helper};

/// What the helper and its clients say to each other, for fuzzing: bytes in, nothing out, no panic.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    wire::fuzz(bytes);
}

/// How long a vault that does not answer is asked again: PostgreSQL ends its recovery on a failure.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What a file is called until it is whole.
const UNFINISHED: &str = ".lifeboat";

/// What became of a request for a file.
#[derive(Debug)]
pub enum Delivery {
    /// It is in its place.
    Delivered,
    /// The vault proves that it has none of it.
    ProvenAbsent,
    /// Neither is known.
    Failed(FetchError),
}

impl Delivery {
    /// What `restore_command` has to exit with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Delivered => 0,
            Self::ProvenAbsent => 1,
            Self::Failed(_) => 255,
        }
    }
}

/// Why a file was not brought.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No file of `pg_wal` is called so.
    #[error("`{0}` is not the name of a WAL file; pass %f of restore_command")]
    NotWal(String),
    /// The vault.
    #[error("{name} could not be fetched: recovery ends here rather than take it for the end of WAL")]
    Vault {
        /// The file.
        name: String,
        /// Why.
        source: WalError,
    },
    /// There is later WAL (X1).
    #[error(
        "{name} is not in the vault, but later WAL of timeline {timeline} is, up to {end}: a hole. `lifeboat status` names it; recover to a moment before it, or from a restore point after it"
    )]
    Hole {
        /// The file.
        name: String,
        /// Its timeline.
        timeline: Timeline,
        /// Where the vault's WAL ends.
        end: Lsn,
    },
    /// Its first page does not read.
    #[error("{name} in the vault does not begin with a WAL page")]
    Page {
        /// The file.
        name: String,
        /// What is wrong.
        source: WalPageError,
    },
    /// Its first page is another's (X3).
    #[error("{name} in the vault holds something else: {what}; it was not delivered")]
    Mismatch {
        /// The file.
        name: String,
        /// The difference.
        what: String,
    },
    /// A history that does not read.
    #[error("{name} in the vault does not read as a timeline history")]
    History {
        /// The file.
        name: String,
        /// Why.
        source: HistoryError,
    },
    /// The place that it was to go to.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The helper said so.
    #[error("{0}")]
    Helper(String),
}

/// Which of a service's clusters a data directory is.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The vault.
    #[error("the vault does not tell which clusters {service} has been")]
    Vault {
        /// The service.
        service: ServiceName,
        /// Why.
        source: WalError,
    },
    /// None, or not this one.
    #[error("the vault holds no WAL of {service}{}", wanted.map(|id| format!(" as cluster {id}")).unwrap_or_default())]
    Unknown {
        /// The service.
        service: ServiceName,
        /// The cluster asked for.
        wanted: Option<SystemId>,
    },
    /// Several.
    #[error(
        "{service} has been several clusters ({}): say which by its system identifier",
        have.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Several {
        /// The service.
        service: ServiceName,
        /// Them.
        have: Vec<SystemId>,
    },
    /// The directory does not tell.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its control file is damaged.
    #[error("{} does not read", path.display())]
    Control {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ControlError,
    },
}

/// The archive of a service's cluster; `system` may be left out where there has been only one.
///
/// # Errors
/// [`ArchiveError`].
pub async fn archive(
    vault: &Vault,
    service: &ServiceName,
    system: Option<SystemId>,
) -> Result<WalArchive, ArchiveError> {
    let failed = |source| ArchiveError::Vault { service: service.clone(), source };
    let mut known = wal::clusters(vault, service).await.map_err(failed)?;
    known.retain(|cluster| system.is_none_or(|wanted| wanted == cluster.system_id));
    match known.len() {
        1 => WalArchive::of(vault, service, known.remove(0)).map_err(failed),
        0 => Err(ArchiveError::Unknown { service: service.clone(), wanted: system }),
        _ => {
            let have = known.iter().map(|cluster| cluster.system_id).collect();
            Err(ArchiveError::Several { service: service.clone(), have })
        }
    }
}

/// Which cluster a data directory is; `restore_command` runs inside of one.
///
/// # Errors
/// [`ArchiveError::Read`], [`ArchiveError::Control`].
pub fn cluster_in(data_directory: &Path) -> Result<SystemId, ArchiveError> {
    let path = data_directory.join(PG_CONTROL_PATH);
    let bytes = std::fs::read(&path);
    let bytes = bytes.map_err(|source| ArchiveError::Read { path: path.clone(), source })?;
    let control = ControlFile::parse(&bytes);
    control.map(|control| control.system_id).map_err(|source| ArchiveError::Control { path, source })
}

/// What the vault has for a name.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) bytes: Vec<u8>,
    /// It will be the same for ever.
    pub(crate) is_final: bool,
}

/// Fetches files of one cluster's archive, with patience.
#[derive(Debug, Clone)]
pub struct Fetcher {
    archive: WalArchive,
    patience: Duration,
    is_isolated: bool,
}

impl Fetcher {
    /// From `archive`, asking a vault that does not answer for as long as `patience`.
    #[must_use]
    pub fn new(archive: WalArchive, patience: Duration) -> Self {
        Self { archive, patience, is_isolated: false }
    }

    /// For a server that a restore made (X5): new tablespaces are directories of its own.
    #[must_use]
    pub fn isolated(self, is_isolated: bool) -> Self {
        Self { is_isolated, ..self }
    }

    /// Brings the file that PostgreSQL calls `name` (`%f`) to `to` (`%p`).
    pub async fn deliver(&self, name: &str, to: &Path) -> Delivery {
        match self.file(name).await {
            Ok(None) => Delivery::ProvenAbsent,
            Ok(Some(found)) => match place(to, &found.bytes) {
                Ok(()) => Delivery::Delivered,
                Err(source) => Delivery::Failed(FetchError::Write { path: to.to_owned(), source }),
            },
            Err(error) => Delivery::Failed(error),
        }
    }

    pub(crate) fn archive(&self) -> &WalArchive {
        &self.archive
    }

    /// The file's bytes; `None` is proven (X1).
    pub(crate) async fn file(&self, name: &str) -> Result<Option<Found>, FetchError> {
        let mut pause = FIRST_PAUSE;
        let mut waited = Duration::ZERO;
        loop {
            let outcome = self.look(name).await;
            let may_pass = matches!(&outcome, Err(FetchError::Vault { source, .. }) if may_pass(source));
            if !may_pass || waited >= self.patience {
                return outcome;
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn look(&self, name: &str) -> Result<Option<Found>, FetchError> {
        match WalName::classify(name, self.archive.segment_size()) {
            WalName::Segment(file) => self.segment(name, file).await,
            WalName::History(timeline) => self.history(name, timeline).await,
            // The vault keeps neither: see `push`.
            WalName::Partial(_) | WalName::Backup { .. } => Ok(None),
            WalName::Other => Err(FetchError::NotWal(name.to_owned())),
        }
    }

    async fn segment(&self, name: &str, file: WalFileName) -> Result<Option<Found>, FetchError> {
        let failed = |source| FetchError::Vault { name: name.to_owned(), source };
        let start = file.range().start;
        let (bytes, is_final) = match settled(&self.archive, file.timeline, start).await.map_err(failed)? {
            Fetched::Whole(bytes) => (bytes, true),
            Fetched::Beginning { bytes, .. } => {
                // X4: where Lifeboat restores, a target is given. Who gave none would end here, and never know.
                if !self.is_isolated {
                    self.refuse_hole(name, file).await?;
                }
                (bytes, false)
            }
            Fetched::Absent => {
                self.refuse_hole(name, file).await?;
                return Ok(None);
            }
        };
        self.must_be(name, file, &bytes)?;
        let bytes = if self.is_isolated {
            isolate::isolate(&self.archive, file, bytes).await.map_err(failed)?
        } else {
            bytes
        };
        Ok(Some(Found { bytes, is_final }))
    }

    /// X1: a segment that is missing, or ends, before others of its timeline is no end.
    async fn refuse_hole(&self, name: &str, file: WalFileName) -> Result<(), FetchError> {
        let failed = |source| FetchError::Vault { name: name.to_owned(), source };
        let timeline = file.timeline;
        let coverage = self.archive.held(timeline).await.map_err(failed)?;
        let end = file.range().end;
        let Some(last) = coverage.end().filter(|last| *last >= end) else { return Ok(()) };
        // Up to its own beginning a timeline's WAL is its parent's, which PostgreSQL asks for next.
        let history = self.archive.history(timeline).await.map_err(failed)?;
        if history.begins_at().is_some_and(|begin| begin >= end) {
            return Ok(());
        }
        Err(FetchError::Hole { name: name.to_owned(), timeline, end: last })
    }

    /// X3.
    fn must_be(&self, name: &str, file: WalFileName, bytes: &[u8]) -> Result<(), FetchError> {
        let mismatch = |what: String| FetchError::Mismatch { name: name.to_owned(), what };
        let header = WalPageHeader::decode(bytes);
        let header = header.map_err(|source| FetchError::Page { name: name.to_owned(), source })?;
        let system = self.archive.cluster().system_id;
        let identity = header.segment.filter(|identity| identity.segment_size == file.size);
        let identity = identity.ok_or_else(|| mismatch("its size is another".to_owned()))?;
        if identity.system_id != system {
            return Err(mismatch(format!("it is of cluster {}, not {system}", identity.system_id)));
        }
        // A timeline's first segment begins with a copy of the one before.
        if header.lsn != file.range().start || header.timeline > file.timeline {
            let (lsn, timeline) = (header.lsn, header.timeline);
            return Err(mismatch(format!("it begins at {lsn} on timeline {timeline}")));
        }
        if bytes.len() as u64 != file.size.bytes() {
            return Err(mismatch(format!("it has {} bytes", bytes.len())));
        }
        Ok(())
    }

    async fn history(&self, name: &str, timeline: Timeline) -> Result<Option<Found>, FetchError> {
        let failed = |source| FetchError::Vault { name: name.to_owned(), source };
        let Some(bytes) = self.archive.history_file(timeline).await.map_err(failed)? else { return Ok(None) };
        TimelineHistory::parse(timeline, &bytes)
            .map_err(|source| FetchError::History { name: name.to_owned(), source })?;
        Ok(Some(Found { bytes, is_final: true }))
    }
}

/// Whether asking again may help.
fn may_pass(error: &WalError) -> bool {
    matches!(error, WalError::Silent(_) | WalError::Read { .. })
}

/// What the vault has of the segment that holds `at`, joined or not.
///
/// Between looking for the whole segment and for its pieces, the stream may have joined these: what then
/// looks like nothing, or like a hole, is there whole at the second look.
pub(crate) async fn settled(archive: &WalArchive, timeline: Timeline, at: Lsn) -> Result<Fetched, WalError> {
    let first = archive.fetch(timeline, at).await;
    let is_missing = |error: &WalError| match error {
        WalError::Read { source, .. } => ReadError::is_missing(source),
        error => matches!(error, WalError::Hole { .. }),
    };
    match &first {
        Ok(Fetched::Absent | Fetched::Beginning { .. }) => archive.fetch(timeline, at).await,
        Err(error) if is_missing(error) => archive.fetch(timeline, at).await,
        _ => first,
    }
}

/// Puts `bytes` at `to` by a rename (X2).
///
/// Not synced: after a crash PostgreSQL asks again, and what it keeps it syncs itself.
fn place(to: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = unfinished(to);
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(bytes)?;
    drop(file);
    std::fs::rename(&unfinished, to)
}

fn unfinished(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}
