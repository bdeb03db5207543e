//! Commands of the plan: what they are given, how they are run, what came of them.
//!
//! They run below a process of this program ([`supervise`]) that ends them in time (A1), in `/bin/sh` or in what their
//! first line `#!…` names. They find the environment of whoever carries the run, without the vault's passphrase, and
//! beside it the plan's variables, what steps observed (the later over the earlier), and `LIFEBOAT_RUN`,
//! `LIFEBOAT_FENCE` and `LIFEBOAT_TARGET`. Where the step names no directory they run in one that all steps of the run
//! share on this machine.
//!
//! Deliberately absent: a terminal, standard input, limits of memory: a step that needs such says so in its commands.

mod order;
mod processes;
mod script;
mod supervisor;

pub use supervisor::{SuperviseError, supervise};

use crate::task::Task;
use crate::telling::Telling;
use lifeboat_core::port::Trouble;
use lifeboat_core::run::{Found, Observed, Outcome, Told};
use lifeboat_core::runbook::postgres::Postgres;
use lifeboat_core::runbook::{Check, Deed, Shell};
use order::{Frame, Order, Report};
use processes::GRACE;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// Never given to commands unless the plan says that they need it.
const WITHHELD: [&str; 1] = ["LIFEBOAT_PASSPHRASE"];
/// So much of what is printed is held against what was expected.
const EXPECTED_BYTES: usize = 1 << 20;
/// So much of it is repeated in a message.
const SHOWN_CHARS: usize = 200;
/// Beyond their limit and their grace, whoever watches over commands must have told how they ended.
const TELLING: Duration = Duration::from_secs(20);
/// Of what that process says when it cannot do its work.
const COMPLAINT_BYTES: u64 = 4 << 10;

/// How commands ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// With success, and with what they were to print.
    Well,
    /// With a failure, or nothing was begun.
    Badly(String),
    /// By force.
    BrokenOff(String),
}

/// What came of commands.
struct Ran {
    ended: Ended,
    observed: Observed,
    output: String,
}

/// What is run.
struct Commands<'a> {
    text: &'a str,
    outputs: &'a [String],
    expect: Option<&'a str>,
}

/// Runs the commands that are a step, or that undo one.
pub(crate) async fn act(task: &Task, text: &str, outputs: &[String]) -> Result<Told<Outcome>, Trouble> {
    let Ran { ended, observed, output } = run(task, &Commands { text, outputs, expect: None }).await?;
    let result = match ended {
        Ended::Well => Outcome::Done,
        Ended::Badly(why) => Outcome::Failed { why },
        Ended::BrokenOff(why) => Outcome::Unknown { why },
    };
    Ok(Told { result, observed, output })
}

/// Runs commands that only look, as a step.
pub(crate) async fn check(task: &Task, check: &Check) -> Result<Told<Outcome>, Trouble> {
    let Ran { ended, observed, output } = run(task, &Commands::of(check)).await?;
    let result = match ended {
        Ended::Well => Outcome::Done,
        Ended::Badly(why) | Ended::BrokenOff(why) => Outcome::Failed { why },
    };
    Ok(Told { result, observed, output })
}

/// Runs commands that tell whether a step is done.
pub(crate) async fn probe(task: &Task, check: &Check) -> Result<Told<Found>, Trouble> {
    let Ran { ended, observed, output } = run(task, &Commands::of(check)).await?;
    let result = match ended {
        Ended::Well => Found::Done,
        Ended::Badly(_) => Found::NotDone,
        Ended::BrokenOff(_) => Found::Unknown,
    };
    Ok(Told { result, observed, output })
}

impl<'a> Commands<'a> {
    fn of(check: &'a Check) -> Self {
        Self { text: &check.run, outputs: &[], expect: check.expect.as_deref() }
    }
}

async fn run(task: &Task, commands: &Commands<'_>) -> Result<Ran, Trouble> {
    let directory = directory(task)?;
    let order = Order {
        text: commands.text.to_owned(),
        outputs: commands.outputs.to_vec(),
        directory,
        scratch: task.tools.workspace.join("scripts"),
        environment: environment(task),
        limit_ms: u64::try_from(task.limit().as_millis()).unwrap_or(u64::MAX),
        is_apart: commands.expect.is_some(),
    };
    let mut supervisor = Supervisor::start(&task.tools.supervisor)?;
    let mut telling = Telling::new(&task.redactor, task.lines());
    let mut printed = Vec::new();
    let limit = task.limit() + GRACE + TELLING;
    let report = tokio::time::timeout(
        limit,
        supervisor.carry_out(order, |from, bytes| {
            if from == 0 && printed.len() < EXPECTED_BYTES {
                printed.extend_from_slice(bytes);
            }
            telling.push(from, bytes);
        }),
    );
    let report = report.await.map_err(|_| "whoever watches over the commands does not answer")?;
    let report = match report {
        Ok(report) => report,
        Err(error) => return Err(supervisor.complaint(&error).await.into()),
    };
    let output = telling.finish();
    let observed = observed(task, &report);
    let ended = match ended(&report) {
        Ended::Well => asserted(commands, &report, &observed, &String::from_utf8_lossy(&printed)),
        ended => ended,
    };
    Ok(Ran { ended, observed, output })
}

fn ended(report: &Report) -> Ended {
    if let Some(why) = &report.not_begun {
        return Ended::Badly(format!("nothing was begun: {why}"));
    }
    if let Some(why) = &report.broken_off {
        return Ended::BrokenOff(match report.left {
            0 => format!("it was broken off: {why}"),
            left => format!("it was broken off: {why}; {left} of its processes could not be ended"),
        });
    }
    match (report.status, report.signal) {
        (Some(0), _) => Ended::Well,
        (Some(status), _) => Ended::Badly(format!("the commands ended with status {status}")),
        (None, Some(signal)) => Ended::BrokenOff(format!("the commands were ended by signal {signal}")),
        (None, None) => Ended::BrokenOff("how the commands ended is not known".to_owned()),
    }
}

/// Commands that ended well, held against what was expected of them.
fn asserted(commands: &Commands<'_>, report: &Report, observed: &Observed, printed: &str) -> Ended {
    if let Some(expect) = commands.expect
        && printed.trim() != expect.trim()
    {
        let printed = shortened(printed.trim());
        return Ended::Badly(format!("it printed `{printed}`, not `{}`", shortened(expect.trim())));
    }
    if let Some(why) = &report.no_outputs {
        return Ended::Badly(format!("the commands succeeded, but {why}"));
    }
    let missing = commands.outputs.iter().find(|name| !report.outputs.contains_key(*name));
    if let Some(name) = missing {
        return Ended::Badly(format!(
            "the commands succeeded, but left no `{name}`: it is not set, or a `trap … EXIT` of their own hid it"
        ));
    }
    // A3: what later steps need would stand in the journal.
    match commands.outputs.iter().find(|name| !observed.contains_key(*name)) {
        Some(name) => Ended::Badly(format!(
            "the commands succeeded, but `{name}` holds a secret, which is not kept for later steps: let them read it \
             where it comes from"
        )),
        None => Ended::Well,
    }
}

fn observed(task: &Task, report: &Report) -> Observed {
    let outputs = report.outputs.iter().filter(|(_, value)| !task.redactor.finds(value));
    outputs.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn environment(task: &Task) -> BTreeMap<String, String> {
    let binding = &task.binding;
    // A recovery is this same program: it opens the vault as it would for a person.
    let is_ours = matches!(&binding.deed, Deed::Postgres(Postgres::Recover(_)));
    let is_given =
        |name: &&String| is_ours || !WITHHELD.contains(&name.as_str()) || binding.secrets.contains(name);
    let own = task.tools.environment.iter().filter(|(name, _)| is_given(name));
    let mut all: BTreeMap<String, String> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    all.extend(binding.environment.clone());
    // What actions remember for themselves has names that no shell knows.
    let observed = task.under.known.iter().chain(&task.under.before).filter(|(name, _)| is_name(name));
    all.extend(observed.map(|(name, value)| (name.clone(), value.clone())));
    all.insert("LIFEBOAT_RUN".to_owned(), task.under.run.clone());
    all.insert("LIFEBOAT_FENCE".to_owned(), task.under.fence.to_string());
    // A zero byte would end a value early.
    all.retain(|name, value| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
    all
}

fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty() && text.bytes().all(is_part)
}

/// Where they run: as the step says, or where all of the run's do.
fn directory(task: &Task) -> Result<PathBuf, Trouble> {
    let run = &task.under.run;
    if run.is_empty() || !run.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("`{run}` names no run").into());
    }
    let directory = task.tools.workspace.join(run);
    private(&task.tools.workspace)?;
    private(&directory)?;
    Ok(directory)
}

/// Makes a directory that is ours alone; or finds it so.
fn private(directory: &Path) -> Result<(), Trouble> {
    let failed = |error: io::Error| format!("{} cannot be made: {error}", directory.display());
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let metadata = directory.symlink_metadata().map_err(failed)?;
    let is_ours = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    if !is_ours || metadata.mode() & 0o022 != 0 {
        return Err(format!("{} belongs to someone else; remove it", directory.display()).into());
    }
    Ok(())
}

/// The process that watches over commands.
struct Supervisor {
    process: Child,
    socket: UnixStream,
}

impl Supervisor {
    fn start(command: &[std::ffi::OsString]) -> Result<Self, Trouble> {
        let Some((program, arguments)) = command.split_first() else {
            return Err("there is no program that watches over commands".into());
        };
        let failed =
            |error: io::Error| format!("nothing was begun: {} cannot be started: {error}", program.display());
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        let process = command.stderr(Stdio::piped()).current_dir("/").spawn().map_err(failed)?;
        Ok(Self { process, socket: UnixStream::from_std(ours).map_err(failed)? })
    }

    async fn carry_out(&mut self, order: Order, mut take: impl FnMut(usize, &[u8])) -> io::Result<Report> {
        Frame::Order(order).write(&mut self.socket).await?;
        loop {
            match Frame::read(&mut self.socket).await? {
                Frame::Out(bytes) => take(0, &bytes),
                Frame::Err(bytes) => take(1, &bytes),
                Frame::Report(report) => return Ok(report),
                Frame::Order(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// Why it ended without a report.
    async fn complaint(&mut self, error: &io::Error) -> String {
        let mut said = Vec::new();
        if let Some(errors) = self.process.stderr.take() {
            let read = async { errors.take(COMPLAINT_BYTES).read_to_end(&mut said).await };
            let _ = tokio::time::timeout(Duration::from_secs(1), read).await;
        }
        let said = String::from_utf8_lossy(&said);
        match said.trim() {
            "" => format!("whoever watches over the commands is gone: {error}"),
            said => format!("whoever watches over the commands is gone, saying \u{201c}{said}\u{201d}"),
        }
    }
}

/// What a step's own commands are.
pub(crate) async fn deed(task: &Task, deed: &Shell) -> Result<Told<Outcome>, Trouble> {
    act(task, &deed.run, &deed.outputs).await
}
