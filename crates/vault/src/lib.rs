//! Lifeboat: vault.
