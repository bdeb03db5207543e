//! Who servers run as. PostgreSQL refuses to run as root: then it is `postgres`, else `nobody`.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A socket's path is at most 107 bytes; this leaves room for `/lifeboat-123456/.s.PGSQL.65535.lock`.
const PARENT_PATH_LIMIT_BYTES: usize = 70;

/// The user and group that servers run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerUser {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// Whom servers run as when we are root; `None` when we are not, and they run as ourselves.
#[must_use]
pub fn server_user() -> Option<ServerUser> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse::<u32>);
        Some(ServerUser { uid: numbers.next()?.ok()?, gid: numbers.next()?.ok()? })
    };
    let user = find("postgres").or_else(|| find("nobody"));
    Some(user.expect("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`"))
}

/// Makes `command` run as the server's user, with the environment that keeps its output the same
/// everywhere.
pub fn as_server_user(mut command: Command) -> Command {
    if let Some(user) = server_user() {
        // Done between fork and exec, so that the child's pid is the server's own.
        command.uid(user.uid).gid(user.gid);
    }
    // The working directory may be closed to the server's user; programs warn when it is.
    command.env("LC_ALL", "C").env("TZ", "UTC").env_remove("PGDATA").current_dir("/");
    command
}

/// Makes the server's user the owner of `path` and all below it.
pub fn give_to_server_user(path: &Path) {
    if let Some(user) = server_user() {
        let mut command = Command::new("chown");
        command.arg("-R").arg(format!("{}:{}", user.uid, user.gid)).arg(path);
        super::process::must(command);
    }
}

/// A directory that the server's user owns and others can look into, short enough for sockets.
///
/// Below `TMPDIR` if that is short, else below `/var/tmp`: data directories are large, and `/tmp` is
/// memory on many machines.
#[must_use]
pub fn scratch_directory() -> tempfile::TempDir {
    let named = std::env::var_os("TMPDIR").map(PathBuf::from);
    let short = named.filter(|path| path.as_os_str().len() <= PARENT_PATH_LIMIT_BYTES);
    let parent = short.unwrap_or_else(|| "/var/tmp".into());
    let directory = tempfile::Builder::new().prefix("lifeboat-").tempdir_in(&parent);
    let directory =
        directory.unwrap_or_else(|error| panic!("make a scratch directory in {}: {error}", parent.display()));
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).expect("open the scratch directory to the server");
    give_to_server_user(directory.path());
    directory
}
