//! What is said between whoever carries a run and the process that watches over commands: an order, then what they
//! print, then a report; each behind its kind and its length.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// An order holds an environment and commands; both are bounded by the operating system.
const FRAME_LIMIT_BYTES: u32 = 16 << 20;
/// So much is read at once of what commands print.
pub(super) const CHUNK_BYTES: usize = 16 << 10;

/// What to run, and within which bounds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Commands, for the shell or for whatever their first line names.
    pub text: String,
    /// Shell variables whose values are wanted.
    pub outputs: Vec<String>,
    /// Where they run.
    pub directory: PathBuf,
    /// Where their text may lie meanwhile.
    pub scratch: PathBuf,
    /// All of it.
    pub environment: BTreeMap<String, String>,
    /// How long they may take, in milliseconds.
    pub limit_ms: u64,
    /// Whether what goes to standard error is told apart.
    pub is_apart: bool,
}

/// How it ended.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    /// The exit status.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it was ended.
    pub broken_off: Option<String>,
    /// How many processes could not be ended.
    pub left: usize,
    /// Values of shell variables.
    pub outputs: BTreeMap<String, String>,
    /// Why there are none.
    pub no_outputs: Option<String>,
    /// Why nothing was begun.
    pub not_begun: Option<String>,
}

/// One thing that is said.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// The first.
    Order(Order),
    /// What was printed: to standard output, or to both.
    Out(Vec<u8>),
    /// To standard error, where it is told apart.
    Err(Vec<u8>),
    /// The last.
    Report(Report),
}

impl Frame {
    /// Says it.
    pub(super) async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let (kind, body) = match self {
            Self::Order(order) => (b'r', serde_json::to_vec(order)?),
            Self::Out(bytes) => (b'o', bytes.clone()),
            Self::Err(bytes) => (b'e', bytes.clone()),
            Self::Report(report) => (b'd', serde_json::to_vec(report)?),
        };
        let length = u32::try_from(body.len()).ok().filter(|length| *length <= FRAME_LIMIT_BYTES);
        let length =
            length.ok_or_else(|| io::Error::other("the commands and their environment are too large"))?;
        let mut whole = Vec::with_capacity(body.len() + 5);
        whole.push(kind);
        whole.extend(length.to_be_bytes());
        whole.extend(body);
        to.write_all(&whole).await
    }

    /// Hears one; an error if the other side is gone.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let kind = from.read_u8().await?;
        let length = from.read_u32().await?;
        if length > FRAME_LIMIT_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // Grows with what comes, not with what is claimed.
        let mut body = Vec::new();
        from.take(u64::from(length)).read_to_end(&mut body).await?;
        if body.len() != length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(match kind {
            b'r' => Self::Order(serde_json::from_slice(&body)?),
            b'o' => Self::Out(body),
            b'e' => Self::Err(body),
            b'd' => Self::Report(serde_json::from_slice(&body)?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}
