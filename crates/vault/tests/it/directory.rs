//! A copy in a directory that vanishes and comes back while it is in use.

use crate::fixture::{self, SEGMENT};
use crate::support::World;
use bytes::Bytes;
use lifeboat_base::{Lsn, Timeline};
use lifeboat_vault::{Copies, Reach, ReadError, VaultCopy, WriteError, address};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

/// A directory that can be moved away, and the store that is in it.
struct Disk {
    _scratch: tempfile::TempDir,
    path: PathBuf,
    aside: PathBuf,
    store: Arc<dyn ObjectStore>,
}

impl Disk {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (path, aside) = (scratch.path().join("mnt/vault"), scratch.path().join("aside"));
        let address = url::Url::from_directory_path(&path).unwrap();
        let store = address::open(address.as_str(), true, &|_| None).unwrap();
        Self { _scratch: scratch, path, aside, store }
    }

    fn vanish(&self) {
        std::fs::rename(&self.path, &self.aside).unwrap();
    }

    fn come_back(&self) {
        std::fs::rename(&self.aside, &self.path).unwrap();
    }

    fn copies(&self) -> Copies {
        Copies::new(vec![VaultCopy::new("disk", None, self.store.clone())], 1)
    }
}

fn is_other_than_missing<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    let error = outcome.unwrap_err();
    assert!(!matches!(error, Error::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("unmounted"), "{error}");
}

#[tokio::test]
async fn d1_a_write_to_a_vanished_directory_fails_and_makes_nothing_in_its_place() {
    let disk = Disk::new();
    let name = Path::from("journal/backup/000000000001");
    disk.store.put(&name, "first".into()).await.unwrap();
    disk.vanish();
    let other = Path::from("journal/backup/000000000002");
    let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    is_other_than_missing(disk.store.put(&other, "second".into()).await);
    is_other_than_missing(disk.store.put_opts(&other, "second".into(), create).await);
    is_other_than_missing(disk.store.put_multipart(&other).await.map(drop));
    is_other_than_missing(disk.store.copy(&name, &other).await);
    is_other_than_missing(disk.store.rename(&name, &other).await);
    is_other_than_missing(disk.store.delete(&name).await);
    assert!(!disk.path.exists(), "nothing was begun anew");
    disk.come_back();
    disk.store.put(&other, "second".into()).await.unwrap();
    assert_eq!(disk.store.get(&name).await.unwrap().bytes().await.unwrap(), "first");
}

#[tokio::test]
async fn d1_an_empty_mount_point_in_its_place_is_not_written_to() {
    let disk = Disk::new();
    let mut upload = disk.store.put_multipart(&Path::from("b")).await.unwrap();
    upload.put_part("part".into()).await.unwrap();
    disk.vanish();
    std::fs::create_dir(&disk.path).unwrap();
    is_other_than_missing(disk.store.put(&Path::from("a"), "a".into()).await);
    assert!(upload.complete().await.is_err());
    assert_eq!(std::fs::read_dir(&disk.path).unwrap().count(), 0);
    std::fs::remove_dir(&disk.path).unwrap();
    disk.come_back();
    disk.store.put(&Path::from("a"), "a".into()).await.unwrap();
}

#[tokio::test]
async fn d2_a_vanished_directory_proves_no_absence() {
    let disk = Disk::new();
    let (there, absent) = (Path::from("services/db/there"), Path::from("services/db/absent"));
    disk.store.put(&there, "1".into()).await.unwrap();
    disk.vanish();
    for empty_in_its_place in [false, true] {
        if empty_in_its_place {
            std::fs::create_dir(&disk.path).unwrap();
        }
        is_other_than_missing(disk.store.get(&there).await.map(drop));
        is_other_than_missing(disk.store.head(&absent).await);
        is_other_than_missing(disk.store.list_with_delimiter(None).await);
        let copies = disk.copies();
        let read = copies.read(there.as_ref(), None, Ok::<_, Infallible>).await;
        assert!(matches!(read, Err(ReadError::Unavailable { .. })), "{read:?}");
        for listing in [copies.list("services").await, copies.list_after("services", Some("a")).await] {
            assert!(!listing.is_complete && listing.failures.len() == 1, "{listing:?}");
        }
        assert_eq!(copies.delete(vec![there.to_string()]).await.len(), 1);
        let written = copies.put("services/db/new", Bytes::from_static(b"2"), Reach::Durable).await;
        assert!(matches!(written, Err(WriteError::NotDurable { .. })), "{written:?}");
    }
    std::fs::remove_dir(&disk.path).unwrap();
    disk.come_back();
    let copies = disk.copies();
    assert_eq!(copies.list("services").await.objects.len(), 1);
    let read = copies.read(absent.as_ref(), None, Ok::<_, Infallible>).await;
    assert!(read.is_err_and(|error| error.is_missing()), "absence is proven again");
}

#[tokio::test]
async fn d2_wal_is_neither_acknowledged_nor_absent_while_the_disk_is_away() {
    let disk = Disk::new();
    let world = World::over(vec![disk.store.clone()], 1).await;
    let vault = world.vault().await;
    let archive = fixture::archive(&vault).await;
    let wal = fixture::content(1, SEGMENT as usize);
    archive.put_piece(Timeline(1), Lsn(0), &wal[..1000]).await.unwrap();
    disk.vanish();
    archive.put_piece(Timeline(1), Lsn(1000), &wal[1000..2000]).await.unwrap_err();
    archive.fetch(Timeline(1), Lsn(0)).await.unwrap_err();
    archive.coverage(Timeline(1)).await.unwrap_err();
    disk.come_back();
    archive.put_piece(Timeline(1), Lsn(1000), &wal[1000..2000]).await.unwrap();
    assert_eq!(archive.coverage(Timeline(1)).await.unwrap().end(), Some(Lsn(2000)));
}
