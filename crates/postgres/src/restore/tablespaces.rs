//! Tablespaces that replay made: directories in the place of links, which PostgreSQL itself does not like to keep.

use super::{RestoreError, TABLESPACES_DIRECTORY, failed};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

/// Moves each such directory to where a restore puts tablespaces, and leaves a link, in one step: the server may
/// run. Calling it again is right.
///
/// # Errors
/// Those of the file system, which must be able to exchange two names (ext4, XFS, Btrfs, tmpfs).
pub fn link_made_by_replay(directory: &Path) -> Result<(), RestoreError> {
    let links = directory.join("pg_tblspc");
    let entries = match std::fs::read_dir(&links) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed(&links))?,
    };
    let home = directory.join(TABLESPACES_DIRECTORY);
    for entry in entries.flatten() {
        let made = entry.path();
        let metadata = made.symlink_metadata().map_err(failed(&made))?;
        if !metadata.is_dir() {
            continue;
        }
        let owner = (Some(metadata.uid()), Some(metadata.gid()));
        if !home.exists() {
            std::fs::create_dir(&home).map_err(failed(&home))?;
            std::fs::set_permissions(&home, metadata.permissions()).map_err(failed(&home))?;
            chown(&home, owner.0, owner.1).map_err(failed(&home))?;
        }
        // A link to itself, for as long as it takes to change places with the directory.
        let target = home.join(entry.file_name());
        match symlink(&target, &target) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(&target)(error)),
            _ => {}
        }
        let exchanged = renameat_with(CWD, &made, CWD, &target, RenameFlags::EXCHANGE);
        exchanged.map_err(|error| failed(&made)(error.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_and_its_link_change_places() {
        let scratch = tempfile::tempdir().unwrap();
        let made = scratch.path().join("pg_tblspc/16384");
        std::fs::create_dir_all(made.join("PG_18")).unwrap();
        std::fs::write(made.join("PG_18/1"), "rows").unwrap();
        for _ in 0..2 {
            link_made_by_replay(scratch.path()).unwrap();
            let target = std::fs::read_link(&made).unwrap();
            assert_eq!(target, scratch.path().join(TABLESPACES_DIRECTORY).join("16384"));
            assert_eq!(std::fs::read_to_string(made.join("PG_18/1")).unwrap(), "rows");
        }
    }
}
