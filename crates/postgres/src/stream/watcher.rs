//! Looks at the slot every few seconds, and keeps the slots on standbys.
//!
//! Beside the stream, over connections for SQL of its own: it goes on while the stream is down.

use super::StreamOptions;
use super::alarm::{Alarm, AlarmKind};
use super::shared::Shared;
use crate::client::{Advice, ClientError, Connection, Conninfo, Purpose, Refusal};
use crate::slot;
use lifeboat_base::error_chain;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks.
const POLL: Duration = Duration::from_secs(10);
/// Between two looks while something is still to be found out.
const FIRST_POLL: Duration = Duration::from_millis(500);
/// Between two looks while the vault is away: a server that shuts down must not wait for it (T6 of the
/// session).
const URGENT_POLL: Duration = Duration::from_secs(1);
/// How long one server may take to answer.
const LOOK_LIMIT: Duration = Duration::from_secs(15);

/// Watches for as long as the stream runs.
pub(super) async fn run(options: Arc<StreamOptions>, shared: Arc<Shared>) {
    let mut watcher = Watcher { options, shared, sql: None, standbys: BTreeMap::new(), is_lost: false };
    loop {
        // Before the first stream there is no slot to look at: do not wait long for it.
        let is_streaming = watcher.shared.progress.borrow().is_some();
        watcher.look_at_primary().await;
        watcher.look_at_standbys().await;
        let is_urgent = watcher.shared.board.stands(AlarmKind::VaultUnavailable);
        let poll = match (is_streaming, is_urgent) {
            (false, _) => FIRST_POLL,
            (true, true) => URGENT_POLL,
            (true, false) => POLL,
        };
        tokio::time::sleep(poll).await;
    }
}

struct Watcher {
    options: Arc<StreamOptions>,
    shared: Arc<Shared>,
    sql: Option<Connection>,
    /// By number; connections are kept.
    standbys: BTreeMap<usize, Connection>,
    /// The loss of the slot has been told.
    is_lost: bool,
}

impl Watcher {
    async fn look_at_primary(&mut self) {
        // Before the first stream the slot need not exist.
        if self.shared.progress.borrow().is_none() {
            return;
        }
        match limited(self.ask()).await {
            Ok(()) => self.shared.board.clear(AlarmKind::SlotUnwatched),
            Err(error) => {
                self.sql = None;
                self.shared.observe_wait(None);
                if error.as_ref().is_some_and(refuses_sessions) {
                    self.shared.observe_stopping();
                }
                // A server that is down is told by the stream itself.
                if error.as_ref().is_none_or(|error| error.advice() != Advice::Retry) {
                    let reason = reason(error);
                    self.shared.board.raise(Alarm::SlotUnwatched { reason });
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<(), ClientError> {
        let wanted = self.shared.endpoint();
        if self.sql.as_ref().is_none_or(|sql| Some(sql.endpoint()) != wanted.as_ref()) {
            self.sql = Some(connect(&self.options.conninfo, &self.shared).await?);
        }
        let Some(sql) = &mut self.sql else { return Ok(()) };
        let health = slot::watch(sql, &self.options.slot).await?;
        self.shared.observe_flush(health.flushed);
        // Not active, it is not known who will wait.
        self.shared.observe_wait(health.active.then_some(health.awaited));
        let endpoint = sql.endpoint().to_string();
        let limits = self.options.slot_limits.with_room_of(self.options.data_directory.as_deref());
        match slot::assess(&self.options.slot, &endpoint, &health, &limits) {
            None => {
                self.is_lost = false;
                self.shared.board.clear(AlarmKind::SlotPressure);
            }
            Some(alarm) if alarm.kind() == AlarmKind::SlotLost => {
                // The stream makes it anew; that may take until the vault is back.
                if !std::mem::replace(&mut self.is_lost, true) {
                    self.shared.board.raise(alarm);
                }
            }
            Some(alarm) => self.shared.board.raise(alarm),
        }
        Ok(())
    }

    async fn look_at_standbys(&mut self) {
        let Some((_, durable)) = *self.shared.progress.borrow() else { return };
        for (number, conninfo) in self.options.standbys.iter().enumerate() {
            let known = self.standbys.remove(&number);
            let slot = &self.options.slot;
            let look = async {
                let mut sql = match known {
                    Some(sql) => sql,
                    None => Connection::connect(conninfo, Purpose::Sql).await?,
                };
                slot::ensure_on_standby(&mut sql, slot, durable).await?;
                Ok(sql)
            };
            let standby = conninfo.without_secrets();
            match limited(look).await {
                Ok(sql) => {
                    self.standbys.insert(number, sql);
                    self.shared.board.clear_for(AlarmKind::StandbySlot, &standby);
                }
                Err(error) => {
                    let reason = reason(error);
                    self.shared.board.raise(Alarm::StandbySlot { standby, reason });
                }
            }
        }
    }
}

/// Connects for SQL to the server that is streamed from, one of several perhaps.
async fn connect(conninfo: &Conninfo, shared: &Shared) -> Result<Connection, ClientError> {
    let sql = Connection::connect(conninfo, Purpose::Sql).await?;
    let wanted = shared.endpoint();
    if wanted.is_none() || wanted.as_ref() == Some(sql.endpoint()) {
        return Ok(sql);
    }
    for host in conninfo.hosts() {
        let other = Connection::connect(&conninfo.clone().with_host(host.clone()), Purpose::Sql).await;
        if let Ok(other) = other
            && wanted.as_ref() == Some(other.endpoint())
        {
            return Ok(other);
        }
    }
    Ok(sql)
}

/// Whether a server says that it is starting up or shutting down.
fn refuses_sessions(error: &ClientError) -> bool {
    match error {
        ClientError::AllFailed { failures } => failures.iter().any(refuses_sessions),
        error => matches!(error.refusal(), Some(Refusal::NotReady { .. })),
    }
}

/// No answer in time is an error without a name.
async fn limited<T>(look: impl Future<Output = Result<T, ClientError>>) -> Result<T, Option<ClientError>> {
    match tokio::time::timeout(LOOK_LIMIT, look).await {
        Ok(outcome) => outcome.map_err(Some),
        Err(_) => Err(None),
    }
}

fn reason(error: Option<ClientError>) -> String {
    error.map_or_else(|| "it does not answer".to_owned(), |error| error_chain(&error))
}
