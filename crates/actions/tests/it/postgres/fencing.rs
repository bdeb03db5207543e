//! An old primary that is kept from writing, and what proves it.

use super::pair::{Pair, Step, plan, why};
use lifeboat_core::run::{Class, Found, Outcome};

fn unknown(outcome: Outcome) -> String {
    match outcome {
        Outcome::Unknown { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_l2_a_server_on_this_machine_is_stopped_and_started_again_is_a_standby() {
    let pair = Pair::start();
    pair.primary.psql("insert into ledger values (1)");
    let mut fence = pair.local_step("postgres.fence: {service: orders-db, by: [stop]}");
    assert_eq!(fence.step.rules.class, Class::Idempotent);
    assert!(fence.step.shown.contains("pg_ctl stop"), "{}", fence.step.shown);
    let output = fence.done().await;
    assert!(output.contains("stopped in order"), "{output}");
    assert!(!pair.primary.is_running());
    // A lost reply.
    assert_eq!(fence.act().await.0, Outcome::Done);
    assert_eq!(fence.verify().await, None);
    // Whatever starts it, it takes no writes.
    pair.primary.restart();
    assert_eq!(pair.primary.psql("select pg_is_in_recovery()"), "t");
    assert_eq!(fence.verify().await, None);

    // The standby has all that was committed, and opens.
    let mut promote = pair.step("postgres.promote: {service: orders-db}");
    promote.done().await;
    assert_eq!(pair.standby.psql("select count(*) from ledger"), "1");
    let told = why(fence.undo().await.0);
    assert!(told.contains("there would be two"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn l2_a_server_that_was_stopped_is_started_again_by_the_undo() {
    let pair = Pair::start();
    let mut fence = pair.local_step("postgres.fence: {service: orders-db}");
    fence.done().await;
    // The machine died before it could say by which means.
    fence.observed.retain(|name, _| !name.ends_with("FENCED_BY"));
    assert_eq!(fence.undo().await.0, Outcome::Done);
    pair.primary.psql("insert into ledger values (1)");
    assert_eq!(fence.undo().await.0, Outcome::Done, "undone twice is as once");
    // It is no child of the test's: what it was started by ends it.
    pair.local_step("postgres.fence: {service: orders-db, by: [stop]}").done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_f2_a_server_that_refuses_every_session_is_fenced_and_its_standby_gets_all() {
    let pair = Pair::start();
    pair.primary.psql("create role app login; grant all on ledger to app; insert into ledger values (1)");
    let mut fence = pair.step("postgres.fence: {service: orders-db, by: [stop, refuse]}");
    assert!(fence.step.shown.contains("session_preload_libraries"), "{}", fence.step.shown);
    let output = fence.done().await;
    assert!(output.contains("stop: the plan does not say") && output.contains("refuse: "), "{output}");
    for options in ["", "options='-c default_transaction_read_only=off' "] {
        let mut psql = pair.primary.command("psql");
        psql.arg(format!("{options}user=app")).args(["-c", "insert into ledger values (2)"]);
        let output = psql.output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("lifeboat_fenced"), "{output:?}");
    }
    assert_eq!(fence.act().await.0, Outcome::Done, "fenced twice is as once");
    // A restart keeps it.
    pair.primary.stop();
    assert_eq!(fence.verify().await, None);
    let mut wait = pair.step("postgres.wait_replay: {service: orders-db, within: 20s}");
    assert_eq!(wait.act().await.0, Outcome::Done);
    assert_eq!(pair.standby.psql("select count(*) from ledger"), "1", "the standby lets sessions in");
    pair.standby.psql("show session_preload_libraries");

    let proof = fence.observed["LIFEBOAT_ORDERS_DB_FENCED"].clone();
    let mut promote =
        pair.step("postgres.promote: {service: orders-db}").knowing("LIFEBOAT_ORDERS_DB_FENCED", &proof);
    promote.done().await;
    pair.standby.psql("insert into ledger values (3)");
    assert!(why(fence.undo().await.0).contains("there would be two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_a_refusal_is_taken_back_while_no_standby_is_open() {
    let pair = Pair::start();
    pair.primary.psql("alter system set session_preload_libraries = 'auto_explain'");
    pair.primary.psql("select pg_reload_conf()");
    while pair.primary.psql("show session_preload_libraries") != "auto_explain" {}
    let mut fence = pair.step("postgres.fence: {service: orders-db, by: [refuse]}");
    fence.done().await;
    let (outcome, text) = fence.undo().await;
    assert_eq!(outcome, Outcome::Done, "{text}");
    assert_eq!(pair.primary.psql("show session_preload_libraries"), "auto_explain");
    pair.primary.psql("insert into ledger values (1)");
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_silence_proves_nothing_and_a_command_that_changed_nothing_neither() {
    let pair = Pair::start();
    let mut fence = pair.step("postgres.fence: {service: orders-db, by: [{command: 'true'}]}");
    let told = unknown(fence.act().await.0);
    assert!(told.contains("still takes writes"), "{told}");
    let mut fence = pair.step("postgres.fence: {service: orders-db, by: [{command: 'exit 3'}, stop]}");
    assert!(unknown(fence.act().await.0).contains("dataDirectory"));

    pair.primary.kill9();
    let mut fence = pair.step("postgres.fence: {service: orders-db, by: [refuse]}");
    assert_eq!(fence.probe().await, Found::NotDone);
    let told = unknown(fence.act().await.0);
    assert!(told.contains("by hand"), "{told}");
    assert!(fence.verify().await.unwrap().contains("proves nothing"));
    // The plan's own word for it.
    pair.step("postgres.fence: {service: orders-db, by: [{command: 'true'}]}").done().await;

    let weak = plan(&pair.standby.conninfo(), &[], "", "postgres.fence: {service: orders-db, by: [refuse]}");
    let mut fence = Step::new(&weak);
    assert_eq!(fence.probe().await, Found::Done, "a standby takes no writes");
}
