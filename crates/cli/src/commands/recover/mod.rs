//! `lifeboat recover`: a service back at a moment at once, from a view; or one table of it.
//!
//! Where views are not possible it says so in one line, and restores fully.

mod table;

use super::restore::{self, Asked, How};
use crate::output::Exit;
use crate::settings::Settings;
use anyhow::Context;
use lifeboat_postgres::view;

/// Arguments of `lifeboat recover`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The server answers as soon as its WAL is replayed, and reads from the vault what it has not read \
    yet; `lifeboat view finish DIR` makes a plain data directory of it.\n\
    Moments: latest; a time with its zone (2026-11-21T10:15:00+08:00); lsn:16/B374D848; xid:4711, with that \
    transaction; before:xid:4711, without it; name:LABEL, from pg_create_restore_point."
)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// The directory: new, empty, or left by this command. With --table: the database to put it into, as a
    /// connection string.
    #[arg(long, value_name = "DIR|CONNECTION")]
    into: Option<String>,
    /// Fetch the rest right away, while the server is in use.
    #[arg(long, conflicts_with = "tables")]
    hydrate: bool,
    #[command(flatten)]
    table: table::Args,
}

/// Recovers.
///
/// # Errors
/// If the service is not back where it was asked to be.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let Args { asked, into, hydrate, table } = args;
    if !table.tables.is_empty() {
        return table::run(settings, &asked, into, table).await;
    }
    let into = into.context("say where the service goes: --into DIR")?;
    let how = match view::is_possible() {
        Ok(()) => How::View { hydrate },
        Err(why) => {
            settings.output.say(format!("no instant recovery on this machine, restoring fully: {why}"));
            How::default()
        }
    };
    restore::bring_back(settings, asked, into.into(), how).await
}
