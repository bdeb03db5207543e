//! Keeps catalogue snapshots in the vault, so that `wal search` can call relations by their names.

use crate::output::Output;
use crate::settings::Settings;
use lifeboat_base::{ServiceName, error_chain};
use lifeboat_postgres::catalogue::{self, CatalogueError};
use lifeboat_postgres::client::Conninfo;
use lifeboat_vault::Vault;
use std::time::Duration;

/// Between two snapshots: a table made and dropped within it has no name later.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// After a snapshot that could not be taken.
const AGAIN: Duration = Duration::from_secs(5 * 60);

/// Takes one. Without it nothing is lost but names, so that a failure is only told.
pub async fn capture(output: &Output, vault: &Vault, service: &ServiceName, conninfo: &Conninfo) {
    if let Err(error) = try_it(output, vault, service, conninfo).await {
        output.warn(format!("names of tables were not kept: {:#}", anyhow::Error::new(error)));
    }
}

/// Takes one now, and one every hour, for as long as it is polled.
pub async fn keep(settings: Settings, vault: Vault, service: ServiceName, conninfo: Conninfo) {
    let mut told = None;
    loop {
        let pause = match try_it(&settings.output, &vault, &service, &conninfo).await {
            Ok(()) => EVERY,
            Err(error) => {
                let reason = error_chain(&error);
                // The same reason once: this goes on for ever.
                if told.as_ref() != Some(&reason) {
                    settings.output.warn(format!("names of tables are not kept: {reason}"));
                }
                told = Some(reason);
                AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn try_it(
    output: &Output,
    vault: &Vault,
    service: &ServiceName,
    conninfo: &Conninfo,
) -> Result<(), CatalogueError> {
    let captured = catalogue::capture(vault, service, conninfo).await?;
    for skipped in &captured.skipped {
        output.warn(format!("names of database {} were not kept: {}", skipped.database, skipped.why));
    }
    Ok(())
}
