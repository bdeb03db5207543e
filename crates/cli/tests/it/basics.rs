//! What every command keeps: exits, streams, shapes.

use crate::snapshot;
use crate::world::World;
use lifeboat_testkit::postgres::Installation;

#[test]
fn a_plan_is_written_checked_and_described() {
    let world = World::new();
    let copy = world.copy("vault");
    let init = ["init", "--service", "ledger-db", "--connection", "host=db user=me", "--time-zone", "UTC"];
    let init = [&init[..], &["--vault", &copy]].concat();
    snapshot!("init", world.json(&init));
    world.run(&init).expect(2);
    let checked = world.json(&["plan", "check"]);
    assert_eq!(checked["valid"], true, "{checked}");

    let text = std::fs::read_to_string(world.path("lifeboat.yaml")).unwrap();
    std::fs::write(world.path("wrong.yaml"), text.replace("connection:", "conection:")).unwrap();
    let ran = world.run(&["plan", "check", "wrong.yaml", "--json"]).expect(1);
    snapshot!("plan_check_wrong", ran.json());
    let ran = world.run(&["plan", "check", "wrong.yaml"]).expect(1);
    assert!(ran.stdout.contains("did you mean `connection`"), "{}", ran.stdout);
    let ran = world.run(&["plan", "check", "none.yaml", "--json"]).expect(2);
    snapshot!("failure", ran.json());
    assert!(ran.stderr.contains("none.yaml cannot be read"), "{}", ran.stderr);
    let schema: serde_json::Value = world.run(&["plan", "schema"]).expect(0).json();
    assert_eq!(schema["title"], "Lifeboat recovery plan, lifeboat/v1");
}

#[test]
fn completions_and_manual_are_made_for_every_command() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.run(&["completions", shell]).expect(0).stdout.contains("lifeboat"));
    }
    world.run(&["man", "pages"]).expect(0);
    assert!(world.path("pages/lifeboat-backup-run.1").exists());
}

#[test]
fn a_vault_is_made_opened_by_each_key_and_shut_to_others() {
    let world = World::new();
    world.plan("host=nowhere");
    let made = world.json(&["vault", "init", "--break-glass", "glass.txt"]);
    snapshot!("vault_init", made);
    snapshot!("vault_status_empty", world.json(&["vault", "status"]));
    let ran = world.command(&["vault", "status", "--identity", "glass.txt"]);
    let mut ran = ran;
    let output = ran.env_remove("LIFEBOAT_PASSPHRASE").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let wrong = world.command(&["vault", "status"]).env("LIFEBOAT_PASSPHRASE", "another").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("the passphrase does not open this vault"), "{said}");
    let ran = world.run(&["vault", "init"]).expect(2);
    assert!(ran.stderr.contains("there is a vault at"), "{}", ran.stderr);
    assert_eq!(world.json(&["journal", "verify"])["sound"], true);
}

#[test]
fn a_backup_is_taken_listed_and_journalled_from_the_plan_in_the_vault() {
    let (world, _cluster) = World::with_server(&Installation::newest());
    snapshot!("backup_run", world.json(&["backup", "run", "ledger-db"]));
    // The plan is in the vault too.
    std::fs::remove_file(world.path("lifeboat.yaml")).unwrap();
    let copy = world.copy("vault");
    let listed = world.json(&["backup", "list", "--vault", &copy]);
    assert_eq!(listed["restorePoints"][0]["state"], "written", "{listed}");
    snapshot!("backup_list", listed);
    let id = listed["restorePoints"][0]["id"].as_str().unwrap();
    let show = ["backup", "show", &id[..12], "--vault", &copy];
    let shown = world.run(&show).expect(0);
    assert!(shown.stdout.contains(id), "{}", shown.stdout);
    snapshot!("backup_show", world.json(&show));
    snapshot!("journal_show", world.json(&["journal", "show", "--vault", &copy]));
}

#[test]
fn a_copy_that_is_away_is_named_with_the_way_on_and_a_new_one_is_filled() {
    let world = World::new();
    world.plan("host=nowhere");
    world.run(&["vault", "init"]).expect(0);
    let (first, second) = (world.copy("vault"), world.copy("vault2"));
    let both = ["--vault", first.as_str(), "--vault", second.as_str()];
    let ran = world.run(&[&["backup", "list"][..], &both].concat()).expect(0);
    assert!(ran.stderr.contains(&format!("the copy {second} is away")), "{}", ran.stderr);
    let restore = ["restore", "ledger-db", "--to", "latest", "--into", "back"];
    let ran = world.run(&[&restore[..], &both].concat()).expect(2);
    assert!(ran.stderr.contains(&format!("add --vault {first}")), "{}", ran.stderr);
    // An empty place is a disk that is not mounted, until a person says that it is new.
    std::fs::create_dir(world.path("vault2")).unwrap();
    world.run(&[&["vault", "check", "--repair"][..], &both].concat()).expect(1);
    world.run(&[&["vault", "check", "--repair", "--adopt", &second][..], &both].concat()).expect(0);
    world.run(&[&["vault", "check", "--deep"][..], &both].concat()).expect(0);
    world.run(&["vault", "status", "--vault", &second]).expect(0);
}

#[test]
fn a_plan_that_is_broken_stops_what_writes_and_not_what_reads_a_vault_that_is_named() {
    let world = World::new();
    world.plan("host=127.0.0.1 port=1 user=nobody");
    world.run(&["vault", "init"]).expect(0);
    std::fs::write(world.path("lifeboat.yaml"), "services: [").unwrap();
    let vault = world.copy("vault");
    let listed = world.run(&["backup", "list", "--vault", &vault]).expect(0);
    assert!(listed.stderr.contains("warning: the vault's own plan is used"), "{}", listed.stderr);
    let restore = ["restore", "ledger-db", "--into", "back", "--vault", &vault];
    let restored = world.run(&restore).expect(2);
    assert!(restored.stderr.contains("cannot be restored to latest"), "{}", restored.stderr);
    let refused = world.run(&["backup", "prune", "--vault", &vault]).expect(2);
    assert!(refused.stderr.contains("cannot be used"), "{}", refused.stderr);
    // Nor is one passed over that was asked for.
    world.run(&["backup", "list", "--vault", &vault, "--plan", "lifeboat.yaml"]).expect(2);
    world.run(&["backup", "list"]).expect(2);
}

#[test]
fn copies_on_the_command_line_are_asked_for_as_many_as_the_plan() {
    let world = World::new();
    world.plan_with_copies("host=127.0.0.1 port=1 user=nobody", &["here", "there"]);
    world.change_plan("durable: 1", "durable: 2");
    world.run(&["vault", "init"]).expect(0);
    let (here, there) = (world.copy("here"), world.copy("there"));
    let one = ["--vault", &here];
    let both = ["--vault", &here, "--vault", &there];
    let check = |copies: &[&str], durable: u64, is_told: bool| {
        let status = world.json(&[&["vault", "status"], copies].concat());
        assert_eq!(status["durable"], durable, "{status:#}");
        let pruned = world.run(&[&["backup", "prune"], copies].concat()).expect(0);
        let said = "the plan wants each write in 2 copies, and --vault names 1";
        assert_eq!(pruned.stderr.contains(said), is_told, "{}", pruned.stderr);
    };
    check(&one, 1, true);
    check(&both, 2, false);
    // From elsewhere the plan is the vault's.
    std::fs::remove_file(world.path("lifeboat.yaml")).unwrap();
    check(&one, 1, true);
    check(&both, 2, false);
}

#[test]
fn the_newest_restore_point_is_of_one_service() {
    let world = World::new();
    world.plan("host=127.0.0.1 port=1 user=nobody");
    world.run(&["vault", "init"]).expect(0);
    for asked in ["latest", "ledger-db/latest"] {
        let none = world.run(&["backup", "show", asked]).expect(2);
        assert!(none.stderr.contains("there is no restore point yet"), "{}", none.stderr);
    }
    let help = world.run(&["backup", "show", "--help"]).expect(0);
    assert!(help.stdout.contains("SERVICE/latest"), "{}", help.stdout);
}
