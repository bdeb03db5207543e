//! The plan, typed: what the document says once it has been checked.
//!
//! The doc comment of each field is its description in the JSON Schema and so the help that an
//! editor shows: write it for the person who fills the plan in.
//!
//! # Invariants
//! - **M1 the schema decides.** Types, required keys and allowed values stand here and nowhere
//!   else; [`crate::shape`] checks documents by the schema made from these types.
//!
//! Deliberately absent: rules between two places of the document; those are in [`crate::sense`].

use crate::schema::Keyed;
use crate::values::{
    AbsolutePath, ActionName, Conninfo, CopyUrl, Cron, Date, Interval, Label, ParseSlotError, ServiceLabel,
    Size, SlotName, Zone,
};
use lifeboat_base::ServiceName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A disaster-recovery plan: what must come back, how fast, with how little lost, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// What the document is.
    pub kind: Kind,
    /// What the plan is called, whose it is and when it was last looked at.
    pub metadata: Metadata,
    /// Objectives for every service and scenario; each may tighten them.
    #[serde(default, skip_serializing_if = "Objectives::is_empty")]
    pub objectives: Objectives,
    /// Where backups are kept.
    pub vault: Vault,
    /// The things that must come back.
    #[schemars(length(min = 1))]
    pub services: Vec<Service>,
    /// What may happen, how it is noticed and what is done then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scenarios: Vec<Scenario>,
    /// What is done, step by step, by the runbook's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Keyed<Label, Runbook>")]
    pub runbooks: BTreeMap<Label, Runbook>,
}

/// The version of the plan's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first version.
    #[serde(rename = "lifeboat/v1")]
    V1,
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A disaster-recovery plan.
    RecoveryPlan,
}

/// What the plan is called, whose it is and when it was last looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    /// The plan's name.
    pub name: Label,
    /// The team or person who keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// The day of its last review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<Date>,
    /// How often it must be reviewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_every: Option<Interval>,
}

/// How fast something must come back, and with how little lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Objectives {
    /// Recovery time objective: how long it may take until it serves again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Interval>,
    /// Recovery point objective: how much of the newest data, as time, may be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Interval>,
    /// Maximum tolerable downtime: after this long the damage to the business is not acceptable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtd: Option<Interval>,
}

impl Objectives {
    /// Whether none is stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These where they are stated, else those of `outer`.
    #[must_use]
    pub fn or(self, outer: Self) -> Self {
        Self { rto: self.rto.or(outer.rto), rpo: self.rpo.or(outer.rpo), mtd: self.mtd.or(outer.mtd) }
    }
}

/// Where backups are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Vault {
    /// The copies of the vault, best in different regions or at different providers. An address, or
    /// a mapping with `url`.
    #[schemars(with = "Vec<CopyForm>", length(min = 1))]
    pub copies: Vec<VaultCopy>,
    /// In how many copies outside a service's own failure domain a write must be durable before it
    /// counts.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub durable: u32,
    /// The copy, by name or address, where leases live. Default: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
}

fn one() -> u32 {
    1
}

impl Vault {
    /// The copy where leases live; none only if there is no copy, which a loaded plan cannot have.
    #[must_use]
    pub fn home(&self) -> Option<&VaultCopy> {
        match &self.home {
            Some(home) => self.copies.iter().find(|copy| copy.is_called(home)),
            None => self.copies.first(),
        }
    }

    /// The copies that would survive the loss of `domain`: those in another one, and those that
    /// name none (of which the plan's findings warn).
    pub fn copies_outside<'a>(&'a self, domain: Option<&'a str>) -> impl Iterator<Item = &'a VaultCopy> {
        self.copies.iter().filter(move |copy| domain.is_none() || copy.domain.as_deref() != domain)
    }
}

/// One copy of the vault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "CopyForm", rename_all = "camelCase")]
pub struct VaultCopy {
    /// Its address.
    pub url: CopyUrl,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Label>,
    /// Its failure domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The store's own endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The bucket's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl VaultCopy {
    /// Whether `text` is its name or its address.
    #[must_use]
    pub fn is_called(&self, text: &str) -> bool {
        self.name.as_ref().is_some_and(|name| name.as_str() == text)
            || text.parse::<CopyUrl>().is_ok_and(|url| url == self.url)
    }
}

/// A copy as it is written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum CopyForm {
    Address(CopyUrl),
    Mapping(CopyMapping),
}

/// A copy of the vault and what is to be known about it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "VaultCopy")]
struct CopyMapping {
    /// The address.
    url: CopyUrl,
    /// A name to speak of it.
    #[serde(default)]
    name: Option<Label>,
    /// What fails together with it: a region, a site, a provider. Compared with a service's `domain`.
    #[serde(default)]
    domain: Option<String>,
    /// The endpoint of a store that speaks S3 but is not Amazon's.
    #[serde(default)]
    endpoint: Option<String>,
    /// The bucket's region.
    #[serde(default)]
    region: Option<String>,
}

impl From<CopyForm> for VaultCopy {
    fn from(form: CopyForm) -> Self {
        match form {
            CopyForm::Address(url) => Self { url, name: None, domain: None, endpoint: None, region: None },
            CopyForm::Mapping(CopyMapping { url, name, domain, endpoint, region }) => {
                Self { url, name, domain, endpoint, region }
            }
        }
    }
}

/// Something that must come back: a database, an application, a bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Service {
    /// The service's name.
    #[schemars(with = "ServiceLabel")]
    pub name: ServiceName,
    /// The services that must be back before this one can be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<ServiceLabel>")]
    pub needs: Vec<ServiceName>,
    /// Its own objectives, where they are tighter than the plan's.
    #[serde(default, skip_serializing_if = "Objectives::is_empty")]
    pub objectives: Objectives,
    /// What fails together with it: a region, a site, a provider. Copies of the vault in the same one
    /// do not count as durable for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// How it is protected, if it is a PostgreSQL cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
}

/// How a PostgreSQL cluster is protected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Postgres {
    /// How the server is reached, by a role that may replicate. Never a password.
    pub connection: Conninfo,
    /// A file, readable by its owner alone, that holds the role's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<AbsolutePath>,
    /// The server's data directory, if it is on this machine: base backups then read it in parallel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_directory: Option<AbsolutePath>,
    /// The replication slot. Default: `lifeboat_` and the service's name, its hyphens underscores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotName>,
    /// How each standby is reached. The slot is kept on them too, so that a promotion leaves no hole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standbys: Vec<Conninfo>,
    /// When a base backup is taken.
    pub base: Base,
    /// How often the newest restore point is recovered further forward, at no cost to production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advance: Option<Advance>,
    /// What is kept. Left out, nothing is ever removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// Whether WAL is received as it is written.
    #[serde(default)]
    pub stream: Stream,
    /// Questions that a recovered database must answer with true before it counts as recovered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// Where a recovery puts tablespaces: production's directory, and the one to use instead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Keyed<AbsolutePath, AbsolutePath>")]
    pub tablespaces: BTreeMap<AbsolutePath, AbsolutePath>,
}

impl Postgres {
    /// The slot that the plan names, else the one named after the service.
    ///
    /// # Errors
    /// When neither is possible; the plan's findings say so before.
    pub fn slot_name(&self, service: &ServiceName) -> Result<SlotName, ParseSlotError> {
        self.slot.clone().map_or_else(|| SlotName::of_service(service), Ok)
    }
}

/// When a base backup is taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Base {
    /// When, as a cron expression.
    pub schedule: Cron,
    /// The time zone of `schedule`.
    pub time_zone: Zone,
    /// The most that a base backup reads in a second. Left out, as fast as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Size>,
}

/// How often the newest restore point is recovered forward over archived WAL. Whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Advance {
    /// After this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Interval>,
    /// After this much WAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<Size>,
}

/// What is kept. A restore point stays while any of these wants it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Keep {
    /// The newest so many restore points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// The newest one of each of so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<u32>,
    /// The newest one of each of so many weeks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<u32>,
    /// The newest one of each of so many months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<u32>,
    /// The newest one of each of so many years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yearly: Option<u32>,
    /// How far back every single moment can be recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Interval>,
}

/// Whether and how WAL is received as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Stream {
    /// Receive WAL over the replication slot.
    pub enabled: bool,
    /// Let commits wait until the vault has them: nothing is lost, and production waits for the vault.
    pub synchronous: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self { enabled: true, synchronous: false }
    }
}

/// A question that a recovered database must answer with true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Check {
    /// A name for reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One SQL query; its first column must be true.
    #[schemars(length(min = 1))]
    pub query: String,
}

/// Something that may happen, how it is noticed and what is done then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scenario {
    /// The scenario's name.
    pub name: Label,
    /// The signals that point to it, each as service and signal: `orders-db.checks`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detect: Vec<String>,
    /// How grave it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Grade>,
    /// Its own objectives, where they are tighter than the plan's.
    #[serde(default, skip_serializing_if = "Objectives::is_empty")]
    pub objectives: Objectives,
    /// The name of the runbook to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Label>,
}

/// How grave a scenario is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Grade {
    /// The business stands still.
    P1,
    /// A main function is lost.
    P2,
    /// A function is lost or slow; there is a way around it.
    P3,
    /// Hardly noticed.
    P4,
}

/// What is done, step by step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Runbook {
    /// The steps, in order.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
}

/// One step: a mapping with the action's name as its one key and the arguments as its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<ActionName, serde_json::Value>",
    into = "BTreeMap<ActionName, serde_json::Value>"
)]
pub struct Step {
    /// The action.
    pub action: ActionName,
    /// What it is called with; the action's own types check it.
    pub arguments: serde_json::Value,
}

/// A step is not a mapping of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a step has one action, not {0}")]
pub struct StepError(usize);

impl TryFrom<BTreeMap<ActionName, serde_json::Value>> for Step {
    type Error = StepError;

    fn try_from(entries: BTreeMap<ActionName, serde_json::Value>) -> Result<Self, Self::Error> {
        let count = entries.len();
        let mut entries = entries.into_iter();
        match (entries.next(), entries.next()) {
            (Some((action, arguments)), None) => Ok(Self { action, arguments }),
            _ => Err(StepError(count)),
        }
    }
}

impl From<Step> for BTreeMap<ActionName, serde_json::Value> {
    fn from(step: Step) -> Self {
        Self::from([(step.action, step.arguments)])
    }
}

impl JsonSchema for Step {
    fn schema_name() -> Cow<'static, str> {
        "Step".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "One step: the action's name, and below it what it is called with.",
            "minProperties": 1,
            "maxProperties": 1,
            "propertyNames": generator.subschema_for::<ActionName>(),
            "additionalProperties": true,
        })
    }
}

impl Plan {
    /// The service of that name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }

    /// A service's objectives, the plan's where it states none.
    #[must_use]
    pub fn objectives_of(&self, service: &Service) -> Objectives {
        service.objectives.or(self.objectives)
    }
}
