//! Lifeboat: testkit.
