//! `lifeboat completions`: scripts by which shells complete commands and arguments.

use crate::arguments::Arguments;
use crate::output::Exit;
use crate::settings::Settings;
use clap::CommandFactory;

/// Arguments of `lifeboat completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "For bash: lifeboat completions bash > /etc/bash_completion.d/lifeboat")]
pub struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

/// Prints the script.
///
/// # Errors
/// If standard output takes no more.
pub fn run(settings: &Settings, args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "lifeboat", &mut script);
    settings.output.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Good)
}
