//! Being asked to stop: Ctrl-C, or SIGTERM from whoever supervises us.
//!
//! # Invariants
//! - **G1 never deaf.** Asked while nobody here listens, or a second time, the process ends at once, as it would
//!   have without us.

use std::sync::OnceLock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The exit status of a process that was ended at once.
const ENDED: i32 = 130;

/// Turns true when the process is asked to stop. It lives as long as the process: the first who listens takes
/// the signals from the operating system for good.
static ASKED: OnceLock<watch::Sender<bool>> = OnceLock::new();

/// It was asked to stop, and did.
#[derive(Debug, thiserror::Error)]
#[error("asked to stop")]
pub struct Stopped;

/// A channel that turns true when asked to stop. Whoever holds it must look at it (G1).
#[must_use]
pub fn stopping() -> watch::Receiver<bool> {
    let sender = ASKED.get_or_init(|| {
        let (sender, _) = watch::channel(false);
        tokio::spawn(listen(sender.clone()));
        sender
    });
    sender.subscribe()
}

async fn listen(sender: watch::Sender<bool>) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // They cannot be listened to: then they end the process.
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let is_first = !sender.send_replace(true);
        if !is_first || sender.receiver_count() == 0 {
            std::process::exit(ENDED);
        }
    }
}

/// Returns once asked to stop.
pub async fn asked(stopping: &mut watch::Receiver<bool>) {
    // The sender is never dropped.
    let _ = stopping.wait_for(|asked| *asked).await;
}

/// What `work` brings, unless it is asked to stop first: `work` is then dropped where it stands.
///
/// # Errors
/// [`Stopped`].
pub async fn unless_stopped<T>(work: impl Future<Output = T>) -> Result<T, Stopped> {
    let mut stopping = stopping();
    tokio::select! {
        biased;
        () = asked(&mut stopping) => Err(Stopped),
        done = work => Ok(done),
    }
}

/// Listens until dropped.
#[derive(Debug)]
pub struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Calls `stop` when asked to stop.
pub fn on_stop(stop: impl FnOnce() + Send + 'static) -> Guard {
    let mut stopping = stopping();
    Guard(tokio::spawn(async move {
        asked(&mut stopping).await;
        stop();
        // Still listened to, until what was told to stop has stopped.
        std::future::pending::<()>().await;
        drop(stopping);
    }))
}
