//! The settings of servers that we start (V1).

use lifeboat_pgformat::ControlFile;
use std::path::Path;

/// Shared memory at least, what PostgreSQL takes by itself.
const BUFFERS_FLOOR_BYTES: u64 = 128 << 20;
/// Shared memory at most: replay gains little beyond it.
const BUFFERS_CEILING_BYTES: u64 = 2 << 30;
/// The part of the memory that is free now.
const BUFFERS_SHARE: u64 = 8;
/// Times production's limits, so that a raise that waits in the WAL does not stop the replay.
const HEADROOM: u32 = 2;

/// What a server must have at least, or hot standby refuses: production's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// `max_connections`.
    pub connections: u32,
    /// `max_worker_processes`.
    pub workers: u32,
    /// `max_wal_senders`.
    pub wal_senders: u32,
    /// `max_prepared_transactions`.
    pub prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub locks: u32,
}

impl Needs {
    /// Those that production's control file tells.
    #[must_use]
    pub fn of(control: &ControlFile) -> Self {
        Self {
            connections: control.max_connections,
            workers: control.max_worker_processes,
            wal_senders: control.max_wal_senders,
            prepared_transactions: control.max_prepared_transactions,
            locks: control.max_locks_per_transaction,
        }
    }

    /// For a server that replays production's WAL. Opened, it writes its own limits into its control file: added to
    /// those again at each start, they would soon take all memory.
    #[must_use]
    pub fn with_headroom(self) -> Self {
        let Self { connections, workers, wal_senders, prepared_transactions, locks } = self;
        Self {
            connections: connections * HEADROOM,
            workers: workers * HEADROOM,
            wal_senders: wal_senders * HEADROOM,
            prepared_transactions: prepared_transactions * HEADROOM,
            locks: locks * HEADROOM,
        }
    }
}

/// Names and values for the server's command line.
///
/// `free_memory_bytes` is what the machine can spare now; `None` if unknown.
#[must_use]
pub fn isolation(
    needs: Needs,
    socket_directory: &Path,
    configuration: &Path,
    port: u16,
    free_memory_bytes: Option<u64>,
) -> Vec<(&'static str, String)> {
    let buffers = free_memory_bytes.unwrap_or(0) / BUFFERS_SHARE;
    let buffers = buffers.clamp(BUFFERS_FLOOR_BYTES, BUFFERS_CEILING_BYTES);
    let file = |name: &str| configuration.join(name).display().to_string();
    let text = str::to_owned;
    vec![
        ("config_file", file("lifeboat.conf")),
        ("hba_file", file("lifeboat_hba.conf")),
        ("ident_file", file("lifeboat_ident.conf")),
        ("external_pid_file", text("")),
        // Nobody comes in but over a socket that only its owner can reach.
        ("listen_addresses", text("")),
        ("port", port.to_string()),
        ("unix_socket_directories", socket_directory.display().to_string()),
        ("unix_socket_permissions", text("0700")),
        ("ssl", text("off")),
        // Nothing goes out: no archive, no primary, no subscriptions, nobody waited for.
        ("archive_mode", text("off")),
        ("archive_command", text("")),
        ("primary_conninfo", text("")),
        ("primary_slot_name", text("")),
        ("synchronous_standby_names", text("")),
        ("max_logical_replication_workers", text("0")),
        // Nothing is loaded that may not be installed here.
        ("shared_preload_libraries", text("")),
        ("session_preload_libraries", text("")),
        ("local_preload_libraries", text("")),
        ("recovery_end_command", text("")),
        ("archive_cleanup_command", text("")),
        ("recovery_min_apply_delay", text("0")),
        ("hot_standby", text("on")),
        // Tablespaces made since the backup are directories until the server is opened (`fetch`, X5).
        ("allow_in_place_tablespaces", text("on")),
        // What was restored is synced already; one call syncs what is not.
        ("recovery_init_sync_method", text("syncfs")),
        ("max_connections", needs.connections.to_string()),
        ("max_worker_processes", needs.workers.to_string()),
        ("max_wal_senders", needs.wal_senders.to_string()),
        ("max_prepared_transactions", needs.prepared_transactions.to_string()),
        ("max_locks_per_transaction", needs.locks.to_string()),
        ("shared_buffers", format!("{}kB", buffers >> 10)),
        ("huge_pages", text("off")),
        ("logging_collector", text("off")),
        ("log_destination", text("stderr")),
        ("cluster_name", text("lifeboat")),
    ]
}

/// What the machine can spare now, from Linux' own estimate.
///
/// Source: proc_meminfo(5), `MemAvailable`.
pub(super) fn free_memory_bytes() -> Option<u64> {
    parse_available(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_linux_prints_it() {
        let meminfo = "MemTotal:       25165824 kB\nMemAvailable:     2048 kB\n";
        assert_eq!(parse_available(meminfo), Some(2 << 20));
        assert_eq!(parse_available("nothing"), None);
    }

    #[test]
    fn v1_small_machines_get_small_buffers_and_productions_limits_hold() {
        let needs =
            Needs { connections: 100, workers: 8, wal_senders: 10, prepared_transactions: 0, locks: 64 };
        let here = Path::new("/r");
        let settings = isolation(needs.with_headroom(), here, here, 5432, Some(256 << 20));
        let value = |name| settings.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str());
        assert_eq!(value("shared_buffers"), Some("131072kB"));
        assert_eq!(value("max_connections"), Some("200"));
        assert_eq!(value("listen_addresses"), Some(""));
        assert_eq!(value("archive_mode"), Some("off"));
    }
}
