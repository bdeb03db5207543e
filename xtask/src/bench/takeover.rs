//! How long nobody acts after the acting `lifeboat serve` was killed, and how long no WAL arrives.

use super::measure::spread;
use super::protected::Protected;
use anyhow::Context;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Instant;

const ROUNDS: usize = 10;

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let protected = Protected::start(root, &[])?;
    let [mut acting, mut streaming] = [const { Vec::new() }; 2];
    let mut holder = Serve::start(&protected)?;
    holder.wait_for("connected")?;
    for _ in 0..ROUNDS {
        let mut next = Serve::start(&protected)?;
        next.wait_for("waiting")?;
        drop(holder);
        let killed = Instant::now();
        let [acts, streams] = next.wait_for_both(killed)?;
        acting.push(acts);
        streaming.push(streams);
        holder = next;
    }
    println!("{ROUNDS} times killed with kill -9 while another waited\n");
    println!("| seconds after the kill | median (least–most) |\n|---|---|");
    println!("| another acts | {} |\n| WAL flows again | {} |", spread(&acting), spread(&streaming));
    Ok(())
}

/// `lifeboat serve`, killed when dropped.
struct Serve {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Serve {
    fn start(protected: &Protected) -> anyhow::Result<Self> {
        let mut command = protected.lifeboat(&["serve", "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("run lifeboat serve")?;
        let lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        Ok(Self { child, lines })
    }

    fn event(&mut self) -> anyhow::Result<String> {
        let line = self.lines.next().context("serve ended")??;
        let document: serde_json::Value = serde_json::from_str(&line)?;
        Ok(document["event"].as_str().unwrap_or_default().to_owned())
    }

    fn wait_for(&mut self, event: &str) -> anyhow::Result<()> {
        while self.event()? != event {}
        Ok(())
    }

    /// Seconds from `start` until it acts, and until it streams.
    fn wait_for_both(&mut self, start: Instant) -> anyhow::Result<[f64; 2]> {
        let mut seen = [None; 2];
        while seen.iter().any(Option::is_none) {
            let event = self.event()?;
            if let Some(at) = ["serving", "connected"].iter().position(|wanted| *wanted == event) {
                seen[at].get_or_insert(start.elapsed().as_secs_f64());
            }
        }
        Ok(seen.map(Option::unwrap_or_default))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
