//! A small process that outlives the test and cleans up after it.
//!
//! `Drop` does not run in a test that is killed (a runner's timeout, a person's ^C). The guard holds the
//! other end of a pipe: when that closes, for whatever reason, it kills the server and removes the
//! scratch directory.
//!
//! # Invariants
//! - It kills only the pid it was last told of, which is our own child, and is told when that ended.
//! - It sits in a process group of its own, so that killing the test's group leaves it.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

/// Reads pids, a line each (`0`: none), to the end of its input, then cleans up.
///
/// Workers of a killed server write for a moment longer, so removing is tried again. A killed server leaves its shared memory segment behind, named in `postmaster.pid`, line 7; the kernel has
/// room for few of them.
const SCRIPT: &str = r#"
scratch=$1 lock_file=$2 pid=0
while read -r line; do pid=$line; done
if [ "$pid" != 0 ]; then kill -9 "$pid"; fi
segment=$(sed -n '7s/.* //p' "$lock_file")
if [ -n "$segment" ]; then ipcrm -m "$segment"; fi
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$scratch" && break
    sleep 0.2
done
"#;

#[derive(Debug)]
pub(super) struct Guard {
    process: Child,
    pipe: Option<Mutex<ChildStdin>>,
}

impl Guard {
    /// Guards a server on `data`; `scratch` is what it removes.
    pub(super) fn start(scratch: &Path, data: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "lifeboat-test-guard"]).arg(scratch).arg(data.join("postmaster.pid"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.process_group(0).spawn().expect("start sh, the guard of a test's server");
        let pipe = process.stdin.take().expect("its input was asked for as a pipe");
        Self { process, pipe: Some(Mutex::new(pipe)) }
    }

    /// Says which process to kill.
    pub(super) fn watch(&self, pid: u32) {
        let Some(pipe) = &self.pipe else { return };
        let mut pipe = pipe.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        writeln!(pipe, "{pid}").expect("tell the guard which server runs");
    }

    /// Says that the process has ended.
    pub(super) fn forget(&self) {
        self.watch(0);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        // What it could not remove is not worth a panic within a panic.
        let _ = self.process.wait();
    }
}
