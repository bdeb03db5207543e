//! Writes a restore point into a directory that PostgreSQL can start in.
//!
//! First [`plan`] looks and decides, then [`apply`] writes: what is printed before is what happens.
//!
//! # Invariants
//! - **R1 half-made never starts.** `global/pg_control` is written last of all and removed first.
//! - **R2 only our own.** A directory that is not empty is touched only if Lifeboat made it, and for the
//!   same service (resume), or with `delta` on a stopped server of the same cluster.
//! - **R3 resumable.** What was written is recorded after it is durable; a killed restore goes on. The marker
//!   is the first file written and holds a lock: two restores never share a directory.
//! - **R4 checked.** Every byte written came out of a frame whose seal opened.
//! - **R5 inside.** No path of a layer leaves the directory; tablespaces go where they were mapped to, or
//!   inside.
//!
//! Deliberately absent: which moment to recover to (`target`), and running the server (`server`).

mod delta;
pub(crate) mod files;
mod left;
mod marker;
pub(crate) mod room;
mod settings;
mod tablespaces;

use crate::server::{Account, first_closed, parent_of_sockets};
use crate::view::Place;
use lifeboat_base::{ByteCount, ServiceName, SystemId};
use lifeboat_pgformat::PG_CONTROL_PATH;
use lifeboat_vault::Vault;
use lifeboat_vault::layer::{LayerError, LayerIndex, Stack};
use lifeboat_vault::point::RestorePoint;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

pub(crate) use files::SIGNAL_FILE;
pub use left::{Left, aim, left_in, users_in};
pub(crate) use marker::MarkerWriter;
pub use marker::{MARKER_FILE, Marker, note_users};
pub use settings::{Recovery, Stop, end_recovery, strip_recovery_settings};
pub use tablespaces::link_made_by_replay;

/// Threads that open, decompress and write.
pub const DEFAULT_WORKERS: usize = 2;
/// Room that must be left beyond the files themselves: WAL to be replayed, and the server's own.
pub(crate) const SPARE_BYTES: u64 = 256 << 20;
/// Where tablespaces go that were not mapped elsewhere, below the data directory.
pub(crate) const TABLESPACES_DIRECTORY: &str = "lifeboat_tablespaces";
/// Where a server says that it runs.
pub(crate) const PID_FILE: &str = "postmaster.pid";

/// What to restore, and where.
#[derive(Debug)]
pub struct RestoreOptions {
    /// The vault.
    pub vault: Vault,
    /// The restore point.
    pub point: RestorePoint,
    /// How recovery goes on from there.
    pub recovery: Recovery,
    /// The directory to be born.
    pub into: PathBuf,
    /// Where tablespaces go: location on production → directory here. Others go inside.
    pub tablespaces: BTreeMap<String, PathBuf>,
    /// Restore over what is in the directory, fetching only what differs.
    pub delta: bool,
    /// Whom the files belong to, when root restores.
    pub owner: Option<(u32, u32)>,
    /// Threads.
    pub workers: usize,
    /// Where it tells how far it is.
    pub progress: Arc<RestoreProgress>,
}

/// How far a restore is.
#[derive(Debug, Default)]
pub struct RestoreProgress {
    /// Raw bytes written.
    pub done_bytes: AtomicU64,
    /// Raw bytes to write.
    pub total_bytes: AtomicU64,
    /// Of those done, what was in the directory already (delta).
    pub kept_bytes: AtomicU64,
    /// Set to stop at the next pack; the restore can be taken up again.
    pub cancelled: AtomicBool,
}

/// What a restore would do.
#[derive(Debug)]
pub struct RestorePlan {
    /// Files and directories.
    pub files: usize,
    /// Bytes in them.
    pub size_bytes: u64,
    /// Packs that an earlier try has written already.
    pub packs_done: usize,
    /// Packs in all.
    pub packs: usize,
    /// OID → directory here.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// What is there and is in the way: removed by a delta restore.
    pub removed: Vec<PathBuf>,
    stack: Stack,
    marker: Marker,
}

/// Why nothing was, or not all was, restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory is somebody else's.
    #[error(
        "{} is not empty and was not made by a restore of {service}: choose another directory, or empty it",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// The service.
        service: ServiceName,
    },
    /// It is whole already.
    #[error("{} is a finished restore of point {point}: start it, or choose another directory", path.display())]
    Finished {
        /// The directory.
        path: PathBuf,
        /// The restore point in it.
        point: String,
    },
    /// It holds another restore, half made.
    #[error(
        "{} holds an unfinished restore of point {found}; this one is of {wanted}: choose another directory, or empty it",
        path.display()
    )]
    OtherPoint {
        /// The directory.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// Another restore is at work there.
    #[error("another restore writes to {} at this moment: wait for it, or stop it", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// A server runs there.
    #[error("a PostgreSQL server runs in {} (process {pid}, says its postmaster.pid): stop it first", path.display())]
    Running {
        /// The directory.
        path: PathBuf,
        /// The server.
        pid: i32,
    },
    /// A delta restore over something else.
    #[error(
        "{} holds no data directory of cluster {wanted} (found: {found}): a delta restore goes over the same cluster only; choose another directory",
        path.display()
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// What is there.
        found: String,
        /// The restore point's cluster.
        wanted: SystemId,
    },
    /// Too little room.
    #[error(
        "{} has {} free; the restore needs {} ({} of files and {} for WAL): make room, or choose another file system",
        path.display(), ByteCount(*free_bytes), ByteCount(size_bytes + SPARE_BYTES), ByteCount(*size_bytes),
        ByteCount(SPARE_BYTES)
    )]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Free there.
        free_bytes: u64,
        /// Still to be written.
        size_bytes: u64,
    },
    /// Whoever is to run the server cannot get there.
    #[error(
        "the server's account, {account}, could not use {}: {} is closed to it. Choose a directory that it can \
         reach, or let it through with `chmod o+x`",
        path.display(), closed.display()
    )]
    Closed {
        /// Where something of the server's would be.
        path: PathBuf,
        /// The directory on the way that it may not enter.
        closed: PathBuf,
        /// Whom the files would belong to.
        account: String,
    },
    /// The operating system refused.
    #[error("{} cannot be written", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The vault.
    #[error("the restore point cannot be read whole")]
    Layer(#[source] LayerError),
    /// What is in the layer would be written elsewhere (R5).
    #[error("the layer holds the path `{0}`, which leaves the data directory; nothing was written there")]
    Escapes(String),
    /// A point that this version cannot restore.
    #[error("{0}")]
    Unsupported(String),
    /// Somebody stopped it.
    #[error("the restore was stopped")]
    Cancelled,
}

pub(crate) fn failed(path: &Path) -> impl Fn(std::io::Error) -> RestoreError + '_ {
    |source| RestoreError::File { path: path.to_owned(), source }
}

/// The restore point's layers, all of whose paths stay inside (R5).
pub(crate) async fn open_stack(options: &RestoreOptions) -> Result<Stack, RestoreError> {
    let point = &options.point;
    let stack =
        Stack::open(&options.vault, &point.service, &point.layers).await.map_err(RestoreError::Layer)?;
    check_paths(stack.index())?;
    Ok(stack)
}

/// Looks at the point and the directory and decides what is to be done. Writes nothing.
///
/// # Errors
/// [`RestoreError`]: everything that can be known before the first byte is written.
pub async fn plan(options: &RestoreOptions) -> Result<RestorePlan, RestoreError> {
    let point = &options.point;
    let stack = open_stack(options).await?;
    let (marker, goes_on) = occupant(options)?;
    let index = stack.index();
    let size_bytes: u64 = index.files.iter().map(|file| file.length).sum();
    let packs_done = marker.packs_done.len();
    let is_over = marker.delta || goes_on;
    let place = |tablespace: &lifeboat_vault::point::Tablespace| {
        let oid = tablespace.oid.to_string();
        let chosen = options.tablespaces.get(&tablespace.location).cloned();
        // Over an old directory, its tablespaces stay where they are.
        let linked = || std::fs::read_link(options.into.join("pg_tblspc").join(&oid)).ok();
        let old = if is_over { linked() } else { None };
        let inside = || options.into.join(TABLESPACES_DIRECTORY).join(&oid);
        (tablespace.oid, chosen.or(old).unwrap_or_else(inside))
    };
    let tablespaces: BTreeMap<u32, PathBuf> = point.tablespaces.iter().map(place).collect();
    if !is_over {
        let occupied = tablespaces.values().find(|target| has_entries(target));
        if let Some(path) = occupied {
            return Err(RestoreError::NotEmpty { path: path.clone(), service: point.service.clone() });
        }
    }
    check_ways(options, &tablespaces)?;
    room::check(&options.into, &tablespaces, index, is_over)?;
    // What an unfinished restore left needs no clearing: all of it is this point's.
    let removed = if marker.delta {
        delta::in_the_way(&options.into, index, point.major).map_err(failed(&options.into))?
    } else {
        Vec::new()
    };
    Ok(RestorePlan {
        files: index.files.len(),
        size_bytes,
        packs_done,
        packs: index.packs.len(),
        tablespaces,
        removed,
        stack,
        marker,
    })
}

/// Carries a plan out. Killed at any point, the same call takes it up again (R3).
///
/// # Errors
/// [`RestoreError`].
pub async fn apply(options: &RestoreOptions, plan: RestorePlan) -> Result<(), RestoreError> {
    files::write(options, plan).await
}

/// What is in the directory now (R2), and whether it is a restore to be gone on with.
fn occupant(options: &RestoreOptions) -> Result<(Marker, bool), RestoreError> {
    let (into, point) = (&options.into, &options.point);
    let new = || (Marker::new(point, options.delta), false);
    let entries = match std::fs::read_dir(into) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(new()),
        Err(source) => return Err(RestoreError::File { path: into.clone(), source }),
    };
    if let Some(pid) = running_server(into) {
        return Err(RestoreError::Running { path: into.clone(), pid });
    }
    match marker::read(into) {
        // An unfinished restore of the same point goes on, delta or not.
        Some(marker) if !marker.finished && marker.service == point.service && marker.point == point.id => {
            // Killed after the last file was in its place: a server may have run there, and changed what it found.
            let may_have_run = into.join(PG_CONTROL_PATH).exists();
            Ok((Marker { delta: marker.delta || options.delta || may_have_run, ..marker }, true))
        }
        found if options.delta => {
            delta::same_cluster(options, found.as_ref())?;
            Ok(new())
        }
        Some(marker) if marker.service != point.service => {
            Err(RestoreError::NotEmpty { path: into.clone(), service: point.service.clone() })
        }
        Some(marker) if marker.finished => {
            Err(RestoreError::Finished { path: into.clone(), point: marker.point })
        }
        Some(marker) => Err(RestoreError::OtherPoint {
            path: into.clone(),
            found: marker.point,
            wanted: point.id.clone(),
        }),
        // A marker alone that does not read: the restore was killed while it wrote its first line.
        None if entries.flatten().all(|entry| entry.file_name() == MARKER_FILE) => Ok(new()),
        None => Err(RestoreError::NotEmpty { path: into.clone(), service: point.service.clone() }),
    }
}

/// What the server in `directory` says of itself. Of a view whose process was killed, what is behind it still tells.
pub(crate) fn pid_file(directory: &Path) -> std::io::Result<String> {
    let behind = || std::fs::read_to_string(Place::of(directory).data().join(PID_FILE));
    std::fs::read_to_string(directory.join(PID_FILE)).or_else(|_| behind())
}

/// The process of the server that runs in `directory`. A file left by one that was killed names none.
pub(crate) fn running_server(directory: &Path) -> Option<i32> {
    let text = pid_file(directory).ok()?;
    // One without a postmaster, as `initdb` runs it, writes a negative number.
    let pid = text.lines().next()?.trim().parse::<i32>().ok()?.checked_abs()?;
    let process = rustix::process::Pid::from_raw(pid)?;
    match rustix::process::test_kill_process(process) {
        Err(rustix::io::Errno::SRCH) => None,
        _ => Some(pid),
    }
}

/// Whether the account that is to run the server gets to all its directories, before it is found out by its start.
pub(crate) fn check_ways(
    options: &RestoreOptions,
    tablespaces: &BTreeMap<u32, PathBuf>,
) -> Result<(), RestoreError> {
    let Some((user, group)) = options.owner else { return Ok(()) };
    let ours = std::iter::once(&options.into).chain(tablespaces.values());
    // The directories themselves are given to the account, those above them are not.
    let above = ours.filter_map(|path| Some((path.clone(), path.parent()?.to_owned())));
    let sockets = parent_of_sockets(&options.into).map(|parent| (parent.clone(), parent));
    for (path, way) in above.chain(sockets).filter(|(_, way)| !way.starts_with(&options.into)) {
        if let Some(closed) = first_closed(&way, (user, group)) {
            let account = Account { user, group }.name().unwrap_or_else(|| format!("user {user}"));
            return Err(RestoreError::Closed { path, closed, account });
        }
    }
    Ok(())
}

/// R5: every path is plain, and below the directory.
fn check_paths(index: &LayerIndex) -> Result<(), RestoreError> {
    for file in &index.files {
        let plain = file.path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !plain || file.path.contains('\0') {
            return Err(RestoreError::Escapes(file.path.clone()));
        }
    }
    Ok(())
}

pub(crate) fn has_entries(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
}
