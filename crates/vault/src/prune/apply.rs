//! Carries out: bury, wait, look again, delete in order, write down the end.

use super::facts::{Facts, FactsError, Verification, WalObject, gather};
use super::keep::{Policy, Verdicts, decide};
use super::tombs::{BURIALS_LIMIT, BURIED, Burial, BuriedData, DELETED, DELETING, DeletedData, DeletingData};
use super::tombs::{Item, Tomb, Tombs, scope};
use super::wal::{self, Needs};
use crate::lease::{FenceError, Fenced};
use crate::point::RestorePoint;
use crate::wal::{Cluster, WalArchive};
use crate::{Vault, names, pins};
use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline, error_chain};
use lifeboat_pgformat::WalFileName;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Objects that are deleted between two looks at the lease.
const DELETE_BATCH: usize = 500;
/// Looks at the pins before one carrying out; each is overtaken by a new pin.
const PIN_LOOKS: usize = 5;

/// What to prune, and how.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// The service.
    pub service: ServiceName,
    /// What stays.
    pub policy: Policy,
    /// What became of the restore points, by name; absent means not verified.
    pub verification: BTreeMap<String, Verification>,
    /// From the tombstone to the deleting. With none, one run does both.
    pub grace: Duration,
    /// How long to wait for another prune of the service.
    pub wait: Duration,
}

/// Why prune stopped. What it began, the next run finishes (R4).
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// Another prunes, or took over.
    #[error("prune of {service} stops")]
    Fence {
        /// The service.
        service: ServiceName,
        /// Why.
        source: FenceError,
    },
    /// What is there is not known.
    #[error("nothing of {service} is pruned")]
    Facts {
        /// The service.
        service: ServiceName,
        /// Why.
        source: FactsError,
    },
    /// Restores begin again and again while prune looks.
    #[error("nothing of {0} is pruned now: its pins change faster than they are read; try again")]
    Restless(ServiceName),
}

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What stays and what goes, as of the end.
    pub verdicts: Verdicts,
    /// Newly buried; deleted after the grace.
    pub buried: Vec<Burial>,
    /// Gone.
    pub deleted: Vec<Burial>,
    /// Buried earlier, and wanted again.
    pub spared: Vec<Item>,
    /// Objects deleted.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Buried, due, and still there: what a copy said. The next run tries again.
    pub left: Vec<String>,
}

/// What a run would do now, without doing it.
///
/// # Errors
/// [`PruneError::Facts`].
pub async fn plan(vault: &Vault, options: &PruneOptions) -> Result<(Verdicts, Tombs), PruneError> {
    let (tombs, _, verdicts) = look(vault, options).await?;
    Ok((verdicts, tombs))
}

/// Deletes what was buried and is due, and buries what goes.
///
/// # Errors
/// [`PruneError`].
pub async fn run(vault: &Vault, actor: &str, options: &PruneOptions) -> Result<Outcome, PruneError> {
    let fence = |source| PruneError::Fence { service: options.service.clone(), source };
    let scope = scope(&options.service);
    let fenced = Fenced::wait(vault, &scope, actor, options.wait).await.map_err(fence)?;
    let mut run = Run { vault, options, fenced, outcome: Outcome::default() };
    let done = run.act().await;
    run.fenced.end().await;
    done.map(|()| run.outcome)
}

async fn look(vault: &Vault, options: &PruneOptions) -> Result<(Tombs, Facts, Verdicts), PruneError> {
    let failed = |source| PruneError::Facts { service: options.service.clone(), source };
    let tombs = Tombs::read(vault, &options.service).await;
    let tombs = tombs.map_err(|source| failed(FactsError::Journal(source)))?;
    let facts = gather(vault, &options.service, &options.verification, &tombs).await.map_err(failed)?;
    let verdicts = decide(&facts, &options.policy, vault.clock().now());
    Ok((tombs, facts, verdicts))
}

struct Run<'a> {
    vault: &'a Vault,
    options: &'a PruneOptions,
    fenced: Fenced,
    outcome: Outcome,
}

impl Run<'_> {
    fn fence(&self) -> impl Fn(FenceError) -> PruneError + use<> {
        let service = self.options.service.clone();
        move |source| PruneError::Fence { service: service.clone(), source }
    }

    async fn append(&mut self, kind: &str, data: &impl Serialize) -> Result<u64, PruneError> {
        let data = serde_json::to_value(data).expect("texts and numbers serialise");
        let record = self.fenced.append(kind, data).await.map_err(self.fence())?;
        Ok(record.number)
    }

    async fn act(&mut self) -> Result<(), PruneError> {
        self.carry_out_due().await?;
        let (tombs, facts, verdicts) = look(self.vault, self.options).await?;
        let buries_at_once = self.bury(&tombs, &verdicts).await?;
        self.outcome.verdicts = verdicts;
        for pin in &facts.pins {
            // I2 of `pins`: whoever still needs it writes it anew with the next refresh.
            let is_known = tombs.forgotten.contains(&(pin.id.clone(), pin.number));
            if is_known && pin.looks_forgotten(self.vault.clock().now()) {
                self.fenced.confirm().await.map_err(self.fence())?;
                pins::take_away(self.vault, &self.options.service, pin).await;
            }
        }
        if buries_at_once {
            self.carry_out_due().await?;
        }
        Ok(())
    }

    /// Writes tombstones for what goes and lies in none yet. Whether any of them is due at once.
    async fn bury(&mut self, tombs: &Tombs, verdicts: &Verdicts) -> Result<bool, PruneError> {
        let (at_once, later): (Vec<Burial>, Vec<Burial>) = not_yet_buried(tombs, &verdicts.bury)
            .into_iter()
            .partition(|b| matches!(b.item, Item::Pieces { .. }));
        let forgotten_is_news = verdicts.forgotten.iter().any(|pin| !tombs.forgotten.contains(pin));
        let grace_s = self.options.grace.as_secs();
        let due = !at_once.is_empty() || (!later.is_empty() && grace_s == 0);
        let mut chunks: Vec<(Vec<Burial>, u64)> =
            at_once.chunks(BURIALS_LIMIT).map(|chunk| (chunk.to_vec(), 0)).collect();
        chunks.extend(later.chunks(BURIALS_LIMIT).map(|chunk| (chunk.to_vec(), grace_s)));
        if chunks.is_empty() && forgotten_is_news {
            // Only to have seen the pins once (I2 of `pins`).
            chunks.push((Vec::new(), 0));
        }
        for (burials, grace_s) in chunks {
            let forgotten = verdicts.forgotten.clone();
            self.append(BURIED, &BuriedData { burials: burials.clone(), grace_s, forgotten }).await?;
            self.outcome.buried.extend(burials);
        }
        Ok(due)
    }

    async fn carry_out_due(&mut self) -> Result<(), PruneError> {
        let (tombs, ..) = look(self.vault, self.options).await?;
        let now = self.vault.clock().now();
        for tomb in tombs.open.values().filter(|tomb| tomb.begun.is_some() || tomb.is_due(now)) {
            self.carry_out(tomb).await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, tomb: &Tomb) -> Result<(), PruneError> {
        let (_, mut facts, mut verdicts) = look(self.vault, self.options).await?;
        let mut announced = tomb.begun.clone();
        let mut looks = 0;
        let spared = loop {
            let spared = spared(tomb, &facts, &verdicts);
            if announced.as_ref() == Some(&spared) && looks > 0 {
                break spared;
            }
            if looks == PIN_LOOKS {
                return Err(PruneError::Restless(self.options.service.clone()));
            }
            looks += 1;
            if announced.as_ref() != Some(&spared) {
                let data = DeletingData { tombstone: tomb.number, spared: spared.iter().cloned().collect() };
                self.append(DELETING, &data).await?;
                announced = Some(spared);
            }
            // I1 of `pins`: first it is written down, then the pins are looked at.
            let pins = pins::list(self.vault, &self.options.service).await.map_err(FactsError::Pins);
            let failed = |source| PruneError::Facts { service: self.options.service.clone(), source };
            facts.pins = pins.map_err(failed)?;
            verdicts = decide(&facts, &self.options.policy, self.vault.clock().now());
        };
        let going: Vec<&Burial> = tomb.burials.iter().filter(|b| !spared.contains(&b.item)).collect();
        let (objects, bytes) = (self.outcome.objects, self.outcome.bytes);
        let is_whole = self.delete(&facts, &verdicts, &going).await?;
        if is_whole {
            let (objects, bytes) = (self.outcome.objects - objects, self.outcome.bytes - bytes);
            self.append(DELETED, &DeletedData { tombstone: tomb.number, objects, bytes }).await?;
            self.outcome.deleted.extend(going.into_iter().cloned());
        }
        self.outcome.spared.extend(spared);
        Ok(())
    }

    /// Deletes in order (R1). Whether everything is gone.
    async fn delete(
        &mut self,
        facts: &Facts,
        verdicts: &Verdicts,
        going: &[&Burial],
    ) -> Result<bool, PruneError> {
        let service = &self.options.service;
        let manifests: BTreeSet<&str> = going
            .iter()
            .filter_map(|burial| match &burial.item {
                Item::Point { id, .. } => Some(id.as_str()),
                _ => None,
            })
            .collect();
        let names = manifests.iter().map(|id| (names::point(service, id), 0)).collect();
        let manifests_gone = self.delete_objects(names).await?;
        // What is still, or may still be, listed as a restore point keeps what it refers to.
        let listed: Vec<&RestorePoint> =
            facts.points.iter().filter(|p| !(manifests_gone && manifests.contains(p.id.as_str()))).collect();
        let layers: BTreeSet<&String> = listed.iter().flat_map(|point| &point.layers).collect();
        let onwards = |point: &RestorePoint| verdicts.keep.iter().any(|k| k.id == point.id && k.onwards);
        let kept: Vec<(&RestorePoint, bool)> = listed.iter().map(|point| (*point, onwards(point))).collect();
        let gone: Vec<&RestorePoint> =
            facts.points.iter().filter(|p| !listed.iter().any(|l| l.id == p.id)).collect();
        let (needs, _) = wal::needs(facts, &kept, &gone);
        let mut is_whole = manifests_gone;
        for burial in going {
            let names = match &burial.item {
                Item::Point { .. } => continue,
                Item::Pieces { system, timeline, range } => {
                    is_whole &= self.join(facts, *system, *timeline, *range).await?;
                    continue;
                }
                Item::Layer { id } if layers.contains(id) => None,
                Item::Layer { id } => Some(self.layer_objects(id).await?),
                item => wal_objects(service, facts, &needs, item),
            };
            is_whole &= match names {
                Some(names) => self.delete_objects(names).await?,
                None => {
                    self.outcome
                        .left
                        .push(format!("{}: a restore point that uses it is still there", burial.item));
                    false
                }
            };
        }
        Ok(is_whole)
    }

    /// Has the pieces of the segments in `range` joined, which deletes them: that a whole has its name in a listing
    /// does not prove that it opens, nor in how many copies it is (W3, W5 of `wal`). Whether all are gone.
    async fn join(
        &mut self,
        facts: &Facts,
        system: SystemId,
        timeline: Timeline,
        range: LsnRange,
    ) -> Result<bool, PruneError> {
        let service = self.options.service.clone();
        let Some(wal) = facts.wal.get(&system) else { return Ok(true) };
        let Some(of_timeline) = wal.timelines.get(&timeline) else { return Ok(true) };
        let cluster =
            Cluster { system_id: system, major: wal.major, segment_bytes: wal.segment.bytes() as u32 };
        let unknown = |source| PruneError::Facts {
            service: service.clone(),
            source: FactsError::Wal { service: service.clone(), source },
        };
        let archive = WalArchive::of(self.vault, &service, cluster).map_err(unknown)?;
        let mut segments: BTreeMap<Lsn, (u64, u64)> = BTreeMap::new();
        let is_inside =
            |o: &&WalObject| o.is_piece && range.start <= o.range.start && o.range.end <= range.end;
        for piece in of_timeline.objects.iter().filter(is_inside) {
            let (objects, bytes) =
                segments.entry(piece.range.start.segment_start(wal.segment.bytes())).or_default();
            *objects += 1;
            *bytes += piece.bytes;
        }
        let mut is_whole = true;
        for (start, (objects, bytes)) in segments {
            self.fenced.confirm().await.map_err(self.fence())?;
            match archive.join(timeline, start).await {
                Ok(()) => {
                    self.outcome.objects += objects;
                    self.outcome.bytes += bytes;
                }
                Err(error) => {
                    is_whole = false;
                    let segment = WalFileName::holding(timeline, start, wal.segment);
                    self.outcome.left.push(format!("pieces of {segment}: {}", error_chain(&error)));
                }
            }
        }
        Ok(is_whole)
    }

    /// The objects of a layer, its index first: whoever publishes a restore point looks for it.
    async fn layer_objects(&self, id: &str) -> Result<Vec<(String, u64)>, PruneError> {
        let service = &self.options.service;
        let listing = self.vault.copies().list(&format!("{}/", names::layer(service, id))).await;
        let index = names::layer_index(service, id);
        let mut objects: Vec<(String, u64)> =
            listing.objects.into_iter().map(|(name, listed)| (name, listed.size)).collect();
        objects.sort_by_key(|(name, _)| (*name != index, name.clone()));
        Ok(objects)
    }

    /// Deletes objects (with their bytes) from every copy (R5). Whether all are gone.
    async fn delete_objects(&mut self, objects: Vec<(String, u64)>) -> Result<bool, PruneError> {
        let mut is_whole = true;
        for batch in objects.chunks(DELETE_BATCH) {
            self.fenced.confirm().await.map_err(self.fence())?;
            let names = batch.iter().map(|(name, _)| name.clone()).collect();
            let failures = self.vault.copies().delete(names).await;
            if failures.is_empty() {
                self.outcome.objects += batch.len() as u64;
                self.outcome.bytes += batch.iter().map(|(_, bytes)| bytes).sum::<u64>();
            }
            is_whole &= failures.is_empty();
            self.outcome.left.extend(failures.iter().map(ToString::to_string));
        }
        Ok(is_whole)
    }
}

/// What of `tomb` is wanted again (R3).
fn spared(tomb: &Tomb, facts: &Facts, verdicts: &Verdicts) -> BTreeSet<Item> {
    let onwards: BTreeMap<&str, bool> = verdicts.keep.iter().map(|k| (k.id.as_str(), k.onwards)).collect();
    let (kept, doomed): (Vec<&RestorePoint>, Vec<&RestorePoint>) =
        facts.points.iter().partition(|point| onwards.contains_key(point.id.as_str()));
    let kept: Vec<(&RestorePoint, bool)> = kept.into_iter().map(|p| (p, onwards[p.id.as_str()])).collect();
    let (needs, _) = wal::needs(facts, &kept, &doomed);
    let is_wanted = |item: &Item| match item {
        Item::Point { id, .. } => onwards.contains_key(id.as_str()),
        Item::Layer { id } => {
            facts.layers.contains_key(id) && !verdicts.bury.iter().any(|burial| burial.item == *item)
        }
        Item::Wal { system, timeline, range } => !wal::is_free(&needs, *system, *timeline, *range),
        // Joining deletes those alone that are there whole.
        Item::Pieces { .. } => false,
        Item::Catalogues { system, before } => {
            wal::begin(&needs, *system).is_some_and(|begin| begin < *before)
        }
    };
    tomb.burials.iter().map(|burial| &burial.item).filter(|item| is_wanted(item)).cloned().collect()
}

/// The objects of a WAL item that nothing needs; `None` if something does.
fn wal_objects(
    service: &ServiceName,
    facts: &Facts,
    needs: &Needs,
    item: &Item,
) -> Option<Vec<(String, u64)>> {
    let (system, timeline, range) = match item {
        Item::Wal { system, timeline, range } => (*system, *timeline, *range),
        Item::Catalogues { system, before } => {
            let catalogues = facts.wal.get(system).map(|wal| wal.catalogues.as_slice()).unwrap_or_default();
            let old = catalogues.iter().filter(|at| *at < before);
            return Some(old.map(|at| (names::catalogue(service, *system, *at), 0)).collect());
        }
        Item::Point { .. } | Item::Layer { .. } | Item::Pieces { .. } => return None,
    };
    if !wal::is_free(needs, system, timeline, range) {
        return None;
    }
    let Some(wal) = facts.wal.get(&system) else { return Some(Vec::new()) };
    let Some(of_timeline) = wal.timelines.get(&timeline) else { return Some(Vec::new()) };
    let segment = |at| WalFileName::holding(timeline, at, wal.segment);
    let going =
        of_timeline.objects.iter().filter(|o| range.start <= o.range.start && o.range.end <= range.end);
    let name = |o: &WalObject| object_name(service, system, timeline, &segment(o.range.start), o);
    Some(going.map(|object| (name(object), object.bytes)).collect())
}

fn object_name(
    service: &ServiceName,
    system: SystemId,
    timeline: Timeline,
    segment: &WalFileName,
    object: &WalObject,
) -> String {
    let segment = segment.to_string();
    if object.is_piece {
        names::wal_piece(service, system, timeline, &segment, object.range)
    } else {
        names::wal_segment(service, system, timeline, &segment)
    }
}

/// What of `fresh` lies in no open tombstone yet; of stretches, the parts.
fn not_yet_buried(tombs: &Tombs, fresh: &[Burial]) -> Vec<Burial> {
    let mut burials = Vec::new();
    for burial in fresh {
        match &burial.item {
            Item::Wal { system, timeline, range } => {
                let open = tombs.open_items().filter_map(|item| match item {
                    Item::Wal { system: s, timeline: t, range } if s == system && t == timeline => {
                        Some(*range)
                    }
                    _ => None,
                });
                for range in subtract(*range, open.collect()) {
                    let item = Item::Wal { system: *system, timeline: *timeline, range };
                    burials.push(Burial { item, ..burial.clone() });
                }
            }
            Item::Catalogues { system, before } => {
                let is_covered = |item: &Item| matches!(item, Item::Catalogues { system: s, before: b } if s == system && b >= before);
                if !tombs.open_items().any(is_covered) {
                    burials.push(burial.clone());
                }
            }
            item => {
                if !tombs.open_items().any(|open| open == item) {
                    burials.push(burial.clone());
                }
            }
        }
    }
    burials
}

/// The parts of `range` outside `others`.
fn subtract(range: LsnRange, mut others: Vec<LsnRange>) -> Vec<LsnRange> {
    others.sort_unstable();
    let mut parts = Vec::new();
    let mut start = range.start;
    for other in others {
        let part = LsnRange { start, end: other.start.min(range.end) };
        if !part.is_empty() {
            parts.push(part);
        }
        start = start.max(other.end);
    }
    let rest = LsnRange { start, end: range.end };
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}
