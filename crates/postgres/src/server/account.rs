//! Whom servers run as (V3).

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A user and group of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The user's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
}

/// Users that servers run as when we are root, the usual one first.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// Whom servers run as: `None` for ourselves, since we are not root.
///
/// # Errors
/// When we are root and this machine has no ordinary user for it.
pub fn server_account() -> Result<Option<Account>, std::io::Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let found = CANDIDATES.iter().find_map(|name| account(&users, name));
    found.map(Some).ok_or_else(|| {
        std::io::Error::other(
            "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as",
        )
    })
}

/// The account `name` in a file like `/etc/passwd`.
fn account(users: &str, name: &str) -> Option<Account> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2).map(str::parse::<u32>);
    Some(Account { user: numbers.next()?.ok()?, group: numbers.next()?.ok()? })
}

/// The name of a user in a file like `/etc/passwd`.
fn name_of(users: &str, user: u32) -> Option<&str> {
    let of = |line: &&str| line.split(':').nth(2).and_then(|number| number.parse().ok()) == Some(user);
    users.lines().find(of)?.split(':').next()
}

/// The first of `path`'s directories, from the root on, that the account cannot enter; those that are not there
/// yet are not asked. `None` if all let it in, or that cannot be found out.
pub(crate) fn first_closed(path: &Path, (user, group): (u32, u32)) -> Option<PathBuf> {
    let account = Account { user, group };
    let there: Vec<&Path> = path.ancestors().filter(|ancestor| ancestor.is_dir()).collect();
    let is_closed = |directory: &&Path| !account.enters(directory);
    // The last one cannot be entered if any above it cannot.
    there.first().filter(|deepest| is_closed(deepest))?;
    there.into_iter().rev().find(is_closed).map(Path::to_owned)
}

impl Account {
    /// What it is called here.
    #[must_use]
    pub fn name(self) -> Option<String> {
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        name_of(&users, self.user).map(str::to_owned)
    }

    /// Whether it gets into a directory, by whatever rules this system has: it is tried.
    fn enters(self, directory: &Path) -> bool {
        let mut nothing = Command::new("/bin/sh");
        nothing.args(["-c", ":"]).env_clear().current_dir(directory);
        nothing.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.apply(&mut nothing);
        let outcome = nothing.status();
        !outcome.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    }

    /// Makes `command` run as this account; done between fork and exec, so its pid stays its own.
    pub fn apply(self, command: &mut Command) {
        command.uid(self.user).gid(self.group);
    }

    /// User and group as a pair.
    #[must_use]
    pub fn pair(self) -> (u32, u32) {
        (self.user, self.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_their_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:5:6::/:\npostgres:x:107:112::/:/bin/sh\n";
        assert_eq!(account(users, "postgres"), Some(Account { user: 107, group: 112 }));
        assert_eq!(account(users, "nobody"), None);
        assert_eq!((name_of(users, 107), name_of(users, 7)), (Some("postgres"), None));
    }
}
