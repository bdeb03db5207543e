//! From a backup back to a server that answers, on real servers.

use crate::backup_fixture::{Bench, assert_same_tree, restored, tree};
use lifeboat_base::Lsn;
use lifeboat_postgres::restore::{self, Recovery, RestoreError, RestoreOptions, Stop};
use lifeboat_postgres::server::{self, Server, ServerError, StartOptions};
use lifeboat_postgres::target;
use lifeboat_postgres::verify::{Check, Outcome, examine};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation, give_to_server_user};
use lifeboat_vault::point::RestorePoint;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A server with data in it, in two tablespaces, and its WAL archived to a directory.
pub(crate) struct Fixture {
    pub(crate) cluster: Cluster,
    archive: PathBuf,
    pub(crate) bench: Bench,
}

impl Fixture {
    pub(crate) async fn start(installation: &Installation) -> Self {
        let bench = Bench::new(1).await;
        let archive = bench.scratch.path().join("archive");
        let tablespace = bench.scratch.path().join("a \\ täble space");
        for directory in [&archive, &tablespace] {
            std::fs::create_dir(directory).unwrap();
            give_to_server_user(directory);
        }
        let options = ClusterOptions::new()
            .set("archive_mode", "on")
            .set("archive_command", &format!("cp %p {}/%f", archive.display()));
        let cluster = Cluster::start(installation, &options);
        let location = tablespace.display().to_string();
        cluster.psql(&format!("CREATE TABLESPACE \"näher\" LOCATION '{location}'"));
        cluster.psql("CREATE TABLE ledger (id int PRIMARY KEY, note text)");
        cluster.psql("CREATE TABLE apart (id int) TABLESPACE \"näher\"");
        cluster.psql("CREATE UNLOGGED TABLE fleeting (id int)");
        cluster.psql("INSERT INTO ledger SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g");
        cluster.psql("INSERT INTO apart SELECT g FROM generate_series(1, 1000) g");
        cluster.psql("INSERT INTO fleeting VALUES (1)");
        Self { cluster, archive, bench }
    }

    pub(crate) async fn backup(&self, local: bool) -> RestorePoint {
        self.bench.backup(&self.cluster, local).await.unwrap()
    }

    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.bench.scratch.path().join(name)
    }

    /// The end of what is written now, all of it archived.
    pub(crate) fn archived_end(&self) -> Lsn {
        let end = self.cluster.psql("SELECT pg_current_wal_insert_lsn()").trim().parse().unwrap();
        self.cluster.psql("SELECT pg_create_restore_point('after')");
        let segment = self.cluster.psql("SELECT pg_walfile_name(pg_switch_wal())");
        let question = format!("SELECT last_archived_wal >= '{}' FROM pg_stat_archiver", segment.trim());
        while self.cluster.psql(&question).trim() != "t" {
            std::thread::yield_now();
        }
        end
    }

    pub(crate) fn restore(&self, point: &RestorePoint, stop: Lsn, into: &str) -> RestoreOptions {
        let recovery = Recovery {
            restore_command: format!("cp {}/%f %p", self.archive.display()),
            timeline: point.timeline,
            stop: Stop { lsn: stop, inclusive: false },
        };
        RestoreOptions { recovery, ..self.bench.restore_options(point, into) }
    }

    pub(crate) fn server(&self, directory: &Path) -> StartOptions {
        let installation = self.cluster.installation();
        StartOptions {
            directory: directory.to_owned(),
            installation: server::Installation {
                bin_dir: installation.bin_dir.clone(),
                major: installation.major,
            },
            account: server::server_account().unwrap(),
            port: 5432,
            users: vec!["nobody-by-that-name".to_owned(), "postgres".to_owned()],
        }
    }
}

async fn back_to_the_moment(installation: &Installation, local: bool) {
    let fixture = Fixture::start(installation).await;
    let point = fixture.backup(local).await;
    assert!(point.damaged_pages.is_empty());
    fixture.cluster.psql("INSERT INTO ledger SELECT g, 'later' FROM generate_series(20001, 20500) g");
    let stop = fixture.archived_end();
    fixture.cluster.psql("DELETE FROM ledger");
    fixture.archived_end();

    let into = fixture.place("restored");
    let options = fixture.restore(&point, stop, "restored");
    let plan = restore::plan(&options).await.unwrap();
    assert_eq!(plan.tablespaces.len(), 1);
    restore::apply(&options, plan).await.unwrap();
    let again = restore::plan(&options).await.unwrap_err();
    assert!(matches!(again, RestoreError::Finished { .. }), "{again}");

    let mut server = Server::start(&fixture.server(&into)).unwrap();
    server.recovered(Stop { lsn: stop, inclusive: false }, &|_| ()).await.unwrap();
    let mut connection = server.answering().await.unwrap();
    let count = "SELECT count(*) AS rows, count(*) FILTER (WHERE note = 'later') AS later, \
         (SELECT count(*) FROM apart) AS apart FROM ledger";
    let row = connection.query_one(count).await.unwrap();
    assert_eq!((row.text("rows").unwrap(), row.text("later").unwrap()), ("20500", "500"));
    assert_eq!(row.text("apart").unwrap(), "1000");
    connection.query("INSERT INTO ledger VALUES (0, '')").await.unwrap_err();

    server.promote().await.unwrap();
    let mut connection = server.answering().await.unwrap();
    connection.query("INSERT INTO ledger VALUES (0, '')").await.unwrap();
    let row = connection.query_one("SELECT count(*) AS rows FROM fleeting").await.unwrap();
    assert_eq!(row.text("rows").unwrap(), "0", "unlogged tables come back empty");
    server.stop().await.unwrap();
    let auto = std::fs::read_to_string(into.join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("recovery_target"), "{auto}");
}

#[tokio::test]
async fn every_version_comes_back_to_the_moment_from_its_own_files() {
    for installation in Installation::all() {
        back_to_the_moment(&installation, true).await;
    }
}

#[tokio::test]
async fn every_version_comes_back_to_the_moment_over_the_connection() {
    for installation in Installation::all() {
        back_to_the_moment(&installation, false).await;
    }
}

#[tokio::test]
async fn v2_v3_only_a_server_that_waits_at_its_target_has_recovered_and_none_runs_as_root() {
    let fixture = Fixture::start(&Installation::newest()).await;
    let point = fixture.backup(true).await;
    let stop = fixture.archived_end();
    let into = fixture.place("restored");
    let options = fixture.restore(&point, stop, "restored");
    let plan = restore::plan(&options).await.unwrap();
    restore::apply(&options, plan).await.unwrap();
    let at = |lsn| Stop { lsn, inclusive: false };
    let mut server = Server::start(&fixture.server(&into)).unwrap();
    let reached = server.recovered(at(stop), &|_| ()).await.unwrap();
    let short = server.recovered(at(stop.advance(1 << 20)), &|_| ()).await.unwrap_err();
    assert!(matches!(short, ServerError::PausedShort { reached: found, .. } if found == reached), "{short}");

    let owner = |path: &Path| std::fs::metadata(path).unwrap().uid();
    let runs_as = owner(Path::new(&format!("/proc/{}", server.pid())));
    assert_eq!(runs_as, owner(&into));
    assert_ne!(runs_as, 0);

    server.promote().await.unwrap();
    let early = server.recovered(at(stop), &|_| ()).await.unwrap_err();
    assert!(matches!(early, ServerError::OpenedEarly(_)), "{early}");
    server.stop().await.unwrap();

    // WAL that ends before the target: PostgreSQL gives up, which is no end of a recovery either.
    let into = fixture.place("beyond");
    let options = fixture.restore(&point, stop.advance(1 << 30), "beyond");
    let plan = restore::plan(&options).await.unwrap();
    restore::apply(&options, plan).await.unwrap();
    let mut server = Server::start(&fixture.server(&into)).unwrap();
    let ended = server.recovered(options.recovery.stop, &|_| ()).await.unwrap_err();
    assert!(matches!(ended, ServerError::Ended { .. }), "{ended}");
}

#[tokio::test]
async fn y1_a_recovered_server_is_read_whole_and_a_question_that_cannot_be_put_has_failed() {
    for installation in [Installation::oldest(), Installation::newest()] {
        let fixture = Fixture::start(&installation).await;
        fixture.cluster.psql("CREATE ROLE plain LOGIN");
        let point = fixture.backup(true).await;
        fixture.archived_end();
        let end = target::own_end(&fixture.bench.vault, &point).await.unwrap();
        let into = fixture.place("verify");
        let mut options = fixture.restore(&point, point.stop, "verify");
        options.recovery = end.recovery(options.recovery.restore_command);
        let plan = restore::plan(&options).await.unwrap();
        restore::apply(&options, plan).await.unwrap();
        // Whoever comes in looks with a superuser's eyes.
        let options = StartOptions { users: vec!["plain".to_owned()], ..fixture.server(&into) };
        let mut server = Server::start(&options).unwrap();
        let replayed = server.recovered(end.stop(), &|_| ()).await.unwrap();
        target::reached(replayed, &end).unwrap();
        assert_eq!(replayed, point.stop);
        server.promote().await.unwrap();

        let check = |name: &str, query: &str| Check {
            name: name.to_owned(),
            database: None,
            query: query.to_owned(),
        };
        let rows = check("rows", "SELECT count(*) = 20000 FROM ledger");
        let found = examine(&mut server, &point, &[rows]).await.unwrap();
        assert!(found.len() > 1 && found.iter().all(|check| check.outcome == Outcome::Passed), "{found:?}");

        let bad = [check("wrong", "SELECT false"), check("broken", "SELECT nonsense")];
        let found = examine(&mut server, &point, &bad).await.unwrap();
        let doubtful = found.iter().filter(|check| check.outcome == Outcome::Doubtful).count();
        assert_eq!(doubtful, 2, "{found:?}");
        assert!(found.iter().all(|check| check.outcome != Outcome::Failed), "Y3: {found:?}");

        // What is damaged in the restored files, and was not on production, condemns it.
        let mut connection = server.answering().await.unwrap();
        connection.query("CHECKPOINT").await.unwrap();
        let path = connection.query_one("SELECT pg_relation_filepath('ledger')").await.unwrap();
        let path = into.join(path.at(0).unwrap());
        connection.close().await;
        server.stop().await.unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8192 + 5000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let mut server = Server::start(&fixture.server(&into)).unwrap();
        let found = examine(&mut server, &point, &[]).await.unwrap();
        assert!(found.iter().any(|check| check.outcome == Outcome::Failed), "{found:?}");
        server.kill9();
    }
}

/// Over what is left of production, or over an older restore: only what differs is fetched, nothing old shows.
#[tokio::test]
async fn d1_a_delta_over_a_damaged_directory_gives_the_same_files_as_a_whole_restore() {
    let installation = Installation::newest();
    let fixture = Fixture::start(&installation).await;
    // Several packs, for it does not compress well.
    fixture.cluster.psql(
        "CREATE TABLE bulk AS SELECT md5(g::text) || md5((g + 1)::text) || md5((g + 2)::text) AS t \
         FROM generate_series(1, 600000) g",
    );
    let point = fixture.backup(true).await;
    let stop = fixture.archived_end();
    let (whole, old) = (fixture.place("whole"), fixture.place("old"));
    restored(&fixture.restore(&point, stop, "whole")).await.unwrap();
    let options = RestoreOptions { delta: true, ..fixture.restore(&point, stop, "old") };
    restored(&options).await.unwrap();
    // A page changed, a file longer, a file shorter, files too many, a hole filled, WAL of another life.
    let files = tree(&old);
    let table = files.iter().filter(|(path, bytes)| path.starts_with("base/") && bytes.len() > 200_000);
    let mut tables = table.map(|(path, bytes)| (old.join(path), bytes.clone()));
    let (changed, mut bytes) = tables.next().unwrap();
    bytes[100_000] ^= 1;
    std::fs::write(&changed, &bytes).unwrap();
    let (longer, mut bytes) = tables.next().unwrap();
    bytes.extend([7; 8192]);
    std::fs::write(&longer, &bytes).unwrap();
    let (shorter, bytes) = tables.next().unwrap();
    std::fs::write(&shorter, &bytes[..8192]).unwrap();
    std::fs::write(old.join("base/99999"), "old").unwrap();
    std::fs::create_dir(old.join("base/77")).unwrap();
    std::fs::write(old.join("pg_wal/000000990000000000000001"), "old").unwrap();
    std::fs::write(old.join("postmaster.pid"), "2147483646\n").unwrap();

    let mut options = RestoreOptions { delta: true, progress: Arc::default(), ..options };
    let plan = restore::plan(&options).await.unwrap();
    assert!(plan.removed.iter().any(|path| path.ends_with("base/99999")), "{:?}", plan.removed);
    restore::apply(&options, plan).await.unwrap();
    assert_same_tree(&old, &whole);

    options.progress = Arc::default();
    restored(&options).await.unwrap();
    let kept = options.progress.kept_bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert!(kept > 20 << 20, "what was right already stays, but only {kept} bytes were left as they were");

    options.point.system_id = lifeboat_base::SystemId(1);
    let error = restore::plan(&options).await.unwrap_err();
    assert!(matches!(error, RestoreError::OtherCluster { .. }), "{error}");
}
