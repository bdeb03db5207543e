//! Looks at a recovered server: every page of every table, every index, and the plan's own questions.
//!
//! # Invariants
//! - **Y1 could not is not did.** A check that could not run has not passed, and says so.
//! - **Y2 this machine is no verdict.** What failed for want of room or memory here says nothing about a restore
//!   point; see [`is_of_this_machine`].
//! - **Y3 a question condemns nothing.** Only damage does: a point that recovers, and of which a question was
//!   answered with no, or a page was damaged on production already, may be the best there is.
//!
//! Deliberately absent: recovering it, and recording the outcome, which are the caller's.

use crate::client::{ClientError, RowError, quote_identifier};
use crate::server::{Server, ServerError};
use lifeboat_base::error_chain;
use lifeboat_vault::point::RestorePoint;
use serde::Serialize;

/// Of a query's answer, what the outcome keeps.
const ANSWER_LIMIT_BYTES: usize = 200;
/// SQLSTATEs that speak of damage: data or an index corrupted, a file that is not there, an I/O error.
const DAMAGE: [&str; 4] = ["XX001", "XX002", "58P01", "58030"];
/// What the system and PostgreSQL say when a machine has too little of something. Servers of ours speak English.
const WANTS: [&str; 6] = [
    "No space left on device",
    "Disk quota exceeded",
    "Cannot allocate memory",
    "out of memory",
    "Too many open files",
    // The kernel, for want of memory.
    "was terminated by signal 9",
];

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

/// What a check says about a restore point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not hold, or could not be looked at: a person has to look (Y3).
    Doubtful,
    /// The restore point does not give back what was on production.
    Failed,
}

/// How one check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckOutcome {
    /// Its name.
    pub name: String,
    /// What it says.
    pub outcome: Outcome,
    /// What was answered, or why nothing was.
    pub answer: String,
}

/// Why the questions could not be put.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// The server does not answer.
    #[error("the recovered server does not answer")]
    Server(#[source] ServerError),
    /// It does not say which databases it has.
    #[error("the recovered server did not say which databases it has")]
    Client(#[source] ClientError),
}

/// Whether a failure that was told in `text`, an answer or the server's log, is this machine's and not the
/// restore point's (Y2).
#[must_use]
pub fn is_of_this_machine(text: &str) -> bool {
    WANTS.iter().any(|want| text.contains(want))
}

/// Looks at every database of an opened server, as the role that may see all, and puts the plan's questions.
///
/// # Errors
/// [`ExamineError`] if it cannot be asked; what it answers wrongly is in the outcomes (Y1).
pub async fn examine(
    server: &mut Server,
    point: &RestorePoint,
    checks: &[Check],
) -> Result<Vec<CheckOutcome>, ExamineError> {
    let mut connection = server.answering().await.map_err(ExamineError::Server)?;
    let databases = connection
        .query("SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY datname")
        .await
        .map_err(ExamineError::Client)?;
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
        let name = "page checksums".to_owned();
        outcomes.push(CheckOutcome { name, outcome: Outcome::Doubtful, answer });
        // Y3: they are what is found damaged now, and it came back as it was.
        for outcome in &mut outcomes {
            outcome.outcome = outcome.outcome.min(Outcome::Doubtful);
        }
    }
    Ok(outcomes)
}

/// Reads every page of every table of a database, and every index by `amcheck` where it is installed.
async fn read_all(server: &Server, database: &str) -> CheckOutcome {
    let name = format!("all pages of {database}");
    let (outcome, answer) = match read_tables(server, database).await {
        Ok(answer) => (Outcome::Passed, answer),
        Err(error) => (error.outcome(), error_chain(&error)),
    };
    CheckOutcome { name, outcome, answer }
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

impl ReadError {
    /// Whether it speaks of damage, or only of not having been able to look.
    fn outcome(&self) -> Outcome {
        let is_damage = match self {
            Self::Corrupt { .. } => true,
            Self::Client(error) | Self::Server(ServerError::Client(error)) => match error.server_error() {
                Some(said) => DAMAGE.contains(&said.code.as_str()),
                // The server went down over it.
                None => true,
            },
            Self::Server(_) | Self::Row(_) => false,
        };
        if is_damage { Outcome::Failed } else { Outcome::Doubtful }
    }
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
    let (holds, mut answer) = match answer.await {
        Ok(rows) => match rows.first().and_then(|row| row.at(0)) {
            Some(value) => (matches!(value, "t" | "true" | "1" | "on"), value.to_owned()),
            None => (false, "no answer".to_owned()),
        },
        Err(error) => (false, error_chain(&error)),
    };
    let outcome = if holds { Outcome::Passed } else { Outcome::Doubtful };
    let end = answer.char_indices().map(|(at, _)| at).find(|at| *at >= ANSWER_LIMIT_BYTES);
    answer.truncate(end.unwrap_or(answer.len()));
    CheckOutcome { name: check.name.clone(), outcome, answer }
}

/// Where questions go that name no database: the only one that is the users' own, else `postgres`.
fn default_database(databases: &[String]) -> &str {
    let own = databases.iter().filter(|name| *name != "postgres" && !name.starts_with("template"));
    match own.collect::<Vec<_>>()[..] {
        [only] => only,
        _ => "postgres",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y2_a_full_disk_is_no_verdict_and_a_damaged_page_is() {
        assert!(is_of_this_machine(
            "PANIC:  could not write to file \"pg_wal/xlogtemp.12\": No space left on device"
        ));
        assert!(!is_of_this_machine("ERROR:  invalid page in block 7 of relation base/5/16384"));
    }
}
