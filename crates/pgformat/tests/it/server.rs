//! The test kit's servers, as these tests want them.

use lifeboat_pgformat::MajorVersion;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};

/// Whose WAL says the same each time: nothing happens in the background, and all of it stays.
pub fn options() -> ClusterOptions {
    ClusterOptions::new()
        .set("autovacuum", "off")
        .set("max_prepared_transactions", "5")
        .set("wal_keep_size", "1GB")
        .set("timezone", "UTC")
        .set("log_timezone", "UTC")
}

pub fn version(installation: &Installation) -> MajorVersion {
    MajorVersion::from_server_version_num(installation.major * 10_000).unwrap()
}

pub fn read(cluster: &Cluster, path: &str) -> Vec<u8> {
    std::fs::read(cluster.data_directory().join(path)).unwrap()
}
