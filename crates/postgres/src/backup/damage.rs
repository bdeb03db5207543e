//! Tells pages that are damaged on production from pages that were written while we read them.
//!
//! # Invariants
//! - **D1 torn is not damaged.** A page that does not verify counts as torn only if its LSN lies between the
//!   backup's start and stop: WAL then holds a whole image of it. An LSN beyond the stop is nonsense, and
//!   so is a header that makes none.
//! - **D2 damaged is looked at twice.** What is reported was read again and did not mend; what could not be
//!   read again is reported as a suspicion, and says so.
//!
//! Deliberately absent: mending. What production has is what is stored.

use super::pages::{self, Suspect};
use super::{BackupError, BackupOptions};
use crate::client::{Connection, Purpose, quote_literal};
use lifeboat_base::Lsn;
use lifeboat_pgformat::{Oid, PAGE_SIZE_BYTES, RelationFile};
use lifeboat_vault::point::DamagedPage;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Times that a page or `pg_control` is read again before it counts as damaged.
pub(super) const REREADS: usize = 5;
/// Between them, for a write under way to end.
pub(super) const REREAD_PAUSE: Duration = Duration::from_millis(20);
/// Damaged pages named in a manifest. Who has more has lost a disk, and needs no longer list.
const NAMED_LIMIT: usize = 1000;
/// Pages that do not verify kept in memory, damaged and torn ones together.
const HELD_LIMIT: usize = 20_000;

/// A page that did not verify.
#[derive(Debug, Clone)]
struct Finding {
    path: Arc<str>,
    suspect: Suspect,
    /// Whether it was read again already, without mending.
    is_sure: bool,
}

/// The pages that did not verify, as they are found.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Notes a page; `is_sure` if it was read again.
    pub(super) fn add(&mut self, path: &Arc<str>, suspect: Suspect, is_sure: bool) {
        if self.0.len() < HELD_LIMIT {
            self.0.push(Finding { path: path.clone(), suspect, is_sure });
        }
    }

    /// Whether there are so many that reading each again would only take long.
    pub(super) fn is_plenty(&self) -> bool {
        self.0.len() >= NAMED_LIMIT
    }

    /// Those that WAL from `start` to `stop` does not mend (D1).
    fn damaged(self, start: Lsn, stop: Lsn) -> Vec<Finding> {
        let is_torn = |found: &Finding| found.suspect.lsn.is_some_and(|lsn| start <= lsn && lsn <= stop);
        let mut damaged: Vec<_> = self.0.into_iter().filter(|found| !is_torn(found)).collect();
        damaged.sort_by(|a, b| (&a.path, a.suspect.block).cmp(&(&b.path, b.suspect.block)));
        damaged.truncate(NAMED_LIMIT);
        damaged
    }
}

/// What the manifest says of the pages that were found, once it is known where the backup ended.
pub(super) async fn settle(
    findings: Findings,
    start: Lsn,
    stop: Lsn,
    options: &BackupOptions,
    sql: &mut Connection,
) -> Vec<DamagedPage> {
    let mut may_ask = true;
    let mut pages = Vec::new();
    for found in findings.damaged(start, stop) {
        let mut suspect = !found.is_sure;
        if suspect && may_ask {
            match read_again(sql, &found, start).await {
                Ok(Verdict::Mended) => continue,
                Ok(Verdict::Damaged) => suspect = false,
                Ok(Verdict::Unclear) => {}
                // Not permitted, most likely: it will not be for the next one either.
                Err(_) => may_ask = false,
            }
        }
        let (path, block) = (found.path.to_string(), u64::from(found.suspect.block));
        pages.push(DamagedPage { path, block, database: None, relation: None, suspect });
    }
    name(&mut pages, options, sql).await;
    pages
}

enum Verdict {
    /// It was torn: it is whole now, and newer than the backup's start.
    Mended,
    Damaged,
    /// It is whole and old now: what we got was not what the disk has.
    Unclear,
}

/// Asks the server for a page that came damaged over the wire (D2).
async fn read_again(sql: &mut Connection, found: &Finding, start: Lsn) -> Result<Verdict, BackupError> {
    let Some(relation) = RelationFile::parse(&found.path) else { return Ok(Verdict::Damaged) };
    let offset = found.suspect.offset;
    let question = format!(
        "SELECT encode(pg_read_binary_file({}, {offset}, {PAGE_SIZE_BYTES}, true), 'hex') AS page",
        quote_literal(&found.path)
    );
    for _ in 0..REREADS {
        let row = sql.query_one(&question).await.map_err(BackupError::Server)?;
        let hex = row.optional("page").unwrap_or_default().unwrap_or_default();
        let page = hex::decode(hex).unwrap_or_default();
        // Dropped or cut off since: WAL tells of it.
        let Some(first) = page.first_chunk::<PAGE_SIZE_BYTES>() else { return Ok(Verdict::Mended) };
        if pages::suspects(&relation, offset, &page).is_empty() {
            let lsn = lifeboat_pgformat::PageHeader::decode(first).lsn;
            return Ok(if lsn >= start { Verdict::Mended } else { Verdict::Unclear });
        }
        tokio::time::sleep(REREAD_PAUSE).await;
    }
    Ok(Verdict::Damaged)
}

/// Fills in which relations the pages are of, as well as the server tells.
async fn name(pages: &mut [DamagedPage], options: &BackupOptions, sql: &mut Connection) {
    let mut wanted: BTreeMap<Oid, BTreeSet<(Oid, Oid)>> = BTreeMap::new();
    for file in pages.iter().filter_map(|page| RelationFile::parse(&page.path)) {
        wanted.entry(file.database).or_default().insert((file.tablespace, file.name.relfilenode));
    }
    let mut names: BTreeMap<(Oid, Oid, Oid), (String, String)> = BTreeMap::new();
    for (database, files) in wanted {
        // A server that lost its catalogue, or lets us into no such database, has no names to give.
        let Ok(Some((database_name, mut connection))) = enter(database, options, sql).await else { continue };
        for (tablespace, file) in files {
            let question = format!(
                "SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.oid = pg_filenode_relation({tablespace}, {file})"
            );
            let Ok(rows) = connection.query(&question).await else { break };
            if let Some(relation) = rows.first().and_then(|row| row.text("name").ok()) {
                let named = (database_name.clone(), relation.to_owned());
                names.insert((tablespace, database, file), named);
            }
        }
        connection.close().await;
    }
    for page in pages {
        let Some(file) = RelationFile::parse(&page.path) else { continue };
        let named = names.get(&(file.tablespace, file.database, file.name.relfilenode)).cloned();
        (page.database, page.relation) = named.unzip();
        if file.database == Oid(0) {
            // Shared relations are of no database.
            page.database = None;
        }
    }
}

/// A connection to the database with this OID; any will do for shared relations.
async fn enter(
    database: Oid,
    options: &BackupOptions,
    sql: &mut Connection,
) -> Result<Option<(String, Connection)>, BackupError> {
    let question = match database {
        Oid(0) => "SELECT current_database() AS name".to_owned(),
        database => {
            format!("SELECT datname AS name FROM pg_database WHERE oid = {database} AND datallowconn")
        }
    };
    let rows = sql.query(&question).await.map_err(BackupError::Server)?;
    let Some(name) = rows.first().and_then(|row| row.text("name").ok()) else { return Ok(None) };
    let conninfo = options.conninfo.clone().with_database(name);
    let connection = Connection::connect(&conninfo, Purpose::Sql).await.map_err(BackupError::Server)?;
    Ok(Some((name.to_owned(), connection)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_only_a_page_written_during_the_backup_is_torn() {
        let mut findings = Findings::default();
        let path: Arc<str> = "base/5/16384".into();
        for (block, lsn) in
            [Some(Lsn(9)), Some(Lsn(10)), Some(Lsn(20)), Some(Lsn(21)), None].into_iter().enumerate()
        {
            let suspect = Suspect { offset: block as u64 * 8192, block: block as u32, lsn };
            findings.add(&path, suspect, true);
        }
        let blocks: Vec<u32> =
            findings.damaged(Lsn(10), Lsn(20)).iter().map(|found| found.suspect.block).collect();
        assert_eq!(blocks, [0, 3, 4], "before the start, beyond the stop, and without a header");
    }
}
