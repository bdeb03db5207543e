//! Where a view's parts lie, and what it says of itself.

use super::overlay::{CONTROL, DATA};
use super::record::{NEW_FILE, RECORD_FILE};
use crate::restore::files::write_small;
use crate::restore::{RestoreError, TABLESPACES_DIRECTORY, failed};
use lifeboat_base::ServiceName;
use lifeboat_pgformat::PG_CONTROL_PATH;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// What is appended to the directory's name for all that stands behind it.
const HOME_SUFFIX: &str = ".lifeboat";
/// What the view says of itself; written last when it is made.
const ABOUT_FILE: &str = "about.json";
const NEW_ABOUT_FILE: &str = "about.json.new";
/// A view's directory is its process's alone.
const LOCK_FILE: &str = "lock";
/// Says that the vault is not needed any more.
const FILLED_FILE: &str = "filled";
const NEW_FILLED_FILE: &str = "filled.new";
/// Where the view's process is asked.
pub(super) const SOCKET_FILE: &str = "socket";
/// Where it says what happens to it.
pub const LOG_FILE: &str = "log";
/// All that is ours behind a view. Nothing else is ever removed there.
const OWN: [&str; 11] = [
    DATA,
    CONTROL,
    RECORD_FILE,
    NEW_FILE,
    ABOUT_FILE,
    NEW_ABOUT_FILE,
    FILLED_FILE,
    NEW_FILLED_FILE,
    SOCKET_FILE,
    LOG_FILE,
    LOCK_FILE,
];

/// The places of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where the server sees its data directory.
    pub mount: PathBuf,
    /// What stands behind it.
    pub home: PathBuf,
}

/// What a view is a view of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The service.
    pub service: ServiceName,
    /// The restore point.
    pub point: String,
}

impl Place {
    /// The places of the view at `mount`, an absolute path.
    #[must_use]
    pub fn of(mount: &Path) -> Self {
        // With a slash at its end, what stands behind it would be inside of it.
        let mount: PathBuf = mount.components().collect();
        let mut home = mount.clone().into_os_string();
        home.push(HOME_SUFFIX);
        Self { mount, home: home.into() }
    }

    /// The data directory that is being born.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.home.join(DATA)
    }

    /// Where the control file waits until all else is there.
    pub(super) fn control(&self) -> PathBuf {
        self.home.join(CONTROL)
    }

    /// What the view is a view of; `None` if there is none, or it was not whole.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn about(&self) -> Result<Option<About>, Error> {
        match std::fs::read(self.home.join(ABOUT_FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write_about(&self, about: &About) -> Result<(), RestoreError> {
        let text = serde_json::to_vec(about).expect("two names serialise");
        write_small(&self.home.join(ABOUT_FILE), &text, None)
    }

    /// Whether all of the data directory is there: only its name is not yet its own.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.data().join(PG_CONTROL_PATH).exists()
    }

    /// Whether all of the restore point that is needed was durably here once: the vault is not needed any more.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.home.join(FILLED_FILE).exists()
    }

    /// Says so, durably.
    pub(super) fn write_filled(&self) -> Result<(), RestoreError> {
        write_small(&self.home.join(FILLED_FILE), b"", None)?;
        let synced = File::open(&self.home).and_then(|home| home.sync_all());
        synced.map_err(failed(&self.home))
    }

    /// Takes the view for this process. `WouldBlock`: another has it. `NotFound`: there is none.
    pub(super) fn lock(&self) -> Result<File, Error> {
        loop {
            let file = File::options().create(true).append(true).open(self.home.join(LOCK_FILE))?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // Whoever had it may have removed it, with all else.
            if rustix::fs::fstat(&file)?.st_nlink > 0 {
                return Ok(file);
            }
        }
    }

    /// What is behind the view and is not ours.
    pub(super) fn foreign(&self) -> Option<PathBuf> {
        let mut entries = std::fs::read_dir(&self.home).into_iter().flatten().flatten();
        let found = entries.find(|entry| OWN.iter().all(|own| entry.file_name() != *own));
        found.map(|entry| entry.path())
    }

    /// Removes what is behind the view, but for the lock, which the caller holds.
    pub(super) fn clear(&self) -> Result<(), Error> {
        OWN.iter().filter(|own| **own != LOCK_FILE).try_for_each(|own| remove(&self.home.join(own)))
    }

    /// Removes what is behind the view, the lock last, which the caller holds. What is not ours stays.
    pub(super) fn remove(&self) -> Result<(), Error> {
        self.clear()?;
        remove(&self.home.join(LOCK_FILE))?;
        match std::fs::remove_dir(&self.home) {
            Err(error) if ![ErrorKind::NotFound, ErrorKind::DirectoryNotEmpty].contains(&error.kind()) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Whether a process shows the view now.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.home.join(LOCK_FILE).exists()
            && self.lock().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A directory that somebody named, by the one name that the kernel has for it: absolute, without links above it. It
/// need not be there, and what is mounted at it may be dead.
///
/// # Errors
/// Those of the file system.
pub fn real_name(directory: &Path) -> Result<PathBuf, Error> {
    let absolute: PathBuf = std::path::absolute(directory)?.components().collect();
    if absolute.file_name().is_none() {
        return absolute.canonicalize();
    }
    let mut above = absolute.ancestors().skip(1);
    let there = above.find(|above| above.exists()).unwrap_or(Path::new("/"));
    let below = absolute.strip_prefix(there).map_err(Error::other)?;
    Ok(there.canonicalize()?.join(below))
}

/// Where in a view's data directory a file of a layer lies: tablespaces are inside.
pub(crate) fn within(path: &str) -> String {
    match path.strip_prefix("pg_tblspc/") {
        Some(rest) if rest.contains('/') => format!("{TABLESPACES_DIRECTORY}/{rest}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_view_lies_beside_it_and_tablespaces_within() {
        let place = Place::of(Path::new("/srv/pg/main"));
        assert_eq!(place.data(), Path::new("/srv/pg/main.lifeboat/data"));
        assert_eq!(Place::of(Path::new("/srv/pg/main/")), place);
        assert_eq!(within("base/5/1"), "base/5/1");
        assert_eq!(within("pg_tblspc/16400"), "pg_tblspc/16400");
        assert_eq!(within("pg_tblspc/16400/PG_18_1/5/1"), "lifeboat_tablespaces/16400/PG_18_1/5/1");
    }
    #[test]
    fn a_directory_has_one_name_however_it_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let real = scratch.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("a")).unwrap();
        std::os::unix::fs::symlink("a", real.join("link")).unwrap();
        for (named, found) in
            [("a/b", "a/b"), ("link/b/", "a/b"), ("link/./b/c", "a/b/c"), ("link", "link"), ("a/../a/..", "")]
        {
            let found = real.join(found).components().collect::<PathBuf>();
            assert_eq!(real_name(&real.join(named)).unwrap(), found, "{named}");
        }
    }

    #[test]
    fn what_is_not_ours_behind_a_view_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::of(&scratch.path().join("seen"));
        std::fs::create_dir(&place.home).unwrap();
        let lock = place.lock().unwrap();
        assert_eq!(place.lock().unwrap_err().kind(), ErrorKind::WouldBlock);
        for own in OWN {
            std::fs::write(place.home.join(own), "").unwrap();
        }
        assert_eq!(place.foreign(), None);
        std::fs::write(place.home.join("mine"), "").unwrap();
        assert_eq!(place.foreign(), Some(place.home.join("mine")));
        place.remove().unwrap();
        drop(lock);
        let left: Vec<_> =
            std::fs::read_dir(&place.home).unwrap().flatten().map(|entry| entry.path()).collect();
        assert_eq!(left, [place.home.join("mine")]);
        std::fs::remove_dir_all(&place.home).unwrap();
        assert_eq!(place.lock().unwrap_err().kind(), ErrorKind::NotFound);
    }
}
