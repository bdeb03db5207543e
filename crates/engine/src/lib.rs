//! Lifeboat: engine.
