//! The demonstration, whole, as `make demo` runs it.

use crate::snapshot;
use lifeboat_testkit::postgres::{Installation, scratch_directory};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The demonstration in a directory.
fn demo(installation: &Installation, directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.args(["demo", "--json", "--postgresql", &installation.major.to_string(), "--directory"]);
    command.arg(directory).env("LIFEBOAT_POSTGRES_BIN", &installation.bin_dir);
    command
}

fn both_disasters_are_recovered(installation: &Installation, is_kept: bool) {
    let scratch = scratch_directory();
    let mut command = demo(installation, scratch.path());
    command.args(is_kept.then_some("--keep"));
    let output = command.output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["holds"], true, "{report:#}");
    if !is_kept {
        snapshot!("demo", report);
    }
    let [corruption, host_loss] = &report["disasters"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert!(corruption["comparison"]["equal"].as_u64().unwrap() > 0);
    assert!(corruption["target"].as_str().unwrap().starts_with("before:xid:"), "{report:#}");
    assert!(host_loss["comparison"]["equal"].as_u64() > corruption["comparison"]["equal"].as_u64());
    for disaster in [corruption, host_loss] {
        let names: Vec<&str> =
            disaster["segments"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["detected", "decided", "shown", "replayed", "answering", "verified"]);
        assert!(disaster["fullRestoreSeconds"].as_f64().is_some(), "{report:#}");
    }
    if is_kept {
        return look_around(&report);
    }
    // Q3: nothing is left.
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "{talk}");
}

/// What is kept can be looked at with the commands that are told.
fn look_around(report: &Value) {
    let kept = Path::new(report["kept"].as_str().unwrap());
    let mode = std::fs::metadata(kept.join("passphrase")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let commands = report["look"].as_array().unwrap();
    let told = |name: &str| commands.iter().find_map(|command| command.as_str()?.strip_prefix(name)).unwrap();
    for name in ["lifeboat backup list ", "lifeboat wal search "] {
        let line = format!("{} {}{}", env!("CARGO_BIN_EXE_lifeboat"), &name["lifeboat ".len()..], told(name));
        let output = Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !output.stdout.is_empty(), "{line}: {said}");
    }
    assert!(told("lifeboat restore ").contains("--start"));
}

/// The process that `postmaster.pid` names in the demonstration's first data directory, once it `will_do`: the one
/// that `initdb` runs has a negative number.
fn first_server(child: &mut Child, directory: &Path, will_do: impl Fn(i32) -> bool) -> Pid {
    loop {
        assert_eq!(child.try_wait().unwrap(), None, "it ended too early");
        let made = std::fs::read_dir(directory).unwrap().next();
        let file = made.map(|made| made.unwrap().path().join("production/postmaster.pid"));
        let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let number = text.lines().next().and_then(|pid| pid.parse::<i32>().ok());
        if let Some(pid) = number.filter(|pid| will_do(*pid)).and_then(|pid| Pid::from_raw(pid.abs())) {
            return pid;
        }
        std::thread::yield_now();
    }
}

#[test]
fn q3_asked_to_stop_it_leaves_neither_servers_nor_files() {
    let scratch = scratch_directory();
    for signal in [Signal::TERM, Signal::INT] {
        let mut command = demo(&Installation::newest(), scratch.path());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let server = first_server(&mut child, scratch.path(), |pid| pid > 0);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("interrupted"), "{said}");
        assert!(test_kill_process(server).is_err(), "its server runs on");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "{said}");
    }
}

#[test]
fn g1_asked_a_second_time_it_ends_at_once_whatever_it_does() {
    let scratch = scratch_directory();
    let mut command = demo(&Installation::newest(), scratch.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It waits for `initdb`, and looks at nothing else.
    let backend = first_server(&mut child, scratch.path(), |pid| pid < 0);
    for signal in [Signal::TERM, Signal::INT] {
        kill_process(Pid::from_child(&child), signal).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // It may have ended by itself.
    let _ = kill_process(backend, Signal::KILL);
}

#[test]
fn the_demonstration_holds_on_the_oldest_version() {
    both_disasters_are_recovered(&Installation::oldest(), true);
}

#[test]
fn the_demonstration_holds_on_the_newest_version() {
    both_disasters_are_recovered(&Installation::newest(), false);
}

#[test]
fn without_postgresql_it_says_how_to_get_it_and_could_not_run() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    let output = command.args(["demo", "--postgresql", "99"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(talk.contains("PostgreSQL 99 is not on this machine"), "{talk}");
}
