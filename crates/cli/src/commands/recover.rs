//! `lifeboat recover`: a service back at a moment at once, from a view.
//!
//! Where views are not possible it says so in one line, and restores fully.

use super::restore::{self, Asked, How};
use crate::output::Exit;
use crate::settings::Settings;
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
    /// Fetch the rest right away, while the server is in use.
    #[arg(long)]
    hydrate: bool,
}

/// Recovers.
///
/// # Errors
/// If the service is not back where it was asked to be.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let how = match view::is_possible() {
        Ok(()) => How::View { hydrate: args.hydrate },
        Err(why) => {
            settings.output.say(format!("no instant recovery on this machine, restoring fully: {why}"));
            How::default()
        }
    };
    restore::bring_back(settings, args.asked, how).await
}
