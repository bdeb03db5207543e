//! One service: its manifests, their layers and packs, its WAL, and which restore points are whole where.

use super::copies::objects;
use super::examine::{Examiner, Group, Object, State};
use super::kind::Kind;
use super::{CheckError, FindingKind, PointReport};
use crate::layer::{LayerKind, LayerReader};
use crate::lease::Fenced;
use crate::point::RestorePoint;
use crate::prune::{self, Buried, FactsError, Tombs};
use crate::wal::{Cluster, Coverage, WalArchive, merge};
use crate::{names, point};
use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline, error_chain};
use lifeboat_pgformat::{TimelineHistory, WalFileName};
use std::collections::{BTreeMap, BTreeSet};

/// In which copies something is whole, and whether all copies together have it.
#[derive(Debug, Clone)]
struct Whole {
    copies: Vec<bool>,
    somewhere: bool,
}

impl Whole {
    fn new(copies: usize) -> Self {
        Self { copies: vec![true; copies], somewhere: true }
    }

    fn none(copies: usize) -> Self {
        Self { copies: vec![false; copies], somewhere: false }
    }

    /// Needs this object too.
    fn and(&mut self, states: &[State]) {
        for (copy, state) in self.copies.iter_mut().zip(states) {
            *copy &= *state == State::Whole;
        }
        self.somewhere &= states.contains(&State::Whole);
    }

    /// Needs all of `other` too.
    fn and_all(&mut self, other: &Self) {
        for (copy, theirs) in self.copies.iter_mut().zip(&other.copies) {
            *copy &= theirs;
        }
        self.somewhere &= other.somewhere;
    }
}

/// WAL of one timeline: what each copy covers, and all together.
struct Covered {
    history: Option<TimelineHistory>,
    copies: Vec<Coverage>,
    together: Coverage,
}

type Wal = BTreeMap<(SystemId, Timeline), Covered>;

/// Checks one service.
pub(super) async fn check(examiner: &mut Examiner<'_>, service: &ServiceName) -> Result<(), CheckError> {
    if let Some(repair) = examiner.options.repair.clone() {
        let scope = prune::scope(service);
        let fenced = Fenced::wait(examiner.vault(), &scope, &repair.actor, repair.wait).await;
        examiner.fenced =
            Some(fenced.map_err(|source| CheckError::Fence { service: service.clone(), source })?);
    }
    let checked = check_fenced(examiner, service).await;
    if let Some(fenced) = examiner.fenced.take() {
        fenced.end().await;
    }
    checked
}

async fn check_fenced(examiner: &mut Examiner<'_>, service: &ServiceName) -> Result<(), CheckError> {
    let mut archives = archives(examiner, service).await?;
    let segments = archives.iter().map(|a| (a.cluster().system_id, a.segment_size().bytes())).collect();
    let tombs = tombs(examiner, service).await?;
    let dead = Buried::new(service, &tombs, segments);
    let (points, manifests) = check_points(examiner, service, &dead).await?;
    for archive in archives_of_points(examiner, service, &points, &archives) {
        lost_cluster(examiner, service, archive.cluster()).await;
        archives.push(archive);
    }
    let layers = check_layers(examiner, service, &points, &dead).await?;
    let mut wal = Wal::new();
    for archive in &archives {
        check_wal(examiner, service, archive, &dead, &mut wal).await?;
    }
    let group = examiner.list(&format!("{}/catalogues", names::service(service))).await;
    examiner.examine(objects(group, |_| Kind::Loose), &|name| dead.holds(name)).await?;
    for point in &points {
        judge_point(examiner, service, point, &manifests, &layers, &wal);
    }
    strays(examiner, service, &archives).await;
    Ok(())
}

/// What was pruned. Nothing is brought back unless that is proven (H3); without repair, what is known will do.
async fn tombs(examiner: &mut Examiner<'_>, service: &ServiceName) -> Result<Tombs, CheckError> {
    let pruned =
        |source| CheckError::Pruned { service: service.clone(), source: FactsError::Journal(source) };
    if examiner.options.repair.is_some() {
        return Tombs::read(examiner.vault(), service).await.map_err(pruned);
    }
    match Tombs::read_known(examiner.vault(), service).await {
        Ok(tombs) => Ok(tombs),
        Err(error) => {
            let what = format!("what was pruned is not known; some of it may be called missing: {error}");
            examiner.find(FindingKind::Unreadable, None, prune::scope(service).as_str(), what);
            Ok(Tombs::default())
        }
    }
}

async fn archives(examiner: &mut Examiner<'_>, service: &ServiceName) -> Result<Vec<WalArchive>, CheckError> {
    // What says what the clusters are comes first: it may have to be healed to be read.
    let group = examiner.list(&names::clusters(service)).await;
    let found: Vec<String> = group.keys().cloned().collect();
    examiner.examine(objects(group, |_| Kind::Vital), &|_| false).await?;
    let mut archives = Vec::new();
    for name in found {
        let read = examiner.vault().read(&name).await.map_err(|error| error.to_string());
        let cluster = read.and_then(|raw| serde_json::from_slice(&raw).map_err(|error| error.to_string()));
        let archive = cluster.and_then(|cluster| {
            WalArchive::of(examiner.vault(), service, cluster).map_err(|error| error.to_string())
        });
        match archive {
            Ok(archive) => archives.push(archive),
            Err(why) => examiner.find(FindingKind::Unreadable, None, &name, why),
        }
    }
    Ok(archives)
}

/// The archives of clusters that only manifests tell of.
fn archives_of_points(
    examiner: &Examiner<'_>,
    service: &ServiceName,
    points: &[RestorePoint],
    known: &[WalArchive],
) -> Vec<WalArchive> {
    let mut systems: BTreeSet<SystemId> = known.iter().map(|archive| archive.cluster().system_id).collect();
    let mut archives = Vec::new();
    for point in points {
        if systems.insert(point.system_id) {
            let (system_id, major, segment_bytes) = (point.system_id, point.major, point.segment_bytes);
            let cluster = Cluster { system_id, major, segment_bytes };
            archives.extend(WalArchive::of(examiner.vault(), service, cluster));
        }
    }
    archives
}

/// What says that there was a cluster is in no copy. Every manifest of it says the same, so it can be written again.
async fn lost_cluster(examiner: &mut Examiner<'_>, service: &ServiceName, cluster: &Cluster) {
    let what =
        "restore points are of this cluster, and no copy has what says so; recovery is refused".to_owned();
    let name = names::cluster(service, cluster.system_id);
    if examiner.fenced.is_none() {
        return examiner.find(FindingKind::Lost, None, &name, what);
    }
    match WalArchive::establish(examiner.vault(), service, cluster.clone()).await {
        Ok(_) => examiner.find_repaired(FindingKind::Lost, None, &name, what, true),
        Err(error) => {
            let what = format!("{what}; it could not be repaired: {}", error_chain(&error));
            examiner.find(FindingKind::Lost, None, &name, what);
        }
    }
}

type Manifests = BTreeMap<String, Vec<State>>;

async fn check_points(
    examiner: &mut Examiner<'_>,
    service: &ServiceName,
    dead: &Buried,
) -> Result<(Vec<RestorePoint>, Manifests), CheckError> {
    let group = examiner.list(&names::points(service)).await;
    let names: Vec<String> = group.keys().cloned().collect();
    let states = examiner.examine(objects(group, |_| Kind::Vital), &|name| dead.holds(name)).await?;
    let mut points = Vec::new();
    for name in names.iter().filter(|name| !dead.holds(name)) {
        let id = name.rsplit('/').next().unwrap_or_default();
        match point::read(examiner.vault(), service, id).await {
            Ok(point) => points.push(point),
            Err(error) => {
                // In a shallow check this is where a damaged manifest shows.
                examiner.find(FindingKind::NotRestorable, None, name, error_chain(&error));
                let (service, id) = (service.clone(), id.to_owned());
                examiner.point(PointReport { service, id, whole_in: Vec::new(), is_restorable: false });
            }
        }
    }
    Ok((points, states))
}

async fn check_layers(
    examiner: &mut Examiner<'_>,
    service: &ServiceName,
    points: &[RestorePoint],
    dead: &Buried,
) -> Result<BTreeMap<String, Whole>, CheckError> {
    let named: BTreeSet<&String> = points.iter().flat_map(|point| &point.layers).collect();
    let mut layers = BTreeMap::new();
    for child in examiner.children(&names::layers(service)).await {
        let id = child.rsplit('/').next().unwrap_or_default().to_owned();
        if !named.contains(&id) {
            unnamed(examiner, service, &id, &child).await;
        }
    }
    for id in named {
        let whole = check_layer(examiner, service, id, dead).await?;
        layers.insert(id.clone(), whole);
    }
    Ok(layers)
}

/// A layer that no restore point names. One that is whole had a manifest, or was to have it a moment later: which of
/// the two, nothing here tells.
async fn unnamed(examiner: &mut Examiner<'_>, service: &ServiceName, id: &str, child: &str) {
    let reader = LayerReader::open(examiner.vault(), service, id).await;
    let is_whole = reader.is_ok_and(|reader| reader.index().kind == LayerKind::Base);
    let what = if is_whole {
        "a whole backup that no restore point names: it was killed in its last step, runs, or its manifest was lost"
    } else {
        "no restore point names it: a backup runs, was killed, or was pruned"
    };
    examiner.find(FindingKind::Unnamed, None, child, what.to_owned());
}

async fn check_layer(
    examiner: &mut Examiner<'_>,
    service: &ServiceName,
    id: &str,
    dead: &Buried,
) -> Result<Whole, CheckError> {
    let copies = examiner.copies();
    let mut group = examiner.list(&names::layer(service, id)).await;
    let index_name = names::layer_index(service, id);
    let is_dead = |name: &str| dead.holds(name);
    let sizes = group.remove(&index_name).unwrap_or_else(|| vec![None; copies]);
    let index = Object { name: index_name.clone(), kind: Kind::Index, sizes, expected: None };
    let mut whole = Whole::new(copies);
    let states = examiner.examine(vec![index], &is_dead).await?;
    let reader = match LayerReader::open(examiner.vault(), service, id).await {
        Ok(reader) => reader,
        Err(error) => {
            examiner.find(FindingKind::Lost, None, &index_name, error_chain(&error));
            return Ok(Whole::none(copies));
        }
    };
    whole.and(&states[&index_name]);
    let mut packs = Vec::new();
    for (number, size) in reader.index().packs.iter().enumerate() {
        let name = names::pack(service, id, number as u32);
        let sizes = group.remove(&name).unwrap_or_else(|| vec![None; copies]);
        packs.push(Object { name, kind: Kind::Pack, sizes, expected: Some(*size) });
    }
    for (name, states) in examiner.examine(packs, &is_dead).await? {
        if states.iter().all(|state| matches!(state, State::Missing | State::Away)) {
            examiner.find(FindingKind::Lost, None, &name, format!("layer {id} needs it, and no copy has it"));
        }
        whole.and(&states);
    }
    for name in group.keys() {
        let what = format!("layer {id} has no such object; it was left alone");
        examiner.find(FindingKind::Stray, None, name, what);
    }
    Ok(whole)
}

async fn check_wal(
    examiner: &mut Examiner<'_>,
    service: &ServiceName,
    archive: &WalArchive,
    dead: &Buried,
    wal: &mut Wal,
) -> Result<(), CheckError> {
    let system = archive.cluster().system_id;
    let segment = archive.segment_size();
    let mut timelines = BTreeSet::new();
    let mut histories = Vec::new();
    for child in examiner.children(&names::wal(service, system)).await {
        let last = child.rsplit('/').next().unwrap_or_default();
        match (Timeline::from_sortable(last), last.strip_suffix(".history")) {
            (Some(timeline), _) => drop(timelines.insert(timeline)),
            (None, Some(_)) => histories.push(child),
            (None, None) => {
                let what = "no WAL has that name; it was left alone".to_owned();
                examiner.find(FindingKind::Stray, None, &child, what);
            }
        }
    }
    let mut group = Group::new();
    for name in histories {
        group.extend([examiner.list_one(&name).await]);
    }
    examiner.examine(objects(group, |_| Kind::Vital), &|name| dead.holds(name)).await?;
    for timeline in timelines {
        let group = examiner.list(&names::wal_timeline(service, system, timeline)).await;
        let mut ranges = BTreeMap::new();
        let (mut wholes, mut pieces) = (Vec::new(), Vec::new());
        for (name, sizes) in group {
            let last = name.rsplit('/').next().unwrap_or_default();
            let whole = WalFileName::parse(last, segment).map(|file| file.range());
            let Some(range) = whole.or_else(|| names::piece_range(&name)) else {
                let what = "no WAL has that name; it was left alone".to_owned();
                examiner.find(FindingKind::Stray, None, &name, what);
                continue;
            };
            ranges.insert(name.clone(), range);
            let seen = if whole.is_some() { &mut wholes } else { &mut pieces };
            seen.push(Object { name, kind: Kind::Sealed(Some(range.len())), sizes, expected: None });
        }
        let mut states = examiner.examine(wholes, &|name| dead.holds(name)).await?;
        // Pieces of a segment that a copy has whole are leftovers, and missing nowhere. A whole that does not open
        // anywhere has none: they are what there is.
        let is_joined = |piece: &Object| {
            let holder = piece.name.rsplit_once(".d/").map(|(holder, _)| holder);
            holder.and_then(|holder| states.get(holder)).is_some_and(|states| states.contains(&State::Whole))
        };
        pieces.retain(|piece| !is_joined(piece));
        states.extend(examiner.examine(pieces, &|name| dead.holds(name)).await?);
        let covered_by = |has: &dyn Fn(&[State]) -> bool| {
            let has = states.iter().filter(|(_, states)| has(states)).map(|(name, _)| ranges[name]);
            Coverage { stretches: merge(has.collect()), stored_bytes: 0 }
        };
        let copies = (0..examiner.copies())
            .map(|copy| covered_by(&|states| states.get(copy) == Some(&State::Whole)))
            .collect();
        let together = covered_by(&|states| states.contains(&State::Whole));
        for hole in together.holes() {
            if !dead.holds_stretch(system, timeline, hole) {
                let object = names::wal_timeline(service, system, timeline);
                let what = format!("a hole: {hole} of timeline {timeline} of cluster {system} is in no copy");
                examiner.find(FindingKind::WalHole, None, &object, what);
            }
        }
        let history = archive.history(timeline).await.ok();
        wal.insert((system, timeline), Covered { history, copies, together });
    }
    Ok(())
}

/// Whether `coverage` (of each timeline) has all that makes `point` consistent.
fn is_consistent(wal: &Wal, point: &RestorePoint, coverage: impl Fn(&Covered) -> &Coverage) -> bool {
    let wanted = LsnRange { start: point.start, end: point.stop };
    let Some(own) = wal.get(&(point.system_id, point.timeline)) else { return wanted.is_empty() };
    // A backup of a standby may have begun before the promotion: each stretch is on its own timeline.
    let Some(history) = &own.history else { return coverage(own).covers(wanted) };
    let mut covered = Lsn(0);
    for ((system, timeline), step) in wal {
        let Some(written) = history.range_of(*timeline).filter(|_| *system == point.system_id) else {
            continue;
        };
        let (start, end) = (written.start.max(wanted.start), written.end.min(wanted.end));
        if start < end {
            if !coverage(step).covers(LsnRange { start, end }) {
                return false;
            }
            covered = covered.max(end);
        }
    }
    covered >= wanted.end
}

fn judge_point(
    examiner: &mut Examiner<'_>,
    service: &ServiceName,
    point: &RestorePoint,
    manifests: &Manifests,
    layers: &BTreeMap<String, Whole>,
    wal: &Wal,
) {
    let copies = examiner.copies();
    let name = names::point(service, &point.id);
    let mut whole = Whole::new(copies);
    whole.and(manifests.get(&name).map_or(&[][..], Vec::as_slice));
    let mut lacks = Vec::new();
    for layer in &point.layers {
        let of_layer = layers.get(layer).cloned().unwrap_or_else(|| Whole::none(copies));
        if !of_layer.somewhere {
            lacks.push(format!("layer {layer} is not whole"));
        }
        whole.and_all(&of_layer);
    }
    for copy in 0..copies {
        whole.copies[copy] &= is_consistent(wal, point, |covered| &covered.copies[copy]);
    }
    if !is_consistent(wal, point, |covered| &covered.together) {
        let (start, stop, timeline) = (point.start, point.stop, point.timeline);
        lacks.push(format!("WAL {start} to {stop} of timeline {timeline} is not whole"));
        let what = format!("restore point {} needs {start} to {stop}, and no copy has all of it", point.id);
        let object = names::wal_timeline(service, point.system_id, timeline);
        examiner.find(FindingKind::WalHole, None, &object, what);
        whole.somewhere = false;
    }
    if !whole.somewhere {
        // H1: another copy may have it.
        let from =
            if (0..copies).any(|copy| examiner.is_away(copy)) { " from the copies that answer" } else { "" };
        let what = format!("it cannot be restored{from}: {}", lacks.join("; "));
        examiner.find(FindingKind::NotRestorable, None, &name, what);
    }
    let whole_in = (0..copies).filter(|copy| whole.copies[*copy] && !examiner.is_away(*copy));
    let whole_in = whole_in.map(|copy| examiner.copy_name(copy).to_owned()).collect();
    let (service, id) = (service.clone(), point.id.clone());
    examiner.point(PointReport { service, id, whole_in, is_restorable: whole.somewhere });
}

/// What lies in the service and is nothing of ours.
async fn strays(examiner: &mut Examiner<'_>, service: &ServiceName, archives: &[WalArchive]) {
    let prefix = names::service(service);
    for child in examiner.children(&prefix).await {
        let last = child.rsplit('/').next().unwrap_or_default();
        if !["clusters", "points", "layers", "pins", "wal", "catalogues"].contains(&last) {
            let what = "Lifeboat writes nothing of that name; it was left alone".to_owned();
            examiner.find(FindingKind::Stray, None, &child, what);
        }
    }
    for child in examiner.children(&format!("{prefix}/wal")).await {
        let known = archives.iter().any(|archive| names::wal(service, archive.cluster().system_id) == child);
        if !known {
            let what = "WAL of a cluster that the vault does not know; it was not looked at".to_owned();
            examiner.find(FindingKind::Stray, None, &child, what);
        }
    }
}
