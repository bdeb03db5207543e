//! Makes a restore point of an older one and the WAL since: what a recovery wrote becomes a layer above the others.
//!
//! The older point is shown on a throw-away view, a real server replays archived WAL on it up to a checkpoint record
//! of production, and is stopped there: its restartpoint writes all that replay changed. What the view then holds of
//! its own is all that is stored. Production is asked for nothing.
//!
//! # Invariants
//! - **A1 a checkpoint, or nothing.** Only a server that stopped in order at a checkpoint newer than the older
//!   point's is stored; elsewhere its pages would not be all on the disk.
//! - **A2 what WAL does not change is not changed.** Configuration files, and whatever else lies at the top, stay as
//!   the older point has them: here they are a recovery's own.
//! - **A3 stacks stay low.** Where too many layers stand on each other, the newest are folded into one before the
//!   point is published, so that looking a page up stays cheap.
//! - **A4 the manifest comes last**, as of any backup: killed, it leaves garbage, never a lie.
//!
//! Deliberately absent: the recovery itself, and proving the result; both are whole commands' work.

mod changed;
mod depth;

use crate::backup::filler::{Filler, write_packs};
use crate::backup::local::{ended, list};
use crate::backup::{BackupError, BackupProgress, announce, look_again};
use crate::target::{Resolved, TargetError, created_tablespaces};
use crate::view::{View, Written};
use changed::{Frame, frames_of, is_of_wal};
use lifeboat_base::SystemId;
use lifeboat_pgformat::{
    BackupLabel, ClusterState, ControlFile, Oid, PAGE_SIZE_BYTES, PG_CONTROL_PATH, RelationFile,
    TablespaceMapEntry, WalFileName, render_tablespace_map,
};
use lifeboat_vault::Vault;
use lifeboat_vault::layer::{
    Changed, FRAME_BYTES, FileEntry, FileKind, FoldError, FrameHash, LayerError, LayerWriter, Stack, fold,
};
use lifeboat_vault::point::{DamagedPage, RestorePoint, Tablespace, new_id};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// What to store.
#[derive(Debug)]
pub struct AdvanceOptions {
    /// The vault.
    pub vault: Vault,
    /// The older point, and the checkpoint record that was replayed to.
    pub resolved: Resolved,
    /// zstd's level.
    pub level: i32,
    /// Where it tells how far it is.
    pub progress: Arc<BackupProgress>,
}

/// Why there is no new restore point.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    /// The server did not leave what can be stored (A1).
    #[error("the server that replayed the WAL did not stop at the checkpoint: {0}")]
    NotThere(String),
    /// The disk under the view does not give back what was written to it.
    #[error(
        "page {block} of {path} was written by the recovering server and does not read: this machine's disk is damaged"
    )]
    Damaged {
        /// The file below the data directory.
        path: String,
        /// The block.
        block: u32,
    },
    /// The older point.
    #[error("the older restore point cannot be read")]
    Layer(#[source] LayerError),
    /// A tablespace that was made meanwhile.
    #[error("where production keeps a new tablespace is not to be found in the WAL")]
    Tablespace(#[source] TargetError),
    /// The layers below (A3).
    #[error("the newest layers were not folded into one")]
    Fold(#[source] FoldError),
    /// Storing it.
    #[error("the new layer was not stored")]
    Stored(#[source] BackupError),
}

/// Stores what a stopped server wrote to `view`, and publishes the restore point.
///
/// # Errors
/// [`AdvanceError`]; whatever was written by then is garbage that no manifest names (A4).
pub async fn store(options: &AdvanceOptions, view: &View) -> Result<RestorePoint, AdvanceError> {
    let (vault, older) = (&options.vault, &options.resolved.point);
    let clock = vault.clock().clone();
    let (control, control_bytes) = read_control(view, older.system_id)?;
    must_have_moved(&control, &options.resolved)?;

    let id = new_id(clock.as_ref());
    let writer = Arc::new(LayerWriter::new(vault, &older.service, id.clone(), options.level));
    let mount = view.place().mount.clone();
    let listed = blocking(move || list(&mount)).await.map_err(AdvanceError::Stored)?;
    let tablespaces = tablespaces(options, &listed).await?;
    let size_bytes = listed.iter().map(|file| file.length).sum();
    let files = listed.len() as u64;
    let written = view.written();
    let damaged_pages =
        older.damaged_pages.iter().filter(|page| shows_still(page, &written)).cloned().collect();
    let work = sort_out(view.stack(), listed, &written, view.place().data(), &view.place().mount).await?;
    let todo: u64 = work.files.iter().map(|file| file.pages() * PAGE_SIZE_BYTES as u64).sum();
    options.progress.total_bytes.store(todo, Ordering::Relaxed);
    let entries = pack(options, &writer, work, control_bytes).await?;

    let writer = Arc::try_unwrap(writer).expect("the thread has ended");
    let stored = writer.finish_delta(entries).await.map_err(BackupError::Vault);
    let stored_bytes = stored.map_err(AdvanceError::Stored)?;
    let (layers, stored_bytes) = layers(options, &id, stored_bytes, view.stack().delta_bytes()).await?;
    look_again(vault, &older.service, &layers[0], stored_bytes).await.map_err(AdvanceError::Stored)?;
    let point = RestorePoint {
        id: id.clone(),
        layers,
        advanced_from: Some(older.id.clone()),
        timeline: control.min_recovery_point_timeline,
        start: control.checkpoint_copy.redo,
        stop: control.min_recovery_point,
        // All that was committed by then is before the checkpoint record.
        started: control.checkpoint_copy.time,
        finished: clock.now(),
        // As of a standby: consistent where `pg_control` says, without a record that says so.
        from_standby: true,
        checksums: control.data_checksum_version != 0,
        backup_label: label(&control, &id),
        tablespace_map: map_of(&tablespaces),
        tablespaces,
        damaged_pages,
        size_bytes,
        stored_bytes,
        files,
        ..older.clone()
    };
    announce(vault, &point).await.map_err(AdvanceError::Stored)?;
    Ok(point)
}

/// The layers of the new point, newest first, and the bytes of the first of them: the one just written, or what it
/// and some of those below were folded into (A3).
async fn layers(
    options: &AdvanceOptions,
    id: &str,
    stored_bytes: u64,
    below: Vec<u64>,
) -> Result<(Vec<String>, u64), AdvanceError> {
    let older = &options.resolved.point;
    let mut layers: Vec<String> =
        std::iter::once(id.to_owned()).chain(older.layers.iter().cloned()).collect();
    let together = depth::to_fold(stored_bytes, &below);
    if together < 2 {
        return Ok((layers, stored_bytes));
    }
    let (vault, service) = (&options.vault, &older.service);
    let folded = new_id(vault.clock().as_ref());
    let writer = LayerWriter::new(vault, service, folded.clone(), options.level);
    let stored = fold(vault, service, &layers[..together], writer).await.map_err(AdvanceError::Fold)?;
    layers.splice(..together, [folded]);
    Ok((layers, stored))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

fn read_control(view: &View, system_id: SystemId) -> Result<(ControlFile, Vec<u8>), AdvanceError> {
    let path = view.place().mount.join(PG_CONTROL_PATH);
    let failed = |source| AdvanceError::Stored(BackupError::File { path: path.clone(), source });
    let bytes = std::fs::read(&path).map_err(failed)?;
    let control = ControlFile::parse(&bytes).map_err(|error| AdvanceError::NotThere(error.to_string()))?;
    if control.system_id != system_id {
        let what = format!("it is of cluster {}, not {system_id}", control.system_id);
        return Err(AdvanceError::NotThere(what));
    }
    Ok((control, bytes))
}

/// A1.
fn must_have_moved(control: &ControlFile, resolved: &Resolved) -> Result<(), AdvanceError> {
    let refuse = |what: String| Err(AdvanceError::NotThere(what));
    if control.state != ClusterState::ShutDownInRecovery {
        return refuse(format!("its state is {:?}", control.state));
    }
    if control.checkpoint != resolved.stop {
        return refuse(format!("its last checkpoint is at {}, not {}", control.checkpoint, resolved.stop));
    }
    if control.min_recovery_point < resolved.end {
        let reached = control.min_recovery_point;
        return refuse(format!("it is consistent at {reached}, short of {}", resolved.end));
    }
    Ok(())
}

/// As PostgreSQL writes one for a backup that is taken from a standby.
fn label(control: &ControlFile, id: &str) -> String {
    let (redo, timeline) = (control.checkpoint_copy.redo, control.checkpoint_copy.timeline);
    let label = BackupLabel {
        start_lsn: redo,
        start_wal_file: WalFileName::holding(timeline, redo, control.wal_segment_size).to_string(),
        checkpoint_lsn: control.checkpoint,
        start_timeline: timeline,
        method: "streamed".to_owned(),
        from_standby: true,
        start_time: control.checkpoint_copy.time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        label: format!("lifeboat {id}"),
        incremental_from: None,
    };
    label.render()
}

fn map_of(tablespaces: &[Tablespace]) -> String {
    let entry = |tablespace: &Tablespace| TablespaceMapEntry {
        tablespace: Oid(tablespace.oid),
        location: tablespace.location.clone().into_bytes(),
    };
    let entries: Vec<_> = tablespaces.iter().map(entry).collect();
    String::from_utf8_lossy(&render_tablespace_map(&entries)).into_owned()
}

/// Whether a page that production could not read shows as it was, as nothing was written to it.
fn shows_still(page: &DamagedPage, written: &HashMap<String, Written>) -> bool {
    let Some(written) = written.get(&page.path) else { return false };
    let Some(relation) = RelationFile::parse(&page.path) else { return true };
    let first = relation.block_at(0).map_or(0, u64::from);
    let Ok(block) = u32::try_from(page.block.saturating_sub(first)) else { return true };
    block < written.base && !written.own.iter().any(|run| run.contains(&block))
}

/// Those of the older point that are still there, and those that were made since.
async fn tablespaces(
    options: &AdvanceOptions,
    listed: &[FileEntry],
) -> Result<Vec<Tablespace>, AdvanceError> {
    let oid = |file: &FileEntry| file.path.strip_prefix("pg_tblspc/")?.parse::<u32>().ok();
    let there: BTreeSet<u32> = listed.iter().filter_map(oid).collect();
    let older = &options.resolved.point;
    let mut known: BTreeMap<u32, String> =
        older.tablespaces.iter().map(|tablespace| (tablespace.oid, tablespace.location.clone())).collect();
    if there.iter().any(|oid| !known.contains_key(oid)) {
        let created = created_tablespaces(&options.vault, &options.resolved).await;
        known.extend(created.map_err(AdvanceError::Tablespace)?);
    }
    let tablespace = |oid: u32| Tablespace { oid, location: known.get(&oid).cloned().unwrap_or_default() };
    Ok(there.into_iter().map(tablespace).collect())
}

/// What is to be stored: entries without content, and files of which something is to be read.
struct Work {
    entries: Vec<FileEntry>,
    files: Vec<Source>,
}

/// A file of which frames are to be stored.
struct Source {
    entry: FileEntry,
    /// Where it is read.
    path: PathBuf,
    frames: Vec<Frame>,
}

impl Source {
    fn pages(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.pages.count_ones())).sum()
    }
}

/// Decides for each file what the new layer says of it.
async fn sort_out(
    stack: &Stack,
    listed: Vec<FileEntry>,
    written: &HashMap<String, Written>,
    data: PathBuf,
    mount: &Path,
) -> Result<Work, AdvanceError> {
    let mut work = Work { entries: Vec::new(), files: Vec::new() };
    let now: BTreeSet<&str> = listed.iter().map(|file| file.path.as_str()).collect();
    for old in stack.index().files.iter().filter(|old| is_of_wal(&old.path)) {
        if !now.contains(old.path.as_str()) && old.path != PG_CONTROL_PATH {
            let gone = FileEntry::new(old.path.clone(), old.kind, 0, old.mode);
            work.entries.push(FileEntry { removed: true, ..gone });
        }
    }
    for file in listed.iter().filter(|file| is_of_wal(&file.path) && file.path != PG_CONTROL_PATH) {
        let old = stack.index().file(&file.path).filter(|old| old.kind == file.kind);
        match (file.kind, old) {
            (FileKind::Directory, Some(_)) => {}
            (FileKind::Directory, None) => work.entries.push(file.clone()),
            (FileKind::File, Some(old)) if RelationFile::parse(&file.path).is_some() => {
                let path = crate::view::within(&file.path);
                match written.get(&file.path) {
                    Some(written) => {
                        let frames = frames_of(file.length, written.base, &written.own);
                        let smallest = u64::from(written.base) * PAGE_SIZE_BYTES as u64;
                        if !frames.is_empty() || old.length != file.length || smallest < old.length {
                            let smallest_length = Some(smallest.min(old.length));
                            let entry = FileEntry { smallest_length, ..file.clone() };
                            work.files.push(Source { entry, path: data.join(path), frames });
                        }
                    }
                    None => work.files.push(anew(file, mount)),
                }
            }
            (FileKind::File, Some(old)) => {
                let mut source = anew(file, mount);
                let mut frames = Vec::new();
                for mut frame in source.frames {
                    frame.covering = frame.pages;
                    if !is_same(stack, file, &source.path, frame.begin).await? {
                        frames.push(frame);
                    }
                }
                if !frames.is_empty() || old.length != file.length {
                    let smallest_length = Some(old.length.min(file.length));
                    source.entry = FileEntry { smallest_length, ..file.clone() };
                    work.files.push(Source { frames, ..source });
                }
            }
            (FileKind::File, None) => work.files.push(anew(file, mount)),
        }
    }
    Ok(work)
}

/// A file of which the older point has nothing.
fn anew(file: &FileEntry, mount: &Path) -> Source {
    let entry = FileEntry { made_anew: true, ..file.clone() };
    Source { entry, path: mount.join(&file.path), frames: frames_of(file.length, 0, &[]) }
}

/// Whether the older point holds the same frame of a small file.
async fn is_same(stack: &Stack, file: &FileEntry, path: &Path, begin: u64) -> Result<bool, AdvanceError> {
    let Some(hash) = stack.hash(&file.path, begin).await.map_err(AdvanceError::Layer)? else {
        return Ok(false);
    };
    let length = (file.length - begin).min(FRAME_BYTES as u64) as usize;
    let mut raw = vec![0; length];
    let read = File::open(path).and_then(|opened| opened.read_exact_at(&mut raw, begin));
    let failed = |source| AdvanceError::Stored(BackupError::File { path: path.to_owned(), source });
    read.map_err(failed)?;
    Ok(FrameHash::of(&raw) == hash)
}

/// Reads, seals and writes all of it; returns the entries of the new layer's index.
async fn pack(
    options: &AdvanceOptions,
    writer: &Arc<LayerWriter>,
    work: Work,
    control: Vec<u8>,
) -> Result<Vec<FileEntry>, AdvanceError> {
    let (sender, receiver) = mpsc::channel(1);
    let packs = tokio::spawn(write_packs(writer.clone(), receiver));
    let mut filler = Filler::new(writer, &options.progress, sender);
    let checksums = options.resolved.point.checksums;
    let filled = tokio::task::spawn_blocking(move || {
        let Work { mut entries, files } = work;
        for source in files {
            fill(&source, &mut filler, checksums)?;
            entries.push(source.entry);
        }
        let kind = FileKind::File;
        let entry = FileEntry::new(PG_CONTROL_PATH.to_owned(), kind, control.len() as u64, 0o600);
        filler.add(PG_CONTROL_PATH, 0, &control).map_err(AdvanceError::Stored)?;
        entries.push(FileEntry { made_anew: true, ..entry });
        filler.flush().map_err(AdvanceError::Stored)?;
        Ok(entries)
    });
    let filled = filled.await.map_err(ended).map_err(AdvanceError::Stored)?;
    // An error of the vault is the cause when the thread only found its way closed.
    packs.await.map_err(ended).and_then(|written| written).map_err(AdvanceError::Stored)?;
    filled
}

/// Reads the frames of one file.
fn fill(source: &Source, filler: &mut Filler, checksums: bool) -> Result<(), AdvanceError> {
    let failed = |source_error: std::io::Error| {
        let path = source.path.clone();
        AdvanceError::Stored(BackupError::File { path, source: source_error })
    };
    if source.frames.is_empty() {
        return Ok(());
    }
    let file = File::open(&source.path).map_err(failed)?;
    let relation = RelationFile::parse(&source.entry.path);
    let mut page = vec![0; PAGE_SIZE_BYTES];
    for frame in &source.frames {
        let span = (source.entry.length - frame.begin).min(FRAME_BYTES as u64) as u32;
        let mut changed = Changed::default();
        for number in (0..u32::BITS).filter(|number| frame.pages >> number & 1 == 1) {
            let at = u64::from(number) * PAGE_SIZE_BYTES as u64;
            let length = (u64::from(span) - at).min(PAGE_SIZE_BYTES as u64) as usize;
            let bytes = &mut page[..length];
            read_whole(&file, bytes, frame.begin + at).map_err(failed)?;
            if crate::backup::pages::is_zero(bytes) {
                changed.zero |= 1 << number;
                continue;
            }
            let suspects = relation.as_ref().filter(|_| checksums);
            let suspects = suspects.map(|file| crate::backup::pages::suspects(file, frame.begin + at, bytes));
            if suspects.is_some_and(|found| !found.is_empty()) {
                let block = ((frame.begin + at) / PAGE_SIZE_BYTES as u64) as u32;
                return Err(AdvanceError::Damaged { path: source.entry.path.clone(), block });
            }
            changed.present |= 1 << number;
            changed.raw.extend_from_slice(bytes);
        }
        // What nothing below shows through needs no word for being zero.
        changed.zero &= frame.covering;
        filler.add_changed(&source.entry.path, frame.begin, span, &changed).map_err(AdvanceError::Stored)?;
    }
    Ok(())
}

fn read_whole(file: &File, bytes: &mut [u8], at: u64) -> Result<(), std::io::Error> {
    match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(std::io::Error::new(error.kind(), "it is shorter than it was"))
        }
        read => read,
    }
}
