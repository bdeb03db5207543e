//! The data directory being born: sparse files, filled from a restore point page by page, and written over.
//!
//! Relation files are there from the start, at their length and empty; whose page is read first comes from the
//! restore point and stays. All other files are whole from the start and are none of this module's business.
//!
//! # Invariants
//! - **O1 fsync is honest.** When a file's sync returns, its data and then the record of it are durable. If it
//!   fails, what was not durable before shows as it was before, and the failure is told.
//! - **O2 no old page returns.** What was truncated, removed or made anew never shows the restore point's pages,
//!   in this life or after a power cut, once an operation that says so was durable.
//! - **O3 nothing is made up.** A page that cannot be fetched is an error, never zeros.
//! - **O4 written pages win.** What is fetched fills only what nobody has written meanwhile.
//! - **O5 no start by mistake.** `global/pg_control` lies beside the data until all of it is there.
//!
//! Deliberately absent: names, modes and owners, which are the file system's below; and FUSE.

use super::disk::{Disk, DiskFile, How};
use super::presence::{Presence, Runs};
use super::record::{Entry, Record, What};
use crate::restore::SPARE_BYTES;
use bytes::Bytes;
use lifeboat_pgformat::{PAGE_SIZE_BYTES, PG_CONTROL_PATH};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

const PAGE_BYTES: u64 = PAGE_SIZE_BYTES as u64;
/// Where the data directory lies on the overlay's disk.
pub(super) const DATA: &str = "data";

/// Where `global/pg_control` lies meanwhile (O5).
pub(super) const CONTROL: &str = "control";
/// Locks of fetches under way: whoever wants the same frame waits for it.
const STRIPES: usize = 64;
/// Pages that share a lock, a frame's.
const STRIPE_PAGES: u32 = 16;

/// What the overlay keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// What was written, and what was fetched: it becomes a data directory.
    All,
    /// What was written alone: it is thrown away, and needs little room.
    Written,
}

/// Where pages come from that are not in the overlay.
pub(super) trait Base: Send + Sync + 'static {
    /// The run of pages of file `number` in which `page` is stored; fewer bytes than pages at the file's end.
    fn fetch(&self, number: u32, page: u32) -> Result<Fetched>;
}

/// Pages of the restore point.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) first_page: u32,
    pub(super) bytes: Bytes,
}

/// A relation file of the restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BaseFile {
    /// Below the data directory.
    pub(super) path: String,
    pub(super) length: u64,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Handle<F> {
    pub(super) file: F,
    /// Its number, if it is one of the restore point's.
    number: Option<u32>,
}

/// What is known of one relation file of the restore point.
#[derive(Debug)]
struct Tracked {
    presence: Mutex<Presence>,
    /// Held over a sync: another that finds nothing to save must wait for it.
    syncing: Mutex<()>,
    /// All of it is its own, and on record: nothing needs to be looked at any more.
    is_settled: AtomicBool,
    /// The name stands for another file now, or for none.
    is_gone: AtomicBool,
    /// And that is on record.
    is_gone_saved: AtomicBool,
    /// A sync that nobody asked for failed: the next one that somebody asks for says so (O1).
    is_failure_owed: AtomicBool,
}

pub(super) struct Overlay<D: Disk, B> {
    disk: D,
    base: B,
    files: Vec<Tracked>,
    numbers: HashMap<String, u32>,
    record: Mutex<Record<D::File>>,
    fetching: [Mutex<()>; STRIPES],
    keep: Keep,
    /// Held while a name comes to stand for another file: nobody opens the new one for the old (O2).
    names: RwLock<()>,
}

/// What was written to a file of the restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// No page of the restore point shows from here on: the file was so short once.
    pub(crate) base: u32,
    /// The pages before that which were written.
    pub(crate) own: Vec<Range<u32>>,
}

/// How much of the restore point is here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Filled {
    /// Pages that are needed and here.
    pub(super) here: u64,
    /// Pages that are needed.
    pub(super) needed: u64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pages_of(length: u64) -> u32 {
    u32::try_from(length.div_ceil(PAGE_BYTES)).unwrap_or(u32::MAX)
}

/// Where on the overlay's disk a file of the data directory lies.
pub(super) fn place_of(path: &str) -> String {
    if path == PG_CONTROL_PATH { CONTROL.to_owned() } else { format!("{DATA}/{path}") }
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

impl<D: Disk, B: Base> Overlay<D, B> {
    /// An overlay of which nothing is there but the empty files.
    pub(super) fn create(disk: D, base: B, files: &[BaseFile]) -> Result<Self> {
        let record = Record::create(&disk)?;
        let presences = files.iter().map(|file| Presence::absent(pages_of(file.length))).collect();
        Ok(Self::new(disk, base, files, presences, record, Keep::All))
    }

    /// The overlay that is there: after a restart, a kill, a power cut.
    pub(super) fn open(disk: D, base: B, files: &[BaseFile], keep: Keep) -> Result<Self> {
        let mut presences: Vec<Presence> =
            files.iter().map(|file| Presence::absent(pages_of(file.length))).collect();
        let record = Record::open(&disk, |entry| {
            let Some(presence) = presences.get_mut(entry.file as usize) else { return };
            match entry.what {
                What::Own(range) => {
                    presence.take(range.clone());
                    presence.saved(&vec![range]);
                }
                What::Cut(page) => {
                    presence.cut(page);
                    presence.cut_saved(page);
                }
            }
        })?;
        let overlay = Self::new(disk, base, files, presences, record, keep);
        for (file, tracked) in files.iter().zip(&overlay.files) {
            match overlay.disk.open(&place_of(&file.path), How::Open) {
                // What was cut off before the power went shows nothing old, whatever it grows to.
                Ok(found) => lock(&tracked.presence).cut(pages_of(found.len()?)),
                // Nothing is called so, or what is no file.
                Err(error)
                    if [ErrorKind::NotFound, ErrorKind::IsADirectory].contains(&error.kind())
                        || error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) =>
                {
                    tracked.is_gone.store(true, Ordering::Release);
                }
                Err(error) => return Err(error),
            }
            overlay.settle(tracked);
        }
        Ok(overlay)
    }

    fn new(
        disk: D,
        base: B,
        files: &[BaseFile],
        presences: Vec<Presence>,
        record: Record<D::File>,
        keep: Keep,
    ) -> Self {
        let tracked = |presence: Presence| Tracked {
            is_gone_saved: AtomicBool::new(presence.base() == 0),
            presence: Mutex::new(presence),
            syncing: Mutex::new(()),
            is_settled: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            is_failure_owed: AtomicBool::new(false),
        };
        let numbers = (0..).zip(files).map(|(number, file)| (file.path.clone(), number)).collect();
        Self {
            disk,
            base,
            files: presences.into_iter().map(tracked).collect(),
            numbers,
            record: Mutex::new(record),
            fetching: std::array::from_fn(|_| Mutex::new(())),
            keep,
            names: RwLock::new(()),
        }
    }

    fn tracked(&self, number: Option<u32>) -> Option<&Tracked> {
        let tracked = self.files.get(number? as usize)?;
        (!tracked.is_settled.load(Ordering::Acquire)).then_some(tracked)
    }

    /// Whether a file needs the restore point no more, and that is on record.
    #[cfg(test)]
    pub(super) fn is_settled(&self, handle: &Handle<D::File>) -> bool {
        self.tracked(handle.number).is_none()
    }

    /// Notes whether the restore point is needed for this file any more.
    fn settle(&self, tracked: &Tracked) {
        let presence = lock(&tracked.presence);
        let is_saved = presence.unsaved().is_empty() && !presence.is_cut_unsaved();
        if is_saved && presence.is_whole() {
            tracked.is_settled.store(true, Ordering::Release);
        }
    }

    /// The number of the restore point's file that `path` stands for now.
    fn number_of(&self, path: &str) -> Option<u32> {
        let number = *self.numbers.get(path)?;
        let is_gone = self.files[number as usize].is_gone.load(Ordering::Acquire);
        (!is_gone).then_some(number)
    }

    pub(super) fn open_file(&self, path: &str) -> Result<Handle<D::File>> {
        let _names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let number = self.number_of(path);
        Ok(Handle { file: self.disk.open(&place_of(path), How::Open)?, number })
    }

    /// Makes a new file. O2: nothing of one that had its name shows in it, even if the power goes now.
    pub(super) fn create_file(&self, path: &str, mode: u32) -> Result<Handle<D::File>> {
        let _names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        self.note_gone(path)?;
        Ok(Handle { file: self.disk.open(&place_of(path), How::Create(mode))?, number: None })
    }

    /// Puts on record that a name which another file gets now was the restore point's no more (O2).
    fn note_gone(&self, path: &str) -> Result<()> {
        let Some(number) = self.numbers.get(path) else { return Ok(()) };
        let tracked = &self.files[*number as usize];
        let is_gone = tracked.is_gone.load(Ordering::Acquire);
        if is_gone && !tracked.is_gone_saved.load(Ordering::Acquire) {
            self.commit(&[Entry { file: *number, what: What::Cut(0) }])?;
            tracked.is_gone_saved.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub(super) fn unlink(&self, path: &str) -> Result<()> {
        let _names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let number = self.number_of(path);
        self.disk.unlink(&place_of(path))?;
        if let Some(number) = number {
            self.files[number as usize].is_gone.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Renames; relation files of the restore point, which PostgreSQL never renames, are made whole before.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        for path in [from, to] {
            if let Some(number) = self.number_of(path) {
                let handle = self.open_file(path)?;
                self.complete(&handle)?;
                debug_assert_eq!(handle.number, Some(number));
            }
        }
        let _names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        // Both names stand for another file from now on, or for none, or for what is no file.
        let gone = [from, to].map(|path| self.number_of(path));
        self.note_gone(to)?;
        self.disk.rename(&place_of(from), &place_of(to))?;
        for number in gone.into_iter().flatten() {
            self.files[number as usize].is_gone.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Fetches all that a file lacks, and makes it durable.
    pub(super) fn complete(&self, handle: &Handle<D::File>) -> Result<()> {
        self.fetch_all(handle)?;
        self.sync(handle)
    }

    fn fetch_all(&self, handle: &Handle<D::File>) -> Result<()> {
        if let Some(tracked) = self.tracked(handle.number) {
            loop {
                let presence = lock(&tracked.presence);
                let Some(run) = presence.missing(0..presence.base()).into_iter().next() else { break };
                drop(presence);
                self.fill(handle, tracked, run.start)?;
            }
        }
        Ok(())
    }

    pub(super) fn read(&self, handle: &Handle<D::File>, buffer: &mut [u8], at: u64) -> Result<usize> {
        let Some(tracked) = self.tracked(handle.number) else { return handle.file.read_at(buffer, at) };
        let pages = touched(at, buffer.len());
        loop {
            let missing = lock(&tracked.presence).missing(pages.clone());
            let Some(run) = missing.first() else { return handle.file.read_at(buffer, at) };
            if self.keep == Keep::Written || !self.has_room() {
                return self.read_around(handle, tracked, buffer, at);
            }
            match self.fill(handle, tracked, run.start) {
                Ok(()) => {}
                // A full disk is no reason not to answer.
                Err(error) if is_full(&error) => return self.read_around(handle, tracked, buffer, at),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether what is fetched may be kept: the server's own writes come first, its WAL before all.
    pub(super) fn has_room(&self) -> bool {
        self.disk.free_bytes().map_or(true, |free| free > SPARE_BYTES)
    }

    /// Reads what is here, and around it what is not, keeping nothing.
    fn read_around(
        &self,
        handle: &Handle<D::File>,
        tracked: &Tracked,
        buffer: &mut [u8],
        at: u64,
    ) -> Result<usize> {
        let pages = touched(at, buffer.len());
        let missing = lock(&tracked.presence).missing(pages.clone());
        let mut fetched: Vec<Fetched> = Vec::new();
        for page in missing.into_iter().flatten() {
            if fetched.last().is_none_or(|last| !last.pages().contains(&page)) {
                fetched.push(self.fetch(handle.number, page)?);
            }
        }
        // O4: what was written meanwhile is read from the file.
        let presence = lock(&tracked.presence);
        let read = handle.file.read_at(buffer, at)?;
        for page in presence.missing(pages).into_iter().flatten() {
            let source = fetched.iter().find(|fetched| fetched.pages().contains(&page));
            let source = source.ok_or_else(|| broken("a page was given back while it was read"))?;
            let begin = u64::from(page) * PAGE_BYTES;
            for (offset, byte) in source.page(page).iter().enumerate() {
                let position = begin + offset as u64;
                if position >= at && position < at + read as u64 {
                    buffer[(position - at) as usize] = *byte;
                }
            }
        }
        Ok(read)
    }

    pub(super) fn write(&self, handle: &Handle<D::File>, data: &[u8], at: u64) -> Result<()> {
        let Some(tracked) = self.tracked(handle.number) else { return handle.file.write_at(data, at) };
        let pages = touched(at, data.len());
        loop {
            let mut presence = lock(&tracked.presence);
            let needed = cut_pages(at, data.len()).find(|page| !presence.is_own(*page));
            let Some(page) = needed else {
                handle.file.write_at(data, at)?;
                presence.take(pages);
                return Ok(());
            };
            drop(presence);
            self.fill(handle, tracked, page)?;
        }
    }

    /// Makes the file so long. A cut is durable when this returns (O2).
    pub(super) fn set_len(&self, handle: &Handle<D::File>, length: u64) -> Result<()> {
        let Some(tracked) = self.tracked(handle.number) else { return handle.file.set_len(length) };
        let pages = pages_of(length);
        loop {
            let mut presence = lock(&tracked.presence);
            let last = pages.checked_sub(1).filter(|_| !length.is_multiple_of(PAGE_BYTES));
            if let Some(page) = last.filter(|page| !presence.is_own(*page)) {
                drop(presence);
                self.fill(handle, tracked, page)?;
                continue;
            }
            handle.file.set_len(length)?;
            presence.cut(pages);
            let is_cut = presence.is_cut_unsaved();
            drop(presence);
            return if is_cut { self.sync(handle) } else { Ok(()) };
        }
    }

    pub(super) fn allocate(&self, handle: &Handle<D::File>, at: u64, length: u64) -> Result<()> {
        handle.file.allocate(at, length)
    }

    /// Whether these bytes can be read without the restore point.
    pub(super) fn is_here(&self, handle: &Handle<D::File>, at: u64, length: usize) -> bool {
        let Some(tracked) = self.tracked(handle.number) else { return true };
        lock(&tracked.presence).missing(touched(at, length)).is_empty()
    }

    /// Whether these bytes can be written without the restore point.
    pub(super) fn takes(&self, handle: &Handle<D::File>, at: u64, length: usize) -> bool {
        let Some(tracked) = self.tracked(handle.number) else { return true };
        let presence = lock(&tracked.presence);
        cut_pages(at, length).all(|page| presence.is_own(page))
    }

    /// Whether a file may need the restore point, or a record, for what is done to it.
    pub(super) fn is_tracked(&self, path: &str) -> bool {
        self.numbers.contains_key(path)
    }

    /// Whether a directory has files of the restore point's below it, which would be taken from under their names.
    pub(super) fn has_tracked_below(&self, directory: &str) -> bool {
        let below = |path: &str| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        self.numbers.keys().any(|path| below(path) && self.number_of(path).is_some())
    }

    /// Whether a page of these of file `number` is still the restore point's alone.
    pub(super) fn lacks(&self, number: u32, pages: Range<u32>) -> bool {
        let Some(tracked) = self.tracked(Some(number)) else { return false };
        let is_gone = tracked.is_gone.load(Ordering::Acquire);
        !is_gone && !lock(&tracked.presence).missing(pages).is_empty()
    }

    /// Pages that were fetched before anybody asked for them. A file that is gone does not need them.
    pub(super) fn offer(&self, number: u32, path: &str, fetched: &Fetched) -> Result<()> {
        if !self.lacks(number, fetched.pages()) {
            return Ok(());
        }
        match self.open_file(path) {
            Ok(handle) if handle.number == Some(number) => {
                self.keep(&handle, &self.files[number as usize], fetched)
            }
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Fetches what a file still lacks; one that is gone lacks nothing.
    pub(super) fn complete_if_there(&self, number: u32, path: &str) -> Result<()> {
        if !self.lacks(number, 0..u32::MAX) {
            return Ok(());
        }
        if !self.has_room() {
            return Err(ErrorKind::StorageFull.into());
        }
        match self.open_file(path) {
            Ok(handle) => self.fetch_all(&handle),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// As [`Overlay::sync_all`], under a server that did not ask for it: should it fail, whoever syncs a file next is
    /// told (O1), and until then nothing of that file counts as durable.
    pub(super) fn sync_behind(&self) -> Result<()> {
        let synced = self.sync_and_note();
        if synced.is_err() {
            for tracked in &self.files {
                tracked.is_failure_owed.store(true, Ordering::Release);
            }
        }
        synced?;
        match self.files.iter().any(|tracked| tracked.is_failure_owed.load(Ordering::Acquire)) {
            true => Err(broken("an earlier sync failed, which the server was not told yet")),
            false => Ok(()),
        }
    }

    /// What is the overlay's own of file `number`; `None` if its name stands for another file now, or for none.
    pub(super) fn written(&self, number: u32) -> Option<Written> {
        let tracked = self.files.get(number as usize)?;
        let is_gone = tracked.is_gone.load(Ordering::Acquire);
        (!is_gone).then(|| {
            let presence = lock(&tracked.presence);
            Written { base: presence.base(), own: presence.own() }
        })
    }

    /// How much is here.
    pub(super) fn filled(&self) -> Filled {
        let mut filled = Filled::default();
        for tracked in self.files.iter().filter(|tracked| !tracked.is_gone.load(Ordering::Acquire)) {
            let presence = lock(&tracked.presence);
            filled.needed += u64::from(presence.base());
            filled.here += u64::from(presence.own_count());
        }
        filled
    }

    /// Whether the restore point is needed no more, and that is on record.
    pub(super) fn is_all_settled(&self) -> bool {
        let is_done = |tracked: &Tracked| {
            tracked.is_settled.load(Ordering::Acquire) || tracked.is_gone.load(Ordering::Acquire)
        };
        self.files.iter().all(is_done)
    }

    /// O1.
    pub(super) fn sync(&self, handle: &Handle<D::File>) -> Result<()> {
        let Some((tracked, number)) = self.tracked(handle.number).zip(handle.number) else {
            return handle.file.sync();
        };
        let _syncing = lock(&tracked.syncing);
        let unsaved = Unsaved::of(&lock(&tracked.presence));
        let owed = tracked.is_failure_owed.swap(false, Ordering::AcqRel);
        let synced = handle.file.sync();
        let synced = if owed { synced.and(Err(broken("an earlier sync failed"))) } else { synced };
        if let Err(error) = synced {
            give_back(tracked);
            return Err(error);
        }
        self.commit(&unsaved.entries(number))?;
        unsaved.note(&mut lock(&tracked.presence));
        self.settle(tracked);
        Ok(())
    }

    /// Makes everything durable, while no server relies on what it wrote. What a failure may have lost shows as it was
    /// before (O1).
    pub(super) fn sync_all(&self) -> Result<()> {
        for tracked in &self.files {
            if tracked.is_failure_owed.swap(false, Ordering::AcqRel) {
                give_back(tracked);
            }
        }
        self.sync_and_note().inspect_err(|_| self.files.iter().for_each(give_back))
    }

    fn sync_and_note(&self) -> Result<()> {
        let syncing: Vec<_> = self.files.iter().map(|tracked| lock(&tracked.syncing)).collect();
        let is_sure = |tracked: &&Tracked| !tracked.is_failure_owed.load(Ordering::Acquire);
        let numbered = (0..).zip(&self.files).filter(|(_, tracked)| is_sure(tracked));
        let unsaved: Vec<_> = numbered
            .map(|(number, tracked)| (number, tracked, Unsaved::of(&lock(&tracked.presence))))
            .collect();
        self.disk.sync()?;
        let entries: Vec<Entry> =
            unsaved.iter().flat_map(|(number, _, unsaved)| unsaved.entries(*number)).collect();
        self.commit(&entries)?;
        for (_, tracked, unsaved) in &unsaved {
            unsaved.note(&mut lock(&tracked.presence));
            self.settle(tracked);
        }
        drop(syncing);
        Ok(())
    }

    /// Puts entries on record, durably.
    fn commit(&self, entries: &[Entry]) -> Result<()> {
        let mut record = lock(&self.record);
        if record.is_due() {
            let all = (0..).zip(&self.files).flat_map(|(number, tracked)| {
                if tracked.is_gone_saved.load(Ordering::Acquire) {
                    return vec![Entry { file: number, what: What::Cut(0) }];
                }
                let presence = lock(&tracked.presence);
                let cut = Entry { file: number, what: What::Cut(presence.base()) };
                let own = presence.on_record().into_iter();
                let own = own.map(|run| Entry { file: number, what: What::Own(run) });
                std::iter::once(cut).chain(own).collect()
            });
            record.rewrite(&self.disk, all)?;
        }
        record.append(entries)
    }

    fn fetch(&self, number: Option<u32>, page: u32) -> Result<Fetched> {
        let number = number.ok_or_else(|| broken("a file that is no restore point's"))?;
        let fetched = self.base.fetch(number, page)?;
        // O3.
        if fetched.pages().contains(&page) { Ok(fetched) } else { Err(broken("a frame without the page")) }
    }

    /// Fetches a page, with those that are stored with it.
    fn fill(&self, handle: &Handle<D::File>, tracked: &Tracked, page: u32) -> Result<()> {
        let stripe = handle.number.unwrap_or_default().wrapping_mul(31).wrapping_add(page / STRIPE_PAGES);
        let _only = lock(&self.fetching[stripe as usize % STRIPES]);
        if lock(&tracked.presence).is_own(page) {
            // Somebody else fetched it meanwhile.
            return Ok(());
        }
        let fetched = self.fetch(handle.number, page)?;
        self.keep(handle, tracked, &fetched)
    }

    /// Writes what was fetched where it is still missing (O4).
    fn keep(&self, handle: &Handle<D::File>, tracked: &Tracked, fetched: &Fetched) -> Result<()> {
        let mut presence = lock(&tracked.presence);
        for run in presence.missing(fetched.pages()) {
            let begin = (run.start - fetched.first_page) as usize * PAGE_SIZE_BYTES;
            let end = ((run.end - fetched.first_page) as usize * PAGE_SIZE_BYTES).min(fetched.bytes.len());
            handle.file.write_at(&fetched.bytes[begin..end], u64::from(run.start) * PAGE_BYTES)?;
            presence.take(run);
        }
        Ok(())
    }
}

/// The kernel may have dropped all that was not on the disk, and will not say so again.
fn give_back(tracked: &Tracked) {
    let mut presence = lock(&tracked.presence);
    let lost = presence.unsaved();
    presence.give_back(&lost);
}

impl Fetched {
    fn pages(&self) -> Range<u32> {
        self.first_page..self.first_page + pages_of(self.bytes.len() as u64)
    }

    fn page(&self, page: u32) -> &[u8] {
        let begin = (page - self.first_page) as usize * PAGE_SIZE_BYTES;
        &self.bytes[begin..(begin + PAGE_SIZE_BYTES).min(self.bytes.len())]
    }
}

/// What of a file is to be put on record.
struct Unsaved {
    own: Runs,
    cut: Option<u32>,
}

impl Unsaved {
    fn of(presence: &Presence) -> Self {
        Self { own: presence.unsaved(), cut: presence.is_cut_unsaved().then(|| presence.base()) }
    }

    fn entries(&self, file: u32) -> Vec<Entry> {
        let cut = self.cut.map(|page| Entry { file, what: What::Cut(page) });
        let own = self.own.iter().map(|run| Entry { file, what: What::Own(run.clone()) });
        cut.into_iter().chain(own).collect()
    }

    fn note(&self, presence: &mut Presence) {
        presence.saved(&self.own);
        if let Some(base) = self.cut {
            presence.cut_saved(base);
        }
    }
}

/// The pages that a run of bytes lies in.
fn touched(at: u64, length: usize) -> Range<u32> {
    let first = u32::try_from(at / PAGE_BYTES).unwrap_or(u32::MAX);
    first..pages_of(at + length as u64)
}

/// Those of the pages that a run of bytes lies in of which it is not the whole.
fn cut_pages(at: u64, length: usize) -> impl Iterator<Item = u32> {
    let (pages, end) = (touched(at, length), at + length as u64);
    let is_cut = move |page: &u32| {
        let begin = u64::from(*page) * PAGE_BYTES;
        begin < at || begin + PAGE_BYTES > end
    };
    [Some(pages.start), pages.end.checked_sub(1)].into_iter().flatten().filter(is_cut)
}

fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
