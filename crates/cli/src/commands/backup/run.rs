//! `lifeboat backup run`: a base backup, now.
//!
//! # Invariants
//! - One backup of a service at a time: its lease is held, and its start is in the journal before the server
//!   is asked for anything.

use crate::commands::backup::list;
use crate::failure::Next;
use crate::output::Exit;
use crate::pin::pin;
use crate::points::{self, PointView};
use crate::progress::{Progress, Reading};
use crate::settings::{self, Opened, Settings};
use crate::{catalogue, journal, plans, signals};
use anyhow::Context;
use lifeboat_base::{ByteCount, ServiceName, error_chain};
use lifeboat_plan::Postgres;
use lifeboat_postgres::backup::{self, BackupOptions, BackupProgress};
use lifeboat_postgres::client::Conninfo;
use lifeboat_vault::pins::Purpose;
use lifeboat_vault::point::RestorePoint;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a backup waits for another one's lease: enough to take over from one that died.
const PATIENCE: Duration = Duration::from_secs(15);

/// Arguments of `lifeboat backup run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service.
    service: ServiceName,
    /// How its server is reached, instead of what the plan says. Never a password.
    #[arg(long)]
    connection: Option<String>,
    /// Its data directory on this machine, instead of what the plan says.
    #[arg(long, value_name = "DIR", conflicts_with = "remote")]
    data_directory: Option<PathBuf>,
    /// Read over the connection even if the data directory is on this machine.
    #[arg(long)]
    remote: bool,
    /// The most to read in a second, instead of what the plan says: 100MiB.
    #[arg(long, value_name = "SIZE")]
    rate: Option<ByteCount>,
    /// zstd's level.
    #[arg(long, default_value_t = backup::DEFAULT_LEVEL, value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
    /// Threads that read, compress and seal.
    #[arg(long, default_value_t = backup::DEFAULT_WORKERS as u64, value_parser = clap::value_parser!(u64).range(1..=64))]
    workers: u64,
    /// Take on a server that is another cluster than the one known so far, as after an upgrade.
    #[arg(long)]
    accept_new_cluster: bool,
}

/// How a backup is taken.
#[derive(Debug, Clone)]
pub struct Source {
    /// How the server is reached.
    pub conninfo: Conninfo,
    /// Its data directory here.
    pub data_directory: Option<PathBuf>,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// zstd's level.
    pub level: i32,
    /// Threads.
    pub workers: usize,
    /// Whether another cluster than the service's so far is taken on: a person's word, never the plan's.
    pub accept_new_cluster: bool,
}

impl Source {
    /// As the plan says.
    ///
    /// # Errors
    /// If the connection cannot be used.
    pub fn of_plan(postgres: &Postgres) -> anyhow::Result<Self> {
        Ok(Self {
            conninfo: settings::conninfo(postgres, &postgres.connection)?,
            data_directory: postgres.data_directory.as_ref().map(|path| path.as_path().to_owned()),
            rate: postgres.base.rate.map(|rate| rate.0.0),
            level: backup::DEFAULT_LEVEL,
            workers: backup::DEFAULT_WORKERS,
            accept_new_cluster: false,
        })
    }
}

/// Takes it and shows it.
///
/// # Errors
/// If there is no new restore point.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let mut source = match &args.connection {
        Some(connection) => Source {
            conninfo: settings::parse_conninfo(harmless(connection)?.as_str())?,
            data_directory: None,
            rate: None,
            level: args.level,
            workers: 0,
            accept_new_cluster: false,
        },
        None => Source::of_plan(opened.postgres(&args.service)?)?,
    };
    source.level = args.level;
    source.workers = args.workers as usize;
    source.accept_new_cluster = args.accept_new_cluster;
    source.rate = args.rate.map(|rate| rate.0).or(source.rate);
    source.data_directory = args.data_directory.or(source.data_directory).filter(|_| !args.remote);
    plans::renew(settings, &opened).await;
    let point = take(settings, &opened, &args.service, source).await?;
    let view = PointView::new(&point, None);
    settings.output.result("backup.run", &view, |style| {
        let next = format!("\nProve it: lifeboat backup verify {}\n", point.id);
        list::human(&view, style) + &next
    })?;
    let Some(damage) = points::damage(&point.damaged_pages) else { return Ok(Exit::Good) };
    settings.output.warn(format!("the backup has these pages as they are. {damage}"));
    Ok(Exit::Findings)
}

/// A connection string as a plan may have it: without a password (secrets S1).
fn harmless(connection: &str) -> anyhow::Result<lifeboat_plan::Conninfo> {
    connection
        .parse::<lifeboat_plan::Conninfo>()
        .context("the connection string cannot be used")
        .next("a password comes from PGPASSWORD, from ~/.pgpass, or from the plan's passwordFile")
}

/// Takes a base backup under the service's lease, journalled.
///
/// # Errors
/// If there is no new restore point.
pub async fn take(
    settings: &Settings,
    opened: &Opened,
    service: &ServiceName,
    source: Source,
) -> anyhow::Result<RestorePoint> {
    let vault = &opened.vault_of(service);
    let mut fenced = journal::fence(vault, service, journal::BACKUP, PATIENCE).await?;
    let how = if source.data_directory.is_some() { "dataDirectory" } else { "connection" };
    let begun = serde_json::json!({ "from": how, "server": source.conninfo.without_secrets() });
    fenced.append("backup.started", begun).await.context("the backup was not begun")?;
    catalogue::capture(&settings.output, vault, service, &source.conninfo).await;
    let pinned = pin(&settings.output, vault, service, Purpose::Backup, None).await?;
    let progress = Arc::new(BackupProgress::default());
    let options = BackupOptions {
        vault: vault.clone(),
        service: service.clone(),
        conninfo: source.conninfo,
        data_directory: source.data_directory,
        rate: source.rate,
        level: source.level,
        workers: source.workers,
        accept_new_cluster: source.accept_new_cluster,
        progress: Arc::clone(&progress),
    };
    let shown = Arc::clone(&progress);
    let bar = Progress::start(&settings.output, &format!("backup of {service}"), move || Reading {
        done: shown.done_bytes.load(Ordering::Relaxed),
        total: shown.total_bytes.load(Ordering::Relaxed),
    });
    let guard = signals::on_stop(move || progress.cancelled.store(true, Ordering::Relaxed));
    let outcome = backup::run(&options).await;
    drop(guard);
    bar.finish().await;
    let ended = match &outcome {
        Ok(point) => {
            let data = serde_json::json!({
                "point": point.id, "timeline": point.timeline, "start": point.start, "stop": point.stop,
                "sizeBytes": point.size_bytes, "storedBytes": point.stored_bytes,
                "damagedPages": point.damaged_pages.len(),
            });
            fenced.append("backup.finished", data).await
        }
        Err(error) => {
            let reason = error_chain(error);
            fenced.append("backup.failed", serde_json::json!({ "reason": reason })).await
        }
    };
    pinned.release().await;
    fenced.end().await;
    let point = outcome.with_context(|| format!("there is no new restore point of {service}"))?;
    if let Err(error) = ended {
        settings.output.warn(format!("the restore point is whole, but not journalled: {error}"));
    }
    Ok(point)
}
