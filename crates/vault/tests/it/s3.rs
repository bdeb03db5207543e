//! The vault over S3's protocol: what works over a directory works there.

use crate::fixture::{assert_restorable, fill, held, service};
use crate::support::{World, scope};
use lifeboat_base::SystemClock;
use lifeboat_testkit::faulty::{Fault, FaultPlan, Select};
use lifeboat_testkit::s3::S3Server;
use lifeboat_vault::check::{CheckOptions, FindingKind, Repair, check};
use lifeboat_vault::journal::{self, Chain};
use lifeboat_vault::lease::{Acquired, Lease};
use lifeboat_vault::prune::{self, Policy, PruneOptions};
use lifeboat_vault::{Created, OpenVaultError, Reach, Vault, WriteError};
use object_store::ObjectStore;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn bucket() -> Arc<dyn ObjectStore> {
    S3Server::shared().bucket().store()
}

#[tokio::test]
async fn a_vault_is_made_once_and_its_objects_are_written_once() {
    let world = World::over(vec![bucket(), bucket()], 2).await;
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    let again = Vault::init(world.copies(), None, &[recipient], Arc::new(SystemClock::new())).await;
    assert!(matches!(again, Err(OpenVaultError::Exists(_))), "{again:?}");
    let vault = world.vault().await;
    assert!(vault.put("plans/a", b"one", Reach::All).await.unwrap().is_empty());
    assert!(matches!(vault.put("plans/a", b"two", Reach::All).await, Err(WriteError::Conflict { .. })));
    assert_eq!(vault.read("plans/a").await.unwrap(), b"one");
    assert!(vault.read("plans/b").await.unwrap_err().is_missing());
    assert_eq!(vault.create_at_home("plans/c", b"mine").await.unwrap(), Created::Mine);
    assert!(matches!(vault.create_at_home("plans/c", b"theirs").await.unwrap(), Created::Taken(_)));
    let names: Vec<String> = vault.copies().list("plans").await.objects.into_keys().collect();
    assert_eq!(names, ["plans/a", "plans/c"]);
    let after = vault.copies().list_after("plans", Some("plans/a")).await;
    assert_eq!(after.objects.into_keys().collect::<Vec<_>>(), ["plans/c"]);
    assert!(vault.copies().delete(vec!["plans/a".to_owned(), "plans/nothing".to_owned()]).await.is_empty());
    assert!(vault.read("plans/a").await.unwrap_err().is_missing());
}

#[tokio::test]
async fn journal_lease_prune_and_check_work_there() {
    let world = World::over(vec![bucket(), bucket()], 1).await;
    let vault = world.vault().await;
    let mut chain = Chain::open(&vault, &scope("run"), "one").await.unwrap();
    let mut rival = Chain::open(&vault, &scope("run"), "two").await.unwrap();
    for n in 0..20 {
        chain.append("counted", json!(n)).await.unwrap();
    }
    assert!(rival.append("counted", json!(0)).await.is_err());
    let Acquired::Held(lease) = Lease::acquire(&vault, &scope("run"), "one").await.unwrap() else { panic!() };
    lease.renew().await.unwrap();
    assert!(matches!(Lease::acquire(&vault, &scope("run"), "two").await.unwrap(), Acquired::Busy(_)));
    lease.release().await.unwrap();
    assert!(matches!(Lease::acquire(&vault, &scope("run"), "two").await.unwrap(), Acquired::Held(_)));
    assert!(journal::verify(&vault).await.unwrap().is_sound());

    fill(&world, &vault, 4).await;
    let options = PruneOptions {
        service: service(),
        policy: Policy { last: Some(2), ..Policy::everything() },
        verification: BTreeMap::new(),
        grace: Duration::ZERO,
        wait: Duration::from_secs(15),
    };
    let outcome = prune::run(&vault, "me", &options).await.unwrap();
    assert!(outcome.left.is_empty(), "{:?}", outcome.left);
    assert_eq!((assert_restorable(&vault, 0).await, assert_restorable(&vault, 1).await), (2, 2));
    let objects = held(&vault).await;
    for name in objects.keys().step_by(3) {
        let deleted = world.stores[1].inner();
        object_store::ObjectStoreExt::delete(&deleted, &object_store::path::Path::from(name.as_str()))
            .await
            .unwrap();
    }
    let repair = Some(Repair { actor: "doctor".to_owned(), wait: Duration::from_secs(15) });
    let report = check(&vault, &CheckOptions { deep: true, repair, progress: None }).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!(held(&vault).await, objects);
    let report = check(&vault, &CheckOptions { deep: true, ..CheckOptions::default() }).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[tokio::test]
async fn with_one_of_two_copies_down_work_goes_on_as_far_as_the_plan_allows() {
    for (durable, down) in [(1, 0), (1, 1), (2, 1)] {
        let world = World::over(vec![bucket(), bucket()], durable).await;
        let vault = world.vault().await;
        vault.put("plans/before", b"x", Reach::All).await.unwrap();
        world.plan(down, FaultPlan::none().on(Select::any(), Fault::Unavailable));
        assert_eq!(vault.read("plans/before").await.unwrap(), b"x");
        let put = vault.put("plans/during", b"y", Reach::Durable).await;
        assert_eq!(put.is_ok(), durable == 1, "{put:?}");
        // What the copy that is down may have is not called missing.
        let missing = vault.read("plans/nothing").await.unwrap_err().is_missing();
        assert_eq!(missing, durable == 2);
        assert_eq!(vault.copies().list("plans").await.is_complete, durable == 2);
        let opened = Vault::open(world.copies(), &world.unlock(), world.clock.clone()).await;
        assert!(opened.is_ok(), "{opened:?}");
        let report = check(&vault, &CheckOptions::default()).await.unwrap();
        assert!(report.findings.iter().any(|finding| finding.kind == FindingKind::CopyAway));
    }
}
