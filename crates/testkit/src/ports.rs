//! Loopback ports that stay ours while a server is down between two starts.
//!
//! A port that the kernel hands out for `:0` is free to be handed out again as soon as it is closed.
//! Ours come from below the range that it hands out, and a locked file keeps other test processes
//! away until the lease is dropped.

use crate::random::random_u64;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;

/// Below Linux's ephemeral ports (32768 and up), above what machines commonly listen on.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Ports tried before giving up; far more than servers that ever run at once.
const ATTEMPTS_LIMIT: usize = 2_000;

/// A loopback port, ours until dropped.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _lock: File,
}

impl Port {
    pub(crate) fn lease() -> Self {
        let directory = directory();
        for _ in 0..ATTEMPTS_LIMIT {
            let width = u64::from(PORTS.end - PORTS.start);
            let offset = u16::try_from(random_u64() % width).expect("less than the width of the range");
            let number = PORTS.start + offset;
            let path = directory.join(number.to_string());
            let lock =
                File::options().create(true).append(true).open(&path).expect("make a port's lock file");
            let ours = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if ours && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free loopback port in {PORTS:?} after {ATTEMPTS_LIMIT} attempts");
    }
}

/// One directory a user: another user's lock files could not be opened.
fn directory() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    let directory = std::env::temp_dir().join(format!("lifeboat-test-ports-{user}"));
    std::fs::create_dir_all(&directory).expect("make the directory of port locks");
    directory
}
