//! How long a recovery of a service would take now: what the journal tells of those that happened, held against the WAL
//! that there is.

use crate::journal;
use crate::points::PointView;
use jiff::Timestamp;
use lifeboat_base::{ByteCount, ServiceName, format_duration};
use lifeboat_core::forecast::{Measured, forecast};
use lifeboat_vault::journal::Record;
use lifeboat_vault::{Scope, Vault};
use serde::Serialize;
use std::time::Duration;

/// Parts of a recovery that end when the server is at its target.
const UNTIL_REACHED: [&str; 5] = ["resolved", "shown", "restored", "replayed", "recovered"];

/// How long a recovery to the newest moment would take.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastView {
    /// From the command until the server is there; none if nothing like it was measured.
    pub seconds: Option<f64>,
    /// WAL to be replayed.
    pub replay_bytes: u64,
    /// Replay, in a second.
    pub bytes_per_second: Option<u64>,
    /// Recoveries that it is told from: verifications, advances, drills.
    pub measured: usize,
    /// What the plan promises.
    pub objective_seconds: Option<f64>,
}

impl ForecastView {
    /// What breaks the promise, if it is broken.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let (takes, objective) = (self.seconds?, self.objective_seconds?);
        (takes > objective).then(|| {
            format!(
                "a recovery would take about {}, more than the {} that the plan promises: advance more often (`advance` in \
                 the plan), or promise less",
                duration(takes),
                duration(objective)
            )
        })
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let objective = self.objective_seconds.map(|seconds| format!(", objective {}", duration(seconds)));
        let objective = objective.unwrap_or_default();
        let Some(seconds) = self.seconds else {
            return format!(
                "not measured: `lifeboat backup verify` and `lifeboat advance` measure it{objective}"
            );
        };
        let replay = ByteCount(self.replay_bytes);
        let times = if self.measured == 1 { "once".to_owned() } else { format!("{} times", self.measured) };
        format!("about {}, {replay} of WAL to replay; measured {times}{objective}", duration(seconds))
    }
}

fn duration(seconds: f64) -> String {
    format_duration(Duration::from_secs_f64(seconds))
}

/// The forecast for a recovery that replays `replay_bytes`.
///
/// # Errors
/// If the journal cannot be read.
pub async fn look(
    vault: &Vault,
    service: &ServiceName,
    points: &[PointView],
    replay_bytes: u64,
    objective: Option<Duration>,
) -> anyhow::Result<ForecastView> {
    let mut measured: Vec<(Timestamp, Measured)> = Vec::new();
    for role in [journal::VERIFY, journal::BACKUP, journal::RESTORE] {
        let records = journal::records(vault, &Scope::service(service, role)).await?;
        measured.extend(records.iter().filter_map(|record| Some((record.time, read(record, points)?))));
    }
    measured.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    let newest_first: Vec<Measured> = measured.into_iter().map(|(_, measured)| measured).collect();
    let told = forecast(&newest_first, replay_bytes);
    Ok(ForecastView {
        seconds: told.map(|told| told.takes.as_secs_f64()),
        replay_bytes,
        bytes_per_second: told.and_then(|told| told.bytes_per_second),
        measured: told.map_or(0, |told| told.measured),
        objective_seconds: objective.map(|objective| objective.as_secs_f64()),
    })
}

/// What a record tells of a recovery.
fn read(record: &Record, points: &[PointView]) -> Option<Measured> {
    let data = &record.data;
    let replayed_bytes = match record.kind.as_str() {
        "advance.finished" => data["replayedBytes"].as_u64()?,
        "recover.finished" => data["target"]["replayBytes"].as_u64()?,
        // A verification replays the point's own WAL.
        journal::VERIFIED | journal::DOUBTED => {
            let id = data["point"].as_str()?;
            let point = points.iter().find(|point| point.id == id)?;
            point.stop.bytes_since(point.start)
        }
        _ => return None,
    };
    let segments = data["segments"].as_array()?;
    let of_it = segments
        .iter()
        .filter(|segment| segment["name"].as_str().is_some_and(|name| UNTIL_REACHED.contains(&name)));
    let seconds: f64 = of_it.filter_map(|segment| segment["seconds"].as_f64()).sum();
    // One without a server's time is none.
    let was_reached = segments
        .iter()
        .any(|segment| ["replayed", "recovered"].map(Some).contains(&segment["name"].as_str()));
    let took = Duration::try_from_secs_f64(seconds).ok()?;
    was_reached.then_some(Measured { replayed_bytes, took })
}
