//! Asks the helper: no key is needed, and no key is derived.

use super::wire::{FILE_LIMIT_BYTES, Reply, Request, address, read_line, write_line};
use super::{Delivery, FetchError, unfinished};
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

/// Has the helper at `socket` bring the file `name` to `to`.
///
/// # Errors
/// [`NoHelper`] if there is none; whatever goes wrong later is a [`Delivery::Failed`].
pub async fn request(socket: &Path, name: &str, to: &Path) -> Result<Delivery, NoHelper> {
    let no_helper = |source| NoHelper { socket: socket.to_owned(), source };
    let (short, _directory) = address(socket).map_err(no_helper)?;
    let mut stream = UnixStream::connect(short).await.map_err(no_helper)?;
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
