//! Has a primary refuse every session, by SQL.
//!
//! New sessions must load a library that there is not, and so never begin; those that are open are ended. A superuser
//! that asks for it by name still gets in: that is how it is taken back. Connections for replication go on, so that a
//! standby still receives all; one for replication *in a database* can write by SQL and is not refused.

use super::super::reach::{AskError, Reach, Session};
use super::super::writes::apply;
use super::super::{Job, LOOK, failed, unknown};
use lifeboat_core::run::{Observed, Outcome};
use lifeboat_core::runbook::postgres::{On, PRELOAD, READ_ONLY, refuse_sessions, set_back};
use std::time::Duration;

/// Between two looks at what takes effect soon.
const POLL: Duration = Duration::from_millis(50);
/// How long it may take until all sessions have ended.
const EFFECT: Duration = Duration::from_secs(30);
/// What the settings were before.
const PREVIOUS: [(&str, &str); 2] =
    [(READ_ONLY, "FENCED_READ_ONLY_BEFORE"), (PRELOAD, "FENCED_PRELOAD_BEFORE")];

/// What there is before anything is done, where it can be asked and is not known.
pub(super) async fn previous(job: &Job<'_>) -> Observed {
    let mut observed = Observed::new();
    if job.before(PREVIOUS[1].1).is_some() {
        return observed;
    }
    let Ok(reach) = Reach::new(job.server, On::Primary) else { return observed };
    let Ok(mut session) = reach.open(job.until.within(LOOK)).await else { return observed };
    for (setting, name) in PREVIOUS {
        if let Ok(value) = session.text(&format!("SHOW {setting}")).await {
            observed.insert(job.name(name), value);
        }
    }
    observed
}

/// Fences each primary that answers; what proves it.
pub(super) async fn refuse(job: &Job<'_>) -> Result<String, String> {
    let reach = Reach::new(job.server, On::Primary).map_err(|error| error.told())?;
    let mut fenced = Vec::new();
    for host in reach.hosts() {
        match host.any(job.until).await {
            Err(error) if error.is_fence() => fenced.push(host.told()),
            Err(error) => return Err(error.told()),
            Ok(mut session) => {
                if session.is_in_recovery().await.map_err(|error| error.told())? {
                    continue;
                }
                let at = session.at();
                close(job, &host, &mut session).await.map_err(|error| error.told())?;
                fenced.push(at);
            }
        }
    }
    match fenced.is_empty() {
        true => Err("no primary answers that could be told to refuse".to_owned()),
        false => Ok(format!("{} lets no session begin any more, and none is open", fenced.join(", "))),
    }
}

async fn close(job: &Job<'_>, host: &Reach, session: &mut Session) -> Result<(), AskError> {
    if session.text("SHOW is_superuser").await? != "on" {
        return Err(AskError::NotSuperuser { at: session.at() });
    }
    let mut statements = refuse_sessions();
    let end = statements.pop().unwrap_or_default();
    for statement in statements {
        session.rows(&statement).await?;
    }
    let until = job.until.within(EFFECT);
    while !host.any(until).await.is_err_and(|error| error.is_fence()) {
        if until.is_over() {
            return Err(AskError::Late { at: session.at() });
        }
        until.pause(POLL).await;
    }
    loop {
        if session.text(&end).await? == "0" {
            return Ok(());
        }
        if until.is_over() {
            return Err(AskError::Late { at: session.at() });
        }
        until.pause(POLL).await;
    }
}

/// Takes it back where it was done. What is told of it.
pub(super) async fn take_back(job: &Job<'_>) -> Result<String, Outcome> {
    let reach = Reach::new(job.server, On::Primary).map_err(|error| failed(error.told()))?;
    let mut text = String::new();
    for host in reach.hosts() {
        let inside = host.with_options(&format!("-c {PRELOAD}="));
        // Used on while others are looked at: it has the time of the step.
        let mut session = inside.any(job.until).await.map_err(|error| failed(error.told()))?;
        for (setting, _) in PREVIOUS {
            apply(&mut session, &set_back(setting)).await?;
        }
        for (setting, name) in PREVIOUS {
            let Some(was) = job.before(name) else { continue };
            if !has(job, &host, setting, was).await {
                let value = was.replace('\'', "''");
                let set =
                    [format!("ALTER SYSTEM SET {setting} = '{value}'"), "SELECT pg_reload_conf()".to_owned()];
                apply(&mut session, &set).await?;
                if !has(job, &host, setting, was).await {
                    return Err(unknown(format!("{} does not have {setting} = `{was}` again", session.at())));
                }
            }
        }
        text += &format!("{} lets sessions begin as before\n", session.at());
    }
    Ok(text)
}

/// Whether new sessions come to have that setting.
async fn has(job: &Job<'_>, host: &Reach, setting: &str, wanted: &str) -> bool {
    let until = job.until.within(LOOK);
    while !until.is_over() {
        if let Ok(mut session) = host.any(until).await
            && session.text(&format!("SHOW {setting}")).await.is_ok_and(|found| found == wanted)
        {
            return true;
        }
        until.pause(POLL).await;
    }
    false
}
