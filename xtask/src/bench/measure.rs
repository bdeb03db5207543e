//! Runs programs and says how long they took, how much memory and how much processor time.

use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Clock ticks a second in /proc: fixed by Linux' interface on every common machine. Source: proc_pid_stat(5).
const TICKS: f64 = 100.0;

/// What a program took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taken {
    pub seconds: f64,
    /// Of all its processes together, at most.
    pub peak_bytes: u64,
    pub processor_seconds: f64,
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> anyhow::Result<Taken> {
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("run {shown}"))?;
    let mut taken = Taken::default();
    while child.try_wait()?.is_none() {
        taken = worse(taken, usage(child.id()));
        std::thread::sleep(LOOK);
    }
    taken.seconds = started.elapsed().as_secs_f64();
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{shown}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(taken)
}

/// Runs a program to its end; what it printed.
pub fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {shown}"))?;
    if !output.status.success() {
        let [printed, said] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        bail!("{shown}: {}\n{printed}{said}", output.status);
    }
    Ok(output.stdout)
}

/// What a running program has taken so far.
pub fn so_far(child: &Child) -> Taken {
    usage(child.id())
}

fn worse(a: Taken, b: Taken) -> Taken {
    Taken {
        seconds: 0.0,
        peak_bytes: a.peak_bytes.max(b.peak_bytes),
        processor_seconds: a.processor_seconds.max(b.processor_seconds),
    }
}

/// Of a process and its children, as they are now.
fn usage(pid: u32) -> Taken {
    let mut taken = Taken::default();
    let mut seen = Vec::new();
    for process in family(pid) {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let kib = |key: &str| {
            let text = status.lines().find_map(|line| line.strip_prefix(key))?;
            text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        let memory = (kib("VmHWM:"), kib("VmSize:"));
        // A child that is only just being started still has its parent's memory.
        if !seen.contains(&memory) {
            taken.peak_bytes += memory.0.unwrap_or(0) << 10;
            seen.push(memory);
        }
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // utime, stime, and those of children that have ended.
        let ticks =
            fields.get(11..15).unwrap_or_default().iter().filter_map(|field| field.parse::<f64>().ok());
        taken.processor_seconds += ticks.sum::<f64>() / TICKS;
    }
    taken
}

/// Processor seconds of a process and its children so far, and bytes that those which run have read.
pub fn load_of(pid: u32) -> (f64, f64) {
    let read = |process: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.and_then(|number| number.trim().parse::<f64>().ok()).unwrap_or(0.0)
    };
    (usage(pid).processor_seconds, family(pid).iter().map(read).sum())
}

fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        at += 1;
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    found
}

/// Says to whoever waits how far it is.
#[expect(clippy::print_stderr, reason = "the tables are on standard output")]
pub fn say(text: &str) {
    eprintln!("  {text}");
}

/// Bytes of all files below a place, as they lie on the disk's books: lengths, not blocks.
pub fn bytes_below(place: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(place) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        // Gone meanwhile.
        Err(_) => 0,
    });
    sizes.sum()
}

/// Median, least and most.
pub fn spread(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted[..] {
        [] => "none".to_owned(),
        _ => format!("{:.2} ({:.2}–{:.2})", median(&sorted), sorted[0], sorted[sorted.len() - 1]),
    }
}

/// The middle one, or the mean of the two.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// The value below which `part` of them are.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(at - 1).copied().unwrap_or(f64::NAN)
}
