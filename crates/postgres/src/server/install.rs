//! Finds PostgreSQL's programs on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Names `bin` directories, separated by colons, that are looked at before all others.
pub const BIN_VARIABLE: &str = "LIFEBOAT_POSTGRES_BIN";
/// Versions that Lifeboat protects.
pub const SUPPORTED: std::ops::RangeInclusive<u32> = 15..=18;

/// PostgreSQL's programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Where `postgres`, `initdb` and the others are.
    pub bin_dir: PathBuf,
    /// The major version.
    pub major: u32,
}

/// No PostgreSQL that will do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", describe(*.wanted, .found))]
pub struct InstallationError {
    /// The major version that was needed; any supported one if `None`.
    pub wanted: Option<u32>,
    /// The versions that are there.
    pub found: Vec<u32>,
}

fn describe(wanted: Option<u32>, found: &[u32]) -> String {
    let which = wanted.map_or("15 to 18".to_owned(), |major| major.to_string());
    let package = wanted.unwrap_or(*SUPPORTED.start());
    let others = match found {
        [] => String::new(),
        found => {
            let versions: Vec<String> = found.iter().map(ToString::to_string).collect();
            format!(" (found: {})", versions.join(", "))
        }
    };
    format!(
        "PostgreSQL {which} is not on this machine{others}. Install it (Debian, Ubuntu: `apt install \
         postgresql-{package}`; Red Hat: `dnf install postgresql{package}-server`), or name the directory of its \
         programs in {BIN_VARIABLE}"
    )
}

impl Installation {
    /// One of its programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// The programs of version `major`, or of the newest supported one.
///
/// # Errors
/// [`InstallationError`], with the line that installs it.
pub fn find(major: Option<u32>) -> Result<Installation, InstallationError> {
    let mut found = Vec::new();
    for bin_dir in candidates() {
        let Some(version) = version_of(&bin_dir) else { continue };
        if major == Some(version) {
            return Ok(Installation { bin_dir, major: version });
        }
        found.push(Installation { bin_dir, major: version });
    }
    found.sort_by_key(|installation| installation.major);
    let versions = found.iter().map(|installation| installation.major).collect();
    let usable = found.into_iter().rfind(|found| major.is_none() && SUPPORTED.contains(&found.major));
    usable.ok_or(InstallationError { wanted: major, found: versions })
}

/// Directories that may hold the programs, the preferred first.
fn candidates() -> Vec<PathBuf> {
    let split = |name| std::env::var_os(name).map(|value| std::env::split_paths(&value).collect::<Vec<_>>());
    let mut directories = split(BIN_VARIABLE).unwrap_or_default();
    for major in SUPPORTED.rev() {
        directories.push(format!("/usr/lib/postgresql/{major}/bin").into());
        directories.push(format!("/usr/pgsql-{major}/bin").into());
        directories.push(format!("/opt/homebrew/opt/postgresql@{major}/bin").into());
        directories.push(format!("/usr/local/opt/postgresql@{major}/bin").into());
    }
    directories.push("/usr/local/pgsql/bin".into());
    directories.extend(split("PATH").unwrap_or_default());
    directories.retain(|directory| directory.join("postgres").is_file());
    directories
}

/// The major version of the server in `bin_dir`, if it runs here.
fn version_of(bin_dir: &Path) -> Option<u32> {
    let output = Command::new(bin_dir.join("postgres")).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// `postgres (PostgreSQL) 15.8 (Debian 15.8-1)`, `postgres (PostgreSQL) 18beta1`.
fn parse_version(line: &str) -> Option<u32> {
    let version = line.split("(PostgreSQL) ").nth(1)?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_servers_print() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.8 (Debian 15.8-1.pgdg)\n"), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_version("something else 15\n"), None);
    }

    #[test]
    fn a_missing_version_is_said_with_the_line_that_installs_it() {
        let error = InstallationError { wanted: Some(17), found: vec![15, 18] };
        let text = error.to_string();
        assert!(text.contains("found: 15, 18") && text.contains("apt install postgresql-17"), "{text}");
    }
}
