//! The process behind a view: started, and asked.

use crate::helper::Resident;
use crate::progress::{Progress, Reading};
use crate::settings::{Opened, Settings};
use crate::signals;
use anyhow::{Context, bail, ensure};
use lifeboat_pgformat::PAGE_SIZE_BYTES;
use lifeboat_postgres::view::control::{Request, ask};
use lifeboat_postgres::view::{LOG_FILE, Place, Status};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Between two questions how far it is.
const POLL: Duration = Duration::from_millis(200);

/// How long the process behind a view that is shown no more may take to end.
const GONE_LIMIT: Duration = Duration::from_secs(30);
const GONE_POLL: Duration = Duration::from_millis(20);

/// Where the process behind a view says what happens to it.
#[must_use]
pub fn log(place: &Place) -> PathBuf {
    place.home.join(LOG_FILE)
}

/// Has a process of its own show the view.
///
/// # Errors
/// If it does not come to that.
pub async fn show(settings: &Settings, opened: &Opened, place: &Place) -> anyhow::Result<()> {
    let mut arguments = vec!["view".into(), "serve".into()];
    arguments.extend(settings.vault_arguments()?.into_iter().map(Into::into));
    arguments.push(place.mount.clone().into());
    let resident = Resident { name: "the process behind the view", arguments, log: log(place) };
    resident.start(opened).await
}

/// Waits until the process that showed a view has gone.
pub async fn gone(place: &Place) {
    let mut left = GONE_LIMIT;
    while place.is_shown() && !left.is_zero() {
        tokio::time::sleep(GONE_POLL).await;
        left = left.saturating_sub(GONE_POLL);
    }
}

/// Fetches all that is only in the vault yet, with progress. Asked to stop, it leaves that to the process.
///
/// # Errors
/// If not all of it came.
pub async fn hydrate(settings: &Settings, place: &Place) -> anyhow::Result<Status> {
    let begun = ask(place, Request::Hydrate).await?;
    if begun.is_whole {
        return Ok(begun);
    }
    let here = Arc::new(AtomicU64::new(begun.pages_here));
    let (shown, total) = (here.clone(), begun.pages * PAGE_SIZE_BYTES as u64);
    let bar = Progress::start(&settings.output, &format!("filling {}", place.mount.display()), move || {
        Reading { done: shown.load(Ordering::Relaxed) * PAGE_SIZE_BYTES as u64, total }
    });
    let filled = async {
        loop {
            let status = ask(place, Request::Status).await?;
            here.store(status.pages_here, Ordering::Relaxed);
            if !status.is_hydrating {
                return anyhow::Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let filled = signals::unless_stopped(filled).await;
    bar.finish().await;
    let status = filled.context("it goes on being filled by itself")??;
    if let Some(failure) = &status.failure {
        bail!("{} is not whole: {failure}", place.mount.display());
    }
    ensure!(status.is_whole, "{} is not whole: not all of it is durable yet", place.mount.display());
    Ok(status)
}
