//! Makes a view: all names, all small files, and of relations nothing but their lengths.

use super::disk::RealDisk;
use super::overlay::{Base, Fetched, Overlay, place_of};
use super::pages::relation_files;
use super::place::{About, Place, within};
use super::show::is_others_mount;
use crate::restore::files::{make_directory, open_file, own, prepare};
use crate::restore::{
    MARKER_FILE, Marker, MarkerWriter, RestoreError, RestoreOptions, TABLESPACES_DIRECTORY, check_ways,
    failed, has_entries, open_stack, room,
};
use futures::{StreamExt, TryStreamExt, stream};
use lifeboat_pgformat::{PG_CONTROL_PATH, RelationFile};
use lifeboat_vault::layer::{FRAME_BYTES, FileEntry, FileKind, Stack};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::Ordering;

/// Frames under way at a time: each is a round trip to the vault.
const AT_A_TIME: usize = 32;
const OWNER_ONLY: u32 = 0o700;
/// The server gets through to its WAL, and sees nothing else.
const WAY_THROUGH: u32 = 0o711;

/// What making a view would do.
#[derive(Debug)]
pub struct ViewPlan {
    /// Where it goes.
    pub place: Place,
    /// Files and directories.
    pub files: usize,
    /// Bytes in them.
    pub size_bytes: u64,
    /// Bytes of them that are fetched before the server starts.
    pub eager_bytes: u64,
    stack: Stack,
}

impl ViewPlan {
    /// For a view that is filled at once: refuses what will not fit.
    ///
    /// # Errors
    /// [`RestoreError::NoRoom`].
    pub fn must_fit(&self) -> Result<(), RestoreError> {
        room::must_have(&self.place.home, self.size_bytes)
    }
}

/// Looks and decides. Writes nothing.
///
/// # Errors
/// [`RestoreError`]: everything that can be known before the first byte is written.
pub async fn plan(options: &RestoreOptions) -> Result<ViewPlan, RestoreError> {
    let stack = open_stack(options).await?;
    let place = Place::of(&options.into);
    if place.is_shown() {
        return Err(RestoreError::Busy { path: place.mount.clone() });
    }
    must_be_free(options, &place)?;
    check_ways(options, &BTreeMap::new())?;
    let files = stack.index().files.iter().filter(|file| file.kind == FileKind::File);
    let (mut size_bytes, mut eager_bytes) = (0, 0);
    for file in files {
        size_bytes += file.length;
        if is_eager(file) {
            eager_bytes += file.length;
        }
    }
    room::must_have(&place.home, eager_bytes)?;
    Ok(ViewPlan { place, files: stack.index().files.len(), size_bytes, eager_bytes, stack })
}

/// Whether a file is whole from the start.
fn is_eager(file: &FileEntry) -> bool {
    RelationFile::parse(&file.path).is_none()
}

fn must_be_free(options: &RestoreOptions, place: &Place) -> Result<(), RestoreError> {
    let not_empty = |path: &Path| RestoreError::NotEmpty {
        path: path.to_owned(),
        service: options.point.service.clone(),
    };
    if has_entries(&place.mount) {
        return Err(not_empty(&place.mount));
    }
    // What a killed call left says nothing of itself yet: it is made anew.
    let is_there = place.about().map_err(failed(&place.home))?.is_some();
    if is_there || place.foreign().is_some() {
        return Err(not_empty(&place.home));
    }
    // Its data directory takes its place by a rename.
    let in_the_way = match (std::fs::symlink_metadata(&place.mount), place.mount.parent()) {
        (Ok(mount), _) if mount.is_symlink() => Some("a link"),
        (Ok(mount), Some(parent)) => {
            let parent = std::fs::metadata(parent).map_err(failed(parent))?;
            (mount.dev() != parent.dev() || is_others_mount(&place.mount))
                .then_some("a file system of its own")
        }
        _ => None,
    };
    if let Some(what) = in_the_way {
        return Err(RestoreError::Unsupported(format!(
            "{} is {what}, which a view cannot take the place of: name a directory below it",
            place.mount.display()
        )));
    }
    Ok(())
}

/// Makes the view, which nobody sees yet.
///
/// # Errors
/// [`RestoreError`]; what was made so far is made anew by the next call.
pub async fn create(options: &RestoreOptions, plan: ViewPlan) -> Result<(), RestoreError> {
    let ViewPlan { place, stack, eager_bytes, .. } = plan;
    options.progress.total_bytes.store(eager_bytes, Ordering::Relaxed);
    if !place.mount.exists() {
        make_directory(&place.mount, OWNER_ONLY, options.owner)?;
    }
    make_directory(&place.home, WAY_THROUGH, None)?;
    let _lock = place.lock().map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => RestoreError::Busy { path: place.mount.clone() },
        _ => failed(&place.home)(error),
    })?;
    // Somebody may have been asked, and another been faster meanwhile.
    must_be_free(options, &place)?;
    place.clear().map_err(failed(&place.home))?;
    make_directory(&place.mount, OWNER_ONLY, options.owner)?;
    let disk = RealDisk::open(&place.home).map_err(failed(&place.home))?;
    make_names(options, &place, &stack)?;
    fetch_small(options, &place, &stack).await?;
    let data = place.data();
    prepare(&data, options)?;
    let marker = MarkerWriter::open(&data, &Marker::new(&options.point, false)).map_err(failed(&data))?;
    own(&data.join(MARKER_FILE), options.owner)?;
    marker.finished().map_err(failed(&data))?;
    let files: Vec<_> = relation_files(&stack).into_iter().map(|file| file.base).collect();
    // All names and lengths, durable before anything says that the view is there.
    let overlay = Overlay::create(disk, Nothing, &files).map_err(failed(&place.home))?;
    overlay.sync_all().map_err(failed(&place.home))?;
    drop(overlay);
    let about = About { service: options.point.service.clone(), point: options.point.id.clone() };
    place.write_about(&about)
}

/// Behind an overlay that is only made, nothing is asked for.
struct Nothing;

impl Base for Nothing {
    fn fetch(&self, _: u32, _: u32) -> std::io::Result<Fetched> {
        Err(ErrorKind::Unsupported.into())
    }
}

fn make_names(options: &RestoreOptions, place: &Place, stack: &Stack) -> Result<(), RestoreError> {
    let (data, owner) = (place.data(), options.owner);
    make_directory(&data, OWNER_ONLY, owner)?;
    for tablespace in &options.point.tablespaces {
        for missing in ["pg_tblspc", TABLESPACES_DIRECTORY] {
            make_directory(&data.join(missing), OWNER_ONLY, owner)?;
        }
        let oid = tablespace.oid.to_string();
        make_directory(&data.join(TABLESPACES_DIRECTORY).join(&oid), OWNER_ONLY, owner)?;
        // As the server will see it, now and when the view is done with.
        let link = data.join("pg_tblspc").join(&oid);
        symlink(place.mount.join(TABLESPACES_DIRECTORY).join(&oid), &link).map_err(failed(&link))?;
    }
    let files = &stack.index().files;
    let is_link = |path: &str| path.starts_with("pg_tblspc/") && path == within(path);
    for file in files.iter().filter(|file| file.kind == FileKind::Directory && !is_link(&file.path)) {
        make_directory(&data.join(within(&file.path)), file.mode, owner)?;
    }
    for missing in ["pg_wal", "pg_wal/archive_status"] {
        make_directory(&data.join(missing), OWNER_ONLY, owner)?;
    }
    for file in files.iter().filter(|file| file.kind == FileKind::File && file.path != MARKER_FILE) {
        let path = place.home.join(place_of(&within(&file.path)));
        let opened = open_file(&path, file.mode, owner)?;
        opened.set_len(file.length).map_err(failed(&path))?;
    }
    Ok(())
}

/// Fetches all files that are no relation's.
async fn fetch_small(options: &RestoreOptions, place: &Place, stack: &Stack) -> Result<(), RestoreError> {
    let files = stack.index().files.iter();
    let small =
        files.filter(|file| file.kind == FileKind::File && is_eager(file) && file.path != MARKER_FILE);
    let frames =
        small.flat_map(|file| (0..file.length).step_by(FRAME_BYTES).map(|at| (file.path.clone(), at)));
    let frames: Vec<(String, u64)> = frames.collect();
    let fetch = |(path, at): (String, u64)| async move {
        if options.progress.cancelled.load(Ordering::Relaxed) {
            return Err(RestoreError::Cancelled);
        }
        let raw = stack.frame(&path, at).await.map_err(RestoreError::Layer)?.unwrap_or_default();
        let to = place.home.join(place_of(&within(&path)));
        let opened = std::fs::OpenOptions::new().write(true).open(&to).map_err(failed(&to))?;
        opened.write_all_at(&raw, at).map_err(failed(&to))?;
        options.progress.done_bytes.fetch_add(raw.len() as u64, Ordering::Relaxed);
        Ok(())
    };
    let control = place.control();
    let mut under_way = stream::iter(frames.into_iter().map(fetch)).buffer_unordered(AT_A_TIME);
    while under_way.try_next().await?.is_some() {}
    if !control.exists() {
        return Err(RestoreError::Unsupported(format!("the layer holds no {PG_CONTROL_PATH}")));
    }
    Ok(())
}
