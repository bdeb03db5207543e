//! Lifeboat: postgres.
