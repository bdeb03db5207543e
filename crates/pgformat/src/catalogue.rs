//! Catalogue snapshots: what relation a file belonged to at some moment.
//!
//! WAL names relations by file numbers, and a dropped table's name is gone with it. A snapshot of the
//! catalogues taken before gives the names back. Plain structures: whoever stores them chooses how.

use crate::{Oid, RelationLocator};
use lifeboat_base::Lsn;
use std::collections::HashMap;
use std::sync::Arc;

/// Names of all relations of a cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueSnapshot {
    /// The WAL position when it was begun.
    pub lsn: Lsn,
    /// The databases.
    pub databases: Vec<CatalogueDatabase>,
}

/// One database of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueDatabase {
    /// `pg_database.oid`.
    pub oid: Oid,
    /// `pg_database.datname`.
    pub name: String,
    /// `pg_database.dattablespace`.
    pub tablespace: Oid,
    /// Its relations.
    pub relations: Vec<CatalogueRelation>,
}

/// One relation of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueRelation {
    /// `pg_class.oid`.
    pub oid: Oid,
    /// `pg_relation_filenode(oid)`, zero for a relation without files.
    pub relfilenode: Oid,
    /// `pg_class.reltablespace`; zero for the database's own.
    pub tablespace: Oid,
    /// The schema's name, which many relations share.
    pub schema: Arc<str>,
    /// `pg_class.relname`.
    pub name: String,
    /// `pg_class.relkind`.
    pub kind: char,
    /// `pg_class.relpersistence`.
    pub persistence: char,
    /// For a TOAST relation, the table that it belongs to.
    pub toast_of: Option<Oid>,
}

/// A relation by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationName {
    /// Its OID.
    pub oid: Oid,
    /// Its schema.
    pub schema: Arc<str>,
    /// Its name.
    pub name: String,
}

/// What a relation is, as far as rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelationKind {
    /// Has rows: a table or a materialised view, or a partitioned table that has them by proxy.
    Rows,
    Sequence,
    /// Indexes, TOAST, views and the rest: nothing that is lost for itself.
    Auxiliary,
}

#[derive(Debug, Clone)]
pub(crate) struct KnownRelation {
    pub(crate) name: RelationName,
    pub(crate) kind: RelationKind,
    /// For a TOAST relation, its table.
    pub(crate) toast_of: Option<Oid>,
}

/// All snapshots together, to look names up in.
#[derive(Debug, Default)]
pub(crate) struct Names {
    relations: Vec<KnownRelation>,
    by_file: HashMap<RelationLocator, usize>,
    by_oid: HashMap<(Oid, Oid), usize>,
    /// The newest TOAST relation of a table, by database and table.
    toast: HashMap<(Oid, Oid), usize>,
    databases: HashMap<Oid, String>,
}

impl Names {
    /// Where snapshots differ on a relation, the oldest counts: it is from before the accident.
    pub(crate) fn of(mut snapshots: Vec<CatalogueSnapshot>) -> Self {
        snapshots.sort_by_key(|snapshot| snapshot.lsn);
        let mut names = Self::default();
        for database in snapshots.into_iter().flat_map(|snapshot| snapshot.databases) {
            names.databases.entry(database.oid).or_insert(database.name);
            for relation in database.relations {
                names.add(database.oid, database.tablespace, relation);
            }
        }
        names
    }

    fn add(&mut self, database: Oid, default_tablespace: Oid, relation: CatalogueRelation) {
        let tablespace = if relation.tablespace.0 == 0 { default_tablespace } else { relation.tablespace };
        let locator = RelationLocator { tablespace, database, relfilenode: relation.relfilenode };
        let index = *self.by_oid.entry((database, relation.oid)).or_insert_with(|| {
            let kind = match relation.kind {
                'r' | 'm' | 'p' => RelationKind::Rows,
                'S' => RelationKind::Sequence,
                _ => RelationKind::Auxiliary,
            };
            let CatalogueRelation { oid, schema, name, toast_of, .. } = relation;
            self.relations.push(KnownRelation { name: RelationName { oid, schema, name }, kind, toast_of });
            self.relations.len() - 1
        });
        if let Some(table) = relation.toast_of {
            self.toast.entry((database, table)).or_insert(index);
        }
        if locator.relfilenode.0 != 0 {
            self.by_file.entry(locator).or_insert(index);
        }
    }

    pub(crate) fn by_file(&self, locator: &RelationLocator) -> Option<&KnownRelation> {
        self.by_file.get(locator).and_then(|index| self.relations.get(*index))
    }

    pub(crate) fn by_oid(&self, database: Oid, relation: Oid) -> Option<&KnownRelation> {
        self.by_oid.get(&(database, relation)).and_then(|index| self.relations.get(*index))
    }

    pub(crate) fn toast_of(&self, database: Oid, table: Oid) -> Option<&KnownRelation> {
        self.toast.get(&(database, table)).and_then(|index| self.relations.get(*index))
    }

    /// A table has got a new TOAST relation, which has the number of its first file.
    pub(crate) fn replace_toast(&mut self, table: Oid, file: RelationLocator) {
        let Some(old) = self.toast_of(file.database, table) else { return };
        let name = RelationName { oid: file.relfilenode, ..old.name.clone() };
        let kind = RelationKind::Auxiliary;
        self.relations.push(KnownRelation { name, kind, toast_of: Some(table) });
        let index = self.relations.len() - 1;
        self.by_file.insert(file, index);
        self.by_oid.insert((file.database, file.relfilenode), index);
        self.toast.insert((file.database, table), index);
    }

    pub(crate) fn database(&self, database: Oid) -> Option<&str> {
        self.databases.get(&database).map(String::as_str)
    }

    /// The relation of `old` has moved to `new`.
    pub(crate) fn follow(&mut self, old: &RelationLocator, new: RelationLocator) {
        if let Some(index) = self.by_file.get(old).copied() {
            self.by_file.insert(new, index);
        }
    }
}
