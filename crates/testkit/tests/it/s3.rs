//! The S3 server, through the library that Lifeboat uses.

use lifeboat_testkit::s3::S3Server;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions};
use object_store::{ObjectStore, aws::AmazonS3Builder};

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..PutOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_read_listed_and_deleted() {
    let bucket = S3Server::shared().bucket();
    let store = bucket.store();
    let path = Path::from("a/b");
    store.put(&path, "all of it".into()).await.unwrap();
    assert_eq!(store.get_range(&path, 4..6).await.unwrap(), "of");
    let listed = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(listed.common_prefixes, [Path::from("a")]);
    store.delete(&path).await.unwrap();
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_conditional_creates_one_wins_and_the_others_are_told() {
    let store = S3Server::shared().bucket().store();
    let path = Path::from("lease/1");
    let writers = (0..8).map(|writer: u8| {
        let (store, path) = (store.clone(), path.clone());
        tokio::spawn(async move { store.put_opts(&path, vec![writer].into(), create()).await })
    });
    let results = futures::future::join_all(writers).await;
    let won: Vec<u8> =
        (0..).zip(&results).filter(|(_, r)| r.as_ref().unwrap().is_ok()).map(|(w, _)| w).collect();
    let lost = results.iter().filter(|r| matches!(r, Ok(Err(Error::AlreadyExists { .. })))).count();
    assert_eq!((won.len(), lost), (1, 7), "{results:?}");
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), won);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_leads_to_the_bucket() {
    let bucket = S3Server::shared().bucket();
    let mut builder = AmazonS3Builder::new().with_url(bucket.url());
    for (name, value) in bucket.environment() {
        builder = builder.with_config(name.to_lowercase().parse().unwrap(), value);
    }
    builder.build().unwrap().put(&Path::from("x"), "1".into()).await.unwrap();
    assert_eq!(bucket.store().head(&Path::from("x")).await.unwrap().size, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_are_apart_and_a_stopped_server_is_gone() {
    let server = S3Server::start();
    let (one, other) = (server.bucket(), server.bucket());
    one.store().put(&Path::from("x"), "1".into()).await.unwrap();
    assert!(matches!(other.store().head(&Path::from("x")).await, Err(Error::NotFound { .. })));
    let endpoint = server.endpoint();
    drop(server);
    assert!(std::net::TcpStream::connect(endpoint.trim_start_matches("http://")).is_err());
}
