//! Commands, rows, errors, copies, and ending a command from elsewhere.

use super::told;
use crate::server::Server;
use lifeboat_postgres::client::{
    Advice, ClientError, CommandEvent, Connection, Purpose, Refusal, quote_identifier, quote_literal,
};
use lifeboat_testkit::postgres::Installation;
use std::time::Duration;

#[tokio::test]
async fn rows_and_several_statements() {
    for installation in Installation::all() {
        let server = Server::start(&installation);
        let mut connection = server.superuser(Purpose::Sql).await;
        let sets = connection
            .query_all("create table t (a int, b text); insert into t values (1, 'x'), (2, null); select * from t order by a")
            .await
            .unwrap();
        assert_eq!(
            sets.iter().map(|set| set.tag.as_str()).collect::<Vec<_>>(),
            ["CREATE TABLE", "INSERT 0 2", "SELECT 2"]
        );
        let rows = &sets[2].rows;
        assert_eq!(rows[0].parse::<i32>("a").unwrap(), 1);
        assert_eq!(rows[0].text("b").unwrap(), "x");
        assert_eq!(rows[1].optional("b").unwrap(), None);
        assert_eq!(rows[1].text("c").unwrap_err().to_string(), "there is no column `c`, only a, b");
        assert_eq!(connection.query("").await.unwrap(), []);
        assert!(connection.server_version().unwrap().major >= 15);
        assert!(!connection.is_in_recovery().await.unwrap());
        assert!(!connection.is_read_only().await.unwrap());
        connection.close().await;
    }
}

#[tokio::test]
async fn errors_leave_the_connection_free() {
    let server = Server::start(&Installation::oldest());
    let mut connection = server.superuser(Purpose::Sql).await;
    let error = connection.query("select 1; select 'a'::int; select 2").await.unwrap_err();
    let server_error = error.server_error().unwrap();
    assert_eq!((server_error.severity.as_str(), server_error.code.as_str()), ("ERROR", "22P02"));
    assert!(told(&error).contains("for `select …`: ERROR 22P02: invalid input syntax"), "{}", told(&error));

    let text = "do $$ begin raise warning 'mind' using detail = 'the gap', hint = 'step over'; end $$";
    connection.query(text).await.unwrap();
    let notices = connection.take_notices();
    assert_eq!(notices[0].to_string(), "WARNING 01000: mind; the gap; step over");

    assert!(matches!(connection.query("select '\0'").await, Err(ClientError::Unsendable)));
    let error = connection.query("copy pg_class from stdin").await.unwrap_err();
    assert!(error.server_error().is_some(), "{error}");
    assert_eq!(connection.query_one("select 1").await.unwrap().at(0), Some("1"));
}

#[tokio::test]
async fn hostile_names_and_texts_stay_what_they_are() {
    let server = Server::start(&Installation::oldest());
    let mut connection = server.superuser(Purpose::Sql).await;
    let name = "a\"b'c\\d; drop table x; --\u{e9}";
    for conforming in ["on", "off"] {
        connection.query(&format!("set standard_conforming_strings = {conforming}")).await.unwrap();
        let sql = format!("select {} as {}", quote_literal(name), quote_identifier(name));
        let row = connection.query_one(&sql).await.unwrap();
        assert_eq!(row.text(name).unwrap(), name);
    }
}

#[tokio::test]
async fn a_dropped_command_is_not_mistaken_for_the_next() {
    let server = Server::start(&Installation::oldest());
    let mut connection = server.superuser(Purpose::Sql).await;
    let hasty =
        tokio::time::timeout(Duration::from_millis(50), connection.query("select pg_sleep(60)")).await;
    assert!(hasty.is_err());
    assert!(matches!(connection.query("select 1").await, Err(ClientError::Busy { .. })));
}

#[tokio::test]
async fn cancel_ends_the_command_only() {
    let server = Server::start(&Installation::oldest());
    // Over TLS too: the key must not go over the wire in the clear.
    for info in [server.tcp("user=trust sslmode=disable"), server.tcp("user=trust sslmode=require")] {
        let mut connection = Connection::connect(&info, Purpose::Sql).await.unwrap();
        let handle = connection.cancel_handle().unwrap();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            handle.cancel().await.unwrap();
        };
        let (outcome, ()) = tokio::join!(connection.query("select pg_sleep(60)"), cancel);
        assert_eq!(outcome.unwrap_err().server_error().unwrap().code, "57014");
        assert_eq!(connection.query_one("select 1").await.unwrap().at(0), Some("1"));
    }
}

#[tokio::test]
async fn copies_are_streamed() {
    let server = Server::start(&Installation::oldest());
    let mut connection = server.superuser(Purpose::Sql).await;
    let mut copy = connection
        .copy_out("copy (select i, repeat('x', 100) from generate_series(1, 50000) i) to stdout")
        .await
        .unwrap();
    let (mut rows, mut bytes) = (0, 0);
    while let Some(data) = copy.next().await.unwrap() {
        rows += 1;
        bytes += data.len();
    }
    assert_eq!(rows, 50_000);
    assert!(bytes > 5_000_000);
    assert_eq!(connection.query_one("select 1").await.unwrap().at(0), Some("1"));
}

#[tokio::test]
async fn a_base_backup_arrives() {
    for installation in Installation::all() {
        let server = Server::start(&installation);
        let mut connection = server.superuser(Purpose::Replication).await;
        let command = "BASE_BACKUP (LABEL 'it''s', CHECKPOINT 'fast', WAL true, MANIFEST 'yes')";
        let mut stream = connection.stream(command).await.unwrap();
        let (mut results, mut tar_bytes, mut copies, mut kinds) = (0, 0, 0, Vec::new());
        while let Some(event) = stream.next().await.unwrap() {
            match event {
                CommandEvent::Columns(_) => results += 1,
                CommandEvent::CopyOut => copies += 1,
                CommandEvent::Data(data) => {
                    kinds.push(data[0]);
                    tar_bytes += data.len();
                }
                CommandEvent::Row(_) | CommandEvent::CopyEnd | CommandEvent::Complete(_) => {}
            }
        }
        kinds.dedup();
        // Start position, tablespaces, then after the copy the end position.
        assert_eq!((results, copies), (3, 1));
        assert!(kinds.starts_with(b"nd"), "{kinds:?}");
        assert!(kinds.contains(&b'm'));
        assert!(tar_bytes > 20 << 20, "{tar_bytes} bytes");
        connection.identify_system().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let server = Server::start(&Installation::oldest());
    let mut connection = server.superuser(Purpose::Sql).await;
    server.cluster.stop();
    let error = connection.query("select 1").await.unwrap_err();
    assert_eq!(error.advice(), Advice::Retry);
    assert!(matches!(error.refusal(), Some(Refusal::ShuttingDown { .. })), "{}", told(&error));

    let error = Connection::connect(&server.tcp("user=trust"), Purpose::Sql).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{}", told(&error));
    let socket = server.local("user=postgres");
    let error = Connection::connect(&socket, Purpose::Sql).await.unwrap_err();
    assert!(matches!(error, ClientError::NoSocket { .. }), "{}", told(&error));
}

#[tokio::test]
async fn replication_in_a_database_takes_sql_too() {
    let server = Server::start(&Installation::oldest());
    let mut connection = server.superuser(Purpose::ReplicationDatabase).await;
    assert_eq!(connection.query_one("select current_database()").await.unwrap().at(0), Some("postgres"));
    assert_eq!(connection.identify_system().await.unwrap().database.as_deref(), Some("postgres"));
    let mut physical = server.superuser(Purpose::Replication).await;
    assert!(!physical.is_in_recovery().await.unwrap());
    assert!(physical.query("select 1").await.is_err());
    physical.identify_system().await.unwrap();
}
