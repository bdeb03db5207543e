//! Faults put into copies of a small vault, one in each: who finds them, and does anybody say that all is well, or bring
//! back something else, though it is not.
//!
//! Bits are flipped, objects cut, lost and exchanged with another of their kind, and stretches of them zeroed; of WAL,
//! that is a truncated segment and a hole. Each copy is looked at by `vault check --deep`, by `backup verify latest`,
//! and by a recovery to the last moment, whose rows are held against production's.
//!
//! Leases, pins, probes, and pieces of WAL whose segment is there whole are left out: no recovery needs them.

use super::load;
use super::measure::{run as measure, say};
use super::protected::{Protected, SERVICE, Streaming};
use super::random::Random;
use super::scratch::clear_away;
use super::sizes::{FAULTS, Size};
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const COUNT: Size = Size::new(FAULTS, "200");
pub const SETTINGS: &[Size] = &[COUNT];
const SEED: u64 = 0x0bad_5eed;
const GIGABYTES: f64 = 0.03;
/// Written before the restore point that `advance` makes, and after it.
const WAL_BYTES: u64 = 40 << 20;
/// For one command; whoever has not answered then has found something too, and is told apart.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(10);
const ZEROED_BYTES: u64 = 4096;
/// In turn: what there is most of comes twice.
const KINDS: [&str; 10] =
    ["packs", "wal", "points", "indexes", "wal", "packs", "clusters", "keys", "journal", "header"];
const ROWS: &str = "SELECT (SELECT count(*) || ' ' || sum(hashtext(t::text)::bigint) FROM pgbench_accounts t), \
                    (SELECT count(*) || ' ' || sum(hashtext(t::text)::bigint) FROM filler t), \
                    (SELECT count(*) || ' ' || sum(hashtext(t::text)::bigint) FROM pgbench_history t)";

#[derive(Debug, Clone, Copy)]
enum Fault {
    Flipped,
    Cut,
    Lost,
    Exchanged,
    Zeroed,
}

impl Fault {
    const ALL: [Self; 5] = [Self::Flipped, Self::Cut, Self::Lost, Self::Exchanged, Self::Zeroed];

    fn name(self) -> &'static str {
        match self {
            Self::Flipped => "a bit flipped",
            Self::Cut => "cut off",
            Self::Lost => "lost",
            Self::Exchanged => "exchanged with another",
            Self::Zeroed => "zeroed in part",
        }
    }
}

/// What became of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// It did not come about, or the server said that it cannot read: an error, and not a wrong answer.
    Told,
    /// All rows are there, as they were.
    Right,
    /// It says nothing and brings back something else.
    Wrong,
}

/// Of one row of the table.
#[derive(Debug, Default)]
struct Tally {
    faults: usize,
    checked: usize,
    verified: usize,
    told: usize,
    right: usize,
    wrong: usize,
    /// Called sound by `vault check --deep`, or passed by `backup verify`, though a recovery was not right.
    false_ok: usize,
}

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let count = COUNT.count()?;
    let (protected, target, truth) = made(root)?;
    let sound = Copy::of(&protected)?;
    let clean = sound.look(&protected, &target, &truth)?;
    ensure!(
        !clean.0 && !clean.1 && clean.2 == Recovery::Right,
        "without a fault, a check or a recovery is not well: {clean:?}"
    );
    let objects = objects(&protected.vault());
    let mut random = Random(SEED);
    let (mut by_fault, mut by_kind) = (BTreeMap::<&str, Tally>::new(), BTreeMap::<&str, Tally>::new());
    let mut unseen = Vec::new();
    for number in 0..count {
        let copy = Copy::of(&protected)?;
        let fault = Fault::ALL[number % Fault::ALL.len()];
        let (kind, what) = copy.damage(fault, number / Fault::ALL.len(), &objects, &mut random)?;
        let (checked, verified, recovery) = copy.look(&protected, &target, &truth)?;
        say(&format!(
            "{} of {count}: {what} {}: check {}, verify {}, recovery {recovery:?}",
            number + 1,
            fault.name(),
            if checked { "found it" } else { "sees nothing" },
            if verified { "fails" } else { "passes" },
        ));
        for tally in [by_fault.entry(fault.name()).or_default(), by_kind.entry(kind).or_default()] {
            tally.faults += 1;
            tally.checked += usize::from(checked);
            tally.verified += usize::from(verified);
            tally.told += usize::from(recovery == Recovery::Told);
            tally.right += usize::from(recovery == Recovery::Right);
            tally.wrong += usize::from(recovery == Recovery::Wrong);
            tally.false_ok +=
                usize::from(recovery == Recovery::Wrong || !checked && recovery != Recovery::Right);
        }
        if !checked {
            unseen.push(format!(
                "{what} {}: verify {}, recovery {recovery:?}",
                fault.name(),
                if verified { "fails" } else { "passes" }
            ));
        }
    }
    println!("\n{count} faults, one in each copy of a vault of {} objects, seed {SEED:#x}\n", objects.len());
    for (title, tallies) in [("fault", by_fault), ("object", by_kind)] {
        println!(
            "| {title} | faults | found by `vault check --deep` | by `backup verify latest` | recovery refused, or told | recovered all the same, right | recovered wrong | false OK |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for (name, of) in tallies {
            println!(
                "| {name} | {} | {} | {} | {} | {} | {} | {} |",
                of.faults, of.checked, of.verified, of.told, of.right, of.wrong, of.false_ok
            );
        }
        println!();
    }
    println!(
        "False OK: what was recovered is wrong and nobody said so, or a check called sound what could not be recovered."
    );
    println!("A recovery is right all the same where it does not need the object, or has another way.");
    for line in unseen {
        println!("- not found by `vault check --deep`: {line}");
    }
    Ok(())
}

/// A vault with a backup, a restore point made of it, WAL after that, and production gone; the last moment, and the
/// rows there.
fn made(root: &Path) -> anyhow::Result<(Protected, String, String)> {
    let protected = Protected::start(root, &[])?;
    let cluster = &protected.cluster;
    protected.fill(GIGABYTES)?;
    let streaming = Streaming::start(&protected)?;
    measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?;
    load::write_wal(&protected, WAL_BYTES)?;
    cluster.psql("CHECKPOINT");
    protected.until_durable()?;
    let scratch = protected.path("").display().to_string();
    measure(&mut protected.lifeboat(&["advance", SERVICE, "--scratch", &scratch]))?;
    load::write_wal(&protected, WAL_BYTES)?;
    let truth = cluster.psql(ROWS);
    let target = format!("lsn:{}", cluster.psql("SELECT pg_current_wal_insert_lsn()").trim());
    // The target lies before the end of a segment that is whole.
    cluster.psql("SELECT txid_current(); SELECT pg_switch_wal(); SELECT txid_current(); CHECKPOINT");
    protected.until_durable()?;
    drop(streaming);
    cluster.stop();
    Ok((protected, target, truth))
}

/// Objects by kind, with their names.
fn objects(vault: &Path) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut left = vec![vault.to_owned()];
    while let Some(place) = left.pop() {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let Some(name) = path.strip_prefix(vault).ok().and_then(Path::to_str) else { continue };
            found.extend(kind(name).map(|kind| (kind, name.to_owned())));
        }
    }
    found.sort();
    let is_there = |name: &str| found.binary_search(&("wal", name.to_owned())).is_ok();
    let is_joined = |name: &str| name.split_once(".d/").is_some_and(|(segment, _)| is_there(segment));
    let joined: Vec<bool> = found.iter().map(|(_, name)| is_joined(name)).collect();
    let mut joined = joined.into_iter();
    found.retain(|_| !joined.next().unwrap_or_default());
    found
}

fn kind(name: &str) -> Option<&'static str> {
    let has = |part: &str| name.contains(part);
    Some(match name {
        "lifeboat.json" => "header",
        _ if name.starts_with("keys/") => "keys",
        _ if has("/clusters/") => "clusters",
        _ if has("/points/") => "points",
        _ if has("/layers/") && name.ends_with("/index") => "indexes",
        _ if has("/layers/") => "packs",
        _ if has("/pins/") => return None,
        _ if has("/wal/") => "wal",
        _ if name.starts_with("journal/") => "journal",
        _ => return None,
    })
}

/// A copy of the vault, of its own.
struct Copy {
    place: PathBuf,
}

impl Copy {
    fn of(protected: &Protected) -> anyhow::Result<Self> {
        let place = protected.path("try");
        clear_away(&place)?;
        std::fs::create_dir(&place)?;
        let mut copy = Command::new("cp");
        measure(copy.arg("-a").arg(protected.vault()).arg(place.join("vault")))?;
        Ok(Self { place })
    }

    /// Puts a fault into an object of the kind whose turn it is; the kind, and the object's name.
    fn damage(
        &self,
        fault: Fault,
        turn: usize,
        objects: &[(&'static str, String)],
        random: &mut Random,
    ) -> anyhow::Result<(&'static str, String)> {
        let of_kind = |kind: &str| objects.iter().filter(|(of, _)| *of == kind).collect::<Vec<_>>();
        // Of what is exchanged there must be two.
        let least = if matches!(fault, Fault::Exchanged) { 2 } else { 1 };
        let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| of_kind(kind).len() >= least).collect();
        let chosen = of_kind(kinds[turn % kinds.len()]);
        let at = random.below(chosen.len() as u64) as usize;
        let (kind, name) = chosen[at];
        let path = self.place.join("vault").join(name);
        let mut bytes = std::fs::read(&path).with_context(|| format!("read {name}"))?;
        let length = bytes.len() as u64;
        match fault {
            Fault::Flipped => bytes[random.below(length) as usize] ^= 1 << random.below(8),
            Fault::Cut => bytes.truncate(random.below(length) as usize),
            Fault::Zeroed => {
                let start = random.below(length.saturating_sub(ZEROED_BYTES).max(1)) as usize;
                let end = (start + ZEROED_BYTES as usize).min(bytes.len());
                bytes[start..end].fill(0);
            }
            Fault::Lost => {
                std::fs::remove_file(&path)?;
                return Ok((*kind, name.clone()));
            }
            Fault::Exchanged => {
                let step = 1 + random.below(chosen.len() as u64 - 1) as usize;
                let (_, other) = chosen[(at + step) % chosen.len()];
                let other = self.place.join("vault").join(other);
                let others = std::fs::read(&other)?;
                std::fs::write(&other, &bytes)?;
                bytes = others;
            }
        }
        std::fs::write(&path, bytes)?;
        Ok((*kind, format!("{name} ({length} bytes)")))
    }

    /// Whether the check found something, whether the verification did, and what became of a recovery.
    fn look(
        &self,
        protected: &Protected,
        target: &str,
        truth: &str,
    ) -> anyhow::Result<(bool, bool, Recovery)> {
        let vault = format!("file://{}", self.place.join("vault").display());
        let scratch = self.place.display().to_string();
        let into = self.place.join("recovered").display().to_string();
        let fails = |arguments: &[&str]| -> anyhow::Result<bool> {
            let mut command = protected.lifeboat(&[arguments, &["--vault", &vault]].concat());
            Ok(self.answer(&mut command)?.is_none())
        };
        let checked = fails(&["vault", "check", "--deep"])?;
        let verified = fails(&["backup", "verify", "latest", "--scratch", &scratch])?;
        let recover =
            ["recover", SERVICE, "--to", target, "--into", &into, "--start", "--json", "--vault", &vault];
        let recovery = match self.answer(&mut protected.lifeboat(&recover))? {
            None => Recovery::Told,
            Some(printed) => {
                let document: serde_json::Value =
                    serde_json::from_str(&printed).context("read what it printed")?;
                let address = document["server"]["address"].as_str().context("no server was started")?;
                let mut psql = protected.cluster.installation().command("psql");
                match self.answer(psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", address, "-c", ROWS]))? {
                    None => Recovery::Told,
                    Some(rows) if rows.trim() == truth.trim() => Recovery::Right,
                    Some(_) => Recovery::Wrong,
                }
            }
        };
        clear_away(&self.place)?;
        Ok((checked, verified, recovery))
    }

    /// What a command prints; none if it fails, or does not end.
    fn answer(&self, command: &mut Command) -> anyhow::Result<Option<String>> {
        let printed = self.place.join("printed");
        command.stdin(Stdio::null()).stdout(File::create(&printed)?).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("run {command:?}"))?;
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                let text = std::fs::read_to_string(&printed)?;
                return Ok(status.success().then_some(text));
            }
            if started.elapsed() > PATIENCE {
                say(&format!("did not end in {PATIENCE:?}: {command:?}"));
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }
}
