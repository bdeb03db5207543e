//! Checks of the network and messages, against servers of our own.

use crate::hands::{World, action, failed, unknown};
use lifeboat_core::run::Outcome;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types};

/// What a server was sent.
type Heard = Arc<Mutex<Vec<String>>>;

/// A web server that answers each request with the next of `answers`, the last for ever.
fn server(answers: &'static [&'static str]) -> (SocketAddr, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Heard::default();
    let hears = Arc::clone(&heard);
    std::thread::spawn(move || {
        for number in 0.. {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut request, mut length) = (String::new(), 0);
            while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request).unwrap() > 0 {
                let line = request.lines().last().unwrap_or_default().to_ascii_lowercase();
                length = line.strip_prefix("content-length: ").map_or(length, |text| text.parse().unwrap());
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            hears.lock().unwrap().push(request + &String::from_utf8_lossy(&body));
            let answer = answers.get(number).or(answers.last()).unwrap();
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, heard)
}

const WELL: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall is well";
const AWAY: &str = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nnot yet";

#[tokio::test]
async fn a_page_is_held_against_what_it_must_be() {
    let world = World::new();
    let (at, _) = server(&[WELL]);
    let check = async |with| world.act(action("http.check", with)).await;
    let told = check(json!({"url": format!("http://{at}/x"), "contains": "is well"})).await;
    assert_eq!((told.result, told.output), (Outcome::Done, format!("http://{at}/x answered 200 OK\n")));
    let told = check(json!({"url": format!("http://{at}/"), "contains": "other"})).await;
    assert_eq!(failed(&told), "it answered 200 OK, but `other` is not in what it says");
    let told = check(json!({"url": format!("http://{at}/"), "status": 404})).await;
    assert_eq!(failed(&told), "it answered 200 OK, not 404");
    let told = check(json!({"url": "http://127.0.0.1:1/", "answer": "2s"})).await;
    assert!(failed(&told).contains("refused"), "{told:?}");
}

#[tokio::test]
async fn a_page_is_asked_again_until_it_is_as_it_must_be() {
    let world = World::new();
    let (at, heard) = server(&[AWAY, AWAY, WELL]);
    let told =
        world.act(action("http.check", json!({"url": format!("http://{at}/"), "within": "20s"}))).await;
    assert_eq!((told.result, heard.lock().unwrap().len()), (Outcome::Done, 3));
}

#[tokio::test]
async fn what_another_host_says_is_no_answer() {
    let world = World::new();
    let (at, heard) = server(&["HTTP/1.1 302 Found\r\nLocation: /there\r\nConnection: close\r\n\r\n", WELL]);
    let told = world.act(action("http.check", json!({"url": format!("http://{at}/")}))).await;
    assert_eq!((told.result, heard.lock().unwrap().len()), (Outcome::Done, 2));
    let (at, _) =
        server(&["HTTP/1.1 302 Found\r\nLocation: http://localhost:1/\r\nConnection: close\r\n\r\n"]);
    let told = world.act(action("http.check", json!({"url": format!("http://{at}/")}))).await;
    assert!(failed(&told).ends_with("leading to http://localhost:1/, which is not followed"), "{told:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let world = World::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    let begun = Instant::now();
    let told = world.act(action("http.check", json!({"url": format!("http://{at}/"), "answer": "1s"}))).await;
    failed(&told);
    assert!(begun.elapsed() < Duration::from_secs(15));
    let told = world.act(action("tcp.check", json!({"address": at.to_string()}))).await;
    assert_eq!(told.result, Outcome::Done);
    let told = world.act(action("tcp.check", json!({"address": "127.0.0.1:1"}))).await;
    assert!(failed(&told).contains("cannot be reached"), "{told:?}");
}

#[tokio::test]
async fn a_certificate_must_be_trusted_now_and_for_as_long_as_it_must() {
    let world = World::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wanted = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    wanted.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let certificate = wanted.self_signed(&key).unwrap();
    let authority = world.directory.path().join("authority.pem");
    std::fs::write(&authority, certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let check = async |host: &str, more: serde_json::Value| {
        let mut with = json!({"address": format!("{host}:{port}")});
        with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.act(action("tls.check", with)).await
    };
    let trusted = json!({"authority": authority});
    let told = check("localhost", trusted.clone()).await;
    assert_eq!(told.result, Outcome::Done, "{told:?}");
    let told = check("localhost", json!({"authority": authority, "validFor": "30d"})).await;
    assert_eq!(told.result, Outcome::Done, "{told:?}");
    let told = check("localhost", json!({"authority": authority, "validFor": "36500d"})).await;
    assert!(failed(&told).contains("more only"), "{told:?}");
    let told = check("127.0.0.1", trusted).await;
    assert!(failed(&told).contains("not trusted"), "{told:?}");
    let told = check("localhost", json!({})).await;
    assert!(failed(&told).contains("not trusted"), "{told:?}");
}

#[tokio::test]
async fn a_message_is_the_same_however_often_it_is_sent_and_its_secret_address_is_not_told() {
    let (at, heard) = server(&[WELL]);
    let world = World::new().with("CHAT", &format!("http://{at}/services/T0/s3cr3t"));
    let mut step = action("notify.webhook", json!({"urlFrom": "CHAT", "body": "region a is lost"}));
    step["secrets"] = json!(["CHAT"]);
    for _ in 0..2 {
        assert_eq!(world.act(step.clone()).await.result, Outcome::Done);
    }
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard[0], heard[1]);
    assert!(
        heard[0].contains("idempotency-key: run-1/s") && heard[0].ends_with(r#"{"text":"region a is lost"}"#)
    );
    let gone = World::new().with("CHAT", "http://127.0.0.1:1/services/T0/s3cr3t");
    let told = gone.act(step).await;
    assert!(
        failed(&told).starts_with("nothing was sent") && !format!("{told:?}").contains("s3cr3t"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a2_a_message_that_may_have_been_passed_on_is_not_told_as_failed() {
    let world = World::new();
    let (at, _) = server(&[AWAY, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nno", ""]);
    let step = action("notify.webhook", json!({"url": format!("http://{at}/"), "body": {"a": 1}}));
    assert!(unknown(&world.act(step.clone()).await).contains("503"));
    assert!(failed(&world.act(step.clone()).await).contains("403"));
    assert!(unknown(&world.act(step).await).starts_with("there was no answer"));
}
