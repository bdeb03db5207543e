//! Shows a view, tells how far it is, and ends it one way or the other.

use super::disk::RealDisk;
use super::fs::ViewFs;
use super::hydrate::hydrate;
use super::overlay::{BaseFile, Keep, Overlay, Written, lock};
use super::pages::{Happened, Listener, VaultPages};
use super::place::{About, Place};
use crate::restore::{RestoreError, has_entries, room, running_server};
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use lifeboat_base::error_chain;
use lifeboat_pgformat::{PAGE_SIZE_BYTES, PG_CONTROL_PATH};
use lifeboat_vault::Vault;
use lifeboat_vault::layer::{LayerError, Stack};
use lifeboat_vault::point::{self, PointError};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Threads that answer the kernel; what waits is done beside.
const THREADS: usize = 4;
/// Where the kernel takes file systems from.
const DEVICE: &str = "/dev/fuse";
/// How long somebody who still has a file open there is waited for, and how often it is looked.
const BUSY_LIMIT: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// What the kernel calls the device of a view.
const NAME: &str = "lifeboat";
/// What mounts for those who are not root.
const HELPER: &str = "fusermount3";

/// Why a view is not there, or not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// There is none.
    #[error("{} is no view: nothing is behind it in {}", .0.mount.display(), .0.home.display())]
    None(Place),
    /// It is shown already.
    #[error("the view at {} is shown already, by another process", .0.display())]
    Shown(PathBuf),
    /// What is mounted there is not ours.
    #[error("{} is mounted at {}, and is no view: unmount it, or mount it elsewhere", device, path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// What.
        device: String,
    },
    /// Something is there that the view would hide, or that the data directory cannot take the place of.
    #[error("{} is not an empty directory, as a view needs it: what is in it is none of the view's", .0.display())]
    Taken(PathBuf),
    /// Somebody's, among what stands behind the view.
    #[error("{} is none of the view's: move it elsewhere first", .0.display())]
    NotOurs(PathBuf),
    /// It is still in use.
    #[error("{} could not be unmounted", path.display())]
    Unmount {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The server still runs.
    #[error("a PostgreSQL server runs in {} (process {pid}): stop it first", path.display())]
    Running {
        /// Where.
        path: PathBuf,
        /// Which.
        pid: i32,
    },
    /// Not all of it is here.
    #[error("{} is not whole yet: {lacking} pages are still only in the vault", path.display())]
    NotWhole {
        /// Where.
        path: PathBuf,
        /// How many.
        lacking: u64,
    },
    /// The kernel does not let us.
    #[error("the view could not be mounted at {}", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of it.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The restore point.
    #[error("the view's restore point cannot be read")]
    Point(#[source] PointError),
    /// Its layers.
    #[error("the view's restore point cannot be read")]
    Layer(#[source] LayerError),
    /// What nobody asked for yet could not be fetched.
    #[error("what is not here yet could not all be fetched")]
    Hydrate(#[source] std::io::Error),
    /// It would not fit.
    #[error("there is no room for what is not here yet")]
    NoRoom(#[source] RestoreError),
    /// That all of it is here could not be noted.
    #[error("all of it is here, which could not be noted")]
    Note(#[source] RestoreError),
    /// Somebody stopped it.
    #[error("fetching was stopped")]
    Stopped,
}

fn file_error(path: &Path) -> impl Fn(std::io::Error) -> ViewError + '_ {
    |source| ViewError::File { path: path.to_owned(), source }
}

/// How far a view is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What it is a view of.
    #[serde(flatten)]
    pub about: About,
    /// Pages that are needed of the restore point.
    pub pages: u64,
    /// Those of them that are here.
    pub pages_here: u64,
    /// Frames that were fetched because somebody waited for them.
    pub frames_fetched: u64,
    /// Whether all is here and durable: the vault is not needed any more.
    pub is_whole: bool,
    /// Whether what is not here is being fetched now.
    pub is_hydrating: bool,
    /// What came of fetching it the last time, if not all of it came.
    pub failure: Option<String>,
    /// Whether the vault keeps the restore point for it.
    pub is_pinned: bool,
}

/// A view that is shown. Dropping it leaves the view behind as a kill would: to be shown again.
pub struct View {
    place: Place,
    about: About,
    overlay: Arc<Overlay<RealDisk, Arc<VaultPages>>>,
    pages: Arc<VaultPages>,
    session: BackgroundSession,
    is_hydrating: AtomicBool,
    is_pinned: AtomicBool,
    failure: Mutex<Option<String>>,
    tell: Listener,
    /// Set to stop fetching.
    stopped: Arc<AtomicBool>,
    /// The directory that it is mounted on.
    below: File,
    lock: File,
}

/// Whether this machine can show views; if not, why.
///
/// # Errors
/// What is missing, for people.
pub fn is_possible() -> Result<(), String> {
    let opened = File::options().read(true).write(true).open(DEVICE);
    if let Err(error) = opened {
        return Err(format!("{DEVICE} cannot be used ({error})"));
    }
    let is_root = rustix::process::geteuid().is_root();
    let is_there = |directory: PathBuf| directory.join(HELPER).exists();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !is_root && !std::env::split_paths(&path).any(is_there) {
        return Err(format!(
            "{HELPER} is not installed, by which those who are not root mount (package fuse3)"
        ));
    }
    Ok(())
}

impl View {
    /// Shows the view at `mount`: for the first time, or again after its process or its machine was stopped.
    ///
    /// # Errors
    /// [`ViewError`].
    pub async fn show(vault: &Vault, mount: &Path, keep: Keep, tell: Listener) -> Result<Self, ViewError> {
        let place = Place::of(mount);
        let mount = &*place.mount;
        let lock = hold(&place)?;
        let about = place.about().map_err(file_error(&place.home))?;
        let about = about.filter(|_| !place.is_whole());
        let (lock, about) = lock.zip(about).ok_or_else(|| ViewError::None(place.clone()))?;
        let point = point::read(vault, &about.service, &about.point).await.map_err(ViewError::Point)?;
        let stack = Stack::open(vault, &about.service, &point.layers).await.map_err(ViewError::Layer)?;
        let pages = Arc::new(VaultPages::new(vault, stack, keep, tell.clone()));
        let files: Vec<BaseFile> = pages.files.iter().map(|file| file.base.clone()).collect();
        let disk = RealDisk::open(&place.home).map_err(file_error(&place.home))?;
        let overlay = Overlay::open(disk, pages.clone(), &files, keep);
        let overlay = Arc::new(overlay.map_err(file_error(&place.home))?);
        open_many();
        unmount_dead(mount)?;
        must_be_empty(mount)?;
        let below = File::open(mount).map_err(file_error(mount))?;
        let runtime = tokio::runtime::Handle::current();
        let fs = ViewFs::new(overlay.clone(), place.home.clone(), runtime);
        let kernel = fs.kernel();
        let mut config = Config::default();
        let name = MountOption::FSName(NAME.to_owned());
        config.mount_options = vec![name, MountOption::DefaultPermissions, MountOption::NoAtime];
        let is_root = rustix::process::geteuid().is_root();
        // The server has an account of its own.
        config.acl = if is_root { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        let failed = |source| ViewError::Mount { path: mount.to_owned(), source };
        let session = Session::new(fs, mount, &config).and_then(Session::spawn).map_err(failed)?;
        // Until it is told, nothing that it keeps was lost.
        let _ = kernel.set(session.notifier());
        let (is_hydrating, is_pinned, failure, stopped) = Default::default();
        Ok(Self {
            place,
            about,
            overlay,
            pages,
            session,
            is_hydrating,
            is_pinned,
            failure,
            tell,
            stopped,
            below,
            lock,
        })
    }

    /// The restore point behind it.
    pub(crate) fn stack(&self) -> &Stack {
        &self.pages.stack
    }

    /// What was written to the restore point's relation files, by their paths in its layers. Files that are gone, or
    /// were made anew, are not among them.
    pub(crate) fn written(&self) -> HashMap<String, Written> {
        let files = (0..).zip(&self.pages.files);
        files.filter_map(|(n, file)| Some((file.layer_path.clone(), self.overlay.written(n)?))).collect()
    }

    /// Its places.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> Status {
        let filled = self.overlay.filled();
        Status {
            about: self.about.clone(),
            pages: filled.needed,
            pages_here: filled.here,
            frames_fetched: self.pages.fetched.load(Ordering::Relaxed),
            is_whole: self.overlay.is_all_settled(),
            is_hydrating: self.is_hydrating.load(Ordering::Relaxed),
            failure: lock(&self.failure).clone(),
            is_pinned: self.is_pinned.load(Ordering::Relaxed),
        }
    }

    /// Notes for the status whether the vault keeps the restore point for it.
    pub fn note_pinned(&self, is_pinned: bool) {
        self.is_pinned.store(is_pinned, Ordering::Relaxed);
    }

    /// Fetches all that is not here yet, and makes it durable.
    ///
    /// # Errors
    /// [`ViewError::Hydrate`]: the rest is here nevertheless. [`ViewError::Stopped`].
    pub async fn hydrate(&self) -> Result<(), ViewError> {
        if self.begin_hydrating() { self.hydrate_begun().await } else { Ok(()) }
    }

    /// Whether it is for the caller to do, by [`View::hydrate_begun`]: nobody is at it yet. From here on the status
    /// says that it is done.
    pub(super) fn begin_hydrating(&self) -> bool {
        let is_first = !self.is_hydrating.swap(true, Ordering::AcqRel);
        if is_first {
            *lock(&self.failure) = None;
        }
        is_first
    }

    pub(super) async fn hydrate_begun(&self) -> Result<(), ViewError> {
        let outcome = self.fetch_all().await;
        let failure = outcome.as_ref().err().map(|error| error_chain(error));
        (self.tell)(failure.clone().map_or(Happened::Hydrated, Happened::NotHydrated));
        *lock(&self.failure) = failure;
        self.is_hydrating.store(false, Ordering::Release);
        outcome
    }

    async fn fetch_all(&self) -> Result<(), ViewError> {
        let filled = self.overlay.filled();
        let lacking = (filled.needed - filled.here).saturating_mul(PAGE_SIZE_BYTES as u64);
        if lacking > 0 {
            room::must_have(&self.place.home, lacking).map_err(ViewError::NoRoom)?;
        }
        let hydrated = hydrate(&self.overlay, &self.pages, &self.stopped).await;
        if self.stopped.load(Ordering::Acquire) {
            return Err(ViewError::Stopped);
        }
        hydrated.map_err(ViewError::Hydrate)?;
        if self.overlay.is_all_settled() && !self.place.is_filled() {
            // What was removed before its pages were here must not be back after a power cut.
            let place = self.place.clone();
            let noted = move || {
                sync_all(&place.home)?;
                place.write_filled().map_err(ViewError::Note)
            };
            let noted = tokio::task::spawn_blocking(noted).await;
            noted.unwrap_or_else(|error| Err(ViewError::Hydrate(std::io::Error::other(error))))?;
        }
        Ok(())
    }

    /// Stops [`View::hydrate`], soon.
    pub fn stop_hydrating(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether somebody unmounted it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.session.guard.is_finished()
    }

    /// Shows it no more; it can be shown again.
    ///
    /// # Errors
    /// [`ViewError::Running`], [`ViewError::Unmount`]: it is shown as before.
    pub fn hide(&self) -> Result<(), ViewError> {
        must_not_run(&self.place.mount)?;
        unmount(&self.place.mount, false)
    }

    /// Shows it no more, whoever still uses it, and removes it: what is only in it is lost.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn throw_away(self) -> Result<(), ViewError> {
        self.stop_hydrating();
        unmount(&self.place.mount, true)?;
        let Self { place, lock, session, .. } = self;
        drop(session);
        discard_held(&place, Some(&lock))
    }

    /// Makes it a plain data directory: all of it must be here, and no server run.
    ///
    /// # Errors
    /// [`ViewError`]. Before it was unmounted, it is shown as before; afterwards [`put_in_place`] goes on.
    pub fn finish(&self) -> Result<(), ViewError> {
        must_not_run(&self.place.mount)?;
        if !self.overlay.is_all_settled() {
            let filled = self.overlay.filled();
            let lacking = filled.needed - filled.here;
            return Err(ViewError::NotWhole { path: self.place.mount.clone(), lacking });
        }
        // Whatever came to be there below it: before anybody is cut off.
        must_be_empty(&PathBuf::from(format!("/proc/self/fd/{}", self.below.as_raw_fd())))
            .map_err(|_| ViewError::Taken(self.place.mount.clone()))?;
        self.overlay.sync_all().map_err(file_error(&self.place.home))?;
        unmount(&self.place.mount, false)?;
        end(&self.place, &self.lock)
    }
}

/// Makes a view that nobody shows a plain data directory, without its vault: all of it was durably here.
///
/// # Errors
/// [`ViewError`].
pub fn finish_hidden(place: &Place) -> Result<(), ViewError> {
    let lock = hold(place)?.ok_or_else(|| ViewError::None(place.clone()))?;
    if !place.is_filled() {
        return Err(ViewError::None(place.clone()));
    }
    must_not_run(&place.mount)?;
    unmount_dead(&place.mount)?;
    must_be_empty(&place.mount)?;
    // What was written before it was killed may be in the cache alone.
    sync_all(&place.home)?;
    end(place, &lock)
}

/// All is durable: from here on it is a data directory (O5), under another name.
fn end(place: &Place, lock: &File) -> Result<(), ViewError> {
    let whole = place.data().join(PG_CONTROL_PATH);
    std::fs::rename(place.control(), &whole).map_err(file_error(&whole))?;
    give_name(place, Some(lock))
}

/// Gives a whole data directory its name: the end of [`View::finish`], to be called again if that was cut off.
///
/// # Errors
/// [`ViewError`].
pub fn put_in_place(place: &Place) -> Result<(), ViewError> {
    let lock = hold(place)?;
    give_name(place, lock.as_ref())
}

/// Whoever calls it holds the view, if there is one.
fn give_name(place: &Place, _lock: Option<&File>) -> Result<(), ViewError> {
    let (data, mount) = (place.data(), &place.mount);
    // What cannot be looked at is there.
    if data.try_exists().map_err(file_error(&data))? {
        if !place.is_whole() {
            return Err(ViewError::NotWhole { path: mount.clone(), lacking: 0 });
        }
        must_be_empty(mount)?;
        // Before its new name, its control file: whoever was cut off may not have come to that.
        sync_all(&data)?;
        // Over the directory that it was mounted on, which is empty: or this is refused.
        std::fs::rename(&data, mount).map_err(file_error(mount))?;
        if let Some(parent) = mount.parent() {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(file_error(parent))?;
        }
    }
    // Nothing is removed for the sake of something that is not there.
    let control = mount.join(PG_CONTROL_PATH);
    std::fs::metadata(&control).map_err(file_error(&control))?;
    place.remove().map_err(file_error(&place.home))
}

/// Removes all of a view: what is only in it is lost.
///
/// # Errors
/// [`ViewError::Shown`] and [`ViewError::NotOurs`], with nothing removed; those of the file system.
pub fn discard(place: &Place) -> Result<(), ViewError> {
    let lock = hold(place)?;
    discard_held(place, lock.as_ref())
}

/// Whoever calls it holds the view, if there is one.
fn discard_held(place: &Place, _lock: Option<&File>) -> Result<(), ViewError> {
    place.must_be_ours()?;
    unmount_dead(&place.mount)?;
    place.remove().map_err(file_error(&place.home))?;
    match std::fs::remove_dir(&place.mount) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file_error(&place.mount)(error)),
        _ => Ok(()),
    }
}

impl Place {
    /// Nothing of somebody's goes with a view.
    ///
    /// # Errors
    /// [`ViewError::NotOurs`].
    pub fn must_be_ours(&self) -> Result<(), ViewError> {
        self.foreign().map_or(Ok(()), |foreign| Err(ViewError::NotOurs(foreign)))
    }
}

/// Takes the view for this process, if there is one.
fn hold(place: &Place) -> Result<Option<File>, ViewError> {
    match place.lock() {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ViewError::Shown(place.mount.clone())),
        Err(error) => Err(file_error(&place.home)(error)),
    }
}

fn must_be_empty(directory: &Path) -> Result<(), ViewError> {
    match directory.is_symlink() && !directory.starts_with("/proc/self/fd") || has_entries(directory) {
        true => Err(ViewError::Taken(directory.to_owned())),
        false => Ok(()),
    }
}

/// Every file that a backend of the server opens is open here too.
fn open_many() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused, it is told when one is missed.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn must_not_run(directory: &Path) -> Result<(), ViewError> {
    // The number may be another process's by now, after a reboot say.
    let is_postgres = |pid: &i32| {
        let name = std::fs::read(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.starts_with(b"postgres") || name.starts_with(b"postmaster"))
    };
    match running_server(directory).filter(is_postgres) {
        Some(pid) => Err(ViewError::Running { path: directory.to_owned(), pid }),
        None => Ok(()),
    }
}

fn sync_all(directory: &Path) -> Result<(), ViewError> {
    let opened = File::open(directory).map_err(file_error(directory))?;
    rustix::fs::syncfs(opened).map_err(|error| file_error(directory)(error.into()))
}

/// A view whose process was killed leaves a mount behind that answers nobody.
fn unmount_dead(path: &Path) -> Result<(), ViewError> {
    match mounts().filter(|(place, _)| place == path).last() {
        None => Ok(()),
        Some((_, device)) if device == NAME => unmount(path, true),
        Some((_, device)) => Err(ViewError::Foreign { path: path.to_owned(), device }),
    }
}

/// Whether something is mounted there that is no view.
pub(super) fn is_others_mount(path: &Path) -> bool {
    mounts().any(|(place, device)| place == path && device != NAME)
}

/// Where views are mounted, alive or not.
#[must_use]
pub fn mounted() -> Vec<PathBuf> {
    mounts().filter(|(_, device)| device == NAME).map(|(place, _)| place).collect()
}

/// Place and device of all that is mounted.
fn mounts() -> impl Iterator<Item = (PathBuf, String)> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let found = text.lines().filter_map(|line| {
        // The fifth field is the place; the device is the second one after a lone dash.
        let place = unescaped(line.split(' ').nth(4)?);
        let device = line.split(" - ").nth(1)?.split(' ').nth(1)?;
        Some((PathBuf::from(place), device.to_owned()))
    });
    found.collect::<Vec<_>>().into_iter()
}

/// Blanks and the like are written as octal numbers.
fn unescaped(field: &str) -> String {
    let mut text = field.to_owned();
    for (written, meant) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(written, meant);
    }
    text
}

/// Unmounts; `is_dead`: even if somebody still has files open there. Otherwise whoever is just leaving is waited for.
fn unmount(path: &Path, is_dead: bool) -> Result<(), ViewError> {
    let mut left = BUSY_LIMIT;
    loop {
        match unmount_now(path, is_dead) {
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) && !left.is_zero() => {
                std::thread::sleep(BUSY_PAUSE);
                left = left.saturating_sub(BUSY_PAUSE);
            }
            outcome => return outcome.map_err(|source| ViewError::Unmount { path: path.to_owned(), source }),
        }
    }
}

fn unmount_now(path: &Path, is_dead: bool) -> std::io::Result<()> {
    let flags = if is_dead { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(path, flags) {
        Err(Errno::PERM) => {
            let output = Command::new(HELPER)
                .args(if is_dead { ["-uz", "--"] } else { ["-u", "--"] })
                .arg(path)
                .output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            match output.status.success() {
                true => Ok(()),
                false if said.contains("busy") => Err(Errno::BUSY.into()),
                false => Err(std::io::Error::other(said.trim().to_owned())),
            }
        }
        unmounted => Ok(unmounted?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_mounts_are_read_as_they_are_written() {
        assert_eq!(unescaped("/a\\040b\\134c"), "/a b\\c");
        let proc = Path::new("/proc");
        assert!(mounts().any(|(place, _)| place == proc));
        assert!(matches!(unmount_dead(proc), Err(ViewError::Foreign { .. })), "it was somebody else's");
        unmount_dead(&proc.join("self")).unwrap();
    }
}
