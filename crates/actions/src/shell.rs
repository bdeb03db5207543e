//! Commands of the plan, in one shell.

use lifeboat_core::port::Trouble;
use lifeboat_core::run::{Circumstances, Observed, Outcome, Told};
use lifeboat_core::runbook::{Binding, Check};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Commands to run, and with what.
#[derive(Debug)]
pub(crate) struct Commands {
    text: String,
    outputs: Vec<String>,
    expect: Option<String>,
    environment: BTreeMap<String, String>,
    limit: Duration,
}

/// How commands ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With success, and with what they were to print.
    Well,
    /// With a failure.
    Badly(String),
    /// Their time was over.
    BrokenOff(String),
}

impl Commands {
    /// Commands that change the world.
    pub(crate) fn new(binding: &Binding, text: &str, outputs: &[String], under: &Circumstances) -> Self {
        let mut environment = binding.environment.clone();
        environment.extend(under.known.clone());
        environment.extend(under.before.clone());
        environment.insert("LIFEBOAT_RUN".to_owned(), under.run.clone());
        environment.insert("LIFEBOAT_FENCE".to_owned(), under.fence.to_string());
        Self {
            text: text.to_owned(),
            outputs: outputs.to_vec(),
            expect: None,
            environment,
            limit: Duration::from_secs(binding.timeout),
        }
    }

    /// Commands that look at it.
    pub(crate) fn check(binding: &Binding, check: &Check, under: &Circumstances) -> Self {
        Self { expect: check.expect.clone(), ..Self::new(binding, &check.run, &[], under) }
    }
}

/// Runs them to their end, or to the end of their time.
pub(crate) async fn run(commands: &Commands) -> Result<(Ended, String), Trouble> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(&commands.text).envs(&commands.environment);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(commands.limit, shell.output()).await;
    let Ok(output) = output else {
        return Ok((Ended::BrokenOff("its time was over".to_owned()), String::new()));
    };
    let output = output?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let ended = match (output.status.success(), &commands.expect) {
        (false, _) => Ended::Badly(format!("the commands ended with {}", output.status)),
        (true, Some(expect)) if printed.trim() != expect.trim() => {
            Ended::Badly(format!("it printed `{}`, not `{}`", printed.trim(), expect.trim()))
        }
        (true, _) => Ended::Well,
    };
    Ok((ended, printed + &String::from_utf8_lossy(&output.stderr)))
}

/// Runs them as an act.
pub(crate) async fn act(commands: &Commands) -> Result<Told<Outcome>, Trouble> {
    let (ended, output) = run(commands).await?;
    let result = match ended {
        Ended::Well => Outcome::Done,
        Ended::Badly(why) => Outcome::Failed { why },
        Ended::BrokenOff(why) => Outcome::Unknown { why },
    };
    let _ = &commands.outputs;
    Ok(Told { result, observed: Observed::new(), output })
}
