//! A socket that wakes nobody while nobody waits for it.
//!
//! The runtime's own sockets stay under watch for as long as they are open: each time something arrives a thread
//! wakes, whoever reads or not. A server sends each commit by itself, and a stream that looks every few milliseconds
//! would be woken thousands of times a second for nothing, on production's machine perhaps. Here a socket is put
//! under watch when it is waited for, and taken out of it by a look that waits for nothing.
//!
//! Deliberately absent: TLS, which keeps the runtime's socket; who encrypts is seldom on production's machine.

use super::wire::Socket;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop;

/// Read at once by a look: what is read into is wiped first.
const LOOK_BYTES: usize = 64 << 10;

/// A socket of the runtime's that can be taken from under its watch, and put back.
pub(super) trait Watched: AsyncRead + AsyncWrite + AsFd + Unpin + Send + Sync + Sized {
    /// The same socket under no watch.
    type Free: AsFd + Send + Sync + Unpin;
    fn free(self) -> io::Result<Self::Free>;
    fn watch(free: Self::Free) -> io::Result<Self>;
}

impl Watched for UnixStream {
    type Free = std::os::unix::net::UnixStream;
    fn free(self) -> io::Result<Self::Free> {
        self.into_std()
    }
    fn watch(free: Self::Free) -> io::Result<Self> {
        Self::from_std(free)
    }
}

impl Watched for TcpStream {
    type Free = std::net::TcpStream;
    fn free(self) -> io::Result<Self::Free> {
        self.into_std()
    }
    fn watch(free: Self::Free) -> io::Result<Self> {
        Self::from_std(free)
    }
}

/// A connected socket.
pub(super) struct Quiet<S: Watched> {
    state: State<S>,
    resting: bool,
}

enum State<S: Watched> {
    Watched(S),
    Free(S::Free),
    /// It could neither be freed nor put under watch.
    Lost,
}

impl<S: Watched> Quiet<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { state: State::Watched(socket), resting: false }
    }

    fn is_watched(&self) -> bool {
        matches!(self.state, State::Watched(_))
    }

    fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.state {
            State::Watched(socket) => Ok(socket.as_fd()),
            State::Free(socket) => Ok(socket.as_fd()),
            State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Puts it under watch, for one who has to wait; one that rests waits for nothing.
    fn watched(&mut self) -> Poll<io::Result<Pin<&mut S>>> {
        self.state = match std::mem::replace(&mut self.state, State::Lost) {
            State::Watched(socket) if self.resting => State::Free(socket.free()?),
            State::Free(socket) if !self.resting => State::Watched(S::watch(socket)?),
            state => state,
        };
        match &mut self.state {
            State::Watched(socket) => Poll::Ready(Ok(Pin::new(socket))),
            State::Free(_) => Poll::Pending,
            State::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Does what can be done at once; `None` if that is nothing.
    fn at_once<T>(&self, mut act: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>) -> io::Result<Option<T>> {
        loop {
            match act(self.descriptor()?) {
                Ok(done) => return Ok(Some(done)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<S: Watched> Socket for Quiet<S> {
    fn rest(&mut self, resting: bool) {
        self.resting = resting;
    }
}

impl<S: Watched> AsyncRead for Quiet<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.resting || !this.is_watched() {
            // Whoever reads much lets others have their turn, as with the runtime's own sockets.
            let turn = ready!(coop::poll_proceed(cx));
            let room = into.remaining().min(LOOK_BYTES);
            let room = into.initialize_unfilled_to(room);
            let look = |socket: BorrowedFd<'_>| rustix::net::recv(socket, &mut *room, RecvFlags::empty());
            if let Some((read, _)) = this.at_once(look)? {
                into.advance(read);
                turn.made_progress();
                return Poll::Ready(Ok(()));
            }
        }
        ready!(this.watched())?.poll_read(cx, into)
    }
}

impl<S: Watched> AsyncWrite for Quiet<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.resting || !this.is_watched() {
            let written = this.at_once(|socket| rustix::net::send(socket, bytes, SendFlags::NOSIGNAL))?;
            if let Some(written) = written {
                return Poll::Ready(Ok(written));
            }
        }
        ready!(this.watched())?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(self.descriptor()?, Shutdown::Write) {
            // The peer was quicker.
            Ok(()) | Err(Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> (Quiet<UnixStream>, Quiet<UnixStream>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Quiet::new(ours), Quiet::new(theirs))
    }

    #[tokio::test]
    async fn what_is_waited_for_comes_and_what_rests_is_under_no_watch() {
        let (mut ours, mut theirs) = pair();
        let mut bytes = [0; 4];
        // More than fits into the socket: both wait in turn.
        let sent = vec![7; 4 << 20];
        let mut received = Vec::new();
        let (written, read) = tokio::join!(
            async {
                theirs.write_all(&sent).await?;
                theirs.shutdown().await
            },
            ours.read_to_end(&mut received)
        );
        written.unwrap();
        assert_eq!((read.unwrap(), received == sent), (sent.len(), true));
        assert!(ours.is_watched() && theirs.is_watched());

        let (mut ours, mut theirs) = pair();
        assert!(ours.read(&mut bytes).now_or_never().is_none());
        assert!(ours.is_watched(), "it is waited for");
        ours.rest(true);
        assert!(ours.read(&mut bytes).now_or_never().is_none());
        assert!(!ours.is_watched(), "nobody waits");
        theirs.write_all(b"abcd").await.unwrap();
        assert_eq!(ours.read(&mut bytes).now_or_never().unwrap().unwrap(), 4);
        // What comes while it rests is there when it is waited for again, and so is what comes then.
        theirs.write_all(b"efgh").await.unwrap();
        ours.rest(false);
        assert_eq!(ours.read(&mut bytes).await.unwrap(), 4);
        let (read, written) = tokio::join!(ours.read(&mut bytes), theirs.write_all(b"ijkl"));
        written.unwrap();
        assert_eq!((read.unwrap(), &bytes), (4, b"ijkl"));
        assert!(ours.is_watched());
        drop(theirs);
        assert_eq!(ours.read(&mut bytes).await.unwrap(), 0);
    }
}
