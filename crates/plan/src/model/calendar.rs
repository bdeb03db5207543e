//! What is gone through, tested and rehearsed, and when.

use crate::values::{Cadence, Interval, Label};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is gone through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Checklist {
    /// What it is called.
    pub name: String,
    /// It begins so long after the beginning, or the end, of the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Interval>,
    /// It is done so long after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Interval>,
    /// What is ticked off.
    #[schemars(length(min = 1))]
    pub items: Vec<String>,
}

/// What is tested, rehearsed and reviewed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Calendar {
    /// Tests and drills.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drills: Vec<Drill>,
    /// Reviews of this plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<Review>,
    /// What a test must show to have succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success: Vec<Checklist>,
    /// How a drill goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub procedure: Vec<String>,
    /// What else is to be known of tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Calendar {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A test or a drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Drill {
    /// What it is called.
    pub name: String,
    /// How often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Cadence>,
    /// When, in words: `Q1`, `first Monday`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// How long it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Interval>,
    /// What is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// What must come of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub criteria: Vec<String>,
    /// The scenario that is rehearsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Label>,
    /// Who does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// A review.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Review {
    /// What is reviewed, or when.
    pub name: String,
    /// How often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Cadence>,
}
