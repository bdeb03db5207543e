//! Attacks on the journal's invariants.

use crate::support::{World, scope};
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_vault::journal::{self, Chain, FaultKind, JournalError, Record, Report};
use lifeboat_vault::{Vault, names, seal};
use serde_json::json;

async fn fill(vault: &Vault, text: &str, count: u64) {
    let mut chain = Chain::open(vault, &scope(text), "me").await.unwrap();
    for n in 0..count {
        chain.append("counted", json!({ "n": n })).await.unwrap();
    }
}

/// Does as someone with the key would.
async fn forge(vault: &Vault, text: &str, number: u64, change: impl FnOnce(&mut Record)) {
    let name = names::journal_record(text, number);
    let mut record: Record = serde_json::from_slice(&vault.read(&name).await.unwrap()).unwrap();
    change(&mut record);
    let raw = serde_json::to_vec(&record).unwrap();
    let sealed = seal::seal_object(vault.key(), &name, vault.clock().as_ref(), &raw);
    vault.copies().overwrite_in(0, &name, sealed.into()).await.unwrap();
}

async fn verdict(vault: &Vault) -> (Report, Option<(u64, FaultKind)>) {
    let report = journal::verify(vault).await.unwrap();
    let fault = report.scopes.iter().find_map(|scope| scope.first_fault.clone());
    (report, fault.map(|fault| (fault.number, fault.what)))
}

#[tokio::test]
async fn a_chain_is_written_read_and_whole() {
    let world = World::new(2, 1).await;
    let vault = world.vault().await;
    fill(&vault, "runs/a", 600).await;
    fill(&vault, "runs/a/b", 3).await;
    fill(&vault, "runs/a", 1).await;
    let scopes = journal::scopes(&vault).await.unwrap();
    assert_eq!(scopes, [scope("runs/a"), scope("runs/a/b")]);
    let mut after = 0;
    loop {
        let page = journal::read(&vault, &scope("runs/a"), after).await.unwrap();
        assert!(page.records.len() <= journal::PAGE_LIMIT);
        assert!(page.records.iter().map(|r| r.number).eq((after + 1..).take(page.records.len())));
        after += page.records.len() as u64;
        if page.is_end {
            break;
        }
    }
    assert_eq!(after, 601);
    let (report, fault) = verdict(&vault).await;
    assert!(report.is_sound() && fault.is_none());
    assert_eq!((report.scopes[0].records, report.scopes[0].head_number), (601, 601));
    let none = journal::read(&vault, &scope("nothing"), 0).await.unwrap();
    assert!(none.records.is_empty() && none.is_end && none.is_proven);
}

#[tokio::test]
async fn j3_the_first_edited_missing_or_reordered_record_is_named() {
    let name = |n| names::journal_record("run", n);
    // Changed by someone with the key.
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    fill(&vault, "run", 9).await;
    forge(&vault, "run", 4, |record| record.data = json!("nothing happened")).await;
    assert_eq!(verdict(&vault).await.1, Some((4, FaultKind::Edited)));
    forge(&vault, "run", 1, |record| record.actor = "nobody".to_owned()).await;
    assert_eq!(verdict(&vault).await.1, Some((1, FaultKind::Edited)));
    let read = journal::read(&vault, &scope("run"), 0).await;
    assert!(matches!(read, Err(JournalError::Fault { fault, .. }) if fault.number == 1));

    // Put in another's place by someone with the key.
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    fill(&vault, "run", 9).await;
    let sixth: Record = serde_json::from_slice(&vault.read(&name(6)).await.unwrap()).unwrap();
    forge(&vault, "run", 5, |record| *record = sixth).await;
    assert_eq!(verdict(&vault).await.1, Some((5, FaultKind::Reordered { says: 6 })));

    // Swapped, bent or cut by someone without it.
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    fill(&vault, "run", 9).await;
    let copies = vault.copies();
    let (third, seventh) = (copies.read_from(0, &name(3)).await, copies.read_from(0, &name(7)).await);
    copies.overwrite_in(0, &name(7), third.unwrap()).await.unwrap();
    copies.overwrite_in(0, &name(3), seventh.unwrap()).await.unwrap();
    assert!(matches!(verdict(&vault).await.1, Some((3, FaultKind::Sealed(_)))));
    copies.overwrite_in(0, &name(2), "garbage".into()).await.unwrap();
    assert!(matches!(verdict(&vault).await.1, Some((2, FaultKind::Sealed(_)))));

    // Lost.
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    fill(&vault, "run", 9).await;
    vault.copies().delete(vec![name(8)]).await;
    assert_eq!(verdict(&vault).await.1, Some((8, FaultKind::Missing)));
    vault.copies().delete(vec![name(1), name(2)]).await;
    let (report, fault) = verdict(&vault).await;
    assert_eq!(fault, Some((1, FaultKind::Missing)));
    assert_eq!((report.scopes[0].records, report.scopes[0].head_number), (6, 0));
}

#[tokio::test]
async fn a_record_lost_at_home_is_read_from_another_copy() {
    let world = World::new(2, 1).await;
    let vault = world.vault().await;
    fill(&vault, "run", 5).await;
    vault.copies().home().delete(vec![names::journal_record("run", 3)]).await;
    assert!(journal::verify(&vault).await.unwrap().is_sound());
    // But a tail that the home lost must not be written anew.
    vault.copies().home().delete(vec![names::journal_record("run", 5)]).await;
    let opened = Chain::open(&vault, &scope("run"), "me").await;
    assert!(matches!(opened, Err(JournalError::HomeBehind { theirs: 5, ours: 4, .. })), "{opened:?}");
}

#[tokio::test]
async fn j4_a_chain_goes_on_only_from_what_the_home_proves_to_be_its_end() {
    let world = World::new(2, 1).await;
    let vault = world.vault().await;
    let run = scope("run");
    let open = || Chain::open(&vault, &run, "me");
    let away = || FaultPlan::none().on(Select::any(), Fault::Unavailable);
    fill(&vault, "run", 5).await;
    // Another copy's word is not enough, though it has all.
    world.plan(0, away());
    assert!(matches!(open().await, Err(JournalError::Silent { .. })));
    world.plan(0, FaultPlan::none());
    // The home's alone is.
    world.plan(1, away());
    let mut chain = open().await.unwrap();
    assert_eq!(chain.head().number, 5);
    chain.append("counted", json!(6)).await.unwrap();
    world.plan(1, FaultPlan::none());
    assert_eq!(open().await.unwrap().head().number, 6, "the other copy is only behind");
    // A home that has lost its tail would give out numbers twice.
    vault
        .copies()
        .home()
        .delete(vec![names::journal_record("run", 5), names::journal_record("run", 6)])
        .await;
    let before = world.stores[0].write_count();
    assert!(matches!(open().await, Err(JournalError::HomeBehind { theirs: 5, ours: 4, .. })));
    let shared = journal::append_shared(&vault, &scope("run"), "me", "said", json!(1)).await;
    assert!(matches!(shared, Err(JournalError::HomeBehind { .. })), "{shared:?}");
    assert_eq!(world.stores[0].write_count(), before, "nothing was written");
    // And so would one whose last record does not read.
    vault.copies().overwrite_in(0, &names::journal_record("run", 5), "garbage".into()).await.unwrap();
    let name = names::journal_record("run", 5);
    vault.copies().delete_in(1, std::slice::from_ref(&name)).await;
    let opened = open().await;
    assert!(matches!(opened, Err(JournalError::Read { number: 5, .. })), "{opened:?}");
}

#[tokio::test]
async fn j1_who_finds_anothers_record_writes_nothing_more() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let mut one = Chain::open(&vault, &scope("run"), "one").await.unwrap();
    let mut two = Chain::open(&vault, &scope("run"), "two").await.unwrap();
    one.append("a", json!(null)).await.unwrap();
    for _ in 0..2 {
        let lost = two.append("b", json!(null)).await.unwrap_err();
        assert!(matches!(lost, JournalError::LostChain { number: 1, ref by, .. } if by == "one"), "{lost}");
    }
    one.append("c", json!(null)).await.unwrap();
    assert_eq!(journal::read(&vault, &scope("run"), 0).await.unwrap().records.len(), 2);
}

#[tokio::test]
async fn a_chain_of_many_writers_takes_them_all() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let append = |n: usize| {
        let (vault, actor) = (vault.clone(), format!("writer-{n}"));
        async move {
            for _ in 0..5 {
                journal::append_shared(&vault, &scope("audit"), &actor, "said", json!(n)).await.unwrap();
            }
        }
    };
    futures::future::join_all((0..4).map(append)).await;
    let (report, _) = verdict(&vault).await;
    assert!(report.is_sound());
    assert_eq!(report.scopes[0].head_number, 20);
}

#[tokio::test(start_paused = true)]
async fn j2_a_lost_reply_writes_an_event_once() {
    for lost in 1..=4 {
        let world = World::new(2, 1).await;
        let vault = world.vault().await;
        let mut chain = Chain::open(&vault, &scope("run"), "me").await.unwrap();
        let create = Select::kind(OperationKind::Create).named("journal");
        let plan = FaultPlan::none().first(create.clone(), 1, Fault::LoseReply);
        world.plan(0, plan.first(create, lost, Fault::Unavailable));
        let appended = chain.append("paid", json!(100)).await;
        // The tries of one append are limited; afterwards the caller settles it.
        assert_eq!(appended.is_err(), lost >= 3, "{appended:?}");
        world.plan(0, FaultPlan::none());
        chain.settle().await.unwrap();
        chain.append("paid", json!(200)).await.unwrap();
        let records = journal::read(&vault, &scope("run"), 0).await.unwrap().records;
        assert_eq!(records.iter().map(|r| r.data.clone()).collect::<Vec<_>>(), [json!(100), json!(200)]);
        let (report, _) = verdict(&vault).await;
        assert!(report.is_sound());
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_every_write_leaves_a_whole_chain() {
    for write in 1..=6 {
        for fault in [Fault::Crash, Fault::CrashAfter] {
            let world = World::new(1, 1).await;
            let vault = world.vault().await;
            world.plan(0, FaultPlan::none().at_write(write, fault));
            let mut chain = Chain::open(&vault, &scope("run"), "one").await.unwrap();
            let mut written = 0;
            while written < 6 && chain.append("counted", json!(written)).await.is_ok() {
                written += 1;
            }
            world.plan(0, FaultPlan::none());
            fill(&vault, "run", 1).await;
            let (report, fault_found) = verdict(&vault).await;
            assert!(report.is_sound() && fault_found.is_none());
            let head = report.scopes[0].head_number;
            assert!(head == written + 1 || head == written + 2, "{head} after {written}");
        }
    }
}

#[tokio::test]
async fn what_could_not_be_read_again_is_not_written() {
    let world = World::new(1, 1).await;
    let vault = world.vault().await;
    let mut chain = Chain::open(&vault, &scope("run"), "me").await.unwrap();
    let big = json!("x".repeat(journal::RECORD_LIMIT_BYTES));
    assert!(matches!(chain.append("big", big).await, Err(JournalError::TooLarge { .. })));
    let deep = (0..200).fold(json!(0), |inner, _| json!([inner]));
    assert!(matches!(chain.append("deep", deep).await, Err(JournalError::Unreadable { .. })));
    chain.append("small", json!(1)).await.unwrap();
    assert!(journal::verify(&vault).await.unwrap().is_sound());
}

#[tokio::test]
async fn a_copy_that_is_down_is_said() {
    let world = World::new(2, 1).await;
    let vault = world.vault().await;
    fill(&vault, "run", 3).await;
    world.plan(0, FaultPlan::none().on(Select::any(), Fault::Unavailable));
    let (report, fault) = verdict(&vault).await;
    assert!(!report.is_sound() && fault.is_none());
    assert_eq!((report.scopes[0].head_number, report.scopes[0].is_proven), (3, false));
    assert!(matches!(Chain::open(&vault, &scope("run"), "me").await, Err(JournalError::Silent { .. })));
}
