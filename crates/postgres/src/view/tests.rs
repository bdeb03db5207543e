//! The overlay against a model, with power cuts, kills and faults at any point.

use super::disk::{Disk as _, RealDisk};
use super::overlay::{Base, BaseFile, DATA, Fetched, Handle, Keep, Overlay, place_of};
use super::sim::{Fault, SimDisk, SimFile};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const PAGE: usize = 8192;
const FRAME_PAGES: u32 = 4;
const FILES: [(&str, u32); 3] = [("base/5/1", 10), ("base/5/2", 3), ("base/5/2_fsm", 6)];
/// Pages of a file that are looked at: more than any has at first.
const PAGES: u32 = 14;

/// What a page holds: nothing, the restore point's, or what a write of this number wrote.
type Content = u32;
const ZERO: Content = 0;

fn base_content(file: u32, page: u32) -> Content {
    1_000_000 + file * 1000 + page
}

fn page_of(content: Content) -> Vec<u8> {
    content.to_le_bytes().repeat(PAGE / 4)
}

fn content_of(page: &[u8]) -> Content {
    assert!(page[..PAGE - 4] == page[4..], "a page of two minds");
    u32::from_le_bytes(page[..4].try_into().unwrap())
}

#[derive(Clone, Default)]
struct Frames {
    is_away: Arc<AtomicBool>,
}

impl Base for Frames {
    fn fetch(&self, number: u32, page: u32) -> Result<Fetched> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("the vault is away"));
        }
        let first_page = page - page % FRAME_PAGES;
        let end = (first_page + FRAME_PAGES).min(FILES[number as usize].1);
        let bytes = (first_page..end)
            .flat_map(|page| page_of(base_content(number, page)))
            .collect::<Vec<u8>>()
            .into();
        Ok(Fetched { first_page, bytes })
    }
}

#[derive(Debug, Clone)]
enum Op {
    Write {
        file: usize,
        page: u32,
        pages: u32,
    },
    WriteInside {
        file: usize,
        page: u32,
    },
    Truncate {
        file: usize,
        pages: u32,
    },
    Allocate {
        file: usize,
        pages: u32,
    },
    Read {
        file: usize,
        page: u32,
        pages: u32,
    },
    Sync {
        file: usize,
    },
    SyncAll,
    Complete {
        file: usize,
    },
    Unlink {
        file: usize,
    },
    Create {
        file: usize,
    },
    Away(bool),
    FailSync {
        file: usize,
    },
    /// A sync of everything fails: one that a start asked for, or one that nobody did.
    FailSyncAll {
        is_asked: bool,
    },
    FailWrite {
        file: usize,
        page: u32,
    },
    Kill,
    PowerCut(u64),
    /// The power goes in the midst of it, or the process is killed.
    Cut {
        inside: Box<Op>,
        after: usize,
        seed: Option<u64>,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let (file, page, pages) = (0..FILES.len(), 0..PAGES - 4, 1u32..5);
    prop_oneof![
        6 => (file.clone(), page.clone(), pages.clone()).prop_map(|(file, page, pages)| Op::Write { file, page, pages }),
        2 => (file.clone(), page.clone()).prop_map(|(file, page)| Op::WriteInside { file, page }),
        3 => (file.clone(), page.clone()).prop_map(|(file, pages)| Op::Truncate { file, pages }),
        1 => (file.clone(), page.clone()).prop_map(|(file, pages)| Op::Allocate { file, pages }),
        4 => (file.clone(), page.clone(), pages).prop_map(|(file, page, pages)| Op::Read { file, page, pages }),
        4 => file.clone().prop_map(|file| Op::Sync { file }),
        1 => Just(Op::SyncAll),
        1 => file.clone().prop_map(|file| Op::Complete { file }),
        2 => file.clone().prop_map(|file| Op::Unlink { file }),
        3 => file.clone().prop_map(|file| Op::Create { file }),
        1 => any::<bool>().prop_map(Op::Away),
        1 => file.clone().prop_map(|file| Op::FailSync { file }),
        1 => any::<bool>().prop_map(|is_asked| Op::FailSyncAll { is_asked }),
        1 => (file, page).prop_map(|(file, page)| Op::FailWrite { file, page }),
        1 => Just(Op::Kill),
        2 => any::<u64>().prop_map(Op::PowerCut),
    ]
}

fn op_or_cut() -> impl Strategy<Value = Op> {
    let cut = (op(), 0usize..6, any::<Option<u64>>());
    prop_oneof![
        8 => op(),
        1 => cut.prop_map(|(inside, after, seed)| Op::Cut { inside: Box::new(inside), after, seed }),
    ]
}

/// What a page may show after the power was cut: its last durable content, and all that came after.
struct Page {
    current: Content,
    possible: BTreeSet<Content>,
}

struct World {
    disk: SimDisk,
    frames: Frames,
    overlay: Overlay<SimDisk, Frames>,
    keep: Keep,
    model: Vec<Vec<Page>>,
    /// How long each file is, in pages; none if it is not there.
    lengths: Vec<Option<u32>>,
    /// Before which page of each the restore point may show.
    bases: Vec<u32>,
    handles: Vec<Option<Handle<SimFile>>>,
    next: Content,
}

fn base_files() -> Vec<BaseFile> {
    let file = |(path, pages): &(&str, u32)| BaseFile {
        path: (*path).to_owned(),
        length: u64::from(*pages) * PAGE as u64,
    };
    FILES.iter().map(file).collect()
}

impl World {
    fn new() -> Self {
        let (disk, frames) = (SimDisk::default(), Frames::default());
        for (path, pages) in FILES {
            disk.put(&format!("{DATA}/{path}"), pages as usize * PAGE);
        }
        let overlay = Overlay::create(disk.clone(), frames.clone(), &base_files()).unwrap();
        let page = |file: u32, page: u32| {
            let content = if page < FILES[file as usize].1 { base_content(file, page) } else { ZERO };
            Page { current: content, possible: [content].into() }
        };
        let model = (0..FILES.len() as u32).map(|file| (0..PAGES).map(|p| page(file, p)).collect()).collect();
        let lengths = FILES.iter().map(|(_, pages)| Some(*pages)).collect();
        let bases = FILES.iter().map(|(_, pages)| *pages).collect();
        let handles = FILES.iter().map(|_| None).collect();
        Self { disk, frames, overlay, keep: Keep::All, model, lengths, bases, handles, next: 1 }
    }

    fn set(&mut self, file: usize, page: u32, content: Content) {
        let page = &mut self.model[file][page as usize];
        page.current = content;
        page.possible.insert(content);
    }

    fn durable(&mut self, file: usize) {
        for page in &mut self.model[file] {
            page.possible = [page.current].into();
        }
    }

    /// A handle of the file, kept open as PostgreSQL does.
    fn with<T>(
        &mut self,
        file: usize,
        act: impl FnOnce(&Overlay<SimDisk, Frames>, &Handle<SimFile>) -> T,
    ) -> T {
        if self.handles[file].is_none() {
            self.handles[file] = Some(self.overlay.open_file(FILES[file].0).unwrap());
        }
        act(&self.overlay, self.handles[file].as_ref().unwrap())
    }

    fn is_away(&self) -> bool {
        self.frames.is_away.load(Ordering::Relaxed)
    }

    /// What a page shows; `None` if it cannot be fetched now.
    fn look(&mut self, file: usize, page: u32) -> Option<Content> {
        if self.lengths[file].is_none() {
            return Some(ZERO);
        }
        let mut bytes = vec![0; PAGE];
        match self
            .with(file, |overlay, handle| overlay.read(handle, &mut bytes, u64::from(page) * PAGE as u64))
        {
            Ok(_) => Some(content_of(&bytes)),
            Err(_) => {
                assert!(self.is_away(), "a read failed for no reason");
                None
            }
        }
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::Write { file, page, pages } => {
                let Some(length) = self.lengths[file] else { return };
                let contents: Vec<Content> = (0..pages).map(|index| self.next + index).collect();
                self.next += pages;
                let bytes: Vec<u8> = contents.iter().flat_map(|content| page_of(*content)).collect();
                let at = u64::from(page) * PAGE as u64;
                self.with(file, |overlay, handle| overlay.write(handle, &bytes, at)).unwrap();
                for (page, content) in (page..).zip(contents) {
                    self.set(file, page, content);
                }
                self.lengths[file] = Some(length.max(page + pages));
            }
            Op::WriteInside { file, page } => {
                // The same bytes that are there: what matters is that the rest of the page is not lost.
                let Some(length) = self.lengths[file].filter(|length| page < *length) else { return };
                let content = self.model[file][page as usize].current;
                let bytes = &page_of(content)[..100];
                let at = u64::from(page) * PAGE as u64 + 64;
                let done = self.with(file, |overlay, handle| overlay.write(handle, bytes, at));
                assert!(done.is_ok() || self.is_away());
                self.lengths[file] = Some(length);
            }
            Op::Truncate { file, pages } => {
                if self.lengths[file].is_none() {
                    return;
                }
                let length = u64::from(pages) * PAGE as u64;
                let is_settled = self.with(file, |overlay, handle| overlay.is_settled(handle));
                self.with(file, |overlay, handle| overlay.set_len(handle, length)).unwrap();
                for page in pages..PAGES {
                    self.set(file, page, ZERO);
                }
                self.lengths[file] = Some(pages);
                // O2: a cut is durable. A file that is all its own is cut as any file is: when it is synced.
                if pages < self.bases[file] && !is_settled {
                    self.bases[file] = pages;
                    self.durable(file);
                }
            }
            Op::Allocate { file, pages } => {
                let Some(length) = self.lengths[file] else { return };
                let bytes = u64::from(pages + 1) * PAGE as u64;
                self.with(file, |overlay, handle| overlay.allocate(handle, 0, bytes)).unwrap();
                self.lengths[file] = Some(length.max(pages + 1));
            }
            Op::Read { file, page, pages } => {
                for page in page..page + pages {
                    let expected = self.model[file][page as usize].current;
                    if let Some(found) = self.look(file, page) {
                        assert_eq!(found, expected, "{} page {page}", FILES[file].0);
                    }
                }
            }
            Op::Sync { file } => {
                if self.lengths[file].is_some() {
                    self.with(file, |overlay, handle| overlay.sync(handle)).unwrap();
                    self.durable(file);
                }
            }
            Op::SyncAll => {
                self.overlay.sync_all().unwrap();
                (0..FILES.len()).for_each(|file| self.durable(file));
            }
            Op::Complete { file } => {
                if self.lengths[file].is_some() {
                    let done = self.with(file, |overlay, handle| overlay.complete(handle));
                    assert!(done.is_ok() || self.is_away());
                    if done.is_ok() {
                        self.durable(file);
                    }
                }
            }
            Op::Unlink { file } => {
                if self.lengths[file].take().is_some() {
                    self.overlay.unlink(FILES[file].0).unwrap();
                    self.handles[file] = None;
                    self.bases[file] = 0;
                    (0..PAGES).for_each(|page| self.set(file, page, ZERO));
                }
            }
            Op::Create { file } => {
                if self.lengths[file].is_none() {
                    self.handles[file] = Some(self.overlay.create_file(FILES[file].0, 0o600).unwrap());
                    self.lengths[file] = Some(0);
                }
            }
            Op::Away(is_away) => self.frames.is_away.store(is_away, Ordering::Relaxed),
            Op::FailSync { file } => {
                if self.lengths[file].is_none() {
                    return;
                }
                self.disk.fail_next(Fault::Sync);
                let done = self.with(file, |overlay, handle| overlay.sync(handle));
                self.disk.forget_faults();
                // What is lost shows as it was before; PostgreSQL restarts and writes it again.
                assert!(done.is_err());
                self.refresh();
            }
            Op::FailSyncAll { is_asked: true } => {
                self.disk.fail_next(Fault::Sync);
                assert!(self.overlay.sync_all().is_err());
                self.disk.forget_faults();
                // Whoever tries again is not told that what was lost is durable: it is not there any more.
                self.overlay.sync_all().unwrap();
                self.refresh();
                self.sync_each();
            }
            Op::FailSyncAll { is_asked: false } => {
                self.disk.fail_next(Fault::Sync);
                assert!(self.overlay.sync_behind().is_err());
                self.disk.forget_faults();
                // Nothing is taken for durable by trying again: each file is told first.
                assert!(self.overlay.sync_behind().is_err());
                self.sync_each();
                self.refresh();
            }
            Op::FailWrite { file, page } => {
                let Some(length) = self.lengths[file].filter(|length| page < *length) else { return };
                self.disk.fail_next(Fault::Write);
                let content = self.next;
                self.next += 1;
                let at = u64::from(page) * PAGE as u64;
                let done = self.with(file, |overlay, handle| overlay.write(handle, &page_of(content), at));
                self.disk.forget_faults();
                assert!(done.is_err());
                self.lengths[file] = Some(length);
            }
            Op::Kill => self.restart(),
            Op::PowerCut(seed) => self.cut_power(seed),
            Op::Cut { ref inside, after, seed } => {
                self.disk.off_after(after);
                self.attempt(inside);
                match seed {
                    Some(seed) => self.cut_power(seed),
                    None => {
                        self.disk.turn_on();
                        self.restart();
                    }
                }
            }
        }
    }

    /// Whoever has files open is told of what was lost, and knows.
    fn sync_each(&mut self) {
        for file in (0..FILES.len()).filter(|file| self.lengths[*file].is_some()).collect::<Vec<_>>() {
            let _ = self.with(file, |overlay, handle| overlay.sync(handle));
        }
    }

    /// Begins what will not end well: all that it may change is possible afterwards, and nothing is durable.
    fn attempt(&mut self, op: &Op) {
        match *op {
            Op::Write { file, page, pages } if self.lengths[file].is_some() => {
                let contents: Vec<Content> = (0..pages).map(|index| self.next + index).collect();
                self.next += pages;
                let bytes: Vec<u8> = contents.iter().flat_map(|content| page_of(*content)).collect();
                let at = u64::from(page) * PAGE as u64;
                let _ = self.with(file, |overlay, handle| overlay.write(handle, &bytes, at));
                (page..).zip(contents).for_each(|(page, content)| self.set(file, page, content));
            }
            Op::Truncate { file, pages } if self.lengths[file].is_some() => {
                let length = u64::from(pages) * PAGE as u64;
                let _ = self.with(file, |overlay, handle| overlay.set_len(handle, length));
                (pages..PAGES).for_each(|page| self.set(file, page, ZERO));
            }
            Op::Sync { file } if self.lengths[file].is_some() => {
                let _ = self.with(file, |overlay, handle| overlay.sync(handle));
            }
            Op::SyncAll => drop(self.overlay.sync_all()),
            Op::Complete { file } if self.lengths[file].is_some() => {
                let _ = self.with(file, |overlay, handle| overlay.complete(handle));
            }
            Op::Unlink { file } => {
                let _ = self.overlay.unlink(FILES[file].0);
                (0..PAGES).for_each(|page| self.set(file, page, ZERO));
            }
            Op::Create { file } if self.lengths[file].is_none() => {
                drop(self.overlay.create_file(FILES[file].0, 0o600));
            }
            _ => {}
        }
    }

    fn cut_power(&mut self, seed: u64) {
        let mut state = seed | 1;
        self.disk.cut_power(&mut |options| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % options
        });
        self.restart();
    }

    /// Another process opens what is there.
    fn restart(&mut self) {
        self.frames.is_away.store(false, Ordering::Relaxed);
        self.handles = FILES.iter().map(|_| None).collect();
        // By turns: what is kept must never change what is seen.
        self.keep = if self.keep == Keep::All { Keep::Written } else { Keep::All };
        self.overlay =
            Overlay::open(self.disk.clone(), self.frames.clone(), &base_files(), self.keep).unwrap();
        self.refresh();
    }

    /// Holds what is there against what is possible, and goes on from it.
    fn refresh(&mut self) {
        let is_away = self.frames.is_away.swap(false, Ordering::Relaxed);
        for (file, (name, _)) in FILES.iter().enumerate() {
            let path = format!("{DATA}/{}", name);
            let found = self.disk.open(&path, super::disk::How::Open);
            let length = found.map(|found| super::disk::DiskFile::len(&found).unwrap()).ok();
            self.lengths[file] = length.map(|length| length.div_ceil(PAGE as u64) as u32);
            // What the overlay knows of it is not asked: less is expected of a cut then.
            self.bases[file] = 0;
            for page in 0..PAGES {
                let found = self.look(file, page).unwrap();
                let page_model = &mut self.model[file][page as usize];
                assert!(
                    page_model.possible.contains(&found),
                    "{} page {page} shows {found}, possible are {:?}",
                    name,
                    page_model.possible
                );
                // Behind the end there is nothing, whatever it grows to.
                let is_behind = self.lengths[file].is_some_and(|length| page >= length);
                assert!(!is_behind || found == ZERO, "{} page {page} shows {found}", name);
                page_model.current = found;
            }
        }
        self.frames.is_away.store(is_away, Ordering::Relaxed);
    }
}

/// The same on a directory of this machine, and what PostgreSQL never does to a relation: it is renamed.
#[test]
fn a_real_directory_keeps_what_was_synced_under_whatever_name() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join(DATA);
    std::fs::create_dir_all(data.join("base/5")).unwrap();
    for (path, pages) in FILES {
        let file = std::fs::File::create(data.join(path)).unwrap();
        file.set_len(u64::from(pages) * PAGE as u64).unwrap();
    }
    let disk = RealDisk::open(home.path()).unwrap();
    let overlay = Overlay::create(disk.clone(), Frames::default(), &base_files()).unwrap();
    let handle = overlay.open_file(FILES[0].0).unwrap();
    overlay.write(&handle, &page_of(7), 2 * PAGE as u64).unwrap();
    overlay.allocate(&handle, 0, 12 * PAGE as u64).unwrap();
    overlay.sync(&handle).unwrap();
    overlay.write(&handle, &page_of(8), 3 * PAGE as u64).unwrap();
    overlay.rename(FILES[1].0, "base/5/moved").unwrap();
    overlay.sync_all().unwrap();

    let overlay = Overlay::open(disk, Frames::default(), &base_files(), Keep::All).unwrap();
    let look = |path: &str, page: u32| {
        let handle = overlay.open_file(path).unwrap();
        let mut bytes = vec![0; PAGE];
        overlay.read(&handle, &mut bytes, u64::from(page) * PAGE as u64).unwrap();
        content_of(&bytes)
    };
    let expected = [base_content(0, 1), 7, 8, base_content(0, 4)];
    assert_eq!([1, 2, 3, 4].map(|page| look(FILES[0].0, page)), expected);
    assert_eq!(look(FILES[0].0, 11), ZERO);
    assert_eq!(look("base/5/moved", 2), base_content(1, 2));
    assert!(overlay.open_file(FILES[1].0).is_err());

    // A name that was another's, of which not all was here.
    overlay.unlink(FILES[2].0).unwrap();
    let handle = overlay.create_file("base/5/new", 0o600).unwrap();
    overlay.write(&handle, &page_of(9), 0).unwrap();
    overlay.sync(&handle).unwrap();
    overlay.rename("base/5/new", FILES[2].0).unwrap();
    assert!(overlay.has_tracked_below("base/5") && overlay.has_tracked_below("base"));
    assert!(!overlay.has_tracked_below("bas") && !overlay.has_tracked_below("base/5/2"));
    let disk = RealDisk::open(home.path()).unwrap();
    let overlay = Overlay::open(disk, Frames::default(), &base_files(), Keep::All).unwrap();
    let handle = overlay.open_file(FILES[2].0).unwrap();
    let mut bytes = vec![0; PAGE];
    assert_eq!(overlay.read(&handle, &mut bytes, 0).unwrap(), PAGE);
    assert_eq!(content_of(&bytes), 9);
}

#[test]
fn where_little_room_is_left_nothing_is_kept_that_was_only_read() {
    let disk = SimDisk::default();
    let (path, pages) = FILES[0];
    disk.put(&place_of(path), pages as usize * PAGE);
    let frames = Frames::default();
    let overlay = Overlay::create(disk.clone(), frames.clone(), &base_files()[..1]).unwrap();
    let handle = overlay.open_file(path).unwrap();
    let look = |page: u32| {
        let mut bytes = vec![0; PAGE];
        overlay.read(&handle, &mut bytes, u64::from(page) * PAGE as u64).map(|_| content_of(&bytes))
    };
    let away = |is_away: bool| frames.is_away.store(is_away, Ordering::Relaxed);
    disk.fill(true);
    assert_eq!(look(5).unwrap(), base_content(0, 5));
    overlay.write(&handle, &page_of(7), 6 * PAGE as u64).unwrap();
    away(true);
    look(5).unwrap_err();
    assert_eq!(look(6).unwrap(), 7);
    away(false);
    assert_eq!(overlay.complete_if_there(0, path).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    disk.fill(false);
    assert_eq!(look(5).unwrap(), base_content(0, 5));
    away(true);
    assert_eq!((look(5).unwrap(), look(6).unwrap()), (base_content(0, 5), 7));
}

proptest! {
    // More with PROPTEST_CASES: some thousands were tried when it was written.
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn o1_o2_o3_o4_nothing_durable_is_lost_and_nothing_old_returns(ops in proptest::collection::vec(op_or_cut(), 1..60)) {
        let mut world = World::new();
        for op in &ops {
            world.act(op);
        }
        world.act(&Op::PowerCut(7));
    }
}
