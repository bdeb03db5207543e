//! How Lifeboat protects a PostgreSQL cluster, and the vault that it does so with.

use crate::schema::Keyed;
use crate::values::{
    AbsolutePath, Conninfo, CopyUrl, Cron, Interval, Label, ParseSlotError, Size, SlotName, Zone,
};
use lifeboat_base::ServiceName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

impl Default for Vault {
    fn default() -> Self {
        Self { copies: Vec::new(), durable: one(), home: None }
    }
}

impl Vault {
    /// Whether the plan names none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The copy where leases live; none if the plan names no vault.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
