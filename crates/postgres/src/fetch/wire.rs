//! What the helper and its clients say to each other: a line of JSON each way, the file's bytes after it. The line is
//! that of other residents too.
//!
//! The bytes travel, not a path: the helper may run as another user, and writes nothing on a stranger's word.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

/// Largest line.
const LINE_LIMIT_BYTES: u64 = 8 << 10;
/// Largest file: a segment of 1 GiB.
pub(super) const FILE_LIMIT_BYTES: u64 = 1 << 30;
/// Longest path that a socket's address holds; beyond it goes a way through `/proc`.
const ADDRESS_LIMIT_BYTES: usize = 107;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) file: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub(super) enum Reply {
    /// So many bytes follow.
    Delivered {
        bytes: u64,
    },
    Absent,
    Failed {
        reason: String,
    },
}

pub(crate) async fn write_line(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    message: &impl Serialize,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line).await
}

pub(crate) async fn read_line<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
) -> std::io::Result<T> {
    let mut line = Vec::new();
    from.take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}

/// A path to `socket` that fits into a socket's address, while the handle is open.
pub(crate) fn address(socket: &Path) -> std::io::Result<(PathBuf, Option<std::fs::File>)> {
    if socket.as_os_str().len() <= ADDRESS_LIMIT_BYTES {
        return Ok((socket.to_owned(), None));
    }
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let directory = std::fs::File::open(directory)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    Ok((short, Some(directory)))
}

/// A line from either side, for fuzzing: bytes in, nothing out, no panic.
pub(super) fn fuzz(bytes: &[u8]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    runtime.block_on(async {
        let (mut request, mut reply) = (bytes, bytes);
        _ = read_line::<Request>(&mut request).await;
        _ = read_line::<Reply>(&mut reply).await;
    });
}
