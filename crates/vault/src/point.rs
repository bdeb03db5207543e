//! Restore points: the manifest that says what a backup is made of and from where recovery starts.
//!
//! # Invariants
//! - **P1 written last.** A manifest reaches a copy only after all it refers to; a killed backup leaves
//!   garbage, never a lie.
//! - **P2 immutable.** What becomes of a point later (verified, failed, pruned) is in the journal.

use crate::{Reach, ReadError, Vault, WriteError, names, seal};
use futures::StreamExt;
use jiff::Timestamp;
use lifeboat_base::{Clock, Lsn, RandomId, ServiceName, SystemId, Timeline};
use serde::{Deserialize, Serialize};

/// Manifests that are read side by side; each is a few KiB.
const READ_AHEAD: usize = 16;

/// A backup, or what an advance made: a stack of layers and where recovery starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestorePoint {
    /// Its name, which sorts by time: `20261121T090000Z-1a2b3c4d`.
    pub id: String,
    /// The service that it restores.
    pub service: ServiceName,
    /// The cluster that it is a copy of.
    pub system_id: SystemId,
    /// PostgreSQL major version.
    pub major: u32,
    /// Bytes in a WAL segment.
    pub segment_bytes: u32,
    /// Layers, newest first; the last one is a base layer.
    pub layers: Vec<String>,
    /// The older point that it was recovered forward from; none if production was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advanced_from: Option<String>,
    /// The timeline of `stop`. A standby may have begun on an ancestor of it, which `backup_label` names.
    pub timeline: Timeline,
    /// Where replay starts.
    pub start: Lsn,
    /// Where it is consistent: no moment before this can be reached from it.
    pub stop: Lsn,
    /// When the backup began.
    pub started: Timestamp,
    /// When it was whole.
    pub finished: Timestamp,
    /// Whether a standby was read.
    pub from_standby: bool,
    /// Whether pages carry checksums.
    pub checksums: bool,
    /// `backup_label`, to be written into the restored directory.
    pub backup_label: String,
    /// `tablespace_map`, likewise; empty without tablespaces.
    pub tablespace_map: String,
    /// Tablespaces: OID and where they were.
    pub tablespaces: Vec<Tablespace>,
    /// Pages that failed their checksum on production.
    pub damaged_pages: Vec<DamagedPage>,
    /// Bytes in all files.
    pub size_bytes: u64,
    /// Bytes stored for it, sealed.
    pub stored_bytes: u64,
    /// Files.
    pub files: u64,
}

/// A tablespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tablespace {
    /// Its OID: the name of the link in `pg_tblspc`.
    pub oid: u32,
    /// Its directory on production.
    pub location: String,
}

/// A page that production itself could not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DamagedPage {
    /// The file below the data directory.
    pub path: String,
    /// The block within the relation.
    pub block: u64,
    /// The database, if the server could still tell; none for what all databases share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The table or index with its schema, quoted as SQL would have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// It came damaged over the connection, and the server did not let us read it again: it may have been
    /// torn by a write, which WAL mends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspect: bool,
}

/// As people are told: `page 7 of public.ledger in shop (base/5/16384)`.
impl std::fmt::Display for DamagedPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "page {} of ", self.block)?;
        match (&self.relation, &self.database) {
            (Some(relation), Some(database)) => write!(f, "{relation} in {database} ({})", self.path)?,
            (Some(relation), None) => write!(f, "{relation} ({})", self.path)?,
            (None, _) => f.write_str(&self.path)?,
        }
        if self.suspect { f.write_str(", perhaps only torn while it was sent") } else { Ok(()) }
    }
}

/// A new name for a restore point or a layer: its time, and enough randomness to be the only one.
#[must_use]
pub fn new_id(clock: &dyn Clock) -> String {
    format!("{}-{}", clock.now().strftime("%Y%m%dT%H%M%SZ"), RandomId::new(clock).short())
}

/// Why a manifest could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PointError {
    /// No such point.
    #[error(
        "{service} has no restore point `{id}`; `lifeboat backup list {service}` shows those that it has"
    )]
    Unknown {
        /// The service.
        service: ServiceName,
        /// What was asked for.
        id: String,
    },
    /// The vault did not give it.
    #[error("restore points of {service} cannot be read")]
    Read {
        /// The service.
        service: ServiceName,
        /// Why.
        source: ReadError,
    },
    /// The copies that answered do not prove anything.
    #[error("restore points of {service} cannot be listed: the vault's copies do not answer")]
    Silent {
        /// The service.
        service: ServiceName,
    },
    /// Not what Lifeboat writes.
    #[error("the manifest {name} is malformed")]
    Malformed {
        /// The object.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// Publishes a restore point in the copies that have all its layers (P1); `vault check --repair` brings the
/// layers, and then the manifest, to the others.
///
/// The layers are looked for once more: prune may have taken them for a killed backup's, and a copy may have
/// been silent while they were written.
///
/// # Errors
/// [`WriteError`]; [`WriteError::Incomplete`] if a layer is in too few copies.
pub async fn publish(vault: &Vault, point: &RestorePoint) -> Result<(), WriteError> {
    let name = names::point(&point.service, &point.id);
    let copies = vault.copies();
    let mut whole: Vec<usize> = (0..copies.all().len()).collect();
    let mut chosen = copies.clone();
    for layer in &point.layers {
        let missing = names::layer_index(&point.service, layer);
        let listing = copies.list(&names::layer(&point.service, layer)).await;
        let is_known = listing.objects.contains_key(&missing);
        whole.retain(|copy| is_known && listing.objects.values().all(|found| found.copies.contains(copy)));
        let Some(enough) = copies.only(&whole) else {
            return Err(WriteError::Incomplete { name, missing });
        };
        chosen = enough;
    }
    let raw = serde_json::to_vec(point).expect("a manifest of texts and numbers serialises");
    let sealed = seal::seal_object(vault.key(), &name, vault.clock().as_ref(), &raw);
    chosen.put(&name, sealed.into(), Reach::All).await.map(drop)
}

/// Reads one manifest.
///
/// # Errors
/// [`PointError`].
pub async fn read(vault: &Vault, service: &ServiceName, id: &str) -> Result<RestorePoint, PointError> {
    let name = names::point(service, id);
    let bytes = match vault.read(&name).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => {
            return Err(PointError::Unknown { service: service.clone(), id: id.to_owned() });
        }
        Err(source) => return Err(PointError::Read { service: service.clone(), source }),
    };
    serde_json::from_slice(&bytes).map_err(|source| PointError::Malformed { name, source })
}

/// All restore points of a service, oldest first; one that cannot be read is an error: who deletes must know of all.
///
/// # Errors
/// [`PointError`].
pub async fn list(vault: &Vault, service: &ServiceName) -> Result<Vec<RestorePoint>, PointError> {
    let (points, unread) = read_all(vault, service).await?;
    match unread.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(points),
    }
}

/// The restore points of a service that can be read, oldest first, and the names of those that cannot, with why: one
/// manifest that is damaged takes none of the others from who restores.
///
/// # Errors
/// [`PointError::Silent`].
pub async fn list_readable(
    vault: &Vault,
    service: &ServiceName,
) -> Result<(Vec<RestorePoint>, Vec<(String, PointError)>), PointError> {
    let (points, mut unread) = read_all(vault, service).await?;
    // Pruned since it was listed.
    unread.retain(|(_, error)| !matches!(error, PointError::Unknown { .. }));
    Ok((points, unread))
}

async fn read_all(
    vault: &Vault,
    service: &ServiceName,
) -> Result<(Vec<RestorePoint>, Vec<(String, PointError)>), PointError> {
    let listing = vault.copies().list(&names::points(service)).await;
    if !listing.is_complete {
        return Err(PointError::Silent { service: service.clone() });
    }
    let ids = listing.objects.into_keys().map(|name| name.rsplit('/').next().unwrap_or_default().to_owned());
    let reads = ids.map(|id| async move {
        let point = read(vault, service, &id).await;
        (id, point)
    });
    let mut reads = futures::stream::iter(reads).buffered(READ_AHEAD);
    let (mut points, mut unread) = (Vec::new(), Vec::new());
    while let Some((id, read)) = reads.next().await {
        match read {
            Ok(point) => points.push(point),
            Err(error) => unread.push((id, error)),
        }
    }
    points.sort_by(|a, b| a.finished.cmp(&b.finished).then_with(|| a.id.cmp(&b.id)));
    Ok((points, unread))
}
