//! Reads the data directory itself, on several threads.
//!
//! # Invariants
//! - `pg_control` is read after everything else, and until its CRC holds.
//! - A file that vanishes or shrinks while it is read is no error: WAL from the backup's start tells
//!   recovery of the drop or the truncation.

use super::damage::{Findings, REREAD_PAUSE, REREADS};
use super::filler::{Filler, write_packs};
use super::pages::{self, Suspect};
use super::rate::Rate;
use super::{BackupError, BackupOptions, Server, Taken, is_our_own};
use crate::client::{Connection, quote_literal};
use lifeboat_pgformat::{
    ControlFile, PAGE_SIZE_BYTES, PG_CONTROL_PATH, RelationFile, Treatment, UnloggedRelations, treatment,
};
use lifeboat_vault::layer::{FRAME_BYTES, FileEntry, FileKind, LayerWriter};
use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// A large file is read in parts of this size, so that one file keeps all threads busy.
const PART_BYTES: u64 = 64 << 20;
/// Deepest directory that is looked at: PostgreSQL's own need five. A link that leads to a directory above
/// itself would have no end.
const DEPTH_LIMIT: usize = 16;

/// A stretch of one file for one thread.
struct Part {
    path: Arc<str>,
    begin: u64,
    end: u64,
}

/// What the threads share.
struct Shared {
    root: PathBuf,
    parts: Mutex<VecDeque<Part>>,
    findings: Mutex<Findings>,
    checksums: bool,
    rate: Rate,
}

pub(super) async fn take(
    options: &BackupOptions,
    sql: &mut Connection,
    server: &Server,
    writer: &Arc<LayerWriter>,
    directory: &Path,
    label: &str,
) -> Result<Taken, BackupError> {
    let found = read_control(directory)?.1.system_id;
    if found != server.cluster.system_id {
        let (path, expected) = (directory.to_owned(), server.cluster.system_id);
        return Err(BackupError::OtherCluster { path, found, expected });
    }
    let begin = format!("SELECT pg_backup_start({}, true) AS lsn", quote_literal(label));
    sql.query_one(&begin).await.map_err(BackupError::Server)?;

    let root = directory.to_owned();
    let listing = blocking(move || list(&root)).await?;
    let mut files = Vec::new();
    let mut parts = VecDeque::new();
    let mut total = 0;
    for entry in listing {
        if entry.kind == FileKind::File && entry.path != PG_CONTROL_PATH {
            total += entry.length;
            let path: Arc<str> = entry.path.as_str().into();
            let mut begin = 0;
            while begin < entry.length {
                let end = entry.length.min(begin + PART_BYTES);
                parts.push_back(Part { path: path.clone(), begin, end });
                begin = end;
            }
        }
        files.push(entry);
    }
    options.progress.total_bytes.store(total, std::sync::atomic::Ordering::Relaxed);
    let clock = options.vault.clock().clone();
    let shared = Arc::new(Shared {
        root: directory.to_owned(),
        parts: Mutex::new(parts),
        findings: Mutex::default(),
        checksums: server.checksums,
        rate: Rate::new(options.rate, clock),
    });
    let (sender, receiver) = mpsc::channel(1);
    let packs = tokio::spawn(write_packs(writer.clone(), receiver));
    let threads: Vec<_> = (0..options.workers.max(1))
        .map(|_| {
            let mut filler = Filler::new(writer, &options.progress, sender.clone());
            let shared = shared.clone();
            tokio::task::spawn_blocking(move || read_parts(&shared, &mut filler))
        })
        .collect();
    let mut outcomes = Vec::new();
    for thread in threads {
        outcomes.push(thread.await.map_err(ended)?);
    }
    // Last of all (DESIGN §5): it tells how far recovery must go at least when a standby is read.
    let control = files.iter_mut().find(|file| file.path == PG_CONTROL_PATH);
    let control = control.ok_or_else(|| BackupError::Unsupported(format!("{PG_CONTROL_PATH} is missing")))?;
    let root = directory.to_owned();
    let (bytes, _) = blocking(move || read_control(&root)).await?;
    control.length = bytes.len() as u64;
    let mut filler = Filler::new(writer, &options.progress, sender);
    let last = tokio::task::spawn_blocking(move || {
        filler.add(PG_CONTROL_PATH, 0, &bytes)?;
        filler.flush()
    });
    outcomes.push(last.await.map_err(ended)?);
    // An error of the vault is the cause when the threads only found their way closed.
    packs.await.map_err(ended)??;
    outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;

    // Without waiting for an archive: that the WAL is durable is our own concern (B2).
    let end = "SELECT lsn, labelfile, spcmapfile FROM pg_backup_stop(false)";
    let row = sql.query_one(end).await.map_err(BackupError::Server)?;
    let unexpected = |error: crate::client::RowError| BackupError::Unexpected(error.to_string());
    let findings = std::mem::take(&mut *shared.findings.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Taken {
        files,
        findings,
        label: row.text("labelfile").map_err(unexpected)?.as_bytes().to_vec(),
        tablespace_map: row
            .optional("spcmapfile")
            .map_err(unexpected)?
            .unwrap_or_default()
            .as_bytes()
            .to_vec(),
        stop: row.parse("lsn").map_err(unexpected)?,
    })
}

pub(crate) fn ended(error: tokio::task::JoinError) -> BackupError {
    BackupError::Unexpected(format!("a thread of the backup ended: {error}"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

fn read_parts(shared: &Shared, filler: &mut Filler) -> Result<(), BackupError> {
    loop {
        let part = shared.parts.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(part) = part else { return filler.flush() };
        if let Err(error) = read_part(shared, &part, filler) {
            // The others need not go on for a backup that will not be.
            shared.parts.lock().unwrap_or_else(PoisonError::into_inner).clear();
            return Err(error);
        }
    }
}

fn read_part(shared: &Shared, part: &Part, filler: &mut Filler) -> Result<(), BackupError> {
    let path = shared.root.join(&*part.path);
    let failed = |source| BackupError::File { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let relation = RelationFile::parse(&part.path).filter(|_| shared.checksums);
    let mut buffer = vec![0; FRAME_BYTES];
    let mut begin = part.begin;
    while begin < part.end {
        let wanted = (part.end - begin).min(FRAME_BYTES as u64) as usize;
        shared.rate.wait(wanted as u64, || filler.is_cancelled());
        let read = read_at(&file, &mut buffer[..wanted], begin).map_err(failed)?;
        let raw = &mut buffer[..wanted];
        // What the file lost since it was listed: WAL truncates it again.
        raw[read..].fill(0);
        if let Some(relation) = &relation {
            check(shared, part, relation, &file, begin, raw).map_err(failed)?;
        }
        filler.add(&part.path, begin, raw)?;
        begin += wanted as u64;
    }
    Ok(())
}

/// Reads damaged pages again, and notes those that stay so (B3).
fn check(
    shared: &Shared,
    part: &Part,
    relation: &RelationFile,
    file: &File,
    begin: u64,
    raw: &mut [u8],
) -> Result<(), std::io::Error> {
    for suspect in pages::suspects(relation, begin, raw) {
        let at = (suspect.offset - begin) as usize;
        let page = &mut raw[at..at + PAGE_SIZE_BYTES];
        let is_plenty = shared.findings.lock().unwrap_or_else(PoisonError::into_inner).is_plenty();
        let mut last = Some(suspect);
        for _ in 0..if is_plenty { 0 } else { REREADS } {
            std::thread::sleep(REREAD_PAUSE);
            let Some(Suspect { offset, .. }) = last else { break };
            let read = read_at(file, page, offset)?;
            page[read..].fill(0);
            last = pages::suspects(relation, offset, page).pop();
        }
        if let Some(suspect) = last {
            let mut findings = shared.findings.lock().unwrap_or_else(PoisonError::into_inner);
            findings.add(&part.path, suspect, true);
        }
    }
    Ok(())
}

fn read_at(file: &File, buffer: &mut [u8], begin: u64) -> Result<usize, std::io::Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], begin + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn read_control(root: &Path) -> Result<(Vec<u8>, ControlFile), BackupError> {
    let path = root.join(PG_CONTROL_PATH);
    let mut last = None;
    for _ in 0..REREADS {
        let bytes =
            std::fs::read(&path).map_err(|source| BackupError::File { path: path.clone(), source })?;
        match ControlFile::parse(&bytes) {
            Ok(control) => return Ok((bytes, control)),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(REREAD_PAUSE);
    }
    let why = last.map(|error| error.to_string()).unwrap_or_default();
    Err(BackupError::Unsupported(format!("{}: {why}", path.display())))
}

/// Everything that a backup takes, `pg_control` among it (with the length it has now).
pub(crate) fn list(root: &Path) -> Result<Vec<FileEntry>, BackupError> {
    let mut entries = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let path = root.join(&directory);
        if directory.split('/').count() > DEPTH_LIMIT {
            return Err(BackupError::Unsupported(format!(
                "{} is deeper than {DEPTH_LIMIT} directories: a link that leads back to one above it? Remove it",
                path.display()
            )));
        }
        let failed = |source| BackupError::File { path: path.clone(), source };
        let listed = match std::fs::read_dir(&path) {
            Ok(listed) => listed,
            Err(error) if error.kind() == ErrorKind::NotFound && !directory.is_empty() => continue,
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in listed {
            let name = entry.map_err(failed)?.file_name().into_string();
            names.push(name.map_err(|name| {
                BackupError::Unsupported(format!(
                    "{} in {} is not UTF-8",
                    name.to_string_lossy(),
                    path.display()
                ))
            })?);
        }
        let unlogged = UnloggedRelations::of_directory(names.iter().map(String::as_str));
        for name in names {
            let below = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
            let treatment = treatment(&below);
            if treatment == Treatment::Leave
                || is_our_own(&below)
                || (RelationFile::parse(&below).is_some() && unlogged.leaves_out(&name))
            {
                continue;
            }
            // Follows the links of tablespaces, and those that administrators make.
            let metadata = match std::fs::metadata(root.join(&below)) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(source) => return Err(BackupError::File { path: root.join(&below), source }),
            };
            let mode = metadata.permissions().mode() & 0o7777;
            let mut entry = FileEntry::new(below.clone(), FileKind::File, metadata.len(), mode);
            if metadata.is_dir() {
                entry.kind = FileKind::Directory;
                entry.length = 0;
                // pg_wal's own directories matter, its content does not; treatment tells each.
                if treatment != Treatment::KeepEmpty || below == "pg_wal" {
                    directories.push(below);
                }
                entries.push(entry);
            } else if metadata.is_file() && treatment != Treatment::KeepEmpty {
                if RelationFile::parse(&entry.path).is_some() {
                    // A page half appended is WAL's to write.
                    entry.length -= entry.length % PAGE_SIZE_BYTES as u64;
                }
                entries.push(entry);
            }
        }
    }
    Ok(entries)
}
