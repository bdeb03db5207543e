//! Vaults of the tests' own: stores that can fail, one key, a clock for each machine.

use age::secrecy::ExposeSecret;
use jiff::Timestamp;
use lifeboat_base::{Clock, ManualClock};
use lifeboat_testkit::faulty::{FaultPlan, FaultyStore};
use lifeboat_vault::keys::Unlock;
use lifeboat_vault::{Copies, Scope, Vault, VaultCopy};
use object_store::memory::InMemory;
use std::sync::Arc;
use std::time::Duration;

/// 2026-01-01, when all these tests take place.
pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

/// A clock whose time is tokio's, which tests pause; its wall clock can be set wrong.
#[derive(Debug)]
pub struct TestClock {
    began: tokio::time::Instant,
    wall: ManualClock,
}

impl TestClock {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { began: tokio::time::Instant::now(), wall: ManualClock::new(start(), seed) })
    }

    /// Lets wall-clock time pass.
    pub fn pass(&self, duration: Duration) {
        self.wall.advance(duration);
    }

    /// Sets the wall clock wrong.
    pub fn jump_to(&self, now: Timestamp) {
        self.wall.jump_to(now);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.wall.now() + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    fn random(&self, bytes: &mut [u8]) {
        self.wall.random(bytes);
    }
}

/// A vault's stores and key; every machine that opens it has a clock of its own.
pub struct World {
    pub stores: Vec<FaultyStore>,
    pub clock: Arc<TestClock>,
    durable: usize,
    identity: age::x25519::Identity,
}

impl World {
    /// A new vault in `copies` stores in memory.
    pub async fn new(copies: usize, durable: usize) -> Self {
        let stores = (0..copies).map(|_| Arc::new(InMemory::new()) as Arc<dyn object_store::ObjectStore>);
        Self::over(stores.collect(), durable).await
    }

    /// A new vault in these stores.
    pub async fn over(stores: Vec<Arc<dyn object_store::ObjectStore>>, durable: usize) -> Self {
        let identity = age::x25519::Identity::generate();
        let stores = stores.into_iter().map(|store| FaultyStore::new(store, FaultPlan::none())).collect();
        let world = Self { stores, clock: TestClock::new(1), durable, identity };
        let recipient = world.identity.to_public().to_string();
        Vault::init(world.copies(), None, &[recipient], world.clock.clone()).await.unwrap();
        world
    }

    pub fn copies(&self) -> Copies {
        let copy = |(n, store): (usize, &FaultyStore)| {
            VaultCopy::new(format!("copy-{n}"), Some(format!("site-{n}")), Arc::new(store.clone()))
        };
        Copies::new(self.stores.iter().enumerate().map(copy).collect(), self.durable)
    }

    pub fn unlock(&self) -> Unlock {
        Unlock::AgeIdentity(self.identity.to_string().expose_secret().to_owned().into())
    }

    /// The vault, opened by a machine with this clock.
    pub async fn open_with(&self, clock: Arc<dyn Clock>) -> Vault {
        Vault::open(self.copies(), &self.unlock(), clock).await.unwrap()
    }

    /// The vault, opened by the first machine.
    pub async fn vault(&self) -> Vault {
        self.open_with(self.clock.clone()).await
    }

    /// Lets faults come in one copy.
    pub fn plan(&self, copy: usize, plan: FaultPlan) {
        self.stores[copy].set_plan(plan);
    }
}
