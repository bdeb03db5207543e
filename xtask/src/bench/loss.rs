//! Twenty times: commits that wait for the vault, `kill -9`, the data directory erased, recovery to the end.
//! Counted: commits that were acknowledged to a client and are not there afterwards.

use super::measure::{quantile, spread};
use super::notes::{self, Note};
use super::protected::{Protected, SERVICE, Streaming};
use anyhow::{Context, bail};
use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 20;
/// Each waits for the answer to one commit before it asks for the next.
const CLIENTS: u64 = 4;
/// How long they commit before the server is killed.
const LOAD: Duration = Duration::from_secs(3);
/// More than a client commits in that time.
const COMMITS: u64 = 100_000;
/// The role of a client whose commits wait for the vault.
const SYNCHRONOUS: [(&str, &str); 2] =
    [("synchronous_standby_names", "lifeboat"), ("synchronous_commit", "on")];

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let [mut acknowledged, mut seconds] = [const { Vec::new() }; 2];
    let mut lost = 0;
    for round in 1..=ROUNDS {
        let (acked, found, took) = once(root)?;
        let missing = acked.difference(&found).count();
        println!("round {round}: {} acknowledged, {} there, {missing} lost", acked.len(), found.len());
        lost += missing;
        acknowledged.push(acked.len() as f64);
        seconds.push(took.as_secs_f64());
    }
    println!(
        "\n{ROUNDS} times killed and erased, {CLIENTS} clients, synchronous_standby_names = 'lifeboat'\n"
    );
    println!(
        "| acknowledged commits | lost | seconds from the restore's start until it answers |\n|---|---|---|"
    );
    println!("| {:.0} | {lost} | {} |", acknowledged.iter().sum::<f64>(), spread(&seconds));
    println!("\nAcknowledged in a round: {:.0} at least.", quantile(&acknowledged, 0.0));
    Ok(())
}

/// One disaster: what was acknowledged, what is there after it, and how long recovery took.
fn once(root: &Path) -> anyhow::Result<(HashSet<u64>, HashSet<u64>, Duration)> {
    // The names are set once the stream runs: until then every commit would hang.
    let protected = Protected::start(root, &[])?;
    let cluster = &protected.cluster;
    cluster.psql("CREATE TABLE acknowledged (id bigint PRIMARY KEY)");
    let mut stream = Streaming::start(&protected)?;
    super::measure::run(&mut protected.lifeboat(&["backup", "run", SERVICE]))?;
    for (name, value) in SYNCHRONOUS {
        cluster.psql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    }
    cluster.psql("SELECT pg_reload_conf()");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let mut command = cluster.command("psql");
            command.args(["-XqtA", "-d", "postgres"]);
            let note = Note { table: "acknowledged", first: client * COMMITS, limit: COMMITS };
            std::thread::spawn(move || notes::commit(command, &note))
        })
        .collect();
    std::thread::sleep(LOAD);
    // The machine is gone, with the stream if it ran there.
    cluster.kill9();
    stream.child.kill()?;
    cluster.erase_data_directory();
    let mut acked = HashSet::new();
    for client in clients {
        acked.extend(client.join().map_err(|_| anyhow::anyhow!("a client broke off"))??);
    }
    drop(stream);
    if acked.is_empty() {
        bail!("nothing was acknowledged: did the stream run?");
    }
    let into = protected.path("restored").display().to_string();
    let started = Instant::now();
    let restore = ["restore", SERVICE, "--to", "latest", "--into", &into, "--start", "--json"];
    let output = protected.lifeboat(&restore).stderr(Stdio::inherit()).output()?;
    let took = started.elapsed();
    let restored: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("restore said no JSON")?;
    let address = restored["server"]["address"].as_str().context("no server was started")?;
    let mut psql = cluster.command("psql");
    let found = psql.args(["-XqtA", "-d", address, "-c", "SELECT id FROM acknowledged"]).output()?;
    let found = notes::found(&String::from_utf8_lossy(&found.stdout));
    if let Some(pid) = restored["server"]["pid"].as_u64() {
        Command::new("kill").args(["-QUIT", &pid.to_string()]).status()?;
    }
    Ok((acked, found, took))
}
