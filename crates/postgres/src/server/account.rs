//! Whom servers run as (V3).

use std::os::unix::process::CommandExt;
use std::process::Command;

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

impl Account {
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
    }
}
