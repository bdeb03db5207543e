//! Object numbers, and the three of them that say where a relation's bytes are.

use std::fmt;

/// A PostgreSQL object identifier: a database, a tablespace, a relation, or a relation's file number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Oid(pub u32);

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The tablespace `pg_default`: the directory `base`.
pub const DEFAULT_TABLESPACE: Oid = Oid(1663);
/// The tablespace `pg_global`: the directory `global`, for what all databases share.
pub const GLOBAL_TABLESPACE: Oid = Oid(1664);

/// Where a relation's bytes are. Written as PostgreSQL's tools write it: `1663/5/16384`.
///
/// A rewrite (`VACUUM FULL`, `TRUNCATE`) gives a relation a new `relfilenode`; its OID stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelationLocator {
    /// The tablespace.
    pub tablespace: Oid,
    /// The database; zero for what all databases share.
    pub database: Oid,
    /// The number its files are named by.
    pub relfilenode: Oid,
}

impl fmt::Display for RelationLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tablespace, self.database, self.relfilenode)
    }
}
