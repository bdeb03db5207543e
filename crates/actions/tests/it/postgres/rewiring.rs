//! Applications that are told, servers that are restarted.

use super::pair::{Pair, why};
use lifeboat_core::run::{Class, Found, Outcome};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[tokio::test(flavor = "multi_thread")]
async fn w1_a_file_is_replaced_whole_and_put_back() {
    let pair = Pair::start();
    let directory = tempfile::tempdir().unwrap();
    let (file, told) = (directory.path().join("database.env"), directory.path().join("told"));
    fs::write(&file, "DATABASE_URL=host=a\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let step = format!(
        "postgres.rewire: {{service: orders-db, file: {}, content: 'DATABASE_URL=host=b', reload: 'echo told >> {}'}}",
        file.display(),
        told.display()
    );
    let mut rewire = pair.step(&step);
    assert!(rewire.step.shown.contains("DATABASE_URL=host=b"), "{}", rewire.step.shown);
    assert_eq!(rewire.probe().await, Found::NotDone);
    assert_eq!(rewire.act().await.0, Outcome::Done);
    assert_eq!(rewire.act().await.0, Outcome::Done, "twice is as once");
    assert_eq!(rewire.verify().await, None);
    assert_eq!(fs::read_to_string(&file).unwrap(), "DATABASE_URL=host=b\n");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
    assert_eq!(rewire.undo().await.0, Outcome::Done);
    assert_eq!(rewire.undo().await.0, Outcome::Done, "undone twice is as once");
    assert_eq!(fs::read_to_string(&file).unwrap(), "DATABASE_URL=host=a\n");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing of it stays");
    assert!(rewire.verify().await.unwrap().contains("does not hold"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_restarted_once_though_the_reply_was_lost() {
    let pair = Pair::start();
    let mut restart = pair.step("postgres.restart: {service: orders-db}");
    assert_eq!(restart.probe().await, Found::NotDone);
    assert!(why(restart.act().await.0).contains("`command`"));
    let mut restart = pair.local_step("postgres.restart: {service: orders-db}");
    restart.done().await;
    assert_eq!(restart.probe().await, Found::Done);
    // It is no child of the test's any more: what it was started by ends it.
    pair.local_step("postgres.fence: {service: orders-db, by: [stop]}").done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_recovery_is_shown_as_it_is_run() {
    let pair = Pair::start();
    let recover = pair
        .step("postgres.recover: {service: orders-db, into: /srv/new, to: 'before:xid:7', promote: true}");
    assert_eq!(
        recover.step.shown,
        "lifeboat recover orders-db --to before:xid:7 --into /srv/new --start --promote"
    );
    assert_eq!(recover.step.rules.class, Class::Destructive);
    let mut recover =
        pair.step("postgres.recover: {service: orders-db, into: /srv/new, full: true, port: 5433}");
    assert_eq!(recover.step.shown, "lifeboat restore orders-db --to latest --into /srv/new --port 5433");
    assert_eq!((recover.step.rules.class, recover.probe().await), (Class::Idempotent, Found::NotDone));
}
