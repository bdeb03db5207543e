//! Restores over an old directory of the same cluster: what is right already is neither fetched nor written.
//!
//! # Invariants
//! - **D1 nothing old shows.** Files that the layer does not have are removed, its WAL too; what a layer stores
//!   as a hole is made zero.
//! - **D2 links are not followed out.** Only tablespaces, and a `pg_wal` kept elsewhere, are looked into; of a
//!   tablespace's directory only what is this version's, as clusters of several may share it.

use super::files::remove;
use super::{Marker, PID_FILE, RestoreError, RestoreOptions, failed};
use lifeboat_pgformat::{ControlFile, PAGE_SIZE_BYTES, PG_CONTROL_PATH};
use lifeboat_vault::layer::{FileKind, FrameEntry, FrameHash, LayerIndex, PackDirectory, Stack, Stretch};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const PAGE_BYTES: u64 = PAGE_SIZE_BYTES as u64;
/// Deepest directory that is looked at: PostgreSQL's own need five.
const DEPTH_LIMIT: usize = 16;

/// Refuses a directory of another cluster, or of none.
pub(super) fn same_cluster(options: &RestoreOptions, marker: Option<&Marker>) -> Result<(), RestoreError> {
    let (path, wanted) = (options.into.clone(), options.point.system_id);
    let found = match std::fs::read(path.join(PG_CONTROL_PATH)).map(|bytes| ControlFile::parse(&bytes)) {
        Ok(Ok(control)) if control.system_id == wanted => return Ok(()),
        Ok(Ok(control)) => format!("cluster {}", control.system_id),
        Ok(Err(error)) => error.to_string(),
        // A delta of another point was killed after it took pg_control away.
        Err(_) if marker.is_some_and(|marker| marker.service == options.point.service) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound && !super::has_entries(&path) => return Ok(()),
        Err(error) => format!("{PG_CONTROL_PATH}: {error}"),
    };
    Err(RestoreError::OtherCluster { path, found, wanted })
}

/// What is below `root`, a cluster of this major version, and not in the layer (D1).
pub(super) fn in_the_way(root: &Path, index: &LayerIndex, major: u32) -> Result<Vec<PathBuf>, Error> {
    let mut search = Search { root, index, version_prefix: format!("PG_{major}_"), found: Vec::new() };
    if root.exists() {
        search.look("", 0)?;
    }
    Ok(search.found)
}

struct Search<'a> {
    root: &'a Path,
    index: &'a LayerIndex,
    /// How the directory begins that a cluster has in each of its tablespaces.
    version_prefix: String,
    found: Vec<PathBuf>,
}

impl Search<'_> {
    fn look(&mut self, below: &str, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_LIMIT {
            return Ok(());
        }
        let is_tablespace = Path::new(below).parent().is_some_and(|parent| parent == Path::new("pg_tblspc"));
        for entry in std::fs::read_dir(self.root.join(below))? {
            let entry = entry?;
            let name = entry.file_name();
            if is_tablespace && !name.to_string_lossy().starts_with(&self.version_prefix) {
                continue;
            }
            let relative = match name.to_str() {
                Some(name) if below.is_empty() => name.to_owned(),
                Some(name) => format!("{below}/{name}"),
                None => {
                    self.found.push(entry.path());
                    continue;
                }
            };
            let is_ours = relative == super::MARKER_FILE
                || relative == PG_CONTROL_PATH
                || relative == super::TABLESPACES_DIRECTORY;
            if is_ours {
                continue;
            }
            let kind = entry.file_type()?;
            let is_kept_directory =
                self.index.file(&relative).is_some_and(|file| file.kind == FileKind::Directory)
                    || relative == "pg_wal"
                    || relative == "pg_tblspc"
                    || relative == "pg_wal/archive_status";
            let is_kept_link = relative == "pg_wal" || below == "pg_tblspc";
            if (kind.is_dir() && is_kept_directory) || (kind.is_symlink() && is_kept_link) {
                self.look(&relative, depth + 1)?;
            } else if self
                .index
                .file(&relative)
                .is_none_or(|file| file.kind != FileKind::File || !kind.is_file())
            {
                self.found.push(entry.path());
            }
        }
        Ok(())
    }
}

/// Removes what was found to be in the way.
pub(super) fn clear(root: &Path, found: &[PathBuf]) -> Result<(), RestoreError> {
    remove(&root.join(PID_FILE))?;
    for path in found {
        let removed = match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
            Ok(_) => std::fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(path)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Which pages the layers store, learned pack by pack; the others are zeros.
pub(super) struct Delta {
    stored: Mutex<HashMap<String, Vec<u64>>>,
}

impl Delta {
    pub(super) fn new(index: &LayerIndex) -> Self {
        let files = index.files.iter().filter(|file| file.kind == FileKind::File && file.length > 0);
        let words = |length: u64| length.div_ceil(PAGE_BYTES).div_ceil(64) as usize;
        let stored = files.map(|file| (file.path.clone(), vec![0; words(file.length)])).collect();
        Self { stored: Mutex::new(stored) }
    }

    /// Whether all that shows of a pack is in its place already.
    pub(super) fn is_there(
        &self,
        root: &Path,
        stack: &Stack,
        number: u32,
        pack: &PackDirectory,
    ) -> Result<bool, RestoreError> {
        let mut open: Option<(u32, File)> = None;
        let mut is_there = true;
        for frame in &pack.frames {
            let path = &pack.files[frame.file as usize];
            let showing = stack.showing(number, path, frame);
            self.learn(path, &showing);
            if !is_there || showing.is_empty() {
                continue;
            }
            if path == PG_CONTROL_PATH {
                // It was taken away, and is needed.
                is_there = false;
                continue;
            }
            if open.as_ref().is_none_or(|(file, _)| *file != frame.file) {
                let at = root.join(path);
                open = Some((frame.file, File::open(&at).map_err(failed(&at))?));
            }
            is_there = open.as_ref().is_some_and(|(_, file)| is_same(file, &showing, frame));
        }
        Ok(is_there)
    }

    fn learn(&self, path: &str, showing: &[Stretch]) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(words) = stored.get_mut(path) else { return };
        for stretch in showing {
            let first = stretch.begin / PAGE_BYTES;
            for page in first..first + (stretch.raw.len() as u64).div_ceil(PAGE_BYTES) {
                if let Some(word) = words.get_mut((page / 64) as usize) {
                    *word |= 1 << (page % 64);
                }
            }
        }
    }

    /// Makes zero what no layer fills (D1).
    pub(super) fn clear_holes(&self, root: &Path, index: &LayerIndex) -> Result<(), RestoreError> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let mut local = vec![0; PAGE_SIZE_BYTES];
        for (path, words) in stored.iter().filter(|(path, _)| *path != PG_CONTROL_PATH) {
            let at = root.join(path);
            let length = index.file(path).map_or(0, |file| file.length);
            let holes = (0..length.div_ceil(PAGE_BYTES))
                .filter(|page| words[(page / 64) as usize] & (1 << (page % 64)) == 0);
            let mut open = None;
            for page in holes {
                let file = match &open {
                    Some(file) => file,
                    None => {
                        open.insert(File::options().read(true).write(true).open(&at).map_err(failed(&at))?)
                    }
                };
                let begin = page * PAGE_BYTES;
                let bytes = &mut local[..(length - begin).min(PAGE_BYTES) as usize];
                file.read_exact_at(bytes, begin).map_err(failed(&at))?;
                if bytes.iter().any(|byte| *byte != 0) {
                    bytes.fill(0);
                    file.write_all_at(bytes, begin).map_err(failed(&at))?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a file has what a frame holds. Where a part of that is hidden, its hash tells nothing.
fn is_same(file: &File, showing: &[Stretch], frame: &FrameEntry) -> bool {
    let mut local = Vec::new();
    for stretch in showing {
        let from = local.len();
        local.resize(from + stretch.raw.len(), 0);
        if file.read_exact_at(&mut local[from..], stretch.begin).is_err() {
            return false;
        }
    }
    Some(local.len()) == frame.raw_length() && FrameHash::of(&local) == frame.hash
}
