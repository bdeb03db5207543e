//! WAL from a real server: all of it, in order, whoever drops what.

use super::told;
use crate::server::Server;
use lifeboat_base::{Lsn, SystemClock, Timeline};
use lifeboat_postgres::client::{
    Advice, ClientError, Connection, Event, Purpose, Refusal, Replication, SlotOptions, StartReplication,
    Status,
};
use lifeboat_testkit::postgres::Installation;
use std::sync::Arc;
use std::time::Duration;

const SLOT: &str = "lifeboat_test";
const SEGMENT_BYTES: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn from(slot: Option<&str>, start: Lsn) -> StartReplication {
    StartReplication {
        slot: slot.map(str::to_owned),
        start,
        timeline: None,
        silence_limit: Duration::from_secs(20),
    }
}

async fn start(connection: Connection, start: &StartReplication) -> Result<Replication, ClientError> {
    connection.start_replication(start, Arc::new(SystemClock::new())).await
}

async fn flushed(connection: &mut Connection) -> Lsn {
    let row = connection.query_one("select pg_current_wal_flush_lsn() as lsn").await.unwrap();
    row.parse("lsn").unwrap()
}

#[tokio::test]
async fn wal_of_an_insert_comes_through_a_slot() {
    for installation in Installation::all() {
        let server = Server::start(&installation);
        let mut sql = server.superuser(Purpose::Sql).await;
        // Over the network and with a password, as in life.
        let info = server.tcp(r"user=scram password='ge\'he\\im' application_name=lifeboat_test");
        let mut connection = Connection::connect(&info, Purpose::Replication).await.unwrap();
        connection
            .create_physical_slot(SLOT, SlotOptions { temporary: false, reserve_wal: true })
            .await
            .unwrap();
        let slot = connection.read_slot(SLOT).await.unwrap().unwrap();
        assert_eq!(slot.timeline, Some(Timeline(1)));
        assert_eq!(connection.read_slot("none").await.unwrap(), None);
        assert_eq!(connection.show("wal_segment_size").await.unwrap(), "16MB");
        let identity = connection.identify_system().await.unwrap();
        assert_eq!(identity.timeline, Timeline(1));
        assert_eq!(identity.database, None);

        let mut replication = start(connection, &from(Some(SLOT), identity.flushed)).await.unwrap();
        let marker = "the needle in the haystack";
        sql.query(&format!("create table t as select '{marker}'::text")).await.unwrap();
        let end = flushed(&mut sql).await;
        let mut wal = Vec::new();
        let mut position = identity.flushed;
        while position < end {
            let event = tokio::time::timeout(PATIENCE, replication.recv()).await.unwrap().unwrap();
            if let Event::WalData { start, data, .. } = event {
                assert_eq!(start, position);
                position = position.advance(data.len() as u64);
                wal.extend_from_slice(&data);
            }
        }
        assert!(wal.windows(marker.len()).any(|window| window == marker.as_bytes()));

        // P2: nothing is claimed before the caller claims it; then exactly that.
        let claimed = "select coalesce(flush_lsn, '0/0') as lsn from pg_stat_replication where application_name = 'lifeboat_test'";
        assert_eq!(sql.query_one(claimed).await.unwrap().parse::<Lsn>("lsn").unwrap(), Lsn(0));
        let status = Status { write: position, flush: position, apply: position };
        replication.send_status(status, true).await.unwrap();
        while !matches!(replication.recv().await.unwrap(), Event::Keepalive { .. }) {}
        assert_eq!(sql.query_one(claimed).await.unwrap().parse::<Lsn>("lsn").unwrap(), position);

        let second = server.superuser(Purpose::Replication).await;
        let error = start(second, &from(Some(SLOT), position)).await.unwrap_err();
        assert!(matches!(error.refusal(), Some(Refusal::SlotInUse { .. })), "{}", told(&error));
        assert_eq!(error.advice(), Advice::Retry);

        let mut connection = replication.stop().await.unwrap();
        assert_eq!(connection.read_slot(SLOT).await.unwrap().unwrap().restart, Some(position));
        connection.drop_slot(SLOT).await.unwrap();
    }
}

#[tokio::test]
async fn refusals_are_understood() {
    let settings = [("max_replication_slots", "1"), ("max_wal_senders", "2")];
    let server = Server::start_with(&Installation::oldest(), &settings);
    let mut connection = server.superuser(Purpose::Replication).await;
    let expect = |error: ClientError, wanted: fn(&Refusal) -> bool| {
        assert!(error.refusal().is_some_and(wanted), "{}", told(&error));
    };
    connection.create_physical_slot(SLOT, SlotOptions::default()).await.unwrap();
    let again = connection.create_physical_slot(SLOT, SlotOptions::default()).await.unwrap_err();
    expect(again, |refusal| matches!(refusal, Refusal::SlotExists { .. }));
    let full = connection.create_physical_slot("another", SlotOptions::default()).await.unwrap_err();
    expect(full, |refusal| matches!(refusal, Refusal::TooManySlots { .. }));
    let missing = connection.drop_slot("none").await.unwrap_err();
    expect(missing, |refusal| matches!(refusal, Refusal::SlotMissing { .. }));
    // A hostile name does not reach the server; a merely wrong one does.
    let hostile = connection.create_physical_slot("a\" TEMPORARY", SlotOptions::default()).await.unwrap_err();
    assert!(matches!(hostile, ClientError::BadName { .. }), "{}", told(&hostile));
    let wrong = connection.create_physical_slot("A; --", SlotOptions::default()).await.unwrap_err();
    assert_eq!(wrong.server_error().unwrap().code, "42602", "{}", told(&wrong));

    let one = server.superuser(Purpose::Replication).await;
    let info = server.tcp(r"user=scram password='ge\'he\\im'");
    let crowded = Connection::connect(&info, Purpose::Replication).await.unwrap_err();
    expect(crowded, |refusal| matches!(refusal, Refusal::TooManyWalSenders { .. }));
    one.close().await;

    let missing = start(connection, &from(Some("none"), Lsn(0x100_0000))).await.unwrap_err();
    expect(missing, |refusal| matches!(refusal, Refusal::SlotMissing { .. }));
    let connection = loop {
        // The server takes a moment to notice that the last one is gone.
        match Connection::connect(&info, Purpose::Replication).await {
            Ok(connection) => break connection,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let error = match start(connection, &from(None, Lsn(0x100))).await {
        Ok(mut replication) => replication.recv().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.advice(), Advice::GiveUp);
    expect(error, |refusal| matches!(refusal, Refusal::WalRemoved { .. }));
}

#[tokio::test]
async fn p1_a_dropped_recv_loses_no_wal() {
    let server = Server::start(&Installation::oldest());
    let mut sql = server.superuser(Purpose::Sql).await;
    // TLS: its records end elsewhere than messages do.
    let info = server.tcp(r"user=scram password='ge\'he\\im' sslmode=require");
    let mut connection = Connection::connect(&info, Purpose::Replication).await.unwrap();
    let begin = connection.identify_system().await.unwrap().flushed;
    let mut replication = start(connection, &from(None, begin)).await.unwrap();
    let load = async {
        sql.query("create table t as select i, md5(i::text) from generate_series(1, 300000) i")
            .await
            .unwrap();
        flushed(&mut sql).await
    };
    let mut load = Box::pin(load);
    let (mut end, mut position, mut wal, mut dropped) = (None, begin, Vec::new(), 0);
    let mut tick = tokio::time::interval(Duration::from_micros(200));
    while end.is_none_or(|end| position < end) {
        tokio::select! {
            biased;
            finished = &mut load, if end.is_none() => end = Some(finished),
            _ = tick.tick() => {
                dropped += 1;
                let status = Status { write: position, ..Status::default() };
                replication.send_status(status, false).await.unwrap();
            }
            event = replication.recv() => {
                if let Event::WalData { start, data, .. } = event.unwrap() {
                    assert_eq!(start, position);
                    position = position.advance(data.len() as u64);
                    wal.extend_from_slice(&data);
                }
            }
        }
    }
    assert!(dropped > 100, "recv was dropped only {dropped} times");
    assert!(wal.len() > 20 << 20, "{} bytes", wal.len());
    // The bytes are those of the server's own files.
    let segment = begin.0 / SEGMENT_BYTES;
    let files: Vec<u8> = (segment..=position.0 / SEGMENT_BYTES)
        .flat_map(|segment| {
            let name = format!("pg_wal/00000001{segment:016X}");
            std::fs::read(server.cluster.data_directory().join(name)).unwrap_or_default()
        })
        .collect();
    let offset = (begin.0 % SEGMENT_BYTES) as usize;
    assert!(files[offset..offset + wal.len()] == wal[..]);
}

#[tokio::test]
async fn the_end_of_a_timeline_names_the_next() {
    for installation in Installation::all() {
        let server = Server::start(&installation);
        let mut connection = server.superuser(Purpose::Replication).await;
        let begin = connection.identify_system().await.unwrap().flushed.segment_start(SEGMENT_BYTES);
        drop(connection);
        server.cluster.stop();
        std::fs::write(server.cluster.data_directory().join("standby.signal"), "").unwrap();
        server.cluster.restart();
        let mut standby = server.superuser(Purpose::Sql).await;
        assert!(standby.is_in_recovery().await.unwrap());
        standby.query("select pg_promote()").await.unwrap();

        let connection = server.superuser(Purpose::Replication).await;
        let mut options = from(None, begin);
        options.timeline = Some(Timeline(1));
        let mut replication = start(connection, &options).await.unwrap();
        let mut position = begin;
        let next = loop {
            match tokio::time::timeout(PATIENCE, replication.recv()).await.unwrap().unwrap() {
                Event::WalData { start, data, .. } => {
                    assert_eq!(start, position);
                    position = position.advance(data.len() as u64);
                }
                Event::Keepalive { .. } => {}
                Event::EndOfTimeline { next } => break next,
            }
        };
        assert_eq!(next, Some((Timeline(2), position)));
        let mut connection = replication.stop().await.unwrap();
        let history = connection.timeline_history(Timeline(2)).await.unwrap();
        assert_eq!(history.name, "00000002.history");
        assert!(String::from_utf8_lossy(&history.content).contains(&position.to_string()));

        // Nothing is left to stream from the fork on.
        options.start = position;
        let mut replication = start(connection, &options).await.unwrap();
        assert_eq!(replication.recv().await.unwrap(), Event::EndOfTimeline { next });
        replication.stop().await.unwrap().identify_system().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_stops_sends_all_first() {
    let server = Server::start(&Installation::oldest());
    let mut connection = server.superuser(Purpose::Replication).await;
    let begin = connection.identify_system().await.unwrap().flushed;
    let mut replication = start(connection, &from(None, begin)).await.unwrap();
    let follow = async {
        let mut position = begin;
        loop {
            match replication.recv().await {
                Ok(Event::WalData { start, data, .. }) => {
                    position = start.advance(data.len() as u64);
                    let status = Status { write: position, flush: position, apply: position };
                    replication.send_status(status, false).await.unwrap();
                }
                Ok(_) => {}
                Err(error) => return (position, error),
            }
        }
    };
    let stop = tokio::task::spawn_blocking(move || {
        server.cluster.stop();
        server
    });
    let ((position, error), _server) = tokio::join!(follow, stop);
    // A status that crosses the server's good-bye resets the connection, and with it the good-bye.
    let is_end = matches!(error, ClientError::ReplicationEnded { .. } | ClientError::Closed { .. });
    assert!(is_end, "{}", told(&error));
    assert_eq!(error.advice(), Advice::Retry);
    assert!(position > begin, "the shutdown checkpoint did not come");
}
