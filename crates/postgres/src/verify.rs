//! Proves a restore point: recovers it elsewhere, starts a real server from it, and looks.
//!
//! # Invariants
//! - **Y1 what is verified is what is stored.** Everything comes out of the vault; nothing is taken from
//!   production.
//! - **Y2 could not is not did.** A check that could not run fails the verification, and says so.
//! - **Y3 nothing stays.** The server and the directory are gone afterwards.
//!
//! Deliberately absent: recording the outcome, which is the caller's (it holds the journal).

use crate::client::{ClientError, RowError, quote_identifier};
use crate::restore::{self, Recovery, RestoreError, RestoreOptions, RestoreProgress, Stop};
use crate::server::{Server, ServerError, StartOptions};
use lifeboat_base::{Lsn, error_chain};
use lifeboat_vault::Vault;
use lifeboat_vault::point::RestorePoint;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Of a query's answer, what the outcome keeps.
const ANSWER_LIMIT_BYTES: usize = 200;

/// A question that a recovered server must answer with yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is called.
    pub name: String,
    /// The database that is asked; the server's own user database by default.
    pub database: Option<String>,
    /// The query: the first column of its first row must be true.
    pub query: String,
}

/// What to verify, and how.
#[derive(Debug)]
pub struct VerifyOptions {
    /// The vault.
    pub vault: Vault,
    /// The restore point.
    pub point: RestorePoint,
    /// The command that fetches WAL, for [`crate::restore::Recovery`].
    pub restore_command: String,
    /// How the server is started; its directory is made and removed.
    pub start: StartOptions,
    /// The plan's questions.
    pub checks: Vec<Check>,
    /// Threads.
    pub workers: usize,
    /// Where it tells how far it is.
    pub progress: Arc<RestoreProgress>,
}

/// How one check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckOutcome {
    /// Its name.
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was answered, or why nothing was.
    pub answer: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Whether every check passed.
    pub passed: bool,
    /// How far was replayed.
    pub reached: Lsn,
    /// From nothing to all files.
    pub restored_in: Duration,
    /// From the start of the server to its answer.
    pub recovered_in: Duration,
    /// Each check.
    pub checks: Vec<CheckOutcome>,
}

/// Why a restore point could not be recovered: it counts as failed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The files.
    #[error("the restore point could not be restored")]
    Restore(#[source] RestoreError),
    /// The server.
    #[error("no server recovers from the restore point")]
    Server(#[source] ServerError),
    /// The questions could not be put.
    #[error("the recovered server did not answer")]
    Client(#[source] ClientError),
}

/// Recovers a restore point and puts the questions.
///
/// # Errors
/// [`VerifyError`] if it does not come up; failed checks are in the [`Verification`].
pub async fn verify(options: &VerifyOptions) -> Result<Verification, VerifyError> {
    let _cleared = Cleared(options.start.directory.clone());
    let clock = options.vault.clock().clone();
    let begun = clock.monotonic();
    let restore = RestoreOptions {
        vault: options.vault.clone(),
        point: options.point.clone(),
        recovery: Recovery {
            restore_command: options.restore_command.clone(),
            timeline: options.point.timeline,
            // All that the point itself promises; later WAL may be gone by retention.
            stop: Stop::Consistency,
        },
        into: options.start.directory.clone(),
        tablespaces: BTreeMap::new(),
        delta: false,
        owner: options.start.account.map(crate::server::Account::pair),
        workers: options.workers,
        progress: options.progress.clone(),
    };
    let plan = restore::plan(&restore).await.map_err(VerifyError::Restore)?;
    restore::apply(&restore, plan).await.map_err(VerifyError::Restore)?;
    let restored_in = clock.monotonic().saturating_sub(begun);

    let starting = clock.monotonic();
    let mut server = Server::start(&options.start).map_err(VerifyError::Server)?;
    let reached = server.recovered(Stop::Consistency, &|_| ()).await.map_err(VerifyError::Server)?;
    // Promoted: unlogged relations are reset, and checks may need to write temporary files.
    server.promote().await.map_err(VerifyError::Server)?;
    let recovered_in = clock.monotonic().saturating_sub(starting);
    let checks = examine(&mut server, &options.point, &options.checks).await?;
    let passed = checks.iter().all(|check| check.passed);
    server.kill9();
    Ok(Verification { passed, reached, restored_in, recovered_in, checks })
}

/// Removes the throw-away directory, whatever happens (Y3).
struct Cleared(PathBuf);

impl Drop for Cleared {
    fn drop(&mut self) {
        // What could not be removed is left for a person, who sees the directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Looks at every database of an opened server, and puts the plan's questions.
///
/// # Errors
/// [`VerifyError`] if it cannot be asked; what it answers wrongly is in the outcomes (Y2).
pub async fn examine(
    server: &mut Server,
    point: &RestorePoint,
    checks: &[Check],
) -> Result<Vec<CheckOutcome>, VerifyError> {
    let mut connection = server.answering().await.map_err(VerifyError::Server)?;
    let databases = connection
        .query("SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY datname")
        .await
        .map_err(VerifyError::Client)?;
    let databases: Vec<String> = databases.iter().filter_map(|row| row.at(0).map(str::to_owned)).collect();
    connection.close().await;
    let mut outcomes = Vec::new();
    for database in &databases {
        outcomes.push(read_all(server, database).await);
    }
    for check in checks {
        outcomes.push(put(server, check, &databases).await);
    }
    if !point.damaged_pages.is_empty() {
        let damaged = point.damaged_pages.len();
        let answer = format!("{damaged} pages were damaged on production when it was taken");
        outcomes.push(CheckOutcome { name: "page checksums".to_owned(), passed: false, answer });
    }
    Ok(outcomes)
}

/// Reads every page of every table of a database, and every index by `amcheck` where it is installed.
async fn read_all(server: &Server, database: &str) -> CheckOutcome {
    let name = format!("all pages of {database}");
    match read_tables(server, database).await {
        Ok(answer) => CheckOutcome { name, passed: true, answer },
        Err(error) => CheckOutcome { name, passed: false, answer: error_chain(&error) },
    }
}

/// Why the tables of a database could not be read, or are not sound.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the database cannot be entered")]
    Server(#[source] ServerError),
    #[error("it could not be read")]
    Client(#[source] ClientError),
    #[error("the catalogue has an unexpected form")]
    Row(#[source] RowError),
    #[error("{relation} is corrupt: {what}")]
    Corrupt { relation: String, what: String },
}

async fn read_tables(server: &Server, database: &str) -> Result<String, ReadError> {
    let mut connection = server.connect_to(database).await.map_err(ReadError::Server)?;
    let extension = "SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'";
    let has_amcheck = !connection.query(extension).await.map_err(ReadError::Client)?.is_empty();
    if has_amcheck {
        let create = "CREATE EXTENSION IF NOT EXISTS amcheck";
        connection.query(create).await.map_err(ReadError::Client)?;
    }
    let tables = "SELECT c.oid::int8 AS oid, n.nspname, c.relname FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_am a ON a.oid = c.relam AND a.amname = 'heap' \
         WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p' ORDER BY 1";
    let tables = connection.query(tables).await.map_err(ReadError::Client)?;
    for row in &tables {
        let schema = row.text("nspname").map_err(ReadError::Row)?;
        let table = row.text("relname").map_err(ReadError::Row)?;
        let oid: i64 = row.parse("oid").map_err(ReadError::Row)?;
        if has_amcheck {
            let sql = format!("SELECT count(*), min(msg) FROM verify_heapam({oid}::oid::regclass)");
            let found = connection.query_one(&sql).await.map_err(ReadError::Client)?;
            if found.at(0) != Some("0") {
                let what = found.at(1).unwrap_or_default().to_owned();
                return Err(ReadError::Corrupt { relation: format!("{schema}.{table}"), what });
            }
        } else {
            let sql =
                format!("SELECT count(*) FROM {}.{}", quote_identifier(schema), quote_identifier(table));
            connection.query(&sql).await.map_err(ReadError::Client)?;
        }
    }
    let mut indexes = "0".to_owned();
    if has_amcheck {
        let sql = "SELECT count(bt_index_check(c.oid)::text) FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid JOIN pg_catalog.pg_am a ON a.oid = c.relam \
             WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisvalid";
        let row = connection.query_one(sql).await.map_err(ReadError::Client)?;
        indexes = row.at(0).unwrap_or_default().to_owned();
    }
    connection.close().await;
    let how = if has_amcheck { "checked with amcheck" } else { "read whole (amcheck is not installed)" };
    Ok(format!("{} tables and {indexes} indexes {how}", tables.len()))
}

async fn put(server: &Server, check: &Check, databases: &[String]) -> CheckOutcome {
    let database = check.database.as_deref().unwrap_or_else(|| default_database(databases));
    let answer = async {
        let mut connection = server.connect_to(database).await?;
        connection.query(&check.query).await.map_err(ServerError::Client)
    };
    let (passed, mut answer) = match answer.await {
        Ok(rows) => match rows.first().and_then(|row| row.at(0)) {
            Some(value) => (matches!(value, "t" | "true" | "1" | "on"), value.to_owned()),
            None => (false, "no answer".to_owned()),
        },
        Err(error) => (false, error_chain(&error)),
    };
    let end = answer.char_indices().map(|(at, _)| at).find(|at| *at >= ANSWER_LIMIT_BYTES);
    answer.truncate(end.unwrap_or(answer.len()));
    CheckOutcome { name: check.name.clone(), passed, answer }
}

/// Where questions go that name no database: the only one that is the users' own, else `postgres`.
fn default_database(databases: &[String]) -> &str {
    let own = databases.iter().filter(|name| *name != "postgres" && !name.starts_with("template"));
    match own.collect::<Vec<_>>()[..] {
        [only] => only,
        _ => "postgres",
    }
}
