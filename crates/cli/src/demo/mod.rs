//! `lifeboat demo`: a bank loses its database twice and gets it back.
//!
//! Everything is real: a PostgreSQL of its own, a sealed vault, the stream, a backup, the search, two
//! recoveries through the same code as `lifeboat restore`. What the bank acknowledged is noted outside the
//! database and compared row for row.
//!
//! # Invariants
//! - **Q1 no pretence.** Exit 0 only if both recoveries kept their objectives and every comparison holds.
//! - **Q2 fence first.** The old server is stopped before the recovered one is opened for writing.
//! - **Q3 nothing is left.** Servers and files go, whether it succeeds, fails or is interrupted; `--keep` keeps
//!   the files.
//!
//! Deliberately absent: any shortcut that a real recovery does not have.

mod disasters;
mod keepsakes;
mod ledger;
mod production;
mod recovery;
mod report;

use crate::output::{Exit, Output, Style, Tone};
use crate::signals;
use anyhow::{Context, anyhow};
use ledger::Notes;
use lifeboat_base::{ByteCount, Clock, ServiceName, SystemClock};
use lifeboat_postgres::backup::{self, BackupOptions};
use lifeboat_postgres::catalogue;
use lifeboat_postgres::client::Conninfo;
use lifeboat_postgres::server::{self, Server};
use lifeboat_vault::Vault;
use production::{Site, Stream, conninfo};
use report::Report;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The service of the demonstration.
const SERVICE: &str = "bank-ledger";
/// What its plan promises.
const RTO: Duration = Duration::from_secs(60);
const RPO: Duration = Duration::from_secs(5);
/// How long the bank works before something happens.
const QUIET_TIME: Duration = Duration::from_secs(4);
/// How often somebody looks whether the ledger is whole.
const CANARY_EVERY: Duration = Duration::from_millis(100);
/// The demonstration as a whole is given up after this.
const LIMIT: Duration = Duration::from_secs(600);

/// Show a database lost twice, and brought back.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave the vault, a plan, the passphrase and the recovered directories for a look.
    #[arg(long)]
    keep: bool,
    /// Where the scratch directory is made [default: TMPDIR, else /var/tmp].
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// PostgreSQL's major version [default: the newest that is installed].
    #[arg(long, value_name = "N")]
    postgresql: Option<u32>,
}

/// What every part of the demonstration needs.
pub struct Stage {
    site: Site,
    vault: Vault,
    service: ServiceName,
    notes: Arc<Notes>,
    clock: Arc<dyn Clock>,
    started: Duration,
    output: Output,
}

/// Production, as it is now.
struct Production {
    server: Server,
    info: Conninfo,
    stream: Stream,
    data: PathBuf,
}

/// Runs the demonstration.
///
/// # Errors
/// If it could not be run; what it found is in the exit code.
pub async fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Exit> {
    let parent = arguments.directory.clone().unwrap_or_else(scratch_parent);
    // Q3: listened to until everything has gone.
    let mut stopping = signals::stopping();
    let scratch = Scratch::make(&parent, arguments.keep)?;
    let shown = show(arguments, output, &scratch);
    let report = tokio::select! {
        report = tokio::time::timeout(LIMIT, shown) => report.map_err(|_| anyhow!("it took longer than {} s", LIMIT.as_secs()))??,
        () = signals::asked(&mut stopping) => return Err(anyhow!("interrupted; nothing of it goes on")),
    };
    output.result("demo", &report, |style| report.render_end(style))?;
    Ok(if report.holds { Exit::Good } else { Exit::Findings })
}

async fn show(arguments: &Arguments, output: &Output, scratch: &Scratch) -> anyhow::Result<Report> {
    let installation = server::find(arguments.postgresql)?;
    let major = installation.major;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let started = clock.monotonic();
    let account = server::server_account().context("choose whom PostgreSQL runs as")?;
    let site = Site { scratch: scratch.path.clone(), installation, account };
    let vault = keepsakes::make_vault(&scratch.path, &clock).await?;
    let service: ServiceName = SERVICE.parse().expect("a constant");
    let notes = Arc::new(Notes::default());
    let output = output.clone();
    let stage = Stage { site, vault, service, notes, clock, started, output };
    stage.heading(&format!("A bank's ledger on PostgreSQL {major}, protected"));

    let production = stage.open_business().await?;
    stage.heading("Disaster 1: a DELETE without WHERE");
    let (first, recovered) = stage.corruption(production).await?;
    stage.output.say_styled(|style| first.render(style));

    let production = stage.reprotect(recovered).await?;
    stage.heading("Disaster 2: the machine is gone");
    let (second, recovered) = stage.host_loss(production).await?;
    stage.output.say_styled(|style| second.render(style));
    if scratch.keep {
        let recovered = recovered.made_plain(&stage).await?;
        recovered.server.stop().await.context("stop the recovered server")?;
        keepsakes::store_plan(&stage.vault, &scratch.path, &recovered.directory).await?;
    } else {
        // It has nothing left to lose.
        recovered.throw_away().await?;
    }
    let disasters = vec![first, second];
    Ok(Report {
        postgresql: major,
        holds: disasters.iter().all(|disaster| disaster.holds),
        took_seconds: stage.now().as_secs_f64(),
        kept: scratch.keep.then(|| scratch.path.display().to_string()),
        look: if scratch.keep { keepsakes::commands(&scratch.path) } else { Vec::new() },
        disasters,
    })
}

impl Stage {
    fn now(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }

    fn heading(&self, text: &str) {
        self.output.say_styled(|style| format!("\n{}", style.paint(Tone::Strong, text)));
    }

    /// A line of the timeline.
    fn tell(&self, text: impl AsRef<str>) {
        let at = self.now().as_secs_f64();
        self.output.say_styled(|style: &Style| {
            format!(
                "  {}  {}",
                style.paint(Tone::Faint, &format!("{at:6.2} s")),
                crate::output::clean(text.as_ref())
            )
        });
    }

    /// Alarms of the stream as lines of the timeline.
    fn alarms(&self) -> lifeboat_postgres::stream::EventSink {
        let output = self.output.clone();
        Arc::new(move |event| {
            if let lifeboat_postgres::stream::StreamEvent::Raised(alarm) = event {
                let text = alarm.to_string();
                let first = text.split(". ").next().unwrap_or_default();
                output.say(format!("            alarm {}: {first}", alarm.kind()));
            }
        })
    }

    /// Starts production, fills it, streams it, backs it up.
    async fn open_business(&self) -> anyhow::Result<Production> {
        let mut server = self.site.first_server()?;
        let mut connection = server.answering().await?;
        ledger::open_bank(&mut connection).await?;
        let info = conninfo(&server)?;
        self.tell("production is up: 1,000 accounts, a table of history");
        let stream = Stream::start(&self.vault, &self.service, &info, self.alarms());
        let data = self.site.scratch.join("production");
        let options = BackupOptions {
            vault: self.vault.clone(),
            service: self.service.clone(),
            conninfo: info.clone(),
            data_directory: Some(data.clone()),
            rate: None,
            level: backup::DEFAULT_LEVEL,
            workers: backup::DEFAULT_WORKERS,
            accept_new_cluster: false,
            progress: Arc::default(),
        };
        let point = backup::run(&options).await.context("back production up")?;
        catalogue::capture(&self.vault, &self.service, &info).await.context("note the tables' names")?;
        stream.caught_up(&info).await?;
        self.tell(format!(
            "base backup {}: {} stored as {}; WAL streams into the vault",
            point.id,
            ByteCount(point.size_bytes),
            ByteCount(point.stored_bytes)
        ));
        Ok(Production { server, info, stream, data })
    }
}

/// Where scratch directories go: data directories are large, and /tmp is memory on many machines.
fn scratch_parent() -> PathBuf {
    let named = std::env::var_os("TMPDIR").map(PathBuf::from);
    let usual = Some(PathBuf::from("/var/tmp")).filter(|path| path.is_dir());
    named.or(usual).unwrap_or_else(std::env::temp_dir)
}

/// The directory of one demonstration, gone when dropped (Q3).
struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    fn make(parent: &Path, keep: bool) -> anyhow::Result<Self> {
        let name = lifeboat_base::RandomId::new(&SystemClock::new()).short();
        let path = parent.join(format!("lifeboat-demo-{name}"));
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        // The servers' account must get through to its own directories.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o711))?;
        Ok(Self { path, keep })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is named by the next look at the directory.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
