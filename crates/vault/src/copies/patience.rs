//! How long, and how often, a store is asked before its copy counts as silent.
//!
//! Deliberately absent: which copy is asked next.

use futures::StreamExt;
use futures::stream::BoxStream;
use std::time::Duration;

/// How long one request may take before the copy counts as silent.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// How often a read or a listing is asked for before the copy counts as silent: one dropped connection
/// among thousands of requests is no reason to give up a restore.
const READ_TRIES: usize = 3;
/// Between these tries.
const READ_PAUSE: Duration = Duration::from_millis(100);
/// A failure that took longer is final: the store's client has tried again by itself, and another copy waits.
const QUICK_FAILURE: Duration = Duration::from_secs(2);

/// Why a stream gave nothing.
pub(super) enum Stopped {
    /// One item failed; others may follow.
    One(object_store::Error),
    /// The store hangs.
    Hangs(tokio::time::error::Elapsed),
}

impl Stopped {
    /// For people, and whether nothing more is to be expected.
    pub(super) fn reason(&self) -> (String, bool) {
        match self {
            Self::One(error) => (error.to_string(), false),
            Self::Hangs(elapsed) => (elapsed.to_string(), true),
        }
    }
}

/// The next item of a stream of requests, each of which may take [`REQUEST_LIMIT`]: a long listing may take
/// long, and one that hangs has failed.
pub(super) async fn next_limited<T>(
    stream: &mut BoxStream<'static, Result<T, object_store::Error>>,
) -> Result<Option<T>, Stopped> {
    match tokio::time::timeout(REQUEST_LIMIT, stream.next()).await {
        Ok(next) => next.transpose().map_err(Stopped::One),
        Err(elapsed) => Err(Stopped::Hangs(elapsed)),
    }
}

/// Gives each item to `each`, until the first failure.
pub(super) async fn each_limited<T>(
    mut stream: BoxStream<'static, Result<T, object_store::Error>>,
    mut each: impl FnMut(T),
) -> Result<(), object_store::Error> {
    loop {
        match next_limited(&mut stream).await {
            Ok(Some(item)) => each(item),
            Ok(None) => return Ok(()),
            Err(Stopped::One(error)) => return Err(error),
            Err(Stopped::Hangs(elapsed)) => {
                return Err(object_store::Error::Generic { store: "vault copy", source: Box::new(elapsed) });
            }
        }
    }
}

/// A request that neither succeeds nor fails for [`REQUEST_LIMIT`] has failed.
pub(super) async fn limited<T>(
    request: impl Future<Output = Result<T, object_store::Error>>,
) -> Result<T, object_store::Error> {
    match tokio::time::timeout(REQUEST_LIMIT, request).await {
        Ok(outcome) => outcome,
        Err(elapsed) => Err(object_store::Error::Generic { store: "vault copy", source: Box::new(elapsed) }),
    }
}

/// A request that only asks, asked again a few times if its failure may have passed.
pub(super) async fn asked<T, F: Future<Output = Result<T, object_store::Error>>>(
    request: impl Fn() -> F,
) -> Result<T, object_store::Error> {
    for _ in 1..READ_TRIES {
        let began = tokio::time::Instant::now();
        match request().await {
            // All else is an answer: nothing is there, or the request is not allowed.
            Err(object_store::Error::Generic { .. }) if began.elapsed() < QUICK_FAILURE => {
                tokio::time::sleep(READ_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
    request().await
}
