//! An S3 server of the test's own: moto, in a process of its own, everything in memory.
//!
//! It comes from the Python environment that `scripts/setup` makes. It keeps no promise about
//! durability; what it is for is S3's protocol: signatures, conditional writes, multipart, listing.
//!
//! # Invariants
//! - The server ends with the test's process however that ends: it exits when its standard input does.
//! - Each test has a bucket of its own, so that one server serves all tests of a process.

use crate::ports::Port;
use crate::random::random_name;
use crate::wait::wait_for;
use crate::workspace;
use object_store::ObjectStore;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// To load Python and its libraries, on a machine busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);
/// For one answer of the server.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The one that moto takes for its own when none is named.
const REGION: &str = "us-east-1";
/// Its server checks no signature, only that there is one.
const ACCESS_KEY: &str = "lifeboat-test";
const SECRET_KEY: &str = "lifeboat-test-secret";

/// Serves until standard input closes, which it does when the test's process ends.
const SCRIPT: &str = "
import os, sys, threading

def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)

threading.Thread(target=end_with_parent, daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";

/// A running S3 server.
#[derive(Debug)]
pub struct S3Server {
    process: Child,
    port: Port,
}

impl S3Server {
    /// The one server of this process, started by whoever asks first. It takes a second or two.
    ///
    /// # Panics
    /// When `scripts/setup` has not been run, or the server does not start; with what it printed.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<S3Server> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server that nobody else uses: for tests that stop it.
    ///
    /// # Panics
    /// As [`S3Server::shared`].
    #[must_use]
    pub fn start() -> Self {
        let python = workspace::root().join("target/venv/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/setup", python.display());
        let port = Port::lease();
        let mut log = tempfile::tempfile().expect("make a file for the log of the S3 server");
        let process = Command::new(python)
            .args(["-c", SCRIPT, &port.number.to_string()])
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("open the log twice"))
            .stderr(log.try_clone().expect("open the log twice"))
            .spawn()
            .expect("start the S3 server");
        let mut server = Self { process, port };
        let ready = wait_for(PATIENCE, || {
            let ended = server.process.try_wait().expect("look at our own child");
            assert!(ended.is_none(), "the S3 server ended instead of starting:\n{}", read_all(&mut log));
            server.request("GET", "/moto-api/").filter(|answer| is_success(answer))
        });
        assert!(ready.is_some(), "the S3 server does not answer:\n{}", read_all(&mut log));
        server
    }

    /// A new, empty bucket with a name of its own.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn bucket(&self) -> S3Bucket {
        let name = format!("lifeboat-{}", random_name());
        let answer = self.request("PUT", &format!("/{name}"));
        assert!(answer.as_deref().is_some_and(is_success), "make bucket {name}: {answer:?}");
        S3Bucket { name, endpoint: self.endpoint() }
    }

    /// The server's address, without any bucket.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number)
    }

    /// Its answer, head and body, or none when it is not there.
    fn request(&self, method: &str, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port.number)).ok()?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
        let host = format!("127.0.0.1:{}", self.port.number);
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n");
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It may be dead already; it holds nothing of worth.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_success(answer: &str) -> bool {
    answer.split_whitespace().nth(1) == Some("200")
}

fn read_all(log: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = log.rewind().and_then(|()| log.read_to_end(&mut bytes));
    read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&bytes).into_owned())
}

/// A bucket on a test's S3 server.
#[derive(Debug, Clone)]
pub struct S3Bucket {
    /// Its name.
    pub name: String,
    /// The server's address.
    pub endpoint: String,
}

impl S3Bucket {
    /// Its address as a vault's copy has it: `s3://` and the name.
    #[must_use]
    pub fn url(&self) -> String {
        format!("s3://{}", self.name)
    }

    /// What to set in the environment of a program, for it to reach the bucket by its URL.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let fixed = [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        fixed.map(|(name, value)| (name, value.to_owned())).to_vec()
    }

    /// A builder that has all that is needed, for tests that change something about it.
    #[must_use]
    pub fn builder(&self) -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_bucket_name(&self.name)
            .with_endpoint(&self.endpoint)
            .with_region(REGION)
            .with_access_key_id(ACCESS_KEY)
            .with_secret_access_key(SECRET_KEY)
            .with_allow_http(true)
    }

    /// The bucket as a store.
    ///
    /// # Panics
    /// When `object_store` refuses its own builder.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        let store: AmazonS3 = self.builder().build().expect("everything an S3 store needs is given");
        Arc::new(store)
    }
}
