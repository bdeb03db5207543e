//! The process that watches over commands, so that they end in time also when whoever began them has died.
//!
//! It is this program, started anew for each order. Its standard input is a socket: an order comes in, what commands
//! print and how they ended goes out. When the other end of it is closed, whoever ordered is gone.
//!
//! # Invariants
//! - **P1 nothing is left.** Whatever the commands began is over when their time is, when the socket is closed, or when
//!   this process is asked to end: their group, and what left it. What they leave in their group when they end by
//!   themselves ends with them; what made itself a session of its own, as a server does, stays.
//! - **P2 a terminal reaches none of it.** It is a session of its own, without a terminal to ask or to be stopped by.
//!
//! Deliberately absent: what the commands mean, and secrets: both are whoever's who ordered. Against a `kill -9` of this
//! very process nothing helps: the commands then end by themselves or not at all.

use super::order::{CHUNK_BYTES, Frame, Order, Report};
use super::processes::{end_all, end_group};
use super::script::{Interpreter, OUTPUTS_VARIABLE, Script};
use rustix::process::Pid;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Frames between what reads and what writes.
const QUEUE: usize = 16;
/// How long what was printed may still be on its way once all is over: a process that stays may hold the pipe open.
const DRAIN: Duration = Duration::from_millis(300);
/// How long the last words may take; whoever ordered may be busy.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Why there was nothing to watch over.
#[derive(Debug, thiserror::Error)]
#[error(
    "this command is for Lifeboat itself: its standard input is the socket of the Lifeboat that started it"
)]
pub struct SuperviseError(#[source] io::Error);

/// Carries out the order that comes through standard input.
///
/// # Errors
/// [`SuperviseError`] if none comes. How commands end is no error: it is reported.
pub async fn supervise() -> Result<(), SuperviseError> {
    let socket = socket().map_err(SuperviseError)?;
    // P2. Fails only for the first of a group, which a shell makes of what a person types.
    let _ = rustix::process::setsid();
    // P1: what loses its parent becomes our child.
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(|error| SuperviseError(error.into()))?;
    let (mut from, mut to) = socket.into_split();
    let order = match Frame::read(&mut from).await.map_err(SuperviseError)? {
        Frame::Order(order) => order,
        _ => return Err(SuperviseError(io::ErrorKind::InvalidData.into())),
    };
    let (say, mut said) = mpsc::channel::<Frame>(QUEUE);
    let saying = tokio::spawn(async move {
        while let Some(frame) = said.recv().await {
            if frame.write(&mut to).await.is_err() {
                // Nobody listens; the commands must not wait for them.
                while said.recv().await.is_some() {}
            }
        }
        let _ = to.shutdown().await;
    });
    let report = carry_out(&order, from, &say).await;
    // If nobody takes it, nobody is there to take it.
    let _ = tokio::time::timeout(LAST_WORDS, async {
        let _ = say.send(Frame::Report(report)).await;
        drop(say);
        let _ = saying.await;
    })
    .await;
    Ok(())
}

fn socket() -> io::Result<UnixStream> {
    let descriptor: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let socket = std::os::unix::net::UnixStream::from(descriptor);
    socket.peer_addr()?;
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

async fn carry_out(order: &Order, from: OwnedReadHalf, say: &mpsc::Sender<Frame>) -> Report {
    let not_begun = |why: String| Report { not_begun: Some(why), ..Report::default() };
    let script = match Script::new(&order.scratch, &order.text, &order.outputs) {
        Ok(script) => script,
        Err(error) => {
            return not_begun(format!(
                "the commands cannot be written to {}: {error}",
                order.scratch.display()
            ));
        }
    };
    let mut telling = JoinSet::new();
    let mut child = match begin(order, &script, say, &mut telling) {
        Ok(child) => child,
        Err(why) => return not_begun(why),
    };
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let broken_off = watch(&mut child, Duration::from_millis(order.limit_ms), from).await;
    let left = match (group, &broken_off) {
        (Some(group), Some(_)) => end_all(group).await,
        (Some(group), None) => {
            end_group(group);
            0
        }
        (None, _) => 0,
    };
    drain(telling, say).await;
    let status = child.try_wait().ok().flatten();
    let outputs = script.outputs();
    Report {
        status: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()),
        broken_off: broken_off.map(str::to_owned),
        left,
        no_outputs: outputs.as_ref().err().cloned(),
        outputs: outputs.unwrap_or_default(),
        not_begun: None,
    }
}

/// Until what was printed is on its way. A process that stays may hold a pipe open, and is not waited for.
async fn drain(mut telling: JoinSet<()>, say: &mpsc::Sender<Frame>) {
    let end = tokio::time::Instant::now() + LAST_WORDS;
    let all = async { while telling.join_next().await.is_some() {} };
    tokio::pin!(all);
    while tokio::time::timeout(DRAIN, &mut all).await.is_err() {
        let is_busy = say.capacity() == 0;
        if !is_busy || tokio::time::Instant::now() >= end {
            return;
        }
    }
}

/// Until the commands have ended, or why they must.
async fn watch(child: &mut Child, limit: Duration, mut from: OwnedReadHalf) -> Option<&'static str> {
    let end = tokio::time::Instant::now() + limit;
    let asked = async {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let mut asked = JoinSet::new();
        for kind in kinds {
            if let Ok(mut signal) = signal(kind) {
                asked.spawn(async move { signal.recv().await });
            }
        }
        if asked.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    };
    let mut byte = [0];
    tokio::select! {
        _ = child.wait() => None,
        // Nothing more is said in an order's wake.
        _ = from.read(&mut byte) => Some("whoever carried the run is gone"),
        () = tokio::time::sleep_until(end) => Some("its time was over"),
        () = asked => Some("it was asked to end"),
    }
}

fn begin(
    order: &Order,
    script: &Script,
    say: &mpsc::Sender<Frame>,
    telling: &mut JoinSet<()>,
) -> Result<Child, String> {
    let interpreter = Interpreter::of(&order.text);
    if !order.outputs.is_empty() && !interpreter.is_shell() {
        return Err(format!("outputs are variables of a shell, and {} is none", interpreter.program));
    }
    if !order.directory.is_dir() {
        return Err(format!("the directory {} is not there", order.directory.display()));
    }
    let failed = |error: io::Error| format!("{} cannot be started: {error}", interpreter.program);
    let (out, out_end) = io::pipe().map_err(failed)?;
    let mut command = std::process::Command::new(&interpreter.program);
    command.args(&interpreter.argument).arg(script.path()).current_dir(&order.directory);
    command.env_clear().envs(&order.environment).env(OUTPUTS_VARIABLE, script.outputs_path());
    command.stdin(Stdio::null()).process_group(0);
    let errors = match order.is_apart {
        true => {
            let (errors, errors_end) = io::pipe().map_err(failed)?;
            command.stderr(errors_end);
            Some(errors)
        }
        false => {
            command.stderr(out_end.try_clone().map_err(failed)?);
            None
        }
    };
    command.stdout(out_end);
    forward(out.into(), say.clone(), Frame::Out, telling).map_err(failed)?;
    if let Some(errors) = errors {
        forward(errors.into(), say.clone(), Frame::Err, telling).map_err(failed)?;
    }
    tokio::process::Command::from(command).spawn().map_err(failed)
}

fn forward(
    pipe: OwnedFd,
    say: mpsc::Sender<Frame>,
    frame: fn(Vec<u8>) -> Frame,
    telling: &mut JoinSet<()>,
) -> io::Result<()> {
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    telling.spawn(async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
            if say.send(frame(chunk[..length].to_vec())).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
