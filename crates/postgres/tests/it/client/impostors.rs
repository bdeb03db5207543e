//! Servers that go silent, lie or talk nonsense, played by a few bytes: a real one does not on demand.

use super::told;
use crate::server::conninfo;
use lifeboat_base::{Lsn, SystemClock};
use lifeboat_postgres::client::{ClientError, Connection, Event, Purpose, StartReplication};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LOGIN_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
const COPY_BOTH: &[u8] = b"W\0\0\0\x07\0\0\0";

/// Reads one message.
async fn read(stream: &mut TcpStream) -> Vec<u8> {
    stream.read_u8().await.unwrap();
    let length = stream.read_u32().await.unwrap() as usize - 4;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    body
}

/// The connection of our own client, its first message read. Somebody else's client may still be looking for a server
/// that had this port before.
async fn own_client(listener: &TcpListener) -> TcpStream {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut first = [0; 512];
        let read = stream.read(&mut first).await.unwrap_or(0);
        if first[..read].windows(7).any(|bytes| bytes == b"user\0x\0") {
            return stream;
        }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let mut stream = own_client(listener).await;
    stream.write_all(LOGIN_OK).await.unwrap();
    read(&mut stream).await;
    stream.write_all(COPY_BOTH).await.unwrap();
    stream
}

async fn begin(port: u16) -> lifeboat_postgres::client::Replication {
    let info = conninfo(&format!("user=x host=127.0.0.1 port={port} sslmode=disable"));
    let connection = Connection::connect(&info, Purpose::Replication).await.unwrap();
    let start = StartReplication {
        slot: None,
        start: Lsn(0),
        timeline: None,
        silence_limit: Duration::from_millis(400),
    };
    connection.start_replication(&start, Arc::new(SystemClock::new())).await.unwrap()
}

#[tokio::test]
async fn p3_a_silent_server_is_asked_then_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async {
        let mut stream = accept(&listener).await;
        let status = read(&mut stream).await;
        assert_eq!((status[0], status[33]), (b'r', 1), "not asked for a sign of life");
        // P2: nothing was claimed.
        assert_eq!(status[1..25], [0; 24]);
        // One answer, then silence for good.
        let mut keepalive = vec![b'd', 0, 0, 0, 22, b'k'];
        keepalive.extend([0; 17]);
        stream.write_all(&keepalive).await.unwrap();
        read(&mut stream).await;
        stream
    };
    let client = async {
        let mut replication = begin(port).await;
        assert!(matches!(replication.recv().await.unwrap(), Event::Keepalive { reply_requested: false, .. }));
        replication.recv().await.unwrap_err()
    };
    let (_stream, error) = tokio::join!(server, client);
    assert!(matches!(error, ClientError::Silent { .. }), "{}", told(&error));
}

#[tokio::test]
async fn p3_recv_that_is_dropped_often_still_sees_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = accept(&listener);
    let client = async {
        let mut replication = begin(port).await;
        loop {
            if let Ok(outcome) = tokio::time::timeout(Duration::from_millis(20), replication.recv()).await {
                return outcome.unwrap_err();
            }
        }
    };
    let (_stream, error) =
        tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(server, client) }).await.unwrap();
    assert!(matches!(error, ClientError::Silent { .. }), "{}", told(&error));
}

#[tokio::test]
async fn a_server_that_speaks_nonsense_is_named() {
    for nonsense in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"R\0\0\0\x03", b"R\x7f\xff\xff\xff", b"Z", b""]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let mut stream = own_client(&listener).await;
            stream.write_all(nonsense).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let info = conninfo(&format!("user=x host=127.0.0.1 port={port} sslmode=disable"));
        let (error, ()) = tokio::join!(Connection::connect(&info, Purpose::Sql), server);
        let error = error.unwrap_err();
        assert!(
            matches!(error, ClientError::Protocol { .. } | ClientError::Closed { .. }),
            "{nonsense:?}: {}",
            told(&error)
        );
    }
}

/// Plays the server's side of SCRAM up to the client's proof, then sends `end`.
async fn impostor(listener: &TcpListener, end: &[u8]) {
    let mut stream = own_client(listener).await;
    let message = |kind: u32, body: &[u8]| {
        let length = (body.len() as u32 + 8).to_be_bytes();
        [b"R", &length[..], &kind.to_be_bytes()[..], body].concat()
    };
    stream.write_all(&message(10, b"SCRAM-SHA-256\0\0")).await.unwrap();
    let first = String::from_utf8_lossy(&read(&mut stream).await).into_owned();
    let nonce = first.split("r=").nth(1).unwrap();
    let answer = format!("r={nonce}more,s=c2FsdA==,i=4096");
    stream.write_all(&message(11, answer.as_bytes())).await.unwrap();
    read(&mut stream).await;
    stream.write_all(end).await.unwrap();
    // The client may have left already, which is what it should do.
    let _ = stream.read_u8().await;
}

#[tokio::test]
async fn an_impostor_that_does_not_know_the_password_is_refused() {
    let wrong_proof = b"R\0\0\0\x36\0\0\0\x0cv=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for end in [LOGIN_OK, &[&wrong_proof[..], LOGIN_OK].concat()] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let info = conninfo(&format!("user=x password=y host=127.0.0.1 port={port} sslmode=disable"));
        let client = async { Connection::connect(&info, Purpose::Sql).await.unwrap_err() };
        let (error, ()) = tokio::join!(client, impostor(&listener, end));
        assert!(matches!(error, ClientError::ServerNotProven { .. }), "{}", told(&error));
    }
}
