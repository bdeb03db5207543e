//! The demonstration, whole, as `make demo` runs it.

use crate::snapshot;
use lifeboat_testkit::postgres::{Installation, scratch_directory};
use std::process::Command;

fn both_disasters_are_recovered(installation: &Installation) {
    let scratch = scratch_directory();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.args(["demo", "--json", "--postgresql", &installation.major.to_string(), "--directory"]);
    command.arg(scratch.path()).env("LIFEBOAT_POSTGRES_BIN", &installation.bin_dir);
    let output = command.output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["holds"], true, "{report:#}");
    snapshot!("demo", report);
    let [corruption, host_loss] = &report["disasters"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert!(corruption["comparison"]["equal"].as_u64().unwrap() > 0);
    assert!(corruption["target"].as_str().unwrap().starts_with("before:xid:"), "{report:#}");
    assert!(host_loss["comparison"]["equal"].as_u64() > corruption["comparison"]["equal"].as_u64());
    for disaster in [corruption, host_loss] {
        let names: Vec<&str> =
            disaster["segments"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["detected", "decided", "restored", "replayed", "answering", "verified"]);
    }
    // Q3: nothing is left.
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "{talk}");
}

#[test]
fn the_demonstration_holds_on_the_oldest_version() {
    both_disasters_are_recovered(&Installation::oldest());
}

#[test]
fn the_demonstration_holds_on_the_newest_version() {
    both_disasters_are_recovered(&Installation::newest());
}

#[test]
fn without_postgresql_it_says_how_to_get_it_and_could_not_run() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    let output = command.args(["demo", "--postgresql", "99"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(talk.contains("PostgreSQL 99 is not on this machine"), "{talk}");
}
