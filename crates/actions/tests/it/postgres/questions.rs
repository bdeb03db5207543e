//! Questions, and statements of the plan.

use super::pair::{Pair, Step, plan, refused, why};
use lifeboat_core::run::{Class, Outcome};

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_and_statements_run() {
    let pair = Pair::start();
    let answered = async |step: &str| pair.step(step).act().await;

    let (outcome, output) =
        answered("postgres.check: {service: orders-db, query: 'select count(*) = 0 from ledger'}").await;
    assert_eq!((outcome, output.as_str()), (Outcome::Done, "t\n"));
    let (outcome, _) =
        answered("postgres.check: {service: orders-db, on: standby, query: 'select pg_is_in_recovery()'}")
            .await;
    assert_eq!(outcome, Outcome::Done);
    let (outcome, _) =
        answered("postgres.check: {service: orders-db, on: 1, query: 'select 40 + 2', expect: '42'}").await;
    assert_eq!(outcome, Outcome::Done);
    for (query, reason) in [
        ("select false", "answered `f`, not `t`"),
        ("select 1 where false", "no row"),
        ("select null", "null"),
        ("delete from ledger returning true", "read-only"),
        ("commit; delete from ledger returning true", "read-only"),
        ("select nothing from nowhere", "42P01"),
    ] {
        let text = format!("postgres.check: {{service: orders-db, query: '{query}'}}");
        let told = why(answered(&text).await.0);
        assert!(told.contains(reason), "{query}: {told}");
    }
    let slow = plan(&pair.primary.conninfo(), &[], "", "x").replace(
        "timeout: 60s, x",
        "timeout: 2s, \
        postgres.check: {service: orders-db, query: 'select pg_sleep(600)'}",
    );
    let told = why(Step::new(&slow).act().await.0);
    assert!(told.contains("57014") || told.contains("in the time"), "{told}");

    let mut read = pair.step("sql: 'select count(*) from ledger'");
    assert_eq!(read.step.rules.class, Class::Read);
    assert!(read.step.shown.contains("read_only=on"), "{}", read.step.shown);
    assert_eq!(read.act().await, (Outcome::Done, "0\n".to_owned()));
    // Whatever it calls.
    let mut sneaky = pair.step("class: read, sql: 'select setval($$s$$, 1); insert into ledger values (1)'");
    assert!(!why(sneaky.act().await.0).is_empty());

    let mut write = pair.step("sql: 'insert into ledger values (1); insert into ledger values (2)'");
    assert_eq!(write.step.rules.class, Class::Destructive);
    assert_eq!(write.act().await.0, Outcome::Done);
    assert_eq!(pair.primary.psql("select count(*) from ledger"), "2");
    // One transaction: what failed did nothing.
    let mut half = pair.step("sql: 'insert into ledger values (3); select 1 / 0'");
    assert!(why(half.act().await.0).contains("22012"));
    assert_eq!(pair.primary.psql("select count(*) from ledger"), "2");
    let mut parts = pair.step("sql: 'insert into ledger values (3); commit; select 1 / 0'");
    assert!(matches!(parts.act().await.0, Outcome::Unknown { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_what_cannot_be_done_to_the_cluster_is_told_before_the_run() {
    let pair = Pair::start();
    for (step, reason) in [
        ("postgres.promot: {service: orders-db}", "did you mean `postgres.promote`"),
        ("postgres.promote: {service: orders-db, standby: 2}", "no number 2"),
        ("postgres.promote: {service: orders-db, standby: primary}", "about a standby"),
        ("postgres.promote: {service: order-db}", "did you mean `orders-db`"),
        ("postgres.check: {service: orders-db, on: 0, query: select 1}", "from 1 on"),
        ("postgres.check: {service: orders-db, query: 'select {{ secret }}'}", "no variable"),
    ] {
        let told = refused(&pair, step);
        assert!(told.contains(reason), "{step}: {told}");
    }
}
