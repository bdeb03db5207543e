//! The data directory as the server sees it: FUSE before the overlay.
//!
//! What needs the restore point or waits for the disk is done beside, so that whatever is here already is answered
//! though the vault is away (F1). Everything is written through: there is nothing in the kernel that a `syncfs`,
//! which FUSE is not told of, would have to write.
//!
//! # Invariants
//! - **F1 what is here is answered.** No request that needs no fetch waits behind one that does.
//! - **F2 a start finds all durable.** Before a `postmaster.pid` is made or says more than how far its server is,
//!   everything written is on the disk: processes that crashed may not have synced what the recovery of their
//!   successors takes for granted. One that crashed and is started anew by the postmaster of before is told apart by
//!   nothing else: it has new shared memory, or none, and that is written there.
//!
//! Deliberately absent: extended attributes, device files, hard links, and any locking of its own.

use super::attributes::{Change, attributes_of, timestamp};
use super::disk::RealDisk;
use super::nodes::Nodes;
use super::overlay::{Base, Handle, Overlay, lock, place_of};
use crate::restore::PID_FILE;
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, Notifier, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use lifeboat_pgformat::{PAGE_SIZE_BYTES, PG_CONTROL_PATH};
use rustix::fs::{AtFlags, CWD, FileType as Kind, Mode, Timestamps};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::Result;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;

/// Shown as a link to where it really is: WAL never passes through here.
pub(super) const WAL_DIRECTORY: &str = "pg_wal";
/// How long the kernel may believe what it was told: nothing changes but through it.
const BELIEVED: Duration = Duration::from_secs(3600);
/// Requests that the kernel may have under way in the background, as all reads through its cache are: beyond it, a
/// read of what is here would wait behind those of what is not (F1). They cost little.
const BACKGROUND: u16 = 8192;
/// Fetches under way at a time, each with a thread, and in a directory vault another: fewer than there are, for what
/// waits for the disk alone (F1), and as few as fill a distant vault's pipe, for each thread keeps memory.
const FETCHES: usize = 48;
/// What the kernel read it keeps, for nothing changes but through it; and closing writes nothing.
const OPENED: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE.union(FopenFlags::FOPEN_NOFLUSH);
/// Read ahead by the kernel: a frame.
const READ_AHEAD_BYTES: u32 = 128 << 10;
/// Lines of `postmaster.pid` before the one that says how far the server is. Source: `miscadmin.h`.
const PID_STATE_LINE: usize = 7;

type Open = Arc<Handle<File>>;
/// Inode, kind and name.
type Entries = Vec<(u64, FileType, String)>;

/// A view's file system.
pub(super) struct ViewFs<B> {
    shared: Arc<Shared<B>>,
    runtime: tokio::runtime::Handle,
    fetches: Arc<Semaphore>,
}

struct Shared<B> {
    overlay: Arc<Overlay<RealDisk, B>>,
    /// The overlay's directory.
    home: PathBuf,
    nodes: Mutex<Nodes>,
    /// Handle → what is open, and the number of its file.
    files: RwLock<HashMap<u64, (u64, Open)>>,
    directories: Mutex<HashMap<u64, Arc<Entries>>>,
    next_handle: AtomicU64,
    kernel: Arc<OnceLock<Notifier>>,
}

impl<B: Base> ViewFs<B> {
    pub(super) fn new(
        overlay: Arc<Overlay<RealDisk, B>>,
        home: PathBuf,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let (nodes, files, directories, kernel) = Default::default();
        let next_handle = AtomicU64::new(1);
        let shared = Arc::new(Shared { overlay, home, nodes, files, directories, next_handle, kernel });
        Self { shared, runtime, fetches: Arc::new(Semaphore::new(FETCHES)) }
    }

    /// Where the kernel is to be told something, once it listens.
    pub(super) fn kernel(&self) -> Arc<OnceLock<Notifier>> {
        self.shared.kernel.clone()
    }

    /// Does something that may wait for the restore point, beside (F1).
    fn fetching(&self, work: impl FnOnce(&Shared<B>) + Send + 'static) {
        let (shared, places, runtime) = (self.shared.clone(), self.fetches.clone(), self.runtime.clone());
        self.runtime.spawn(async move {
            // It is never closed.
            let _place = places.acquire_owned().await;
            // Whoever asked is answered by the work itself.
            let _ = runtime.spawn_blocking(move || work(&shared)).await;
        });
    }

    /// Does something that waits for the disk, beside (F1).
    fn beside(&self, work: impl FnOnce(&Shared<B>) + Send + 'static) {
        let shared = self.shared.clone();
        self.runtime.spawn_blocking(move || work(&shared));
    }
}

impl<B: Base> Shared<B> {
    fn path(&self, number: INodeNo) -> Result<Arc<str>> {
        lock(&self.nodes).path(number.0).ok_or_else(|| rustix::io::Errno::STALE.into())
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<String> {
        let parent = self.path(parent)?;
        let name = name.to_str().ok_or(rustix::io::Errno::ILSEQ)?;
        Ok(if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") })
    }

    /// Where a path really is.
    fn place(&self, path: &str) -> PathBuf {
        self.home.join(place_of(path))
    }

    fn attributes(&self, number: u64, path: &str) -> Result<FileAttr> {
        let metadata = std::fs::symlink_metadata(self.place(path))?;
        if path == WAL_DIRECTORY {
            let target = self.place(path);
            let length = target.as_os_str().len() as u64;
            return Ok(FileAttr {
                kind: FileType::Symlink,
                size: length,
                perm: 0o777,
                nlink: 1,
                ..attributes_of(number, &metadata)
            });
        }
        Ok(attributes_of(number, &metadata))
    }

    /// Tells the kernel of a path.
    fn tell(&self, path: &str) -> Result<FileAttr> {
        // What is not there gets no number.
        let attributes = self.attributes(0, path)?;
        Ok(FileAttr { ino: INodeNo(lock(&self.nodes).tell(path)), ..attributes })
    }

    /// What the kernel keeps of these files may be what a failed sync has lost (O1). Not within an answer that the
    /// kernel waits for: it may hold what this needs.
    fn forget(&self, numbers: impl IntoIterator<Item = u64>) {
        let Some(kernel) = self.kernel.get() else { return };
        for number in numbers {
            // It may have forgotten it by itself.
            let _ = kernel.inval_inode(INodeNo(number), 0, 0);
        }
    }

    fn file(&self, handle: FileHandle) -> Result<Open> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let found = files.get(&handle.0).map(|(_, opened)| opened.clone());
        found.ok_or_else(|| rustix::io::Errno::BADF.into())
    }

    fn keep(&self, number: INodeNo, opened: Handle<File>) -> FileHandle {
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.insert(handle, (number.0, Arc::new(opened)));
        FileHandle(handle)
    }

    /// A file by its handle, or, if it was removed and the kernel names none, by anybody's.
    fn opened(&self, number: INodeNo, handle: Option<FileHandle>) -> Option<Open> {
        if let Some(opened) = handle.and_then(|handle| self.file(handle).ok()) {
            return Some(opened);
        }
        if self.path(number).is_ok() {
            return None;
        }
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.values().find(|(of, _)| *of == number.0).map(|(_, opened)| opened.clone())
    }

    /// What was made belongs to whoever asked for it, and the kernel is told of it.
    fn give(&self, request: (u32, u32), path: &str) -> Result<FileAttr> {
        lchown(self.place(path), Some(request.0), Some(request.1))?;
        self.tell(path)
    }

    fn create(&self, request: (u32, u32), path: &str, mode: u32) -> Result<(FileAttr, FileHandle)> {
        if path == PID_FILE {
            // F2.
            self.overlay.sync_all()?;
        }
        let handle = self.overlay.create_file(path, mode)?;
        // Our own umask is not the one that counts.
        handle.file.set_permissions(Permissions::from_mode(mode))?;
        let attributes = self.give(request, path)?;
        Ok((attributes, self.keep(attributes.ino, handle)))
    }

    fn is_pid_file(&self, number: INodeNo) -> bool {
        lock(&self.nodes).path(number.0).is_some_and(|path| &*path == PID_FILE)
    }

    fn change(&self, number: INodeNo, handle: Option<FileHandle>, change: &Change) -> Result<FileAttr> {
        let opened = self.opened(number, handle);
        if let Some(length) = change.length {
            match &opened {
                Some(opened) => self.overlay.set_len(opened, length)?,
                None => self.overlay.set_len(&self.overlay.open_file(&self.path(number)?)?, length)?,
            }
        }
        let path = match (self.path(number), &opened) {
            (Ok(path), _) => path,
            // Removed, and still open.
            (Err(_), Some(opened)) => return Ok(attributes_of(number.0, &opened.file.metadata()?)),
            (Err(error), None) => return Err(error),
        };
        let place = self.place(&path);
        if let Some(mode) = change.mode {
            std::fs::set_permissions(&place, Permissions::from_mode(mode & 0o7777))?;
        }
        if change.user.is_some() || change.group.is_some() {
            lchown(&place, change.user, change.group)?;
        }
        if let Some(times) = &change.times {
            rustix::fs::utimensat(CWD, &place, times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        self.attributes(number.0, &path)
    }

    fn rename(&self, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
        let (place_from, place_to) = (self.place(from), self.place(to));
        let is_directory = std::fs::symlink_metadata(&place_from)?.is_dir();
        // PostgreSQL renames none that has a relation in it; `mv` copies them then.
        if [from, to].iter().any(|path| self.overlay.has_tracked_below(path)) {
            return Err(rustix::io::Errno::XDEV.into());
        }
        let mut nodes = lock(&self.nodes);
        if flags.is_empty() {
            drop(nodes);
            self.overlay.rename(from, to)?;
            lock(&self.nodes).renamed(from, to, is_directory);
            return Ok(());
        }
        // No relation file of the restore point's is ever exchanged or moved so.
        if self.overlay.is_tracked(from) || self.overlay.is_tracked(to) {
            return Err(rustix::io::Errno::INVAL.into());
        }
        let raw = rustix::fs::RenameFlags::from_bits(flags.bits()).ok_or(rustix::io::Errno::INVAL)?;
        rustix::fs::renameat_with(CWD, &place_from, CWD, &place_to, raw)?;
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            nodes.exchanged(from, to);
        } else {
            nodes.renamed(from, to, is_directory);
        }
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Entries> {
        let mut entries =
            vec![(1, FileType::Directory, ".".to_owned()), (1, FileType::Directory, "..".to_owned())];
        for entry in std::fs::read_dir(self.place(path))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = FileType::from_std(entry.file_type()?).unwrap_or(FileType::RegularFile);
            let is_wal = path.is_empty() && name == WAL_DIRECTORY;
            entries.push((entry.metadata()?.ino(), if is_wal { FileType::Symlink } else { kind }, name));
        }
        let (directory, control) = PG_CONTROL_PATH.split_once('/').unwrap_or_default();
        if path == directory && entries.iter().all(|(_, _, name)| name != control) {
            let found = std::fs::metadata(self.place(PG_CONTROL_PATH))?;
            entries.push((found.ino(), FileType::RegularFile, control.to_owned()));
        }
        Ok(entries)
    }
}

/// Whether writing this to a `postmaster.pid` changes nothing there but how far its server is, the last line.
fn says_how_far(file: &File, data: &[u8], at: u64) -> bool {
    let before = file.metadata().and_then(|found| {
        let mut before = vec![0; found.len() as usize];
        file.read_exact_at(&mut before, 0).map(|()| before)
    });
    let lines = |text: &[u8]| text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (Ok(before), now) = (before.map(|before| lines(&before)), lines(data)) else { return false };
    let is_longer = now.len() > PID_STATE_LINE && before.len() >= PID_STATE_LINE;
    at == 0 && is_longer && before[..PID_STATE_LINE] == now[..PID_STATE_LINE] && before != now
}

/// Answers with what was asked for, or with the error.
macro_rules! answer {
    ($reply:expr, $outcome:expr, $value:pat => $done:expr) => {
        match $outcome {
            Ok($value) => $done,
            Err(error) => $reply.error(Errno::from(error)),
        }
    };
}

/// The file that was found or made.
fn entry(reply: ReplyEntry, outcome: Result<FileAttr>) {
    answer!(reply, outcome, attributes => reply.entry(&BELIEVED, &attributes, Generation(0)));
}

fn whose(request: &Request) -> (u32, u32) {
    (request.uid(), request.gid())
}

impl<B: Base> Filesystem for ViewFs<B> {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> Result<()> {
        // Refused, the kernel does as it would have.
        let _ = config.set_max_readahead(READ_AHEAD_BYTES);
        let _ = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.shared.child(parent, name).and_then(|path| self.shared.tell(&path));
        entry(reply, found);
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        lock(&self.shared.nodes).forget(number.0, lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let found = match self.shared.opened(number, handle) {
            Some(opened) => opened.file.metadata().map(|found| attributes_of(number.0, &found)),
            None => self.shared.path(number).and_then(|path| self.shared.attributes(number.0, &path)),
        };
        answer!(reply, found, attributes => reply.attr(&BELIEVED, &attributes));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        user: Option<u32>,
        group: Option<u32>,
        length: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let has_times = accessed.is_some() || modified.is_some();
        let times = Timestamps { last_access: timestamp(accessed), last_modification: timestamp(modified) };
        let change = Change { mode, user, group, length, times: has_times.then_some(times) };
        let answered = move |shared: &Shared<B>| {
            let changed = shared.change(number, handle, &change);
            answer!(reply, changed, attributes => reply.attr(&BELIEVED, &attributes));
        };
        // A cut waits for the disk, and within a page for the page.
        match length {
            Some(length) if length.is_multiple_of(PAGE_SIZE_BYTES as u64) => self.beside(answered),
            Some(_) => self.fetching(answered),
            None => answered(&self.shared),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let target = self.shared.path(number).and_then(|path| match &*path {
            WAL_DIRECTORY => Ok(self.shared.place(&path)),
            _ => std::fs::read_link(self.shared.place(&path)),
        });
        answer!(reply, target, target => reply.data(target.as_os_str().as_encoded_bytes()));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let made = self.shared.child(parent, name).and_then(|path| {
            let mode_bits = Mode::from_raw_mode(mode & !umask & 0o7777);
            let kind = Kind::from_raw_mode(mode);
            if ![Kind::Socket, Kind::Fifo].contains(&kind) {
                return Err(rustix::io::Errno::PERM.into());
            }
            rustix::fs::mknodat(CWD, self.shared.place(&path), kind, mode_bits, 0)?;
            self.shared.give(whose(request), &path)
        });
        entry(reply, made);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.shared.child(parent, name).and_then(|path| {
            let place = self.shared.place(&path);
            std::fs::create_dir(&place)?;
            std::fs::set_permissions(&place, Permissions::from_mode(mode & !umask & 0o7777))?;
            self.shared.give(whose(request), &path)
        });
        entry(reply, made);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.shared.child(parent, name).and_then(|path| {
            self.shared.overlay.unlink(&path)?;
            lock(&self.shared.nodes).removed(&path);
            Ok(())
        });
        answer!(reply, removed, () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.shared.child(parent, name).and_then(|path| {
            std::fs::remove_dir(self.shared.place(&path))?;
            lock(&self.shared.nodes).removed(&path);
            Ok(())
        });
        answer!(reply, removed, () => reply.ok());
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let made = self.shared.child(parent, name).and_then(|path| {
            symlink(target, self.shared.place(&path))?;
            self.shared.give(whose(request), &path)
        });
        entry(reply, made);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let paths = self
            .shared
            .child(parent, name)
            .and_then(|from| Ok((from, self.shared.child(new_parent, new_name)?)));
        match paths {
            Ok((from, to)) => {
                let may_fetch = self.shared.overlay.is_tracked(&from) || self.shared.overlay.is_tracked(&to);
                let answered = move |shared: &Shared<B>| {
                    answer!(reply, shared.rename(&from, &to, flags), () => reply.ok());
                };
                if may_fetch { self.fetching(answered) } else { answered(&self.shared) }
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.shared.path(number).and_then(|path| self.shared.overlay.open_file(&path));
        answer!(reply, opened, handle => reply.opened(self.shared.keep(number, handle), OPENED));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let (asked, mode) = (whose(request), mode & !umask & 0o7777);
        match self.shared.child(parent, name) {
            Ok(path) => {
                // It may have to be noted first whose name it was, or all to be synced.
                let may_wait = path == PID_FILE || self.shared.overlay.is_tracked(&path);
                let answered = move |shared: &Shared<B>| {
                    answer!(reply, shared.create(asked, &path, mode), (attributes, handle) => {
                        reply.created(&BELIEVED, &attributes, Generation(0), handle, OPENED);
                    });
                };
                if may_wait { self.beside(answered) } else { answered(&self.shared) }
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let opened = match self.shared.file(handle) {
            Ok(opened) => opened,
            Err(error) => return reply.error(error.into()),
        };
        let is_here = self.shared.overlay.is_here(&opened, at, size as usize);
        let answered = move |shared: &Shared<B>| {
            let mut buffer = vec![0; size as usize];
            let read = shared.overlay.read(&opened, &mut buffer, at);
            answer!(reply, read, length => reply.data(&buffer[..length]));
        };
        if is_here { answered(&self.shared) } else { self.fetching(answered) }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        at: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let opened = match self.shared.file(handle) {
            Ok(opened) => opened,
            Err(error) => return reply.error(error.into()),
        };
        let length = data.len() as u32;
        if self.shared.is_pid_file(number) && !says_how_far(&opened.file, data, at) {
            let data = data.to_vec();
            return self.beside(move |shared| {
                // F2.
                let synced = shared.overlay.sync_all();
                let is_lost = synced.is_err();
                let written = synced.and_then(|()| shared.overlay.write(&opened, &data, at));
                answer!(reply, written, () => reply.written(length));
                if is_lost {
                    shared.forget(lock(&shared.nodes).numbers());
                }
            });
        }
        if self.shared.overlay.takes(&opened, at, data.len()) {
            let written = self.shared.overlay.write(&opened, data, at);
            return answer!(reply, written, () => reply.written(length));
        }
        let data = data.to_vec();
        self.fetching(move |shared| {
            let written = shared.overlay.write(&opened, &data, at);
            answer!(reply, written, () => reply.written(length));
        });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.shared.files.write().unwrap_or_else(PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.shared.file(handle) {
            Ok(opened) => self.beside(move |shared| {
                let synced = shared.overlay.sync(&opened);
                let is_lost = synced.is_err();
                answer!(reply, synced, () => reply.ok());
                if is_lost {
                    shared.forget([number.0]);
                }
            }),
            Err(error) => reply.error(error.into()),
        }
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let listed = self.shared.path(number).and_then(|path| self.shared.list(&path));
        answer!(reply, listed, entries => {
            let handle = self.shared.next_handle.fetch_add(1, Ordering::Relaxed);
            lock(&self.shared.directories).insert(handle, Arc::new(entries));
            reply.opened(FileHandle(handle), FopenFlags::empty());
        });
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(entries) = lock(&self.shared.directories).get(&handle.0).cloned() else {
            return reply.error(Errno::EBADF);
        };
        for (next, (number, kind, name)) in (1..).zip(entries.iter()).skip(offset as usize) {
            if reply.add(INodeNo(*number), next, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        lock(&self.shared.directories).remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.beside(move |shared| {
            let synced = shared.path(number).and_then(|path| File::open(shared.place(&path))?.sync_all());
            answer!(reply, synced, () => reply.ok());
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let found = rustix::fs::statvfs(&self.shared.home).map_err(std::io::Error::from);
        answer!(reply, found, found => reply.statfs(
            found.f_blocks,
            found.f_bfree,
            found.f_bavail,
            found.f_files,
            found.f_ffree,
            found.f_bsize as u32,
            found.f_namemax as u32,
            found.f_frsize as u32,
        ));
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        at: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let allocated =
            self.shared.file(handle).and_then(|opened| self.shared.overlay.allocate(&opened, at, length));
        answer!(reply, allocated, () => reply.ok());
    }
}
