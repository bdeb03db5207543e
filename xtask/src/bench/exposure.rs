//! How far the vault is behind production, and what the stream costs production.

use super::measure::{median, quantile, so_far, spread};
use super::protected::{Protected, Streaming};
use anyhow::{Context, bail};
use lifeboat_testkit::postgres::give_to_server_user;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const SCALE: &str = "20";
const SECONDS: u64 = 60;
/// Rounds, each with every receiver in turn.
const ROUNDS: usize = 6;
const ROUND_SECONDS: u64 = 15;
const CLIENTS: &str = "8";
const GIB: f64 = (1u64 << 30) as f64;
/// Processor seconds a second below which the stream has nothing to do.
const IDLE: f64 = 0.02;
/// Between two samples.
const SAMPLE: Duration = Duration::from_millis(2);
/// For the stream to begin, and to catch up at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// From flushed on the primary to durable in the vault, seen from outside: what the server says that the
/// stream has confirmed.
#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let protected = Protected::start(root, &[])?;
    protected.cluster.pgbench(&["-i", "-q", "-s", SCALE]);
    let _stream = Streaming::start(&protected)?;
    let mut asking = Asking::start(&protected)?;
    asking.until_confirmed()?;
    let mut load = pgbench(&protected, SECONDS);
    let mut load = load.spawn().context("run pgbench")?;
    let started = Instant::now();
    let mut samples: Vec<(f64, u64, u64)> = Vec::new();
    while load.try_wait()?.is_none() {
        let (flushed, confirmed) = asking.positions()?;
        samples.push((started.elapsed().as_secs_f64(), flushed, confirmed));
        std::thread::sleep(SAMPLE);
    }
    let tps = transactions_per_second(load)?;
    let delays = delays(&samples);
    let ms = |part| quantile(&delays, part) * 1e3;
    let bytes = samples.last().map_or(0, |last| last.1) - samples.first().map_or(0, |first| first.1);
    println!(
        "{SECONDS} s of pgbench, {CLIENTS} clients, {tps:.0} TPS, {:.1} MB/s of WAL, {} samples\n",
        bytes as f64 / 1e6 / SECONDS as f64,
        delays.len()
    );
    println!("| exposure | p50 | p99 | max |\n|---|---|---|---|");
    println!(
        "| flushed on the primary → durable in the vault, ms | {:.1} | {:.1} | {:.1} |",
        ms(0.5),
        ms(0.99),
        ms(1.0)
    );
    Ok(())
}

/// For each sample, how long until what was flushed then was confirmed.
fn delays(samples: &[(f64, u64, u64)]) -> Vec<f64> {
    let mut later = 0;
    let mut delays = Vec::new();
    for (at, (time, flushed, _)) in samples.iter().enumerate() {
        later = later.max(at);
        while later < samples.len() && samples[later].2 < *flushed {
            later += 1;
        }
        // What was not confirmed when the run ended is left out: the last few samples.
        let Some((confirmed_at, ..)) = samples.get(later) else { break };
        delays.push(confirmed_at - time);
    }
    delays
}

/// Who receives the server's WAL while it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiver {
    Nobody,
    Lifeboat,
    /// PostgreSQL's own, which writes WAL to files as it comes: what any receiver costs.
    PgReceivewal,
}

/// TPS with nobody, with the stream, and with PostgreSQL's own receiver, in turn; and what the stream took of
/// the processor.
#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn cost(root: &Path) -> anyhow::Result<()> {
    let protected = Protected::start(root, &[])?;
    protected.cluster.pgbench(&["-i", "-q", "-s", SCALE]);
    let mut order = [Receiver::Nobody, Receiver::Lifeboat, Receiver::PgReceivewal];
    let mut tps: [Vec<f64>; 3] = [const { Vec::new() }; 3];
    let (mut per_gib, mut per_gib_of_peer) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        order.rotate_left(1);
        for receiver in order {
            protected.cluster.psql("CHECKPOINT");
            let measured = match receiver {
                Receiver::Nobody => load(&protected)?,
                Receiver::Lifeboat => {
                    let stream = Streaming::start(&protected)?;
                    let mut asking = Asking::start(&protected)?;
                    asking.until_confirmed()?;
                    // It joins what it caught up with; in production there are no rounds without it.
                    while processor_seconds_in_a_second(&stream) > IDLE {}
                    let before = (asking.positions()?.0, so_far(&stream.child).processor_seconds);
                    let measured = load(&protected)?;
                    asking.until_confirmed()?;
                    while processor_seconds_in_a_second(&stream) > IDLE {}
                    let bytes = asking.positions()?.0 - before.0;
                    let seconds = so_far(&stream.child).processor_seconds - before.1;
                    per_gib.push(seconds / (bytes as f64 / GIB));
                    measured
                }
                Receiver::PgReceivewal => {
                    // Anew each time: where it left off the server has no WAL any more, and it would wait for ever.
                    let files = protected.path(&format!("receivewal-{round}"));
                    std::fs::create_dir(&files)?;
                    // It runs as the server's user.
                    give_to_server_user(&files);
                    let mut command = protected.cluster.command("pg_receivewal");
                    command.arg("-D").arg(&files).stdin(Stdio::null());
                    let mut child = command.stderr(Stdio::null()).spawn().context("run pg_receivewal")?;
                    until_it_receives(&protected)?;
                    let mut asking = Asking::start(&protected)?;
                    let before = (asking.positions()?.0, so_far(&child).processor_seconds);
                    let measured = load(&protected);
                    let bytes = asking.positions()?.0 - before.0;
                    let seconds = so_far(&child).processor_seconds - before.1;
                    per_gib_of_peer.push(seconds / (bytes as f64 / GIB));
                    let _ = child.kill();
                    let _ = child.wait();
                    measured?
                }
            };
            tps[receiver as usize].push(measured);
        }
    }
    let against_none = |receiver: Receiver| {
        let pairs = tps[receiver as usize].iter().zip(&tps[Receiver::Nobody as usize]);
        pairs.map(|(with, without)| with / without).collect::<Vec<f64>>()
    };
    println!(
        "{ROUNDS} rounds of {ROUND_SECONDS} s of pgbench each, {CLIENTS} clients; all on this machine\n"
    );
    println!("| WAL goes to | TPS | of the TPS without, round by round |\n|---|---|---|");
    println!("| nobody | {} | |", spread(&tps[Receiver::Nobody as usize]));
    for (name, receiver) in [("Lifeboat", Receiver::Lifeboat), ("pg_receivewal", Receiver::PgReceivewal)] {
        println!("| {name} | {} | {} |", spread(&tps[receiver as usize]), spread(&against_none(receiver)));
    }
    println!(
        "\nProcessor time of the stream: {} s per GiB of WAL (median {:.1}); of pg_receivewal: {} s.",
        spread(&per_gib),
        median(&per_gib),
        spread(&per_gib_of_peer)
    );
    Ok(())
}

fn until_it_receives(protected: &Protected) -> anyhow::Result<()> {
    let started = Instant::now();
    let sql = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pg_receivewal' AND state = 'streaming'";
    while protected.cluster.psql(sql).trim() != "1" {
        if started.elapsed() > PATIENCE {
            bail!("pg_receivewal does not receive");
        }
        std::thread::sleep(SAMPLE);
    }
    Ok(())
}

fn processor_seconds_in_a_second(stream: &Streaming) -> f64 {
    let before = so_far(&stream.child).processor_seconds;
    std::thread::sleep(Duration::from_secs(1));
    so_far(&stream.child).processor_seconds - before
}

/// A round under load; its transactions a second.
fn load(protected: &Protected) -> anyhow::Result<f64> {
    transactions_per_second(pgbench(protected, ROUND_SECONDS).spawn().context("run pgbench")?)
}

fn pgbench(protected: &Protected, seconds: u64) -> Command {
    let mut command = protected.cluster.command("pgbench");
    command.args(["-n", "-c", CLIENTS, "-j", "2", "-T", &seconds.to_string(), "postgres"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn transactions_per_second(load: Child) -> anyhow::Result<f64> {
    let output = load.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// A `psql` that answers the same question many times.
struct Asking {
    psql: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Asking {
    fn start(protected: &Protected) -> anyhow::Result<Self> {
        let mut command = protected.cluster.command("psql");
        command.args(["-XqtA", "-d", "postgres"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut psql = command.spawn().context("run psql")?;
        let (Some(questions), Some(answers)) = (psql.stdin.take(), psql.stdout.take()) else {
            bail!("psql has no pipes")
        };
        Ok(Self { psql, questions, answers: BufReader::new(answers) })
    }

    /// Bytes of WAL flushed on the server, and confirmed by the vault.
    fn positions(&mut self) -> anyhow::Result<(u64, u64)> {
        let sql = "SELECT pg_current_wal_flush_lsn() - '0/0', coalesce((SELECT max(flush_lsn) FROM pg_stat_replication \
             WHERE application_name LIKE 'lifeboat%'), '0/0') - '0/0';";
        writeln!(self.questions, "{sql}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let (flushed, confirmed) =
            line.trim().split_once('|').with_context(|| format!("psql said {line:?}"))?;
        Ok((flushed.parse()?, confirmed.parse()?))
    }

    /// Waits until the vault has what is flushed now.
    fn until_confirmed(&mut self) -> anyhow::Result<()> {
        let wanted = self.positions()?.0;
        let started = Instant::now();
        while self.positions()?.1 < wanted {
            if started.elapsed() > PATIENCE {
                bail!("the stream does not confirm {wanted}");
            }
            std::thread::sleep(SAMPLE);
        }
        Ok(())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}
