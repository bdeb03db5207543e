//! Where a plan came from.

use crate::values::FieldOrigin;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a plan came from. `lifeboat plan import` writes it and needs it to merge; no one else does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Origin {
    /// The document that it was imported from.
    pub document: String,
    /// The SHA-256 of that document.
    pub sha256: String,
    /// For each field that came from it: the line, and the beginning of the SHA-256 of what was imported.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, FieldOrigin>,
}

/// Something of the document that has no place of its own in a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Note {
    /// The heading that it stands under.
    pub title: String,
    /// What it says, as it is written.
    pub text: String,
}
