//! What must come back, and how it is backed up.

use super::{Objectives, Postgres};
use crate::values::{Cadence, Cron, Interval, Label, ServiceLabel, Zone};
use lifeboat_base::ServiceName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that must come back: a database, an application, a bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Service {
    /// The service's name.
    #[schemars(with = "ServiceLabel")]
    pub name: ServiceName,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The services that must be back before this one can be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<ServiceLabel>")]
    pub needs: Vec<ServiceName>,
    /// The tier, environment or kind of data whose objectives it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Label>,
    /// Its own objectives, where they are tighter than the plan's.
    #[serde(default, skip_serializing_if = "Objectives::is_empty")]
    pub objectives: Objectives,
    /// What fails together with it: a region, a site, a provider. Copies of the vault in the same one
    /// do not count as durable for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// How Lifeboat protects it, if it is a PostgreSQL cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// How it is backed up by other means; for people to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<Backup>,
}

/// A backup that something else than Lifeboat takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Backup {
    /// What is backed up, or what the backup is called.
    pub name: String,
    /// How: a dump, a snapshot, replication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// When, as a cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Cron>,
    /// The time zone of `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Zone>,
    /// How often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Cadence>,
    /// When, in words, where they say more than `schedule` and `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Whether changes are carried on as they happen: WAL archiving, replication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuous: Option<bool>,
    /// How long it is kept, at the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Interval>,
    /// How long it is kept, in words, where they say more than `keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// Where it lies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub location: Vec<String>,
    /// How it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// The runbook by which it is taken by hand or looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Label>,
    /// What else is to be known of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
