//! What is done to a PostgreSQL cluster: arguments, classes, and the commands that a person could type.
//!
//! The SQL stands here, once: what is shown is what is sent.
//!
//! # Invariants
//! - **P1 shown is sent.** The statements of a step are those of its command, word for word.
//! - **P2 in doubt, it writes.** A text counts as reading only if each of its statements begins as one that reads,
//!   and none calls what is known to change something.

mod sql;
mod steps;

pub use steps::{
    About, Fence, Means, On, Promote, Query, Recover, Restart, Rewire, Sql, StopWrites, WaitReplay,
};

use super::quoted;
use crate::run::Class;
use crate::runbook::bind::Server;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sql::{literal, reads_only};

/// What is done to a PostgreSQL cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", content = "with")]
pub enum Postgres {
    /// Makes new transactions read-only and ends the sessions that were open.
    #[serde(rename = "postgres.stop_writes")]
    StopWrites(StopWrites),
    /// Lets transactions write again.
    #[serde(rename = "postgres.resume_writes")]
    ResumeWrites(About),
    /// Asks a question that must have the right answer.
    #[serde(rename = "postgres.check")]
    Check(Query),
    /// Runs statements.
    #[serde(rename = "postgres.sql")]
    Sql(Sql),
    /// Waits until a standby has replayed what the primary wrote.
    #[serde(rename = "postgres.wait_replay")]
    WaitReplay(WaitReplay),
    /// Opens a standby for writing.
    #[serde(rename = "postgres.promote")]
    Promote(Promote),
    /// Keeps the old primary from writing, and proves it.
    #[serde(rename = "postgres.fence")]
    Fence(Fence),
    /// Restarts the primary.
    #[serde(rename = "postgres.restart")]
    Restart(Restart),
    /// Tells an application how its database is reached.
    #[serde(rename = "postgres.rewire")]
    Rewire(Rewire),
    /// Brings it back at a moment, from the vault.
    #[serde(rename = "postgres.recover")]
    Recover(Recover),
}

/// The names of the actions of this family.
pub(super) const ACTIONS: [&str; 10] = [
    "postgres.stop_writes",
    "postgres.resume_writes",
    "postgres.check",
    "postgres.sql",
    "postgres.wait_replay",
    "postgres.promote",
    "postgres.fence",
    "postgres.restart",
    "postgres.rewire",
    "postgres.recover",
];

/// What makes transactions read-only, unless they say otherwise.
pub const READ_ONLY: &str = "default_transaction_read_only";
/// What every session loads before it begins.
pub const PRELOAD: &str = "session_preload_libraries";
/// A library that there is not: a session that must load it does not begin. Only a superuser can tell a session to
/// load nothing.
pub const NO_LIBRARY: &str = "lifeboat_fenced";

impl Postgres {
    /// One of [`ACTIONS`] as the plan calls it; or what is wrong with its arguments.
    pub(super) fn action(name: &str, arguments: &Value) -> Result<Self, String> {
        let form = serde_json::json!({ "action": name, "with": arguments });
        serde_json::from_value(form).map_err(|error| format!("`{name}`: {error}"))
    }

    /// What repeating it does, where the plan does not say.
    pub(super) fn class(&self) -> Class {
        match self {
            Self::StopWrites(_) | Self::ResumeWrites(_) | Self::Fence(_) => Class::Idempotent,
            Self::Restart(_) | Self::Rewire(_) => Class::Idempotent,
            Self::Check(_) | Self::WaitReplay(_) => Class::Read,
            Self::Sql(sql) if reads_only(&sql.run) => Class::Read,
            Self::Recover(recover) if !recover.promote => Class::Idempotent,
            Self::Sql(_) | Self::Promote(_) | Self::Recover(_) => Class::Destructive,
        }
    }

    /// What its class means for how it is done: a text that reads is run read-only.
    pub(super) fn classed(&mut self, class: Class) {
        if let Self::Sql(sql) = self {
            sql.read_only = class == Class::Read;
        }
    }

    pub(super) fn has_probe(&self) -> bool {
        !matches!(self, Self::Check(_) | Self::Sql(_) | Self::WaitReplay(_))
    }

    pub(super) fn has_verify(&self) -> bool {
        self.has_probe() && !matches!(self, Self::Recover(_))
    }

    pub(super) fn has_undo(&self) -> bool {
        matches!(self, Self::StopWrites(_) | Self::ResumeWrites(_) | Self::Fence(_) | Self::Rewire(_))
    }

    pub(super) fn service(&self) -> &str {
        match self {
            Self::StopWrites(with) => &with.service,
            Self::ResumeWrites(with) => &with.service,
            Self::Check(with) => &with.service,
            Self::Sql(with) => &with.service,
            Self::WaitReplay(with) => &with.service,
            Self::Promote(with) => &with.service,
            Self::Fence(with) => &with.service,
            Self::Restart(with) => &with.service,
            Self::Rewire(with) => &with.service,
            Self::Recover(with) => &with.service,
        }
    }

    /// Which of the cluster's servers it is about.
    #[must_use]
    pub fn on(&self) -> On {
        match self {
            Self::Check(with) => with.on,
            Self::Sql(with) => with.on,
            Self::WaitReplay(with) => with.standby,
            Self::Promote(with) => with.standby,
            _ => On::Primary,
        }
    }

    /// Why it cannot be done to that cluster, as the plan knows it.
    pub(super) fn fits(&self, server: &Server) -> Result<(), String> {
        let on = self.on();
        if matches!(self, Self::WaitReplay(_) | Self::Promote(_)) && on == On::Primary {
            return Err("it is about a standby: write `standby: 1` for the plan's first".to_owned());
        }
        if let Self::Rewire(with) = self
            && !with.file.starts_with('/')
        {
            return Err(format!("`file: {}` is no whole path", with.file));
        }
        match (on, server.address(on)) {
            (_, Some(_)) => Ok(()),
            (On::Standby(number), None) => Err(match server.standbys.len() {
                0 => format!(
                    "the plan names no standby of `{}`: add how it is reached under `postgres.standbys`",
                    server.service
                ),
                known => {
                    format!("`{}` has {known} in `postgres.standbys`, and no number {number}", server.service)
                }
            }),
            (On::Primary, None) => Ok(()),
        }
    }

    /// The statements that do it, where statements do (P1).
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        match self {
            Self::StopWrites(with) => {
                let mut all = set_read_only("on");
                all.push(with.end_sessions());
                all
            }
            Self::ResumeWrites(_) => set_back(READ_ONLY),
            Self::Check(with) => vec![with.query.clone()],
            Self::Sql(with) => vec![with.run.clone()],
            Self::WaitReplay(_) => vec![
                "SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), pg_last_xact_replay_timestamp()"
                    .to_owned(),
            ],
            Self::Promote(_) => vec!["SELECT pg_promote(true, 60)".to_owned()],
            Self::Fence(_) => refuse_sessions(),
            Self::Recover(with) => vec![with.command()],
            Self::Restart(_) | Self::Rewire(_) => Vec::new(),
        }
    }

    /// What a person could type instead.
    pub(super) fn command(&self, server: Option<&Server>) -> String {
        match self {
            Self::Fence(with) => {
                with.by.iter().map(|means| self.by_means(means, server)).collect::<Vec<_>>().join(" ||\n")
            }
            Self::Restart(Restart { command: Some(command), .. }) => command.clone(),
            Self::Restart(_) => format!("pg_ctl restart -D {} -m fast -w", directory_of(server)),
            Self::Recover(with) => with.command(),
            Self::Rewire(with) => {
                let write = format!("printf '%s\\n' {} > {}", quoted(&with.content), quoted(&with.file));
                with.reload.iter().fold(write, |all, reload| all + "\n" + reload)
            }
            _ => self.psql(server),
        }
    }

    /// How a person fences by these means.
    fn by_means(&self, means: &Means, server: Option<&Server>) -> String {
        match means {
            Means::Command(text) => text.clone(),
            Means::Refuse => self.psql(server),
            Means::Stop => format!(
                "(touch {0}/standby.signal && (pg_ctl stop -D {0} -m fast || pg_ctl stop -D {0} -m immediate))",
                directory_of(server)
            ),
        }
    }

    fn psql(&self, server: Option<&Server>) -> String {
        let connection = server.and_then(|server| server.address(self.on())).unwrap_or("…");
        let begin = match self {
            Self::Check(_) => "PGOPTIONS='-c default_transaction_read_only=on' ",
            Self::Sql(sql) if sql.read_only => "PGOPTIONS='-c default_transaction_read_only=on' ",
            _ => "",
        };
        let mut command = format!("{begin}psql {} -v ON_ERROR_STOP=1", quoted(connection));
        for statement in self.statements() {
            command += &format!(" -c {}", quoted(&statement));
        }
        command
    }
}

/// As a shell reads it.
fn directory_of(server: Option<&Server>) -> String {
    quoted(server.and_then(|server| server.data_directory.as_deref()).unwrap_or("…"))
}

/// What makes transactions read-only by default, or not; for this server alone, and for later starts of it.
#[must_use]
pub fn set_read_only(value: &str) -> Vec<String> {
    vec![format!("ALTER SYSTEM SET {READ_ONLY} = {value}"), "SELECT pg_reload_conf()".to_owned()]
}

/// What takes a setting back to what the server's own files say.
#[must_use]
pub fn set_back(setting: &str) -> Vec<String> {
    vec![format!("ALTER SYSTEM RESET {setting}"), "SELECT pg_reload_conf()".to_owned()]
}

/// What has a server refuse every session but one of a superuser that asks for it by name, and ends those that are
/// open. Nothing of it reaches a standby: it stands in the server's own files.
#[must_use]
pub fn refuse_sessions() -> Vec<String> {
    vec![
        format!("ALTER SYSTEM SET {READ_ONLY} = on"),
        format!("ALTER SYSTEM SET {PRELOAD} = {}", literal(NO_LIBRARY)),
        "SELECT pg_reload_conf()".to_owned(),
        StopWrites { service: String::new(), allow: Vec::new() }.end_sessions(),
    ]
}

impl StopWrites {
    /// Ends the sessions of all but us, replication and those that are let be.
    #[must_use]
    pub fn end_sessions(&self) -> String {
        let mut sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            .to_owned();
        if !self.allow.is_empty() {
            let roles: Vec<String> = self.allow.iter().map(|role| literal(role)).collect();
            sql += &format!(" AND usename NOT IN ({})", roles.join(", "));
        }
        sql
    }
}

impl Server {
    /// How one of its servers is reached.
    #[must_use]
    pub fn address(&self, on: On) -> Option<&str> {
        match on {
            On::Primary => Some(&self.connection),
            On::Standby(number) => {
                let at = usize::from(number).checked_sub(1)?;
                self.standbys.get(at).map(String::as_str)
            }
        }
    }
}
