//! Writes the configuration of our own beside production's, which it leaves alone.

use super::settings::{Needs, free_memory_bytes, isolation};
use crate::restore::SIGNAL_FILE;
use lifeboat_pgformat::{ControlFile, PG_CONTROL_PATH};
use std::fs::Permissions;
use std::io::Error;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A socket's path at most; the system's own limit is 108 with the closing zero.
const SOCKET_PATH_LIMIT_BYTES: usize = 100;

/// The files of it, in the data directory.
pub(crate) const OUR_FILES: [&str; 3] = ["lifeboat.conf", "lifeboat_hba.conf", "lifeboat_ident.conf"];

/// How PostgreSQL calls its sockets, and the lock files beside them.
pub(crate) const SOCKET_PREFIX: &str = ".s.PGSQL.";

/// How a server of ours is set up.
pub(crate) struct Configuration {
    /// Where its socket is.
    pub(crate) sockets: PathBuf,
    /// Names and values for its command line.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// Decides the configuration of the server in `directory` and writes it there, for starts by hand too.
pub(crate) fn configure(
    directory: &Path,
    control: &ControlFile,
    port: u16,
    owner: Option<(u32, u32)>,
) -> Result<Configuration, Error> {
    let sockets = socket_directory(directory, owner)?;
    let needs = Needs::of(control);
    let is_recovering = directory.join(SIGNAL_FILE).exists();
    let needs = if is_recovering { needs.with_headroom() } else { needs };
    let settings = isolation(needs, &sockets, directory, port, free_memory_bytes());
    write(directory, &settings, owner)?;
    Ok(Configuration { sockets, settings })
}

/// Writes the configuration for starts by hand into a data directory.
///
/// # Errors
/// Those of the file system, and if the directory has no sound control file.
pub fn write_configuration(directory: &Path, port: u16, owner: Option<(u32, u32)>) -> Result<(), Error> {
    let control = ControlFile::parse(&std::fs::read(directory.join(PG_CONTROL_PATH))?);
    configure(directory, &control.map_err(Error::other)?, port, owner).map(drop)
}

/// The port that was written into our configuration in a data directory; `None` if there is none.
#[must_use]
pub fn configured_port(directory: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(directory.join(OUR_FILES[0])).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("port = "))?;
    value.trim_matches('\'').parse().ok()
}

fn write(directory: &Path, settings: &[(&str, String)], owner: Option<(u32, u32)>) -> Result<(), Error> {
    let mut text =
        "# Written by Lifeboat: a server that disturbs nobody. Production's files are untouched.\n"
            .to_owned();
    for (name, value) in settings.iter().filter(|(name, _)| *name != "config_file") {
        text.push_str(&format!("{name} = '{}'\n", escape(value)));
    }
    let access =
        "# Only who can reach the private socket.\nlocal all all trust\nlocal replication all trust\n";
    for (name, contents) in OUR_FILES.into_iter().zip([text.as_str(), access, ""]) {
        let path = directory.join(name);
        std::fs::write(&path, contents)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        own(&path, owner)?;
    }
    Ok(())
}

/// Where the socket's own directory is made, if the data directory will not do.
pub(crate) fn parent_of_sockets(directory: &Path) -> Option<PathBuf> {
    let socket = directory.join(".s.PGSQL.65535");
    let is_plain = !directory.as_os_str().as_encoded_bytes().contains(&b',');
    let will_do = is_plain && socket.as_os_str().len() <= SOCKET_PATH_LIMIT_BYTES;
    (!will_do).then(std::env::temp_dir)
}

/// Where the socket goes: the data directory, which is private; a directory beside all others if its path
/// is too long for a socket.
fn socket_directory(directory: &Path, owner: Option<(u32, u32)>) -> Result<PathBuf, Error> {
    let Some(parent) = parent_of_sockets(directory) else { return Ok(directory.to_owned()) };
    let short = parent.join(format!("lifeboat-{}", short_name(directory)));
    match std::fs::DirBuilder::new().create(&short) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = std::fs::symlink_metadata(&short)?;
    let ours = rustix::process::geteuid().as_raw();
    let is_ours = found.uid() == ours || owner.is_some_and(|(user, _)| found.uid() == user);
    if !found.is_dir() || !is_ours {
        return Err(Error::other(format!("{} belongs to somebody else; remove it", short.display())));
    }
    std::fs::set_permissions(&short, Permissions::from_mode(0o700))?;
    own(&short, owner)?;
    Ok(short)
}

/// A short name that is always the same for the same directory.
fn short_name(directory: &Path) -> String {
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, directory.as_os_str().as_encoded_bytes());
    hex::encode(&digest.as_ref()[..6])
}

fn own(path: &Path, owner: Option<(u32, u32)>) -> Result<(), Error> {
    let Some((user, group)) = owner else { return Ok(()) };
    chown(path, Some(user), Some(group))
}

/// A value between single quotes, for configuration files and connection strings.
pub(super) fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\'', "\\'")
}

/// A value in a connection string, between quotes where it needs them.
#[must_use]
pub fn conninfo_value(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && c != '\'' && c != '\\';
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", escape(value))
    }
}
