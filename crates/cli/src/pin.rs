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

/// Pins `point` as soon as the vault takes it. Why it did not before is known.
pub async fn pin_at_last(
    output: &Output,
    vault: &Vault,
    service: &ServiceName,
    purpose: Purpose,
    point: &str,
) -> Pinned {
    loop {
        tokio::time::sleep(REFRESH_EVERY).await;
        if let Ok(pinned) = pin(output, vault, service, purpose, Some(point)).await {
            return pinned;
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_base::SystemClock;
    use lifeboat_vault::{Copies, VaultCopy, address};
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn a_vault_that_takes_no_pin_is_asked_until_it_does() {
        let scratch = tempfile::tempdir().unwrap();
        let store = address::open(&format!("file://{}", scratch.path().display()), true, &|_| None).unwrap();
        let copies = Copies::new(vec![VaultCopy::new("vault", None, store)], 1);
        let vault = Vault::init(copies, Some("passphrase"), &[], Arc::new(SystemClock::new())).await.unwrap();
        let pins = scratch.path().join("services/ledger-db/pins");
        std::fs::create_dir_all(pins.parent().unwrap()).unwrap();
        std::fs::write(&pins, "in the way").unwrap();
        let (output, service) = (Output::new(false), "ledger-db".parse::<ServiceName>().unwrap());
        pin(&output, &vault, &service, Purpose::View, Some("point")).await.unwrap_err();
        let pinning = tokio::spawn(async move {
            pin_at_last(&output, &vault, &service, Purpose::View, "point").await.release().await;
        });
        tokio::time::sleep(3 * REFRESH_EVERY).await;
        assert!(!pinning.is_finished());
        std::fs::remove_file(&pins).unwrap();
        pinning.await.unwrap();
    }
}
