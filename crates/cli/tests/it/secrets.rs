//! Secrets are planted wherever Lifeboat takes them, and looked for wherever it speaks or writes.

use crate::protection::Streaming;
use crate::restoring::Restored;
use crate::world::World;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const PHRASE: &str = "planted phrase of the vault";
const PASSWORD: &str = "planted-password-of-the-server";
const WRONG: &str = "planted-guess";

/// What must not be found anywhere, and what has been said so far.
struct Planted {
    world: World,
    secrets: Vec<String>,
    said: String,
}

impl Planted {
    /// Runs a command; what it prints has no secret in it.
    fn run(&mut self, arguments: &[&str]) -> Option<i32> {
        let ran = self.world.run(arguments);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        for secret in &self.secrets {
            assert!(!text.contains(secret), "lifeboat {arguments:?} prints a secret:\n{text}");
        }
        self.said.push_str(&text);
        ran.code
    }

    /// No file below `place`, and none of their names, has a secret in it.
    fn assert_clean(&self, place: &Path) {
        for secret in &self.secrets {
            let mut grep = Command::new("grep");
            grep.args(["--recursive", "--text", "--files-with-matches", "--devices=skip", "--fixed-strings"]);
            let found = grep.env("LC_ALL", "C").args(["-e", secret]).arg(place).output().unwrap();
            assert!(found.stdout.is_empty(), "in {}", String::from_utf8_lossy(&found.stdout));
            // 1: it has looked, and there is nothing. 2: it could not look; a server that runs takes files away.
            let said = String::from_utf8_lossy(&found.stderr);
            let only_gone = said.lines().all(|line| line.ends_with("No such file or directory"));
            let code = found.status.code();
            assert!(code == Some(1) || code == Some(2) && !said.is_empty() && only_gone, "{code:?}: {said}");
            let names = Command::new("find").arg(place).output().unwrap();
            assert!(!String::from_utf8_lossy(&names.stdout).contains(secret));
        }
    }

    /// No process shows one: in its arguments, which everybody on the machine reads, or in the restored
    /// server's environment, which its users can read.
    fn assert_processes_clean(&self, server: i32) {
        let ours = self.world.path("").display().to_string();
        let mut seen = 0;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            // It may have ended by now.
            let Ok(arguments) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            seen += usize::from(arguments.contains(&ours));
            assert!(!self.secrets.iter().any(|secret| arguments.contains(secret)), "{arguments}");
        }
        // The server and its helper at least.
        assert!(seen >= 2, "{seen} processes name {ours}");
        let environment = std::fs::read(format!("/proc/{server}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let shown = self.secrets.iter().find(|secret| environment.contains(*secret));
        assert_eq!(shown, None, "the restored server's environment has it");
    }
}

fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A server that lets `keeper` in with the password alone.
fn guarded_server(installation: &Installation) -> Cluster {
    let cluster = Cluster::start(installation, &ClusterOptions::new());
    cluster.psql(&format!("CREATE ROLE keeper SUPERUSER REPLICATION LOGIN PASSWORD '{PASSWORD}'"));
    let rules = cluster.data_directory().join("pg_hba.conf");
    let others = std::fs::read_to_string(&rules).unwrap();
    let guarded = "host all,replication keeper 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(&rules, format!("{guarded}{others}")).unwrap();
    cluster.psql("SELECT pg_reload_conf()");
    cluster.psql("CREATE TABLE ledger AS SELECT g AS id FROM generate_series(1, 1000) g");
    cluster
}

#[test]
fn x3_s1_no_secret_is_printed_stored_or_shown_by_a_process() {
    let installation = Installation::newest();
    let cluster = guarded_server(&installation);
    let mut world = World::new();
    world.environment = vec![("LIFEBOAT_PASSPHRASE", PHRASE.to_owned())];
    write_secret(&world.path("password"), PASSWORD);
    write_secret(&world.path("wrong-phrase"), WRONG);
    world.plan(&cluster.conninfo().replace("user=postgres", "user=keeper"));
    let file = world.path("password").display().to_string();
    world.change_plan("      base:", &format!("      passwordFile: {file}\n      base:"));
    let secrets = vec![PHRASE.to_owned(), PASSWORD.to_owned(), WRONG.to_owned()];
    let mut planted = Planted { world, secrets, said: String::new() };

    planted.run(&["vault", "init", "--break-glass", "glass.txt"]);
    let glass = std::fs::read_to_string(planted.world.path("glass.txt")).unwrap();
    let glass = glass.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap().to_owned();
    planted.secrets.push(glass);
    let streaming = Streaming::start(&planted.world);
    for command in [
        &["plan", "check"][..],
        &["vault", "status", "--identity", "glass.txt"],
        &["doctor", "--deep"],
        &["backup", "run", "ledger-db"],
        &["backup", "run", "ledger-db", "--remote"],
        &["backup", "verify", "latest"],
        &["backup", "show", "latest"],
        &["backup", "prune"],
        &["status"],
        &["wal", "search", "ledger-db"],
        &["vault", "check", "--deep"],
    ] {
        planted.run(&[command, &["--json"]].concat());
    }
    assert!(planted.said.contains("ledger-db") && planted.said.contains("verified"), "{}", planted.said);

    // What goes wrong says more; and who writes a secret where it does not belong is not quoted.
    let connection = format!("host=127.0.0.1 user=keeper password={PASSWORD}");
    let address = format!("postgresql://keeper:{PASSWORD}@127.0.0.1/postgres");
    let bucket = format!("s3://key:{PASSWORD}@bucket/vault");
    let plan = std::fs::read_to_string(planted.world.path("lifeboat.yaml")).unwrap();
    let loose = plan.replace("user=keeper", &format!("user=keeper password={PASSWORD}"));
    std::fs::write(planted.world.path("loose.yaml"), loose).unwrap();
    let init = ["init", "--plan", "new.yaml", "--service", "x", "--time-zone", "UTC", "--connection"];
    let copy = planted.world.copy("vault");
    for command in [
        &[&init[..], &[&connection, "--vault", &copy]].concat()[..],
        &[&init[..], &[&address, "--vault", &copy]].concat(),
        &["plan", "check", "loose.yaml"],
        &["vault", "status", "--plan", "loose.yaml"],
        &["vault", "status", "--vault", &bucket],
        &["vault", "status", "--passphrase-file", "wrong-phrase"],
        &["backup", "run", "ledger-db", "--connection", &connection],
        &["backup", "run", "ledger-db", "--connection", &address],
        &["restore", "ledger-db", "--to", "xid:1", "--into", "never"],
    ] {
        let code = planted.run(command);
        assert!(matches!(code, Some(1 | 2)), "lifeboat {command:?}: {code:?}");
    }
    write_secret(&planted.world.path("password"), WRONG);
    planted.run(&["doctor"]);
    planted.run(&["backup", "run", "ledger-db", "--json"]);
    planted.run(&["status"]);
    assert!(planted.said.contains("password authentication failed"), "{}", planted.said);

    let restore = ["restore", "ledger-db", "--into", "back", "--start"];
    let restored = Restored::of(&planted.world.json(&restore), &installation);
    assert_eq!(restored.psql("SELECT count(*) FROM ledger").unwrap(), "1000");
    planted.assert_processes_clean(restored.pid);
    assert_eq!(planted.run(&["promote", "back"]), Some(0));
    planted.run(&["journal", "show", "--json"]);
    assert!(planted.said.contains("backup.failed") && planted.said.contains("restore.finished"));
    assert_eq!(streaming.stop().1, Some(0));
    planted.assert_clean(&planted.world.path("vault"));
    planted.assert_clean(&planted.world.path("back"));
}
