//! Pins: who needs a restore point, or is writing one, so that prune leaves it alone.
//!
//! A pin is a row of numbered objects, `services/<service>/pins/<pin>/<number>`: each refresh writes the next
//! and deletes the one before. Its holder refreshes it every [`REFRESH_EVERY`].
//!
//! # Invariants
//! - **I1 one of two sees the other.** Whoever pins a point writes the pin, then looks whether prune has begun
//!   to delete the point; prune writes down that it begins, then looks at the pins.
//! - **I2 forgotten pins end.** A pin not refreshed for [`FORGOTTEN_AFTER`] may be ignored, but only by a prune
//!   whose earlier run saw it in the same state: one run with a wrong clock ignores none. A hold never ends
//!   by itself.
//!
//! Deliberately absent: what the holder does.

use crate::prune::Tombs;
use crate::{Reach, ReadError, Vault, WriteError, names};
use jiff::{SignedDuration, Timestamp};
use lifeboat_base::{RandomId, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a holder says that it is still there.
pub const REFRESH_EVERY: Duration = Duration::from_secs(600);
/// A pin that was not refreshed for this long is forgotten by its holder (I2).
pub const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(48);

/// What a pin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// A restore point is being written: layers without a manifest stay.
    Backup,
    /// A restore point is being restored or verified.
    Restore,
    /// A view is served from it.
    View,
    /// A person wants it kept until the pin is taken away.
    Hold,
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Backup => "a backup",
            Self::Restore => "a restore",
            Self::View => "a view",
            Self::Hold => "a hold",
        })
    }
}

/// Who needs what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// Its name.
    pub id: String,
    /// Which refresh this is.
    pub number: u64,
    /// What it is for.
    pub purpose: Purpose,
    /// `user@host, pid`.
    pub holder: String,
    /// The restore point that stays, with its layers and WAL; a backup may need none.
    pub point: Option<String>,
    /// When it was first written, by the holder's clock.
    pub written: Timestamp,
    /// When it was written last.
    pub refreshed: Timestamp,
}

impl Pin {
    /// Whether its holder seems to have forgotten it by `now` (I2).
    #[must_use]
    pub fn looks_forgotten(&self, now: Timestamp) -> bool {
        self.purpose != Purpose::Hold && now.duration_since(self.refreshed) > FORGOTTEN_AFTER
    }
}

/// Why nothing was pinned, or the pins are not known.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// I1.
    #[error("restore point `{0}` is being deleted by prune; choose another one")]
    Buried(String),
    /// The vault did not take it.
    #[error("{service} could not be pinned")]
    Write {
        /// The service.
        service: ServiceName,
        /// Why.
        source: WriteError,
    },
    /// The vault did not give it.
    #[error("the pins of {service} cannot be read")]
    Read {
        /// The service.
        service: ServiceName,
        /// Why.
        source: ReadError,
    },
    /// The copies that answered do not prove anything.
    #[error("the pins of {0} cannot be listed: the vault's copies do not answer")]
    Silent(ServiceName),
    /// Not what Lifeboat writes.
    #[error("the pin {name} is malformed")]
    Malformed {
        /// The object.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// What prune does is not known.
    #[error("whether prune deletes it cannot be read from the journal")]
    Journal(#[source] crate::journal::JournalError),
}

/// A pin of ours. It stays when this is dropped: [`Held::remove`] it, or it is forgotten in time.
#[derive(Debug)]
pub struct Held {
    vault: Vault,
    service: ServiceName,
    pin: Pin,
}

/// Pins `point`, or says that a backup is running.
///
/// # Errors
/// [`PinError::Buried`] when prune was first (I1).
pub async fn put(
    vault: &Vault,
    service: &ServiceName,
    purpose: Purpose,
    point: Option<&str>,
    holder: &str,
) -> Result<Held, PinError> {
    let clock = vault.clock();
    let (id, now) = (RandomId::new(clock.as_ref()).to_string(), clock.now());
    let (holder, point) = (holder.to_owned(), point.map(str::to_owned));
    let pin = Pin { id, number: 1, purpose, holder, point, written: now, refreshed: now };
    let held = Held { vault: vault.clone(), service: service.clone(), pin };
    held.write(&held.pin).await?;
    if let Some(point) = held.pin.point.clone() {
        let tombs = match Tombs::read(vault, service).await {
            Ok(tombs) => tombs,
            Err(source) => {
                held.remove().await;
                return Err(PinError::Journal(source));
            }
        };
        if tombs.buries_point(&point) {
            held.remove().await;
            return Err(PinError::Buried(point));
        }
    }
    Ok(held)
}

impl Held {
    /// What it says.
    #[must_use]
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    async fn write(&self, pin: &Pin) -> Result<(), PinError> {
        let name = names::pin(&self.service, &pin.id, pin.number);
        let raw = serde_json::to_vec(pin).expect("texts and numbers serialise");
        let written = self.vault.put(&name, &raw, Reach::Durable).await;
        written.map(drop).map_err(|source| PinError::Write { service: self.service.clone(), source })
    }

    /// Says that we still need it.
    ///
    /// # Errors
    /// [`PinError::Write`]: the pin before it still stands.
    pub async fn refresh(&mut self) -> Result<(), PinError> {
        let mut next = self.pin.clone();
        (next.number, next.refreshed) = (next.number + 1, self.vault.clock().now());
        self.write(&next).await?;
        let before = names::pin(&self.service, &self.pin.id, self.pin.number);
        self.pin = next;
        // One that stays is overruled by its successor.
        self.vault.copies().delete(vec![before]).await;
        Ok(())
    }

    /// Takes the pin away.
    pub async fn remove(self) {
        take_away(&self.vault, &self.service, &self.pin).await;
    }
}

/// Takes a pin away that is another's: a person's word.
pub async fn take_away(vault: &Vault, service: &ServiceName, pin: &Pin) {
    // An earlier number may have stayed when a copy was away.
    let first = pin.number.saturating_sub(1).max(1);
    let names = (first..=pin.number).map(|number| names::pin(service, &pin.id, number)).collect();
    // What a silent copy keeps is forgotten in time (I2).
    vault.copies().delete(names).await;
}

/// Listings of the pins before it is said that they are not known: each is overtaken by a refresh.
const LOOKS: usize = 5;

/// All pins of a service, each as it was refreshed last.
///
/// # Errors
/// [`PinError`]; a pin that cannot be read is never taken for none.
pub async fn list(vault: &Vault, service: &ServiceName) -> Result<Vec<Pin>, PinError> {
    for _ in 0..LOOKS {
        if let Some(pins) = look(vault, service).await? {
            return Ok(pins);
        }
    }
    Err(PinError::Silent(service.clone()))
}

/// One look; `None` if a pin was refreshed or taken away between its listing and its reading.
async fn look(vault: &Vault, service: &ServiceName) -> Result<Option<Vec<Pin>>, PinError> {
    let prefix = names::pins(service);
    let listing = vault.copies().list(&prefix).await;
    if !listing.is_complete {
        return Err(PinError::Silent(service.clone()));
    }
    let mut newest = BTreeMap::new();
    for name in listing.objects.keys() {
        let id = name.strip_prefix(&prefix).and_then(|rest| rest.strip_prefix('/')?.split_once('/'));
        let (Some((id, _)), Some(number)) = (id, names::number(name)) else { continue };
        newest.insert(id.to_owned(), number);
    }
    let mut pins = Vec::with_capacity(newest.len());
    for (id, number) in newest {
        let name = names::pin(service, &id, number);
        match vault.read(&name).await {
            Ok(raw) => {
                let pin = serde_json::from_slice(&raw);
                pins.push(pin.map_err(|source| PinError::Malformed { name, source })?);
            }
            Err(error) if error.is_missing() => return Ok(None),
            Err(source) => return Err(PinError::Read { service: service.clone(), source }),
        }
    }
    Ok(Some(pins))
}
