//! The settings by which PostgreSQL recovers, written where it reads them last.

use lifeboat_base::{Lsn, Timeline};

/// How recovery goes on from the restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The command that fetches a WAL file: `%f` its name, `%p` where to.
    pub restore_command: String,
    /// The timeline to follow.
    pub timeline: Timeline,
    /// Where to stop.
    pub stop: Lsn,
    /// Whether the record at `stop` is replayed too.
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
        vec![
            ("restore_command", self.restore_command.clone()),
            ("recovery_target_lsn", self.stop.to_string()),
            ("recovery_target_inclusive", if self.inclusive { "on" } else { "off" }.to_owned()),
            ("recovery_target_timeline", self.timeline.to_string()),
            // Read-only at the target until a person says so.
            ("recovery_target_action", "pause".to_owned()),
            ("hot_standby", "on".to_owned()),
        ]
    }

    /// `postgresql.auto.conf` with these settings and without stale ones.
    #[must_use]
    pub fn auto_conf(&self, found: &str) -> String {
        let mut text = strip_recovery_settings(found);
        text.push_str("# By lifeboat restore; `lifeboat restore --promote` takes these out again.\n");
        for (name, value) in self.settings() {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''")));
        }
        text
    }
}

/// A configuration file without the settings that steer recovery.
#[must_use]
pub fn strip_recovery_settings(found: &str) -> String {
    let is_kept = |line: &&str| {
        let name =
            line.trim_start().split(|c: char| c == '=' || c.is_whitespace()).next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        !STALE.contains(&name.as_str())
            && !STALE_TOO.contains(&name.as_str())
            && !line.starts_with("# By lifeboat restore")
    };
    found.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_targets_go_and_other_settings_stay() {
        let recovery = Recovery {
            restore_command: "fetch 'a' %f".to_owned(),
            timeline: Timeline(2),
            stop: Lsn(0x10),
            inclusive: false,
        };
        let found = "work_mem = '4MB'\n  Recovery_Target_Time='2020-01-01'\nrestore_command = 'old'\n#x\n";
        let text = recovery.auto_conf(found);
        assert!(text.starts_with("work_mem = '4MB'\n#x\n"), "{text}");
        assert!(text.contains("restore_command = 'fetch ''a'' %f'\n"));
        assert!(!text.contains("2020") && !text.contains("'old'"));
        assert_eq!(recovery.auto_conf(&text), text, "a second time changes nothing");
        assert_eq!(strip_recovery_settings("hot_standby = on\n"), "hot_standby = on\n");
    }
}
