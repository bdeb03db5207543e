//! The stream against real servers, on good days and bad ones.

mod bad_days;
mod promotion;
mod push;
mod recovery;
mod steady;
mod two_copies;
mod vault_away;

use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemClock, Timeline};
use lifeboat_pgformat::WalFileName;
use lifeboat_postgres::client::Conninfo;
use lifeboat_postgres::slot::SlotLimits;
use lifeboat_postgres::stream::{
    self, Alarm, AlarmKind, Exposure, StreamEnd, StreamError, StreamEvent, StreamOptions,
};
use lifeboat_testkit::faulty::{FaultPlan, FaultyStore};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use lifeboat_vault::wal::{self, Fetched, WalArchive};
use lifeboat_vault::{Copies, Vault, VaultCopy, address};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long anything may take to happen.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
const SLOT: &str = "lifeboat";

fn installations() -> [Installation; 2] {
    [Installation::oldest(), Installation::newest()]
}

fn conninfo(text: &str) -> Conninfo {
    Conninfo::parse(text, &|_| None).unwrap()
}

/// Waits until `look` finds something.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(POLL);
    }
}

/// A vault of a test's own, in a store that can fail.
struct TestVault {
    vault: Vault,
    store: FaultyStore,
    service: ServiceName,
    _scratch: tempfile::TempDir,
}

impl TestVault {
    async fn new() -> Self {
        Self::with_copies(["one"]).await.0
    }

    /// With these copies, one of which must have a write; all of them can fail.
    async fn with_copies<const N: usize>(names: [&str; N]) -> (Self, [FaultyStore; N]) {
        let scratch = tempfile::tempdir().unwrap();
        let stores = names.map(|name| {
            let url = format!("file://{}", scratch.path().join(name).display());
            FaultyStore::new(address::open(&url, true, &|_| None).unwrap(), FaultPlan::none())
        });
        let copy = |(name, store): (&str, &FaultyStore)| VaultCopy::new(name, None, Arc::new(store.clone()));
        let copies = Copies::new(names.into_iter().zip(&stores).map(copy).collect(), 1);
        let vault = Vault::init(copies, Some("a long passphrase"), &[], Arc::new(SystemClock::new())).await;
        let (vault, service) = (vault.unwrap(), "ledger-db".parse().unwrap());
        (Self { vault, store: stores[0].clone(), service, _scratch: scratch }, stores)
    }

    fn options(&self, conninfo_text: &str) -> StreamOptions {
        StreamOptions {
            vault: self.vault.clone(),
            service: self.service.clone(),
            conninfo: conninfo(conninfo_text),
            slot: SLOT.to_owned(),
            create_slot: true,
            standbys: Vec::new(),
            slot_limits: SlotLimits::default(),
            data_directory: None,
            accept_new_cluster: false,
            exposure: watch::Sender::new(Exposure::default()),
        }
    }

    fn stream(&self, cluster: &Cluster) -> Stream {
        Stream::start(self.options(&cluster.conninfo()))
    }

    async fn archive(&self) -> WalArchive {
        let mut clusters = wal::clusters(&self.vault, &self.service).await.unwrap();
        assert_eq!(clusters.len(), 1);
        WalArchive::of(&self.vault, &self.service, clusters.remove(0)).unwrap()
    }

    /// The one stretch that the vault has of a timeline, without a hole.
    async fn stretch(&self, timeline: u32) -> LsnRange {
        let coverage = self.archive().await.coverage(Timeline(timeline)).await.unwrap();
        assert_eq!(coverage.holes(), [], "the WAL has holes");
        *coverage.stretches.first().expect("the vault has some of it")
    }

    /// Timeline 1 is in the vault without a hole, at least to `end`, and as the server has it.
    async fn assert_holds(&self, cluster: &Cluster, end: Lsn) {
        let stretch = self.stretch(1).await;
        assert!(stretch.end >= end, "{stretch} does not reach {end}");
        self.assert_equal_to_server(cluster, 1, stretch).await;
    }

    /// Holds what the vault has in `range` against the server's own files. Returns the segments compared.
    async fn assert_equal_to_server(&self, cluster: &Cluster, timeline: u32, range: LsnRange) -> usize {
        let archive = self.archive().await;
        let mut file = WalFileName::holding(Timeline(timeline), range.start, archive.segment_size());
        let mut compared = 0;
        while file.range().start < range.end {
            let stored = match archive.fetch(Timeline(timeline), file.range().start).await.unwrap() {
                Fetched::Whole(bytes) | Fetched::Beginning { bytes, .. } => bytes,
                Fetched::Absent => panic!("{file} is not in the vault"),
            };
            let path = cluster.data_directory().join("pg_wal").join(file.to_string());
            if let Ok(there) = std::fs::read(path) {
                let end = range.end.min(file.range().end).bytes_since(file.range().start) as usize;
                let begin = range.start.bytes_since(file.range().start) as usize;
                assert!(stored[begin..end] == there[begin..end], "{file} differs from the server's");
                compared += 1;
            }
            file = file.next();
        }
        compared
    }
}

/// A stream that runs beside the test.
struct Stream {
    stop: watch::Sender<bool>,
    exposure: watch::Receiver<Exposure>,
    events: Arc<Mutex<Vec<StreamEvent>>>,
    failure: Arc<Mutex<Option<String>>>,
    task: JoinHandle<Result<StreamEnd, StreamError>>,
}

impl Stream {
    fn start(options: StreamOptions) -> Self {
        let (stop, asked) = watch::channel(false);
        let exposure = options.exposure.subscribe();
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        let tell = Arc::new(move |event| sink.lock().unwrap().push(event));
        let failure = Arc::new(Mutex::new(None));
        let note = failure.clone();
        let task = tokio::spawn(async move {
            let outcome = stream::run(options, asked, tell).await;
            *note.lock().unwrap() = outcome.as_ref().err().map(ToString::to_string);
            outcome
        });
        Self { stop, exposure, events, failure, task }
    }

    #[track_caller]
    fn assert_running(&self) {
        let failure = self.failure.lock().unwrap().clone();
        assert!(!self.task.is_finished(), "the stream ended: {failure:?} {:#?}", self.events());
    }

    fn events(&self) -> Vec<StreamEvent> {
        self.events.lock().unwrap().clone()
    }

    fn alarms(&self, kind: AlarmKind) -> Vec<Alarm> {
        let raised = |event| if let StreamEvent::Raised(alarm) = event { Some(alarm) } else { None };
        self.events().into_iter().filter_map(raised).filter(|alarm| alarm.kind() == kind).collect()
    }

    /// Waits until the vault has the WAL up to `lsn`.
    #[track_caller]
    fn wait_durable(&self, lsn: Lsn) {
        until(&format!("{lsn} durable; events: {:#?}", self.events()), || {
            self.assert_running();
            (self.exposure.borrow().durable >= lsn).then_some(())
        });
    }

    #[track_caller]
    fn wait_connected(&self) {
        self.wait_event("a connection", |event| matches!(event, StreamEvent::Connected { .. }));
    }

    #[track_caller]
    fn wait_event(&self, what: &str, is_it: impl Fn(&StreamEvent) -> bool) -> StreamEvent {
        until(what, || {
            let found = self.events().into_iter().find(|event| is_it(event));
            if found.is_none() {
                self.assert_running();
            }
            found
        })
    }

    #[track_caller]
    fn wait_alarm(&self, kind: AlarmKind) -> Alarm {
        let is_it = |event: &StreamEvent| matches!(event, StreamEvent::Raised(a) if a.kind() == kind);
        match self.wait_event(kind.name(), is_it) {
            StreamEvent::Raised(alarm) => alarm,
            other => panic!("{other:?}"),
        }
    }

    /// Stops it as an operator would.
    async fn stop(self) -> StreamEnd {
        self.stop.send_replace(true);
        self.end().await.unwrap()
    }

    /// Waits until it ends by itself.
    async fn end(self) -> Result<StreamEnd, StreamError> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the stream ends in time").unwrap()
    }

    /// Ends it as kill -9 would: nothing is flushed, nobody is told.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// The end of what the server has flushed.
#[track_caller]
fn flushed(cluster: &Cluster) -> Lsn {
    cluster.psql("select pg_current_wal_flush_lsn()").parse().unwrap()
}

/// Writes some WAL and returns its end.
#[track_caller]
fn write(cluster: &Cluster, rows: u32) -> Lsn {
    cluster.psql(&format!(
        "create table if not exists t (i int, x text); \
         insert into t select i, repeat(md5(i::text), 10) from generate_series(1, {rows}) i"
    ));
    flushed(cluster)
}

/// A server that gives up a slot that holds 2 MB of WAL.
fn start_forgetful(installation: &Installation) -> Cluster {
    let options = ClusterOptions::new()
        .wal_segment_mib(1)
        .set("max_slot_wal_keep_size", "2MB")
        .set("min_wal_size", "2MB")
        .set("max_wal_size", "2MB")
        .set("wal_recycle", "off");
    Cluster::start(installation, &options)
}

/// Writes until such a server has given the slot up.
fn outgrow_the_slot(cluster: &Cluster) {
    until("the slot is given up", || {
        write(cluster, 20_000);
        cluster.psql("checkpoint");
        (cluster.psql("select wal_status from pg_replication_slots") == "lost").then_some(())
    });
}
