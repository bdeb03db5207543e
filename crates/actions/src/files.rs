//! Files of this machine, replaced whole.
//!
//! # Invariants
//! - **W1 whole or not at all.** The new file is written beside the old one, is durable, and takes its place in one step;
//!   a link stays one, and what it leads to is replaced.
//! - **W2 only what is known comes back.** Undoing writes what was there when the step was probed, and only over what
//!   the step wrote: what somebody changed since is left, and told.
//!
//! Deliberately absent: directories, which must be there, and more than the file's bits and owner.

use crate::task::Task;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lifeboat_core::run::{Found, Observed, Outcome, Told};
use lifeboat_core::runbook::{CONTENT_LIMIT_BYTES, FilesPut};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// More of what was there is not remembered: it stands in a record of the run's chain.
const BEFORE_LIMIT_BYTES: usize = 64 << 10;
/// Under which name it is.
const BEFORE: &str = "files.put.before";
/// What nobody gave bits.
const OWNERS_ALONE: u32 = 0o600;

/// What a file was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Before {
    Absent,
    Held {
        base64: String,
        mode: u32,
    },
    /// It cannot be remembered, and why.
    Unknown(String),
}

/// A file as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    bytes: Vec<u8>,
    mode: u32,
}

/// Whether it is there already; observes what is.
pub(crate) fn probe(task: &Task, with: &FilesPut) -> Told<Found> {
    let is = match read(&place(with)) {
        Ok(is) => is,
        Err(error) => return told(Found::Unknown, format!("{} cannot be read: {error}\n", with.path)),
    };
    let found = match wanted(with) {
        Ok(wanted) if is_so(is.as_ref(), &wanted, with) => return Found::Done.into(),
        Ok(_) => Found::NotDone,
        // What it is to be like may come yet.
        Err(_) => Found::Unknown,
    };
    let before = match &is {
        None => Before::Absent,
        Some(known) if known.bytes.len() > BEFORE_LIMIT_BYTES => {
            Before::Unknown(format!("it was larger than {} KiB", BEFORE_LIMIT_BYTES >> 10))
        }
        // A3.
        Some(known) if task.redactor.finds(&String::from_utf8_lossy(&known.bytes)) => {
            Before::Unknown("it holds a secret".to_owned())
        }
        Some(known) => Before::Held { base64: STANDARD.encode(&known.bytes), mode: known.mode },
    };
    let before = serde_json::to_string(&before).expect("names and texts serialise");
    Told { observed: Observed::from([(BEFORE.to_owned(), before)]), ..found.into() }
}

/// Puts it there.
pub(crate) fn act(with: &FilesPut) -> Told<Outcome> {
    let written = wanted(with).and_then(|wanted| {
        let place = place(with);
        let mode = with.bits().or(read(&place)?.map(|is| is.mode)).unwrap_or(OWNERS_ALONE);
        write(&place, &wanted, mode)
    });
    match written {
        Ok(()) => told(Outcome::Done, format!("{} is written\n", with.path)),
        Err(error) => failed(format!("{} is not written: {error}", with.path)),
    }
}

/// Puts back what was there.
pub(crate) fn undo(task: &Task, with: &FilesPut) -> Told<Outcome> {
    let before = task.under.before.get(BEFORE).and_then(|before| serde_json::from_str(before).ok());
    let before = match before {
        Some(Before::Unknown(why)) => return failed(format!("what was there is not remembered: {why}")),
        Some(before) => before,
        None => return failed("what was there is not remembered".to_owned()),
    };
    match put_back(with, &before) {
        Ok(Ok(())) => told(Outcome::Done, format!("{} is as it was\n", with.path)),
        Ok(Err(why)) => failed(why),
        Err(error) => failed(format!("{} is not put back: {error}", with.path)),
    }
}

/// W2.
fn put_back(with: &FilesPut, before: &Before) -> io::Result<Result<(), String>> {
    let place = place(with);
    let is = read(&place)?;
    let was = match before {
        Before::Held { base64, mode } => {
            let bytes = STANDARD.decode(base64).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            Some(Known { bytes, mode: *mode })
        }
        _ => None,
    };
    if is == was {
        return Ok(Ok(()));
    }
    let is_ours = match &is {
        Some(is) => is.bytes == wanted(with)?,
        None => false,
    };
    if !is_ours {
        return Ok(Err(format!("{} was changed since; it is left as it is", with.path)));
    }
    match was {
        Some(was) => write(&place, &was.bytes, was.mode)?,
        None => {
            fs::remove_file(&place)?;
            sync_directory(&place)?;
        }
    }
    Ok(Ok(()))
}

/// Why it is not as it must be.
pub(crate) fn verify(with: &FilesPut) -> Told<Option<String>> {
    let is = wanted(with).and_then(|wanted| Ok(is_so(read(&place(with))?.as_ref(), &wanted, with)));
    let wrong = match is {
        Ok(true) => None,
        Ok(false) => Some(format!("{} does not hold what it must", with.path)),
        Err(error) => Some(format!("{} cannot be read: {error}", with.path)),
    };
    wrong.into()
}

fn is_so(is: Option<&Known>, wanted: &[u8], with: &FilesPut) -> bool {
    is.is_some_and(|is| is.bytes == wanted && with.bits().is_none_or(|mode| mode == is.mode))
}

/// Where a link leads, or the path itself.
fn place(with: &FilesPut) -> PathBuf {
    fs::canonicalize(&with.path).unwrap_or_else(|_| PathBuf::from(&with.path))
}

fn wanted(with: &FilesPut) -> io::Result<Vec<u8>> {
    match (&with.content, &with.from) {
        (Some(content), _) => Ok(content.clone().into_bytes()),
        (None, from) => {
            let from = Path::new(from.as_deref().unwrap_or_default());
            let known =
                read(from)?.ok_or_else(|| io::Error::other(format!("{} is not there", from.display())))?;
            Ok(known.bytes)
        }
    }
}

/// None if it is not there.
fn read(path: &Path) -> io::Result<Option<Known>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(CONTENT_LIMIT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > CONTENT_LIMIT_BYTES {
        return Err(io::Error::other(format!("it is larger than {} KiB", CONTENT_LIMIT_BYTES >> 10)));
    }
    Ok(Some(Known { bytes, mode: metadata.mode() & 0o7777 }))
}

/// W1.
fn write(place: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = place.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let beside = place.with_file_name(format!(".{}.lifeboat-{}", name.to_string_lossy(), std::process::id()));
    // Of a process that died, and had our number.
    let _ = fs::remove_file(&beside);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNERS_ALONE).open(&beside)?;
        file.write_all(bytes)?;
        if let Ok(old) = fs::metadata(place) {
            let own = file.metadata()?;
            if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
                std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
        }
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&beside, place)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    sync_directory(place)
}

fn sync_directory(place: &Path) -> io::Result<()> {
    File::open(place.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn failed(why: String) -> Told<Outcome> {
    Outcome::Failed { why }.into()
}

fn told<T>(result: T, output: String) -> Told<T> {
    Told { result, observed: Observed::new(), output }
}
