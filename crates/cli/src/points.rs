//! Restore points as commands show them: the manifest, and what became of it.

use crate::failure::Next;
use crate::journal::{Verdict, verdicts};
use crate::settings::Opened;
use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use lifeboat_base::{Lsn, ServiceName, SystemId, Timeline};
use lifeboat_vault::Vault;
use lifeboat_vault::point::{self, DamagedPage, RestorePoint, Tablespace};
use serde::Serialize;
use std::collections::BTreeSet;

/// How far a restore point is proven (DESIGN §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Nobody has recovered it yet.
    Written,
    /// It was recovered, and answered.
    Verified,
    /// It was recovered, and something was answered with no, or could not be asked.
    Doubtful,
    /// It was not recovered.
    Failed,
}

impl State {
    /// For people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Verified => "verified",
            Self::Doubtful => "DOUBTFUL",
            Self::Failed => "FAILED",
        }
    }
}

/// One restore point.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PointView {
    /// Its name.
    pub id: String,
    /// Its service.
    pub service: ServiceName,
    /// How far it is proven.
    pub state: State,
    /// When that was found out.
    pub verified_at: Option<Timestamp>,
    /// What was found out.
    pub verified_detail: Option<String>,
    /// When it was begun.
    pub started: Timestamp,
    /// When it was whole.
    pub finished: Timestamp,
    /// PostgreSQL's major version.
    pub major: u32,
    /// The cluster.
    pub system_id: SystemId,
    /// The timeline.
    pub timeline: Timeline,
    /// Where replay starts.
    pub start: Lsn,
    /// Where it is consistent.
    pub stop: Lsn,
    /// Bytes in its files.
    pub size_bytes: u64,
    /// Bytes stored.
    pub stored_bytes: u64,
    /// Files.
    pub files: u64,
    /// Layers, newest first.
    pub layers: Vec<String>,
    /// Whether a standby was read.
    pub from_standby: bool,
    /// Whether pages carry checksums.
    pub checksums: bool,
    /// Tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// Pages that production itself could not read.
    pub damaged_pages: Vec<DamagedPage>,
}

impl PointView {
    /// A manifest and its verdict.
    #[must_use]
    pub fn new(point: &RestorePoint, verdict: Option<&Verdict>) -> Self {
        let point = point.clone();
        Self {
            state: verdict.map_or(State::Written, |verdict| verdict.state),
            verified_at: verdict.map(|verdict| verdict.time),
            verified_detail: verdict.map(|verdict| verdict.detail.clone()),
            id: point.id,
            service: point.service,
            started: point.started,
            finished: point.finished,
            major: point.major,
            system_id: point.system_id,
            timeline: point.timeline,
            start: point.start,
            stop: point.stop,
            size_bytes: point.size_bytes,
            stored_bytes: point.stored_bytes,
            files: point.files,
            layers: point.layers,
            from_standby: point.from_standby,
            checksums: point.checksums,
            tablespaces: point.tablespaces,
            damaged_pages: point.damaged_pages,
        }
    }
}

/// The restore points of a service, oldest first.
///
/// # Errors
/// If the vault does not answer.
pub async fn of_service(vault: &Vault, service: &ServiceName) -> anyhow::Result<Vec<PointView>> {
    let points = point::list(&vault.as_seen(), service).await.context("restore points cannot be listed")?;
    let verdicts = verdicts(vault, service).await?;
    Ok(points.iter().map(|point| PointView::new(point, verdicts.get(&point.id))).collect())
}

/// The services that the plan protects, else those that the vault has something of.
///
/// # Errors
/// If the vault does not answer.
pub async fn services(opened: &Opened) -> anyhow::Result<Vec<ServiceName>> {
    if let Some(plan) = &opened.plan {
        let protected = plan.plan.services.iter().filter(|service| service.postgres.is_some());
        return Ok(protected.map(|service| service.name.clone()).collect());
    }
    let listing = opened.vault.copies().as_seen().list("services").await;
    if !listing.is_complete {
        bail!("the vault's copies do not answer");
    }
    let name = |object: &String| object.split('/').nth(1)?.parse().ok();
    Ok(listing.objects.keys().filter_map(name).collect::<BTreeSet<ServiceName>>().into_iter().collect())
}

/// What stands for the newest restore point.
const LATEST: &str = "latest";

/// The restore point whose name begins with `id`; or the newest one, for `latest` where one service alone has
/// any, and for `SERVICE/latest`.
///
/// # Errors
/// If there is none, or there are several.
pub async fn find(opened: &Opened, id: &str) -> anyhow::Result<RestorePoint> {
    let (of, id) = match id.rsplit_once('/') {
        Some((service, id)) => {
            (Some(service.parse::<ServiceName>().with_context(|| format!("`{service}` is no service"))?), id)
        }
        None => (None, id),
    };
    let services = match of {
        Some(service) => vec![service],
        None => services(opened).await?,
    };
    let mut found = Vec::new();
    for service in services {
        let points = point::list(&opened.vault.as_seen(), &service)
            .await
            .context("restore points cannot be listed")?;
        let mut points: Vec<_> =
            points.into_iter().filter(|point| id == LATEST || point.id.starts_with(id)).collect();
        if id == LATEST {
            points.sort_by_key(|point| point.finished);
            points.drain(..points.len().saturating_sub(1));
        }
        found.extend(points);
    }
    let several = found.len() > 1;
    let all: Vec<String> = found.iter().map(|point| format!("{}/{LATEST}", point.service)).collect();
    match found.pop() {
        Some(_) if several && id == LATEST => Err(anyhow!("several services have restore points"))
            .next(format!("say of which: {}", all.join(", "))),
        Some(_) if several => {
            Err(anyhow!("several restore points begin with `{id}`")).next("write more of it")
        }
        Some(point) => Ok(point),
        None if id == LATEST => {
            Err(anyhow!("there is no restore point yet")).next("take one: `lifeboat backup run`")
        }
        None => Err(anyhow!("no restore point begins with `{id}`"))
            .next("`lifeboat backup list` shows those that there are"),
    }
}
