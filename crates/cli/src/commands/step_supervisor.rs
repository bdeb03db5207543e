//! `lifeboat step-supervisor`: the process that watches over the commands of one step, so that they end in time also when
//! whoever carries the run has died. It takes its order through a socket, and prints nothing.

use crate::output::Exit;

/// Runs it.
///
/// # Errors
/// If nobody gives it an order.
pub async fn run() -> anyhow::Result<Exit> {
    lifeboat_actions::supervise().await?;
    Ok(Exit::Good)
}
