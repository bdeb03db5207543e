//! Lifeboat: core.
