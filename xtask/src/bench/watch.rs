//! Looks at every process of the released program that belongs to a measurement, and keeps the most memory that each
//! kind of command had: what a command starts beside itself, as the process behind a view, is a kind of its own.

use super::protected::Protected;
use super::scratch::{about, processes};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The kernel keeps each process' peak: only the last such moment of its life can be missed.
const LOOK: Duration = Duration::from_millis(20);
/// Commands whose second word says which of several they are.
const FAMILIES: [&str; 6] = ["backup", "view", "wal", "vault", "journal", "plan"];

/// The most memory of one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peak {
    /// All that was resident, the program's text included.
    pub resident_bytes: u64,
    /// What it had asked for itself, as it was seen.
    pub own_bytes: u64,
}

type Peaks = BTreeMap<String, Peak>;

/// Looks until it is asked for what it saw.
pub struct Watch {
    peaks: Arc<Mutex<Peaks>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn start(protected: &Protected) -> Self {
        let (peaks, is_over) = (Arc::<Mutex<Peaks>>::default(), Arc::new(AtomicBool::new(false)));
        let (program, place) = (protected.program().to_owned(), protected.path("lifeboat.yaml"));
        let (seen, ends) = (Arc::clone(&peaks), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                look(&program, &place, &mut seen.lock().unwrap_or_else(PoisonError::into_inner));
                std::thread::sleep(LOOK);
            }
        });
        Self { peaks, is_over, thread: Some(thread) }
    }

    /// What was seen so far, by command.
    pub fn seen(&self) -> Peaks {
        self.peaks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn look(program: &PathBuf, plan: &std::path::Path, peaks: &mut Peaks) {
    let plan = plan.as_os_str().as_encoded_bytes();
    for pid in processes() {
        if std::fs::read_link(format!("/proc/{pid}/exe")).ok().as_ref() != Some(program) {
            continue;
        }
        if !about(pid, "environ").windows(plan.len()).any(|part| part == plan) {
            continue;
        }
        let line = about(pid, "cmdline");
        // It is just ending.
        if line.is_empty() {
            continue;
        }
        let status = String::from_utf8_lossy(&about(pid, "status")).into_owned();
        let kib = |key: &str| {
            let text = status.lines().find_map(|line| line.strip_prefix(key))?;
            text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        let peak = peaks.entry(label(&line)).or_default();
        peak.resident_bytes = peak.resident_bytes.max(kib("VmHWM:").unwrap_or(0) << 10);
        peak.own_bytes = peak.own_bytes.max(kib("RssAnon:").unwrap_or(0) << 10);
    }
}

/// The words that say which command it is.
fn label(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split('\0').skip(1);
    let first = words.next().unwrap_or_default();
    let second = words.next().filter(|_| FAMILIES.contains(&first)).unwrap_or_default();
    // It shows a view within itself, and is another thing than `recover` is.
    let third = if text.split('\0').any(|word| word == "--table") { "--table" } else { second };
    format!("{first} {third}").trim().to_owned()
}
