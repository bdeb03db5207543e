//! Writes the files: directories first, then packs side by side, then what makes it start.

use super::delta::{self, Delta};
use super::marker::MarkerWriter;
use super::settings::{AUTO_CONF, SET_ASIDE, strip_recovery_settings};
use super::{RestoreError, RestoreOptions, RestorePlan, failed};
use crate::server::configure;
use lifeboat_pgformat::{BACKUP_LABEL_FILE, ControlFile, PG_CONTROL_PATH, TABLESPACE_MAP_FILE};
use lifeboat_vault::layer::{FileEntry, FileKind, OpenedPack, Stack};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// Packs between two syncs of the file system: what a killed restore writes again at most.
const PACKS_BETWEEN_SYNCS: usize = 64;
/// Directories and files that PostgreSQL needs and no layer holds.
const OWNER_ONLY: u32 = 0o700;
pub(crate) const SIGNAL_FILE: &str = "recovery.signal";
/// What a standby that was backed up has: with it a server follows its primary and never ends recovery.
const STANDBY_FILE: &str = "standby.signal";
/// In the configuration for starts by hand.
const DEFAULT_PORT: u16 = 5432;

/// What the threads share.
struct Shared {
    root: PathBuf,
    /// It and the tablespaces, which may be on other file systems.
    roots: Vec<PathBuf>,
    owner: Option<(u32, u32)>,
    stack: Stack,
    modes: HashMap<String, u32>,
    packs: Mutex<VecDeque<u32>>,
    unrecorded: Mutex<Recorded>,
    progress: Arc<super::RestoreProgress>,
    delta: Option<Delta>,
}

struct Recorded {
    marker: MarkerWriter,
    packs: Vec<u32>,
    control: Option<Vec<u8>>,
}

pub(super) async fn write(options: &RestoreOptions, plan: RestorePlan) -> Result<(), RestoreError> {
    let root = options.into.clone();
    let total = &options.progress.total_bytes;
    total.store(plan.size_bytes, Ordering::Relaxed);
    make_directory(&root, OWNER_ONLY, options.owner)?;
    // R3: without it, what is killed after the next line would not be known again.
    let marker = MarkerWriter::open(&root, &plan.marker).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => RestoreError::Busy { path: root.clone() },
        _ => failed(&root)(error),
    })?;
    own(&root.join(super::MARKER_FILE), options.owner)?;
    // R1: removed first, should a delta or an earlier try have left one.
    remove(&root.join(PG_CONTROL_PATH))?;
    delta::clear(&root, &plan.removed)?;
    link_tablespaces(options, &plan)?;
    let done = &plan.marker.packs_done;
    make_tree(options, &plan.stack.index().files)?;
    // A delta looks at every pack again: it must know of each frame, to clear what lies between them.
    let is_due = |pack: &u32| plan.marker.delta || !done.contains(pack);
    let todo: VecDeque<u32> = (0..plan.packs as u32).filter(is_due).collect();
    let modes = plan.stack.index().files.iter().map(|file| (file.path.clone(), file.mode)).collect();
    let shared = Arc::new(Shared {
        roots: std::iter::once(&root).chain(plan.tablespaces.values()).cloned().collect(),
        root: root.clone(),
        owner: options.owner,
        modes,
        packs: Mutex::new(todo),
        unrecorded: Mutex::new(Recorded { marker, packs: Vec::new(), control: None }),
        progress: options.progress.clone(),
        delta: plan.marker.delta.then(|| Delta::new(plan.stack.index())),
        stack: plan.stack,
    });
    let mut threads = tokio::task::JoinSet::new();
    for _ in 0..options.workers.max(1) {
        threads.spawn(write_packs(shared.clone()));
    }
    // All of them have ended before this returns: whoever tries again must find nobody still writing.
    let mut failure = None;
    while let Some(outcome) = threads.join_next().await {
        let outcome = outcome.unwrap_or_else(|error| {
            Err(RestoreError::Unsupported(format!("a thread of the restore ended: {error}")))
        });
        if let Err(error) = outcome {
            shared.packs.lock().unwrap_or_else(PoisonError::into_inner).clear();
            failure.get_or_insert(error);
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let shared = Arc::into_inner(shared).expect("the threads have ended");
    finish(options, shared).await
}

/// Everything but `pg_control` is there: make it durable, then make it start (R1).
async fn finish(options: &RestoreOptions, shared: Shared) -> Result<(), RestoreError> {
    let Shared { root, roots, owner, unrecorded, stack, delta, .. } = shared;
    if let Some(delta) = delta {
        delta.clear_holes(&root, stack.index())?;
    }
    let mut recorded = unrecorded.into_inner().unwrap_or_else(PoisonError::into_inner);
    let control = match recorded.control.take() {
        Some(control) => control,
        // Its pack was written by an earlier try, which kept it back.
        None => read_control(&stack).await?,
    };
    prepare(&root, options)?;
    let parsed = ControlFile::parse(&control)
        .map_err(|error| RestoreError::Unsupported(format!("the layer's {PG_CONTROL_PATH}: {error}")))?;
    configure(&root, &parsed, DEFAULT_PORT, owner).map_err(failed(&root))?;
    sync(&roots)?;
    recorded.marker.done(&recorded.packs).map_err(failed(&root))?;
    write_small(&root.join(PG_CONTROL_PATH), &control, owner)?;
    sync(&roots)?;
    recorded.marker.finished().map_err(failed(&root))
}

/// What makes a server recover from the restore point, to where it was asked to be.
pub(crate) fn prepare(root: &Path, options: &RestoreOptions) -> Result<(), RestoreError> {
    let owner = options.owner;
    write_small(&root.join(BACKUP_LABEL_FILE), options.point.backup_label.as_bytes(), owner)?;
    remove(&root.join(TABLESPACE_MAP_FILE))?;
    set_aside(root, owner)?;
    write_small(&root.join(AUTO_CONF), options.recovery.auto_conf().as_bytes(), owner)?;
    remove(&root.join(STANDBY_FILE))?;
    write_small(&root.join(SIGNAL_FILE), b"", owner)
}

/// Keeps production's own settings, without stale recovery ones, for after the recovery. Once: a restore that
/// was killed later finds its own settings where production's were.
fn set_aside(root: &Path, owner: Option<(u32, u32)>) -> Result<(), RestoreError> {
    let (current, aside) = (root.join(AUTO_CONF), root.join(SET_ASIDE));
    if aside.exists() {
        return Ok(());
    }
    let text = match std::fs::read(&current) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(&current)(error)),
    };
    write_small(&aside, strip_recovery_settings(&text).as_bytes(), owner)
}

async fn read_control(stack: &Stack) -> Result<Vec<u8>, RestoreError> {
    let control = stack.frame(PG_CONTROL_PATH, 0).await.map_err(RestoreError::Layer)?;
    control.ok_or_else(|| RestoreError::Unsupported(format!("the layer holds no {PG_CONTROL_PATH}")))
}

async fn write_packs(shared: Arc<Shared>) -> Result<(), RestoreError> {
    loop {
        if shared.progress.cancelled.load(Ordering::Relaxed) {
            return Err(RestoreError::Cancelled);
        }
        let next = shared.packs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(number) = next else { return Ok(()) };
        if let Some(delta) = &shared.delta {
            let directory = shared.stack.directory(number).await.map_err(RestoreError::Layer)?;
            if delta.is_there(&shared.root, &shared.stack, number, &directory)? {
                let bytes: u64 = directory.frames.iter().map(|frame| u64::from(frame.length)).sum();
                shared.progress.done_bytes.fetch_add(bytes, Ordering::Relaxed);
                shared.progress.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
                record(&shared, number)?;
                continue;
            }
        }
        let pack = shared.stack.pack(number).await.map_err(RestoreError::Layer)?;
        let worker = shared.clone();
        let written = tokio::task::spawn_blocking(move || write_pack(&worker, number, &pack)).await;
        let written =
            written.map_err(|error| RestoreError::Unsupported(format!("a thread ended: {error}")))?;
        match written {
            Ok(()) => {}
            Err(PackFailure::Damaged) => {
                // Another copy may hold it whole; all of it is written again.
                let pack = shared.stack.intact_pack(number).await.map_err(RestoreError::Layer)?;
                let worker = shared.clone();
                let written = tokio::task::spawn_blocking(move || write_pack(&worker, number, &pack)).await;
                match written {
                    Ok(Ok(())) => {}
                    Ok(Err(PackFailure::File(error))) => return Err(error),
                    Ok(Err(PackFailure::Damaged)) | Err(_) => {
                        return Err(RestoreError::Unsupported(format!(
                            "pack {number} changed while it was read"
                        )));
                    }
                }
            }
            Err(PackFailure::File(error)) => return Err(error),
        }
        record(&shared, number)?;
    }
}

/// Notes a pack as written, once the file system has it (R3).
fn record(shared: &Shared, number: u32) -> Result<(), RestoreError> {
    let mut recorded = shared.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
    recorded.packs.push(number);
    if recorded.packs.len() < PACKS_BETWEEN_SYNCS {
        return Ok(());
    }
    sync(&shared.roots)?;
    let packs = std::mem::take(&mut recorded.packs);
    recorded.marker.done(&packs).map_err(failed(&shared.root))
}

enum PackFailure {
    Damaged,
    File(RestoreError),
}

fn write_pack(shared: &Shared, pack_number: u32, pack: &OpenedPack) -> Result<(), PackFailure> {
    let mut open: Option<(u32, File, PathBuf)> = None;
    for (number, frame) in (0..).zip(&pack.directory.frames) {
        let path = &pack.directory.files[frame.file as usize];
        let showing = shared.stack.showing(pack_number, path, frame);
        // Production's own marker is of a restore long ago. Ours must not be written over.
        if showing.is_empty() || path == super::MARKER_FILE {
            continue;
        }
        let raw = pack.frame(number).map_err(|_| PackFailure::Damaged)?;
        if path == PG_CONTROL_PATH {
            shared.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).control = Some(raw);
            continue;
        }
        let file = match open.take() {
            Some((file, handle, at)) if file == frame.file => (file, handle, at),
            _ => {
                // R5: only what the index lists, whose paths were checked, is ever opened.
                let mode = shared.modes.get(path).ok_or(PackFailure::Damaged)?;
                let at = shared.root.join(path);
                let opened = open_file(&at, *mode, shared.owner).map_err(PackFailure::File)?;
                (frame.file, opened, at)
            }
        };
        for stretch in showing {
            let bytes = raw.get(stretch.raw).ok_or(PackFailure::Damaged)?;
            let written = file.1.write_all_at(bytes, stretch.begin);
            written.map_err(|error| PackFailure::File(failed(&file.2)(error)))?;
            shared.progress.done_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        open = Some(file);
    }
    Ok(())
}

pub(crate) fn open_file(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<File, RestoreError> {
    let is_new = !path.exists();
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(mode).open(path);
    let file = file.map_err(failed(path))?;
    if is_new {
        own(path, owner)?;
    }
    Ok(file)
}

/// Directories, and every file at its length: what no frame fills is a hole, which reads as zeros.
fn make_tree(options: &RestoreOptions, files: &[FileEntry]) -> Result<(), RestoreError> {
    for file in files.iter().filter(|file| file.kind == FileKind::Directory) {
        make_directory(&options.into.join(&file.path), file.mode, options.owner)?;
    }
    for missing in ["pg_wal", "pg_wal/archive_status"] {
        make_directory(&options.into.join(missing), OWNER_ONLY, options.owner)?;
    }
    let is_due = |file: &&FileEntry| {
        file.kind == FileKind::File && ![PG_CONTROL_PATH, super::MARKER_FILE].contains(&file.path.as_str())
    };
    for file in files.iter().filter(is_due) {
        let path = options.into.join(&file.path);
        let opened = open_file(&path, file.mode, options.owner)?;
        opened.set_len(file.length).map_err(failed(&path))?;
    }
    Ok(())
}

fn link_tablespaces(options: &RestoreOptions, plan: &RestorePlan) -> Result<(), RestoreError> {
    if plan.tablespaces.is_empty() {
        return Ok(());
    }
    let links = options.into.join("pg_tblspc");
    make_directory(&links, OWNER_ONLY, options.owner)?;
    let mut seen = BTreeSet::new();
    for (oid, target) in &plan.tablespaces {
        if !seen.insert(target) {
            let what = format!("two tablespaces would go to {}: map them apart", target.display());
            return Err(RestoreError::Unsupported(what));
        }
        std::fs::create_dir_all(target).map_err(failed(target))?;
        make_directory(target, OWNER_ONLY, options.owner)?;
        if let Some(parent) = target.parent().filter(|parent| parent.starts_with(&options.into)) {
            own(parent, options.owner)?;
        }
        let link = links.join(oid.to_string());
        match std::fs::read_link(&link) {
            Ok(found) if found == *target => {}
            Ok(_) => {
                let what = format!("{} leads elsewhere: empty the directory", link.display());
                return Err(RestoreError::Unsupported(what));
            }
            Err(_) => symlink(target, &link).map_err(failed(&link))?,
        }
    }
    Ok(())
}

pub(crate) fn make_directory(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<(), RestoreError> {
    if !path.is_dir() {
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|above| !above.exists()).collect();
        std::fs::create_dir_all(path).map_err(failed(path))?;
        // Whatever our umask is, the server must get through.
        missing.into_iter().try_for_each(|made| own(made, owner))?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed(path))?;
    own(path, owner)
}

pub(crate) fn write_small(path: &Path, bytes: &[u8], owner: Option<(u32, u32)>) -> Result<(), RestoreError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    std::fs::write(&new, bytes).map_err(failed(&new))?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(failed(&new))?;
    own(&new, owner)?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(failed(&new))?;
    std::fs::rename(&new, path).map_err(failed(path))
}

pub(super) fn remove(path: &Path) -> Result<(), RestoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

pub(crate) fn own(path: &Path, owner: Option<(u32, u32)>) -> Result<(), RestoreError> {
    let Some((user, group)) = owner else { return Ok(()) };
    chown(path, Some(user), Some(group)).map_err(failed(path))
}

/// Makes everything on the directories' file systems durable.
fn sync(roots: &[PathBuf]) -> Result<(), RestoreError> {
    for root in roots {
        let directory = File::open(root).map_err(failed(root))?;
        rustix::fs::syncfs(&directory).map_err(|error| failed(root)(error.into()))?;
    }
    Ok(())
}
