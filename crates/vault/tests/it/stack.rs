//! Stacks of layers, against files that live through the same changes.

use crate::fixture::service;
use crate::support::World;
use lifeboat_vault::Vault;
use lifeboat_vault::layer::{
    Changed, FRAME_BYTES, FileEntry, FileKind, LayerError, LayerWriter, Stack, fold,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: usize = 8192;
const FRAME_PAGES: usize = FRAME_BYTES / PAGE;
const PATHS: [&str; 3] = ["base/5/1", "base/5/2", "global/3"];

/// Something that happens to a file.
#[derive(Debug, Clone)]
enum Change {
    Write { page: usize, value: u8 },
    Truncate { pages: usize },
    Remove,
    MakeAnew { pages: usize },
}

/// A file, and what happened to it since the last layer.
#[derive(Debug, Clone, Default)]
struct Live {
    /// What each page is filled with.
    pages: Vec<u8>,
    changed: BTreeSet<usize>,
    smallest: usize,
    is_anew: bool,
}

#[derive(Debug, Default)]
struct Files {
    live: BTreeMap<&'static str, Live>,
    removed: BTreeSet<&'static str>,
}

impl Files {
    fn change(&mut self, path: &'static str, change: &Change) {
        match (change, self.live.get_mut(path)) {
            (Change::Write { page, value }, Some(file)) => {
                for zero in file.pages.len()..=*page {
                    file.pages.push(0);
                    file.changed.insert(zero);
                }
                file.pages[*page] = *value;
                file.changed.insert(*page);
            }
            (Change::Truncate { pages }, Some(file)) if *pages < file.pages.len() => {
                file.pages.truncate(*pages);
                file.changed.retain(|page| page < pages);
                file.smallest = file.smallest.min(*pages);
            }
            (Change::Remove, Some(_)) => {
                self.live.remove(path);
                self.removed.insert(path);
            }
            (Change::MakeAnew { pages }, _) => {
                let changed = (0..*pages).collect();
                let made = Live { pages: vec![9; *pages], changed, smallest: 0, is_anew: true };
                self.live.insert(path, made);
            }
            _ => {}
        }
    }

    /// Writes a layer of what changed, and forgets that it did.
    async fn put(&mut self, vault: &Vault, id: &str, is_base: bool) {
        let writer = LayerWriter::new(vault, &service(), id.to_owned(), 1);
        let mut entries = Vec::new();
        let mut pack = writer.begin_pack();
        for (path, file) in &mut self.live {
            let mut entry =
                FileEntry::new((*path).to_owned(), FileKind::File, (file.pages.len() * PAGE) as u64, 0o600);
            let frames: BTreeSet<usize> = file.changed.iter().map(|page| page / FRAME_PAGES).collect();
            for frame in frames {
                let first = frame * FRAME_PAGES;
                let span = (file.pages.len() - first).min(FRAME_PAGES);
                let mut changed = Changed::default();
                for page in 0..span {
                    let value = file.pages[first + page];
                    if !file.changed.contains(&(first + page)) {
                        continue;
                    } else if value == 0 {
                        changed.zero |= 1 << page;
                    } else {
                        changed.present |= 1 << page;
                        changed.raw.extend([value; PAGE]);
                    }
                }
                let begin = (first * PAGE) as u64;
                if is_base {
                    let raw: Vec<u8> =
                        file.pages[first..first + span].iter().flat_map(|v| [*v; PAGE]).collect();
                    pack.add(path, begin, &raw);
                } else {
                    pack.add_changed(path, begin, (span * PAGE) as u32, &changed);
                }
                // Small packs: a file's frames are in several.
                if !pack.is_empty() && frame % 2 == 0 {
                    let full = std::mem::replace(&mut pack, writer.begin_pack());
                    writer.put_pack(full.finish()).await.unwrap();
                }
            }
            if !is_base {
                entry.made_anew = file.is_anew;
                entry.smallest_length = Some((file.smallest * PAGE) as u64);
            }
            let _ = std::mem::take(&mut file.changed);
            (file.smallest, file.is_anew) = (file.pages.len(), false);
            entries.push(entry);
        }
        let removed = std::mem::take(&mut self.removed);
        for path in removed.into_iter().filter(|path| !self.live.contains_key(path) && !is_base) {
            let entry = FileEntry::new(path.to_owned(), FileKind::File, 0, 0o600);
            entries.push(FileEntry { removed: true, ..entry });
        }
        writer.put_pack(pack.finish()).await.unwrap();
        if is_base { writer.finish(entries).await } else { writer.finish_delta(entries).await }.unwrap();
    }

    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let content = |file: &Live| file.pages.iter().flat_map(|value| [*value; PAGE]).collect();
        self.live.iter().map(|(path, file)| ((*path).to_owned(), content(file))).collect()
    }
}

/// All files, frame by frame.
async fn by_frames(stack: &Stack) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for file in &stack.index().files {
        let mut content = Vec::new();
        while (content.len() as u64) < file.length {
            // From anywhere in the frame.
            let at = (content.len() as u64 + 5000).min(file.length - 1);
            content.extend(stack.frame(&file.path, at).await.unwrap().unwrap());
        }
        assert_eq!(stack.frame(&file.path, file.length).await.unwrap(), None);
        found.insert(file.path.clone(), content);
    }
    found
}

/// All files, pack by pack, the newest layer's first.
async fn by_packs(stack: &Stack) -> BTreeMap<String, Vec<u8>> {
    let empty = |file: &FileEntry| (file.path.clone(), vec![0; file.length as usize]);
    let mut found: BTreeMap<_, _> = stack.index().files.iter().map(empty).collect();
    let mut written = BTreeSet::new();
    for number in (0..stack.index().packs.len() as u32).rev() {
        let pack = stack.pack(number).await.unwrap();
        assert_eq!(pack.directory, stack.directory(number).await.unwrap());
        for (frame, entry) in (0..).zip(&pack.directory.frames) {
            let path = &pack.directory.files[entry.file as usize];
            let raw = pack.frame(frame).unwrap();
            for stretch in stack.showing(number, path, entry) {
                let bytes = &raw[stretch.raw.clone()];
                let begin = stretch.begin as usize;
                for page in (begin..begin + bytes.len()).step_by(PAGE) {
                    assert!(written.insert((path.clone(), page)), "{path}, byte {page}: twice");
                }
                found.get_mut(path).unwrap()[begin..begin + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
    found
}

fn change() -> impl Strategy<Value = (usize, Change)> {
    let change = prop_oneof![
        8 => (0usize..40, 0u8..4).prop_map(|(page, value)| Change::Write { page, value }),
        3 => (0usize..40).prop_map(|pages| Change::Truncate { pages }),
        1 => Just(Change::Remove),
        1 => (0usize..20).prop_map(|pages| Change::MakeAnew { pages }),
    ];
    (0..PATHS.len(), change)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn s1_s2_f1_a_stack_is_read_as_the_files_are(
        rounds in proptest::collection::vec(proptest::collection::vec(change(), 0..12), 1..7),
        folds in proptest::collection::vec(0_usize..6, 7),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new(1, 1).await;
            let vault = world.vault().await;
            let mut files = Files::default();
            for path in PATHS {
                files.change(path, &Change::MakeAnew { pages: 20 });
            }
            let mut ids = Vec::new();
            for (number, changes) in rounds.iter().enumerate() {
                for (path, change) in changes {
                    files.change(PATHS[*path], change);
                }
                let id = format!("layer-{number}");
                files.put(&vault, &id, number == 0).await;
                ids.insert(0, id);
                // F1: the newest of them folded, now and then, into one.
                let folded = folds[number].min(ids.len() - 1);
                if folded > 1 {
                    let id = format!("fold-{number}");
                    let writer = LayerWriter::new(&vault, &service(), id.clone(), 1);
                    fold(&vault, &service(), &ids[..folded], writer).await.unwrap();
                    ids.splice(..folded, [id]);
                }
                let stack = Stack::open(&vault, &service(), &ids).await.unwrap();
                let expected = files.contents();
                assert!(by_frames(&stack).await == expected, "by frames, {number}");
                assert!(by_packs(&stack).await == expected, "by packs, {number}");
            }
        });
    }
}

#[tokio::test]
async fn layers_without_a_base_are_refused() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let mut files = Files::default();
    files.change(PATHS[0], &Change::MakeAnew { pages: 1 });
    files.put(&vault, "base", true).await;
    files.put(&vault, "delta", false).await;
    for wrong in [vec!["delta"], vec![], vec!["base", "delta"], vec!["base", "base"]] {
        let ids: Vec<String> = wrong.iter().map(|id| (*id).to_owned()).collect();
        let opened = Stack::open(&vault, &service(), &ids).await;
        assert!(matches!(opened, Err(LayerError::NoBase { .. })), "{wrong:?}");
    }
    let right = ["delta", "base"].map(str::to_owned);
    Stack::open(&vault, &service(), &right).await.unwrap();
}
