//! One term: from taking the lease to losing or releasing it.

use super::{Done, JOB_RECORD, ServeEvent, ServeOptions, ServedService, Unreadable, stopped};
use lifeboat_base::error_chain;
use lifeboat_core::schedule::{History, HistoryProjection, Job, JobEvent, due, next_wake};
use lifeboat_vault::journal::{self, JournalError};
use lifeboat_vault::lease::{FenceError, Fenced};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often is looked whether the lease is still ours; it asks no store.
const LOOK: Duration = Duration::from_millis(500);

/// How a term ended.
#[derive(Debug)]
pub(super) enum TermEnd {
    /// We were told to stop.
    Stopped,
    /// The lease is lost, or the journal does not answer: no more jobs until it is ours again.
    Suspended(String),
}

/// A job that runs.
struct Running {
    job: Job,
    work: JoinHandle<Result<Done, lifeboat_core::port::Trouble>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.work.abort();
    }
}

pub(super) async fn run(
    options: &ServeOptions,
    service: &ServedService,
    fenced: &mut Fenced,
    stop: &mut watch::Receiver<bool>,
) -> TermEnd {
    let mut projection = match read(options, service).await {
        Ok(projection) => projection,
        Err(error) => return TermEnd::Suspended(error_chain(&error)),
    };
    projection.take_over();
    let mut running: Option<Running> = None;
    let clock = options.vault.clock();
    loop {
        if !fenced.still_held() {
            return TermEnd::Suspended("the lease could not be renewed".to_owned());
        }
        let now = clock.now();
        let grown = options.protection.grown(&service.name);
        let history = History { grown, ..*projection.history() };
        if running.is_none()
            && let Some(job) = due(&service.schedule, &history, now).first().copied()
        {
            // G1: in the journal first.
            if let Err(error) = record(fenced, &mut projection, JobEvent::Started { job }).await {
                return TermEnd::Suspended(error_chain(&error));
            }
            (options.observer)(&service.name, ServeEvent::Started(job));
            let work = tokio::spawn(options.protection.run(&service.name, job));
            running = Some(Running { job, work });
        }
        let until_due = next_wake(&service.schedule, &history, now).duration_since(now);
        let wait = Duration::try_from(until_due).unwrap_or(Duration::ZERO).min(LOOK);
        let finished = tokio::select! {
            // A job that is due while another runs must not make this loop spin.
            () = tokio::time::sleep(if running.is_some() { LOOK } else { wait }) => None,
            outcome = finished(&mut running) => Some(outcome),
            () = stopped(stop) => {
                if let Some(job) = running.take().map(|running| running.job) {
                    let reason = "stopped with the process".to_owned();
                    // If it cannot be written, whoever takes over sees a start without an end (G3).
                    let _ = record(fenced, &mut projection, JobEvent::Failed { job, reason }).await;
                }
                return TermEnd::Stopped;
            }
        };
        let Some(outcome) = finished else { continue };
        let Some(job) = running.take().map(|running| running.job) else { continue };
        let (event, told) = match outcome {
            Ok(Done { summary, doubtful }) => {
                let event = JobEvent::Succeeded { job, summary: summary.clone() };
                let tell = if doubtful { ServeEvent::Doubtful } else { ServeEvent::Succeeded };
                (event, tell(job, summary))
            }
            Err(reason) => {
                (JobEvent::Failed { job, reason: reason.clone() }, ServeEvent::Failed(job, reason))
            }
        };
        (options.observer)(&service.name, told);
        if let Err(error) = record(fenced, &mut projection, event).await {
            return TermEnd::Suspended(error_chain(&error));
        }
    }
}

/// Waits for the running job; for ever if there is none. Cancel safe.
async fn finished(running: &mut Option<Running>) -> Result<Done, String> {
    let Some(running) = running else { return std::future::pending().await };
    match (&mut running.work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error_chain(error.as_ref())),
        Err(error) => Err(format!("it broke off: {error}")),
    }
}

async fn record(
    fenced: &mut Fenced,
    projection: &mut HistoryProjection,
    event: JobEvent,
) -> Result<(), FenceError> {
    let data = serde_json::to_value(&event).expect("names and texts serialise");
    let record = fenced.append(JOB_RECORD, data).await?;
    projection.apply(&event, record.time);
    Ok(())
}

/// What the service's jobs have done so far.
async fn read(options: &ServeOptions, service: &ServedService) -> Result<HistoryProjection, Unreadable> {
    let unreadable = |source: JournalError| Unreadable { service: service.name.clone(), source };
    let scope = super::scope(&service.name);
    let mut projection = HistoryProjection::default();
    let mut after = 0;
    loop {
        let page = journal::read(&options.vault, &scope, after).await.map_err(unreadable)?;
        let Some(last) = page.records.last() else { return Ok(projection) };
        after = last.number;
        for record in page.records.iter().filter(|record| record.kind == JOB_RECORD) {
            // A later version's event is no reason to protect nothing.
            if let Ok(event) = serde_json::from_value(record.data.clone()) {
                projection.apply(&event, record.time);
            }
        }
    }
}
