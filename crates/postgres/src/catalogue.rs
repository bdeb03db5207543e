//! Keeps what the files of all databases were called: WAL names relations by numbers, and a dropped table's
//! name is gone with it.
//!
//! One snapshot for the whole cluster, each database read over a connection of its own, sealed under the
//! position at which it was begun.
//!
//! # Invariants
//! - **C1 bounded.** At most [`DATABASES_LIMIT`] databases and [`RELATIONS_LIMIT`] relations; what is left
//!   out, and why, is in the snapshot.
//! - **C2 harmless.** Catalogues are read only; no lock on a relation is taken.
//!
//! Deliberately absent: columns and their types, and when to take a snapshot (`engine`).

use crate::client::{ClientError, CommandEvent, Connection, Conninfo, Purpose, Row, RowError};
use lifeboat_base::{Lsn, ServiceName, SystemId};
use lifeboat_pgformat::search::{Search, SearchOptions};
use lifeboat_pgformat::{CatalogueDatabase, CatalogueRelation, CatalogueSnapshot, Oid};
use lifeboat_vault::{CopyFailure, Reach, ReadError, Vault, WriteError, names, refusals};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Databases in one snapshot.
pub const DATABASES_LIMIT: usize = 1000;
/// Relations in one snapshot: some 200 MiB of memory.
pub const RELATIONS_LIMIT: usize = 1_000_000;

const CLUSTER: &str = "SELECT s.system_identifier, CASE WHEN pg_is_in_recovery() \
     THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END AS lsn FROM pg_control_system() s";
const DATABASES: &str = "SELECT oid, datname, dattablespace, datallowconn, datistemplate FROM pg_database \
     ORDER BY datistemplate, oid";
/// Temporary relations are left out: they are in no WAL.
const RELATIONS: &str = "SELECT c.oid, coalesce(pg_relation_filenode(c.oid), 0) AS file, \
     c.reltablespace, n.nspname, c.relname, c.relkind, c.relpersistence, t.oid AS toast_of \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_class t ON c.relkind = 't' AND t.reltoastrelid = c.oid \
     WHERE c.relkind IN ('r', 'm', 'p', 't', 'S', 'i', 'I') AND c.relpersistence <> 't' ORDER BY c.oid";

/// A snapshot that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The cluster.
    pub system_id: SystemId,
    /// Where it was begun; its name in the vault.
    pub lsn: Lsn,
    /// Databases read.
    pub databases: usize,
    /// Relations in them.
    pub relations: usize,
    /// What is not in it, and why.
    pub skipped: Vec<Skipped>,
}

/// A database whose relations are not in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name.
    pub database: String,
    /// Why.
    pub why: String,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The server.
    #[error("the server did not tell its catalogues")]
    Server(#[source] ClientError),
    /// Its answer.
    #[error("the server's catalogues do not read")]
    Row(#[source] RowError),
    /// It is another one.
    #[error(
        "the server is cluster {found} now, but cluster {expected} was asked first: something switched servers in between; try again"
    )]
    OtherCluster {
        /// What it is.
        found: SystemId,
        /// What it was.
        expected: SystemId,
    },
    /// The vault did not take it.
    #[error("the catalogue snapshot could not be kept")]
    Write(#[source] WriteError),
    /// The vault did not give it.
    #[error("the catalogue snapshot of {lsn} cannot be read")]
    Read {
        /// Which.
        lsn: Lsn,
        /// Why.
        source: ReadError,
    },
    /// The copies do not answer.
    #[error("catalogue snapshots cannot be listed ({})", refusals(.0))]
    Silent(Vec<CopyFailure>),
    /// Not what Lifeboat writes.
    #[error("the catalogue snapshot of {lsn} is malformed")]
    Malformed {
        /// Which.
        lsn: Lsn,
        /// Why.
        source: serde_json::Error,
    },
}

/// As it is stored. Relations are rows without names of columns: there are many.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    lsn: Lsn,
    databases: Vec<StoredDatabase>,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredDatabase {
    oid: u32,
    name: String,
    tablespace: u32,
    /// Names of schemas, which relations count from 0.
    schemas: Vec<String>,
    relations: Vec<StoredRelation>,
}

/// OID, file, tablespace, schema by its place, name, kind, persistence, the table of a TOAST relation or 0.
#[derive(Debug, Serialize, Deserialize)]
struct StoredRelation(u32, u32, u32, usize, String, char, char, u32);

/// Takes a snapshot of all databases of the server at `conninfo` and keeps it.
///
/// # Errors
/// [`CatalogueError`]; a database that refuses the connection is skipped by name.
pub async fn capture(
    vault: &Vault,
    service: &ServiceName,
    conninfo: &Conninfo,
) -> Result<Captured, CatalogueError> {
    let mut connection = Connection::connect(conninfo, Purpose::Sql).await.map_err(CatalogueError::Server)?;
    let (system_id, lsn) = identify(&mut connection).await?;
    let rows = connection.query(DATABASES).await.map_err(CatalogueError::Server)?;
    connection.close().await;
    let mut stored = Stored { lsn, databases: Vec::new(), skipped: Vec::new() };
    let mut room = RELATIONS_LIMIT;
    for row in rows {
        let mut database = read_database(&row).map_err(CatalogueError::Row)?;
        let flag = |column: &str| row.text(column).map(|text| text == "t").map_err(CatalogueError::Row);
        let (may_connect, is_template) = (flag("datallowconn")?, flag("datistemplate")?);
        let mut skip = |database: &StoredDatabase, why: String| {
            stored.skipped.push(Skipped { database: database.name.clone(), why });
        };
        if stored.databases.len() >= DATABASES_LIMIT {
            skip(&database, format!("a snapshot holds {DATABASES_LIMIT} databases"));
            continue;
        }
        if !may_connect {
            // `template0` has nothing of anybody's.
            if !is_template {
                skip(&database, "it allows no connections".to_owned());
            }
        } else if let Err(error) = relations(conninfo, system_id, &mut database, &mut room).await? {
            skip(&database, error);
        }
        stored.databases.push(database);
    }
    let raw = serde_json::to_vec(&stored).expect("texts and numbers serialise");
    match vault.put(&names::catalogue(service, system_id, lsn), &raw, Reach::Durable).await {
        // One of this position is there: nothing was written in between that it would not know.
        Ok(_) | Err(WriteError::Conflict { .. }) => {}
        Err(error) => return Err(CatalogueError::Write(error)),
    }
    let relations = stored.databases.iter().map(|database| database.relations.len()).sum();
    Ok(Captured { system_id, lsn, databases: stored.databases.len(), relations, skipped: stored.skipped })
}

async fn identify(connection: &mut Connection) -> Result<(SystemId, Lsn), CatalogueError> {
    let row = connection.query_one(CLUSTER).await.map_err(CatalogueError::Server)?;
    let read = || {
        // SQL has no unsigned integers: it prints the upper half of the identifiers as negative.
        Ok((SystemId(row.parse::<i64>("system_identifier")? as u64), row.parse("lsn")?))
    };
    read().map_err(CatalogueError::Row)
}

fn read_database(row: &Row) -> Result<StoredDatabase, RowError> {
    Ok(StoredDatabase {
        oid: row.parse("oid")?,
        name: row.text("datname")?.to_owned(),
        tablespace: row.parse("dattablespace")?,
        schemas: Vec::new(),
        relations: Vec::new(),
    })
}

/// Reads one database's relations. The inner error is why it is skipped.
async fn relations(
    conninfo: &Conninfo,
    system: SystemId,
    database: &mut StoredDatabase,
    room: &mut usize,
) -> Result<Result<(), String>, CatalogueError> {
    let conninfo = conninfo.clone().with_database(&database.name);
    let mut connection = match Connection::connect(&conninfo, Purpose::Sql).await {
        Ok(connection) => connection,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let (found, _) = identify(&mut connection).await?;
    if found != system {
        return Err(CatalogueError::OtherCluster { found, expected: system });
    }
    let mut rows = connection.stream(RELATIONS).await.map_err(CatalogueError::Server)?;
    loop {
        let row = match rows.next().await {
            Ok(Some(CommandEvent::Row(row))) => row,
            Ok(Some(_)) => continue,
            Ok(None) => break,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if *room == 0 {
            return Ok(Err(format!("a snapshot holds {RELATIONS_LIMIT} relations")));
        }
        *room -= 1;
        let relation = read_relation(&row, &mut database.schemas).map_err(CatalogueError::Row)?;
        database.relations.push(relation);
    }
    connection.close().await;
    Ok(Ok(()))
}

fn read_relation(row: &Row, schemas: &mut Vec<String>) -> Result<StoredRelation, RowError> {
    let schema = row.text("nspname")?;
    // Relations come by OID, so that neighbours share a schema.
    let place = schemas.iter().rposition(|known| known == schema).unwrap_or_else(|| {
        schemas.push(schema.to_owned());
        schemas.len() - 1
    });
    let toast_of = if row.optional("toast_of")?.is_some() { row.parse("toast_of")? } else { 0 };
    Ok(StoredRelation(
        row.parse("oid")?,
        row.parse("file")?,
        row.parse("reltablespace")?,
        place,
        row.text("relname")?.to_owned(),
        row.parse("relkind")?,
        row.parse("relpersistence")?,
        toast_of,
    ))
}

/// The positions of a cluster's snapshots, ascending; those that only a silent copy has are passed over.
///
/// # Errors
/// [`CatalogueError::Silent`].
pub async fn list(
    vault: &Vault,
    service: &ServiceName,
    system: SystemId,
) -> Result<Vec<Lsn>, CatalogueError> {
    let listing = vault.copies().as_seen().list(&names::catalogues(service, system)).await;
    if !listing.is_complete {
        return Err(CatalogueError::Silent(listing.failures));
    }
    let last = |name: &String| Lsn::from_sortable(name.rsplit('/').next()?);
    Ok(listing.objects.keys().filter_map(last).collect())
}

/// Reads one snapshot.
///
/// # Errors
/// [`CatalogueError`].
pub async fn load(
    vault: &Vault,
    service: &ServiceName,
    system: SystemId,
    lsn: Lsn,
) -> Result<CatalogueSnapshot, CatalogueError> {
    let raw = vault.read(&names::catalogue(service, system, lsn)).await;
    let raw = raw.map_err(|source| CatalogueError::Read { lsn, source })?;
    parse(&raw).map_err(|source| CatalogueError::Malformed { lsn, source })
}

fn parse(raw: &[u8]) -> Result<CatalogueSnapshot, serde_json::Error> {
    let stored: Stored = serde_json::from_slice(raw)?;
    let databases = stored.databases.into_iter().map(database).collect();
    Ok(CatalogueSnapshot { lsn: stored.lsn, databases })
}

fn database(stored: StoredDatabase) -> CatalogueDatabase {
    let StoredDatabase { oid, name, tablespace, schemas, relations } = stored;
    let schemas: Vec<Arc<str>> = schemas.into_iter().map(Arc::from).collect();
    let relation = |stored: StoredRelation| {
        let StoredRelation(oid, file, tablespace, schema, name, kind, persistence, toast_of) = stored;
        CatalogueRelation {
            oid: Oid(oid),
            relfilenode: Oid(file),
            tablespace: Oid(tablespace),
            schema: schemas.get(schema).cloned().unwrap_or_else(|| "".into()),
            name,
            kind,
            persistence,
            toast_of: (toast_of != 0).then_some(Oid(toast_of)),
        }
    };
    let relations = relations.into_iter().map(relation).collect();
    CatalogueDatabase { oid: Oid(oid), name, tablespace: Oid(tablespace), relations }
}

/// A snapshot behind its seal, for fuzzing: bytes in, nothing out, no panic.
#[doc(hidden)]
pub fn fuzz(raw: &[u8]) {
    if let Ok(snapshot) = parse(raw) {
        let options = SearchOptions { min_rows: 1, rewrites: true };
        _ = Search::new(options, vec![snapshot.clone(), snapshot]);
    }
}
