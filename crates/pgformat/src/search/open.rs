//! What the transactions that are still open have done so far.
//!
//! Heap records come in long runs of one transaction and one relation: the newest such pair is counted
//! aside, and joins the rest when another comes.

use crate::wal::{Layout, Xids};
use crate::{Fork, Oid, PAGE_SIZE_BYTES, RelationLocator};
use lifeboat_base::Lsn;
use std::collections::{HashMap, HashSet};

/// Most transactions that are followed at once: more than `max_connections` ever is, with subtransactions.
pub const OPEN_TRANSACTIONS_LIMIT: usize = 1 << 18;
/// Most relations counted over all open transactions, and most files whose kind is remembered.
pub const ENTRIES_LIMIT: usize = 1 << 20;

/// Rows changed in one relation by one transaction.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) inserted: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
}

/// One transaction, so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Transaction {
    pub(super) first_lsn: Lsn,
    pub(super) tallies: HashMap<RelationLocator, Tally>,
    /// Files that it made, in order.
    pub(super) created: Vec<RelationLocator>,
    /// Relations that a record says it truncated: database and OID.
    pub(super) truncated: Vec<(Oid, Oid)>,
    pub(super) dropped_databases: Vec<Oid>,
}

impl Transaction {
    fn entries(&self) -> usize {
        self.tallies.len() + self.created.len() + self.truncated.len() + self.dropped_databases.len()
    }

    fn absorb(&mut self, other: Self) {
        self.first_lsn = self.first_lsn.min(other.first_lsn);
        for (locator, tally) in other.tallies {
            self.tallies.entry(locator).or_default().add(tally);
        }
        self.created.extend(other.created);
        self.truncated.extend(other.truncated);
        self.dropped_databases.extend(other.dropped_databases);
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
    }
}

/// What a file that no snapshot knows holds, by what was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Rows,
    Toast,
    Index,
}

#[derive(Debug)]
struct Run {
    xid: u32,
    locator: RelationLocator,
    first_lsn: Lsn,
    tally: Tally,
}

/// The relations of which there are pages of an index among a record's images: they end in a part of their access
/// method; pages of rows do not.
pub(super) fn index_pages<'a>(layout: &Layout<'a>) -> impl Iterator<Item = RelationLocator> + use<'a> {
    const SPECIAL_OFFSET: usize = 16;
    let images = layout.blocks().filter(|block| !block.image_compressed && block.fork == Fork::Main);
    images.filter_map(|block| {
        let special = crate::bytes::u16_at(block.image?, SPECIAL_OFFSET)?;
        (usize::from(special) < PAGE_SIZE_BYTES).then_some(block.locator)
    })
}

/// All open transactions.
#[derive(Debug, Default)]
pub(super) struct OpenTransactions {
    transactions: HashMap<u32, Transaction>,
    entries: usize,
    kinds: HashMap<RelationLocator, FileKind>,
    /// Files made by transactions that had no number yet.
    ownerless: HashSet<RelationLocator>,
    run: Option<Run>,
    incomplete: bool,
}

impl OpenTransactions {
    #[inline]
    pub(super) fn change(&mut self, xid: u32, lsn: Lsn, locator: RelationLocator, tally: Tally) {
        self.count(xid, lsn, locator).add(tally);
    }

    /// A speculative insertion met a conflict.
    pub(super) fn take_back(&mut self, xid: u32, lsn: Lsn, locator: RelationLocator) {
        let tally = self.count(xid, lsn, locator);
        tally.inserted = tally.inserted.saturating_sub(1);
    }

    pub(super) fn truncate(&mut self, xid: u32, lsn: Lsn, relations: impl Iterator<Item = (Oid, Oid)>) {
        for relation in relations {
            self.note(xid, lsn, |transaction| transaction.truncated.push(relation));
        }
    }

    pub(super) fn create(&mut self, xid: u32, lsn: Lsn, locator: RelationLocator, fork: Fork) {
        match (fork, xid) {
            // A transaction whose first record this is has no number yet (CREATE TABLE from 16 on).
            (Fork::Main, 0) if self.ownerless.len() < ENTRIES_LIMIT => _ = self.ownerless.insert(locator),
            (Fork::Main, 0) => self.incomplete = true,
            (Fork::Main, xid) => self.note(xid, lsn, |transaction| transaction.created.push(locator)),
            _ => {}
        }
    }

    pub(super) fn drop_database(&mut self, xid: u32, lsn: Lsn, database: Oid) {
        self.note(xid, lsn, |transaction| transaction.dropped_databases.push(database));
    }

    pub(super) fn has_created(&self, xid: u32) -> bool {
        self.transactions.get(&xid).is_some_and(|transaction| !transaction.created.is_empty())
    }

    pub(super) fn see_index_page(&mut self, xid: u32, locator: RelationLocator) {
        let created = self.transactions.get(&xid).map(|transaction| transaction.created.as_slice());
        if created.is_some_and(|created| created.contains(&locator)) {
            self.learn(locator, FileKind::Index);
        }
    }

    pub(super) fn abort(&mut self, xid: u32, subxacts: Xids<'_>) {
        self.end_run();
        for xid in std::iter::once(xid).chain(subxacts.iter()) {
            self.remove(xid);
        }
    }

    /// What the transaction and its subtransactions have done.
    pub(super) fn commit(&mut self, xid: u32, lsn: Lsn, subxacts: Xids<'_>) -> Transaction {
        self.end_run();
        let mut whole = self.remove(xid).unwrap_or(Transaction { first_lsn: lsn, ..Transaction::default() });
        for part in subxacts.iter().filter_map(|xid| self.remove(xid)) {
            whole.absorb(part);
        }
        // Whoever fills a file that nobody has owned has made it.
        let Self { ownerless, .. } = self;
        let own = whole.tallies.keys().copied().filter(|locator| ownerless.remove(locator));
        let own: Vec<_> = own.collect();
        whole.created.splice(0..0, own);
        whole
    }

    /// Forgets transactions older than the oldest that runs: the server crashed while they did.
    pub(super) fn forget_before(&mut self, oldest_running_xid: u32) {
        self.end_run();
        // Transaction numbers go in a circle: half of it is the past.
        let is_past = |xid: u32| xid.wrapping_sub(oldest_running_xid).cast_signed() < 0;
        let past: Vec<u32> = self.transactions.keys().copied().filter(|xid| is_past(*xid)).collect();
        for xid in past {
            self.remove(xid);
        }
    }

    /// What the file holds, going by what was written to it.
    pub(super) fn kind_of(&self, locator: &RelationLocator) -> Option<FileKind> {
        self.kinds.get(locator).copied()
    }

    pub(super) fn learn(&mut self, locator: RelationLocator, kind: FileKind) {
        if self.kinds.len() < ENTRIES_LIMIT {
            self.kinds.insert(locator, kind);
        } else {
            self.incomplete |= !self.kinds.contains_key(&locator);
        }
    }

    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    #[inline]
    fn count(&mut self, xid: u32, lsn: Lsn, locator: RelationLocator) -> &mut Tally {
        let same = self.run.as_ref().is_some_and(|run| run.xid == xid && run.locator == locator);
        if !same {
            self.end_run();
        }
        let run = || Run { xid, locator, first_lsn: lsn, tally: Tally::default() };
        &mut self.run.get_or_insert_with(run).tally
    }

    fn end_run(&mut self) {
        let Some(Run { xid, locator, first_lsn, tally }) = self.run.take() else { return };
        self.note(xid, first_lsn, |transaction| transaction.tallies.entry(locator).or_default().add(tally));
    }

    /// Writes something down for a transaction (S1).
    fn note(&mut self, xid: u32, lsn: Lsn, write: impl FnOnce(&mut Transaction)) {
        let known = self.transactions.contains_key(&xid);
        if self.entries >= ENTRIES_LIMIT || (!known && self.transactions.len() >= OPEN_TRANSACTIONS_LIMIT) {
            self.incomplete = true;
            return;
        }
        let fresh = || Transaction { first_lsn: lsn, ..Transaction::default() };
        let transaction = self.transactions.entry(xid).or_insert_with(fresh);
        transaction.first_lsn = transaction.first_lsn.min(lsn);
        let before = transaction.entries();
        write(transaction);
        self.entries += transaction.entries() - before;
    }

    fn remove(&mut self, xid: u32) -> Option<Transaction> {
        let transaction = self.transactions.remove(&xid)?;
        self.entries = self.entries.saturating_sub(transaction.entries());
        Some(transaction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Reader;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NONE: Tally = Tally { inserted: 0, updated: 0, deleted: 0 };
    const INSERTED: Tally = Tally { inserted: 1, ..NONE };
    const UPDATED: Tally = Tally { updated: 1, ..NONE };
    const DELETED: Tally = Tally { deleted: 1, ..NONE };

    fn file(number: u32) -> RelationLocator {
        RelationLocator { tablespace: Oid(1663), database: Oid(5), relfilenode: Oid(number) }
    }

    fn with_xids<T>(xids: &[u32], call: impl FnOnce(Xids<'_>) -> T) -> T {
        let bytes: Vec<u8> = xids.iter().flat_map(|xid| xid.to_le_bytes()).collect();
        call(Xids::read(&mut Reader::new(&bytes), xids.len() as u32).unwrap())
    }

    #[test]
    fn s1_what_is_beyond_a_limit_is_not_held_and_said() {
        let lsn = Lsn(8);
        let mut open = OpenTransactions::default();
        let last = 2 + OPEN_TRANSACTIONS_LIMIT as u32;
        for xid in 3..=last {
            open.change(xid, lsn, file(1), INSERTED);
        }
        open.end_run();
        assert_eq!((open.transactions.len(), open.is_incomplete()), (OPEN_TRANSACTIONS_LIMIT, false));
        open.change(last + 1, lsn, file(1), DELETED);
        open.end_run();
        assert_eq!((open.transactions.len(), open.is_incomplete()), (OPEN_TRANSACTIONS_LIMIT, true));
        // Those that are followed are told in full all the same, and give back what they took.
        open.change(3, lsn, file(1), INSERTED);
        let told = with_xids(&(4..=last).collect::<Vec<_>>(), |xids| open.commit(3, lsn, xids));
        assert_eq!(told.tallies[&file(1)].inserted, OPEN_TRANSACTIONS_LIMIT as u64 + 1);
        assert_eq!((open.transactions.len(), open.entries), (0, 0));

        let mut open = OpenTransactions::default();
        for number in 0..=ENTRIES_LIMIT as u32 {
            assert!(!open.is_incomplete());
            open.change(7, lsn, file(number), UPDATED);
        }
        open.end_run();
        assert_eq!((open.entries, open.is_incomplete()), (ENTRIES_LIMIT, true));

        let mut open = OpenTransactions::default();
        for number in 0..=ENTRIES_LIMIT as u32 {
            assert!(!open.is_incomplete());
            open.learn(file(number), FileKind::Toast);
        }
        assert_eq!((open.kinds.len(), open.is_incomplete()), (ENTRIES_LIMIT, true));

        let mut open = OpenTransactions::default();
        for number in 0..=ENTRIES_LIMIT as u32 {
            assert!(!open.is_incomplete());
            open.create(0, lsn, file(number), Fork::Main);
        }
        assert_eq!((open.ownerless.len(), open.is_incomplete()), (ENTRIES_LIMIT, true));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u32, u32, u64),
        Update(u32, u32),
        Delete(u32, u32),
        Commit(u32, Vec<u32>),
        Abort(u32, Vec<u32>),
        /// The server crashed: of all before this number nothing more comes.
        Crash(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (xid, file) = (3_u32..12, 1_u32..4);
        let parts = prop::collection::vec(3_u32..12, 0..4);
        prop_oneof![
            (xid.clone(), file.clone(), 1_u64..50)
                .prop_map(|(xid, file, rows)| Step::Insert(xid, file, rows)),
            (xid.clone(), file.clone()).prop_map(|(xid, file)| Step::Update(xid, file)),
            (xid.clone(), file).prop_map(|(xid, file)| Step::Delete(xid, file)),
            (xid.clone(), parts.clone()).prop_map(|(xid, parts)| Step::Commit(xid, parts)),
            (xid.clone(), parts).prop_map(|(xid, parts)| Step::Abort(xid, parts)),
            xid.prop_map(Step::Crash),
        ]
    }

    type Counts = (u64, u64, u64);

    proptest! {
        /// Against a model that keeps every step of each number until it ends.
        #[test]
        fn s2_only_what_was_committed_is_told_and_all_of_it(steps in prop::collection::vec(step(), 0..60)) {
            let lsn = Lsn(8);
            let mut open = OpenTransactions::default();
            let mut done: BTreeMap<u32, BTreeMap<u32, Counts>> = BTreeMap::new();
            for step in steps {
                let mut count = |xid, file, (inserted, updated, deleted): Counts| {
                    let counts = done.entry(xid).or_default().entry(file).or_default();
                    *counts = (counts.0 + inserted, counts.1 + updated, counts.2 + deleted);
                };
                match step {
                    Step::Insert(xid, number, rows) => {
                        open.change(xid, lsn, file(number), Tally { inserted: rows, ..NONE });
                        count(xid, number, (rows, 0, 0));
                    }
                    Step::Update(xid, number) => {
                        open.change(xid, lsn, file(number), UPDATED);
                        count(xid, number, (0, 1, 0));
                    }
                    Step::Delete(xid, number) => {
                        open.change(xid, lsn, file(number), DELETED);
                        count(xid, number, (0, 0, 1));
                    }
                    Step::Abort(xid, parts) => {
                        with_xids(&parts, |parts| open.abort(xid, parts));
                        done.retain(|of, _| *of != xid && !parts.contains(of));
                    }
                    Step::Crash(oldest) => {
                        open.forget_before(oldest);
                        done.retain(|of, _| *of >= oldest);
                    }
                    Step::Commit(xid, parts) => {
                        let told = with_xids(&parts, |parts| open.commit(xid, lsn, parts));
                        let mut expected: BTreeMap<u32, Counts> = BTreeMap::new();
                        let (mine, others): (BTreeMap<_, _>, _) =
                            std::mem::take(&mut done).into_iter().partition(|(of, _)| *of == xid || parts.contains(of));
                        done = others;
                        for (number, counts) in mine.into_values().flatten() {
                            let sum = expected.entry(number).or_default();
                            *sum = (sum.0 + counts.0, sum.1 + counts.1, sum.2 + counts.2);
                        }
                        let told = told.tallies.iter();
                        let told: BTreeMap<u32, Counts> = told
                            .map(|(file, t)| (file.relfilenode.0, (t.inserted, t.updated, t.deleted)))
                            .collect();
                        prop_assert_eq!(told, expected);
                    }
                }
            }
        }
    }
}
