//! Lifeboat: plan.
