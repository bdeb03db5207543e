//! Finds PostgreSQL's programs.

use super::user::as_server_user;
use crate::workspace;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names `bin` directories, separated by colons, that are preferred to all others.
const ENVIRONMENT: &str = "LIFEBOAT_TEST_PG";
/// Where `scripts/setup` unpacks servers when the checkout is closed to the server's user.
const OUTSIDE: &str = "/var/tmp/lifeboat-postgres";
/// The versions that Lifeboat protects; others that are found are left alone.
const SUPPORTED: std::ops::RangeInclusive<u32> = 15..=18;

/// A PostgreSQL installation that the server's user can run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Installation {
    /// Where `postgres`, `initdb` and the other programs are.
    pub bin_dir: PathBuf,
    /// The major version: 15 to 18.
    pub major: u32,
}

impl Installation {
    /// One of each supported major version found, oldest first.
    ///
    /// # Panics
    /// When there is none: tests would pass without having looked at anything.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut found: Vec<Self> = candidates().into_iter().filter_map(Self::probe).collect();
        // Stable, so the first found of a version is the one that stays.
        found.sort_by_key(|installation| installation.major);
        found.dedup_by_key(|installation| installation.major);
        assert!(
            !found.is_empty(),
            "no PostgreSQL 15 to 18 found: run scripts/setup, or name bin in {ENVIRONMENT}"
        );
        found
    }

    /// The one of this major version, if it is found.
    #[must_use]
    pub fn major(major: u32) -> Option<Self> {
        Self::all().into_iter().find(|installation| installation.major == major)
    }

    /// The oldest supported version found.
    #[must_use]
    pub fn oldest() -> Self {
        Self::all().into_iter().next().expect("`all` never returns none")
    }

    /// The newest supported version found.
    #[must_use]
    pub fn newest() -> Self {
        Self::all().into_iter().next_back().expect("`all` never returns none")
    }

    /// One of its programs, as an absolute path.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// A command that runs one of its programs as the server's user.
    ///
    /// Client programs that this installation lacks are taken from another one.
    ///
    /// # Panics
    /// When no installation has the program.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let own = self.program(name);
        let path = if own.exists() { Some(own) } else { find_elsewhere(name) };
        let path = path.unwrap_or_else(|| {
            panic!(
                "no PostgreSQL installation here has `{name}`: install the distribution's postgresql package"
            )
        });
        as_server_user(Command::new(path))
    }

    fn probe(bin_dir: PathBuf) -> Option<Self> {
        // Asked as the server's user: an installation it cannot reach is of no use.
        let mut command = as_server_user(Command::new(bin_dir.join("postgres")));
        let output = command.arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_whitespace().nth(2)?;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let major = digits.parse().ok()?;
        let usable = SUPPORTED.contains(&major) && bin_dir.join("initdb").exists();
        usable.then_some(Self { bin_dir, major })
    }
}

/// `bin` directories worth a look, the preferred first.
fn candidates() -> Vec<PathBuf> {
    let mut bins = split(ENVIRONMENT);
    let mut parents = vec!["/usr/lib/postgresql".into(), workspace::root().join("target/postgres")];
    parents.extend(own_directory(OUTSIDE));
    for parent in parents {
        bins.extend(children(&parent).into_iter().map(|child| child.join("bin")));
    }
    bins.extend(split("PATH"));
    bins.retain(|bin| bin.join("postgres").exists());
    bins
}

/// Anyone may make a directory in a place open to all, and programs in it are going to be run.
fn own_directory(path: &str) -> Option<PathBuf> {
    let owner = std::fs::symlink_metadata(path).ok()?.uid();
    (owner == rustix::process::geteuid().as_raw()).then(|| path.into())
}

fn find_elsewhere(program: &str) -> Option<PathBuf> {
    let found = candidates().into_iter().chain(split("PATH")).map(|bin| bin.join(program));
    found.into_iter().find(|path| path.exists())
}

fn split(variable: &str) -> Vec<PathBuf> {
    let value = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&value).filter(|path| path.is_absolute()).collect()
}

fn children(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
