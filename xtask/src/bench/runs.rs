//! What carrying runs costs beside what their steps do, on a vault in a directory: per step, for long runs, for many
//! runs, and when a machine dies.

use super::measure::{output, run as measure, say, spread};
use super::sizes::{FAULTS, Size, TABLES};
use anyhow::{Context, ensure};
use lifeboat_testkit::postgres::scratch_directory;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const STEPS: Size = Size::new(TABLES, "100,1000,10000");
const RUNS: Size = Size::new(FAULTS, "1000");
pub const SETTINGS: &[Size] = &[STEPS, RUNS];
const ROUNDS: usize = 5;

/// A machine with a vault of its own.
struct World {
    root: PathBuf,
    scratch: tempfile::TempDir,
}

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let world = World::new(root)?;
    println!(
        "| steps | whole run s | ms a step | `run show` after it, s | of it per 1,000 steps |\n|---|---|---|---|---|"
    );
    for steps in STEPS.all()? {
        let steps = steps as usize;
        say(&format!("a run of {steps} steps"));
        world.plan(steps)?;
        let taken = world.carried_out()?;
        let mut shows = Vec::new();
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            output(&mut world.command(&["run", "show", "latest", "--json"]))?;
            shows.push(begin.elapsed().as_secs_f64());
        }
        let each = shows.iter().sum::<f64>() / ROUNDS as f64 / (steps as f64 / 1e3);
        println!(
            "| {steps} | {taken:.1} | {:.1} | {} | {each:.2} |",
            taken * 1e3 / steps as f64,
            spread(&shows)
        );
    }
    let takeovers = (0..ROUNDS).map(|_| world.takeover()).collect::<anyhow::Result<Vec<f64>>>()?;
    println!(
        "\nA machine that carries a run is killed: {} s until another carries it on",
        spread(&takeovers)
    );
    // A vault of its own: the long runs are not in the list.
    let world = World::new(root)?;
    world.plan(1)?;
    let runs = RUNS.one()? as usize;
    say(&format!("{runs} runs"));
    for _ in 0..runs {
        world.carried_out()?;
    }
    let mut lists = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        output(&mut world.command(&["run", "list", "--json"]))?;
        lists.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    println!("`run list` of {runs} runs: {} ms", spread(&lists));
    Ok(())
}

impl World {
    fn new(root: &Path) -> anyhow::Result<Self> {
        let world = Self { root: root.to_owned(), scratch: scratch_directory() };
        world.plan(1)?;
        let mut init = world.program(&["vault", "init", "--break-glass", "key.txt"]);
        measure(&mut init)?;
        Ok(world)
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.root.join("target/release/lifeboat"));
        command.args(arguments).current_dir(self.scratch.path());
        command
    }

    /// By an identity: deriving a key from a passphrase is made to take long.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(arguments);
        command.args(["--identity", "key.txt"]);
        command
    }

    /// A runbook whose steps do nothing, and one that lasts.
    fn plan(&self, steps: usize) -> anyhow::Result<()> {
        let mut text = format!(
            "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {{name: bench}}\nvault: {{copies: \
             [\"file://{}\"]}}\nservices: [{{name: web}}]\nrunbooks:\n  lasting: {{steps: [{{wait: 1h}}]}}\n  many:\n    \
             steps:\n",
            self.scratch.path().join("vault").display()
        );
        for step in 0..steps {
            let _ = writeln!(text, "      - {{name: Step {step}, approval: nobody, approvals: 0}}");
        }
        std::fs::write(self.scratch.path().join("lifeboat.yaml"), text).context("write the plan")
    }

    /// Seconds of a run, whose lines nobody reads.
    fn carried_out(&self) -> anyhow::Result<f64> {
        let begin = Instant::now();
        let status = self.quiet(&["run", "start", "many"])?.wait()?;
        ensure!(status.success(), "the run ended with {status}");
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Seconds from the death of the machine that carries a run to the first word of the one that goes on.
    fn takeover(&self) -> anyhow::Result<f64> {
        let mut first = Ended(self.quiet(&["run", "start", "lasting"])?);
        while !self.shown()?.contains("under way") {}
        let _second = Ended(self.quiet(&["serve"])?);
        first.0.kill()?;
        let killed = Instant::now();
        let before = self.carried()?;
        while self.carried()? == before {
            std::thread::sleep(Duration::from_millis(50));
        }
        let seconds = killed.elapsed().as_secs_f64();
        output(&mut self.command(&["run", "abort", "latest", "--reason", "measured"]))?;
        while !self.shown()?.contains("aborted") {}
        Ok(seconds)
    }

    fn quiet(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("run lifeboat")
    }

    fn shown(&self) -> anyhow::Result<String> {
        let shown = self.command(&["run", "show", "latest"]).output().context("run lifeboat")?;
        Ok(String::from_utf8_lossy(&shown.stdout).into_owned())
    }

    /// How often a machine has begun to carry a run.
    fn carried(&self) -> anyhow::Result<usize> {
        let shown = output(
            &mut self.command(&["journal", "show", "--scope", "runs", "--last", "1000000", "--json"]),
        )?;
        Ok(String::from_utf8_lossy(&shown).matches("\"carried\"").count())
    }
}

/// A process that is ended when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
