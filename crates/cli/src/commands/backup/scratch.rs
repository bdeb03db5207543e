//! Directories in which restore points are tried: gone afterwards, also when the process was killed.
//!
//! ```text
//! lifeboat-verify-<point>-<process>        the data directory
//! lifeboat-verify-<point>-<process>.lock   held by the process that works there
//! ```
//!
//! # Invariants
//! - **S1 nothing stays.** A directory goes with its [`Scratch`]; that of a killed process goes, with the server
//!   in it, when the next one is made beside it.
//! - **S2 only ours.** What has no lock file of ours, or one that is held, is left alone.

use anyhow::Context;
use lifeboat_postgres::server::end_orphan;
use lifeboat_postgres::view::{Place, discard};
use rustix::fs::{FlockOperation, flock, fstat};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

const PREFIX: &str = "lifeboat-verify-";
const LOCK: &str = "lock";

/// A scratch directory that goes when this does.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    is_kept: bool,
    _lock: File,
}

impl Scratch {
    /// Clears what killed processes left in `parent`, and names a new directory there, which is not made yet.
    ///
    /// # Errors
    /// If nothing can be made there.
    pub async fn new(parent: &Path, point: &str, is_kept: bool) -> anyhow::Result<Self> {
        let unusable = || format!("{} cannot be used as a scratch directory", parent.display());
        std::fs::create_dir_all(parent).with_context(unusable)?;
        let parent = parent.canonicalize().with_context(unusable)?;
        for entry in parent.read_dir().with_context(unusable)?.flatten() {
            sweep(&entry.path()).await;
        }
        let path = parent.join(format!("{PREFIX}{point}-{}", std::process::id()));
        let lock = loop {
            let lock = lock(&path).with_context(unusable)?;
            flock(&lock, FlockOperation::LockExclusive).with_context(unusable)?;
            // Another's sweep may have come between.
            if fstat(&lock).with_context(unusable)?.st_nlink > 0 {
                break lock;
            }
        };
        Ok(Self { path, is_kept, _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed is named like it, for a person to find.
            let _ = discard(&Place::of(&self.path));
            let _ = std::fs::remove_dir_all(&self.path);
        }
        let _ = std::fs::remove_file(lock_path(&self.path));
    }
}

fn lock_path(path: &Path) -> PathBuf {
    // No point's name has a dot.
    path.with_extension(LOCK)
}

fn lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(lock_path(path))
}

/// Removes what belongs to a lock file that nobody holds (S1). What is another user's is left to them.
async fn sweep(found: &Path) {
    let name = found.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.starts_with(PREFIX) || found.extension().is_none_or(|extension| extension != LOCK) {
        return;
    }
    let Ok(lock) = OpenOptions::new().append(true).open(found) else { return };
    let is_free = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
    if !is_free || fstat(&lock).is_ok_and(|status| status.st_nlink == 0) {
        return;
    }
    let directory = found.with_extension("");
    // A view that nobody shows any more: its server is found by what is behind it.
    let place = Place::of(&directory);
    if place.home.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        end_orphan(&directory).await;
        if discard(&place).is_err() {
            return;
        }
    }
    // No link: it would lead to somebody else's server.
    if directory.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        end_orphan(&directory).await;
        if std::fs::remove_dir_all(&directory).is_err() {
            return;
        }
    }
    let _ = std::fs::remove_file(found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s1_s2_what_a_killed_process_left_goes_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let held = Scratch::new(parent.path(), "20261121T090000Z-held", false).await.unwrap();
        let kept = Scratch::new(parent.path(), "20261121T090000Z-kept", true).await.unwrap();
        let killed = parent.path().join("lifeboat-verify-20261121T090000Z-dead-1");
        let anothers = parent.path().join("lifeboat-verify-mine");
        for directory in [held.path(), kept.path(), &killed, &anothers] {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join("file"), "").unwrap();
        }
        drop(lock(&killed).unwrap());
        let kept_path = kept.path().to_owned();
        drop(kept);
        let next = Scratch::new(parent.path(), "20261121T090000Z-next", false).await.unwrap();
        assert!(held.path().exists() && kept_path.exists() && anothers.exists());
        assert!(!killed.exists() && !lock_path(&killed).exists());
        drop((held, next));
        let left: Vec<_> = std::fs::read_dir(parent.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}
