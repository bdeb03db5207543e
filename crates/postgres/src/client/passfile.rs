//! The password file: which of its lines is meant for this server.
//!
//! # Invariants
//! - A file that others can read is not used, as in libpq; the reason is told once a password turns
//!   out to be needed.
//! - A malformed line matches nothing.
//!
//! Source: PostgreSQL manual, "The Password File".

use super::Password;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest password file that is read.
const PASSFILE_LIMIT_BYTES: u64 = 1 << 20;
/// Permission bits that only others than the owner need.
const OTHERS: u32 = 0o077;

/// Why a password file gave no password.
#[derive(Debug, thiserror::Error)]
pub enum PassfileError {
    /// It cannot be read.
    #[error("the password file {} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory, a device, …
    #[error("the password file {} is not a plain file", path.display())]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// Others than its owner can read it.
    #[error("the password file {path} was not used because others can read it; run: chmod 0600 {path}", path = path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// Larger than any sensible one.
    #[error("the password file {} has more than {PASSFILE_LIMIT_BYTES} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
}

/// Whom the password is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// Reads the password for `wanted` from a file; `None` if no line of it fits.
pub(super) fn read(path: &Path, wanted: Wanted<'_>) -> Result<Option<Password>, PassfileError> {
    let path_buf = || path.to_owned();
    let failed = |source| PassfileError::Read { path: path_buf(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(PassfileError::NotAFile { path: path_buf() });
    }
    if metadata.mode() & OTHERS != 0 {
        return Err(PassfileError::Exposed { path: path_buf() });
    }
    let mut text = Zeroizing::new(Vec::new());
    file.take(PASSFILE_LIMIT_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > PASSFILE_LIMIT_BYTES {
        return Err(PassfileError::TooLarge { path: path_buf() });
    }
    Ok(find(&String::from_utf8_lossy(&text), wanted))
}

/// The password of the first line that fits.
pub(super) fn find(text: &str, wanted: Wanted<'_>) -> Option<Password> {
    let port = wanted.port.to_string();
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let rest = take_field(line, wanted.host)?;
        let rest = take_field(rest, &port)?;
        let rest = take_field(rest, wanted.database)?;
        let rest = take_field(rest, wanted.user)?;
        let (password, _) = field(rest);
        (!password.is_empty()).then(|| Password::new(password))
    })
}

/// What follows the first field of `line`, if that field is `wanted` or a lone `*`.
fn take_field<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    let (value, rest) = field(line);
    let any = line.starts_with("*:");
    if any || value == wanted { rest } else { None }
}

/// The first field of `line`, its escapes undone, and what follows its colon.
fn field(line: &str) -> (String, Option<&str>) {
    let mut value = String::new();
    let mut chars = line.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            ':' => return (value, Some(&line[index + 1..])),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    const WANTED: Wanted<'_> = Wanted { host: "db", port: 5432, database: "app", user: "me" };

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(find(text, WANTED), expected.map(|text| Password::new(text.to_owned())), "{text}");
    }

    #[test]
    fn lines() {
        check("db:5432:app:me:secret", Some("secret"));
        check("*:*:*:*:secret\n", Some("secret"));
        check("# db:5432:app:me:no\nother:5432:app:me:no\ndb:*:app:me:yes", Some("yes"));
        check("db:5432:app:me:a\\:b\\\\c", Some("a:b\\c"));
        check("db:5432:app:me:a:ignored", Some("a"));
        check("\\*:*:*:*:no", None);
        check("db:5433:*:*:no", None);
        check("db:5432:app:me", None);
        check("db:5432:app:me:\n*:*:*:*:next", Some("next"));
        check("", None);
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pass");
        std::fs::write(&path, "*:*:*:*:secret").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path, WANTED), Err(PassfileError::Exposed { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path, WANTED).unwrap(), Some(Password::new("secret".to_owned())));
        assert!(matches!(read(directory.path(), WANTED), Err(PassfileError::NotAFile { .. })));
        assert!(matches!(read(&path.join("none"), WANTED), Err(PassfileError::Read { .. })));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ab:*\\\\#\n]{0,60}|.{0,60}") {
            let _ = find(&text, WANTED);
        }
    }
}
