//! Throw-away servers that can be reached every way a client can log in.
//!
//! Looks in the directories of Debian's packages and in those named by `LIFEBOAT_TEST_POSTGRES`: `bin`
//! directories, separated by colons. PostgreSQL refuses to run as root: then it runs as `postgres`.

use lifeboat_postgres::client::{Connection, Conninfo, Purpose};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The `bin` directories of all servers found, one a major version.
pub fn installations() -> Vec<PathBuf> {
    let named = std::env::var("LIFEBOAT_TEST_POSTGRES").unwrap_or_default();
    let mut bins: Vec<PathBuf> = named.split(':').filter(|bin| !bin.is_empty()).map(PathBuf::from).collect();
    bins.extend((15..=18).map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))));
    bins.retain(|bin| bin.join("postgres").exists());
    let version = |bin: &PathBuf| {
        let output = Command::new(bin.join("postgres")).arg("--version").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().nth(2).unwrap().split('.').next().unwrap().to_owned()
    };
    bins.sort_by_key(version);
    bins.dedup_by_key(|bin| version(bin));
    // Without a server these tests would pass without having looked at anything.
    assert!(!bins.is_empty(), "install PostgreSQL 15 to 18, or name its bin in LIFEBOAT_TEST_POSTGRES");
    bins
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A running server with its data, gone when dropped.
pub struct Server {
    bin: PathBuf,
    scratch: tempfile::TempDir,
    pub port: u16,
}

impl Server {
    /// Starts one with roles for every way to log in.
    pub async fn start(bin: &Path) -> Self {
        Self::start_with(bin, "").await
    }

    pub async fn start_with(bin: &Path, settings: &str) -> Self {
        let scratch = tempfile::Builder::new().prefix("lifeboat-client-").tempdir().unwrap();
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { bin: bin.to_owned(), scratch, port };
        server.write_certificates();
        server.own(server.scratch.path());
        let data = server.path("data");
        server.must("initdb", &["-D", &data, "-k", "-A", "trust", "-U", "postgres", "--no-sync"]);
        let directory = server.directory();
        server.append(
            "data/postgresql.conf",
            &format!(
                "listen_addresses='127.0.0.1'\nport={port}\nunix_socket_directories='{directory}'\nfsync=off\n\
                 autovacuum=off\nwal_keep_size=1GB\nssl=on\nssl_cert_file='{directory}/server.crt'\n\
                 ssl_key_file='{directory}/server.key'\nssl_ca_file='{directory}/ca.crt'\n{settings}\n"
            ),
        );
        let hba = "local all all trust\nlocal replication all trust\n\
             hostssl all scram_tls 127.0.0.1/32 scram-sha-256\nhostnossl all scram_plain 127.0.0.1/32 scram-sha-256\n\
             hostssl all cert 127.0.0.1/32 cert\nhost all,replication scram 127.0.0.1/32 scram-sha-256\n\
             host all md5 127.0.0.1/32 md5\nhost all clear 127.0.0.1/32 password\n\
             host all trust 127.0.0.1/32 trust\n";
        std::fs::write(server.path("data/pg_hba.conf"), hba).unwrap();
        server.pg_ctl(&["start"]);
        let mut connection = server.superuser(Purpose::Sql).await;
        let roles = "create role scram_tls login password 'geheim'; create role scram_plain login password 'geheim';
             create role scram login replication password 'ge''he\\im';
             create role clear login password 'geheim'; create role cert login; create role trust login;
             create role nobody login; set password_encryption = md5; create role md5 login password 'geheim'";
        connection.query(roles).await.unwrap();
        connection.close().await;
        server
    }

    /// A server's and a client's certificate from one authority, and another authority.
    fn write_certificates(&self) {
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
            let path = self.scratch.path().join(name);
            std::fs::write(&path, pem).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            if !name.starts_with("client") {
                self.own(&path);
            }
        }
    }

    fn own(&self, path: &Path) {
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(path).status().unwrap().success());
        }
    }

    pub fn directory(&self) -> String {
        self.scratch.path().to_str().unwrap().to_owned()
    }

    pub fn path(&self, name: &str) -> String {
        self.scratch.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn append(&self, name: &str, text: &str) {
        let path = self.path(name);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, before + text).unwrap();
        self.own(Path::new(&path));
    }

    /// Runs one of its programs.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let program = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).env("LC_ALL", "C").current_dir("/").output().unwrap()
    }

    #[track_caller]
    pub fn must(&self, program: &str, arguments: &[&str]) {
        let output = self.run(program, arguments);
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{program}: {text:?}");
    }

    #[track_caller]
    pub fn pg_ctl(&self, arguments: &[&str]) {
        let (data, log) = (self.path("data"), self.path("log"));
        self.must("pg_ctl", &[arguments, &["-w", "-s", "-D", &data, "-l", &log]].concat());
    }

    /// Connects over the local socket.
    pub async fn superuser(&self, purpose: Purpose) -> Connection {
        let text = format!("host={} port={} user=postgres dbname=postgres", self.directory(), self.port);
        Connection::connect(&conninfo(&text), purpose).await.unwrap()
    }

    /// A connection string for TCP, completed by `more`.
    pub fn tcp(&self, more: &str) -> Conninfo {
        conninfo(&format!("host=localhost hostaddr=127.0.0.1 port={} dbname=postgres {more}", self.port))
    }
}

pub fn conninfo(text: &str) -> Conninfo {
    Conninfo::parse(text, &|_| None).unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        if Path::new(&self.path("data/postmaster.pid")).exists() {
            self.run("pg_ctl", &["stop", "-w", "-m", "immediate", "-D", &self.path("data")]);
        }
    }
}
