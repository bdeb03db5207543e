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

mod calendar;
mod communication;
mod duties;
mod objectives;
mod origin;
mod people;
mod protection;
mod runbooks;
mod scenarios;
mod services;

pub use calendar::{Calendar, Checklist, Drill, Review};
pub use communication::{Channel, Communication, StatusPage, Template, Update};
pub use duties::{Duties, Form, Kpi};
pub use objectives::{Objectives, Tier, TierKind, Wording};
pub use origin::{Note, Origin};
pub use people::{Approver, Contact, Escalation, People, Role};
pub use protection::{Advance, Base, Check, Keep, Postgres, Stream, Vault, VaultCopy};
pub use runbooks::{
    Carry, CheckMapping, Choice, Choose, Does, Runbook, Shell, Step, StepCheck, StepClass, StepError,
    Variable, VariableType, Verify, WhenFailed,
};
pub use scenarios::{Grade, Scenario};
pub use services::{Backup, Service};

use crate::schema::Keyed;
use crate::values::{Cadence, Date, Label};
use lifeboat_base::ServiceName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
    /// Objectives of tiers, environments and kinds of data; a service says which it belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    /// Where Lifeboat keeps backups. Needed as soon as a service has `postgres`.
    #[serde(default, skip_serializing_if = "Vault::is_empty")]
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
    /// Who does what, and how they are reached.
    #[serde(default, skip_serializing_if = "People::is_empty")]
    pub people: People,
    /// Who is told what, where, how often and in which words.
    #[serde(default, skip_serializing_if = "Communication::is_empty")]
    pub communication: Communication,
    /// What is gone through in an incident, phase by phase.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checklists: Vec<Checklist>,
    /// What is tested, rehearsed and reviewed.
    #[serde(default, skip_serializing_if = "Calendar::is_empty")]
    pub calendar: Calendar,
    /// What remains to be done: after an incident, towards the law, and to know how good one is.
    #[serde(default, skip_serializing_if = "Duties::is_empty")]
    pub duties: Duties,
    /// What else people should know: what has no place of its own above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Where the plan came from, if it was imported from a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
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
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The version of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The team or person who keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// The day of its last review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<Date>,
    /// The day of its next review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_review: Option<Date>,
    /// How often it must be reviewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_every: Option<Cadence>,
}

impl Plan {
    /// The service of that name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }

    /// A service's objectives; where it states none, its tier's, then the plan's.
    #[must_use]
    pub fn objectives_of(&self, service: &Service) -> Objectives {
        let tier = service.tier.as_ref().and_then(|name| self.tiers.iter().find(|tier| tier.name == *name));
        let outer = match tier {
            Some(tier) => tier.objectives.or(&self.objectives),
            None => self.objectives.or(&Objectives::default()),
        };
        service.objectives.or(&outer)
    }
}
