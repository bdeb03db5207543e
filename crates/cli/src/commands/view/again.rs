//! How the server of a view is started again: as it was.

use crate::recovery;
use crate::settings::{Opened, Settings};
use anyhow::Context;
use lifeboat_postgres::restore::{left_in, users_in};
use lifeboat_postgres::server::{Server, StartOptions, end_stranded, server_account};
use lifeboat_postgres::view::Place;
use lifeboat_vault::point::{self, RestorePoint};
use std::path::Path;

/// How the server is started again: as it was.
pub(super) struct Again {
    start: StartOptions,
    /// While it recovers it needs WAL from the vault.
    recovers: Option<(Opened, RestorePoint)>,
}

impl Again {
    /// As it was started the last time, on this port.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub(super) async fn of(settings: &Settings, place: &Place, port: u16) -> anyhow::Result<Self> {
        let major = major_of(&place.mount);
        let major = major.with_context(|| format!("{} names no version", place.mount.display()))?;
        let mut recovers = None;
        if let Some(left) = left_in(&place.mount) {
            let opened = settings.open().await?;
            let point = point::read(&opened.vault, &left.service, &left.point).await?;
            recovers = Some((opened, point));
        }
        let start = StartOptions {
            directory: place.mount.clone(),
            installation: recovery::installation(major)?,
            account: server_account().context("the server has nobody to run as")?,
            port,
            users: recovery::login_roles(&users_in(&place.mount), None),
        };
        Ok(Self { start, recovers })
    }

    /// Returns its process, once it answers.
    ///
    /// # Errors
    /// If it does not come to that.
    pub(super) async fn start(&self, settings: &Settings) -> anyhow::Result<u32> {
        let StartOptions { directory, port, users, .. } = &self.start;
        let mut server = match &self.recovers {
            Some((opened, point)) => {
                recovery::start(settings, opened, point, directory, *port, users).await?
            }
            None => {
                end_stranded(directory).await.context("the server of before could not be ended")?;
                Server::start(&self.start).context("the server was not started")?
            }
        };
        server.answering().await.context("the server does not answer")?.close().await;
        let pid = server.pid();
        server.detach();
        Ok(pid)
    }
}

/// The version of PostgreSQL that a data directory is of.
pub(super) fn major_of(directory: &Path) -> Option<u32> {
    std::fs::read_to_string(directory.join("PG_VERSION")).ok()?.trim().parse().ok()
}
