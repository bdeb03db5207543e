//! Whether there is room, before the first byte is written: on each file system that files go to.

use super::{RestoreError, SPARE_BYTES};
use lifeboat_vault::layer::{FileEntry, FileKind, LayerIndex};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Refuses a restore that would fill a file system. `is_over`: what is there already is written over.
pub(super) fn check(
    into: &Path,
    tablespaces: &BTreeMap<u32, PathBuf>,
    index: &LayerIndex,
    is_over: bool,
) -> Result<(), RestoreError> {
    // Device → a directory on it, and the bytes that go there.
    let mut needs: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    let roots =
        std::iter::once((None, into)).chain(tablespaces.iter().map(|(oid, at)| (Some(*oid), at.as_path())));
    for (tablespace, root) in roots {
        let files = index.files.iter().filter(|file| file.kind == FileKind::File);
        let files = files.filter(|file| tablespace_of(&file.path, tablespaces) == tablespace);
        let bytes: u64 = files.map(|file| remaining(file, into, is_over)).sum();
        let existing = existing(root);
        let device = std::fs::metadata(existing)
            .map_err(|source| RestoreError::File { path: existing.to_owned(), source })?
            .dev();
        let need = needs.entry(device).or_insert_with(|| (root.to_owned(), 0));
        need.1 = need.1.saturating_add(bytes);
    }
    needs.into_values().try_for_each(|(path, size_bytes)| must_have(&path, size_bytes))
}

/// Refuses to write so much to where `path` will be, and leave nothing to spare.
pub(crate) fn must_have(path: &Path, size_bytes: u64) -> Result<(), RestoreError> {
    let at = existing(path);
    let stat = rustix::fs::statvfs(at)
        .map_err(|error| RestoreError::File { path: at.to_owned(), source: error.into() })?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free_bytes < size_bytes.saturating_add(SPARE_BYTES) {
        return Err(RestoreError::NoRoom { path: path.to_owned(), free_bytes, size_bytes });
    }
    Ok(())
}

/// The tablespace in whose directory a file of the layer is.
fn tablespace_of(path: &str, tablespaces: &BTreeMap<u32, PathBuf>) -> Option<u32> {
    let (oid, _) = path.strip_prefix("pg_tblspc/")?.split_once('/')?;
    oid.parse().ok().filter(|oid| tablespaces.contains_key(oid))
}

/// Bytes of a file that the disk does not hold yet, about.
fn remaining(file: &FileEntry, into: &Path, is_over: bool) -> u64 {
    if !is_over {
        return file.length;
    }
    let there =
        std::fs::metadata(into.join(&file.path)).map_or(0, |found| found.blocks().saturating_mul(512));
    file.length.saturating_sub(there)
}

/// The directory itself, or the nearest one above that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}
