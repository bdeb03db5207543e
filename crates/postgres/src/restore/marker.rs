//! The file by which a restore knows its own directory again.
//!
//! A line of JSON that tells what is restored, then a line for each pack that is durably written, then
//! `finished`, then perhaps `users` with a list of roles. Appended to, never rewritten: a torn last line is a
//! pack to be written again.

use lifeboat_base::ServiceName;
use lifeboat_vault::point::RestorePoint;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Error, Write};
use std::path::Path;

/// Its name in the data directory. PostgreSQL does not mind it.
pub const MARKER_FILE: &str = "lifeboat.restore";
/// Longest marker that is read.
const LIMIT_BYTES: u64 = 64 << 20;
const FINISHED: &str = "finished";
const USERS: &str = "users ";

/// What a restored directory says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The service.
    pub service: ServiceName,
    /// The restore point.
    pub point: String,
    /// Whether it goes over an old directory: whoever takes it up must clear what was there.
    pub delta: bool,
    /// Packs that are durably written.
    pub packs_done: BTreeSet<u32>,
    /// Whether the directory is whole.
    pub finished: bool,
    /// Roles that its server lets in, as far as they are known.
    pub users: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct FirstLine {
    service: ServiceName,
    point: String,
    delta: bool,
}

impl Marker {
    pub(crate) fn new(point: &RestorePoint, delta: bool) -> Self {
        let (service, point) = (point.service.clone(), point.id.clone());
        Self { service, point, delta, packs_done: BTreeSet::new(), finished: false, users: Vec::new() }
    }
}

/// The marker in `directory`, if there is one that reads.
pub(super) fn read(directory: &Path) -> Option<Marker> {
    let path = directory.join(MARKER_FILE);
    if std::fs::metadata(&path).ok()?.len() > LIMIT_BYTES {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let FirstLine { service, point, delta } = serde_json::from_str(lines.next()?).ok()?;
    let (packs_done, users) = (BTreeSet::new(), Vec::new());
    let mut marker = Marker { service, point, delta, packs_done, finished: false, users };
    for line in lines {
        if line == FINISHED {
            marker.finished = true;
        } else if let Some(users) = line.strip_prefix(USERS) {
            marker.users = serde_json::from_str(users).unwrap_or_default();
        } else if let Ok(pack) = line.parse() {
            marker.packs_done.insert(pack);
        }
    }
    Some(marker)
}

/// Notes in a whole directory as whom its server is to be asked, the best first.
///
/// # Errors
/// Those of the file system.
pub fn note_users(directory: &Path, users: &[String]) -> Result<(), Error> {
    let mut file = OpenOptions::new().append(true).open(directory.join(MARKER_FILE))?;
    file.write_all(format!("{USERS}{}\n", serde_json::to_string(users)?).as_bytes())
}

/// Writes the marker as restoring goes on.
pub(crate) struct MarkerWriter(File);

impl MarkerWriter {
    /// Makes the marker, or goes on with it. `WouldBlock`: another restore holds it.
    pub(crate) fn open(directory: &Path, marker: &Marker) -> Result<Self, Error> {
        let path = directory.join(MARKER_FILE);
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // One that is to look at every file anew must do so as well after it was killed.
        let goes_on = read(directory).is_some_and(|found| {
            !found.finished
                && (&found.service, &found.point) == (&marker.service, &marker.point)
                && (found.delta || !marker.delta)
        });
        if !goes_on {
            let first = FirstLine {
                service: marker.service.clone(),
                point: marker.point.clone(),
                delta: marker.delta,
            };
            let line = serde_json::to_string(&first)?;
            file.set_len(0)?;
            file.write_all(format!("{line}\n").as_bytes())?;
        }
        // Ends a line that a crash tore; an empty one is passed over.
        file.write_all(b"\n")?;
        file.sync_all()?;
        Ok(Self(file))
    }

    /// Records packs whose bytes are durable.
    pub(super) fn done(&mut self, packs: &[u32]) -> Result<(), Error> {
        let lines: String = packs.iter().map(|pack| format!("{pack}\n")).collect();
        self.0.write_all(lines.as_bytes())?;
        self.0.sync_data()
    }

    /// Records that the directory is whole.
    pub(crate) fn finished(mut self) -> Result<(), Error> {
        self.0.write_all(format!("{FINISHED}\n").as_bytes())?;
        self.0.sync_all()
    }
}
