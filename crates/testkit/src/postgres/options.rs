//! How a test's cluster differs from the ordinary one.

/// What `initdb` and the server are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterOptions {
    pub(super) checksums: bool,
    pub(super) wal_segment_mib: u32,
    pub(super) initdb_arguments: Vec<String>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) wait: bool,
}

impl ClusterOptions {
    /// Data checksums, 16 MiB segments, trust for everyone on loopback and socket, replication allowed.
    ///
    /// `fsync` is off: what tests kill is the server, never the operating system. A standby looks for
    /// its primary every 200 ms instead of every 5 s.
    #[must_use]
    pub fn new() -> Self {
        let settings = [
            ("fsync", "off"),
            ("shared_buffers", "16MB"),
            ("max_connections", "50"),
            ("wal_retrieve_retry_interval", "200ms"),
        ];
        Self {
            checksums: true,
            wal_segment_mib: 16,
            initdb_arguments: Vec::new(),
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            wait: true,
        }
    }

    /// A line of `postgresql.conf`; the last one of a name counts.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The size of a WAL segment, in MiB: a power of two from 1 to 1024.
    #[must_use]
    pub fn wal_segment_mib(mut self, mib: u32) -> Self {
        self.wal_segment_mib = mib;
        self
    }

    /// A cluster without data checksums.
    #[must_use]
    pub fn without_checksums(mut self) -> Self {
        self.checksums = false;
        self
    }

    /// One more argument for `initdb`.
    #[must_use]
    pub fn initdb_argument(mut self, argument: &str) -> Self {
        self.initdb_arguments.push(argument.to_owned());
        self
    }

    /// Starts without waiting until the server answers: for servers that are meant not to.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.wait = false;
        self
    }

    /// The lines to append to `postgresql.conf`.
    pub(super) fn configuration(&self) -> String {
        self.settings.iter().map(|(name, value)| line(name, value)).collect()
    }
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A line of `postgresql.conf`, its value quoted.
pub(super) fn line(name: &str, value: &str) -> String {
    format!("{name} = '{}'\n", value.replace('\'', "''"))
}
