//! How long `lifeboat plan lint` takes: the five real documents together, and one of ten thousand lines.

use super::measure::spread;
use anyhow::{Context, ensure};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROUNDS: usize = 20;
/// Lines of the long document.
const LINES: usize = 10_000;

/// Lints them, as a program started each time.
#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir().context("make a directory")?;
    let long = scratch.path().join("long.md");
    std::fs::write(&long, long_document()).context("write the long document")?;
    let systems = root.join("../shared/systems");
    let mut five: Vec<PathBuf> = Vec::new();
    if systems.is_dir() {
        for entry in std::fs::read_dir(&systems).context("list the documents")? {
            five.push(entry.context("list the documents")?.path());
        }
        five.retain(|path| path.extension().is_some_and(|end| end == "md"));
    }
    println!("| | ms |\n|---|---|");
    for (name, files) in [("the five real documents", five), ("a document of 10,000 lines", vec![long])] {
        if files.is_empty() {
            println!("| {name} | not here |");
            continue;
        }
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            times.push(seconds(root, &files)? * 1e3);
        }
        println!("| {name} | {} |", spread(&times));
    }
    Ok(())
}

/// Seconds of a run, from its start to its end; what it finds shows in its exit.
fn seconds(root: &Path, files: &[PathBuf]) -> anyhow::Result<f64> {
    let mut command = Command::new(root.join("target/release/lifeboat"));
    command.args(["plan", "lint", "--format", "json"]).args(files);
    let begin = std::time::Instant::now();
    let output = command.output().context("run plan lint")?;
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "plan lint: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(begin.elapsed().as_secs_f64())
}

/// Scenarios with commands, tables and lists, one like the other.
fn long_document() -> String {
    let mut text = "# Recovery\n\n- RTO: 4 hours\n- RPO: 1 hour\n\n".to_owned();
    let mut number = 0;
    while text.lines().count() < LINES {
        for _ in 0..50 {
            number += 1;
            _ = write!(
                text,
                "## Scenario {number}: part {number} fails\n\nRTO: 30 minutes\n\n| Role | Name |\n|---|---|\n| Lead | Ada Yu |\n\n1. Look at it\n   \
                 ```sh\n   kubectl get pods -n shop | grep part-{number}\n   kubectl logs deployment/part-{number} -n shop --tail=100\n   ```\n2. Restore\n   \
                 ```sh\n   pg_restore -d part_{number}_restored /backups/part-{number}.dump\n   ```\n3. Verify that orders are there\n\n"
            );
        }
    }
    text
}
