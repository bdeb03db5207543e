//! A password that stays out of logs.
//!
//! # Invariants
//! - Neither `Debug` nor any `Display` shows it; its memory is wiped when it is dropped.

use std::fmt;
use zeroize::Zeroizing;

/// A password. Printing it prints that it is hidden.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password over; the caller's copy is this one.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The password itself, for the one place that proves to a server that we know it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}
