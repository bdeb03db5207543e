//! A view beside a plain directory: whatever is done to both, both answer alike.

use crate::views_away::Seen;
use lifeboat_testkit::postgres::Installation;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Result;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Histories, and operations in each at most. All are of one view, which is never new again.
const HISTORIES: u32 = 60;
const OPERATIONS: usize = 60;
/// To try others than the same ones each time, and to repeat what failed.
const SEED: &str = "LIFEBOAT_TEST_SEED";
/// Bytes of the restore point's big table that are played with, and some behind its end.
const SPAN_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone)]
enum Op {
    Create {
        name: usize,
        is_new: bool,
        is_cut: bool,
        mode: u32,
    },
    Write {
        name: usize,
        at: u64,
        length: usize,
        byte: u8,
    },
    Append {
        name: usize,
        length: usize,
        byte: u8,
    },
    Read {
        name: usize,
        at: u64,
        length: usize,
    },
    Cut {
        name: usize,
        length: u64,
    },
    Allocate {
        name: usize,
        at: u64,
        length: u64,
    },
    Sync {
        name: usize,
    },
    /// Kept open, and used when its name is another's.
    Hold {
        name: usize,
    },
    WriteHeld {
        at: u64,
        byte: u8,
    },
    ReadHeld {
        at: u64,
    },
    Unlink {
        name: usize,
    },
    Rename {
        from: usize,
        to: usize,
    },
    MakeDirectory {
        name: usize,
    },
    RemoveDirectory {
        name: usize,
    },
    Link {
        name: usize,
        to: usize,
    },
    Mode {
        name: usize,
        mode: u32,
    },
    List,
}

fn op(names: usize) -> impl Strategy<Value = Op> {
    let name = 0..names;
    let at = prop_oneof![0..SPAN_BYTES, (0..SPAN_BYTES / 8192).prop_map(|page| page * 8192)];
    let length = prop_oneof![1usize..300, 1usize..20_000, Just(8192usize)];
    let mode = prop_oneof![Just(0o600u32), Just(0o640), Just(0o644), Just(0o755)];
    prop_oneof![
        3 => (name.clone(), any::<bool>(), any::<bool>(), mode.clone())
            .prop_map(|(name, is_new, is_cut, mode)| Op::Create { name, is_new, is_cut, mode }),
        8 => (name.clone(), at.clone(), length.clone(), any::<u8>())
            .prop_map(|(name, at, length, byte)| Op::Write { name, at, length, byte }),
        2 => (name.clone(), length.clone(), any::<u8>())
            .prop_map(|(name, length, byte)| Op::Append { name, length, byte }),
        8 => (name.clone(), at.clone(), length).prop_map(|(name, at, length)| Op::Read { name, at, length }),
        3 => (name.clone(), at.clone()).prop_map(|(name, length)| Op::Cut { name, length }),
        1 => (name.clone(), at.clone(), 1u64..40_000)
            .prop_map(|(name, at, length)| Op::Allocate { name, at, length }),
        2 => name.clone().prop_map(|name| Op::Sync { name }),
        2 => name.clone().prop_map(|name| Op::Hold { name }),
        2 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Op::WriteHeld { at, byte }),
        2 => at.prop_map(|at| Op::ReadHeld { at }),
        1 => name.clone().prop_map(|name| Op::Unlink { name }),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Op::Rename { from, to }),
        1 => name.clone().prop_map(|name| Op::MakeDirectory { name }),
        1 => name.clone().prop_map(|name| Op::RemoveDirectory { name }),
        1 => (name.clone(), name.clone()).prop_map(|(name, to)| Op::Link { name, to }),
        1 => (name, mode).prop_map(|(name, mode)| Op::Mode { name, mode }),
        1 => Just(Op::List),
    ]
}

/// One of the two directories.
struct Side {
    root: PathBuf,
    names: Vec<String>,
    held: Option<File>,
}

impl Side {
    fn path(&self, name: usize) -> PathBuf {
        self.root.join(&self.names[name])
    }

    /// What came of it, for comparison.
    fn act(&mut self, op: &Op) -> String {
        match self.try_act(op) {
            Ok(answer) => answer,
            Err(error) => format!("{:?}", error.raw_os_error()),
        }
    }

    fn try_act(&mut self, op: &Op) -> Result<String> {
        let open = |path: PathBuf| OpenOptions::new().read(true).write(true).open(path);
        let size = |file: &File| Ok(format!("{} bytes", file.metadata()?.len()));
        match *op {
            Op::Create { name, is_new, is_cut, mode } => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(is_cut);
                let file =
                    if is_new { options.create_new(true) } else { &mut options }.open(self.path(name))?;
                file.set_permissions(PermissionsExt::from_mode(mode))?;
                size(&file)
            }
            Op::Write { name, at, length, byte } => {
                let file = open(self.path(name))?;
                file.write_all_at(&vec![byte; length], at)?;
                size(&file)
            }
            Op::Append { name, length, byte } => {
                let file = OpenOptions::new().append(true).open(self.path(name))?;
                std::io::Write::write_all(&mut &file, &vec![byte; length])?;
                size(&file)
            }
            Op::Read { name, at, length } => {
                let mut buffer = vec![0; length];
                let read = open(self.path(name))?.read_at(&mut buffer, at)?;
                Ok(format!("{:08x} of {read}", crc32c::crc32c(&buffer[..read])))
            }
            Op::Cut { name, length } => {
                let file = open(self.path(name))?;
                file.set_len(length)?;
                size(&file)
            }
            Op::Allocate { name, at, length } => {
                let file = open(self.path(name))?;
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), at, length)?;
                size(&file)
            }
            Op::Sync { name } => open(self.path(name))?.sync_all().map(|()| "synced".to_owned()),
            Op::Hold { name } => {
                self.held = None;
                self.held = Some(open(self.path(name))?);
                Ok("held".to_owned())
            }
            Op::WriteHeld { at, byte } => match &self.held {
                None => Ok("none".to_owned()),
                Some(file) => {
                    file.write_all_at(&[byte; 5000], at)?;
                    size(file)
                }
            },
            Op::ReadHeld { at } => match &self.held {
                None => Ok("none".to_owned()),
                Some(file) => {
                    let mut buffer = vec![0; 12_000];
                    let read = file.read_at(&mut buffer, at)?;
                    Ok(format!("{:08x} of {read}", crc32c::crc32c(&buffer[..read])))
                }
            },
            Op::Unlink { name } => std::fs::remove_file(self.path(name)).map(|()| "gone".to_owned()),
            Op::Rename { from, to } => {
                std::fs::rename(self.path(from), self.path(to)).map(|()| "renamed".to_owned())
            }
            Op::MakeDirectory { name } => std::fs::create_dir(self.path(name)).map(|()| "made".to_owned()),
            Op::RemoveDirectory { name } => std::fs::remove_dir(self.path(name)).map(|()| "gone".to_owned()),
            Op::Link { name, to } => {
                symlink(self.names[to].rsplit('/').next().unwrap(), self.path(name))?;
                Ok(format!("{:?}", std::fs::read_link(self.path(name))?))
            }
            Op::Mode { name, mode } => {
                std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(mode))?;
                Ok("changed".to_owned())
            }
            Op::List => Ok(format!("{:?}", self.list(&self.root)?)),
        }
    }

    /// Names with kinds, modes and lengths.
    fn list(&self, directory: &Path) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let kind = entry.file_type()?;
            assert_eq!(kind, metadata.file_type());
            let name = entry.path().strip_prefix(&self.root).unwrap().display().to_string();
            let length = if kind.is_dir() { 0 } else { metadata.len() };
            found.insert(name, format!("{kind:?} {:o} {length}", metadata.mode()));
            if kind.is_dir() {
                found.extend(self.list(&entry.path())?);
            }
        }
        Ok(found)
    }

    /// All that is in all files.
    fn contents(&self) -> BTreeMap<String, u32> {
        let names = self.list(&self.root).unwrap().into_keys();
        let files = names.filter(|name| self.root.join(name).symlink_metadata().unwrap().is_file());
        files
            .map(|name| {
                let bytes = std::fs::read(self.root.join(&name)).unwrap();
                (name, crc32c::crc32c(&bytes))
            })
            .collect()
    }
}

/// A file that is gone, written to by who has it open; a link that gets the name of a file, and another.
fn found_once() -> Vec<Op> {
    let create = Op::Create { name: 0, is_new: true, is_cut: false, mode: 0o600 };
    let gone = [create, Op::Hold { name: 0 }, Op::Unlink { name: 0 }, Op::WriteHeld { at: 100, byte: 1 }];
    let link = [Op::Link { name: 1, to: 0 }, Op::Rename { from: 1, to: 10 }, Op::Rename { from: 10, to: 1 }];
    gone.into_iter().chain(link).chain([Op::Unlink { name: 1 }]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_o4_a_view_and_a_plain_directory_answer_alike_whatever_is_done_to_them() {
    let seen = Seen::new(&Installation::newest()).await;
    let (database, big) = seen.path.rsplit_once('/').unwrap();
    let plain = seen.plain_copy();
    // Which no backup takes.
    std::fs::remove_file(plain.join("pg_internal.init")).unwrap();
    let root = seen.into.join(database);
    // Files that the restore point has, large and small, and such as it never had.
    let mut names: Vec<String> =
        ["new", "new2", "sub", "sub/in", "sub/in2", "9999999_fsm"].map(str::to_owned).into();
    names.extend([
        big.to_owned(),
        big.to_owned(),
        "1259".to_owned(),
        "1249".to_owned(),
        "1255_fsm".to_owned(),
    ]);
    let mut sides = [root, plain].map(|root| Side { root, names: names.clone(), held: None });
    // What was found once.
    for op in found_once() {
        let [seen, plain] = &mut sides;
        assert_eq!(seen.act(&op), plain.act(&op), "{op:?}");
    }
    let config =
        Config { cases: HISTORIES, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let seed = std::env::var(SEED).map_or(1, |seed| seed.parse().unwrap());
    let bytes: Vec<u8> = u64::to_le_bytes(seed).repeat(4);
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let histories = std::cell::RefCell::new(&mut sides);
    let ran = runner.run(&proptest::collection::vec(op(names.len()), 1..OPERATIONS), |ops| {
        let mut sides = histories.borrow_mut();
        for (number, op) in ops.iter().enumerate() {
            let [seen, plain] = &mut **sides;
            let (seen, plain) = (seen.act(op), plain.act(op));
            prop_assert_eq!(seen, plain, "{:?}, after {:?}", op, &ops[..number]);
        }
        prop_assert_eq!(sides[0].list(&sides[0].root).unwrap(), sides[1].list(&sides[1].root).unwrap());
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("with {SEED}={seed}: {failure}"));
    assert!(sides[0].contents() == sides[1].contents(), "contents differ with {SEED}={seed}");
    // What is only there by its name does not lose it with the directory's.
    let moved = std::fs::rename(seen.into.join("base/4"), seen.into.join("base/four")).unwrap_err();
    assert_eq!(moved.kind(), std::io::ErrorKind::CrossesDevices);
    // Nor is anything else shown after a kill, once it was synced.
    for side in &mut sides {
        side.held = None;
        // What is no file any more is none of the restore point's.
        let path = side.root.join("1249_fsm");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
    }
    rustix::fs::syncfs(File::open(seen.home()).unwrap()).unwrap();
    std::fs::write(seen.into.join("postmaster.pid"), "").unwrap();
    let seen = seen.shown_again().await;
    assert!(sides[0].contents() == sides[1].contents(), "contents differ once it is shown again");
    seen.view.hide().unwrap();
}
