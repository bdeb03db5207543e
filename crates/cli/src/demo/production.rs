//! The demonstration's own production server, and what protects it.

use anyhow::{Context, anyhow};
use lifeboat_base::ServiceName;
use lifeboat_postgres::client::{Connection, Conninfo, Purpose};
use lifeboat_postgres::server::{Account, Installation, Server, StartOptions};
use lifeboat_postgres::slot::SlotLimits;
use lifeboat_postgres::stream::{self, EventSink, Exposure, StreamOptions};
use lifeboat_vault::Vault;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The superuser of the demonstration's servers.
pub const USER: &str = "postgres";
/// The replication slot.
pub const SLOT: &str = "lifeboat_demo";
/// Between two looks at how far the vault is.
const POLL: Duration = Duration::from_millis(5);
/// How long the vault may take to have what is flushed.
const DURABLE_LIMIT: Duration = Duration::from_secs(30);

/// Where and as whom servers of the demonstration run.
#[derive(Debug, Clone)]
pub struct Site {
    /// Everything is below it.
    pub scratch: PathBuf,
    /// PostgreSQL's programs.
    pub installation: Installation,
    /// Whom servers run as, if not ourselves.
    pub account: Option<Account>,
}

impl Site {
    /// Makes a data directory and starts a server on it.
    pub fn first_server(&self) -> anyhow::Result<Server> {
        let data = self.scratch.join("production");
        self.make_directory(&data)?;
        let mut initdb = Command::new(self.installation.program("initdb"));
        initdb.arg("-D").arg(&data).args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-k"]);
        // Left out: syncing every file of an empty cluster, of which the demonstration proves nothing.
        initdb.arg("--no-sync").env("LC_ALL", "C").current_dir("/");
        if let Some(account) = self.account {
            account.apply(&mut initdb);
        }
        let output = initdb.output().context("run initdb")?;
        if !output.status.success() {
            return Err(anyhow!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        self.start(&data)
    }

    /// Starts a server on a data directory.
    pub fn start(&self, data: &Path) -> anyhow::Result<Server> {
        let options = StartOptions {
            directory: data.to_owned(),
            installation: self.installation.clone(),
            account: self.account,
            port: 5432,
            users: vec![USER.to_owned()],
        };
        Server::start(&options).with_context(|| format!("start PostgreSQL in {}", data.display()))
    }

    /// Makes a directory that the servers' account owns.
    pub fn make_directory(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::create_dir(path).with_context(|| format!("make {}", path.display()))?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
        if let Some(account) = self.account {
            chown(path, Some(account.user), Some(account.group))?;
        }
        Ok(())
    }
}

/// A server's address, as Lifeboat takes it.
pub fn conninfo(server: &Server) -> anyhow::Result<Conninfo> {
    Conninfo::parse(&server.address(), &|_| None).context("name the server's socket")
}

/// The stream from production into the vault.
pub struct Stream {
    stop: watch::Sender<bool>,
    exposure: watch::Receiver<Exposure>,
    task: JoinHandle<Result<(), stream::StreamError>>,
}

impl Stream {
    /// Starts it.
    pub fn start(vault: &Vault, service: &ServiceName, info: &Conninfo, events: EventSink) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (sender, exposure) = watch::channel(Exposure::default());
        let options = StreamOptions {
            vault: vault.clone(),
            service: service.clone(),
            conninfo: info.clone(),
            slot: SLOT.to_owned(),
            create_slot: true,
            standbys: Vec::new(),
            slot_limits: SlotLimits::default(),
            data_directory: None,
            accept_new_cluster: false,
            exposure: sender,
        };
        let task = tokio::spawn(async move { stream::run(options, stopping, events).await.map(drop) });
        Self { stop, exposure, task }
    }

    /// Waits until the vault has all that the server has flushed by now.
    pub async fn caught_up(&self, info: &Conninfo) -> anyhow::Result<()> {
        let mut connection = Connection::connect(info, Purpose::Sql).await?;
        let row = connection.query_one("SELECT pg_current_wal_flush_lsn() AS flushed").await?;
        let flushed: lifeboat_base::Lsn = row.parse("flushed")?;
        let mut waited = Duration::ZERO;
        while self.exposure.borrow().durable < flushed {
            if self.task.is_finished() {
                return Err(anyhow!("the stream into the vault has ended"));
            }
            if waited > DURABLE_LIMIT {
                return Err(anyhow!("the vault did not get the WAL up to {flushed}"));
            }
            tokio::time::sleep(POLL).await;
            waited += POLL;
        }
        Ok(())
    }

    /// Ends it; what has arrived is made durable first.
    pub async fn end(self) -> anyhow::Result<()> {
        // If nobody listens, it has ended.
        let _ = self.stop.send(true);
        self.task.await.context("the stream broke off")?.context("the stream ended")
    }
}
