//! What holds for every command: exit codes, streams, documents, pipes.

use crate::world::World;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A machine with a vault, and a plan for a server that nobody can reach.
fn world() -> World {
    let world = World::new();
    world.plan("host=127.0.0.1 port=1 user=nobody");
    world.run(&["vault", "init"]).expect(0);
    let plan = std::fs::read_to_string(world.path("lifeboat.yaml")).unwrap();
    std::fs::write(world.path("wrong.yaml"), plan.replace("connection:", "conection:")).unwrap();
    world
}

/// Commands that hold, that find something, and that cannot run.
const GOOD: &[&[&str]] = &[
    &["plan", "check"],
    &["vault", "status"],
    &["vault", "check", "--deep"],
    &["backup", "list"],
    &["backup", "prune", "--dry-run"],
    &["journal", "show"],
    &["journal", "verify"],
];
const FINDING: &[&[&str]] = &[&["plan", "check", "wrong.yaml"], &["doctor"], &["status"]];
const FAILING: &[&[&str]] = &[
    &["plan", "check", "none.yaml"],
    &["vault", "init"],
    &["vault", "status", "--plan", "wrong.yaml"],
    &["vault", "status", "--identity", "none.txt"],
    &["backup", "run", "ledger-db"],
    &["backup", "run", "another-db"],
    &["backup", "show", "0123"],
    &["restore", "ledger-db", "--into", "back"],
    &["promote", "nowhere"],
    &["wal", "search", "ledger-db"],
    &["wal", "push", "ledger-db", "none"],
    &["stream", "another-db"],
    &["serve", "another-db"],
    &["demo", "--postgresql", "99"],
];
const NO_COMMAND: &[&[&str]] = &[
    &["no-such-command"],
    &["vault", "status", "--no-such-flag"],
    &["restore", "ledger-db"],
    &["restore", "ledger-db", "--into", "back", "--to", "yesterday"],
];

#[test]
fn x1_o1_the_exit_status_tells_what_came_of_it_and_talk_does_not_mix_with_data() {
    let world = world();
    for command in GOOD.iter().chain(&[&["--version"][..], &["help"], &["restore", "--help"]]) {
        let ran = world.run(command).expect(0);
        assert!(!ran.stdout.is_empty(), "{command:?} has no data");
        let talk = ran.stderr.lines().find(|line| !line.starts_with("check of the vault:"));
        assert_eq!(talk, None, "{command:?} has nothing to say but how far it is");
    }
    for command in FINDING {
        assert!(!world.run(command).expect(1).stdout.is_empty(), "{command:?} does not tell what it found");
    }
    for command in FAILING.iter().chain(NO_COMMAND) {
        let ran = world.run(command).expect(2);
        assert_eq!(ran.stdout, "", "{command:?}");
        assert!(ran.stderr.contains("error:"), "{command:?}: {}", ran.stderr);
    }
    // PostgreSQL takes 1 and 2 for "no such file".
    let fetch = ["wal", "fetch", "ledger-db", "000000010000000000000001", "out"];
    for wrong in [&["--no-such-flag"][..], &["--plan", "none.yaml"], &["--vault", "file:///nowhere"]] {
        world.run(&[&fetch[..], wrong].concat()).expect(255);
    }
    // A warning changes nothing about the data.
    let list = ["backup", "list", "--vault", &world.copy("vault")];
    let alone = world.run(&list).expect(0);
    let warned = world.run(&[&list[..], &["--vault", &world.copy("not-mounted")]].concat()).expect(0);
    assert_eq!(warned.stdout, alone.stdout);
    assert!(warned.stderr.contains("warning:"), "{}", warned.stderr);
    // What was written is no longer what is there.
    let journal = files(&world.path("vault")).into_iter().filter(|path| is_journal(path));
    let first = journal.filter(|path| path.to_string_lossy().contains("backup")).min().unwrap();
    std::fs::remove_file(first).unwrap();
    world.run(&["journal", "verify"]).expect(1);
}

fn is_journal(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "journal")
}

/// Every file below a directory.
fn files(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The compiler sees `println!`; this sees the rest.
#[test]
fn x2_nothing_prints_but_output() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = files(crates).into_iter().filter(|path| {
        let inside = path.strip_prefix(crates).unwrap();
        let mut parts = inside.components().map(|part| part.as_os_str().to_str().unwrap());
        let (name, part) = (parts.next().unwrap(), parts.next());
        name != "testkit" && part == Some("src") && path.extension().is_some_and(|end| end == "rs")
    });
    let speaks = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        ["stdout()", "stderr()", "println!", "eprint!"].iter().any(|word| text.contains(word))
    };
    let mut speaking: Vec<PathBuf> = sources.filter(speaks).collect();
    speaking.sort();
    // The bar is drawn by a crate, on standard error.
    let wanted = ["output.rs", "progress.rs"].map(|name| crates.join("cli/src").join(name));
    assert_eq!(speaking, wanted);
}

#[test]
fn o2_with_json_there_is_one_document_and_it_says_what_it_is() {
    let world = world();
    let kind = |command: &[&str], code: i32| {
        let ran = world.run(&[command, &["--json"]].concat()).expect(code);
        // More than one document would not parse.
        let document: Value = ran.json();
        document["kind"].as_str().unwrap_or_else(|| panic!("{command:?} says not what it is")).to_owned()
    };
    for (commands, code) in [(GOOD, 0), (FINDING, 1)] {
        for command in commands {
            let name = command.iter().take_while(|word| !word.starts_with('-') && !word.contains('.'));
            assert_eq!(kind(command, code), name.copied().collect::<Vec<_>>().join("."), "{command:?}");
        }
    }
    for command in FAILING.iter().chain(NO_COMMAND) {
        assert_eq!(kind(command, 2), "failure", "{command:?}");
    }
    assert_eq!(kind(&["wal", "fetch", "ledger-db", "none", "out"], 255), "failure");
}

#[test]
fn o3_a_closed_pipe_changes_nothing() {
    let world = world();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let schema: &[&[&str]] = &[&["plan", "schema"], &["completions", "zsh"], &["man"]];
    for (commands, code) in [(schema, 0), (GOOD, 0), (FINDING, 1), (FAILING, 2)] {
        for command in commands {
            let output = world.command(command).stdout(closed()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
            assert!(code != 0 || !said.contains("error"), "{command:?}: {said}");
        }
        let command = commands[commands.len() - 1];
        let status = world.command(command).stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{command:?}");
    }
    // A full disk is one.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = world.command(&["plan", "schema"]).stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
