//! Whether a service's server lets itself be protected.

use super::Findings;
use crate::settings::{self, Settings};
use jiff::Timestamp;
use lifeboat_base::{
    ByteCount, Lsn, LsnRange, ServiceName, SystemId, Timeline, error_chain, format_duration,
};
use lifeboat_plan::Postgres;
use lifeboat_postgres::client::{
    ClientError, Connection, Conninfo, Purpose, Row, quote_identifier, quote_literal,
};
use lifeboat_postgres::lineage::{self, LineageError};
use lifeboat_postgres::server::find;
use lifeboat_postgres::slot::{self, SlotLimits};
use lifeboat_postgres::stream::APPLICATION_NAME;
use lifeboat_vault::Vault;
use lifeboat_vault::wal::{self, WalArchive};
use std::time::Duration;

/// Clocks further apart than this make times in reports lie.
const CLOCKS_APART: Duration = Duration::from_secs(2);
/// Less free room for WAL than this is worth a word.
const ROOM_BYTES: u64 = 10 << 30;
/// How long a switched segment may take into the vault.
const FOLLOW_LIMIT: Duration = Duration::from_secs(60);
const FOLLOW_POLL: Duration = Duration::from_millis(250);

/// A service's server.
pub struct Patient<'a> {
    /// What every command begins with.
    pub settings: &'a Settings,
    /// The service.
    pub service: &'a ServiceName,
    /// What the plan says of it.
    pub postgres: &'a Postgres,
    /// The vault, if it opens.
    pub vault: Option<&'a Vault>,
}

impl Patient<'_> {
    /// Asks it everything.
    pub async fn look(&mut self, findings: &mut Findings) {
        let info = match settings::conninfo(self.postgres, &self.postgres.connection) {
            Ok(info) => info,
            Err(error) => {
                return findings.fail("connection", format!("{error:#}"), "correct `connection` in the plan");
            }
        };
        let mut sql = match Connection::connect(&info, Purpose::Sql).await {
            Ok(sql) => sql,
            Err(error) => return findings.fail("connection", error_chain(&error), fix(&error)),
        };
        findings.ok("connection", format!("{} answers", sql.endpoint()));
        let sees_all = match self.ask(&mut sql, findings).await {
            Ok(sees_all) => sees_all,
            Err(error) => return findings.fail("questions", error_chain(&error), fix(&error)),
        };
        self.replication(&info, findings).await;
        self.slot(&mut sql, findings).await;
        if sees_all {
            self.data_directory(&mut sql, findings).await;
        }
        for standby in &self.postgres.standbys {
            self.standby(standby, findings).await;
        }
        sql.close().await;
    }

    /// True if the role may see all settings.
    async fn ask(&self, sql: &mut Connection, findings: &mut Findings) -> Result<bool, ClientError> {
        let before = self.settings.clock.now();
        let row = sql
            .query_one(
                "SELECT current_setting('server_version') AS version, \
                 current_setting('server_version_num')::int / 10000 AS major, \
                 current_setting('block_size') AS block_size, \
                 current_setting('wal_level') AS wal_level, \
                 current_setting('max_wal_senders')::int AS senders, \
                 (SELECT count(*) FROM pg_stat_replication) AS sending, \
                 current_setting('max_replication_slots')::int AS slots, \
                 (SELECT count(*) FROM pg_replication_slots) AS slots_used, \
                 current_setting('data_checksums') AS checksums, \
                 current_setting('full_page_writes') AS full_page_writes, \
                 current_setting('fsync') AS fsync, \
                 current_setting('synchronous_standby_names') AS synchronous, \
                 current_setting('synchronous_commit') AS synchronous_commit, \
                 extract(epoch FROM clock_timestamp())::text AS now, \
                 r.rolreplication OR r.rolsuper AS replicates, r.rolsuper AS super, current_user AS role, \
                 current_database() AS database, \
                 r.rolsuper OR pg_has_role(current_user, 'pg_read_all_settings', 'usage') AS sees_all, \
                 r.rolsuper OR pg_has_role(current_user, 'pg_monitor', 'usage') AS monitors, \
                 has_function_privilege(\
                     (SELECT oid FROM pg_proc WHERE proname = 'pg_backup_start'), 'execute') AND \
                 has_function_privilege(\
                     (SELECT oid FROM pg_proc WHERE proname = 'pg_backup_stop'), 'execute') AS backs_up \
                 FROM pg_roles r WHERE r.rolname = current_user",
            )
            .await?;
        let after = self.settings.clock.now();
        let text = |column: &str| row.optional(column).ok().flatten().unwrap_or_default().to_owned();
        let yes = |column: &str| text(column) == "t";
        let number = |column: &str| row.parse::<u32>(column).unwrap_or(0);
        let major = number("major");
        findings.must(
            "version",
            (15..=18).contains(&major) && text("block_size") == "8192",
            format!("PostgreSQL {}, pages of {} bytes", text("version"), text("block_size")),
            "Lifeboat protects PostgreSQL 15 to 18 with pages of 8192 bytes",
        );
        let role = text("role");
        let grantee = quote_identifier(&role);
        let grant = format!("ALTER ROLE {grantee} REPLICATION;");
        findings.must(
            "role",
            yes("replicates"),
            format!("{role} may replicate: {}", yes("replicates")),
            &grant,
        );
        let grant = format!("GRANT pg_monitor TO {grantee};");
        let sees_all = yes("sees_all") && yes("monitors");
        let found = match sees_all {
            true => format!("{role} may see settings, slots, and whether commits wait for the vault"),
            false => format!(
                "{role} may not see all settings, nor whether commits wait for the vault: wherever \
                 synchronous_standby_names names anyone, the stream then hurries as if they did, at production's cost"
            ),
        };
        findings.should("role sees", sees_all, found, &grant);
        if self.postgres.data_directory.is_some() {
            let grant = format!(
                "in the database {}: GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) \
                 TO {grantee};",
                text("database")
            );
            findings.must(
                "role backs up",
                yes("backs_up"),
                format!("may start backups: {}", yes("backs_up")),
                &grant,
            );
        }
        self.configuration(&row, findings);
        clocks(findings, &text("now"), before, after);
        match find(Some(major)) {
            Ok(found) => {
                findings.ok("tools", format!("PostgreSQL {major} is here too: {}", found.bin_dir.display()))
            }
            Err(error) => findings.warn(
                "tools",
                "this machine cannot start a restored server, nor verify a backup",
                error.to_string(),
            ),
        }
        Ok(sees_all)
    }

    fn configuration(&self, row: &Row, findings: &mut Findings) {
        let text = |column: &str| row.optional(column).ok().flatten().unwrap_or_default().to_owned();
        let number = |column: &str| row.parse::<u32>(column).unwrap_or(0);
        let level = text("wal_level");
        findings.must(
            "wal_level",
            level != "minimal",
            level.clone(),
            "set wal_level = replica and restart the server: minimal WAL recovers nothing",
        );
        let (senders, sending) = (number("senders"), number("sending"));
        findings.must(
            "max_wal_senders",
            senders >= sending + 2 || sending > 0 && senders > sending,
            format!("{sending} of {senders} in use"),
            "raise max_wal_senders: the stream needs one, and a backup two",
        );
        let (slots, used) = (number("slots"), number("slots_used"));
        findings.must(
            "max_replication_slots",
            slots > used,
            format!("{used} of {slots} in use"),
            "raise max_replication_slots: the stream needs one, a backup one for as long as it runs",
        );
        let checksums = text("checksums");
        findings.should(
            "checksums",
            checksums == "on",
            checksums.clone(),
            "without checksums a damaged page goes unnoticed into backups: stop the server and run pg_checksums --enable",
        );
        let full_pages = text("full_page_writes");
        findings.must(
            "full_page_writes",
            full_pages == "on",
            full_pages.clone(),
            "set full_page_writes = on: a page torn by a crash or a backup cannot be repaired without",
        );
        let fsync = text("fsync");
        findings.must(
            "fsync",
            fsync == "on",
            fsync.clone(),
            "set fsync = on: a power cut destroys this server",
        );
        self.synchronous(&text("synchronous"), &text("synchronous_commit"), findings);
    }

    /// What commits wait for.
    fn synchronous(&self, names: &str, commit: &str, findings: &mut Findings) {
        const CHECK: &str = "synchronous";
        let waits = names.contains(APPLICATION_NAME) || names.contains('*');
        let found = format!("synchronous_standby_names = '{names}', synchronous_commit = {commit}");
        let is_any = names.trim_start().to_ascii_lowercase().starts_with("any");
        match (self.postgres.stream.synchronous, waits) {
            (true, false) => findings.fail(
                CHECK,
                found,
                format!("the plan says `synchronous: true`: set synchronous_standby_names = '{APPLICATION_NAME}', or better 'ANY 1 ({APPLICATION_NAME}, a_standby)'"),
            ),
            (_, true) if commit == "off" || commit == "local" => findings.warn(
                CHECK,
                found,
                "commits wait for nobody while synchronous_commit is off or local: set it to on",
            ),
            (_, true) if commit == "remote_write" => findings.warn(
                CHECK,
                found,
                "with remote_write a commit waits until Lifeboat has received it, not until the vault has it: not RPO 0. Set synchronous_commit = on",
            ),
            (_, true) if is_any => findings.ok(CHECK, found),
            (_, true) => findings.warn(
                CHECK,
                format!("{found}: nothing acknowledged is ever lost, but while the vault or the stream is away, every commit hangs"),
                format!("with a standby: synchronous_standby_names = 'ANY 1 ({APPLICATION_NAME}, a_standby)'; in an emergency, take {APPLICATION_NAME} out and reload"),
            ),
            (false, false) => findings.ok(CHECK, "commits do not wait for the vault: what is newer than the exposure may be lost"),
        }
    }

    async fn replication(&self, info: &Conninfo, findings: &mut Findings) {
        match Connection::connect(info, Purpose::Replication).await {
            Ok(mut connection) => {
                match connection.identify_system().await {
                    Ok(identity) => {
                        let found =
                            format!("opens, cluster {}, timeline {}", identity.system, identity.timeline);
                        findings.ok("replication", found);
                        self.cluster(identity.system, &mut connection, findings).await;
                    }
                    Err(error) => findings.fail("replication", error_chain(&error), fix(&error)),
                }
                connection.close().await;
            }
            Err(error) => findings.fail("replication", error_chain(&error), fix(&error)),
        }
    }

    async fn cluster(&self, system: SystemId, server: &mut Connection, findings: &mut Findings) {
        let Some(vault) = self.vault else { return };
        let vault = vault.as_seen();
        match wal::clusters(&vault, self.service).await {
            Ok(known) if known.is_empty() => {
                findings.warn(
                    "protected",
                    "the vault has nothing of it yet",
                    "`lifeboat backup run`, `lifeboat stream`",
                );
            }
            Ok(known) => match known.into_iter().find(|cluster| cluster.system_id == system) {
                Some(cluster) => {
                    let checked = match WalArchive::of(&vault, self.service, cluster) {
                        Ok(archive) => lineage::check(server, &archive).await,
                        Err(error) => Err(LineageError::Vault(error)),
                    };
                    match checked {
                        Ok(()) => findings.ok("protected", "the vault knows this cluster and its timeline"),
                        Err(error) => findings.fail(
                            "protected",
                            error_chain(&error),
                            "correct the connection, or decide which server goes on",
                        ),
                    }
                }
                None => findings.fail(
                    "protected",
                    "the vault protects another cluster under this name",
                    "correct the connection; after an upgrade, `lifeboat backup run --accept-new-cluster`",
                ),
            },
            Err(error) => findings.fail("protected", error_chain(&error), "bring the vault's copies back"),
        }
    }

    async fn slot(&self, sql: &mut Connection, findings: &mut Findings) {
        let Ok(name) = self.postgres.slot_name(self.service) else { return };
        let name = name.as_str();
        let health = match slot::watch(sql, name).await {
            Ok(health) => health,
            Err(error) => return findings.warn("slot", error_chain(&error), fix(&error)),
        };
        if !health.exists {
            let next = "`lifeboat stream` makes it; until then the server keeps no WAL for the vault";
            return findings.warn("slot", format!("{name} does not exist"), next);
        }
        let limit =
            health.keep_limit_bytes.map_or("unlimited".to_owned(), |limit| ByteCount(limit).to_string());
        let found = format!(
            "{name}: {}, {}, keeps {} (max_slot_wal_keep_size {limit})",
            if health.active { "streamed from" } else { "nobody streams from it" },
            health.wal_status,
            ByteCount(health.retained_bytes)
        );
        let directory = self.postgres.data_directory.as_ref().map(|path| path.as_path());
        let limits = SlotLimits::default().with_room_of(directory);
        match slot::assess(name, &sql.endpoint().to_string(), &health, &limits) {
            Some(alarm) => findings.fail("slot", found, alarm.to_string()),
            None => {
                findings.should("slot", health.active, found, "start `lifeboat serve` or `lifeboat stream`")
            }
        }
        findings.should(
            "max_slot_wal_keep_size",
            health.keep_limit_bytes.is_some(),
            limit,
            "with no limit, a vault that is away for long fills production's disk: set one that the disk can bear",
        );
    }

    async fn data_directory(&self, sql: &mut Connection, findings: &mut Findings) {
        let Some(directory) = &self.postgres.data_directory else {
            return findings.ok("data directory", "not named: backups go over the connection");
        };
        let path = directory.as_path();
        let said = sql.query_one("SELECT current_setting('data_directory')").await;
        let said = said.ok().and_then(|row| row.at(0).map(str::to_owned)).unwrap_or_default();
        let same = |a: &std::path::Path, b: &str| {
            let resolve = |path: &std::path::Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            resolve(a) == resolve(b.as_ref())
        };
        if let Err(error) = std::fs::File::open(path.join("global/pg_control")) {
            return findings.fail(
                "data directory",
                format!("{} cannot be read: {error}", path.display()),
                "run Lifeboat as a user who may read it, or leave dataDirectory out",
            );
        }
        findings.must(
            "data directory",
            same(path, &said),
            format!("{} is readable; the server's is {said}", path.display()),
            "correct dataDirectory in the plan, or leave it out",
        );
        if let Ok(stat) = rustix::fs::statvfs(path.join("pg_wal")) {
            let free = ByteCount(stat.f_bavail * stat.f_frsize);
            let found = format!("{free} free where the server keeps its WAL");
            findings.should(
                "disk",
                free.0 >= ROOM_BYTES,
                found,
                "make room: WAL that waits for the vault lies there",
            );
        }
    }

    async fn standby(&self, standby: &lifeboat_plan::Conninfo, findings: &mut Findings) {
        let connected = match settings::conninfo(self.postgres, standby) {
            Ok(info) => Connection::connect(&info, Purpose::Sql).await,
            Err(error) => return findings.fail("standby", format!("{error:#}"), "correct it in the plan"),
        };
        match connected {
            Ok(mut sql) => {
                let is_standby = sql.is_in_recovery().await.unwrap_or(false);
                let found =
                    format!("{} is {}", sql.endpoint(), if is_standby { "a standby" } else { "no standby" });
                findings.should(
                    "standby",
                    is_standby,
                    found,
                    "after a promotion, name the servers anew in the plan",
                );
                sql.close().await;
            }
            Err(error) => findings.warn("standby", error_chain(&error), fix(&error)),
        }
    }

    /// Has the server end its segment, and waits until the vault has all of it.
    pub async fn follow_a_segment(&mut self, findings: &mut Findings) {
        const CHECK: &str = "into the vault";
        let Some(vault) = self.vault else {
            return findings.fail(CHECK, "the vault does not open", "see above");
        };
        let switched = async {
            let info = settings::conninfo(self.postgres, &self.postgres.connection)?;
            let mut sql = Connection::connect(&info, Purpose::Sql).await?;
            // A record of our own, or a quiet server would have nothing to switch from.
            let label = quote_literal("lifeboat doctor");
            sql.query(&format!("SELECT pg_create_restore_point({label})")).await?;
            let question = "SELECT pg_switch_wal() AS end, \
                 (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline, \
                 (SELECT system_identifier FROM pg_control_system()) AS system";
            let row = sql.query_one(question).await?;
            let system = SystemId(row.parse::<i64>("system")? as u64);
            anyhow::Ok((row.parse::<Lsn>("end")?, Timeline(row.parse("timeline")?), system))
        };
        let (end, timeline, system) = match switched.await {
            Ok(switched) => switched,
            Err(error) => {
                let next =
                    "the role needs EXECUTE on pg_switch_wal and pg_create_restore_point, and a primary";
                return findings.fail(CHECK, format!("the segment was not switched: {error:#}"), next);
            }
        };
        let started = self.settings.clock.monotonic();
        loop {
            let waited = self.settings.clock.monotonic().saturating_sub(started);
            match self.is_durable(vault, system, timeline, end).await {
                Ok(true) => {
                    let found =
                        format!("WAL up to {end} was in the vault within {}", format_duration(waited));
                    return findings.ok(CHECK, found);
                }
                Ok(false) if waited < FOLLOW_LIMIT => tokio::time::sleep(FOLLOW_POLL).await,
                Ok(false) => {
                    let found =
                        format!("WAL up to {end} is not in the vault after {} s", FOLLOW_LIMIT.as_secs());
                    return findings.fail(CHECK, found, "does `lifeboat serve` or `lifeboat stream` run?");
                }
                Err(error) => return findings.fail(CHECK, format!("{error:#}"), "bring the vault back"),
            }
        }
    }

    async fn is_durable(
        &self,
        vault: &Vault,
        system: SystemId,
        timeline: Timeline,
        end: Lsn,
    ) -> anyhow::Result<bool> {
        let clusters = wal::clusters(&vault.as_seen(), self.service).await?;
        let Some(cluster) = clusters.into_iter().find(|cluster| cluster.system_id == system) else {
            return Ok(false);
        };
        let coverage = WalArchive::of(&vault.as_seen(), self.service, cluster)?.coverage(timeline).await?;
        Ok(end.0 > 0 && coverage.covers(LsnRange { start: Lsn(end.0 - 1), end }))
    }
}

/// The server's clock against ours, the question's own time taken off.
fn clocks(findings: &mut Findings, server: &str, before: Timestamp, after: Timestamp) {
    let Ok(server) = server.parse::<f64>() else { return };
    let seconds = |time: Timestamp| time.as_microsecond() as f64 / 1e6;
    let (before, after) = (seconds(before), seconds(after));
    let apart = if server < before { before - server } else { (server - after).max(0.0) };
    let apart = Duration::from_secs_f64(apart);
    findings.should(
        "clocks",
        apart <= CLOCKS_APART,
        format!("{} apart", format_duration(apart)),
        "have both machines follow a time server: exposure and moments are told by their clocks",
    );
}

/// What to do about what the server said: the client's errors say it themselves where they know.
fn fix(error: &ClientError) -> &'static str {
    use lifeboat_postgres::client::Advice;
    match error.advice() {
        Advice::Retry => "is the server up, and the network between?",
        _ => "correct the connection in the plan, pg_hba.conf, or the role",
    }
}
