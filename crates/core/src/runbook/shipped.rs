//! Runbooks that come with Lifeboat, to be taken into a plan and made one's own.

/// What stands for the service in them.
const SERVICE: &str = "SERVICE";

/// Each by its name, as it stands below `runbooks` in a plan.
const ALL: [(&str, &str); 2] = [
    ("database-failover", include_str!("shipped/database-failover.yaml")),
    ("point-in-time-recovery", include_str!("shipped/point-in-time-recovery.yaml")),
];

/// Their names.
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// One of them for a service, as it stands below `runbooks` in a plan.
#[must_use]
pub fn shipped(name: &str, service: &str) -> Option<String> {
    let (_, text) = ALL.iter().find(|(known, _)| *known == name)?;
    Some(text.replace(SERVICE, service))
}
