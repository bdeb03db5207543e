//! Waits until a standby has replayed what the primary wrote, and says how far behind it is.

use super::reach::{AskError, Session, Until};
use super::{Job, before, failed, printed};
use lifeboat_base::Lsn;
use lifeboat_core::run::{Observed, Outcome, Told};
use lifeboat_core::runbook::postgres::{On, WaitReplay};
use std::time::Duration;

/// Between two looks.
const POLL: Duration = Duration::from_millis(100);
/// A primary that does not answer by then is taken to be gone.
const PRIMARY: Duration = Duration::from_secs(5);
/// How often all that was received must be seen as replayed, with nothing new between, when the primary is gone.
const STILL: u32 = 3;
/// What the primary had written when it was asked last.
const WRITTEN: &str = "PRIMARY_LSN";
/// How far the standby is.
const REPLAYED: &str = "REPLAYED_LSN";
/// What the primary had written and the standby has not replayed.
const LAG: &str = "LAG_BYTES";

/// Where a standby stands.
struct At {
    is_in_recovery: bool,
    /// Nothing if it streams none: all comes from an archive.
    received: Lsn,
    replayed: Lsn,
    /// Since the last commit that it replayed, in seconds.
    behind: Option<String>,
}

pub(super) async fn wait(job: &Job<'_>, with: &WaitReplay) -> Result<Told<Outcome>, Outcome> {
    let until = with.within.map_or(job.until, |within| job.until.within(within.0));
    let given = with.to.as_deref().map(|to| {
        to.parse::<Lsn>().map_err(|_| failed(format!("`{to}` is no position in the WAL, as 16/B374D848")))
    });
    let asked = match given {
        Some(given) => Ok(given?),
        None => written(job).await,
    };
    let remembered = job.known(WRITTEN).and_then(|text| text.parse::<Lsn>().ok());
    let (target, whence) = match (&asked, remembered) {
        (Ok(lsn), _) if with.to.is_some() => (Some(*lsn), "as asked for".to_owned()),
        (Ok(lsn), _) => (Some(*lsn), "all that the primary has written".to_owned()),
        (Err(error), Some(lsn)) => (
            Some(lsn),
            format!(
                "what the primary had written when it was asked last; now it does not answer: {}",
                error.told()
            ),
        ),
        (Err(error), None) => {
            (None, format!("all that it received; the primary does not answer: {}", error.told()))
        }
    };
    let mut session = job.open(with.standby).await.map_err(before)?;
    let mut observed = Observed::new();
    if let (Ok(lsn), None) = (&asked, &with.to) {
        observed.insert(job.name(WRITTEN), lsn.to_string());
    }
    let (mut last, mut still) = (Lsn(0), 0);
    loop {
        let at = look(&mut session).await.map_err(before)?;
        let goal = target.unwrap_or(at.received);
        // Promoted, it has what it had; there is nothing left to wait for.
        let is_there = at.replayed >= goal;
        still = if at.received.max(at.replayed) == last { still + 1 } else { 0 };
        last = at.received.max(at.replayed);
        let is_settled = target.is_some() || still >= STILL;
        let over = until.is_over() || !at.is_in_recovery;
        if (is_there && is_settled) || over {
            let lag = goal.0.saturating_sub(at.replayed.0);
            observed.insert(job.name(REPLAYED), at.replayed.to_string());
            observed.insert(job.name(LAG), lag.to_string());
            let name = session.at();
            let seconds = at.behind.map_or_else(String::new, |behind| {
                format!("; the last commit that it has is {behind} s old")
            });
            let text = format!(
                "{name} has replayed up to {} of {goal} ({whence}): {lag} bytes behind{seconds}\n",
                at.replayed
            );
            let result = match is_there {
                true => Outcome::Done,
                false => failed(not_there(&name, &at.received, at.replayed, goal)),
            };
            return Ok(Told { observed, ..printed(result, text) });
        }
        until.pause(POLL).await;
    }
}

/// What a person must know to decide how it goes on.
fn not_there(name: &str, received: &Lsn, replayed: Lsn, goal: Lsn) -> String {
    let has = (*received).max(replayed);
    match goal.0.checked_sub(has.0).filter(|missing| *missing > 0) {
        Some(missing) => format!(
            "{name} never received the last {missing} bytes of WAL, from {has} to {goal}: promoted, it would lack \
             what was committed there; if the vault has them, recover from it instead"
        ),
        None => format!("{name} has received all, and is still replaying: {replayed} of {goal}"),
    }
}

/// How far the primary is, if it answers.
async fn written(job: &Job<'_>) -> Result<Lsn, AskError> {
    let until: Until = job.until.within(PRIMARY);
    let reach = super::Reach::new(job.server, On::Primary)?;
    let mut session = reach.open(until).await?;
    let text = session.text("SELECT pg_current_wal_flush_lsn()").await?;
    text.parse().map_err(|_| AskError::Answer { at: session.at() })
}

async fn look(session: &mut Session) -> Result<At, AskError> {
    let rows = session
        .rows(
            "SELECT pg_is_in_recovery(), pg_last_wal_receive_lsn(), \
             CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, \
             round(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::numeric, 1)",
        )
        .await?;
    let row = rows.first().ok_or_else(|| AskError::Answer { at: session.at() })?;
    let lsn = |at: usize| row.at(at).and_then(|text| text.parse::<Lsn>().ok()).unwrap_or(Lsn(0));
    Ok(At {
        is_in_recovery: row.at(0) == Some("t"),
        received: lsn(1),
        replayed: lsn(2),
        behind: row.at(3).map(str::to_owned),
    })
}
