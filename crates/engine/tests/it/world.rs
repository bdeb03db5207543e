//! A vault in memory, a clock that follows the simulated time, and a protection that notes what it is asked.

use jiff::{SignedDuration, Timestamp};
use lifeboat_base::{Clock, ServiceName, SystemClock};
use lifeboat_core::port::Work;
use lifeboat_core::schedule::{Job, ServiceSchedule};
use lifeboat_engine::serve::{Done, Protection, ServeEvent, ServeOptions, ServedService, serve};
use lifeboat_testkit::faulty::{FaultPlan, FaultyStore};
use lifeboat_vault::{Copies, Vault, VaultCopy};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Follows the runtime's time, which stands still while anything can run and then leaps.
#[derive(Debug)]
pub struct SimulatedClock {
    start: tokio::time::Instant,
    randomness: SystemClock,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        noon + SignedDuration::try_from(self.monotonic()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn random(&self, bytes: &mut [u8]) {
        self.randomness.random(bytes);
    }
}

/// What happened: when, to whom, what.
pub type Log = Arc<Mutex<Vec<(Duration, String, String)>>>;

/// A world with one vault; each [`World::process`] opens it for itself.
pub struct World {
    pub store: FaultyStore,
    clock: Arc<dyn Clock>,
    pub log: Log,
}

/// Takes ten minutes for a backup and a second for anything else; streams until stopped.
struct Noted {
    who: &'static str,
    clock: Arc<dyn Clock>,
    log: Log,
    fails: Arc<Mutex<u32>>,
}

impl Noted {
    fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push((self.clock.monotonic(), self.who.to_owned(), what.into()));
    }
}

impl Protection for Noted {
    fn stream(&self, _service: &ServiceName, mut stop: watch::Receiver<bool>) -> Work<()> {
        self.note("stream begins");
        Box::pin(async move {
            let _ = stop.wait_for(|stop| *stop).await;
            Ok(())
        })
    }

    fn grown(&self, _: &ServiceName) -> Option<u64> {
        None
    }

    fn run(&self, _service: &ServiceName, job: Job) -> Work<Done> {
        self.note(format!("{job:?} begins"));
        let fails = self.fails.clone();
        Box::pin(async move {
            let takes = if job == Job::BaseBackup { 600 } else { 1 };
            tokio::time::sleep(Duration::from_secs(takes)).await;
            let mut fails = fails.lock().unwrap();
            if *fails > 0 {
                *fails -= 1;
                return Err("the disk is full".into());
            }
            Ok("done".to_owned().into())
        })
    }
}

/// One `lifeboat serve`.
pub struct Process {
    stop: watch::Sender<bool>,
    pub task: JoinHandle<()>,
    pub fails: Arc<Mutex<u32>>,
}

impl Process {
    /// As `kill -9` does.
    pub fn kill(&self) {
        self.task.abort();
    }

    /// As SIGTERM does.
    pub async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }
}

impl World {
    pub async fn new() -> Self {
        let store = FaultyStore::new(Arc::new(object_store::memory::InMemory::new()), FaultPlan::none());
        let start = tokio::time::Instant::now();
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock { start, randomness: SystemClock::new() });
        let world = Self { store, clock, log: Log::default() };
        let recipient = age_recipient();
        Vault::init(world.copies(), None, &[recipient], world.clock.clone()).await.unwrap();
        world
    }

    fn copies(&self) -> Copies {
        Copies::new(vec![VaultCopy::new("home", None, Arc::new(self.store.clone()))], 1)
    }

    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    pub async fn vault(&self) -> Vault {
        let unlock = lifeboat_vault::keys::Unlock::AgeIdentity(AGE_IDENTITY.to_owned().into());
        Vault::open(self.copies(), &unlock, self.clock.clone()).await.unwrap()
    }

    /// Starts a `lifeboat serve` of one service with a backup every hour.
    pub async fn process(&self, who: &'static str) -> Process {
        let fails = Arc::new(Mutex::new(0));
        let noted = Noted { who, clock: self.clock.clone(), log: self.log.clone(), fails: fails.clone() };
        let (log, clock) = (self.log.clone(), self.clock.clone());
        let options = ServeOptions {
            vault: self.vault().await,
            actor: who.to_owned(),
            services: vec![ServedService {
                name: "orders-db".parse().unwrap(),
                schedule: ServiceSchedule {
                    base: "0 * * * *".parse().unwrap(),
                    zone: "Europe/Berlin".parse().unwrap(),
                    prunes: true,
                    advance: None,
                    verifies: true,
                },
                streams: true,
            }],
            protection: Arc::new(noted),
            observer: Arc::new(move |_, event: ServeEvent| {
                let what = format!("{event:?}");
                log.lock().unwrap().push((clock.monotonic(), who.to_owned(), what));
            }),
        };
        let (stop, stopping) = watch::channel(false);
        Process { stop, task: tokio::spawn(serve(options, stopping)), fails }
    }

    /// When and by whom `what` was noted.
    pub fn noted(&self, what: &str) -> Vec<(Duration, String)> {
        let log = self.log.lock().unwrap();
        let hits = log.iter().filter(|(_, _, noted)| noted.starts_with(what));
        hits.map(|(at, who, _)| (*at, who.clone())).collect()
    }

    /// Waits until `what` was noted `count` times.
    pub async fn until(&self, what: &str, count: usize) {
        for _ in 0..1_000_000 {
            if self.noted(what).len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what} did not come: {:#?}", self.log.lock().unwrap());
    }
}

/// A key for tests; the vaults it opens are in memory.
const AGE_IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

fn age_recipient() -> String {
    let identity: age::x25519::Identity = AGE_IDENTITY.parse().unwrap();
    identity.to_public().to_string()
}
