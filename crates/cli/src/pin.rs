//! A pin in the vault for as long as a command needs what it pins.

use crate::journal::actor;
use crate::output::Output;
use anyhow::Context;
use lifeboat_base::ServiceName;
use lifeboat_vault::Vault;
use lifeboat_vault::pins::{self, Purpose, REFRESH_EVERY};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Keeps a pin refreshed until it is released; dropped, the pin stays until it is forgotten in time.
#[derive(Debug)]
pub struct Pinned {
    release: oneshot::Sender<()>,
    task: JoinHandle<()>,
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
    let mut held = pinned.context("prune could not be told to leave it alone")?;
    let (release, mut released) = oneshot::channel();
    let output = output.clone();
    let task = tokio::spawn(async move {
        while tokio::time::timeout(REFRESH_EVERY, &mut released).await.is_err() {
            if let Err(error) = held.refresh().await {
                output.warn(format!("the pin was not refreshed, and is tried again: {error}"));
            }
        }
        held.remove().await;
    });
    Ok(Pinned { release, task })
}

impl Pinned {
    /// Takes the pin away.
    pub async fn release(self) {
        drop(self.release);
        // A panic there leaves the pin, which is forgotten in time.
        let _ = self.task.await;
    }
}
