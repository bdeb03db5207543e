//! How fast something must be back, and with how little lost: of all, and of tiers, environments and kinds of data.

use crate::values::{Interval, Label};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How fast something must come back, and with how little lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Mean time to recovery: how long it takes on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mttr: Option<Interval>,
    /// The objectives in words, where they say more than a duration: a range, a condition, what is no duration.
    #[serde(default, skip_serializing_if = "Wording::is_empty")]
    pub words: Wording,
}

/// Objectives in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Wording {
    /// Of the recovery time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<String>,
    /// Of the recovery point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<String>,
    /// Of the tolerable downtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtd: Option<String>,
    /// Of the mean time to recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mttr: Option<String>,
}

impl Wording {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Objectives {
    /// Whether none is stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These where they are stated as durations, else those of `outer`; without words.
    #[must_use]
    pub fn or(&self, outer: &Self) -> Self {
        Self {
            rto: self.rto.or(outer.rto),
            rpo: self.rpo.or(outer.rpo),
            mtd: self.mtd.or(outer.mtd),
            mttr: self.mttr.or(outer.mttr),
            words: Wording::default(),
        }
    }
}

/// Objectives of a tier, an environment or a kind of data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tier {
    /// Its name.
    pub name: Label,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What has the objectives in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<TierKind>,
    /// Its objectives.
    #[serde(default, skip_serializing_if = "Objectives::is_empty")]
    pub objectives: Objectives,
}

/// What has objectives in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TierKind {
    /// Services of one importance.
    Tier,
    /// Production, staging, test.
    Environment,
    /// Data of one kind.
    Data,
}
