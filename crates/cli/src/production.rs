//! Whether the server that a plan protects still takes writes: beside it nothing is opened without a word.
//!
//! # Invariants
//! - **F1 two primaries are a person's choice.** While a primary of the same cluster answers where the plan says
//!   that it is, nothing is opened but on a flag, or on a word typed for it.
//! - **F2 what could not be found out is said.** Silence is no proof that it is fenced.

use crate::failure::Next;
use crate::output::Output;
use crate::settings;
use anyhow::{Context, anyhow};
use lifeboat_base::{ServiceName, SystemId, error_chain};
use lifeboat_plan::Plan;
use lifeboat_postgres::client::{ClientError, Connection, Conninfo, Purpose};
use std::time::Duration;

/// How long a server may take to say who it is.
const LIMIT: Duration = Duration::from_secs(10);

/// What is known of production.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// It takes writes, there.
    Primary(String),
    /// Whether it takes writes could not be found out.
    Unknown(String),
    /// What answers is another cluster.
    Another,
}

/// Refuses to go on beside a production that takes writes (F1), unless `is_wanted`. Returns whether it is
/// wanted from now on.
///
/// # Errors
/// If it does, and nobody says that it may.
pub async fn may_open_beside(
    output: &Output,
    plan: Option<&Plan>,
    service: &ServiceName,
    system: SystemId,
    is_wanted: bool,
) -> anyhow::Result<bool> {
    let at = match look(plan, service, system).await {
        Found::Another => return Ok(is_wanted),
        Found::Unknown(reason) => {
            output.say(format!("whether production still takes writes could not be found out: {reason}"));
            return Ok(is_wanted);
        }
        Found::Primary(at) => at,
    };
    output.warn(format!(
        "production is alive: {at} is a primary of {service} and takes writes. Opened beside it, there are two, \
         and what is written to one is not in the other. Fence it first: stop it, and see to it that nothing \
         starts it again"
    ));
    if is_wanted {
        return Ok(true);
    }
    if output.confirm("Open it beside production all the same?")? {
        return Ok(true);
    }
    Err(anyhow!("nothing is opened beside a production that takes writes"))
        .next("fence it and try again; for a drill, add --beside-production")
}

async fn look(plan: Option<&Plan>, service: &ServiceName, system: SystemId) -> Found {
    let Some(plan) = plan else { return Found::Unknown("there is no plan that says where it is".to_owned()) };
    let info = settings::postgres_of(plan, service)
        .and_then(|postgres| settings::conninfo(postgres, &postgres.connection))
        .context("the plan does not say how it is reached");
    let info = match info {
        Ok(info) => info,
        Err(error) => return Found::Unknown(format!("{error:#}")),
    };
    let mut unknown = None;
    for host in info.hosts() {
        let asked = tokio::time::timeout(LIMIT, ask(info.clone().with_host(host.clone()), system)).await;
        match asked {
            Ok(Ok(Found::Primary(at))) => return Found::Primary(at),
            Ok(Ok(Found::Another)) => {}
            Ok(Ok(Found::Unknown(reason))) => unknown = Some(reason),
            Ok(Err(error)) => unknown = Some(error_chain(&error)),
            Err(_) => unknown = Some(format!("it does not answer within {} s", LIMIT.as_secs())),
        }
    }
    unknown.map_or(Found::Another, Found::Unknown)
}

async fn ask(info: Conninfo, system: SystemId) -> Result<Found, ClientError> {
    let mut connection = Connection::connect(&info, Purpose::Replication).await?;
    let at = connection.endpoint().to_string();
    let found = if connection.identify_system().await?.system != system {
        Found::Another
    } else if connection.is_in_recovery().await? {
        Found::Unknown(format!("{at} is a standby, and its primary may be alive"))
    } else {
        Found::Primary(at)
    };
    connection.close().await;
    Ok(found)
}
