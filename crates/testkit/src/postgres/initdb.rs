//! New data directories, quickly: `initdb` once for each kind, then copies with an identifier of their own.
//!
//! The originals lie in `target/testkit-cache`; removing that is always safe. Copies of one directory
//! would share its system identifier, by which Lifeboat tells databases apart, so each copy is given a
//! new one.

use super::installation::Installation;
use super::options::ClusterOptions;
use super::process::must;
use super::user::{scratch_directory, server_user};
use crate::random::random_u64;
use crate::workspace;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Before it, the option to leave checksums out does not exist.
const CHECKSUMS_BY_DEFAULT_SINCE: u32 = 18;
/// Of `pg_control`, what its CRC can lie in: the struct must fit a disk sector.
/// Source: PG_CONTROL_MAX_SAFE_SIZE in catalog/pg_control.h.
const CONTROL_LIMIT_BYTES: usize = 512;
/// Where the long header of a segment's first page has the system identifier.
/// Source: XLogLongPageHeaderData in access/xlog_internal.h.
const WAL_SYSTEM_ID_OFFSET: u64 = 24;

/// Makes a new data directory at `data`, owned by the server's user.
pub(super) fn create(installation: &Installation, options: &ClusterOptions, data: &Path) {
    let original = original(installation, options);
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto"]).arg(&original).arg(data);
    must(copy);
    give_identity(data);
}

/// The directory to copy from, made now if there is none yet.
fn original(installation: &Installation, options: &ClusterOptions) -> PathBuf {
    let cache = workspace::root().join("target/testkit-cache");
    let arguments = arguments(installation, options);
    let path = cache.join(cache_name(installation, &arguments));
    if path.exists() {
        return path;
    }
    std::fs::create_dir_all(&cache).unwrap_or_else(|error| panic!("make {}: {error}", cache.display()));
    let scratch = scratch_directory();
    let data = scratch.path().join("data");
    let mut initdb = installation.command("initdb");
    initdb.arg("-D").arg(&data).args(arguments);
    must(initdb);
    // Under a name of its own first, so that another process never copies half of it.
    let partial = tempfile::Builder::new().prefix("partial-").tempdir_in(&cache).expect("make a directory");
    let moved = partial.path().join("data");
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(&data).arg(&moved);
    must(copy);
    // When another process was quicker, its directory is as good.
    if let Err(error) = std::fs::rename(&moved, &path) {
        assert!(path.exists(), "rename {} to {}: {error}", moved.display(), path.display());
    }
    path
}

fn arguments(installation: &Installation, options: &ClusterOptions) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"].map(str::to_owned).to_vec();
    if options.checksums {
        arguments.push("--data-checksums".into());
    } else if installation.major >= CHECKSUMS_BY_DEFAULT_SINCE {
        arguments.push("--no-data-checksums".into());
    }
    arguments.push(format!("--wal-segsize={}", options.wal_segment_mib));
    arguments.extend(options.initdb_arguments.iter().cloned());
    arguments
}

/// Differs for whatever would make another directory: programs, arguments, owner.
fn cache_name(installation: &Installation, arguments: &[String]) -> String {
    let mut version = installation.command("postgres");
    version.arg("--version");
    let mut hasher = DefaultHasher::new();
    (must(version), installation, arguments, server_user().map(|user| (user.uid, user.gid)))
        .hash(&mut hasher);
    format!("{}-{:016x}", installation.major, hasher.finish())
}

/// Gives a cleanly shut down data directory a system identifier that no other has.
fn give_identity(data: &Path) {
    let id = random_u64().to_ne_bytes();
    let path = data.join("global/pg_control");
    let control = std::fs::read(&path).expect("read the new pg_control");
    // The CRC covers all before it, and its place differs by version: it is where it holds.
    let stored = |at: usize| {
        control.get(at..at + 4).map(|bytes| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let crc_at =
        (8..CONTROL_LIMIT_BYTES).step_by(4).find(|at| stored(*at) == Some(crc32c::crc32c(&control[..*at])));
    let crc_at = crc_at.expect("initdb writes a pg_control whose CRC holds");
    let mut control = control;
    control[..8].copy_from_slice(&id);
    let crc = crc32c::crc32c(&control[..crc_at]).to_ne_bytes();
    control[crc_at..crc_at + 4].copy_from_slice(&crc);
    std::fs::write(&path, control).expect("write the new pg_control");
    for segment in segments(&data.join("pg_wal")) {
        let file = File::options().write(true).open(&segment).expect("open the new WAL segment");
        file.write_all_at(&id, WAL_SYSTEM_ID_OFFSET).expect("write the new WAL segment's first page");
    }
}

fn segments(pg_wal: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(pg_wal).expect("list the new pg_wal");
    let files = entries.map(|entry| entry.expect("list the new pg_wal").path()).filter(|path| path.is_file());
    files.collect()
}
