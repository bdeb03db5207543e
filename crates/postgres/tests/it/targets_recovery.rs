//! From a target to a server that holds just what the target says: a real PostgreSQL recovers, its
//! `restore_command` asking the helper.

use crate::targets_world::{World, options};
use lifeboat_base::{Lsn, Timeline};
use lifeboat_postgres::fetch::{HelperOptions, request, serve_helper};
use lifeboat_postgres::restore::{self, RestoreOptions};
use lifeboat_postgres::server::{self, Server, ServerError, StartOptions};
use lifeboat_postgres::target::{Resolved, Target, reached, resolve};
use lifeboat_testkit::faulty::{Fault, FaultPlan, Select};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation, give_to_server_user};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SOCKET: &str = "LIFEBOAT_TEST_SOCKET";
const FILE: &str = "LIFEBOAT_TEST_FILE";
const TO: &str = "LIFEBOAT_TEST_TO";
/// Of a recovery: its directory and its socket bear it.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Every file below a directory, with its content.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// What PostgreSQL runs: this test's own program, as `restore_command`.
#[test]
#[ignore = "is the restore_command of the tests below"]
fn as_restore_command() {
    let (Ok(socket), Ok(file), Ok(to)) = (std::env::var(SOCKET), std::env::var(FILE), std::env::var(TO))
    else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let delivery = runtime.block_on(request(Path::new(&socket), &file, Path::new(&to)));
    std::process::exit(delivery.map_or(255, |delivery| delivery.exit_code().into()));
}

/// This program where the server's user can run it.
fn program(world: &World) -> PathBuf {
    let copy = world.scratch.path().join("it");
    if !copy.exists() {
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        give_to_server_user(&copy);
    }
    copy
}

fn insert(cluster: &Cluster, value: i32) -> u32 {
    let xid = cluster.psql(&format!("INSERT INTO ledger VALUES ({value}) RETURNING pg_current_xact_id()"));
    xid.lines().next().unwrap().trim().parse().unwrap()
}

/// Restores and recovers to `resolved`; the rows that are there then.
async fn recover(world: &World, resolved: &Resolved, promote: bool) -> Result<String, ServerError> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let into = world.scratch.path().join(format!("restored-{number}"));
    let socket = world.scratch.path().join(format!("{number}.sock"));
    let restore_command = format!(
        "{SOCKET}='{}' {FILE}=%f {TO}=%p {} --ignored --exact targets_recovery::as_restore_command",
        socket.display(),
        program(world).display()
    );
    let account = server::server_account().unwrap();
    let options = RestoreOptions {
        vault: world.vault.clone(),
        point: resolved.point.clone(),
        recovery: resolved.recovery(restore_command),
        into: into.clone(),
        tablespaces: BTreeMap::new(),
        owner: account.map(server::Account::pair),
        delta: false,
        workers: 2,
        progress: Arc::default(),
    };
    let plan = restore::plan(&options).await.unwrap();
    restore::apply(&options, plan).await.unwrap();
    let clock = world.vault.clock().clone();
    let helper = HelperOptions {
        owner: account.map(server::Account::pair),
        patience: Duration::from_secs(1),
        ..HelperOptions::new(world.archive.clone(), socket, into.clone(), clock)
    };
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let helper = tokio::spawn(serve_helper(helper, move || ready.send(()).unwrap()));
    is_ready.await.unwrap();
    let installation = world.cluster.installation();
    let outcome = async {
        let mut server = Server::start(&StartOptions {
            directory: into,
            installation: server::Installation {
                bin_dir: installation.bin_dir.clone(),
                major: installation.major,
            },
            account,
            port: 5432,
            users: vec!["postgres".to_owned()],
        })?;
        let replayed = server.recovered(resolved.stop(), &|_| ()).await?;
        reached(replayed, resolved).unwrap();
        if promote {
            server.promote().await?;
        }
        let mut connection = server.answering().await?;
        let row = connection
            .query_one("SELECT coalesce(string_agg(i::text, ' ' ORDER BY i), '') AS rows FROM ledger")
            .await
            .unwrap();
        let rows = row.text("rows").unwrap().to_owned();
        server.stop().await?;
        Ok(rows)
    };
    let outcome = outcome.await;
    helper.abort();
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_a_real_server_recovers_to_just_what_the_target_says() {
    let (oldest, newest) = (Installation::oldest(), Installation::newest());
    for (installation, targets) in [(&oldest, 2), (&newest, 6)] {
        let world = World::start(installation, &options()).await;
        world.cluster.psql("CREATE TABLE ledger (i int)");
        world.backup().await;
        insert(&world.cluster, 1);
        world.cluster.psql("CREATE TABLE bulk AS SELECT md5(g::text) FROM generate_series(1, 40000) g");
        let second = insert(&world.cluster, 2);
        let time = world.cluster.psql(
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
        );
        let third = insert(&world.cluster, 3);
        let after_third: Lsn = crate::targets_world::position(&world.cluster);
        world.cluster.psql("SELECT pg_create_restore_point('before four')");
        insert(&world.cluster, 4);
        world.archive_all().await;
        insert(&world.cluster, 5);
        world.archive_piece(Timeline(1)).await;
        for (target, rows) in [
            (Target::Latest, "1 2 3 4 5"),
            (Target::BeforeXid(third), "1 2"),
            (Target::Xid(second), "1 2"),
            (time.trim().parse().unwrap(), "1 2"),
            (Target::Lsn(after_third), "1 2 3"),
            (Target::Name("before four".to_owned()), "1 2 3"),
        ]
        .into_iter()
        .take(targets)
        {
            let resolved = resolve(&world.vault, &world.service, &target, None).await.unwrap();
            let found = recover(&world, &resolved, target == Target::Latest).await.unwrap();
            assert_eq!(found, rows, "{target}: {resolved}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_each_branch_of_history_can_be_recovered_to() {
    let world = World::start(&Installation::newest(), &options()).await;
    world.cluster.psql("CREATE TABLE ledger (i int)");
    world.backup().await;
    let shared = insert(&world.cluster, 1);
    let standby = world.cluster.standby(&options());
    standby.promote();
    insert(&standby, 2);
    insert(&world.cluster, 3);
    world.archive_all().await;
    world.archive_of(&standby, |file| file.timeline == Timeline(2)).await;
    for (target, timeline, rows) in [
        (Target::Latest, None, "1 2"),
        (Target::Latest, Some(Timeline(2)), "1 2"),
        (Target::Latest, Some(Timeline(1)), "1 3"),
        (Target::Xid(shared), Some(Timeline(2)), "1"),
    ] {
        let resolved = resolve(&world.vault, &world.service, &target, timeline).await.unwrap();
        let found = recover(&world, &resolved, true).await.unwrap();
        assert_eq!(found, rows, "{target} on {timeline:?}: {resolved}");
    }
}

/// X1, as PostgreSQL sees it: a server whose WAL cannot be had does not open.
#[tokio::test(flavor = "multi_thread")]
async fn x1_a_server_whose_wal_is_lost_on_the_way_does_not_open() {
    let world = World::start(&Installation::newest(), &options()).await;
    world.cluster.psql("CREATE TABLE ledger (i int)");
    world.backup().await;
    insert(&world.cluster, 1);
    world.cluster.psql("CREATE TABLE bulk AS SELECT md5(g::text) FROM generate_series(1, 40000) g");
    let files = world.archive_all().await;
    let resolved = resolve(&world.vault, &world.service, &Target::Latest, None).await.unwrap();
    let lost = files[files.len() - 2];
    let system = world.archive.cluster().system_id;
    let name = lifeboat_vault::names::wal_segment(&world.service, system, lost.timeline, &lost.to_string());
    assert!(world.vault.copies().delete(vec![name]).await.is_empty());
    let error = recover(&world, &resolved, false).await.unwrap_err();
    // It ends by itself, before or while it is asked how far it is.
    assert!(matches!(error, ServerError::Ended { .. } | ServerError::Client(_)), "{error}");
}

/// The vault goes away while a server replays: it ends, loudly, and what it had done is taken up again later.
#[tokio::test(flavor = "multi_thread")]
async fn x1_a_vault_that_goes_away_in_the_midst_of_a_recovery_opens_no_server() {
    for installation in [Installation::oldest(), Installation::newest()] {
        let world = World::start(&installation, &options()).await;
        world.cluster.psql("CREATE TABLE ledger (i int)");
        world.backup().await;
        insert(&world.cluster, 1);
        world.cluster.psql("CREATE TABLE bulk AS SELECT md5(g::text) FROM generate_series(1, 40000) g");
        let files = world.archive_all().await;
        let resolved = resolve(&world.vault, &world.service, &Target::Latest, None).await.unwrap();
        // From the middle of what is replayed on, nothing answers; nothing says that anything is missing.
        let dark = files.iter().filter(|file| file.range().start >= resolved.point.stop).skip(2);
        let dark = dark.fold(FaultPlan::none(), |plan, file| {
            plan.on(Select::any().named(&file.to_string()), Fault::Fail)
        });
        world.store.set_plan(dark);
        let error = recover(&world, &resolved, true).await.unwrap_err();
        assert!(matches!(error, ServerError::Ended { .. } | ServerError::Client(_)), "{error}");
        assert!(!world.store.fired().is_empty());
        world.store.set_plan(FaultPlan::none());
        assert_eq!(recover(&world, &resolved, true).await.unwrap(), "1");
    }
}

/// On production's own machine, with tablespaces made since the backup: the recovered server has its own.
#[tokio::test(flavor = "multi_thread")]
async fn x5_a_recovered_server_never_touches_productions_tablespaces() {
    for installation in Installation::all() {
        let world = World::start(&installation, &options()).await;
        let cluster = &world.cluster;
        cluster.psql("CREATE TABLE ledger (i int)");
        let place = |name: &str| {
            let place = cluster.scratch().join(name);
            std::fs::create_dir(&place).unwrap();
            give_to_server_user(&place);
            place
        };
        let (old, new) = (place("old space"), place("new space"));
        cluster.psql(&format!("CREATE TABLESPACE old LOCATION '{}'", old.display()));
        cluster.psql("CREATE TABLE before_backup TABLESPACE old AS SELECT 1 AS i");
        world.backup().await;
        cluster.psql(&format!("CREATE TABLESPACE new LOCATION '{}'", new.display()));
        cluster.psql("CREATE TABLE since (i int) TABLESPACE new");
        cluster.psql("INSERT INTO since SELECT g FROM generate_series(1, 1000) g");
        cluster.psql("INSERT INTO ledger SELECT count(*) FROM since");
        world.archive_all().await;
        cluster.psql("CHECKPOINT");
        let before = (tree(&old), tree(&new));
        assert!(!before.0.is_empty() && !before.1.is_empty());

        let resolved = resolve(&world.vault, &world.service, &Target::Latest, None).await.unwrap();
        let rows = recover(&world, &resolved, true).await.unwrap();
        assert_eq!(rows, "1000");
        let restored = std::fs::read_dir(world.scratch.path()).unwrap().map(|entry| entry.unwrap().path());
        let restored = restored.filter(|path| path.join("PG_VERSION").exists()).max().unwrap();
        let revived =
            Cluster::open(&installation, &restored, &ClusterOptions::new().set("archive_mode", "off"));
        assert_eq!(revived.psql("SELECT count(*) FROM since"), "1000");
        for link in std::fs::read_dir(restored.join("pg_tblspc")).unwrap() {
            let target = std::fs::read_link(link.unwrap().path()).unwrap();
            assert!(target.starts_with(&restored), "{}", target.display());
        }
        revived.psql("INSERT INTO since VALUES (0)");
        revived.psql("DROP TABLE before_backup");
        revived.psql("CHECKPOINT");
        assert!((tree(&old), tree(&new)) == before, "production's files changed");
        // It is a server like any other, and can be backed up and lost in its turn.
        let bench = crate::backup_fixture::Bench::new(1).await;
        for (local, into) in [(true, "local"), (false, "remote")] {
            let point = bench.backup(&revived, local).await.unwrap();
            let again = bench.revive(&installation, &point, into).await;
            assert_eq!(again.psql("SELECT count(*) FROM since"), "1001");
            again.psql("DROP TABLE since");
        }
        assert_eq!(revived.psql("SELECT count(*) FROM since"), "1001");
        drop(revived);
        assert!((tree(&old), tree(&new)) == before, "production's files changed");
    }
}
