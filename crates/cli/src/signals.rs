//! Being asked to stop: Ctrl-C, or SIGTERM from whoever supervises us.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Listens until dropped.
#[derive(Debug)]
pub struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Calls `stop` when asked to stop. Asked a second time, the process ends at once, as it would have without us.
pub fn on_stop(stop: impl FnOnce() + Send + 'static) -> Guard {
    Guard(tokio::spawn(async move {
        asked().await;
        stop();
        asked().await;
        std::process::exit(130);
    }))
}

/// A channel that turns true when asked to stop.
#[must_use]
pub fn stop_channel() -> (watch::Receiver<bool>, Guard) {
    let (sender, receiver) = watch::channel(false);
    let guard = on_stop(move || {
        // If nobody listens, there is nothing to stop.
        let _ = sender.send(true);
    });
    (receiver, guard)
}

/// Returns at the next SIGINT or SIGTERM; never if they cannot be listened to, as then they end the process.
async fn asked() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
