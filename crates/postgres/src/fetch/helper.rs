//! The resident helper: holds the vault's key for the length of a recovery, and reads ahead.
//!
//! Started beside a recovering server, reached over a Unix socket by each `restore_command`. It ends by
//! itself when nobody asks any more, soon once the server has stopped, or when the data directory is gone.
//!
//! # Invariants
//! - **Z1 only ours.** Only the server's user, ourselves and root are answered: WAL is the database.
//! - **Z2 bounded.** So many conversations, so many bytes ahead, so much idleness, and no more.
//! - **Z3 no key without need.** It does not outlive its server by more than a few minutes.

use super::ahead::Ahead;
use super::wire::{Reply, Request, address, read_line, write_line};
use super::{DEFAULT_PATIENCE, Fetcher};
use crate::restore::{MARKER_FILE, running_server};
use lifeboat_base::{Clock, error_chain};
use lifeboat_vault::wal::WalArchive;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Conversations at once: a server has one, or two while it starts.
const CONVERSATIONS_LIMIT: usize = 8;
/// How long a client may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long a server may be stopped before its helper ends: it may be about to start, or to start again.
const STOPPED_LIMIT: Duration = Duration::from_secs(180);
/// Between two looks at the data directory and at the time since the last request.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What to serve, where, and for how long.
#[derive(Debug, Clone)]
pub struct HelperOptions {
    /// Whose WAL.
    pub archive: WalArchive,
    /// The socket to be made.
    pub socket: PathBuf,
    /// Whether the server is a restored one, which must not come near production's tablespaces (X5).
    pub is_isolated: bool,
    /// The user and group of the server, if it does not run as ourselves.
    pub owner: Option<(u32, u32)>,
    /// The data directory; when it is gone, so is the helper.
    pub data_directory: PathBuf,
    /// Bytes of segments to hold ahead of what was asked for.
    pub read_ahead_bytes: u64,
    /// How long nobody may ask before it ends.
    pub idle_limit: Duration,
    /// The same, while no server runs in the data directory: nobody needs the key then.
    pub stopped_limit: Duration,
    /// How long a vault that does not answer is asked again.
    pub patience: Duration,
    /// Idleness is measured with it.
    pub clock: Arc<dyn Clock>,
}

impl HelperOptions {
    /// Read ahead 64 MiB; end after ten idle minutes, or three without a server. The directory tells whether it is a
    /// restored one.
    #[must_use]
    pub fn new(archive: WalArchive, socket: PathBuf, data_directory: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            archive,
            socket,
            is_isolated: data_directory.join(MARKER_FILE).exists(),
            owner: None,
            data_directory,
            read_ahead_bytes: 64 << 20,
            idle_limit: Duration::from_secs(600),
            stopped_limit: STOPPED_LIMIT,
            patience: DEFAULT_PATIENCE,
            clock,
        }
    }
}

/// Why the helper could not begin.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// Another serves it.
    #[error("a helper serves {} already", .0.display())]
    AlreadyServed(PathBuf),
    /// The socket.
    #[error("the socket {} cannot be made", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Why the helper ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelperEnd {
    /// Nobody asked for long.
    Idle,
    /// The server has stopped, and nobody asked since.
    ServerStopped,
    /// The data directory is gone.
    DirectoryGone,
}

/// Serves until nobody needs it. `ready` is called once the socket listens.
///
/// # Errors
/// [`HelperError`] before the first request; what goes wrong later is told to the one who asked.
pub async fn serve_helper(options: HelperOptions, ready: impl FnOnce()) -> Result<HelperEnd, HelperError> {
    let listener = listen(&options).await?;
    let _socket = RemovedAtEnd(options.socket.clone());
    ready();
    let fetcher = Fetcher::new(options.archive.clone(), options.patience).isolated(options.is_isolated);
    let ahead = Arc::new(Ahead::new(fetcher, options.read_ahead_bytes));
    let clock = options.clock.clone();
    let start = clock.monotonic();
    let since =
        move || u64::try_from(clock.monotonic().saturating_sub(start).as_millis()).unwrap_or(u64::MAX);
    let last_ms = Arc::new(AtomicU64::new(0));
    let places = Arc::new(Semaphore::new(CONVERSATIONS_LIMIT));
    let allowed = allowed_users(&options);
    let mut looks = tokio::time::interval(LOOK_INTERVAL.min(options.idle_limit).min(options.stopped_limit));
    let mut seen_running_ms = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let is_ours = stream.peer_cred().is_ok_and(|peer| allowed.contains(&peer.uid()));
                let Ok(place) = places.clone().try_acquire_owned() else { continue };
                if !is_ours {
                    continue;
                }
                last_ms.store(since(), Ordering::Relaxed);
                let (ahead, last_ms, since) = (ahead.clone(), last_ms.clone(), since.clone());
                drop(tokio::spawn(async move {
                    // A client that went away is PostgreSQL's to notice.
                    let _ = answer(stream, &ahead).await;
                    last_ms.store(since(), Ordering::Relaxed);
                    drop(place);
                }));
            }
            _ = looks.tick() => {
                if !options.data_directory.exists() {
                    return Ok(HelperEnd::DirectoryGone);
                }
                let idle_ms = since().saturating_sub(last_ms.load(Ordering::Relaxed));
                let is_busy = places.available_permits() < CONVERSATIONS_LIMIT;
                if running_server(&options.data_directory).is_some() {
                    seen_running_ms = since();
                }
                let stopped_ms = idle_ms.min(since().saturating_sub(seen_running_ms));
                if !is_busy && u128::from(idle_ms) >= options.idle_limit.as_millis() {
                    return Ok(HelperEnd::Idle);
                }
                if !is_busy && u128::from(stopped_ms) >= options.stopped_limit.as_millis() {
                    return Ok(HelperEnd::ServerStopped);
                }
            }
        }
    }
}

/// Z1.
fn allowed_users(options: &HelperOptions) -> Vec<u32> {
    let own = rustix::process::geteuid().as_raw();
    let mut allowed = vec![0, own];
    allowed.extend(options.owner.map(|(user, _)| user));
    allowed
}

async fn answer(stream: UnixStream, ahead: &Ahead) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = tokio::time::timeout(REQUEST_LIMIT, read_line::<Request>(&mut stream));
    let request = request.await.map_err(std::io::Error::from)??;
    match ahead.file(&request.file).await {
        Ok(Some(found)) => {
            write_line(&mut stream, &Reply::Delivered { bytes: found.bytes.len() as u64 }).await?;
            stream.write_all(&found.bytes).await?;
        }
        Ok(None) => write_line(&mut stream, &Reply::Absent).await?,
        Err(error) => write_line(&mut stream, &Reply::Failed { reason: error_chain(&error) }).await?,
    }
    stream.flush().await
}

async fn listen(options: &HelperOptions) -> Result<UnixListener, HelperError> {
    let path = &options.socket;
    let failed = |source| HelperError::Socket { path: path.clone(), source };
    let (short, _directory) = address(path).map_err(failed)?;
    if path.exists() {
        if UnixStream::connect(&short).await.is_ok() {
            return Err(HelperError::AlreadyServed(path.clone()));
        }
        // Left by one that was killed.
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(&short).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    if let Some((user, group)) = options.owner {
        chown(path, Some(user), Some(group)).map_err(failed)?;
    }
    Ok(listener)
}

struct RemovedAtEnd(PathBuf);

impl Drop for RemovedAtEnd {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(Path::new(&self.0));
    }
}
