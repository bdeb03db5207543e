//! A file that a command writes: whole or not at all.
//!
//! # Invariants
//! - **W1 whole or not at all.** The text is written beside its place and moved there: a kill leaves the old one.
//! - **W2 through links.** A link stays one; what it leads to is replaced.
//!
//! Deliberately absent: what the text is, and whether it may replace another.

use crate::failure::Next;
use anyhow::Context;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Writes a text to a path.
///
/// # Errors
/// If the file or its directory cannot be written; the file is then as it was.
pub(super) fn whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be written", path.display());
    // W2
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new(".")).to_owned();
    let next = if directory.is_dir() {
        format!("make {} writable for you, or name another file with -o", directory.display())
    } else {
        format!("make the directory {}, or name another file with -o", directory.display())
    };
    let (beside, mut file) = create_beside(&directory).with_context(failed).next(&next)?;
    let outcome = (|| {
        file.write_all(text.as_bytes())?;
        if let Ok(old) = std::fs::metadata(&target) {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()?;
        std::fs::rename(&beside, &target)
    })();
    if outcome.is_err() {
        // It is ours alone, and of no use.
        let _ = std::fs::remove_file(&beside);
    }
    outcome.with_context(failed).next(&next)
}

/// A new file in a directory; one that a killed process of the same number left there is no hindrance.
fn create_beside(directory: &Path) -> std::io::Result<(PathBuf, std::fs::File)> {
    const MAX_TRIES: u32 = 16;
    let process = std::process::id();
    for number in 0..MAX_TRIES {
        let path = directory.join(format!(".lifeboat-{process}-{number}.tmp"));
        match std::fs::File::create_new(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (path, file)),
        }
    }
    Err(std::io::Error::new(
        std::io::ErrorKind::AlreadyExists,
        "files of killed processes (.lifeboat-*.tmp) are in the way",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn w1_w2_a_file_is_replaced_whole_and_a_link_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("plan"), directory.path().join("link"));
        whole(&file, "old").unwrap();
        std::os::unix::fs::symlink("plan", &link).unwrap();
        // Whoever has the old file open reads the old text to its end: it was replaced, not written over.
        let mut open = std::fs::File::open(&file).unwrap();
        whole(&link, "new").unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut open, &mut text).unwrap();
        assert_eq!(text, "old");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert!(link.is_symlink());
        assert_eq!(names(directory.path()), ["link", "plan"]);
    }

    #[test]
    fn w1_what_cannot_be_moved_into_its_place_leaves_everything_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("place");
        std::fs::create_dir(&place).unwrap();
        assert!(whole(&place, "new").is_err());
        assert_eq!(names(directory.path()), ["place"]);
        // What a killed process has left does not stop the next one.
        let left = directory.path().join(format!(".lifeboat-{}-0.tmp", std::process::id()));
        std::fs::write(&left, "half").unwrap();
        whole(&directory.path().join("plan"), "new").unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join("plan")).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(left).unwrap(), "half");
    }
}
