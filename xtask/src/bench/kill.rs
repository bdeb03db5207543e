//! The process behind a view killed under load, again and again: how many acknowledged commits are lost, and whether
//! the database is sound afterwards.
//!
//! The load is pgbench, whose three sums must stay equal, and clients that note outside the database what was
//! acknowledged to them. In turn the view and then its server are killed, the server and then the view, the view alone,
//! the server alone.

use super::measure::{output, run as measure, say, spread};
use super::notes::{self, Note};
use super::protected::{Protected, SERVICE, Streaming};
use super::recovered::{Recovered, WRITABLE, end};
use super::sizes::{FAULTS, GB, Size};
use anyhow::{Context, ensure};
use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SIZE: Size = Size::new(GB, "0.5");
const KILLS: Size = Size::new(FAULTS, "200");
pub const SETTINGS: &[Size] = &[SIZE, KILLS];
/// Each notes what was acknowledged to it.
const WRITERS: u64 = 3;
/// Numbers that a writer of a round may use.
const COMMITS: u64 = 100_000;
/// The load lasts between these before it is cut off.
const LOAD_MS: std::ops::Range<u64> = 200..1700;
/// Every so many rounds all of pgbench's rows are summed up.
const SUMS_EVERY: usize = 10;
const SEED: u64 = 0x11fe_b0a7;
const SUMS: &str = "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), \
                    (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)";

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let (gigabytes, kills) = (SIZE.one()?, KILLS.count()?);
    let protected = Protected::start(root, &[])?;
    protected.fill(gigabytes)?;
    protected.cluster.psql("CREATE TABLE notes (id bigint PRIMARY KEY)");
    let streaming = Streaming::start(&protected)?;
    measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?;
    protected.until_durable()?;
    drop(streaming);
    protected.cluster.stop();
    let view = Recovered::first_answer(&protected, "recover", &WRITABLE)?;
    ensure!(view.is_view(), "this machine shows no views: {}", view.document);
    let mut random = super::random::Random(SEED);
    let mut known = HashSet::new();
    let mut back = Vec::new();
    let (mut lost, mut unequal, mut acknowledged) = (0, 0, 0);
    for round in 0..kills {
        let noted = once(&protected, &view, round, &mut random)?;
        acknowledged += noted.len();
        known.extend(noted);
        let started = Instant::now();
        measure(&mut view.view(&protected, "show", &["--start"]))?;
        let found = notes::found(&view.ask(&protected, "SELECT id FROM notes")?);
        back.push(started.elapsed().as_secs_f64());
        let missing = known.difference(&found).count();
        // What came about without an answer has come about.
        known = found;
        lost += missing;
        if round % SUMS_EVERY == 0 || round + 1 == kills {
            unequal += usize::from(!sums_are_equal(&protected, &view)?);
        }
        say(&format!("{} of {kills}: {acknowledged} acknowledged so far, {lost} lost", round + 1));
    }
    say("pg_amcheck");
    let sound = check(&protected, &view);
    measure(&mut view.view(&protected, "finish", &[]))?;
    let left = notes::found(&view.ask(&protected, "SELECT id FROM notes")?);
    lost += known.difference(&left).count();
    unequal += usize::from(!sums_are_equal(&protected, &view)?);
    let sound_after = check(&protected, &view);
    println!("\nKilled {kills} times under pgbench, seed {SEED:#x}, {gigabytes} GB\n");
    println!(
        "| acknowledged commits | lost | sums that differ | pg_amcheck | after `view finish` | seconds until it answers again |"
    );
    println!("|---|---|---|---|---|---|");
    let told = |result: &anyhow::Result<()>| match result {
        Ok(()) => "clean".to_owned(),
        Err(error) => format!("{error:#}").replace('\n', " "),
    };
    println!(
        "| {acknowledged} | {lost} | {unequal} | {} | {} | {} |",
        told(&sound),
        told(&sound_after),
        spread(&back)
    );
    view.remove(&protected)
}

/// Load, and its end; what was acknowledged.
fn once(
    protected: &Protected,
    view: &Recovered,
    round: usize,
    random: &mut super::random::Random,
) -> anyhow::Result<HashSet<u64>> {
    let first = (round as u64 + 1) * WRITERS * COMMITS;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let mut command = protected.cluster.installation().command("psql");
            // A server that lives on without its files answers with errors: that ends a client too.
            command.args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-d", &view.address]);
            let note = Note { table: "notes", first: first + writer * COMMITS, limit: COMMITS };
            std::thread::spawn(move || notes::commit(command, &note))
        })
        .collect();
    let mut load = Load::start(protected, view)?;
    std::thread::sleep(Duration::from_millis(LOAD_MS.start + random.below(LOAD_MS.end - LOAD_MS.start)));
    let server = view.server().context("no server runs")?;
    let process = view.process().context("nothing shows the view")?;
    match round % 4 {
        0 => {
            end("-KILL", process);
            end("-KILL", server);
        }
        1 => {
            end("-KILL", server);
            end("-KILL", process);
        }
        // The server lives on without its files.
        2 => end("-KILL", process),
        _ => end("-KILL", server),
    }
    load.stop();
    let mut noted = HashSet::new();
    for writer in writers {
        noted.extend(writer.join().map_err(|_| anyhow::anyhow!("a client broke off"))??);
    }
    Ok(noted)
}

/// pgbench without end.
struct Load(Child);

impl Load {
    fn start(protected: &Protected, view: &Recovered) -> anyhow::Result<Self> {
        let mut command: Command = protected.cluster.installation().command("pgbench");
        command.args(["-n", "-c", "4", "-T", "3600", &view.address]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).context("run pgbench")
    }

    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

fn sums_are_equal(protected: &Protected, view: &Recovered) -> anyhow::Result<bool> {
    let sums = view.ask(protected, SUMS)?;
    let mut each = sums.split('|');
    let first = each.next();
    let are_equal = each.all(|sum| Some(sum) == first);
    if !are_equal {
        say(&format!("the sums differ: {sums}"));
    }
    Ok(are_equal)
}

/// PostgreSQL's own check of all tables and indexes, that each row is in its indexes included.
fn check(protected: &Protected, view: &Recovered) -> anyhow::Result<()> {
    let mut command = protected.cluster.installation().command("pg_amcheck");
    command.args(["--install-missing", "--heapallindexed", "--all", "--maintenance-db", &view.address]);
    output(&mut command).map(drop)
}
