//! Ends processes that commands began, also those that left their group.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Between being asked to end and being killed.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// The kernel may need a moment for what it was told to kill.
const KILLED: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Ends all that this process began: the group first, with grace, then whatever is left. Returns how many could not be
/// ended.
pub(super) async fn end_all(group: Pid) -> usize {
    signal(group, Signal::TERM);
    // One that is stopped could not hear it.
    signal(group, Signal::CONT);
    if are_gone_within(GRACE, || ()).await == 0 {
        return 0;
    }
    are_gone_within(KILLED, || signal(group, Signal::KILL)).await
}

/// Ends what is left of the group: what commands leave behind in it does not outlive them.
pub(super) fn end_group(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

fn signal(group: Pid, signal: Signal) {
    // Those that are gone meanwhile, or are not ours to end: they are counted afterwards.
    let _ = kill_process_group(group, signal);
    for process in descendants() {
        let _ = kill_process(process, signal);
    }
}

async fn are_gone_within(limit: Duration, mut again: impl FnMut()) -> usize {
    let end = Instant::now() + limit;
    loop {
        again();
        let left = descendants().len();
        if left == 0 || Instant::now() >= end {
            return left;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// All that descend from this process and are alive: orphans are handed to it, since it asked for that.
fn descendants() -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents: BTreeMap<i32, i32> = numbers.filter_map(|number| Some((number, living(number)?))).collect();
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let is_ours = |of: i32| {
        let mut at = of;
        // No chain is longer than there are processes.
        for _ in 0..parents.len() {
            match parents.get(&at) {
                Some(parent) if *parent == own => return true,
                Some(parent) => at = *parent,
                None => return false,
            }
        }
        false
    };
    parents.keys().filter(|of| is_ours(**of)).filter_map(|of| Pid::from_raw(*of)).collect()
}

/// The parent of a process, also of one that is dead and not yet counted; a dead one without children matters to
/// nobody.
fn living(process: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name stands in brackets, and may hold any.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?;
    let parent = words.next()?.parse().ok()?;
    (state != "Z" && state != "X").then_some(parent)
}
