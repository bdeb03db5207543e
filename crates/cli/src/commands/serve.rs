//! `lifeboat serve`: streams, backs up and prunes what the plan protects, and carries on runs that nobody carries,
//! until stopped.
//!
//! # Invariants
//! - **One acts.** Any number of these may run, on any machines: the engine's lease decides who acts.
//!
//! Deliberately absent: when a job is due, and what happens when it fails; that is the engine's and `core`'s.

use crate::commands::advance::NoCheckpoint;
use crate::commands::run::attend_beside;
use crate::commands::{self, backup, stream};
use crate::journal::actor;
use crate::output::{Exit, Tone};
use crate::points::{self, State};
use crate::settings::{Opened, Settings};
use crate::{plans, show, signals};
use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use lifeboat_base::{ByteCount, Lsn, ServiceName, format_duration};
use lifeboat_core::port::{Trouble, Work};
use lifeboat_core::schedule::{Job, ServiceSchedule};
use lifeboat_engine::serve::{Done, Protection, ServeEvent, ServeOptions, ServedService, serve};
use lifeboat_postgres::stream::Exposure;
use lifeboat_postgres::target::Target;
use lifeboat_postgres::verify::Outcome;
use lifeboat_vault::point;
use serde::Serialize;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// From the tombstone to the deleting, for what `serve` prunes.
const GRACE: Duration = Duration::from_secs(3600);

/// Arguments of `lifeboat serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// These services alone [default: each that the plan protects].
    services: Vec<ServiceName>,
    /// Recover each new restore point here, to prove it, and advance here [default for that: the temporary
    /// directory]: it needs room for what replay writes, and for the whole database on a machine without FUSE.
    ///
    /// Without it restore points stay unproven until `lifeboat backup verify`.
    #[arg(long, value_name = "DIR")]
    verify_in: Option<PathBuf>,
}

/// One event, for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventView {
    time: Timestamp,
    service: ServiceName,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<Job>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Serves until asked to stop.
///
/// # Errors
/// If there is nothing to serve, or the vault does not open.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let services = served(&opened, &args)?;
    let _renewing = plans::renew_beside(settings, &opened);
    for finding in lifeboat_plan::load(&opened.required_plan()?.text).iter().flat_map(|plan| &plan.warnings) {
        if finding.code == lifeboat_plan::Code::NotYet {
            settings.output.warn(format!("{}: {}", finding.path, finding.message));
        }
    }
    if args.verify_in.is_none() {
        settings.output.say("Restore points are not verified: name a directory for it with --verify-in.");
    }
    let stop = signals::stopping();
    let runs = attend_beside(settings, &opened.vault, signals::stopping());
    let teller = settings.clone();
    let verify_in = args.verify_in;
    let protection = PlanProtection {
        settings: settings.clone(),
        opened: opened.clone(),
        verify_in,
        growth: Growth::default(),
    };
    serve(
        ServeOptions {
            vault: opened.vault,
            actor: actor(),
            services,
            protection: Arc::new(protection),
            observer: Arc::new(move |service, event| tell(&teller, service, &event)),
        },
        stop,
    )
    .await;
    // A step that is under way is waited for.
    runs.await.context("carrying runs on broke off")?;
    Ok(Exit::Good)
}

/// What of the plan is served.
fn served(opened: &Opened, args: &Args) -> anyhow::Result<Vec<ServedService>> {
    let wanted = &args.services;
    for service in wanted {
        opened.postgres(service)?;
    }
    let plan = &opened.required_plan()?.plan;
    let is_wanted = |name: &ServiceName| wanted.is_empty() || wanted.contains(name);
    let services = plan.services.iter().filter(|service| is_wanted(&service.name));
    let served: Vec<ServedService> = services
        .filter_map(|service| {
            let postgres = service.postgres.as_ref()?;
            Some(ServedService {
                name: service.name.clone(),
                schedule: ServiceSchedule::new(postgres, args.verify_in.is_some()),
                streams: postgres.stream.enabled,
            })
        })
        .collect();
    if served.is_empty() && plan.runbooks.is_empty() {
        bail!(
            "the plan protects no PostgreSQL cluster: no service of it has `postgres`, and it has no runbooks"
        );
    }
    Ok(served)
}

/// Does what the engine asks, as the plan says.
struct PlanProtection {
    settings: Settings,
    opened: Opened,
    verify_in: Option<PathBuf>,
    growth: Growth,
}

impl Protection for PlanProtection {
    fn stream(&self, service: &ServiceName, stop: watch::Receiver<bool>) -> Work<()> {
        let (settings, opened, service) = (self.settings.clone(), self.opened.clone(), service.clone());
        let growth = self.growth.clone();
        Box::pin(async move {
            let streamed = async {
                let (exposure, gauge) = watch::channel(Exposure::default());
                growth.follow(&service, gauge.clone());
                let options = stream::options(&opened, &service, opened.postgres(&service)?, exposure)?;
                // Beside it: whoever takes over must not wait for the lease of a stream that was killed.
                let asked = (settings.clone(), opened.vault.clone(), service.clone());
                let lease =
                    tokio::spawn(async move { stream::take_lease(&asked.0, &asked.1, &asked.2).await });
                let outcome = stream::follow(&settings, options, gauge, stop).await;
                if !lease.is_finished() {
                    lease.abort();
                } else if let Ok(Ok(Some(lease))) = lease.await {
                    lease.release(&settings).await;
                }
                outcome
            };
            streamed.await.map_err(Trouble::from)
        })
    }

    fn grown(&self, service: &ServiceName) -> Option<u64> {
        self.growth.of(service)
    }

    fn run(&self, service: &ServiceName, job: Job) -> Work<Done> {
        let (settings, opened, service) = (self.settings.clone(), self.opened.clone(), service.clone());
        let (verify_in, growth) = (self.verify_in.clone(), self.growth.clone());
        Box::pin(async move {
            let done = match job {
                Job::BaseBackup => back_up(&settings, &opened, &service, &growth).await,
                Job::Advance => advance(&settings, &opened, &service, verify_in, &growth).await,
                Job::Prune => prune(&opened, &service).await.map(Done::from),
                Job::Verify => verify(&settings, &opened, &service, verify_in).await.map(Done::from),
            };
            done.map_err(Trouble::from)
        })
    }
}

/// Takes a base backup. Damage on production is told page by page, and is never green.
async fn back_up(
    settings: &Settings,
    opened: &Opened,
    service: &ServiceName,
    growth: &Growth,
) -> anyhow::Result<Done> {
    let source = backup::run::Source::of_plan(opened.postgres(service)?)?;
    let point = backup::run::take(settings, opened, service, source).await?;
    growth.reached(service, point.stop);
    let (size, stored) = (ByteCount(point.size_bytes), ByteCount(point.stored_bytes));
    let summary = format!("restore point {}: {size} stored as {stored}", point.id);
    let Some(damage) = points::damage(&point.damaged_pages) else { return Ok(summary.into()) };
    for page in point.damaged_pages.iter().take(points::PAGES_TOLD) {
        let view = EventView {
            time: settings.clock.now(),
            service: service.clone(),
            event: if page.suspect { "suspectPage" } else { "damagedPage" },
            job: Some(Job::BaseBackup),
            detail: Some(page.to_string()),
        };
        print(settings, &view, Tone::Bad);
    }
    Ok(Done { summary: format!("{summary}; {damage}"), doubtful: true })
}

/// Recovers the newest restore point forward, and proves the new one.
async fn advance(
    settings: &Settings,
    opened: &Opened,
    service: &ServiceName,
    scratch: Option<PathBuf>,
    growth: &Growth,
) -> anyhow::Result<Done> {
    let scratch = scratch.unwrap_or_else(std::env::temp_dir);
    let so_far = growth.durable(service);
    let made = commands::advance::advance(settings, opened, service, &Target::Latest, None, &scratch).await?;
    let advanced = match made {
        Ok(advanced) => advanced,
        Err(NoCheckpoint { from }) => {
            growth.reached(service, so_far.unwrap_or_default());
            return Ok(format!("production has made no checkpoint since restore point {from}").into());
        }
    };
    growth.reached(service, advanced.point.stop);
    let verified = backup::verify::verify(settings, opened, &advanced.point, &scratch, false).await?;
    let summary = format!("{}; {}", advanced.summary(), verified.detail());
    match verified.outcome {
        Outcome::Passed => Ok(summary.into()),
        Outcome::Doubtful => Ok(Done { summary, doubtful: true }),
        Outcome::Failed => {
            bail!("restore point {} FAILED its verification: {}", advanced.point.id, verified.detail())
        }
    }
}

/// How much WAL came since the newest restore point was made here: a gauge, which nobody writes down.
#[derive(Debug, Clone, Default)]
struct Growth(Arc<Mutex<HashMap<ServiceName, Grown>>>);

#[derive(Debug, Default)]
struct Grown {
    exposure: Option<watch::Receiver<Exposure>>,
    reached: Option<Lsn>,
}

impl Growth {
    fn with<T>(&self, service: &ServiceName, what: impl FnOnce(&mut Grown) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        what(all.entry(service.clone()).or_default())
    }

    /// A stream began, which tells what is durable.
    fn follow(&self, service: &ServiceName, exposure: watch::Receiver<Exposure>) {
        self.with(service, |grown| grown.exposure = Some(exposure));
    }

    /// There is nothing more to be had from the WAL before this.
    fn reached(&self, service: &ServiceName, lsn: Lsn) {
        self.with(service, |grown| grown.reached = Some(lsn));
    }

    fn durable(&self, service: &ServiceName) -> Option<Lsn> {
        self.with(service, |grown| grown.exposure.as_ref().map(|exposure| exposure.borrow().durable))
    }

    fn of(&self, service: &ServiceName) -> Option<u64> {
        let durable = self.durable(service)?;
        self.with(service, |grown| grown.reached).map(|reached| durable.bytes_since(reached))
    }
}

async fn prune(opened: &Opened, service: &ServiceName) -> anyhow::Result<String> {
    let options = backup::prune::options(opened, service, opened.postgres(service)?, GRACE).await?;
    let outcome = lifeboat_vault::prune::run(&opened.vault, &actor(), &options).await?;
    Ok(format!("{} buried, {} objects deleted", outcome.buried.len(), outcome.objects))
}

/// Recovers the newest restore point of which nobody knows whether it can be.
async fn verify(
    settings: &Settings,
    opened: &Opened,
    service: &ServiceName,
    verify_in: Option<PathBuf>,
) -> anyhow::Result<String> {
    let scratch = verify_in.ok_or_else(|| anyhow!("no directory is named to recover restore points in"))?;
    let points = points::of_service(&opened.vault, service).await?.views;
    let Some(newest) = points.iter().rev().find(|point| point.state == State::Written) else {
        return Ok("nothing is left to be verified".to_owned());
    };
    let point = point::read(&opened.vault, service, &newest.id).await?;
    let verified = backup::verify::verify(settings, opened, &point, &scratch, false).await?;
    match verified.outcome {
        Outcome::Passed => {}
        Outcome::Doubtful => bail!("restore point {} recovers, but: {}", point.id, verified.detail()),
        Outcome::Failed => bail!("restore point {} FAILED its verification: {}", point.id, verified.detail()),
    }
    Ok(format!("restore point {}: {}", point.id, verified.detail()))
}

fn tell(settings: &Settings, service: &ServiceName, event: &ServeEvent) {
    let (name, job, detail, tone) = match event {
        ServeEvent::Waiting { holder } => ("waiting", None, Some(format!("{holder} serves it")), Tone::Faint),
        ServeEvent::Serving { epoch } => {
            ("serving", None, Some(format!("epoch {epoch} of the lease")), Tone::Good)
        }
        ServeEvent::Suspended { reason } => ("suspended", None, Some(reason.clone()), Tone::Doubtful),
        ServeEvent::Started(job) => ("started", Some(*job), None, Tone::Strong),
        ServeEvent::Succeeded(job, summary) => ("succeeded", Some(*job), Some(summary.clone()), Tone::Good),
        ServeEvent::Doubtful(job, summary) => ("doubtful", Some(*job), Some(summary.clone()), Tone::Doubtful),
        ServeEvent::Failed(job, reason) => ("failed", Some(*job), Some(reason.clone()), Tone::Bad),
        ServeEvent::StreamFailed { reason, again_in } => {
            let text = format!("{reason}; again in {}", format_duration(*again_in));
            ("streamFailed", None, Some(text), Tone::Bad)
        }
        ServeEvent::Stopped => ("stopped", None, None, Tone::Faint),
    };
    let view = EventView { time: settings.clock.now(), service: service.clone(), event: name, job, detail };
    print(settings, &view, tone);
}

fn print(settings: &Settings, view: &EventView, tone: Tone) {
    let (name, service) = (view.event, &view.service);
    let told = settings.output.event("serve.event", view, |style| {
        let what = match view.job {
            Some(job) => format!("{name} {job:?}"),
            None => name.to_owned(),
        };
        let detail = view.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("{} {service}: {}{detail}", show::time(view.time), style.paint(tone, &what))
    });
    if let Err(error) = told {
        // Nobody listens any more; what is protected matters more.
        settings.output.warn(format!("{error:#}"));
    }
}
