//! A recovered server that is thrown away: for a verification, for one table.
//!
//! Where views are possible it stands on one that keeps only what replay writes, so that little room is needed and
//! nothing is fetched that nobody reads.
//!
//! # Invariants
//! - **T1 an accident is no verdict.** What happened between the view and its vault is remembered, for whoever
//!   would blame the restore point.

use crate::recovery::{self, Wanted};
use crate::settings::{Opened, Settings};
use crate::{helper, signals};
use anyhow::Context;
use lifeboat_postgres::fetch;
use lifeboat_postgres::view::{self, Happened, Keep, Listener, View};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A directory in which a server can be started, until this is dropped.
pub struct ThrowAway {
    directory: PathBuf,
    view: Option<View>,
    happened: Arc<Mutex<Vec<Happened>>>,
}

impl ThrowAway {
    /// Makes the directory that is wanted: as a view, or, where that is not possible, with all files in it.
    ///
    /// # Errors
    /// If it is not whole.
    pub async fn make(settings: &Settings, opened: &Opened, wanted: &Wanted) -> anyhow::Result<Self> {
        let happened: Arc<Mutex<Vec<Happened>>> = Arc::default();
        let mut made = Self { directory: wanted.into.clone(), view: None, happened: happened.clone() };
        if let Err(why) = view::is_possible() {
            settings.output.say(format!("restoring fully, for there are no views on this machine: {why}"));
            let (options, plan) = recovery::plan(settings, opened, wanted).await?;
            recovery::apply(settings, opened, &options, plan).await?;
            return Ok(made);
        }
        let options = recovery::options(settings, opened, wanted)?;
        let made_view = async {
            let plan = view::plan(&options).await.context("no view was made")?;
            view::create(&options, plan).await.context("no view was made")?;
            let tell: Listener = Arc::new(move |what| {
                happened.lock().unwrap_or_else(PoisonError::into_inner).push(what);
            });
            let shown = View::show(&opened.vault, &wanted.into, Keep::Written, tell).await;
            shown.context("the view was not shown")
        };
        made.view = Some(signals::unless_stopped(made_view).await??);
        Ok(made)
    }

    /// The view that it stands on, if it stands on one.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// What no copy of the vault had whole, if anything (T1).
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        let happened = self.happened.lock().unwrap_or_else(PoisonError::into_inner);
        happened.iter().find_map(|what| match what {
            Happened::Damaged { path, at, why } => Some(format!("{path}, byte {at}: {why}")),
            _ => None,
        })
    }

    /// Whether the vault was away meanwhile, and why (T1).
    #[must_use]
    pub fn was_away(&self) -> Option<String> {
        let happened = self.happened.lock().unwrap_or_else(PoisonError::into_inner);
        happened.iter().find_map(|what| match what {
            Happened::Away(why) => Some(why.clone()),
            _ => None,
        })
    }

    /// Throws it away; no server may run there any more.
    pub async fn end(mut self) {
        fetch::end_helper(&self.directory.join(helper::SOCKET)).await;
        let Some(view) = self.view.take() else { return };
        // What cannot be removed is named like it, for a person to find.
        let _ = tokio::task::spawn_blocking(move || view.throw_away()).await;
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        if let Some(view) = self.view.take() {
            let _ = view.throw_away();
        }
    }
}
