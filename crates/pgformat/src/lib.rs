//! Lifeboat: pgformat.
