//! Every way to log in, and every way not to.

use super::told;
use crate::server::{Server, conninfo, has_tls};
use lifeboat_postgres::client::{Advice, ClientError, Connection, Conninfo, Purpose, Refusal};
use lifeboat_testkit::postgres::Installation;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Logs in and returns whether the session is encrypted.
#[track_caller]
fn check_ok(info: &Conninfo, encrypted: bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let mut connection = match Connection::connect(info, Purpose::Sql).await {
            Ok(connection) => connection,
            Err(error) => panic!("{caller}: {}", told(&error)),
        };
        let sql = "select ssl, current_user from pg_stat_ssl where pid = pg_backend_pid()";
        let row = connection.query_one(sql).await.unwrap();
        assert_eq!(row.text("ssl").unwrap() == "t", encrypted, "{caller}");
        assert_eq!(row.text("current_user").unwrap(), info.user(), "{caller}");
        assert_eq!(connection.is_encrypted(), encrypted, "{caller}");
        connection.close().await;
    }
}

/// Fails to log in, with this in the message.
#[track_caller]
fn check_refused(info: &Conninfo, advice: Advice, expected: &str) -> impl Future<Output = ClientError> {
    let caller = std::panic::Location::caller();
    async move {
        let Err(error) = Connection::connect(info, Purpose::Sql).await else { panic!("{caller}: let in") };
        let text = told(&error);
        assert!(text.contains(expected), "{caller}: {text}");
        assert_eq!(error.advice(), advice, "{caller}: {text}");
        assert!(!format!("{text} {error:?}").contains("geheim"), "{caller}: {text}");
        error
    }
}

#[tokio::test]
async fn passwords() {
    let installations: Vec<_> = Installation::all().into_iter().filter(has_tls).collect();
    assert!(!installations.is_empty(), "no server here was built with OpenSSL");
    for installation in installations {
        let server = Server::start(&installation);
        let scram = r"user=scram password='ge\'he\\im'";
        check_ok(&server.tcp(scram), true).await;
        check_ok(&server.tcp(&format!("{scram} sslmode=disable")), false).await;
        check_ok(&server.tcp(&format!("{scram} sslmode=disable channel_binding=disable")), false).await;
        // Succeeds only if the login was bound to the TLS session.
        check_ok(&server.tcp(&format!("{scram} channel_binding=require")), true).await;
        check_ok(&server.tcp(&format!("{scram} channel_binding=disable")), true).await;
        check_ok(&server.tcp("user=md5 password=geheim sslmode=disable"), false).await;
        check_ok(&server.tcp("user=clear password=geheim sslmode=require"), true).await;
        check_ok(&server.tcp("user=trust"), true).await;

        let fix = Advice::FixConfiguration;
        for user in ["scram", "md5", "clear"] {
            let info = server.tcp(&format!("user={user} password=geheim-wrong"));
            let error =
                check_refused(&info, fix, &format!("refused user `{user}`: the password is wrong")).await;
            assert!(matches!(error.refusal(), Some(Refusal::WrongPassword { .. })));
        }
        check_refused(&server.tcp("user=scram"), fix, "asks for the password of `scram` and none is at hand")
            .await;
        check_refused(&server.tcp("user=trust channel_binding=require"), fix, "channel_binding=require")
            .await;
        check_refused(
            &server.tcp("user=md5 password=geheim channel_binding=require"),
            fix,
            "channel_binding",
        )
        .await;
        let no_tls = server.tcp(&format!("{scram} sslmode=disable channel_binding=require"));
        check_refused(&no_tls, fix, "channel_binding=require").await;
        check_refused(&server.tcp("user=trust dbname=none"), fix, "there is no database `none`").await;
    }
}

#[tokio::test]
async fn the_password_file() {
    let server = Server::start(&Installation::oldest());
    let path = server.path("pass");
    std::fs::write(&path, format!("localhost:{}:postgres:md5:geheim\n", server.cluster.port())).unwrap();
    let info = server.tcp(&format!("user=md5 passfile={path}"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    check_refused(&info, Advice::FixConfiguration, "run: chmod 0600").await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    check_ok(&info, true).await;
}

#[tokio::test]
async fn pg_hba_lines_are_told() {
    let server = Server::start(&Installation::oldest());
    let fix = Advice::FixConfiguration;
    let nobody = server.tcp("user=nobody sslmode=disable");
    check_refused(&nobody, fix, "host postgres nobody 127.0.0.1/32 scram-sha-256").await;
    let error = Connection::connect(&server.tcp("user=trust"), Purpose::Replication).await.unwrap_err();
    assert!(
        told(&error).contains("hostssl replication trust 127.0.0.1/32 scram-sha-256"),
        "{}",
        told(&error)
    );

    let local = server.local("user=trust");
    let error = Connection::connect(&local, Purpose::Replication).await.unwrap_err();
    assert!(told(&error).contains("alter role \"trust\" replication"), "{}", told(&error));
    let none = server.local("user=none");
    check_refused(&none, fix, "check that the role exists").await;
}

#[tokio::test]
async fn tls_as_sslmode_asks() {
    let server = Server::start(&Installation::oldest());
    let roots = format!("sslrootcert={}", server.path("ca.crt"));
    let other = format!("sslrootcert={}", server.path("other.crt"));
    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        check_ok(&server.tcp(&format!("user=trust sslmode={mode} {roots}")), true).await;
    }
    for mode in ["disable", "allow"] {
        check_ok(&server.tcp(&format!("user=trust sslmode={mode}")), false).await;
    }
    // What is not checked is not refused, and `require` checks where there is something to check with.
    check_ok(&server.tcp(&format!("user=trust sslmode=prefer {other}")), true).await;
    let fix = Advice::FixConfiguration;
    for mode in ["require", "verify-ca", "verify-full"] {
        check_refused(&server.tcp(&format!("user=trust sslmode={mode} {other}")), fix, "no TLS session")
            .await;
    }
    // The certificate names localhost, not the address.
    let by_address = |mode: &str| {
        let port = server.cluster.port();
        conninfo(&format!("host=127.0.0.1 port={port} dbname=postgres user=trust sslmode={mode} {roots}"))
    };
    check_ok(&by_address("verify-ca"), true).await;
    check_refused(&by_address("verify-full"), fix, "subjectAltName").await;
    check_refused(&server.tcp("user=trust sslmode=verify-ca"), fix, "sslrootcert=").await;

    // Servers that let a role in only with, or only without, encryption.
    check_ok(&server.tcp("user=scram_tls password=geheim sslmode=allow"), true).await;
    check_ok(&server.tcp("user=scram_plain password=geheim sslmode=prefer"), false).await;
    check_refused(&server.tcp("user=scram_plain password=geheim sslmode=require"), fix, "hostssl postgres")
        .await;

    let pair = format!("sslcert={} sslkey={}", server.path("client.crt"), server.path("client.key"));
    check_ok(&server.tcp(&format!("user=cert sslmode=require {pair}")), true).await;
    check_refused(&server.tcp("user=cert sslmode=require"), fix, "refused user `cert`").await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_when_named() {
    let server = Server::start(&Installation::oldest());
    server.cluster.set("ssl_cert_file", &server.path("self.crt"));
    server.cluster.set("ssl_key_file", &server.path("self.key"));
    server.cluster.restart();
    let roots = format!("sslrootcert={}", server.path("self.crt"));
    check_ok(&server.tcp(&format!("user=trust sslmode=verify-full {roots}")), true).await;
    let other = format!("sslrootcert={}", server.path("ca.crt"));
    let info = server.tcp(&format!("user=trust sslmode=verify-full {other}"));
    check_refused(&info, Advice::FixConfiguration, "no TLS session").await;
}

#[tokio::test]
async fn a_server_without_tls() {
    let server = Server::start_with(&Installation::oldest(), &[("ssl", "off")]);
    check_ok(&server.tcp("user=trust sslmode=prefer"), false).await;
    let info = server.tcp("user=trust sslmode=require");
    check_refused(&info, Advice::FixConfiguration, "does not offer TLS, which sslmode=require insists on")
        .await;
}

#[tokio::test]
async fn several_hosts_are_tried_in_order() {
    let server = Server::start(&Installation::oldest());
    let info = |more: &str| {
        conninfo(&format!("host=127.0.0.1,localhost port=1,{} dbname=postgres {more}", server.cluster.port()))
    };
    check_ok(&info("user=trust target_session_attrs=primary"), true).await;
    check_ok(&info("user=trust target_session_attrs=read-write"), true).await;
    check_ok(&info("user=trust target_session_attrs=prefer-standby"), true).await;
    let error =
        check_refused(&info("user=trust target_session_attrs=standby"), Advice::Retry, "standby").await;
    assert!(matches!(error, ClientError::AllFailed { .. }));
    let error =
        Connection::connect(&conninfo("user=x host=no-such-host.invalid"), Purpose::Sql).await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownHost { .. }), "{}", told(&error));
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_not_waited_for() {
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = mute.local_addr().unwrap().port();
    let info = conninfo(&format!("user=x host=127.0.0.1 port={port} connect_timeout=1"));
    let started = tokio::time::Instant::now();
    let error = Connection::connect(&info, Purpose::Sql).await.unwrap_err();
    assert!(matches!(error, ClientError::ConnectTimeout { .. }), "{}", told(&error));
    assert!(started.elapsed() < Duration::from_secs(5));
}
