//! Messages to and from the server over any byte stream.
//!
//! # Invariants
//! - **W1 cancel safety.** A dropped [`Wire::receive`] or [`Wire::flush`] loses nothing: bytes read stay
//!   in the inbound buffer, bytes not yet written in the outbound one.
//! - **W2 bounded.** No message longer than the current limit is accepted, and the buffer grows with
//!   bytes that arrived, never with a length that was only claimed.
//! - Decoding never panics, whatever arrives.
//!
//! Deliberately absent: what the messages mean.

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::backend::{Header, Message};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// Longest message until the login is done: nothing in a login is long, and who answers is not known.
pub(super) const LOGIN_MESSAGE_LIMIT_BYTES: usize = 64 << 10;
/// Longest message after it. WAL comes in at most 128 KiB, backups in less; a row of a catalogue
/// query that is longer than this is no row that is asked for here.
pub(super) const MESSAGE_LIMIT_BYTES: usize = 64 << 20;
/// Room that each read has at least.
const READ_BYTES: usize = 16 << 10;
/// Room that is made when there is less: several messages a system call.
const READ_AHEAD_BYTES: usize = 256 << 10;
/// Bytes before a message's body: tag and length.
const HEADER_BYTES: usize = 5;

const COPY_BOTH_TAG: u8 = b'W';
const COPY_DATA_TAG: u8 = b'd';
const NEGOTIATE_TAG: u8 = b'v';

/// A byte stream that carries a connection: TCP, a local socket, TLS over TCP.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + Sync {
    /// While it rests it may forget who waits for it: it is only looked at.
    fn rest(&mut self, _resting: bool) {}
}

#[cfg(test)]
impl Socket for tokio::io::DuplexStream {}

/// Why the stream of messages ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection broke")]
    Io(#[source] io::Error),
    #[error("a message of {bytes} bytes arrived; at most {limit} are taken")]
    TooLong { bytes: usize, limit: usize },
    #[error("a message with the tag {tag:#04x} cannot be read")]
    Malformed { tag: u8 },
}

/// A message holds a zero byte where none can be, or is too long.
#[derive(Debug)]
pub(super) struct Unsendable;

/// A message from the server.
pub(super) enum Incoming {
    /// Bytes of a copy. Shares its memory with neighbours of the same read.
    CopyData(Bytes),
    /// Replication begins.
    CopyBoth,
    /// An option or protocol version that was asked for is not known to the server.
    Negotiate,
    Other(Message),
}

/// A stream of messages with its buffers.
pub(super) struct Wire {
    stream: Box<dyn Socket>,
    inbound: BytesMut,
    outbound: BytesMut,
    limit: usize,
    heard: Instant,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Socket>) -> Self {
        let (inbound, outbound) = (BytesMut::new(), BytesMut::new());
        Self { stream, inbound, outbound, limit: LOGIN_MESSAGE_LIMIT_BYTES, heard: Instant::now() }
    }

    /// Takes longer messages from now on: the login is done.
    pub(super) fn trust(&mut self) {
        self.limit = MESSAGE_LIMIT_BYTES;
    }

    /// When a byte last came.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Queues a message for the next [`Wire::flush`]; one that cannot be written leaves nothing behind.
    pub(super) fn queue(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), Unsendable> {
        let before = self.outbound.len();
        write(&mut self.outbound).map_err(|_| {
            self.outbound.truncate(before);
            Unsendable
        })
    }

    /// Sends what is queued. Cancel safe: the rest stays queued.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        while self.outbound.has_remaining() {
            if self.stream.write_buf(&mut self.outbound).await.map_err(broken)? == 0 {
                return Err(WireError::Closed);
            }
        }
        self.stream.flush().await.map_err(broken)
    }

    /// The next message. Cancel safe.
    pub(super) async fn receive(&mut self) -> Result<Incoming, WireError> {
        loop {
            if let Some(message) = decode(&mut self.inbound, self.limit)? {
                return Ok(message);
            }
            if self.inbound.capacity() - self.inbound.len() < READ_BYTES {
                self.inbound.reserve(READ_AHEAD_BYTES);
            }
            if self.stream.read_buf(&mut self.inbound).await.map_err(broken)? == 0 {
                return Err(WireError::Closed);
            }
            self.heard = Instant::now();
        }
    }

    /// See [`Socket::rest`].
    pub(super) fn rest(&mut self, resting: bool) {
        self.stream.rest(resting);
    }

    /// Ends the stream; what is queued is not waited for.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

/// A peer that goes away is one event, whatever the operating system calls it.
fn broken(error: io::Error) -> WireError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            WireError::Closed
        }
        _ => WireError::Io(error),
    }
}

/// Takes one message off the front of `buffer`; `None` if it is not there whole.
pub(super) fn decode(buffer: &mut BytesMut, limit: usize) -> Result<Option<Incoming>, WireError> {
    let header = match Header::parse(buffer) {
        Ok(Some(header)) => header,
        Ok(None) => return Ok(None),
        Err(_) => return Err(WireError::Malformed { tag: buffer[0] }),
    };
    let tag = header.tag();
    // The length counts itself but not the tag; `Header` refuses less than 4.
    let total = usize::try_from(header.len()).map_err(|_| WireError::Malformed { tag })? + 1;
    if total > limit {
        return Err(WireError::TooLong { bytes: total, limit });
    }
    if buffer.len() < total {
        return Ok(None);
    }
    match tag {
        COPY_DATA_TAG | COPY_BOTH_TAG | NEGOTIATE_TAG => {
            let body = buffer.split_to(total).freeze().slice(HEADER_BYTES..);
            Ok(Some(match tag {
                COPY_DATA_TAG => Incoming::CopyData(body),
                COPY_BOTH_TAG => Incoming::CopyBoth,
                _ => Incoming::Negotiate,
            }))
        }
        _ => match Message::parse(buffer) {
            Ok(Some(message)) => Ok(Some(Incoming::Other(message))),
            Ok(None) | Err(_) => Err(WireError::Malformed { tag }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::row::{Columns, Row, read_columns};
    use crate::client::server_error::ServerError;
    use postgres_protocol::message::frontend;
    use proptest::prelude::*;
    use std::time::Duration;

    #[tokio::test]
    async fn w1_a_dropped_receive_loses_nothing() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut wire = Wire::new(Box::new(ours));
        let message = b"d\0\0\0\x08abcd";
        for byte in message {
            let early = tokio::time::timeout(Duration::from_millis(1), wire.receive()).await;
            assert!(early.is_err(), "a message came before it was sent");
            theirs.write_all(&[*byte]).await.unwrap();
        }
        let Ok(Incoming::CopyData(body)) = wire.receive().await else { panic!("no copy data") };
        assert_eq!(body, "abcd");
    }

    #[tokio::test]
    async fn w1_a_dropped_flush_sends_the_rest_later() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let mut wire = Wire::new(Box::new(ours));
        let queued = wire.queue(|buffer| {
            buffer.extend_from_slice(b"0123456789abcdef");
            Ok(())
        });
        queued.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(1), wire.flush()).await.is_err());
        let mut got = [0; 16];
        let (flushed, read) = tokio::join!(wire.flush(), theirs.read_exact(&mut got));
        flushed.unwrap();
        read.unwrap();
        assert_eq!(&got, b"0123456789abcdef");
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_written_leaves_nothing_behind() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut wire = Wire::new(Box::new(ours));
        assert!(wire.queue(|buffer| frontend::query("a\0b", buffer)).is_err());
        wire.queue(|buffer| frontend::query("ab", buffer)).unwrap();
        wire.flush().await.unwrap();
        drop(wire);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"Q\0\0\0\x07ab\0");
    }

    #[test]
    fn w2_a_claimed_length_takes_no_memory() {
        let mut buffer = BytesMut::from(&b"d\x7f\xff\xff\xff"[..]);
        assert!(matches!(decode(&mut buffer, MESSAGE_LIMIT_BYTES), Err(WireError::TooLong { .. })));
        let mut buffer = BytesMut::from(&b"d\x03\xff\xff\xff"[..]);
        assert!(matches!(decode(&mut buffer, MESSAGE_LIMIT_BYTES), Ok(None)));
        assert!(buffer.capacity() < READ_AHEAD_BYTES);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut buffer, MESSAGE_LIMIT_BYTES) {}
        }

        #[test]
        fn real_tags_never_panic(tag in "[A-Za-z0-9]", body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut buffer = BytesMut::from(tag.as_bytes());
            buffer.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
            buffer.extend_from_slice(&body);
            // Bodies are read only when they are asked for.
            let columns: Columns = vec!["a".to_owned(), "b".to_owned()].into();
            match decode(&mut buffer, MESSAGE_LIMIT_BYTES) {
                Ok(Some(Incoming::Other(Message::DataRow(body)))) => drop(Row::read(&columns, &body)),
                Ok(Some(Incoming::Other(Message::RowDescription(body)))) => drop(read_columns(&body)),
                Ok(Some(Incoming::Other(Message::ErrorResponse(body)))) => drop(ServerError::read(body.fields())),
                _ => {}
            }
        }
    }
}
