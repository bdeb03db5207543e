//! Writes how an application reaches its database, and has it read that.
//!
//! # Invariants
//! - **W1 whole or not at all.** The file is replaced by a rename; what it was stands beside it until the run has gone
//!   on, and is put back by the undo.

use super::{Job, failed, printed, unknown};
use crate::shell;
use lifeboat_core::run::{Found, Outcome, Told};
use lifeboat_core::runbook::postgres::Rewire;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Largest file that is compared.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

fn beside(path: &Path, job: &Job<'_>, what: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".lifeboat-{}-{what}", job.under.run.replace('/', "_")));
    path.with_file_name(name)
}

fn content(with: &Rewire) -> String {
    let mut text = with.content.clone();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn holds(path: &Path, text: &str) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_LIMIT_BYTES => Ok(false),
        Ok(_) => Ok(std::fs::read(path)? == text.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the file is as wanted. Whether it was read is not known where there is a command for it.
pub(super) fn is_written(with: &Rewire) -> Told<Found> {
    match holds(Path::new(&with.file), &content(with)) {
        Ok(true) if with.reload.is_none() => Found::Done.into(),
        Ok(_) => Found::NotDone.into(),
        Err(error) => printed(Found::Unknown, format!("{}: {error}\n", with.file)),
    }
}

pub(super) async fn rewire(job: &Job<'_>, with: &Rewire) -> Result<Told<Outcome>, Outcome> {
    let path = Path::new(&with.file);
    write(job, path, &content(with)).map_err(|error| failed(format!("{}: {error}", with.file)))?;
    reload(job, with, format!("{} is written\n", with.file)).await
}

/// As it was before the step.
pub(super) async fn put_back(job: &Job<'_>, with: &Rewire) -> Result<Told<Outcome>, Outcome> {
    let path = Path::new(&with.file);
    let kept = beside(path, job, "before");
    match std::fs::rename(&kept, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if holds(path, &content(with)).unwrap_or(true) {
                return Err(failed(format!(
                    "{} is no more: what {} was before is not known",
                    kept.display(),
                    with.file
                )));
            }
        }
        Err(error) => return Err(failed(format!("{}: {error}", with.file))),
    }
    reload(job, with, format!("{} is as before\n", with.file)).await
}

async fn reload(job: &Job<'_>, with: &Rewire, text: String) -> Result<Told<Outcome>, Outcome> {
    let Some(command) = &with.reload else { return Ok(printed(Outcome::Done, text)) };
    let told = shell::act(job.task, command, &[]).await;
    let told = told.map_err(|error| unknown(error.to_string()))?;
    Ok(Told { output: text + &told.output, ..told })
}

/// W1. The first time, what was there is kept.
fn write(job: &Job<'_>, path: &Path, text: &str) -> io::Result<()> {
    if holds(path, text)? {
        return Ok(());
    }
    let (new, kept) = (beside(path, job, "new"), beside(path, job, "before"));
    let old = std::fs::metadata(path);
    let mut file = File::create(&new)?;
    // Never wider than what it replaces, and never for all: it says where a database is.
    let mode = old.as_ref().map_or(0o600, |old| old.mode() & 0o777);
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if let Ok(old) = &old {
        // As well as we may: whoever is not root keeps no other owner.
        let _ = chown(&new, Some(old.uid()), Some(old.gid()));
        if !kept.exists() {
            std::fs::hard_link(path, &kept)?;
        }
    }
    std::fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// The file is as wanted.
pub(super) fn must_be_written(with: &Rewire) -> Told<Option<String>> {
    match holds(Path::new(&with.file), &content(with)) {
        Ok(true) => None.into(),
        Ok(false) => Some(format!("{} does not hold what was written", with.file)).into(),
        Err(error) => Some(format!("{}: {error}", with.file)).into(),
    }
}
