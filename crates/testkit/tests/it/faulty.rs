//! Each fault does what it says, at the operation it was meant for.

use futures::{StreamExt, TryStreamExt};
use lifeboat_testkit::faulty::{Call, Fault, FaultPlan, FaultyStore, OperationKind, Select};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn store(plan: FaultPlan) -> FaultyStore {
    FaultyStore::new(Arc::new(InMemory::new()), plan)
}

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..PutOptions::default() }
}

async fn put(store: &FaultyStore, name: &str) -> Result<(), Error> {
    store.put(&Path::from(name), "0123456789".into()).await.map(|_| ())
}

/// What the store beneath holds, sorted.
async fn held(store: &FaultyStore) -> Vec<String> {
    let listed: Vec<_> = store.inner().list(None).try_collect().await.unwrap();
    let mut names: Vec<String> = listed.into_iter().map(|meta| meta.location.to_string()).collect();
    names.sort();
    names
}

fn io_kind(error: &Error) -> std::io::ErrorKind {
    let source = std::error::Error::source(error).unwrap();
    source.downcast_ref::<std::io::Error>().unwrap().kind()
}

#[tokio::test]
async fn without_faults_it_counts_and_is_out_of_the_way() {
    let store = store(FaultPlan::none());
    put(&store, "a").await.unwrap();
    store.put_opts(&Path::from("b"), "x".into(), create()).await.unwrap();
    let again = store.put_opts(&Path::from("b"), "y".into(), create()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })));
    assert_eq!(store.get_range(&Path::from("a"), 2..4).await.unwrap(), "23");
    store.head(&Path::from("a")).await.unwrap();
    store.copy(&Path::from("a"), &Path::from("c")).await.unwrap();
    store.delete(&Path::from("a")).await.unwrap();
    assert_eq!(store.list(None).count().await, 2);
    let kinds: Vec<OperationKind> = store.calls().into_iter().map(|call| call.kind).collect();
    use OperationKind::{Copy, Create, Delete, Get, Head, List, Put};
    assert_eq!(kinds, [Put, Create, Create, Get, Head, Copy, Delete, List]);
    assert_eq!((store.call_count(), store.write_count()), (8, 5));
    let second = Call { number: 3, kind: Create, path: "b".into(), before: 1 };
    assert_eq!(store.calls()[2], second);
}

#[tokio::test]
async fn a_failure_before_does_nothing_and_a_lost_reply_does_it() {
    for (fault, kind) in [
        (Fault::Fail, std::io::ErrorKind::ConnectionReset),
        (Fault::Unavailable, std::io::ErrorKind::ResourceBusy),
        (Fault::FullDisk, std::io::ErrorKind::StorageFull),
    ] {
        let store = store(FaultPlan::none().at(2, fault));
        put(&store, "a").await.unwrap();
        assert_eq!(io_kind(&put(&store, "b").await.unwrap_err()), kind);
        put(&store, "c").await.unwrap();
        assert_eq!(held(&store).await, ["a", "c"]);
        assert_eq!(store.fired()[0].1, fault);
    }
    let store = store(FaultPlan::none().first(Select::kind(OperationKind::Create), 1, Fault::LoseReply));
    store.put_opts(&Path::from("a"), "mine".into(), create()).await.unwrap_err();
    let retry = store.put_opts(&Path::from("a"), "mine".into(), create()).await;
    assert!(matches!(retry, Err(Error::AlreadyExists { .. })), "the retry meets what the first one did");
}

#[tokio::test]
async fn every_write_can_be_the_last() {
    async fn work(store: &FaultyStore) -> Result<(), Error> {
        put(store, "layer").await?;
        store.get(&Path::from("layer")).await?;
        let mut upload = store.put_multipart(&Path::from("wal")).await?;
        upload.put_part("part".into()).await?;
        upload.complete().await?;
        put(store, "manifest").await
    }
    let rehearsal = store(FaultPlan::none());
    work(&rehearsal).await.unwrap();
    let mut seen = Vec::new();
    for write in 1..=rehearsal.write_count() {
        for fault in [Fault::Crash, Fault::CrashAfter] {
            let store = store(FaultPlan::none().at_write(write, fault));
            work(&store).await.unwrap_err();
            assert!(store.has_crashed());
            put(&store, "later").await.unwrap_err();
            store.get(&Path::from("layer")).await.unwrap_err();
            seen.push(held(&store).await.len());
        }
    }
    assert_eq!(seen, [0, 1, 1, 1, 1, 1, 1, 2, 2, 3]);
}

#[tokio::test]
async fn a_store_that_is_up_again_works() {
    let store = store(FaultPlan::none().at(1, Fault::Crash));
    put(&store, "a").await.unwrap_err();
    store.set_plan(FaultPlan::none());
    put(&store, "a").await.unwrap();
}

#[tokio::test]
async fn bodies_are_cut_bent_and_reset_when_read_and_when_written() {
    let get = |fault| FaultPlan::none().on(Select::kind(OperationKind::Get), fault).seeded(7);
    let path = Path::from("a");
    let cut = store(get(Fault::TruncateBody));
    put(&cut, "a").await.unwrap();
    let result = cut.get(&path).await.unwrap();
    assert_eq!(result.meta.size, 10);
    assert_eq!(result.bytes().await.unwrap(), "01234");

    let bent = store(get(Fault::FlipBit));
    put(&bent, "a").await.unwrap();
    let read = bent.get(&path).await.unwrap().bytes().await.unwrap();
    let wrong: u32 = read.iter().zip(b"0123456789").map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((read.len(), wrong), (10, 1));
    let twin = store(get(Fault::FlipBit));
    put(&twin, "a").await.unwrap();
    assert_eq!(twin.get(&path).await.unwrap().bytes().await.unwrap(), read, "the seed repeats it");

    let reset = store(get(Fault::ResetBody));
    put(&reset, "a").await.unwrap();
    let mut stream = reset.get(&path).await.unwrap().into_stream();
    assert_eq!(stream.next().await.unwrap().unwrap(), "01234");
    assert_eq!(io_kind(&stream.next().await.unwrap().unwrap_err()), std::io::ErrorKind::ConnectionReset);

    let written = store(FaultPlan::none().at_write(1, Fault::TruncateBody));
    put(&written, "a").await.unwrap();
    assert_eq!(written.get(&path).await.unwrap().bytes().await.unwrap(), "01234");
}

#[tokio::test]
async fn objects_get_lost_and_listings_lag() {
    let store = store(FaultPlan::none().on(Select::writes().named("lost"), Fault::LoseObject).nth(
        Select::kind(OperationKind::List),
        2,
        Fault::StaleList { hide: 2 },
    ));
    for name in ["a", "lost", "b", "c"] {
        put(&store, name).await.unwrap();
    }
    assert_eq!(held(&store).await, ["a", "b", "c"]);
    assert_eq!(store.list(None).count().await, 3);
    assert_eq!(store.list_with_delimiter(None).await.unwrap().objects.len(), 1);
    assert_eq!(store.list(None).count().await, 3);
}

#[tokio::test]
async fn a_delay_passes_and_another_fault_may_follow_it() {
    let delay = Duration::from_millis(50);
    let store = store(FaultPlan::none().on(Select::any(), Fault::Delay(delay)).at(2, Fault::Fail));
    let start = Instant::now();
    put(&store, "a").await.unwrap();
    assert!(start.elapsed() >= delay);
    put(&store, "b").await.unwrap_err();
    assert!(start.elapsed() >= 2 * delay);
}

#[tokio::test]
async fn a_seed_repeats_its_faults_whatever_the_order() {
    let run = async |seed: u64, reversed: bool| {
        let store = store(FaultPlan::none().randomly(
            seed,
            300,
            &[Fault::Fail, Fault::LoseReply, Fault::StaleList { hide: 1 }],
        ));
        let mut names: Vec<String> = (0..100).map(|n| format!("object-{n}")).collect();
        if reversed {
            names.reverse();
        }
        for name in names {
            let _ = put(&store, &name).await;
        }
        let mut fired: Vec<String> =
            store.fired().iter().map(|(call, fault)| format!("{} {fault:?}", call.path)).collect();
        fired.sort();
        fired
    };
    let first = run(1, false).await;
    assert!((15..45).contains(&first.len()), "{}", first.len());
    assert!(first.iter().all(|fault| !fault.contains("Stale")), "a put cannot have a stale list");
    assert_eq!(run(1, true).await, first);
    assert_ne!(run(2, false).await, first);
}
