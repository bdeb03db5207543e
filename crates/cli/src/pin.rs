//! A pin in the vault for as long as a command needs what it pins.

use crate::journal::actor;
use crate::output::Output;
use anyhow::Context;
use jiff::Timestamp;
use lifeboat_base::ServiceName;
use lifeboat_vault::Vault;
use lifeboat_vault::pins::{self, FORGOTTEN_AFTER, Held, Purpose, REFRESH_EVERY};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What becomes of a pin that its holder no longer refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    TakenAway,
    Left,
}

/// Keeps a pin refreshed until it is released or left; dropped, the pin stays until it is forgotten in time.
#[derive(Debug)]
pub struct Pinned {
    end: oneshot::Sender<End>,
    task: JoinHandle<Option<Timestamp>>,
}

/// Pins `point`, or says that a backup is running.
///
/// # Errors
/// If prune was first, or the vault does not take it.
pub async fn pin(
    output: &Output,
    vault: &Vault,
    service: &ServiceName,
    purpose: Purpose,
    point: Option<&str>,
) -> anyhow::Result<Pinned> {
    let pinned = pins::put(vault, service, purpose, point, &actor()).await;
    let held = pinned.context("prune could not be told to leave it alone")?;
    let (end, ended) = oneshot::channel();
    let task = tokio::spawn(keep(output.clone(), held, ended));
    Ok(Pinned { end, task })
}

async fn keep(output: Output, mut held: Held, mut ended: oneshot::Receiver<End>) -> Option<Timestamp> {
    let end = loop {
        let end = tokio::time::timeout(REFRESH_EVERY, &mut ended).await;
        if let Ok(end) = end {
            break end;
        }
        refresh(&output, &mut held).await;
    };
    match end {
        Ok(End::TakenAway) => {
            held.remove().await;
            return None;
        }
        Ok(End::Left) => refresh(&output, &mut held).await,
        Err(_) => {}
    }
    held.pin().refreshed.checked_add(FORGOTTEN_AFTER).ok()
}

async fn refresh(output: &Output, held: &mut Held) {
    if let Err(error) = held.refresh().await {
        output.warn(format!("the pin was not refreshed: {error}"));
    }
}

impl Pinned {
    /// Takes the pin away.
    pub async fn release(self) {
        self.end(End::TakenAway).await;
    }

    /// Leaves it for whoever goes on; returns until when prune heeds it.
    pub async fn leave(self) -> Option<Timestamp> {
        self.end(End::Left).await
    }

    async fn end(self, end: End) -> Option<Timestamp> {
        // Its task ends only by this.
        let _ = self.end.send(end);
        // A panic there leaves the pin, which is forgotten in time.
        self.task.await.ok().flatten()
    }
}
