//! Watches the slot that makes production keep WAL for the vault, and keeps its like on standbys.
//!
//! # Invariants
//! - **K1** [`assess`] is pure: the same health and limits give the same alarm.
//! - **K2** A standby's slot is never moved beyond what is durable in the vault, so that whichever standby
//!   is promoted has what the vault lacks.
//!
//! Deliberately absent: how full production's disk is, which no SQL tells; who can see it passes it in.

use crate::client::{ClientError, Connection, Row, RowError, quote_literal};
use crate::stream::Alarm;
use lifeboat_base::{ByteCount, Lsn};
use std::path::Path;

/// The share of `max_slot_wal_keep_size`, or of the free disk, that must be left: one in so many.
const SPARE_SHARE: u64 = 4;

/// How production's slot is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotHealth {
    /// Whether there is such a slot.
    pub exists: bool,
    /// Whether somebody streams from it.
    pub active: bool,
    /// Whether commits wait for whoever streams from it (`synchronous_standby_names`).
    pub awaited: bool,
    /// `reserved`, `extended`, `unreserved` or `lost`; empty if it keeps nothing yet.
    pub wal_status: String,
    /// Bytes that can still be written before the slot may be given up; none without a limit.
    pub safe_wal_bytes: Option<u64>,
    /// From where on it keeps WAL.
    pub restart: Option<Lsn>,
    /// End of the WAL that the server has.
    pub flushed: Lsn,
    /// Bytes of WAL kept.
    pub retained_bytes: u64,
    /// `max_slot_wal_keep_size`; none if unlimited.
    pub keep_limit_bytes: Option<u64>,
}

/// From when on an alarm is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    /// Retained WAL that is too much in any case.
    pub retained: ByteCount,
    /// Free space where production keeps its WAL, where somebody knows ([`SlotLimits::with_room_of`]).
    pub free: Option<ByteCount>,
}

impl SlotLimits {
    /// The same, with what is free now where the server in `data_directory`, on this machine, keeps its WAL.
    #[must_use]
    pub fn with_room_of(self, data_directory: Option<&Path>) -> Self {
        let free = data_directory.and_then(|directory| {
            let room = rustix::fs::statvfs(directory.join("pg_wal")).ok()?;
            Some(ByteCount(room.f_bavail.saturating_mul(room.f_frsize)))
        });
        Self { free: free.or(self.free), ..self }
    }
}

impl Default for SlotLimits {
    /// 16 GiB: an hour of a busy server, or a day of a quiet one.
    fn default() -> Self {
        Self { retained: ByteCount(16 << 30), free: None }
    }
}

/// Asks the server how the slot is.
///
/// # Errors
/// [`ClientError`].
pub async fn watch(sql: &mut Connection, slot: &str) -> Result<SlotHealth, ClientError> {
    let question = format!(
        "SELECT s.slot_name, s.active, s.wal_status, s.safe_wal_size, s.restart_lsn, \
         (SELECT r.sync_state FROM pg_stat_replication r WHERE r.pid = s.active_pid) AS sync_state, \
         current_setting('synchronous_standby_names') AS synchronous, \
         CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
         ELSE pg_current_wal_flush_lsn() END AS flushed, \
         (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS keep_mib \
         FROM (SELECT 1) AS one LEFT JOIN pg_replication_slots s \
         ON s.slot_name = {} AND s.slot_type = 'physical'",
        quote_literal(slot)
    );
    let row = sql.query_one(&question).await?;
    let endpoint = sql.endpoint().clone();
    read(&row).map_err(|source| ClientError::Row { endpoint, source })
}

fn read(row: &Row) -> Result<SlotHealth, RowError> {
    let optional = |column| row.optional(column).map(|value| value.is_some());
    let flushed: Lsn = row.parse("flushed")?;
    let restart: Option<Lsn> = optional("restart_lsn")?.then(|| row.parse("restart_lsn")).transpose()?;
    let safe: Option<i64> = optional("safe_wal_size")?.then(|| row.parse("safe_wal_size")).transpose()?;
    let keep_mib: i64 = row.parse("keep_mib")?;
    Ok(SlotHealth {
        exists: optional("slot_name")?,
        active: row.optional("active")? == Some("t"),
        awaited: is_awaited(row.optional("sync_state")?, row.optional("synchronous")?),
        wal_status: row.optional("wal_status")?.unwrap_or_default().to_owned(),
        // Below zero once the limit is passed.
        safe_wal_bytes: safe.map(|bytes| u64::try_from(bytes).unwrap_or(0)),
        restart,
        flushed,
        retained_bytes: restart.map_or(0, |restart| flushed.bytes_since(restart)),
        keep_limit_bytes: u64::try_from(keep_mib).ok().map(|mib| mib << 20),
    })
}

/// Whether commits wait for the slot's receiver. Who may not see its state (`pg_monitor` may) is told nothing,
/// and assumes that they do where they wait for anyone: to hurry for nothing costs less than to be waited for.
fn is_awaited(state: Option<&str>, synchronous: Option<&str>) -> bool {
    match state {
        Some(state) => matches!(state, "sync" | "quorum"),
        None => synchronous.is_some_and(|names| !names.trim().is_empty()),
    }
}

/// What is wrong with the slot, if anything.
#[must_use]
pub fn assess(slot: &str, endpoint: &str, health: &SlotHealth, limits: &SlotLimits) -> Option<Alarm> {
    let lost = |reason: &str| {
        let (slot, endpoint, reason) = (slot.to_owned(), endpoint.to_owned(), reason.to_owned());
        Some(Alarm::SlotLost { slot, endpoint, reason })
    };
    if !health.exists {
        return lost("it does not exist there: it was dropped, or a promotion left it behind");
    }
    if health.wal_status == "lost" {
        return lost(
            "the server gave it up: its WAL outgrew max_slot_wal_keep_size, or it was idle too long",
        );
    }
    let pressure = |limit: String| {
        Some(Alarm::SlotPressure {
            slot: slot.to_owned(),
            retained: ByteCount(health.retained_bytes),
            limit,
            wal_status: health.wal_status.clone(),
        })
    };
    if let (Some(safe), Some(limit)) = (health.safe_wal_bytes, health.keep_limit_bytes)
        && (health.wal_status == "unreserved" || safe < limit / SPARE_SHARE)
        // A limit of few segments is nearly used up as soon as a segment begins.
        && health.retained_bytes > limit / SPARE_SHARE
    {
        return pressure(format!("max_slot_wal_keep_size={}", ByteCount(limit)));
    }
    if let Some(free) = limits.free.filter(|free| health.retained_bytes > free.0 / SPARE_SHARE) {
        return pressure(format!("the free disk of {free}"));
    }
    if health.retained_bytes > limits.retained.0 {
        return pressure(format!("the limit of {}", limits.retained));
    }
    None
}

/// Makes sure that a standby keeps WAL for the vault from `durable` on (K2). Returns the slot's position.
///
/// The slot is made if it is missing or lost, and moved on as far as the standby has replayed.
///
/// # Errors
/// [`ClientError`].
pub async fn ensure_on_standby(
    sql: &mut Connection,
    slot: &str,
    durable: Lsn,
) -> Result<Option<Lsn>, ClientError> {
    let health = watch(sql, slot).await?;
    let name = quote_literal(slot);
    if health.exists && health.restart.is_none() {
        sql.query(&format!("SELECT pg_drop_replication_slot({name})")).await?;
    }
    let Some(restart) = health.restart else {
        sql.query(&format!("SELECT pg_create_physical_replication_slot({name}, true)")).await?;
        return Ok(watch(sql, slot).await?.restart);
    };
    if durable <= restart || health.active {
        return Ok(Some(restart));
    }
    let row = sql
        .query_one(&format!("SELECT end_lsn FROM pg_replication_slot_advance({name}, '{durable}')"))
        .await?;
    let endpoint = sql.endpoint().clone();
    row.parse("end_lsn").map(Some).map_err(|source| ClientError::Row { endpoint, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> SlotHealth {
        SlotHealth {
            exists: true,
            active: true,
            awaited: false,
            wal_status: "reserved".to_owned(),
            safe_wal_bytes: None,
            restart: Some(Lsn(1 << 30)),
            flushed: Lsn(2 << 30),
            retained_bytes: 1 << 30,
            keep_limit_bytes: None,
        }
    }

    #[track_caller]
    fn check(health: &SlotHealth, free: Option<u64>, expected: Option<&str>) {
        let limits = SlotLimits { retained: ByteCount(4 << 30), free: free.map(ByteCount) };
        let alarm = assess("lifeboat", "db", health, &limits).map(|alarm| alarm.to_string());
        match (alarm, expected) {
            (None, None) => {}
            (Some(text), Some(part)) => assert!(text.contains(part), "{text}"),
            (alarm, _) => panic!("{alarm:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn the_room_is_that_of_the_file_system_under_the_wal() {
        let data = tempfile::tempdir().unwrap();
        let limits = SlotLimits::default();
        assert_eq!(limits.with_room_of(Some(data.path())), limits, "no pg_wal, nothing known");
        std::fs::create_dir(data.path().join("pg_wal")).unwrap();
        let free = limits.with_room_of(Some(data.path())).free.unwrap();
        let full = SlotHealth { retained_bytes: free.0, ..health() };
        let limits = SlotLimits { retained: ByteCount(u64::MAX), free: Some(free) };
        assert!(assess("lifeboat", "db", &full, &limits).unwrap().to_string().contains("the free disk"));
    }

    #[test]
    fn whoever_may_not_see_whether_commits_wait_assumes_it() {
        assert!(is_awaited(Some("sync"), Some("lifeboat")) && is_awaited(Some("quorum"), Some("x")));
        assert!(!is_awaited(Some("async"), Some("other")) && !is_awaited(None, Some("")));
        assert!(is_awaited(None, Some("lifeboat")));
    }

    #[test]
    fn k1_pressure_is_told_before_a_limit_is_reached() {
        check(&health(), None, None);
        check(&SlotHealth { retained_bytes: 5 << 30, ..health() }, None, Some("the limit of 4.0 GiB"));
        check(&health(), Some(100 << 30), None);
        check(&health(), Some(2 << 30), Some("the free disk of 2.0 GiB"));
        let limited = |status: &str, safe: u64| SlotHealth {
            wal_status: status.to_owned(),
            safe_wal_bytes: Some(safe),
            keep_limit_bytes: Some(2 << 30),
            ..health()
        };
        check(&limited("extended", 1 << 30), None, None);
        check(&limited("extended", 400 << 20), None, Some("max_slot_wal_keep_size=2.0 GiB"));
        check(&limited("unreserved", 0), None, Some("max_slot_wal_keep_size"));
        check(&limited("lost", 0), None, Some("gave it up"));
        check(&SlotHealth { exists: false, ..health() }, None, Some("does not exist"));
    }
}
