//! What the vault holds of the cluster, listed once and kept up to date by what the stream adds.
//!
//! # Invariants
//! - **Y1** Only what is in as many copies as the plan asks counts: the server is told that it may forget
//!   it.
//! - **Y2** The vault is listed once a process, not at every reconnect: archives have 100 000s of objects.
//!   Others may add meanwhile, which costs at most that something is streamed twice.
//! - **Y3** A copy that is away does not keep the stream from beginning, as long as enough are left for a write to
//!   count. What the silent copy holds is then not known, and what it shares with one other may not be seen to be
//!   durable; the vault is listed again at each reconnect until it is.
//! - **Y4** Where too few copies answer for a write to count there is no stream: all that the vault holds would look
//!   as if it were not durable, and no loss could be told from it.

use lifeboat_base::{LsnRange, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::{TimelineHistory, WalFileName};
use lifeboat_vault::wal::{Coverage, WalArchive, WalError};
use lifeboat_vault::{Copies, CopyFailure, Listing, Vault, names};
use std::collections::BTreeMap;

/// What is known of one cluster's WAL in the vault.
#[derive(Debug, Default)]
pub(super) struct Memory {
    archive: Option<WalArchive>,
    /// Y3.
    is_partial: bool,
    coverage: BTreeMap<Timeline, Coverage>,
    histories: BTreeMap<Timeline, TimelineHistory>,
}

impl Memory {
    /// The archive of this cluster, if it has been listed whole.
    pub(super) fn archive(&self, system: SystemId) -> Option<WalArchive> {
        let is_it = |archive: &WalArchive| archive.cluster().system_id == system && !self.is_partial;
        self.archive.clone().filter(is_it)
    }

    /// Lists what the vault holds of `archive`. Returns the copies that did not answer (Y3).
    pub(super) async fn load(
        &mut self,
        vault: &Vault,
        service: &ServiceName,
        archive: &WalArchive,
    ) -> Result<Vec<CopyFailure>, WalError> {
        let prefix = names::wal(service, archive.cluster().system_id);
        let listing = vault.copies().list(&prefix).await;
        if !listing.is_complete {
            return Err(WalError::silent(&listing));
        }
        let copies = vault.copies();
        let is_silent = |name: &str| listing.failures.iter().any(|failure| failure.copy == name);
        let all = copies.all().iter().enumerate();
        let answering: Vec<usize> =
            all.filter(|(_, c)| !is_silent(c.name())).map(|(index, _)| index).collect();
        // Y4.
        if copies.counted(&answering) < copies.durable() {
            return Err(WalError::silent(&listing));
        }
        *self = Self {
            archive: None,
            is_partial: !listing.failures.is_empty(),
            coverage: covered(&listing, &prefix, archive, vault.copies()),
            histories: BTreeMap::new(),
        };
        for timeline in self.coverage.keys().copied() {
            if let Some(file) = archive.history_file(timeline).await? {
                let history = TimelineHistory::parse(timeline, &file);
                let history = history.map_err(|source| WalError::History { timeline, source })?;
                self.histories.insert(timeline, history);
            }
        }
        // Last: a half-loaded memory is loaded again.
        self.archive = Some(archive.clone());
        Ok(listing.failures)
    }

    /// Whether a copy that may hold more did not answer (Y3).
    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// The timelines of which the vault has anything, with what it has.
    pub(super) fn coverage(&self) -> &BTreeMap<Timeline, Coverage> {
        &self.coverage
    }

    /// The history of a timeline, if the vault has it; timeline 1 has an empty one.
    pub(super) fn history(&self, timeline: Timeline) -> Option<TimelineHistory> {
        let root = (timeline == Timeline(1)).then(|| TimelineHistory::root(timeline));
        self.histories.get(&timeline).cloned().or(root)
    }

    /// The vault has this history now.
    pub(super) fn add_history(&mut self, history: TimelineHistory) {
        self.coverage.entry(history.timeline()).or_default();
        self.histories.insert(history.timeline(), history);
    }

    /// The vault has this WAL now.
    pub(super) fn add(&mut self, timeline: Timeline, range: LsnRange) {
        let coverage = self.coverage.entry(timeline).or_default();
        let mut stretches = std::mem::take(&mut coverage.stretches);
        stretches.push(range);
        coverage.stretches = merge(stretches);
    }
}

/// What a listing proves, by timeline (Y1).
fn covered(
    listing: &Listing,
    prefix: &str,
    archive: &WalArchive,
    copies: &Copies,
) -> BTreeMap<Timeline, Coverage> {
    let mut all: BTreeMap<Timeline, Coverage> = BTreeMap::new();
    for (name, listed) in &listing.objects {
        let below = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
        let Some(timeline) = below.and_then(|rest| Timeline::from_sortable(rest.get(..8)?)) else { continue };
        let coverage = all.entry(timeline).or_default();
        coverage.stored_bytes += listed.size;
        if copies.counted(&listed.copies) < copies.durable() {
            continue;
        }
        let last = name.rsplit('/').next().unwrap_or_default();
        let whole = WalFileName::parse(last, archive.segment_size()).map(|file| file.range());
        coverage.stretches.extend(whole.or_else(|| names::piece_range(name)));
    }
    for coverage in all.values_mut() {
        coverage.stretches = merge(std::mem::take(&mut coverage.stretches));
    }
    all
}

/// Joins what touches or overlaps; leaves out what is empty.
fn merge(mut ranges: Vec<LsnRange>) -> Vec<LsnRange> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable();
    let mut merged: Vec<LsnRange> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use lifeboat_base::Lsn;
    use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};

    #[tokio::test]
    async fn y1_what_is_in_too_few_copies_does_not_count() {
        let bench = Bench::new(2).await;
        let range = |start: u64, end| LsnRange { start: Lsn(start), end: Lsn(end) };
        let put = async |start, bytes: &[u8]| bench.archive.put_piece(Timeline(1), Lsn(start), bytes).await;
        put(0, &[1; 100]).await.unwrap();
        bench.stores[1].set_plan(FaultPlan::none().on(Select::writes(), Fault::Fail));
        put(100, &[2; 100]).await.unwrap_err();
        bench.stores[1].set_plan(FaultPlan::none());
        put(200, &[3; 100]).await.unwrap();
        let seen = async || {
            let mut memory = Memory::default();
            memory.load(&bench.vault, &bench.service, &bench.archive).await.unwrap();
            memory.coverage()[&Timeline(1)].stretches.clone()
        };
        // It is in the first copy, and the plan asks for two.
        assert_eq!(seen().await, [range(0, 100), range(200, 300)]);
        put(100, &[2; 100]).await.unwrap();
        assert_eq!(seen().await, [range(0, 300)]);
    }

    #[tokio::test]
    async fn y3_y4_a_silent_copy_makes_what_is_known_partial_and_too_few_make_it_nothing() {
        // With both wanted, what is there would look as if nothing of it were durable.
        let bench = Bench::new(2).await;
        bench.archive.put_piece(Timeline(1), Lsn(0), &[1; 100]).await.unwrap();
        let silent = || FaultPlan::none().on(Select::kind(OperationKind::List), Fault::Fail);
        let mut memory = Memory::default();
        bench.stores[1].set_plan(silent());
        let loaded = memory.load(&bench.vault.as_seen(), &bench.service, &bench.archive).await;
        assert!(matches!(loaded, Err(WalError::Silent(_))), "{loaded:?}");
        assert!(memory.archive(SystemId(7)).is_none());
        bench.stores[1].set_plan(FaultPlan::none());
        memory.load(&bench.vault, &bench.service, &bench.archive).await.unwrap();
        assert!(!memory.is_partial() && memory.archive(SystemId(7)).is_some());
        // Two of three are enough to go on with; what they do not share is not known to be durable.
        let bench = Bench::wanting(3, 2).await;
        bench.stores[0].set_plan(FaultPlan::none().on(Select::writes(), Fault::Fail));
        bench.archive.put_piece(Timeline(1), Lsn(0), &[1; 100]).await.unwrap();
        bench.stores[0].set_plan(FaultPlan::none());
        bench.stores[2].set_plan(silent());
        let loaded = memory.load(&bench.vault.as_seen(), &bench.service, &bench.archive).await.unwrap();
        assert_eq!((loaded.len(), memory.is_partial()), (1, true));
        assert_eq!(memory.coverage()[&Timeline(1)].stretches, []);
        assert!(memory.archive(SystemId(7)).is_none(), "it is listed again at the next reconnect");
    }

    #[test]
    fn what_is_added_joins_what_is_there() {
        let range = |start, end| LsnRange { start: Lsn(start), end: Lsn(end) };
        let mut memory = Memory::default();
        for (start, end) in [(10, 20), (40, 50), (20, 25), (30, 30), (24, 41)] {
            memory.add(Timeline(1), range(start, end));
        }
        assert_eq!(memory.coverage()[&Timeline(1)].stretches, [range(10, 50)]);
        assert_eq!(memory.history(Timeline(1)), Some(TimelineHistory::root(Timeline(1))));
        assert_eq!(memory.history(Timeline(2)), None);
    }
}
