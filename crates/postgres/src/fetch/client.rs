//! Asks the helper: no key is needed, and no key is derived.

use super::wire::{FILE_LIMIT_BYTES, Reply, Request, address, read_line, write_line};
use super::{Delivery, FetchError, unfinished};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// How long the helper may take: its own patience with the vault, and some.
const REPLY_LIMIT: Duration = Duration::from_secs(600);

/// Nobody serves the socket: start a helper, or fetch without one.
#[derive(Debug, thiserror::Error)]
#[error("no helper answers at {}", socket.display())]
pub struct NoHelper {
    socket: std::path::PathBuf,
    source: std::io::Error,
}

/// How long a helper may take to be gone once it was told to end.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks whether it is.
const END_POLL: Duration = Duration::from_millis(20);

/// Whether a helper answers at `socket`.
pub async fn is_served(socket: &Path) -> bool {
    connect(socket).await.is_ok()
}

/// Ends the helper at `socket`, if there is one: it may hold an older key, or look into other copies.
pub async fn end_helper(socket: &Path) {
    let mut waited = Duration::ZERO;
    while let Ok(stream) = connect(socket).await
        && waited < END_LIMIT
    {
        let process = stream.peer_cred().ok().and_then(|peer| Pid::from_raw(peer.pid()?));
        let Some(process) = process.filter(|process| is_helper(*process)) else { return };
        // It may be gone by now, which the next look shows.
        let _ = kill_process(process, Signal::TERM);
        tokio::time::sleep(END_POLL).await;
        waited += END_POLL;
    }
}

/// Whether a process is a `lifeboat wal helper`, and nothing else that serves this socket.
fn is_helper(process: Pid) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    words.windows(2).any(|pair| pair == [&b"wal"[..], &b"helper"[..]])
}

async fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let (short, _directory) = address(socket)?;
    UnixStream::connect(short).await
}

/// Has the helper at `socket` bring the file `name` to `to`.
///
/// # Errors
/// [`NoHelper`] if there is none; whatever goes wrong later is a [`Delivery::Failed`].
pub async fn request(socket: &Path, name: &str, to: &Path) -> Result<Delivery, NoHelper> {
    let no_helper = |source| NoHelper { socket: socket.to_owned(), source };
    let mut stream = connect(socket).await.map_err(no_helper)?;
    let conversation = tokio::time::timeout(REPLY_LIMIT, converse(&mut stream, name, to));
    let failed = |reason: String| Delivery::Failed(FetchError::Helper(reason));
    Ok(match conversation.await {
        Ok(Ok(delivery)) => delivery,
        Ok(Err(error)) => failed(format!("the helper did not bring {name} through: {error}")),
        Err(_) => failed(format!("the helper did not bring {name} within {}s", REPLY_LIMIT.as_secs())),
    })
}

async fn converse(stream: &mut UnixStream, name: &str, to: &Path) -> std::io::Result<Delivery> {
    let mut stream = BufReader::new(stream);
    write_line(&mut stream, &Request { file: name.to_owned() }).await?;
    stream.flush().await?;
    let bytes = match read_line(&mut stream).await? {
        Reply::Delivered { bytes } if bytes <= FILE_LIMIT_BYTES => bytes,
        Reply::Delivered { .. } => return Err(std::io::ErrorKind::InvalidData.into()),
        Reply::Absent => return Ok(Delivery::ProvenAbsent),
        Reply::Failed { reason } => return Ok(Delivery::Failed(FetchError::Helper(reason))),
    };
    let written = |source| FetchError::Write { path: to.to_owned(), source };
    let unfinished = unfinished(to);
    let mut file = match tokio::fs::File::create(&unfinished).await {
        Ok(file) => file,
        Err(source) => return Ok(Delivery::Failed(written(source))),
    };
    let copied = tokio::io::copy(&mut stream.take(bytes), &mut file).await?;
    if copied != bytes {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    file.flush().await?;
    drop(file);
    Ok(match tokio::fs::rename(&unfinished, to).await {
        Ok(()) => Delivery::Delivered,
        Err(source) => Delivery::Failed(written(source)),
    })
}
