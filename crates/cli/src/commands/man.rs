//! `lifeboat man`: the manual pages, from the same declarations as the arguments.

use crate::arguments::Arguments;
use crate::output::Exit;
use crate::settings::Settings;
use anyhow::Context;
use clap::CommandFactory;
use std::path::PathBuf;

/// Arguments of `lifeboat man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "To read it now: lifeboat man | man -l -")]
pub struct Args {
    /// Where to write a page for each command, instead of printing the first one.
    directory: Option<PathBuf>,
}

/// Prints or writes them.
///
/// # Errors
/// If they cannot be written.
pub fn run(settings: &Settings, args: &Args) -> anyhow::Result<Exit> {
    match &args.directory {
        Some(directory) => {
            let failed = || format!("pages cannot be written to {}", directory.display());
            std::fs::create_dir_all(directory).with_context(failed)?;
            clap_mangen::generate_to(Arguments::command(), directory).with_context(failed)?;
            settings.output.say(format!("manual pages written to {}", directory.display()));
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page).context("write the page")?;
            settings.output.data(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(Exit::Good)
}
