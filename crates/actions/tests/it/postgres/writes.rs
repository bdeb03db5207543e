//! Writes that stop, and go on.

use super::pair::{Pair, why};
use lifeboat_core::run::{Found, Outcome};
use lifeboat_postgres::client::{Connection, Conninfo, Purpose};

async fn client(conninfo: &str) -> Connection {
    let info = Conninfo::parse(conninfo, &|_| None).unwrap();
    Connection::connect(&info, Purpose::Sql).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_stop_and_go_on_and_each_is_undone() {
    let pair = Pair::start();
    pair.primary.psql("create role batch login");
    let mut open = client(&pair.primary.conninfo()).await;
    open.query("begin; insert into ledger values (1)").await.unwrap();
    let mut spared = client(&pair.primary.conninfo().replace("user=postgres", "user=batch")).await;

    let mut stop = pair.step("postgres.stop_writes: {service: orders-db, allow: [batch]}");
    assert!(
        stop.step.shown.contains("ALTER SYSTEM SET default_transaction_read_only = on"),
        "{}",
        stop.step.shown
    );
    let output = stop.done().await;
    assert!(output.contains("read-only"), "{output}");
    assert!(open.query("commit").await.is_err(), "its session was ended");
    spared.query("select 1").await.expect("this one was let be");
    assert!(pair.primary.try_psql("insert into ledger values (2)").unwrap_err().contains("read-only"));
    assert_eq!(pair.primary.psql("select count(*) from ledger"), "0");

    // A lost reply: it is done again, and what was before stays known.
    assert_eq!(stop.act().await.0, Outcome::Done);
    assert_eq!(stop.verify().await, None);
    // As is one that was killed before it ended the sessions.
    let late = client(&pair.primary.conninfo()).await;
    pair.primary.psql("select pg_reload_conf()");
    while stop.probe().await == Found::Done {}
    assert_eq!(stop.act().await.0, Outcome::Done);
    drop(late);

    let (outcome, _) = stop.undo().await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(stop.undo().await.0, Outcome::Done, "undone twice is as once");
    pair.primary.psql("insert into ledger values (3)");

    let mut stop = pair.step("postgres.stop_writes: {service: orders-db}");
    stop.done().await;
    assert!(spared.query("select 1").await.is_err());
    let mut resume = pair.step("postgres.resume_writes: {service: orders-db}");
    resume.done().await;
    pair.primary.psql("insert into ledger values (4)");
    assert_eq!(resume.undo().await.0, Outcome::Done);
    assert!(pair.primary.try_psql("insert into ledger values (5)").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_what_could_not_be_begun_has_failed_and_says_why() {
    let pair = Pair::start();
    pair.primary.psql("create role weak login");
    let weak = pair.primary.conninfo().replace("user=postgres", "user=weak");
    let text = super::pair::plan(&weak, &[], "", "postgres.stop_writes: {service: orders-db}");
    let _other = client(&pair.primary.conninfo()).await;
    let mut stop = super::pair::Step::new(&text);
    let reason = why(stop.act().await.0);
    assert!(reason.contains("pg_signal_backend"), "{reason}");
    pair.primary.psql("grant pg_read_all_stats to weak");
    let reason = why(stop.act().await.0);
    assert!(reason.contains("42501") && reason.contains("grant"), "{reason}");
    pair.primary.psql(
        "grant alter system on parameter default_transaction_read_only to weak; grant pg_signal_backend to weak; \
         grant execute on function pg_reload_conf() to weak",
    );
    drop(_other);
    stop.done().await;

    pair.primary.stop();
    let mut stop = pair.step("postgres.stop_writes: {service: orders-db}");
    assert_eq!(stop.probe().await, Found::Unknown);
    let reason = why(stop.act().await.0);
    assert!(reason.contains("nothing listens"), "{reason}");
}
