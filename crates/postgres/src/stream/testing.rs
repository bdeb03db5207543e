//! What the stream's own tests share: a vault that fails on command, a clock that they move, and what was told.

use super::alarm::{Board, StreamEvent};
use super::exposure::Exposure;
use super::shared::Shared;
use lifeboat_base::{ManualClock, ServiceName, SystemId};
use lifeboat_testkit::faulty::{FaultPlan, FaultyStore};
use lifeboat_vault::wal::{Cluster, WalArchive};
use lifeboat_vault::{Copies, Vault, VaultCopy, address};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Bytes in a segment of these tests' cluster.
pub(super) const SEGMENT_BYTES: u64 = 1 << 20;

pub(super) struct Bench {
    pub(super) stores: Vec<FaultyStore>,
    pub(super) vault: Vault,
    pub(super) service: ServiceName,
    pub(super) archive: WalArchive,
    pub(super) clock: Arc<ManualClock>,
    pub(super) shared: Arc<Shared>,
    told: Arc<Mutex<Vec<StreamEvent>>>,
    _scratch: tempfile::TempDir,
}

impl Bench {
    /// A vault of so many copies, all of which must have a write.
    pub(super) async fn new(copies: usize) -> Self {
        Self::wanting(copies, copies).await
    }

    /// A vault of so many copies, so many of which must have a write.
    pub(super) async fn wanting(copies: usize, durable: usize) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let store = |number: usize| {
            let place = format!("file://{}", scratch.path().join(number.to_string()).display());
            FaultyStore::new(address::open(&place, true, &|_| None).unwrap(), FaultPlan::none())
        };
        let stores: Vec<FaultyStore> = (0..copies).map(store).collect();
        let copy = |(number, store): (usize, &FaultyStore)| {
            VaultCopy::new(number.to_string(), None, Arc::new(store.clone()))
        };
        let vault_copies = Copies::new(stores.iter().enumerate().map(copy).collect(), durable);
        let clock = Arc::new(ManualClock::new("2026-11-21T10:00:00Z".parse().unwrap(), 1));
        let vault = Vault::init(vault_copies, Some("a long passphrase"), &[], clock.clone()).await.unwrap();
        let service: ServiceName = "ledger-db".parse().unwrap();
        let cluster = Cluster {
            system_id: SystemId(7),
            major: 17,
            segment_bytes: u32::try_from(SEGMENT_BYTES).unwrap(),
        };
        let archive = WalArchive::establish(&vault, &service, cluster).await.unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared::new(
            clock.clone(),
            Board::new(sink(&told)),
            watch::Sender::new(Exposure::default()),
        ));
        Self { stores, vault, service, archive, clock, shared, told, _scratch: scratch }
    }

    /// What was told so far.
    pub(super) fn told(&self) -> Vec<StreamEvent> {
        self.told.lock().unwrap().clone()
    }
}

/// Keeps what is told.
pub(super) fn sink(told: &Arc<Mutex<Vec<StreamEvent>>>) -> super::EventSink {
    let told = told.clone();
    Arc::new(move |event| told.lock().unwrap().push(event))
}

/// Bytes that are not the same everywhere.
pub(super) fn noise(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ seed).collect()
}
