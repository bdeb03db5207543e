//! Commands: what they find, how they end, what is told of them.

use crate::hands::{SUPERVISOR, World, failed, shell, step, unknown, until};
use lifeboat_core::run::{Found, Outcome};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A process that must end soon.
const SOON: Duration = Duration::from_secs(20);

fn with(mut does: Value, key: &str, value: Value) -> Value {
    does[key] = value;
    does
}

fn outputs(run: &str, names: &[&str]) -> Value {
    json!({"deed": {"action": "shell", "with": {"run": run, "outputs": names}}, "timeout": 30})
}

/// Whether a process lives, whose ID is in a file.
fn lives(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", text.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn what_commands_print_is_told_in_its_order_and_while_they_run() {
    let world = World::new();
    let told = world.act(shell("for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 0")).await;
    assert_eq!(told.result, Outcome::Done);
    assert_eq!(told.output, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
    assert_eq!(world.lines.lock().unwrap()[..2], ["s: out 1", "s: err 1"]);
}

#[tokio::test]
async fn a2_what_failed_is_told_apart_from_what_is_not_known() {
    let world = World::new();
    assert_eq!(failed(&world.act(shell("exit 3")).await), "the commands ended with status 3");
    assert_eq!(unknown(&world.act(shell("kill -9 $$")).await), "the commands were ended by signal 9");
    let late = with(shell("echo begun; sleep 1000"), "timeout", json!(1));
    let told = world.act(late).await;
    assert_eq!((unknown(&told), told.output.as_str()), ("it was broken off: its time was over", "begun\n"));
    let told = world.act(shell("#!/no/such/program\n")).await;
    assert!(failed(&told).starts_with("nothing was begun: /no/such/program"), "{told:?}");
}

#[tokio::test]
async fn a1_when_time_is_over_nothing_is_left_not_even_what_ignores_it_or_has_left_the_group() {
    let world = World::new();
    let run = "trap '' TERM\nsetsid sh -c 'trap \"\" TERM; echo $$ >left; while :; do sleep 1; done' &\n\
        (echo; sh -c 'echo $$ >child; sleep 1000') &\nwhile :; do sleep 1; done";
    let told = world.act(with(shell(run), "timeout", json!(2))).await;
    assert_eq!(unknown(&told), "it was broken off: its time was over");
    for name in ["left", "child"] {
        let file = world.workspace().join("run-1").join(name);
        assert!(file.exists() && !lives(&file), "{name}");
    }
}

#[tokio::test]
async fn p1_what_stays_in_the_group_ends_with_the_commands_and_a_server_stays() {
    let world = World::new();
    let run = "sleep 1000 & echo $! >group\nsetsid -f sh -c 'echo $$ >server; exec sleep 30' \
        && until test -s server; do sleep 0.01; done";
    let begun = Instant::now();
    assert_eq!(world.act(shell(run)).await.result, Outcome::Done);
    assert!(begun.elapsed() < SOON);
    let directory = world.workspace().join("run-1");
    until("the group's process is gone", SOON, || !lives(&directory.join("group")));
    assert!(lives(&directory.join("server")));
    let server = std::fs::read_to_string(directory.join("server")).unwrap();
    assert!(Command::new("kill").arg(server.trim()).status().unwrap().success());
}

#[test]
fn a1_nothing_goes_on_once_whoever_carries_the_run_is_killed() {
    let world = World::new();
    let run = "trap '' HUP; echo $$ >begun; (sleep 1000; echo late >late)";
    let mut carrier = Command::new(SUPERVISOR)
        .arg(serde_json::to_string(&step(with(shell(run), "timeout", json!(600)))).unwrap())
        .arg(world.workspace())
        .arg(SUPERVISOR)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let begun = world.workspace().join("run-1/begun");
    until("it has begun", SOON, || lives(&begun));
    carrier.kill().unwrap();
    carrier.wait().unwrap();
    until("it is over", SOON, || !lives(&begun));
    let scripts = world.workspace().join("scripts");
    until("its text is gone", SOON, || std::fs::read_dir(&scripts).unwrap().next().is_none());
}

#[tokio::test]
async fn a1_nothing_goes_on_once_nobody_waits_for_it() {
    let world = World::new();
    let act = world.act(with(shell("echo $$ >begun; sleep 1000"), "timeout", json!(600)));
    let begun = world.workspace().join("run-1/begun");
    let abandoned = tokio::time::timeout(Duration::from_secs(2), act).await;
    assert!(abandoned.is_err() && begun.exists());
    until("it is over", SOON, || !lives(&begun));
}

#[tokio::test]
async fn variables_of_the_shell_are_left_to_later_steps() {
    let world = World::new();
    let run = "A='it'\\''s \"$x\"'; B='two\nlines\n'; C=; D=\\\\0; set -eu\n# a comment";
    let told = world.act(outputs(run, &["A", "B", "C", "D"])).await;
    assert_eq!(told.result, Outcome::Done);
    let expected = [("A", "it's \"$x\""), ("B", "two\nlines\n"), ("C", ""), ("D", "\\0")];
    assert_eq!(told.observed, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let told = world.act(outputs("#!/bin/bash -eu\nA=(x y); exit 0", &["A"])).await;
    assert_eq!(told.observed.get("A").map(String::as_str), Some("x"));
    // The status stays that of the commands.
    assert_eq!(failed(&world.act(outputs("A=1; exit 4", &["A"])).await), "the commands ended with status 4");
}

#[tokio::test]
async fn variables_that_are_not_there_too_large_or_not_of_a_shell_are_told() {
    let world = World::new();
    for (run, said) in [
        ("B=1", "left no `A`"),
        ("A=1; trap : EXIT", "left no `A`"),
        ("A=$(head -c 40000 /dev/zero | tr '\\0' x)", "larger than 32 KiB"),
        ("#!/usr/bin/env python3\nA = 1", "/usr/bin/env is none"),
    ] {
        let told = world.act(outputs(run, &["A"])).await;
        assert!(failed(&told).contains(said), "{told:?}");
    }
}

#[tokio::test]
async fn commands_find_what_the_plan_gives_and_not_the_vaults_passphrase() {
    let world = World::new().with("LIFEBOAT_PASSPHRASE", "opens the vault").with("PGHOST", "db");
    let does = with(
        shell(
            "echo $PGHOST $MOMENT $SEEN $LIFEBOAT_RUN $LIFEBOAT_FENCE \"${LIFEBOAT_PASSPHRASE-none}\"; pwd",
        ),
        "environment",
        json!({"MOMENT": "now"}),
    );
    let directory = world.workspace().join("run-1");
    let told = world.act(does).await;
    assert_eq!(told.output, format!("db now before run-1 7 none\n{}\n", directory.display()));
}

#[tokio::test]
async fn a4_without_its_secret_nothing_is_begun() {
    let does = with(shell("touch begun"), "secrets", json!(["DB_PASSWORD"]));
    for (world, said) in [
        (World::new(), "`DB_PASSWORD` is not in the environment"),
        (World::new().with("DB_PASSWORD", "abc"), "fewer than 4 characters"),
    ] {
        let told = world.act(does.clone()).await;
        assert!(failed(&told).contains(said), "{told:?}");
        assert!(!world.workspace().join("run-1/begun").exists());
    }
}

#[tokio::test]
async fn a3_a_secret_is_in_nothing_that_is_told() {
    let secret = "s3cret w0rd";
    let world = World::new().with("DB_PASSWORD", secret).with("OTHER_TOKEN", "undeclared-1");
    let run = "set -x; echo \"$DB_PASSWORD\" | base64; printf %s \"$DB_PASSWORD\"; sleep 0.1; echo $OTHER_TOKEN\n\
        A=\"x $DB_PASSWORD\"; curl=\"PGPASSWORD=hunter22\"";
    let does = with(outputs(run, &["A"]), "secrets", json!(["DB_PASSWORD"]));
    let told = world.act(does).await;
    assert!(failed(&told).contains("`A` holds a secret"), "{told:?}");
    let check = json!({"run": "echo $DB_PASSWORD", "expect": "other"});
    let does = with(with(shell(":"), "verify", check), "secrets", json!(["DB_PASSWORD"]));
    let wrong = world.verify(does).await;
    assert_eq!(wrong.result.as_deref(), Some("it printed `[redacted]`, not `other`"));
    let all = format!("{told:?} {wrong:?} {:?}", world.lines.lock().unwrap());
    for leak in [secret, "s3cret", "czNjcmV0IHcwcmQ", "undeclared-1", "hunter22"] {
        assert!(!all.contains(leak), "{leak} in {all}");
    }
}

#[tokio::test]
async fn what_is_printed_without_end_is_kept_within_bounds_and_ends() {
    let world = World::new();
    let told = world
        .act(shell("echo first; head -c 20000000 /dev/zero | tr '\\0' x | fold -w 80; echo; echo last"))
        .await;
    assert_eq!(told.result, Outcome::Done);
    assert!(told.output.starts_with("first\n") && told.output.ends_with("\nlast\n"));
    assert!(told.output.contains("bytes left out here]") && told.output.len() < 17 << 20);
    let lines = world.lines.lock().unwrap();
    assert!(lines.len() < 20_000 && lines.last().unwrap().contains("not shown here"));
}

#[tokio::test]
async fn checks_hold_what_is_printed_against_what_is_expected() {
    let world = World::new();
    let check = |run: &str, expect: &str| json!({"deed": {"action": "check", "with": {"run": run, "expect": expect}}, "timeout": 30});
    let told = world.act(check("echo warning >&2; echo ' t '", "t")).await;
    assert_eq!(told.result, Outcome::Done);
    assert!(told.output.contains("warning"));
    assert_eq!(failed(&world.act(check("echo f", "t")).await), "it printed `f`, not `t`");
    let probe = |run: &str| with(shell(":"), "probe", json!({"run": run}));
    assert_eq!(world.probe(probe("true")).await.result, Found::Done);
    assert_eq!(world.probe(probe("false")).await.result, Found::NotDone);
    assert_eq!(world.probe(probe("kill -9 $$")).await.result, Found::Unknown);
    let undone = with(shell(":"), "undo", json!("echo $SEEN"));
    let told = world.undo(undone, [("SEEN".to_owned(), "3".to_owned())].into()).await;
    assert_eq!((told.result, told.output.as_str()), (Outcome::Done, "3\n"));
    assert_eq!(failed(&world.undo(shell(":"), [].into()).await), "there is no way to undo it");
}

#[tokio::test]
async fn a_wait_ends_at_its_time_and_can_be_given_up() {
    let world = World::new();
    let wait =
        |seconds: u64| json!({"deed": {"action": "wait", "with": {"seconds": seconds}}, "timeout": 9000});
    assert_eq!(world.act(wait(0)).await.result, Outcome::Done);
    let given_up = tokio::time::timeout(Duration::from_millis(50), world.act(wait(8000))).await;
    assert!(given_up.is_err());
}
