//! Seeded bad luck: requests fail, replies get lost, copies are slow. The seed is in the failure's message.

use crate::fixture::{assert_restorable, fill, held, service};
use crate::support::{TestClock, World, scope};
use lifeboat_testkit::faulty::{Fault, FaultPlan};
use lifeboat_vault::check::{CheckOptions, Repair, check};
use lifeboat_vault::lease::{Acquired, Lease};
use lifeboat_vault::prune::{self, Policy, PruneOptions};
use lifeboat_vault::{Vault, journal};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SEEDS: u64 = 12;
const FAULTS: [Fault; 3] = [Fault::Fail, Fault::Unavailable, Fault::LoseReply];

/// A number that hangs on the seed and `n` alone.
fn draw(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(n.wrapping_mul(0xBF58_476D_1CE4_E5B9));
    z = (z ^ (z >> 30)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Acts when it may, for a while, then lets go or dies.
async fn actor(vault: Vault, seed: u64, holding: Arc<Mutex<Vec<Lease>>>, times: Arc<Mutex<u64>>) {
    for n in 0.. {
        let waited = Lease::wait(&vault, &scope("stream"), "actor", Duration::from_secs(60)).await;
        let Ok(Acquired::Held(lease)) = waited else { continue };
        let alive = lease.keep_alive();
        holding.lock().unwrap().push(lease.clone());
        *times.lock().unwrap() += 1;
        tokio::time::sleep(Duration::from_millis(draw(seed, n) % 30_000)).await;
        drop(alive);
        if draw(seed, n).is_multiple_of(3) {
            let _ = lease.release().await;
        }
        tokio::time::sleep(Duration::from_millis(draw(seed, n + 1) % 20_000)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn never_do_two_hold_one_lease() {
    for seed in 0..SEEDS {
        let world = World::new(1, 1).await;
        let slow = Fault::Delay(Duration::from_millis(200 + draw(seed, 7) % 3_000));
        let faults = [FAULTS.as_slice(), &[slow]].concat();
        world.plan(0, FaultPlan::none());
        let mut vaults = Vec::new();
        for machine in 0..3 {
            vaults.push(world.open_with(TestClock::new(seed * 10 + machine)).await);
        }
        world.plan(0, FaultPlan::none().randomly(seed, 100, &faults));
        let (holding, times) = (Arc::new(Mutex::new(Vec::<Lease>::new())), Arc::new(Mutex::new(0)));
        let mut tasks = Vec::new();
        for (machine, vault) in vaults.into_iter().enumerate() {
            let seed = draw(seed, machine as u64);
            tasks.push(tokio::spawn(actor(vault, seed, holding.clone(), times.clone())));
        }
        // Fifteen minutes, looked at twenty times a second.
        for _ in 0..15 * 60 * 20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut leases = holding.lock().unwrap();
            leases.retain(Lease::still_held);
            assert!(leases.len() <= 1, "seed {seed}: {} hold it", leases.len());
        }
        for task in tasks {
            task.abort();
        }
        let times = *times.lock().unwrap();
        assert!(times > 10, "seed {seed}: it was taken {times} times only");
    }
}

#[tokio::test(start_paused = true)]
async fn prune_gets_there_and_never_makes_a_lie() {
    for seed in 0..SEEDS {
        let world = World::new(2, 1 + (seed % 2) as usize).await;
        let vault = world.vault().await;
        fill(&world, &vault, 3).await;
        let options = PruneOptions {
            service: service(),
            policy: Policy { last: Some(1), ..Policy::everything() },
            verification: BTreeMap::new(),
            grace: Duration::ZERO,
            wait: Duration::from_secs(60),
        };
        for round in 0.. {
            // Bad luck wanes.
            let per_mille = 60_u64.saturating_sub(round * 6);
            for copy in 0..2 {
                let seed = seed * 1_000 + round * 2 + copy as u64;
                world.plan(copy, FaultPlan::none().randomly(seed, per_mille, &FAULTS));
            }
            let pruned = prune::run(&vault, "me", &options).await;
            for copy in 0..2 {
                world.plan(copy, FaultPlan::none());
            }
            for copy in 0..2 {
                assert!(assert_restorable(&vault, copy).await >= 1, "seed {seed} round {round}");
            }
            if pruned.is_ok_and(|outcome| outcome.left.is_empty() && outcome.buried.is_empty()) {
                break;
            }
            assert!(round < 20, "seed {seed}: prune does not get there");
        }
        assert_eq!(assert_restorable(&vault, 0).await, 1, "seed {seed}");
        // A copy that missed records of the journal while it was away gets them back, and nothing else.
        let before = held(&vault).await;
        let repair = Some(Repair { actor: "doctor".to_owned(), wait: Duration::from_secs(60) });
        let report = check(&vault, &CheckOptions { deep: true, repair, progress: None }).await.unwrap();
        assert!(report.is_sound(), "seed {seed}: {:?}", report.findings);
        assert_eq!(held(&vault).await, before, "seed {seed}");
        assert!(journal::verify(&vault).await.unwrap().is_sound(), "seed {seed}");
    }
}
