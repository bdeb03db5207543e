//! One service: term after term, and the stream that outlives them (G2).

use super::term::{self, TermEnd};
use super::{Protection, ServeEvent, ServeOptions, ServedService, scope, stopped};
use lifeboat_base::error_chain;
use lifeboat_vault::lease::{FenceError, Fenced};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long one wait for the lease is; then the same again.
const WAIT: Duration = Duration::from_secs(30);
/// Before the home is asked again that did not answer.
const PAUSE: Duration = Duration::from_secs(2);
/// Before a stream that failed begins anew; twice that after each further failure.
const FIRST_STREAM_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_STREAM_PAUSE: Duration = Duration::from_secs(60);
/// A stream that ran for so long had not failed at its beginning.
const STREAM_WAS_WELL: Duration = Duration::from_secs(300);
/// What a stream may take to end in order: what has arrived is made durable.
const STREAM_STOP_LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn serve(options: ServeOptions, service: ServedService, mut stop: watch::Receiver<bool>) {
    let mut stream: Option<Stream> = None;
    let mut told_holder = None;
    let scope = scope(&service.name);
    let tell = |event| (options.observer)(&service.name, event);
    loop {
        // At first only a look, so that whoever started this hears at once who serves. Whoever streams already
        // acted until now: the lease that it finds is most likely its own, to be waited for (G2).
        let is_first_look = told_holder.is_none() && stream.is_none();
        let patience = if is_first_look { Duration::ZERO } else { WAIT };
        let waiting = Fenced::wait(&options.vault, &scope, &options.actor, patience);
        let waited = tokio::select! {
            waited = waiting => waited,
            () = stopped(&mut stop) => break,
        };
        let mut fenced = match waited {
            Ok(fenced) => fenced,
            // Our own lease of before the home was away, which has not run out yet (G2).
            Err(FenceError::Busy { busy, .. }) if stream.is_some() && busy.holder == options.actor => {
                continue;
            }
            Err(FenceError::Busy { busy, .. }) => {
                // Another acts: it streams too.
                if let Some(stream) = stream.take() {
                    stream.end().await;
                }
                if told_holder.as_ref() != Some(&busy.holder) {
                    told_holder = Some(busy.holder.clone());
                    tell(ServeEvent::Waiting { holder: busy.holder });
                }
                continue;
            }
            Err(error) => {
                tell(ServeEvent::Suspended { reason: error_chain(&error) });
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => continue,
                    () = stopped(&mut stop) => break,
                }
            }
        };
        told_holder = None;
        tell(ServeEvent::Serving { epoch: fenced.lease().epoch() });
        if service.streams && stream.is_none() {
            stream = Some(Stream::begin(&options, &service));
        }
        let end = term::run(&options, &service, &mut fenced, &mut stop).await;
        match end {
            TermEnd::Stopped => {
                if let Some(stream) = stream.take() {
                    stream.end().await;
                }
                fenced.end().await;
                break;
            }
            TermEnd::Suspended(reason) => tell(ServeEvent::Suspended { reason }),
        }
    }
    if let Some(stream) = stream {
        stream.end().await;
    }
    tell(ServeEvent::Stopped);
}

/// A running stream, begun anew whenever it fails.
struct Stream {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Stream {
    fn begin(options: &ServeOptions, service: &ServedService) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (options, service) = (options.clone(), service.clone());
        let task = tokio::spawn(keep_streaming(options, service, stopping));
        Self { stop, task }
    }

    /// Ends it in order, or at once if that takes too long.
    async fn end(self) {
        // If nobody listens, it has ended.
        let _ = self.stop.send(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(STREAM_STOP_LIMIT, self.task).await.is_err() {
            abort.abort();
        }
    }
}

async fn keep_streaming(options: ServeOptions, service: ServedService, mut stop: watch::Receiver<bool>) {
    let protection: &Arc<dyn Protection> = &options.protection;
    let clock = options.vault.clock().clone();
    let mut pause = FIRST_STREAM_PAUSE;
    while !*stop.borrow() {
        let begun = clock.monotonic();
        let ended = protection.stream(&service.name, stop.clone()).await;
        if clock.monotonic().saturating_sub(begun) > STREAM_WAS_WELL {
            pause = FIRST_STREAM_PAUSE;
        }
        if let Err(error) = ended {
            let reason = error_chain(error.as_ref());
            (options.observer)(&service.name, ServeEvent::StreamFailed { reason, again_in: pause });
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_STREAM_PAUSE),
            () = stopped(&mut stop) => return,
        }
    }
}
