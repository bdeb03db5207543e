//! Bad days: what is lost, bent, cut or away is said, healed where another copy has it, and never made up.

use crate::fixture::{
    self, SEGMENT, SYSTEM, assert_restorable, cluster, fill, held, put_segment, segment, service,
};
use crate::support::World;
use lifeboat_base::{Lsn, Timeline};
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_vault::check::{CheckError, CheckOptions, Finding, FindingKind, Repair, Report, check};
use lifeboat_vault::prune::{self, Policy, PruneOptions};
use lifeboat_vault::wal::clusters;
use lifeboat_vault::{Vault, names, point, seal};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn deep() -> CheckOptions {
    CheckOptions { deep: true, ..CheckOptions::default() }
}

fn repair(deep: bool) -> CheckOptions {
    let repair = Some(Repair { actor: "doctor".to_owned(), wait: Duration::from_secs(15) });
    CheckOptions { deep, repair, progress: None }
}

async fn ask(vault: &Vault, options: &CheckOptions) -> Report {
    check(vault, options).await.unwrap()
}

fn problems(report: &Report) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.kind.is_problem()).collect()
}

fn has(report: &Report, kind: FindingKind, object: &str) -> bool {
    report.findings.iter().any(|finding| finding.kind == kind && finding.object.contains(object))
}

/// All objects of the vault but leases, which are the home's alone.
async fn everything(vault: &Vault) -> BTreeMap<String, Vec<usize>> {
    let listing = vault.copies().list("").await;
    let mirrored = listing.objects.into_iter().filter(|(name, _)| !name.starts_with("leases"));
    mirrored.map(|(name, listed)| (name, listed.copies)).collect()
}

async fn world(copies: usize, points: u64) -> (World, Vault) {
    let world = World::new(copies, 1).await;
    let vault = world.vault().await;
    fill(&world, &vault, points).await;
    (world, vault)
}

async fn overwrite(vault: &Vault, copy: usize, name: &str, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = vault.copies().read_from(copy, name).await.unwrap().to_vec();
    change(&mut bytes);
    vault.copies().overwrite_in(copy, name, bytes.into()).await.unwrap();
}

async fn lose(world: &World, copy: usize, name: &str) {
    use object_store::ObjectStoreExt;
    world.stores[copy].inner().delete(&object_store::path::Path::from(name)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_pieces_of_a_whole_that_opens_nowhere_are_looked_at_and_leave_no_hole() {
    let (_world, vault) = world(2, 3).await;
    let whole = names::wal_segment(&service(), SYSTEM, Timeline(1), &segment(1).to_string());
    let archive = fixture::archive(&vault).await;
    let content = fixture::content(1, SEGMENT as usize);
    let half = content.len() / 2;
    archive.put_piece(Timeline(1), Lsn(SEGMENT), &content[..half]).await.unwrap();
    archive.put_piece(Timeline(1), Lsn(SEGMENT).advance(half as u64), &content[half..]).await.unwrap();
    for copy in 0..2 {
        overwrite(&vault, copy, &whole, |bytes| bytes[40] ^= 1).await;
    }
    let report = ask(&vault, &deep()).await;
    assert!(has(&report, FindingKind::Damaged, &whole) && !has(&report, FindingKind::WalHole, ""));
    assert!(report.points.iter().all(|point| point.is_restorable), "{:?}", report.points);
    // Where a piece is damaged too, it is said, and there is a hole.
    let pieces = names::wal_pieces(&service(), SYSTEM, Timeline(1), &segment(1).to_string());
    let first = vault.copies().list(&pieces).await.objects.into_keys().next().unwrap();
    for copy in 0..2 {
        overwrite(&vault, copy, &first, |bytes| bytes[40] ^= 1).await;
    }
    let report = ask(&vault, &deep()).await;
    assert!(has(&report, FindingKind::Damaged, &first) && has(&report, FindingKind::WalHole, ""));
}

#[tokio::test(start_paused = true)]
async fn h5_what_opens_and_differs_between_copies_is_told_and_left() {
    let (_world, vault) = world(3, 3).await;
    let history = names::wal_history(&service(), SYSTEM, Timeline(2));
    let whole = names::wal_segment(&service(), SYSTEM, Timeline(1), &segment(1).to_string());
    let record = names::journal_record("services/db/stream", 1);
    let sealed = |name: &str, raw: &[u8]| {
        bytes::Bytes::from(seal::seal_object(vault.key(), name, vault.clock().as_ref(), raw))
    };
    // The same, sealed twice, is no difference.
    vault
        .copies()
        .overwrite_in(1, &whole, sealed(&whole, &fixture::content(1, SEGMENT as usize)))
        .await
        .unwrap();
    for copy in 0..2 {
        vault.copies().create_in(copy, &history, sealed(&history, b"1\t0/500\twhy\n")).await.unwrap();
        vault.copies().create_in(copy, &record, sealed(&record, b"{}")).await.unwrap();
    }
    let differs = |report: &Report, name: &str| has(report, FindingKind::Differs, name);
    let report = ask(&vault, &deep()).await;
    assert!(!differs(&report, ""), "{:?}", report.findings);
    // Two servers promoted apart, each seen by another copy: told by a shallow look too.
    vault.copies().overwrite_in(1, &history, sealed(&history, b"1\t0/700\twhy\n")).await.unwrap();
    vault.copies().overwrite_in(1, &record, sealed(&record, b"{ }")).await.unwrap();
    vault
        .copies()
        .overwrite_in(2, &whole, sealed(&whole, &fixture::content(9, SEGMENT as usize)))
        .await
        .unwrap();
    let before = everything(&vault).await;
    let report = ask(&vault, &CheckOptions::default()).await;
    assert!(differs(&report, &history) && !report.is_sound(), "{:?}", report.findings);
    // Neither goes to the copy that lacks it.
    let report = ask(&vault, &repair(true)).await;
    for name in [&history, &whole, &record] {
        assert!(differs(&report, name), "{name}: {:?}", report.findings);
    }
    assert!(report.findings.iter().all(|finding| !finding.repaired), "{:?}", report.findings);
    let after = everything(&vault).await;
    assert_eq!((&after[&history], &after[&record]), (&before[&history], &before[&record]));
}

#[tokio::test(start_paused = true)]
async fn a_whole_vault_is_sound() {
    let (_world, vault) = world(2, 3).await;
    for options in [CheckOptions::default(), deep(), repair(false), repair(true)] {
        let report = ask(&vault, &options).await;
        assert!(report.is_sound() && problems(&report).is_empty(), "{:?}", report.findings);
        // The layer that a killed backup left.
        assert_eq!(report.findings.len(), 1);
        assert_eq!(report.findings[0].kind, FindingKind::Unnamed);
        assert_eq!(report.points.len(), 3);
        assert!(
            report.points.iter().all(|point| point.is_restorable && point.whole_in == ["copy-0", "copy-1"])
        );
    }
    let seen = Arc::new(AtomicU64::new(0));
    let told = seen.clone();
    let progress = Arc::new(move |progress: &lifeboat_vault::check::Progress| {
        told.fetch_max(progress.objects, Ordering::Relaxed);
    });
    let report = ask(&vault, &CheckOptions { progress: Some(progress), ..deep() }).await;
    assert!(seen.load(Ordering::Relaxed) > 0 && report.bytes_read > 0);
    let quick = ask(&vault, &CheckOptions::default()).await;
    assert!(quick.bytes_read < report.bytes_read, "a shallow check reads little");
}

#[tokio::test(start_paused = true)]
async fn each_object_that_a_copy_loses_is_named_and_healed_from_the_other() {
    for copy in 0..2 {
        let (world, vault) = world(2, 2).await;
        let before = everything(&vault).await;
        for name in before.keys() {
            lose(&world, copy, name).await;
            let report = ask(&vault, &CheckOptions::default()).await;
            // The layer that no restore point names is nobody's loss, and a joined piece is none.
            let told = has(&report, FindingKind::Missing, name);
            let matters = told || has(&report, FindingKind::Unnamed, "layers") && !report.is_sound() || {
                name.contains("/layers/") || name.contains(".d/")
            };
            assert!(matters, "{name}: {:?}", report.findings);
            let healed = ask(&vault, &repair(false)).await;
            assert!(healed.is_sound(), "{name}: {:?}", healed.findings);
            assert_eq!(healed.findings.iter().filter(|f| f.repaired).count(), usize::from(told), "{name}");
            let after = ask(&vault, &deep()).await;
            assert!(problems(&after).is_empty(), "{name}: {:?}", after.findings);
            assert!(after.points.iter().all(|point| point.whole_in.len() == 2), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_object_that_is_bent_or_cut_in_a_copy_is_named_and_healed_from_the_other() {
    let changes: [fn(&mut Vec<u8>); 3] = [
        |bytes| {
            let at = bytes.len() / 2;
            bytes[at] ^= 4;
        },
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
    ];
    for copy in 0..2 {
        let (_world, vault) = world(2, 2).await;
        let before = everything(&vault).await;
        let sound = ask(&vault, &deep()).await;
        let unnamed = &sound.findings[0].object;
        for name in before.keys().filter(|name| !name.contains(unnamed) && *name != names::VAULT_HEADER) {
            for (n, change) in changes.iter().enumerate() {
                overwrite(&vault, copy, name, change).await;
                let options = repair(true);
                let report = ask(&vault, &CheckOptions { repair: None, ..options.clone() }).await;
                // A joined piece is not needed; a bent key may still be one.
                if !has(&report, FindingKind::Damaged, name) {
                    let spared = name.contains(".d/") || name.starts_with("keys/");
                    assert!(spared, "{name} {n}: {:?}", report.findings);
                    continue;
                }
                assert!(!report.is_sound(), "{name} {n}");
                let healed = ask(&vault, &options).await;
                assert!(healed.is_sound(), "{name} {n}: {:?}", healed.findings);
                let after = ask(&vault, &deep()).await;
                assert!(problems(&after).is_empty(), "{name} {n}: {:?}", after.findings);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_copy_has_is_said_with_the_restore_points_that_it_costs() {
    let (world, vault) = world(2, 3).await;
    let point = point::read(&vault, &service(), "p1").await.unwrap();
    let pack = names::pack(&service(), &point.layers[0], 1);
    for copy in 0..2 {
        lose(&world, copy, &pack).await;
    }
    let wal = names::wal_segment(&service(), SYSTEM, Timeline(1), &segment(0).to_string());
    for copy in 0..2 {
        overwrite(&vault, copy, &wal, |bytes| bytes[60] ^= 1).await;
    }
    for options in [deep(), repair(true)] {
        let report = ask(&vault, &options).await;
        assert!(!report.is_sound());
        assert!(has(&report, FindingKind::Lost, &pack), "{:?}", report.findings);
        assert!(has(&report, FindingKind::Damaged, &wal));
        assert!(has(&report, FindingKind::WalHole, "wal"));
        assert!(
            has(&report, FindingKind::NotRestorable, "p1") && has(&report, FindingKind::NotRestorable, "p0")
        );
        let restorable: Vec<bool> = report.points.iter().map(|point| point.is_restorable).collect();
        assert_eq!(restorable, [false, false, true]);
    }
    // Two copies that each lack something else are one whole vault.
    let (world, vault) = self::world(2, 1).await;
    lose(&world, 0, &names::point(&service(), "p0")).await;
    lose(&world, 1, &wal).await;
    let report = ask(&vault, &CheckOptions::default()).await;
    assert!(report.points[0].is_restorable && report.points[0].whole_in.is_empty());
}

/// What other objects tell of is missed, though nothing names it.
#[tokio::test(start_paused = true)]
async fn a_lost_manifest_and_a_lost_cluster_are_told_and_the_cluster_is_written_again() {
    let (world, vault) = world(2, 2).await;
    let (manifest, known) = (names::point(&service(), "p0"), names::cluster(&service(), SYSTEM));
    for copy in 0..2 {
        lose(&world, copy, &known).await;
    }
    let report = ask(&vault, &CheckOptions::default()).await;
    assert!(has(&report, FindingKind::Lost, &known) && !report.is_sound(), "{:?}", report.findings);
    assert!(clusters(&vault, &service()).await.unwrap().is_empty());
    ask(&vault, &repair(false)).await;
    assert_eq!(clusters(&vault, &service()).await.unwrap(), [cluster()]);
    assert!(ask(&vault, &CheckOptions::default()).await.is_sound());
    for copy in 0..2 {
        lose(&world, copy, &manifest).await;
    }
    // A backup that was killed in its last step looks the same, and is there too.
    let report = ask(&vault, &CheckOptions::default()).await;
    let told = report.findings.iter().filter(|finding| finding.what.contains("its manifest was lost"));
    assert_eq!(told.count(), 2, "{:?}", report.findings);
}

#[tokio::test(start_paused = true)]
async fn h1_a_copy_that_is_away_is_a_finding_and_nothing_is_said_about_it() {
    for away in 0..2 {
        let (world, vault) = world(2, 2).await;
        world.plan(away, FaultPlan::none().on(Select::any(), Fault::Unavailable));
        let report = ask(&vault, &CheckOptions::default()).await;
        assert!(!report.is_sound());
        let kinds: Vec<FindingKind> = problems(&report).iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [FindingKind::CopyAway], "{:?}", report.findings);
        assert!(report.copies[away].away.is_some());
        let other = format!("copy-{}", 1 - away);
        assert!(report.points.iter().all(|p| p.is_restorable && p.whole_in == [other.clone()]));
    }
    let (world, vault) = world(1, 1).await;
    world.plan(0, FaultPlan::none().on(Select::any(), Fault::Unavailable));
    assert!(matches!(check(&vault, &deep()).await, Err(CheckError::Silent(_))));
}

fn prune_to(last: u32) -> PruneOptions {
    PruneOptions {
        service: service(),
        policy: Policy { last: Some(last), ..Policy::everything() },
        verification: BTreeMap::new(),
        grace: Duration::ZERO,
        wait: Duration::from_secs(15),
    }
}

#[tokio::test(start_paused = true)]
async fn h3_repair_never_brings_back_what_prune_buried() {
    // One copy does not take the deletions; with a kill at any of them.
    for kill in [None, Some(1), Some(3), Some(5), Some(8)] {
        let (world, vault) = world(2, 4).await;
        let select = Select::kind(OperationKind::Delete).named("services");
        match kill {
            None => world.plan(1, FaultPlan::none().on(select, Fault::Unavailable)),
            Some(n) => world.plan(0, FaultPlan::none().nth(select, n, Fault::Crash)),
        }
        let _ = prune::run(&vault, "me", &prune_to(1)).await;
        world.plan(0, FaultPlan::none());
        world.plan(1, FaultPlan::none());
        let before = held(&vault).await;
        let report = ask(&vault, &repair(true)).await;
        assert!(report.is_sound(), "{kill:?}: {:?}", report.findings);
        assert_eq!(held(&vault).await, before, "{kill:?}: nothing came back");
        prune::run(&vault, "me", &prune_to(1)).await.unwrap();
        assert_eq!(assert_restorable(&vault, 0).await, 1);
        let report = ask(&vault, &repair(true)).await;
        assert!(report.findings.is_empty(), "{kill:?}: {:?}", report.findings);
    }
    // An old state of a copy comes back from somewhere: it is told of, and not spread.
    let (world, vault) = world(2, 3).await;
    let name = names::point(&service(), "p0");
    let old = vault.copies().read_from(1, &name).await.unwrap();
    prune::run(&vault, "me", &prune_to(1)).await.unwrap();
    vault.copies().overwrite_in(1, &name, old).await.unwrap();
    let report = ask(&vault, &repair(true)).await;
    assert!(has(&report, FindingKind::Leftover, "p0"), "{:?}", report.findings);
    assert_eq!(held(&vault).await[&name], [1]);
    drop(world);
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_the_wal_is_named_unless_prune_made_it() {
    let (world, vault) = world(2, 3).await;
    put_segment(&vault, 5).await;
    let report = ask(&vault, &CheckOptions::default()).await;
    let hole = report.findings.iter().find(|finding| finding.kind == FindingKind::WalHole).unwrap();
    let from = Lsn(3 * SEGMENT + 1_000);
    assert!(hole.what.contains(&format!("{from} to {}", Lsn(5 * SEGMENT))), "{}", hole.what);
    // Prune keeps the first and the last point, and takes the WAL between them.
    let (other, vault) = self::world(2, 5).await;
    let mut options = prune_to(1);
    options.verification.insert("p1".to_owned(), prune::Verification::Verified);
    prune::run(&vault, "me", &options).await.unwrap();
    let report = ask(&vault, &deep()).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!(report.points.len(), 2);
    drop((world, other));
}

#[tokio::test(start_paused = true)]
async fn h4_strays_are_told_of_and_left() {
    let (_world, vault) = world(2, 1).await;
    let index = point::read(&vault, &service(), "p0").await.unwrap().layers[0].clone();
    let strays = [
        "lost+found/x".to_owned(),
        "services/NOT A SERVICE/x".to_owned(),
        "services/db/notes.txt".to_owned(),
        format!("{}/pack-000099", names::layer(&service(), &index)),
        format!("{}/what", names::wal_timeline(&service(), SYSTEM, Timeline(1))),
        "services/db/wal/12345/00000001/000000010000000000000001".to_owned(),
    ];
    for name in &strays {
        vault.copies().overwrite_in(0, name, "x".into()).await.unwrap();
    }
    let report = ask(&vault, &repair(true)).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!(report.findings.iter().filter(|f| f.kind == FindingKind::Stray).count(), strays.len());
    for name in &strays {
        assert_eq!(vault.copies().read_from(0, name).await.unwrap(), "x");
    }
}

#[tokio::test(start_paused = true)]
async fn a_home_that_was_emptied_is_filled_again() {
    let (world, vault) = world(2, 3).await;
    prune::run(&vault, "me", &prune_to(2)).await.unwrap();
    let before = everything(&vault).await;
    for name in before.keys() {
        lose(&world, 0, name).await;
    }
    let report = ask(&vault, &repair(true)).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    let is_named = |name: &&String| !name.contains("layers");
    let after = everything(&vault).await;
    for name in before.keys().filter(is_named) {
        assert_eq!(after[name], [0, 1], "{name}");
    }
    assert_eq!(assert_restorable(&vault, 0).await, 2);
    prune::run(&vault, "me", &prune_to(1)).await.unwrap();
    assert_eq!(assert_restorable(&vault, 0).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_the_journal_that_was_edited_is_a_finding() {
    let (_world, vault) = world(1, 3).await;
    prune::run(&vault, "me", &prune_to(2)).await.unwrap();
    let name = names::journal_record(prune::scope(&service()).as_str(), 2);
    overwrite(&vault, 0, &name, |bytes| bytes[70] ^= 1).await;
    let report = ask(&vault, &CheckOptions::default()).await;
    assert!(has(&report, FindingKind::Journal, "journal/services/db/prune"), "{:?}", report.findings);
    assert!(matches!(
        check(&vault, &repair(false)).await,
        Err(CheckError::Fence { .. } | CheckError::Pruned { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_write_a_repair_is_finished_by_the_next() {
    for write in 1..=12 {
        let (world, vault) = world(2, 2).await;
        for name in held(&vault).await.keys().filter(|name| !name.contains(".d/")) {
            lose(&world, 1, name).await;
        }
        world.plan(1, FaultPlan::none().at_write(write, Fault::Crash));
        let _ = check(&vault, &repair(true)).await;
        world.plan(1, FaultPlan::none());
        let report = ask(&vault, &repair(true)).await;
        assert!(report.is_sound(), "{write}: {:?}", report.findings);
        assert_eq!(assert_restorable(&vault, 1).await, 2);
    }
}
