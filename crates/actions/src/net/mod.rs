//! What is asked of the network: web servers, ports, certificates. It only reads.
//!
//! A check is asked again until it holds or its `within` is over; each answer has a limit of its own, and all of it ends
//! with the step (A1): nothing of it is left anywhere when whoever asked is gone.

mod http;
mod tcp;
mod tls;

use crate::task::Task;
use lifeboat_core::run::{Outcome, Told};
use lifeboat_core::runbook::{Http, Tcp, Tls};
use lifeboat_plan::Interval;
use std::time::Duration;
use tokio::time::Instant;

/// Between two questions.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks a web server.
pub(crate) async fn http(task: &Task, with: &Http) -> Told<Outcome> {
    until_it_holds(task, with.within, with.limit(), || http::look(with)).await
}

/// Opens a connection.
pub(crate) async fn tcp(task: &Task, with: &Tcp) -> Told<Outcome> {
    until_it_holds(task, with.within, with.limit(), || tcp::look(with)).await
}

/// Opens a connection by TLS.
pub(crate) async fn tls(task: &Task, with: &Tls) -> Told<Outcome> {
    until_it_holds(task, with.within, with.limit(), || tls::look(with)).await
}

/// Looks until it holds; says what was seen, or why it does not.
async fn until_it_holds<F: Future<Output = Result<String, String>> + Send>(
    task: &Task,
    within: Option<Interval>,
    answer: Duration,
    look: impl Fn() -> F,
) -> Told<Outcome> {
    let within = within.map_or(Duration::ZERO, |interval| interval.0);
    let end = Instant::now() + within.min(task.limit());
    loop {
        let looked = tokio::time::timeout(answer.min(task.limit()), look()).await;
        let why = match looked {
            Ok(Ok(seen)) => {
                return Told { output: format!("{seen}\n"), ..Outcome::Done.into() };
            }
            Ok(Err(why)) => why,
            Err(_) => format!("there was no answer within {}", lifeboat_base::format_duration(answer)),
        };
        if Instant::now() + AGAIN >= end {
            return Outcome::Failed { why }.into();
        }
        tokio::time::sleep(AGAIN).await;
    }
}
