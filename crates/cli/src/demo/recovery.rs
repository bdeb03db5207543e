//! One recovery of the demonstration: the same calls, in the same order, as `lifeboat recover --start --promote`, and
//! as `lifeboat view finish`; where views are not possible, as `lifeboat restore`.

use super::Stage;
use super::report::Stopwatch;
use crate::commands::wal::search::describe;
use crate::helper::{self, SOCKET};
use anyhow::Context;
use lifeboat_base::ServiceName;
use lifeboat_pgformat::search::{Effect, EffectKind};
use lifeboat_postgres::fetch::{self, HelperOptions, serve_helper};
use lifeboat_postgres::restore::{self, RestoreOptions};
use lifeboat_postgres::search::{Finding, SearchRequest, search as search_wal};
use lifeboat_postgres::server::{Account, Server};
use lifeboat_postgres::target::{Target, reached, resolve};
use lifeboat_postgres::view::{self, Keep, View};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Threads that restore.
const WORKERS: usize = 2;
/// Fewer rows changed by one transaction are business as usual.
const SUSPICIOUS_ROWS: u64 = 100;

/// A recovered server, open for writing.
pub struct Recovered {
    /// The server.
    pub server: Server,
    /// What its files are shown by, until they are plain ones. It goes after the server.
    view: Option<View>,
    /// How it was recovered.
    options: RestoreOptions,
    /// Its data directory.
    pub directory: PathBuf,
    /// Where it went, in words.
    pub resolved: String,
}

/// Something that changed many rows.
pub struct Suspect {
    /// Rows.
    pub rows: u64,
    /// In words.
    pub what: String,
    /// The moment before.
    pub target: Target,
}

/// Recovers production to `target`, in a directory of this name.
pub async fn recover(
    stage: &Stage,
    target: &Target,
    name: &str,
    stopwatch: &mut Stopwatch,
) -> anyhow::Result<Recovered> {
    let resolved = resolve(&stage.vault, &stage.service, target, None).await.context("find the moment")?;
    stage.tell(format!("recovering to {resolved}"));
    let directory = stage.site.scratch.join(name);
    let options = RestoreOptions {
        vault: stage.vault.clone(),
        point: resolved.point.clone(),
        recovery: resolved.recovery(restore_command(&stage.service)?),
        into: directory.clone(),
        tablespaces: BTreeMap::new(),
        delta: false,
        owner: stage.site.account.map(Account::pair),
        workers: WORKERS,
        progress: Arc::default(),
    };
    let view = match view::is_possible() {
        Ok(()) => {
            let plan = view::plan(&options).await.context("plan the view")?;
            view::create(&options, plan).await.context("make the view")?;
            // Its vault is a directory here: nothing is told of it.
            let shown = View::show(&stage.vault, &directory, Keep::All, Arc::new(|_| ())).await;
            Some(shown.context("show the view")?)
        }
        Err(why) => {
            stage.tell(format!("no instant recovery here: {why}"));
            restore_fully(&options).await?;
            None
        }
    };
    stopwatch.lap(if view.is_some() { "shown" } else { "restored" }, stage.now());
    let _helper = Helper::start(stage, &directory).await?;
    let mut server = stage.site.start(&directory)?;
    let replayed = server.recovered(options.recovery.stop, &|_| ()).await.context("recover the server")?;
    reached(replayed, &resolved)?;
    stopwatch.lap("replayed", stage.now());
    // Q2: whoever calls has fenced the old server.
    server.promote().await.context("open the server for writing")?;
    let mut connection = server.answering().await?;
    // An answer is an answer once it has written, too.
    connection
        .query("CREATE TABLE IF NOT EXISTS recovered_by_lifeboat (at timestamptz DEFAULT now())")
        .await
        .context("write to it")?;
    stopwatch.lap("answering", stage.now());
    stage.tell("the recovered server is open for writing");
    Ok(Recovered { server, view, options, directory, resolved: resolved.to_string() })
}

async fn restore_fully(options: &RestoreOptions) -> anyhow::Result<()> {
    let plan = restore::plan(options).await.context("plan the restore")?;
    restore::apply(options, plan).await.context("restore the files")
}

impl Recovered {
    /// How long all files would have taken, which come before a server's start without a view; none if that is how
    /// it was recovered.
    pub async fn compared(&mut self, stage: &Stage) -> anyhow::Result<Option<f64>> {
        if self.view.is_none() {
            return Ok(None);
        }
        let into = stage.site.scratch.join("compared");
        let before = stage.now();
        self.options.into = into.clone();
        restore_fully(&self.options).await?;
        let took = stage.now().saturating_sub(before);
        std::fs::remove_dir_all(&into).context("remove what was only compared")?;
        Ok(Some(took.as_secs_f64()))
    }

    /// Makes its directory a plain one: filled in use, then a short restart.
    pub async fn made_plain(mut self, stage: &Stage) -> anyhow::Result<Self> {
        let Some(view) = self.view.take() else { return Ok(self) };
        view.hydrate().await.context("fetch the rest")?;
        let before = stage.now();
        self.server.stop().await.context("stop the recovered server")?;
        let finished = tokio::task::spawn_blocking(move || view.finish()).await;
        finished.context("a thread ended")?.context("make a plain directory of the view")?;
        let mut server = stage.site.start(&self.directory)?;
        server.answering().await?.close().await;
        let down = stage.now().saturating_sub(before).as_secs_f64();
        stage.tell(format!("its directory is a plain one now, after {down:.2} s in which none answered"));
        Ok(Self { server, ..self })
    }

    /// Ends its server without a word, and removes its files.
    pub async fn throw_away(self) -> anyhow::Result<()> {
        self.server.kill9();
        let Some(view) = self.view else { return Ok(()) };
        let thrown = tokio::task::spawn_blocking(move || view.throw_away()).await;
        thrown.context("a thread ended")?.context("remove the view")
    }
}

/// What the archived WAL says about who changed many rows.
pub async fn search(stage: &Stage) -> anyhow::Result<Vec<Suspect>> {
    let request = SearchRequest { min_rows: SUSPICIOUS_ROWS, ..SearchRequest::default() };
    let report =
        search_wal(&stage.vault, &stage.service, &request, &|_| ()).await.context("search the WAL")?;
    // What took rows away; a bank that grows changes many, too.
    let destroys = |effect: &Effect| effect.kind <= EffectKind::Delete;
    let suspect = |finding: Finding| {
        let rows =
            finding.suspect.what.iter().filter(|effect| destroys(effect)).filter_map(|effect| effect.rows);
        let what = describe(&finding);
        Suspect { rows: rows.sum(), what, target: finding.target }
    };
    let is_bad = |finding: &Finding| finding.suspect.what.iter().any(destroys);
    Ok(report.findings.into_iter().filter(is_bad).map(suspect).collect())
}

/// The command by which PostgreSQL asks for WAL: it finds the helper in the data directory.
fn restore_command(service: &ServiceName) -> anyhow::Result<String> {
    let program = helper::this_program()?;
    Ok(format!("'{}' wal fetch {service} %f \"%p\"", program.display()))
}

/// The resident helper, for as long as a recovery runs.
struct Helper(JoinHandle<()>);

impl Helper {
    async fn start(stage: &Stage, directory: &Path) -> anyhow::Result<Self> {
        let archive = fetch::archive(&stage.vault, &stage.service, None).await?;
        let mut options =
            HelperOptions::new(archive, directory.join(SOCKET), directory.to_owned(), stage.clock.clone());
        options.owner = stage.site.account.map(Account::pair);
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            // Should it fail, PostgreSQL finds no helper, and says so.
            let tell = move || {
                let _ = ready.send(());
            };
            let _ = serve_helper(options, tell).await;
        });
        is_ready.await.context("the helper that fetches WAL did not start")?;
        Ok(Self(task))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
