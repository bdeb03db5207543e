//! The settings by which PostgreSQL recovers, written where it reads them last.

use super::marker::MARKER_FILE;
use lifeboat_base::{Lsn, Timeline};
use std::path::Path;

/// What `ALTER SYSTEM` writes; PostgreSQL reads it last.
pub(super) const AUTO_CONF: &str = "postgresql.auto.conf";
/// Where production's own waits until the recovery is over.
pub(super) const SET_ASIDE: &str = "postgresql.auto.conf.production";

/// How recovery goes on from the restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The command that fetches a WAL file: `%f` its name, `%p` where to.
    pub restore_command: String,
    /// The timeline to follow.
    pub timeline: Timeline,
    /// Where it ends.
    pub stop: Stop,
}

/// Where recovery ends, and the server waits: at the record that begins here, or at the first one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The position.
    pub lsn: Lsn,
    /// Whether that record is replayed too.
    pub inclusive: bool,
}

/// Settings that an earlier recovery may have left; any of them could end this one elsewhere.
const STALE: [&str; 12] = [
    "archive_cleanup_command",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
];
const STALE_TOO: [&str; 2] = ["recovery_target_xid", "restore_command"];

impl Recovery {
    /// Name and value of each setting.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let on = |on| if on { "on" } else { "off" }.to_owned();
        vec![
            ("restore_command", self.restore_command.clone()),
            ("recovery_target_lsn", self.stop.lsn.to_string()),
            ("recovery_target_inclusive", on(self.stop.inclusive)),
            ("recovery_target_timeline", self.timeline.to_string()),
            // Read-only at the target until a person says so.
            ("recovery_target_action", "pause".to_owned()),
            ("hot_standby", on(true)),
        ]
    }

    /// `postgresql.auto.conf` with these settings and nothing else.
    #[must_use]
    pub fn auto_conf(&self) -> String {
        let mut text = format!(
            "# Recovery by lifeboat restore. Production's own settings wait in {SET_ASIDE}\n\
             # and come back when the server is promoted.\n"
        );
        for (name, value) in self.settings() {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''")));
        }
        text
    }
}

/// Where the recovery that a configuration file steers ends; `None` if it says none of ours.
pub(super) fn aim_of(text: &str) -> Option<(Timeline, Stop)> {
    let value = |name: &str| {
        let quoted = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = '"));
        quoted?.strip_suffix('\'')
    };
    let lsn = value("recovery_target_lsn")?.parse().ok()?;
    let timeline = value("recovery_target_timeline")?.parse().map(Timeline).ok()?;
    let inclusive = match value("recovery_target_inclusive")? {
        "on" => true,
        "off" => false,
        _ => return None,
    };
    Some((timeline, Stop { lsn, inclusive }))
}

/// Puts production's `postgresql.auto.conf` back, without what steers recovery.
///
/// # Errors
/// Those of the file system; calling it again is right.
pub fn end_recovery(directory: &Path) -> Result<(), std::io::Error> {
    let (aside, current) = (directory.join(SET_ASIDE), directory.join(AUTO_CONF));
    match std::fs::rename(&aside, &current) {
        // It was put back already, or there never was one: at least no recovery is left in it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = std::fs::read_to_string(&current)?;
            std::fs::write(&current, strip_recovery_settings(&text))?;
        }
        outcome => outcome?,
    }
    match std::fs::remove_file(directory.join(MARKER_FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A configuration file without the settings that steer recovery.
#[must_use]
pub fn strip_recovery_settings(found: &str) -> String {
    let is_kept = |line: &&str| {
        let name =
            line.trim_start().split(|c: char| c == '=' || c.is_whitespace()).next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        !STALE.contains(&name.as_str()) && !STALE_TOO.contains(&name.as_str())
    };
    found.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_targets_go_and_quotes_are_doubled() {
        let recovery = Recovery {
            restore_command: "fetch 'a' %f".to_owned(),
            timeline: Timeline(2),
            stop: Stop { lsn: Lsn(0x10), inclusive: false },
        };
        let text = recovery.auto_conf();
        assert!(text.contains("restore_command = 'fetch ''a'' %f'\n"), "{text}");
        assert_eq!(aim_of(&text), Some((recovery.timeline, recovery.stop)));
        assert_eq!(aim_of("restore_command = 'old'\n"), None);
        let found = "work_mem = '4MB'\n  Recovery_Target_Time='2020-01-01'\nrestore_command = 'old'\n#x\n";
        assert_eq!(strip_recovery_settings(found), "work_mem = '4MB'\n#x\n");
        assert_eq!(strip_recovery_settings("hot_standby = on\n"), "hot_standby = on\n");
    }
}
