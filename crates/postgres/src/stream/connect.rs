//! From a connection string to a stream that may begin: which server, fit or not, the slot, the start.
//!
//! # Invariants
//! - **N1** Nothing is streamed from a server that is not the cluster and lineage that the vault protects.
//! - **N2** A slot is made anew only after its loss was told, where something can be lost.
//! - **N3** A hole is accepted only after the server refused the WAL; then it is told by name.

use super::StreamOptions;
use super::alarm::{Alarm, AlarmKind, StreamEvent};
use super::error::StreamError;
use super::memory::Memory;
use super::session::{Overlap, STATUS_INTERVAL};
use super::shared::Shared;
use super::start::{self, Place, Start};
use crate::client::{Connection, Purpose, SlotOptions, SystemIdentity};
use crate::lineage::{self, Known, Unfit};
use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_pgformat::{SegmentSize, TimelineHistory, WalFileName};
use lifeboat_vault::names;
use lifeboat_vault::point::{self, RestorePoint};
use lifeboat_vault::wal::{self, Cluster, Coverage, WalArchive, WalError};
use std::collections::BTreeMap;
use std::time::Duration;

/// Of what the vault has, how much comes again to be compared.
const OVERLAP_BYTES: usize = 64 << 10;
/// Status messages that fit into the server's patience with us.
const STATUS_PER_TIMEOUT: u32 = 4;

/// What the try before has shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Experience {
    /// The server no longer has the WAL that was asked for.
    pub(super) wal_removed: bool,
    /// The server does not stream through the slot any more.
    pub(super) slot_refused: bool,
}

/// Everything that a session needs.
pub(super) struct Prepared {
    pub(super) connection: Connection,
    pub(super) archive: WalArchive,
    pub(super) endpoint: String,
    pub(super) identity: SystemIdentity,
    /// Where the session goes on; the server is asked from the overlap's start on.
    pub(super) at: Place,
    pub(super) overlap: Overlap,
    pub(super) status_interval: Duration,
}

/// Connects and decides. Other servers of the connection string are tried when the first is unfit.
pub(super) async fn prepare(
    options: &StreamOptions,
    shared: &Shared,
    memory: &mut Memory,
    experience: Experience,
) -> Result<Prepared, StreamError> {
    let connect = |info| async move {
        Connection::connect(&info, Purpose::Replication).await.map_err(StreamError::Server)
    };
    let connection = connect(options.conninfo.clone()).await?;
    let endpoint = connection.endpoint().to_string();
    let unfit = match examine(options, shared, memory, experience, connection).await {
        Err(error) if error.is_about_this_server() && options.conninfo.hosts().len() > 1 => error,
        Ok(prepared) => {
            shared.board.clear(AlarmKind::UnfitServer);
            return Ok(prepared);
        }
        Err(error) => return Err(error),
    };
    shared.board.raise(Alarm::UnfitServer { endpoint, reason: unfit.to_string() });
    let mut absent = None;
    for host in options.conninfo.hosts() {
        let outcome = match connect(options.conninfo.clone().with_host(host.clone())).await {
            Ok(connection) => examine(options, shared, memory, experience, connection).await,
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if error.is_about_this_server() => {}
            // The right one may be among those that are away for a moment.
            Err(error) => absent = Some(error),
            Ok(prepared) => return Ok(prepared),
        }
    }
    Err(absent.unwrap_or(unfit))
}

async fn examine(
    options: &StreamOptions,
    shared: &Shared,
    memory: &mut Memory,
    experience: Experience,
    mut connection: Connection,
) -> Result<Prepared, StreamError> {
    let endpoint = connection.endpoint().to_string();
    let identity = connection.identify_system().await.map_err(StreamError::Server)?;
    let archive = match memory.archive(identity.system) {
        Some(archive) => archive,
        None => archive(options, &mut connection, &identity).await?,
    };
    let (history, raw_history) = history(&mut connection, identity.timeline).await?;
    if memory.archive(identity.system).is_none() {
        let _listing = shared.listing.lock().await;
        let loaded = memory.load(&options.vault.as_seen(), &options.service, &archive).await;
        for silent in loaded.map_err(StreamError::Vault)? {
            let only = options.vault.copies().all().len() == 1;
            shared.board.raise(Alarm::CopyAway { copy: silent.copy, reason: silent.reason, only });
        }
    }
    admit(memory, &history, &endpoint, shared)?;
    keep_histories(&archive, memory, &mut connection, &history, raw_history, &endpoint).await?;

    let coverage = memory.coverage();
    let had_some = coverage.values().any(|coverage| !coverage.stretches.is_empty());
    let size = archive.segment_size();
    let mut kept_from = slot(options, shared, &mut connection, memory, size, experience.slot_refused).await?;
    let mut chosen = start::choose(&history, coverage, kept_from, size);
    if experience.wal_removed && chosen.otherwise.is_none() && had_some {
        // What the slot should have kept is gone: it keeps nothing.
        kept_from = slot(options, shared, &mut connection, memory, size, true).await?;
        chosen = start::choose(&history, coverage, kept_from, size);
    }
    let at = accept(shared, chosen, experience.wal_removed);

    // Asked again: the slot may have been made since.
    let identity = connection.identify_system().await.map_err(StreamError::Server)?;
    if at.timeline == identity.timeline {
        let in_recovery = connection.is_in_recovery().await.map_err(StreamError::Server)?;
        hold_end(memory, &identity, at, in_recovery)?;
    }
    let overlap = overlap(options, &archive, at).await?;
    let status_interval = status_interval(&mut connection).await?;
    shared.board.clear(AlarmKind::VaultUnavailable);
    Ok(Prepared { connection, archive, endpoint, identity, at, overlap, status_interval })
}

/// The archive of the server's cluster, made known if the service has none yet.
async fn archive(
    options: &StreamOptions,
    connection: &mut Connection,
    identity: &SystemIdentity,
) -> Result<WalArchive, StreamError> {
    let unexpected = |what: String| StreamError::Unexpected(what);
    let version = connection.server_version();
    let major = version.ok_or_else(|| unexpected("no server_version".to_owned()))?.major;
    let text = connection.show("wal_segment_size").await.map_err(StreamError::Server)?;
    let segment_bytes = size_setting(&text).ok_or_else(|| unexpected(format!("wal_segment_size={text}")))?;
    let cluster = Cluster { system_id: identity.system, major, segment_bytes };
    // A copy that is away is no reason to leave production unprotected, where what is seen is enough.
    let (vault, service) = (options.vault.as_seen(), &options.service);
    wal::admit(&vault, service, cluster, options.accept_new_cluster).await.map_err(|error| match error {
        WalError::OtherCluster { service, found, known } => {
            StreamError::OtherCluster { service, found, known }
        }
        error => StreamError::Vault(error),
    })
}

/// The server's history: parsed, and as the file it has.
async fn history(
    connection: &mut Connection,
    timeline: Timeline,
) -> Result<(TimelineHistory, Option<Vec<u8>>), StreamError> {
    if timeline == Timeline(1) {
        return Ok((TimelineHistory::root(timeline), None));
    }
    let file = connection.timeline_history(timeline).await.map_err(StreamError::Server)?;
    let history = TimelineHistory::parse(timeline, &file.content);
    let history = history.map_err(|source| StreamError::History { timeline, source })?;
    Ok((history, Some(file.content.to_vec())))
}

/// Refuses a server of another lineage (N1).
fn admit(
    memory: &Memory,
    history: &TimelineHistory,
    endpoint: &str,
    shared: &Shared,
) -> Result<(), StreamError> {
    let known = |(timeline, coverage): (&Timeline, &Coverage)| {
        (*timeline, Known { history: memory.history(*timeline), end: coverage.end() })
    };
    let vault: BTreeMap<_, _> = memory.coverage().iter().map(known).collect();
    let endpoint = endpoint.to_owned();
    let left_out = lineage::judge(history, &vault).map_err(|unfit| match unfit {
        Unfit::OldPrimary { newest } => {
            StreamError::OldPrimary { endpoint, found: history.timeline(), newest }
        }
        Unfit::ReusedNumber { timeline } => StreamError::ReusedTimeline { endpoint, timeline },
    })?;
    if !memory.coverage().contains_key(&history.timeline()) {
        // Told once, when the new timeline is first seen.
        for left in left_out {
            let followed = history.timeline();
            shared.board.raise(Alarm::Fork { timeline: left.timeline, range: left.range, followed });
        }
    }
    Ok(())
}

/// Keeps the histories that recovery along this timeline will ask for.
async fn keep_histories(
    archive: &WalArchive,
    memory: &mut Memory,
    connection: &mut Connection,
    history: &TimelineHistory,
    raw: Option<Vec<u8>>,
    endpoint: &str,
) -> Result<(), StreamError> {
    let refuse = |error| match error {
        WalError::HistoryConflict { timeline, .. } => {
            StreamError::ReusedTimeline { endpoint: endpoint.to_owned(), timeline }
        }
        error => StreamError::Vault(error),
    };
    for ancestor in history.ancestors() {
        let timeline = ancestor.timeline;
        if memory.history(timeline).is_some() {
            continue;
        }
        // A server need not have them all; its own history tells the same.
        if let Ok(file) = connection.timeline_history(timeline).await
            && let Ok(parsed) = TimelineHistory::parse(timeline, &file.content)
        {
            archive.put_history(timeline, &file.content).await.map_err(refuse)?;
            memory.add_history(parsed);
        }
    }
    if let Some(raw) = raw.filter(|_| memory.history(history.timeline()).is_none()) {
        archive.put_history(history.timeline(), &raw).await.map_err(refuse)?;
        memory.add_history(history.clone());
    }
    Ok(())
}

/// From where on the slot keeps WAL; makes it if need be (N2).
async fn slot(
    options: &StreamOptions,
    shared: &Shared,
    connection: &mut Connection,
    memory: &Memory,
    size: SegmentSize,
    remake: bool,
) -> Result<Lsn, StreamError> {
    let (name, endpoint) = (&options.slot, connection.endpoint().to_string());
    let found = connection.read_slot(name).await.map_err(StreamError::Server)?;
    if let Some(restart) = found.and_then(|slot| slot.restart).filter(|_| !remake) {
        return Ok(restart);
    }
    if !options.create_slot {
        return Err(StreamError::NoSlot { slot: name.clone(), endpoint });
    }
    // Where the points cannot be read, an alarm too many is better than one too few.
    let points = point::list_readable(&options.vault.as_seen(), &options.service).await;
    let (points, _) = points.unwrap_or_default();
    let has_streamed = has_streamed(&points, memory.coverage(), size.bytes());
    if found.is_some() || has_streamed || memory.is_partial() {
        let reason = match found {
            None if has_streamed => "it does not exist there: it was dropped, or a promotion left it behind",
            None => {
                "it does not exist there: nothing was ever streamed, or only the copy of the vault knows of it that is away"
            }
            Some(_) => {
                "the server gave it up: its WAL outgrew max_slot_wal_keep_size, or it was idle too long"
            }
        };
        let (slot, endpoint, reason) = (name.clone(), endpoint.clone(), reason.to_owned());
        shared.board.raise(Alarm::SlotLost { slot, endpoint, reason });
    }
    if found.is_some() {
        connection.drop_slot(name).await.map_err(StreamError::Server)?;
    }
    let lasting = SlotOptions { temporary: false, reserve_wal: true };
    connection.create_physical_slot(name, lasting).await.map_err(StreamError::Server)?;
    let made = connection.read_slot(name).await.map_err(StreamError::Server)?;
    let restart = made.and_then(|slot| slot.restart);
    shared.board.tell(StreamEvent::SlotCreated { endpoint, slot: name.clone(), restart });
    restart.ok_or_else(|| StreamError::Unexpected(format!("the new slot {name} keeps nothing")))
}

/// Whether the vault has WAL that no backup brought along: a stream was here before, and had a slot.
fn has_streamed(
    points: &[RestorePoint],
    coverage: &BTreeMap<Timeline, Coverage>,
    segment_bytes: u64,
) -> bool {
    coverage.iter().any(|(timeline, coverage)| {
        let own = points.iter().filter(|point| point.timeline == *timeline).map(|point| LsnRange {
            start: point.start.segment_start(segment_bytes),
            // The last piece of a backup goes on to the end of what the server sent at once.
            end: point.stop.advance(segment_bytes),
        });
        let mut own: Vec<LsnRange> = own.collect();
        own.sort_unstable();
        coverage.stretches.iter().any(|stretch| {
            let reach = |position: Lsn, range: &LsnRange| {
                if range.start <= position { position.max(range.end) } else { position }
            };
            own.iter().fold(stretch.start, reach) < stretch.end
        })
    })
}

/// Holds the server's end against the vault's and against where streaming begins.
///
/// A primary never has less of its own timeline than it has sent. A standby's end goes back when it
/// restarts; and a slot made during a checkpoint begins with WAL that is not flushed yet.
fn hold_end(
    memory: &Memory,
    identity: &SystemIdentity,
    at: Place,
    in_recovery: bool,
) -> Result<(), StreamError> {
    let (timeline, server) = (identity.timeline, identity.flushed);
    let vault = memory.coverage().get(&timeline).and_then(Coverage::end);
    match vault.filter(|vault| *vault > server) {
        Some(end) if !in_recovery => {
            Err(StreamError::Fork { timeline, range: LsnRange { start: server, end } })
        }
        _ if at.lsn > server => Err(StreamError::Behind { server, start: at.lsn }),
        _ => Ok(()),
    }
}

/// Takes the detour over a hole if the server has refused the way without one (N3).
fn accept(shared: &Shared, chosen: Start, wal_removed: bool) -> Place {
    match chosen.otherwise {
        Some(detour) if wal_removed => {
            for (timeline, range) in detour.missing {
                shared.board.raise(Alarm::Hole { timeline, range });
            }
            detour.at
        }
        _ => chosen.at,
    }
}

/// The vault's last bytes before `at`: the end of the piece that ends there.
///
/// At the beginning of a segment there are none, as the server need not have the segment before any more.
async fn overlap(options: &StreamOptions, archive: &WalArchive, at: Place) -> Result<Overlap, StreamError> {
    let nothing = Overlap { start: at.lsn, bytes: Vec::new() };
    let size = archive.segment_size();
    if at.lsn == at.lsn.segment_start(size.bytes()) {
        return Ok(nothing);
    }
    let segment = WalFileName::holding(at.timeline, at.lsn, size).to_string();
    let system = archive.cluster().system_id;
    let prefix = names::wal_pieces(&options.service, system, at.timeline, &segment);
    let listing = options.vault.copies().list(&prefix).await;
    let ends_there = |name: &&String| names::piece_range(name).is_some_and(|range| range.end == at.lsn);
    let Some(name) = listing.objects.keys().find(ends_there) else { return Ok(nothing) };
    let read = |source| WalError::Read { service: options.service.clone(), source };
    let bytes = options.vault.read(name).await.map_err(read).map_err(StreamError::Vault)?;
    let tail = &bytes[bytes.len().saturating_sub(OVERLAP_BYTES)..];
    Ok(Overlap { start: Lsn(at.lsn.0 - tail.len() as u64), bytes: tail.to_vec() })
}

/// Often enough for the server not to think us dead.
async fn status_interval(connection: &mut Connection) -> Result<Duration, StreamError> {
    let text = connection.show("wal_sender_timeout").await.map_err(StreamError::Server)?;
    let patience = duration_setting(&text).filter(|patience| !patience.is_zero());
    Ok(patience.map_or(STATUS_INTERVAL, |patience| STATUS_INTERVAL.min(patience / STATUS_PER_TIMEOUT)))
}

/// A size as `SHOW` writes it: `16MB` is 16 MiB.
fn size_setting(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "B" | "" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u32>().ok()?.checked_mul(factor)
}

/// A duration as `SHOW` writes it: `1min`.
fn duration_setting(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" | "" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_base::SystemId;

    #[track_caller]
    fn check_end(vault: Option<u64>, server: u64, start: u64, in_recovery: bool, expected: &str) {
        let mut memory = Memory::default();
        if let Some(end) = vault {
            memory.add(Timeline(1), LsnRange { start: Lsn(0), end: Lsn(end) });
        }
        let (system, flushed) = (SystemId(1), Lsn(server));
        let identity = SystemIdentity { system, timeline: Timeline(1), flushed, database: None };
        let at = Place { timeline: Timeline(1), lsn: Lsn(start) };
        let found = match hold_end(&memory, &identity, at, in_recovery) {
            Ok(()) => "goes on",
            Err(StreamError::Fork { .. }) => "fork",
            Err(StreamError::Behind { .. }) => "behind",
            Err(error) => panic!("{error}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_primary_that_lacks_what_the_vault_has_is_a_fork_and_nothing_else_is() {
        check_end(Some(50), 60, 50, false, "goes on");
        check_end(Some(50), 40, 50, false, "fork");
        check_end(Some(50), 40, 50, true, "behind");
        // The slot was made while a checkpoint ran: its place is not flushed yet.
        check_end(None, 40, 45, false, "behind");
        check_end(Some(30), 40, 45, false, "behind");
        // A backup of a standby's primary left WAL ahead; the stream begins before it.
        check_end(Some(50), 40, 20, true, "goes on");
    }

    #[test]
    fn settings_as_shown() {
        assert_eq!(size_setting("16MB"), Some(16 << 20));
        assert_eq!(size_setting("1GB"), Some(1 << 30));
        assert_eq!(size_setting("8GB"), None);
        assert_eq!(size_setting("x"), None);
        assert_eq!(duration_setting("1min"), Some(Duration::from_secs(60)));
        assert_eq!(duration_setting("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration_setting("0"), Some(Duration::ZERO));
        assert_eq!(duration_setting("1 fortnight"), None);
    }
}
