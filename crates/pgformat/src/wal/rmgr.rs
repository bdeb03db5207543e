//! Resource managers: the parts of PostgreSQL that write WAL records.

use std::fmt;

/// The number of a resource manager. Extensions bring their own, from 128 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rmgr(pub u8);

/// Names in the order of the numbers, as `pg_waldump` prints them. Source: `access/rmgrlist.h`.
const NAMES: [&str; 22] = [
    "XLOG",
    "Transaction",
    "Storage",
    "CLOG",
    "Database",
    "Tablespace",
    "MultiXact",
    "RelMap",
    "Standby",
    "Heap2",
    "Heap",
    "Btree",
    "Hash",
    "Gin",
    "Gist",
    "Sequence",
    "SPGist",
    "BRIN",
    "CommitTs",
    "ReplicationOrigin",
    "Generic",
    "LogicalMessage",
];

/// The first number that an extension may use.
const FIRST_CUSTOM: u8 = 128;

#[expect(missing_docs, reason = "they are what PostgreSQL calls them")]
impl Rmgr {
    pub const XLOG: Self = Self(0);
    pub const TRANSACTION: Self = Self(1);
    pub const STORAGE: Self = Self(2);
    pub const DATABASE: Self = Self(4);
    pub const TABLESPACE: Self = Self(5);
    pub const RELATION_MAP: Self = Self(7);
    pub const STANDBY: Self = Self(8);
    pub const HEAP2: Self = Self(9);
    pub const HEAP: Self = Self(10);
}

impl Rmgr {
    /// Whether PostgreSQL, or an extension of it, may have this number.
    #[must_use]
    pub const fn is_possible(self) -> bool {
        (self.0 as usize) < NAMES.len() || self.0 >= FIRST_CUSTOM
    }
}

impl fmt::Display for Rmgr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "custom{:03}", self.0),
        }
    }
}

/// A set of resource managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RmgrSet([u128; 2]);

impl RmgrSet {
    /// All of them.
    pub const ALL: Self = Self([u128::MAX; 2]);

    /// Those named.
    #[must_use]
    pub fn of(rmgrs: &[Rmgr]) -> Self {
        let mut set = [0; 2];
        for rmgr in rmgrs {
            set[usize::from(rmgr.0 >> 7)] |= 1 << (rmgr.0 & 127);
        }
        Self(set)
    }

    /// Whether `rmgr` is among them.
    #[inline]
    #[must_use]
    pub fn contains(&self, rmgr: Rmgr) -> bool {
        self.0[usize::from(rmgr.0 >> 7)] >> (rmgr.0 & 127) & 1 == 1
    }
}
