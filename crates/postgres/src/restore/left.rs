//! What an earlier restore left in a directory: enough to go on with it.

use super::files::{self, SIGNAL_FILE};
use super::settings::{AUTO_CONF, aim_of};
use super::{Recovery, RestoreError, Stop, marker};
use lifeboat_base::{ServiceName, Timeline};
use std::path::Path;

/// A restore that was begun here, and not opened for writing yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Of which service.
    pub service: ServiceName,
    /// From which restore point.
    pub point: String,
    /// Whether it went over an old directory.
    pub delta: bool,
    /// Where its recovery is to end, once all files are there.
    pub aim: Option<(Timeline, Stop)>,
    /// As whom its server is to be asked, as far as that is known.
    pub users: Vec<String>,
}

/// The restore in `directory`; `None` if there is none, or it was opened for writing since.
#[must_use]
pub fn left_in(directory: &Path) -> Option<Left> {
    let marker = marker::read(directory)?;
    let aim = if marker.finished {
        // PostgreSQL takes it away when recovery is over, whoever ended it.
        directory.join(SIGNAL_FILE).exists().then_some(())?;
        aim_of(&std::fs::read_to_string(directory.join(AUTO_CONF)).ok()?)
    } else {
        None
    };
    let marker::Marker { service, point, delta, users, .. } = marker;
    Some(Left { service, point, delta, aim, users })
}

/// As whom the server in a restored directory is to be asked, opened or not, as far as that is known.
#[must_use]
pub fn users_in(directory: &Path) -> Vec<String> {
    marker::read(directory).map(|marker| marker.users).unwrap_or_default()
}

/// Has the server in a whole directory recover as `recovery` says from its next start on.
///
/// # Errors
/// Those of the file system; what it recovered to before still holds then.
pub fn aim(directory: &Path, recovery: &Recovery, owner: Option<(u32, u32)>) -> Result<(), RestoreError> {
    files::write_small(&directory.join(AUTO_CONF), recovery.auto_conf().as_bytes(), owner)
}
