//! Which paths of a data directory a base backup takes, and how.
//!
//! The rules are those of `pg_basebackup` (PostgreSQL manual, "Base Backup" under the streaming
//! replication protocol): state of the running server is left out, because a server that starts makes it
//! anew; directories whose content is left out stay as empty directories.
//!
//! Two things can not be told from one path: that a relation is unlogged shows in its directory's names
//! ([`UnloggedRelations`]); that an entry is not a plain file or directory, only the file system knows.

use crate::relation::split_database_path;
use crate::{Fork, Oid, PG_CONTROL_PATH, RelationFileName};
use std::collections::HashSet;

/// What a base backup does with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Treatment {
    /// Take it.
    Take,
    /// Take it after everything else: the file without which a directory can not start.
    TakeLast,
    /// Take the directory, without what is in it.
    KeepEmpty,
    /// Leave it out.
    Leave,
}

/// Directories that every backup has and whose content none has.
const EMPTIED_DIRECTORIES: [&str; 9] = [
    "pg_dynshmem",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_wal/archive_status",
    "pg_wal/summaries",
];

/// File names that are left out in whatever directory.
const LEFT_FILES: [&str; 7] = [
    "backup_label",
    "backup_manifest",
    "current_logfiles.tmp",
    "postgresql.auto.conf.tmp",
    "postmaster.opts",
    "postmaster.pid",
    "tablespace_map",
];

/// Beginnings of names, of files and directories, that are left out in whatever directory.
/// `pg_internal.init` may carry the number of the process that writes it.
const LEFT_PREFIXES: [&str; 3] = ["pgsql_tmp", "pg_internal.init", ".DS_Store"];

/// Tells what to do with `path`: relative to the data directory, parts joined by `/`.
///
/// Temporary relations are left out; unlogged ones need [`UnloggedRelations`] too.
#[must_use]
pub fn treatment(path: &str) -> Treatment {
    if path == PG_CONTROL_PATH {
        return Treatment::TakeLast;
    }
    if EMPTIED_DIRECTORIES.contains(&path) || path == "pg_wal" {
        return Treatment::KeepEmpty;
    }
    let inside = |directory: &&str| path.strip_prefix(*directory).is_some_and(|rest| rest.starts_with('/'));
    // What is below `pg_wal` is left out, but for the two directories matched above.
    if path.starts_with("pg_wal/") || EMPTIED_DIRECTORIES.iter().any(inside) {
        return Treatment::Leave;
    }
    if path.split('/').any(is_left_name) || is_temporary_relation(path) {
        return Treatment::Leave;
    }
    Treatment::Take
}

fn is_left_name(name: &str) -> bool {
    LEFT_FILES.contains(&name) || LEFT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_temporary_relation(path: &str) -> bool {
    split_database_path(path)
        .and_then(|(_, _, name)| RelationFileName::parse(name))
        .is_some_and(|name| name.backend.is_some())
}

/// The unlogged relations of one database's directory: those that have an `_init` fork.
///
/// After a crash, and so after a restore, such a relation is made anew from that fork: the others are
/// left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnloggedRelations(HashSet<Oid>);

impl UnloggedRelations {
    /// From all names in a database's directory.
    pub fn of_directory<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let init_fork = |name| RelationFileName::parse(name).filter(|name| name.fork == Fork::Init);
        Self(names.into_iter().filter_map(init_fork).map(|name| name.relfilenode).collect())
    }

    /// Whether the file called `name` in that directory is left out.
    #[must_use]
    pub fn leaves_out(&self, name: &str) -> bool {
        RelationFileName::parse(name)
            .is_some_and(|name| name.fork != Fork::Init && self.0.contains(&name.relfilenode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backup_takes() {
        for path in [
            "PG_VERSION",
            "base/5/16384",
            "base/5/pg_filenode.map",
            "global/pg_filenode.map",
            "pg_xact/0000",
            "pg_logical/replorigin_checkpoint",
            "pg_tblspc/16400",
            "pg_tblspc/16400/PG_15_202209061/5/16385",
            "postgresql.auto.conf",
            "backup_label.old",
            "pg_walnut/x",
            "t3_16384",
        ] {
            assert_eq!(treatment(path), Treatment::Take, "{path}");
        }
        assert_eq!(treatment("global/pg_control"), Treatment::TakeLast);
    }

    #[test]
    fn what_a_backup_leaves() {
        for path in [
            "pg_wal/000000010000000000000001",
            "pg_wal/archive_status/000000010000000000000001.done",
            "pg_wal/00000002.history",
            "pg_replslot/lifeboat/state",
            "pg_stat_tmp/global.stat",
            "pg_subtrans/0000",
            "base/pgsql_tmp/pgsql_tmp123.0",
            "base/pgsql_tmp",
            "pg_tblspc/16400/PG_15_202209061/pgsql_tmp/x",
            "postmaster.pid",
            "postmaster.opts",
            "backup_label",
            "tablespace_map",
            "backup_manifest",
            "global/pg_internal.init",
            "base/5/pg_internal.init.4711",
            "base/5/t3_16384",
            "base/5/t3_16384_fsm.1",
            "current_logfiles.tmp",
        ] {
            assert_eq!(treatment(path), Treatment::Leave, "{path}");
        }
        for path in ["pg_wal", "pg_wal/archive_status", "pg_wal/summaries", "pg_notify", "pg_replslot"] {
            assert_eq!(treatment(path), Treatment::KeepEmpty, "{path}");
        }
    }

    #[test]
    fn unlogged_relations_keep_their_init_fork_only() {
        let names = ["16384", "16390", "16390_init", "16390_fsm", "16390.1", "PG_VERSION"];
        let unlogged = UnloggedRelations::of_directory(names);
        let left: Vec<_> = names.into_iter().filter(|name| unlogged.leaves_out(name)).collect();
        assert_eq!(left, ["16390", "16390_fsm", "16390.1"]);
    }
}
