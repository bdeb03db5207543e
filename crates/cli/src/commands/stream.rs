//! `lifeboat stream`: a service's WAL into the vault, in the foreground, until asked to stop.
//!
//! # Invariants
//! - **One stream.** Its lease is taken first. While the home copy is away none can be had: the stream begins
//!   all the same, as the replication slot lets in one only (DESIGN §4: WAL flows on).

use crate::away::plain;
use crate::output::{Exit, Tone};
use crate::settings::{self, Opened, Settings};
use crate::{catalogue, journal, plans, show, signals};
use anyhow::{Context, bail};
use jiff::Timestamp;
use lifeboat_base::{ByteCount, ServiceName, error_chain, format_duration};
use lifeboat_plan::Postgres;
use lifeboat_postgres::slot::SlotLimits;
use lifeboat_postgres::stream::{self, Exposure, StreamEvent, StreamOptions};
use lifeboat_vault::lease::{Acquired, KeepAlive, Lease};
use lifeboat_vault::{Scope, Vault};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Events that may wait to be told; more than that at once are counted and dropped.
const EVENTS_LIMIT: usize = 1024;
/// Between two words about what is at risk: for machines, and for people.
const GAUGE_JSON: Duration = Duration::from_secs(10);
const GAUGE_TEXT: Duration = Duration::from_secs(60);
/// How long the stream waits for its lease: enough to take over from one that died.
const PATIENCE: Duration = Duration::from_secs(15);

/// Arguments of `lifeboat stream`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service.
    service: ServiceName,
    /// Take on a server that is another cluster than the one known so far, as after an upgrade.
    #[arg(long)]
    accept_new_cluster: bool,
    /// Do not make the replication slot: it must be there.
    #[arg(long)]
    no_create_slot: bool,
}

/// One event, for machines.
#[derive(Debug, Serialize)]
pub struct EventView {
    time: Timestamp,
    service: ServiceName,
    event: &'static str,
    #[serde(flatten)]
    details: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GaugeView {
    time: Timestamp,
    service: ServiceName,
    connected: bool,
    flushed_on_server: lifeboat_base::Lsn,
    durable: lifeboat_base::Lsn,
    behind_bytes: u64,
    exposure_seconds: f64,
}

/// What to stream, as the plan says.
///
/// # Errors
/// If a connection string cannot be used.
pub fn options(
    opened: &Opened,
    service: &ServiceName,
    postgres: &Postgres,
    exposure: watch::Sender<Exposure>,
) -> anyhow::Result<StreamOptions> {
    let standbys = postgres.standbys.iter().map(|standby| settings::conninfo(postgres, standby));
    Ok(StreamOptions {
        vault: opened.vault_of(service),
        service: service.clone(),
        conninfo: settings::conninfo(postgres, &postgres.connection)?,
        slot: postgres.slot_name(service)?.as_str().to_owned(),
        create_slot: true,
        standbys: standbys.collect::<anyhow::Result<_>>()?,
        slot_limits: SlotLimits::default(),
        data_directory: postgres.data_directory.as_ref().map(|path| path.as_path().to_owned()),
        accept_new_cluster: false,
        exposure,
    })
}

/// Streams.
///
/// # Errors
/// If the stream ended by something that waiting does not mend.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let (exposure, gauge) = watch::channel(Exposure::default());
    let mut options = options(&opened, &args.service, opened.postgres(&args.service)?, exposure)?;
    options.accept_new_cluster = args.accept_new_cluster;
    options.create_slot = !args.no_create_slot;
    let stop = signals::stopping();
    let _renewing = plans::renew_beside(settings, &opened);
    let lease = take_lease(settings, &opened.vault, &args.service).await?;
    let outcome = follow(settings, options, gauge, stop).await;
    if let Some(lease) = lease {
        lease.release(settings).await;
    }
    outcome.map(|()| Exit::Good)
}

/// Streams until `stop`; tells and journals what happens.
///
/// # Errors
/// If the stream ended by something that waiting does not mend.
pub async fn follow(
    settings: &Settings,
    options: StreamOptions,
    gauge: watch::Receiver<Exposure>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let (vault, service) = (options.vault.clone(), options.service.clone());
    let (sender, mut events) = mpsc::channel(EVENTS_LIMIT);
    let sink: stream::EventSink = Arc::new(move |event| {
        // Full: the teller is behind, and what is told is no part of what is kept.
        let _ = sender.try_send(event);
    });
    note(settings, &vault, &service, "stream.started", serde_json::json!({})).await;
    let _names = Aborted(tokio::spawn(catalogue::keep(
        settings.clone(),
        vault.clone(),
        service.clone(),
        options.conninfo.clone(),
    )));
    let mut streaming = std::pin::pin!(stream::run(options, stop, sink));
    let mut tick = tokio::time::interval(if settings.output.is_json() { GAUGE_JSON } else { GAUGE_TEXT });
    tick.tick().await;
    let ended = loop {
        tokio::select! {
            ended = &mut streaming => break ended,
            Some(event) = events.recv() => tell(settings, &vault, &service, &event).await?,
            _ = tick.tick() => {
                let exposure = *gauge.borrow();
                show_gauge(settings, &service, exposure)?;
            }
        }
    };
    while let Ok(event) = events.try_recv() {
        tell(settings, &vault, &service, &event).await?;
    }
    let end = match ended {
        Ok(end) => end,
        Err(error) => {
            let data = serde_json::json!({ "reason": error_chain(&error) });
            note(settings, &vault, &service, "stream.failed", data).await;
            return Err(error).with_context(|| format!("WAL of {service} is no longer streamed"));
        }
    };
    let durable = end.durable.map(|(timeline, lsn)| serde_json::json!({ "timeline": timeline, "lsn": lsn }));
    let data = serde_json::json!({ "durable": durable, "leftBytes": end.left_bytes });
    note(settings, &vault, &service, "stream.stopped", data.clone()).await;
    let serde_json::Value::Object(details) = data else { unreachable!("made as an object above") };
    let view = EventView { time: settings.clock.now(), service, event: "stopped", details };
    settings.output.event("stream.event", &view, |_| match end.durable {
        Some((timeline, lsn)) => format!("stopped; durable up to {lsn} of timeline {timeline}"),
        None => "stopped; nothing was streamed".to_owned(),
    })
}

/// A task that ends with its owner.
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Says who streams, to whoever would begin a second stream by hand; the slot decides.
pub struct StreamLease {
    lease: Lease,
    _keep_alive: KeepAlive,
}

impl StreamLease {
    /// Lets go of it; what is not let go of runs out by itself.
    pub async fn release(self, settings: &Settings) {
        if let Err(error) = self.lease.release().await {
            settings.output.warn(format!("the stream's lease was not released: {}", error_chain(&error)));
        }
    }
}

/// The stream's lease, or none while the home copy is away.
///
/// # Errors
/// If another streams.
pub async fn take_lease(
    settings: &Settings,
    vault: &Vault,
    service: &ServiceName,
) -> anyhow::Result<Option<StreamLease>> {
    let scope = Scope::service(service, journal::STREAM);
    match Lease::wait(vault, &scope, &journal::actor(), PATIENCE).await {
        Ok(Acquired::Held(lease)) => {
            let keep_alive = lease.keep_alive();
            Ok(Some(StreamLease { lease, _keep_alive: keep_alive }))
        }
        Ok(Acquired::Busy(busy)) => bail!("{} streams {service} already", busy.holder),
        Err(error) => {
            settings.output.warn(format!("streaming without a lease, the home copy is away: {error}"));
            Ok(None)
        }
    }
}

/// Journals an event; a journal that is away does not stop the stream.
async fn note(
    settings: &Settings,
    vault: &Vault,
    service: &ServiceName,
    kind: &str,
    data: serde_json::Value,
) {
    if let Err(error) = journal::note(vault, &Scope::service(service, journal::STREAM), kind, data).await {
        settings.output.warn(format!("{error:#}"));
    }
}

/// Prints an event, and journals what an operator will ask about later.
///
/// # Errors
/// If standard output takes no more.
pub async fn tell(
    settings: &Settings,
    vault: &Vault,
    service: &ServiceName,
    event: &StreamEvent,
) -> anyhow::Result<()> {
    let view = EventView {
        time: settings.clock.now(),
        service: service.clone(),
        event: name(event),
        details: details(event),
    };
    settings.output.event("stream.event", &view, |style| {
        let tone = match event {
            StreamEvent::Raised(_) => Tone::Bad,
            StreamEvent::Cleared(_) => Tone::Good,
            _ => return format!("{} {service}: {}", show::time(view.time), text(event)),
        };
        format!("{} {service}: {}", show::time(view.time), style.paint(tone, &text(event)))
    })?;
    let kind = match event {
        StreamEvent::Joined { .. } | StreamEvent::Interrupted { .. } => return Ok(()),
        StreamEvent::Connected { .. } => "stream.connected",
        StreamEvent::SlotCreated { .. } => "stream.slotCreated",
        StreamEvent::TimelineEnded { .. } => "stream.timelineEnded",
        StreamEvent::Raised(_) => "alarm.raised",
        StreamEvent::Cleared(_) => "alarm.cleared",
    };
    note(settings, vault, service, kind, serde_json::Value::Object(view.details)).await;
    Ok(())
}

fn name(event: &StreamEvent) -> &'static str {
    match event {
        StreamEvent::Connected { .. } => "connected",
        StreamEvent::SlotCreated { .. } => "slotCreated",
        StreamEvent::TimelineEnded { .. } => "timelineEnded",
        StreamEvent::Joined { .. } => "joined",
        StreamEvent::Interrupted { .. } => "interrupted",
        StreamEvent::Raised(_) => "alarmRaised",
        StreamEvent::Cleared(_) => "alarmCleared",
    }
}

fn details(event: &StreamEvent) -> serde_json::Map<String, serde_json::Value> {
    let value = match event {
        StreamEvent::Connected { endpoint, system, timeline, start } => serde_json::json!({
            "endpoint": endpoint, "systemId": system, "timeline": timeline, "start": start
        }),
        StreamEvent::SlotCreated { endpoint, slot, restart } => {
            serde_json::json!({ "endpoint": endpoint, "slot": slot, "restart": restart })
        }
        StreamEvent::TimelineEnded { timeline, next, at } => {
            serde_json::json!({ "timeline": timeline, "next": next, "at": at })
        }
        StreamEvent::Joined { segment } => serde_json::json!({ "segment": segment }),
        StreamEvent::Interrupted { reason } => serde_json::json!({ "reason": reason }),
        StreamEvent::Raised(alarm) => {
            serde_json::json!({ "alarm": alarm.kind().name(), "message": alarm.to_string() })
        }
        StreamEvent::Cleared(kind) => serde_json::json!({ "alarm": kind.name() }),
    };
    match value {
        serde_json::Value::Object(details) => details,
        _ => serde_json::Map::new(),
    }
}

fn text(event: &StreamEvent) -> String {
    match event {
        StreamEvent::Connected { endpoint, timeline, start, .. } => {
            format!("WAL flows from {endpoint}, timeline {timeline}, from {start} on")
        }
        StreamEvent::SlotCreated { endpoint, slot, .. } => format!("slot {slot} made at {endpoint}"),
        StreamEvent::TimelineEnded { timeline, next, at } => {
            format!("timeline {timeline} ended at {at}; timeline {next} goes on (a promotion)")
        }
        StreamEvent::Interrupted { reason } => format!("interrupted, and goes on: {reason}"),
        StreamEvent::Joined { segment } => format!("segment {segment} is whole"),
        StreamEvent::Raised(alarm) => format!("ALARM {}: {}", alarm.kind(), plain(&alarm.to_string())),
        StreamEvent::Cleared(kind) => format!("alarm {kind} is over"),
    }
}

fn show_gauge(settings: &Settings, service: &ServiceName, exposure: Exposure) -> anyhow::Result<()> {
    let now = settings.clock.now();
    let view = GaugeView {
        time: now,
        service: service.clone(),
        connected: exposure.connected,
        flushed_on_server: exposure.flushed_on_server,
        durable: exposure.durable,
        behind_bytes: exposure.behind_bytes(),
        exposure_seconds: exposure.age(now).as_secs_f64(),
    };
    settings.output.event("stream.exposure", &view, |_| {
        let state = match (exposure.connected, exposure.since) {
            (true, None) => "the vault has all that the server has flushed".to_owned(),
            (true, Some(_)) => {
                let behind = ByteCount(view.behind_bytes);
                format!("{behind} at risk, the oldest for {}", format_duration(exposure.age(now)))
            }
            (false, _) => format!("not connected; at risk for {}", format_duration(exposure.age(now))),
        };
        format!("{} {service}: durable up to {}; {state}", show::time(now), exposure.durable)
    })
}
