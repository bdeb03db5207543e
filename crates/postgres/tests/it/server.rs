//! The test kit's servers, made so that they can be reached every way a client can log in.

use lifeboat_postgres::client::{Connection, Conninfo, Purpose};
use lifeboat_testkit::postgres::{
    Cluster, ClusterOptions, Installation, give_to_server_user, scratch_directory,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A line for each way in.
const HBA: &str = "local all all trust\nlocal replication all trust\n\
    hostssl all scram_tls 127.0.0.1/32 scram-sha-256\nhostnossl all scram_plain 127.0.0.1/32 scram-sha-256\n\
    hostssl all cert 127.0.0.1/32 cert\nhost all,replication scram 127.0.0.1/32 scram-sha-256\n\
    host all md5 127.0.0.1/32 md5\nhost all clear 127.0.0.1/32 password\nhost all trust 127.0.0.1/32 trust\n";
const ROLES: &str = "create role scram_tls login password 'geheim'; \
    create role scram_plain login password 'geheim'; \
    create role scram login replication password 'ge''he\\im'; \
    create role clear login password 'geheim'; create role cert login; create role trust login; \
    create role nobody login; set password_encryption = md5; create role md5 login password 'geheim'";

/// Whether its servers can encrypt: not all that are found were built with OpenSSL.
pub fn has_tls(installation: &Installation) -> bool {
    let output = installation.command("postgres").arg("--describe-config").output().unwrap();
    let settings = String::from_utf8(output.stdout).unwrap();
    let ciphers = settings.lines().find(|line| line.starts_with("ssl_ciphers\t"));
    !ciphers.expect("every server has this setting").contains("\tnone\t")
}

/// A running server, and certificates.
pub struct Server {
    pub cluster: Cluster,
    certificates: tempfile::TempDir,
}

impl Server {
    /// Starts one with roles for every way to log in, encrypted if it can be.
    pub fn start(installation: &Installation) -> Self {
        Self::start_with(installation, &[])
    }

    pub fn start_with(installation: &Installation, settings: &[(&str, &str)]) -> Self {
        let certificates = scratch_directory();
        write_certificates(certificates.path());
        let file = |name: &str| certificates.path().join(name).display().to_string();
        let mut options = ClusterOptions::new().set("autovacuum", "off").set("wal_keep_size", "1GB");
        let has_tls = has_tls(installation);
        if has_tls {
            options = options
                .set("ssl", "on")
                .set("ssl_cert_file", &file("server.crt"))
                .set("ssl_key_file", &file("server.key"))
                .set("ssl_ca_file", &file("ca.crt"));
        }
        for (name, value) in settings {
            options = options.set(name, value);
        }
        let cluster = Cluster::start(installation, &options);
        cluster.psql(ROLES);
        // A server that cannot encrypt does not start with lines that speak of it.
        let lines = HBA.split_inclusive('\n').filter(|line| has_tls || !line.starts_with("hostssl"));
        std::fs::write(cluster.data_directory().join("pg_hba.conf"), lines.collect::<String>()).unwrap();
        cluster.restart();
        Self { cluster, certificates }
    }

    /// One of the certificates and keys, or a file beside them.
    pub fn path(&self, name: &str) -> String {
        self.certificates.path().join(name).display().to_string()
    }

    /// Connects over the local socket.
    pub async fn superuser(&self, purpose: Purpose) -> Connection {
        Connection::connect(&conninfo(&self.cluster.socket_conninfo()), purpose).await.unwrap()
    }

    /// A connection string for TCP, completed by `more`.
    pub fn tcp(&self, more: &str) -> Conninfo {
        let port = self.cluster.port();
        conninfo(&format!("host=localhost hostaddr=127.0.0.1 port={port} dbname=postgres {more}"))
    }

    /// A connection string for the local socket, completed by `more`.
    pub fn local(&self, more: &str) -> Conninfo {
        let (directory, port) = (self.cluster.scratch().display(), self.cluster.port());
        conninfo(&format!("host={directory} port={port} {more}"))
    }
}

pub fn conninfo(text: &str) -> Conninfo {
    Conninfo::parse(text, &|_| None).unwrap()
}

/// A server's and a client's certificate from one authority, and another authority.
fn write_certificates(directory: &Path) {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let signed = |issuer: &CertifiedIssuer<'_, KeyPair>, name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
    };
    let ca = authority("test authority");
    let (server_certificate, server_key) = signed(&ca, "localhost");
    let (client_certificate, client_key) = signed(&ca, "cert");
    // As `openssl req -x509` makes them: its own authority.
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let files = [
        ("ca.crt", ca.pem()),
        ("other.crt", authority("another authority").pem()),
        ("server.crt", server_certificate),
        ("server.key", server_key),
        ("client.crt", client_certificate),
        ("client.key", client_key),
        ("self.crt", own.pem()),
        ("self.key", own.key().serialize_pem()),
    ];
    for (name, pem) in files {
        let path = directory.join(name);
        std::fs::write(&path, pem).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if name.starts_with("server") || name.starts_with("self") || name == "ca.crt" {
            give_to_server_user(&path);
        }
    }
}
