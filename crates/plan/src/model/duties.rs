//! What remains to be done: after an incident, towards the law, and to know how good one is.

use super::Checklist;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What remains to be done: after an incident, towards the law, and to know how good one is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Duties {
    /// After an incident.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_incident: Vec<Checklist>,
    /// Forms that are filled in after an incident.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<Form>,
    /// Towards the law, customers and auditors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compliance: Vec<Checklist>,
    /// Figures by which recovery is judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kpis: Vec<Kpi>,
}

impl Duties {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A form that is filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Form {
    /// What it is called.
    pub name: String,
    /// The form.
    pub text: String,
}

/// A figure by which recovery is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Kpi {
    /// What is measured.
    pub name: String,
    /// What it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}
