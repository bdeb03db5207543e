//! `lifeboat serve`: streams, backs up and prunes what the plan protects, until stopped.
//!
//! # Invariants
//! - **One acts.** Any number of these may run, on any machines: the engine's lease decides who acts.
//!
//! Deliberately absent: when a job is due, and what happens when it fails; that is the engine's and `core`'s.

use crate::commands::{backup, stream};
use crate::journal::actor;
use crate::output::{Exit, Tone};
use crate::settings::{Opened, Settings};
use crate::{show, signals};
use anyhow::bail;
use jiff::Timestamp;
use lifeboat_base::{ByteCount, ServiceName, format_duration};
use lifeboat_core::schedule::{Job, ServiceSchedule};
use lifeboat_engine::serve::{Protection, ServeEvent, ServeOptions, ServedService, Trouble, Work, serve};
use lifeboat_postgres::stream::Exposure;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// From the tombstone to the deleting, for what `serve` prunes.
const GRACE: Duration = Duration::from_secs(3600);

/// Arguments of `lifeboat serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// These services alone [default: each that the plan protects].
    services: Vec<ServiceName>,
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
    let services = served(&opened, &args.services)?;
    let (stop, _signals) = signals::stop_channel();
    let teller = settings.clone();
    let protection = PlanProtection { settings: settings.clone(), opened: opened.clone() };
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
    Ok(Exit::Good)
}

/// What of the plan is served.
fn served(opened: &Opened, wanted: &[ServiceName]) -> anyhow::Result<Vec<ServedService>> {
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
                schedule: ServiceSchedule::from(postgres),
                streams: postgres.stream.enabled,
            })
        })
        .collect();
    if served.is_empty() {
        bail!("the plan protects no PostgreSQL cluster: no service of it has `postgres`");
    }
    Ok(served)
}

/// Does what the engine asks, as the plan says.
struct PlanProtection {
    settings: Settings,
    opened: Opened,
}

impl Protection for PlanProtection {
    fn stream(&self, service: &ServiceName, stop: watch::Receiver<bool>) -> Work<()> {
        let (settings, opened, service) = (self.settings.clone(), self.opened.clone(), service.clone());
        Box::pin(async move {
            let streamed = async {
                let (exposure, gauge) = watch::channel(Exposure::default());
                let options = stream::options(&opened, &service, opened.postgres(&service)?, exposure)?;
                stream::follow(&settings, options, gauge, stop).await
            };
            streamed.await.map_err(Trouble::from)
        })
    }

    fn run(&self, service: &ServiceName, job: Job) -> Work<String> {
        let (settings, opened, service) = (self.settings.clone(), self.opened.clone(), service.clone());
        Box::pin(async move { do_job(&settings, &opened, &service, job).await.map_err(Trouble::from) })
    }
}

async fn do_job(
    settings: &Settings,
    opened: &Opened,
    service: &ServiceName,
    job: Job,
) -> anyhow::Result<String> {
    let postgres = opened.postgres(service)?;
    match job {
        Job::BaseBackup => {
            let source = backup::run::Source::of_plan(postgres)?;
            let point = backup::run::take(settings, opened, service, source).await?;
            let (size, stored) = (ByteCount(point.size_bytes), ByteCount(point.stored_bytes));
            Ok(format!("restore point {}: {size} stored as {stored}", point.id))
        }
        Job::Prune => {
            let options = backup::prune::options(opened, service, postgres, GRACE).await?;
            let outcome = lifeboat_vault::prune::run(&opened.vault, &actor(), &options).await?;
            Ok(format!("{} buried, {} objects deleted", outcome.buried.len(), outcome.objects))
        }
        // Needs room for the whole database until views are there; a person says where.
        Job::Verify => bail!("`lifeboat backup verify` verifies; serve does not yet"),
    }
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
        ServeEvent::Failed(job, reason) => ("failed", Some(*job), Some(reason.clone()), Tone::Bad),
        ServeEvent::StreamFailed { reason, again_in } => {
            let text = format!("{reason}; again in {}", format_duration(*again_in));
            ("streamFailed", None, Some(text), Tone::Bad)
        }
        ServeEvent::Stopped => ("stopped", None, None, Tone::Faint),
    };
    let view = EventView { time: settings.clock.now(), service: service.clone(), event: name, job, detail };
    let told = settings.output.event("serve.event", &view, |style| {
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
