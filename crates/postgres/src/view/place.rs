//! Where a view's parts lie, and what it says of itself.

use super::overlay::{CONTROL, DATA};
use crate::restore::files::write_small;
use crate::restore::{RestoreError, TABLESPACES_DIRECTORY};
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
/// A view's directory is its process's alone.
const LOCK_FILE: &str = "lock";

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
        let mut home = mount.as_os_str().to_owned();
        home.push(HOME_SUFFIX);
        Self { mount: mount.to_owned(), home: home.into() }
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

    /// Takes the view for this process. `WouldBlock`: another has it.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let file = File::options().create(true).append(true).open(self.home.join(LOCK_FILE))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    /// Whether a process shows the view now.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.home.join(LOCK_FILE).exists()
            && self.lock().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

/// Where in a view's data directory a file of a layer lies: tablespaces are inside.
pub(super) fn within(path: &str) -> String {
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
        assert_eq!(within("base/5/1"), "base/5/1");
        assert_eq!(within("pg_tblspc/16400"), "pg_tblspc/16400");
        assert_eq!(within("pg_tblspc/16400/PG_18_1/5/1"), "lifeboat_tablespaces/16400/PG_18_1/5/1");
    }
}
