//! A standby that catches up, and becomes the primary.

use super::pair::{Pair, why};
use lifeboat_core::run::{Found, Outcome};

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_waited_for_and_how_far_it_is_behind_is_told() {
    let pair = Pair::start();
    pair.primary.psql("insert into ledger select generate_series(1, 1000)");
    let mut wait = pair.step("postgres.wait_replay: {service: orders-db, within: 20s}");
    let (outcome, output) = wait.act().await;
    assert_eq!(outcome, Outcome::Done, "{output}");
    assert!(output.contains(": 0 bytes behind"), "{output}");
    assert_eq!(pair.standby.psql("select count(*) from ledger"), "1000");
    assert_eq!(wait.observed["LIFEBOAT_ORDERS_DB_LAG_BYTES"], "0");

    // The primary is lost with what the standby never received: that is told, and no success.
    let known = wait.observed["LIFEBOAT_ORDERS_DB_PRIMARY_LSN"].clone();
    pair.primary.kill9();
    let (outcome, output) = wait.act().await;
    assert_eq!(outcome, Outcome::Done, "{output}");
    assert!(output.contains("asked last"), "{output}");
    let mut alone = pair.step("postgres.wait_replay: {service: orders-db, within: 20s}");
    let (outcome, output) = alone.act().await;
    assert_eq!(outcome, Outcome::Done, "{output}");
    assert!(output.contains("all that it received"), "{output}");
    let mut more = pair
        .step("postgres.wait_replay: {service: orders-db, within: 1s}")
        .knowing("LIFEBOAT_ORDERS_DB_PRIMARY_LSN", "FF/0");
    let told = why(more.act().await.0);
    assert!(told.contains("never received the last"), "{known}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_nothing_is_promoted_beside_a_primary_that_writes_or_may() {
    let pair = Pair::start();
    let mut promote = pair.step("postgres.promote: {service: orders-db}");
    assert_eq!(promote.probe().await, Found::NotDone);
    let told = why(promote.act().await.0);
    assert!(told.contains("takes writes") && told.contains("postgres.fence"), "{told}");
    // One that is read-only by default only may be told to write.
    pair.step("postgres.stop_writes: {service: orders-db}").done().await;
    assert!(why(promote.act().await.0).contains("takes writes"));
    pair.primary.kill9();
    let told = why(promote.act().await.0);
    assert!(told.contains("silence is no proof"), "{told}");
    assert_eq!(pair.standby.psql("select pg_is_in_recovery()"), "t");

    let mut promote = pair.step("postgres.promote: {service: orders-db, fencedBy: its power is off}");
    let output = promote.done().await;
    assert!(output.contains("its power is off") && output.contains("timeline 2"), "{output}");
    assert_eq!(promote.observed["LIFEBOAT_ORDERS_DB_TIMELINE"], "2");
    pair.standby.psql("insert into ledger values (1)");
    // A lost reply.
    assert_eq!(promote.act().await.0, Outcome::Done);
    assert_eq!(pair.standby.psql("select count(*) from ledger"), "1");
    assert_eq!(promote.verify().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_drill_may_have_two_primaries_and_another_cluster_is_none() {
    let pair = Pair::start();
    let mut promote = pair.step("postgres.promote: {service: orders-db, besideProduction: true}");
    let output = promote.done().await;
    assert!(output.contains("two primaries"), "{output}");
    promote = promote.knowing("LIFEBOAT_ORDERS_DB_SYSTEM", "1");
    assert!(promote.verify().await.unwrap().contains("another cluster"));
}
