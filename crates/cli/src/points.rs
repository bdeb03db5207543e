//! Restore points as commands show them: the manifest, and what became of it.

use crate::failure::Next;
use crate::journal::{Verdict, verdicts};
use crate::settings::Opened;
use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use lifeboat_base::{Lsn, ServiceName, SystemId, Timeline, error_chain};
use lifeboat_vault::Vault;
use lifeboat_vault::point::{self, DamagedPage, PointError, RestorePoint, Tablespace};
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
    /// The older point that it was recovered forward from; none if production was read.
    pub advanced_from: Option<String>,
    /// Whether a standby was read.
    pub from_standby: bool,
    /// Whether pages carry checksums.
    pub checksums: bool,
    /// Tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// Pages that production itself could not read, and those of which that is suspected.
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
            advanced_from: point.advanced_from,
            from_standby: point.from_standby,
            checksums: point.checksums,
            tablespaces: point.tablespaces,
            damaged_pages: point.damaged_pages,
        }
    }
}

/// What is known of a service's restore points.
pub struct Known {
    /// Those that can be read, oldest first.
    pub points: Vec<RestorePoint>,
    /// The same, as they are shown.
    pub views: Vec<PointView>,
    /// What is said of those that cannot.
    pub unread: Vec<String>,
}

/// The restore points of a service.
///
/// # Errors
/// If the vault does not answer.
pub async fn of_service(vault: &Vault, service: &ServiceName) -> anyhow::Result<Known> {
    let listed = point::list_readable(&vault.as_seen(), service).await;
    let (points, unread) = listed.context("restore points cannot be listed")?;
    let verdicts = verdicts(vault, service).await?;
    let views = points.iter().map(|point| PointView::new(point, verdicts.get(&point.id))).collect();
    let unread = unread.iter().map(|(id, error)| unreadable(id, error)).collect();
    Ok(Known { points, views, unread })
}

/// What is said of a restore point whose manifest cannot be read.
#[must_use]
pub fn unreadable(id: &str, error: &PointError) -> String {
    format!(
        "restore point {id} cannot be read and is left out ({}): `lifeboat vault check --repair` heals it from a copy that has it whole",
        error_chain(error)
    )
}

/// The services that the plan protects, and then those that only the vault has something of.
///
/// # Errors
/// If the vault does not answer.
pub async fn services(opened: &Opened) -> anyhow::Result<Vec<ServiceName>> {
    let mut services = planned(opened);
    let (held, _) = in_vault(&opened.vault).await?;
    services.extend(held.into_iter().filter(|name| !planned(opened).contains(name)));
    Ok(services)
}

/// Requires that somebody has heard of a service: a mistyped name must not sound like a loss.
///
/// # Errors
/// If neither the plan nor the vault knows it; those that are known are named.
pub async fn must_be_known(opened: &Opened, service: &ServiceName) -> anyhow::Result<()> {
    if opened.plan.as_ref().is_some_and(|plan| plan.plan.service(service).is_some()) {
        return opened.postgres(service).map(drop);
    }
    let mut known = planned(opened);
    let (held, silent) = in_vault(&opened.vault).await?;
    if held.contains(service) {
        return Ok(());
    }
    known.extend(held);
    let doubt = if silent { ", as far as the copies that answer know" } else { "" };
    Err(anyhow!("neither the plan nor the vault has a service `{service}`{doubt}"))
        .next(instead(service, known.iter().map(ServiceName::as_str)))
}

/// What may have been meant: `did you mean `orders-db`? There are: orders-db, users-db`.
#[must_use]
pub fn instead<'a>(service: &ServiceName, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: BTreeSet<&str> = known.into_iter().collect();
    if known.is_empty() {
        return "there is none yet: `lifeboat init` writes a plan, `lifeboat backup run` takes a backup"
            .to_owned();
    }
    let all = known.iter().copied().collect::<Vec<_>>().join(", ");
    match lifeboat_plan::nearest(service.as_str(), known) {
        Some(near) => format!("did you mean `{near}`? The services are: {all}"),
        None => format!("the services are: {all}"),
    }
}

fn planned(opened: &Opened) -> Vec<ServiceName> {
    let services = opened.plan.iter().flat_map(|plan| &plan.plan.services);
    services.filter(|service| service.postgres.is_some()).map(|service| service.name.clone()).collect()
}

/// The services that the vault has something of, and whether a copy was silent that may have more.
async fn in_vault(vault: &Vault) -> anyhow::Result<(BTreeSet<ServiceName>, bool)> {
    let copies = vault.copies();
    let (mut services, mut silent) = (BTreeSet::new(), 0);
    for copy in 0..copies.all().len() {
        match copies.children_in(copy, "services").await {
            Ok(names) => {
                services.extend(names.iter().filter_map(|name| name.rsplit('/').next()?.parse().ok()))
            }
            Err(_) => silent += 1,
        }
    }
    if silent == copies.all().len() {
        bail!("the vault's copies do not answer");
    }
    Ok((services, silent > 0))
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
        Some(service) => {
            must_be_known(opened, &service).await?;
            vec![service]
        }
        None => services(opened).await?,
    };
    let mut found = Vec::new();
    for service in services {
        let listed = point::list_readable(&opened.vault.as_seen(), &service).await;
        let (points, unread) = listed.context("restore points cannot be listed")?;
        let mut points: Vec<_> =
            points.into_iter().filter(|point| id == LATEST || point.id.starts_with(id)).collect();
        if id == LATEST {
            points.sort_by_key(|point| point.finished);
            points.drain(..points.len().saturating_sub(1));
        }
        // Their names sort by time: what was asked for may be one that cannot be read.
        let is_meant = |name: &str| match points.last() {
            newest if id == LATEST => newest.is_none_or(|newest| name > newest.id.as_str()),
            _ => name.starts_with(id),
        };
        if let Some((name, error)) = unread.into_iter().find(|(name, _)| is_meant(name)) {
            let what = anyhow::Error::new(error).context(format!("restore point {name} cannot be read"));
            return Err(what).next(
                "`lifeboat vault check --repair` heals it from a copy that has it whole; `lifeboat backup list` shows the others",
            );
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

/// Pages that are told one by one; of more, how many there are.
pub const PAGES_TOLD: usize = 20;

/// What a backup found wrong with production's pages, in a sentence; none if nothing was.
#[must_use]
pub fn damage(pages: &[DamagedPage]) -> Option<String> {
    let (suspect, damaged): (Vec<_>, Vec<_>) = pages.iter().partition(|page| page.suspect);
    let mut said = Vec::new();
    if !damaged.is_empty() {
        let them = if damaged.len() == 1 { "it" } else { "them" };
        said.push(format!("DAMAGED: {}: production itself could not read {them}", list(&damaged)));
    }
    if !suspect.is_empty() {
        let are = if suspect.len() == 1 { "was" } else { "were" };
        said.push(format!(
            "SUSPECT: {}: {are} not read a second time; `lifeboat backup verify` finds out",
            list(&suspect)
        ));
    }
    (!said.is_empty()).then(|| said.join("; "))
}

fn list(pages: &[&DamagedPage]) -> String {
    let mut shown: Vec<String> = pages.iter().take(PAGES_TOLD).map(ToString::to_string).collect();
    if pages.len() > PAGES_TOLD {
        shown.push(format!("{} more", pages.len() - PAGES_TOLD));
    }
    shown.join("; ")
}
