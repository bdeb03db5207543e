//! Views, shown to real servers.

use crate::recovery::Fixture;
use lifeboat_base::Lsn;
use lifeboat_postgres::client::Connection;
use lifeboat_postgres::restore::{RestoreError, RestoreOptions, Stop};
use lifeboat_postgres::server::Server;
use lifeboat_postgres::view::{self, Happened, Keep, Listener, View};
use lifeboat_testkit::postgres::Installation;
use lifeboat_vault::point::RestorePoint;
use std::path::Path;
use std::sync::Arc;

/// Nothing that was told is taken for an accident.
fn nothing_happens() -> Listener {
    Arc::new(|happened| assert_eq!(happened, Happened::Hydrated))
}

async fn born(fixture: &Fixture, point: &RestorePoint, stop: Lsn, into: &str) -> RestoreOptions {
    let options = fixture.restore(point, stop, into);
    let plan = view::plan(&options).await.unwrap();
    assert!(plan.eager_bytes < plan.size_bytes / 4, "{} of {}", plan.eager_bytes, plan.size_bytes);
    view::create(&options, plan).await.unwrap();
    options
}

async fn show(fixture: &Fixture, into: &Path) -> View {
    View::show(&fixture.bench.vault, into, Keep::All, nothing_happens()).await.unwrap()
}

const COUNT: &str = "SELECT count(*) AS rows, count(*) FILTER (WHERE note = 'later') AS later, \
     (SELECT count(*) FROM apart) AS apart FROM ledger";

async fn counted(server: &mut Server) -> [String; 3] {
    let mut connection = server.answering().await.unwrap();
    let row = connection.query_one(COUNT).await.unwrap();
    ["rows", "later", "apart"].map(|column| row.text(column).unwrap().to_owned())
}

/// Every index against its table, where the server's programs can.
async fn must_be_sound(connection: &mut Connection) {
    let available = "SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'";
    if connection.query(available).await.unwrap().is_empty() {
        return;
    }
    connection.query("CREATE EXTENSION IF NOT EXISTS amcheck").await.unwrap();
    let check = "SELECT bt_index_check(c.oid, true) FROM pg_class c JOIN pg_am a ON a.oid = c.relam \
         WHERE a.amname = 'btree' AND c.relpersistence = 'p' AND c.relkind = 'i'";
    connection.query(check).await.unwrap();
}

async fn at_once_and_then_for_good(installation: &Installation) {
    let fixture = Fixture::start(installation).await;
    let point = fixture.backup(true).await;
    fixture.cluster.psql("INSERT INTO ledger SELECT g, 'later' FROM generate_series(20001, 20500) g");
    let stop = fixture.archived_end();
    fixture.cluster.psql("DELETE FROM ledger");
    fixture.archived_end();

    let options = born(&fixture, &point, stop, "seen").await;
    let into = &options.into;
    assert!(!into.join("PG_VERSION").exists(), "nothing starts there before it is shown");
    let shown = show(&fixture, into).await;
    let mut server = Server::start(&fixture.server(into)).unwrap();
    server.recovered(Stop { lsn: stop, inclusive: false }, &|_| ()).await.unwrap();
    assert_eq!(counted(&mut server).await, ["20500", "500", "1000"]);
    let status = shown.status();
    assert!(status.pages_here < status.pages && !status.is_whole, "{status:?}");
    server.promote().await.unwrap();
    let mut connection = server.answering().await.unwrap();
    connection
        .query("INSERT INTO ledger SELECT g, 'after' FROM generate_series(30001, 30100) g")
        .await
        .unwrap();
    connection.query("VACUUM FULL apart").await.unwrap();
    drop(connection);
    assert!(shown.hide().is_err(), "not under a server that runs");
    assert!(shown.finish().is_err());

    // While it runs, the rest comes.
    shown.hydrate().await.unwrap();
    let status = shown.status();
    assert!(status.is_whole && status.pages_here == status.pages, "{status:?}");
    server.stop().await.unwrap();
    shown.finish().unwrap();
    drop(shown);

    assert!(!fixture.place("seen.lifeboat").exists());
    let mut server = Server::start(&fixture.server(into)).unwrap();
    assert_eq!(counted(&mut server).await, ["20600", "500", "1000"]);
    let mut connection = server.answering().await.unwrap();
    must_be_sound(&mut connection).await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn o5_every_version_answers_from_a_view_and_then_from_a_plain_directory() {
    for installation in Installation::all() {
        at_once_and_then_for_good(&installation).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_since_it_was_planned_is_not_made_anew() {
    let fixture = Fixture::start(&Installation::newest()).await;
    let point = fixture.backup(true).await;
    let options = fixture.restore(&point, point.stop, "seen");
    let (first, second, third) =
        tokio::try_join!(view::plan(&options), view::plan(&options), view::plan(&options)).unwrap();
    view::create(&options, first).await.unwrap();
    let shown = show(&fixture, &options.into).await;
    std::fs::write(options.into.join("written"), "since").unwrap();
    let refused = view::create(&options, second).await.unwrap_err();
    assert!(matches!(refused, RestoreError::Busy { .. }), "{refused}");
    assert_eq!(std::fs::read(options.into.join("written")).unwrap(), b"since");
    assert!(view::discard(shown.place()).is_err() && view::put_in_place(shown.place()).is_err());
    shown.hide().unwrap();
    drop(shown);
    let refused = view::create(&options, third).await.unwrap_err();
    assert!(matches!(refused, RestoreError::NotEmpty { .. }), "{refused}");
    let shown = show(&fixture, &options.into).await;
    assert_eq!(std::fs::read(options.into.join("written")).unwrap(), b"since");
    shown.throw_away().unwrap();
}
