//! Scopes: what a chain of the journal, or a lease, is for.

use crate::names;
use lifeboat_base::ServiceName;
use serde::{Deserialize, Serialize};

/// The longest scope.
const SCOPE_LIMIT: usize = 200;

/// What a chain, or a lease, is for: `prune`, or `services/orders-db/backup`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Scope(String);

/// The text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scope: use words of lower-case letters, digits, `-`, `_`, joined by `/`")]
pub struct BadScope(String);

impl Scope {
    /// The scope called `text`.
    ///
    /// # Errors
    /// [`BadScope`] for what would not be a safe object name, or could be taken for a record's.
    pub fn new(text: &str) -> Result<Self, BadScope> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let words = text.split('/').all(|word| !word.is_empty() && word.bytes().all(plain));
        let valid = words && text.len() <= SCOPE_LIMIT && names::number(text).is_none();
        if valid { Ok(Self(text.to_owned())) } else { Err(BadScope(text.to_owned())) }
    }

    /// One of a service's scopes: its stream, its backups.
    ///
    /// # Panics
    /// If `role` is no plain word; roles are constants.
    #[must_use]
    pub fn service(service: &ServiceName, role: &'static str) -> Self {
        Self::new(&format!("services/{service}/{role}")).expect("roles are plain words")
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Scope {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for Scope {
    type Error = BadScope;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_safe_object_name_and_no_record() {
        for good in ["prune", "services/orders-db/backup", "runs/7f3a_1"] {
            assert_eq!(good.parse::<Scope>().unwrap().as_str(), good);
        }
        let number = "run/000000000001";
        for bad in ["", "/", "a/", "/a", "a//b", "..", "A", "a b", "ü", number, &"a".repeat(201)] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }
}
