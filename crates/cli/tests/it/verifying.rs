//! `lifeboat backup verify`: what is a verdict, what is none, and what stays.

use crate::world::World;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A server that can say what one on a full disk says, backed up once into two copies.
fn backed_up() -> (World, Cluster) {
    let world = World::new();
    let cluster = Cluster::start(&Installation::newest(), &ClusterOptions::new());
    cluster.psql("CREATE TABLE ledger AS SELECT g AS id FROM generate_series(1, 1000) g");
    cluster.psql(
        "CREATE FUNCTION on_a_full_disk() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
         RAISE 'could not extend file \"base/5/16384\": No space left on device' USING ERRCODE = 'disk_full'; \
         END $$",
    );
    world.plan_with_copies(&cluster.conninfo(), &["here", "there"]);
    world.run(&["vault", "init"]).expect(0);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    std::fs::create_dir(world.path("scratch")).unwrap();
    (world, cluster)
}

const VERIFY: [&str; 5] = ["backup", "verify", "latest", "--scratch", "scratch"];

fn state(world: &World) -> String {
    world.json(&["backup", "list"])["restorePoints"][0]["state"].as_str().unwrap().to_owned()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Every object of the vault's copy that is part of a pack of a layer.
fn packs(copy: &Path) -> Vec<PathBuf> {
    let (directories, files): (Vec<_>, Vec<_>) = entries(copy).into_iter().partition(|path| path.is_dir());
    let is_pack = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("pack-");
    files.into_iter().filter(is_pack).chain(directories.iter().flat_map(|below| packs(below))).collect()
}

#[test]
fn v1_v2_a_copy_that_is_away_or_a_full_disk_is_no_verdict_and_what_the_vault_proves_is_one() {
    let (world, cluster) = backed_up();
    // All of it comes from the vault.
    cluster.kill9();
    cluster.erase_data_directory();
    let none = |because: &str| {
        let ran = world.run(&VERIFY).expect(2);
        assert!(ran.stderr.contains(because), "{}", ran.stderr);
        assert_eq!(state(&world), "written");
        assert_eq!(entries(&world.path("scratch")), [] as [PathBuf; 0]);
    };
    std::fs::rename(world.path("there"), world.path("unmounted")).unwrap();
    none("no verdict while a copy of the vault is away");
    std::fs::rename(world.path("unmounted"), world.path("there")).unwrap();

    let plan = std::fs::read_to_string(world.path("lifeboat.yaml")).unwrap();
    world.change_plan("      keep:", "      checks: [{query: \"select on_a_full_disk()\"}]\n      keep:");
    none("No space left on device");
    std::fs::write(world.path("lifeboat.yaml"), plan).unwrap();

    world.run(&VERIFY).expect(0);
    assert_eq!(state(&world), "verified");
    // Both copies say that it is gone.
    for copy in ["here", "there"] {
        let lost = packs(&world.path(copy)).into_iter().min().unwrap();
        std::fs::remove_file(lost).unwrap();
    }
    world.run(&VERIFY).expect(1);
    assert_eq!(state(&world), "failed");
    assert_eq!(entries(&world.path("scratch")), [] as [PathBuf; 0]);
    world.run(&["backup", "show", "latest"]).expect(1);
}

#[test]
fn s1_what_a_killed_verification_left_goes_with_the_next() {
    let (world, _cluster) = backed_up();
    let mut command = world.command(&VERIFY);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Killed while its server runs.
    let pid: i32 = loop {
        assert_eq!(child.try_wait().unwrap(), None, "it was faster than the one who kills");
        let files = entries(&world.path("scratch")).into_iter().map(|path| path.join("postmaster.pid"));
        let text =
            files.filter_map(|path| std::fs::read_to_string(path).ok()).find(|text| text.contains('\n'));
        match text {
            Some(text) => break text.lines().next().unwrap().parse().unwrap(),
            None => std::thread::yield_now(),
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    // What is not ours stays.
    std::fs::create_dir(world.path("scratch/lifeboat-verify-notes")).unwrap();
    assert!(entries(&world.path("scratch")).len() >= 3);
    assert_eq!(state(&world), "written");

    world.run(&VERIFY).expect(0);
    assert_eq!(entries(&world.path("scratch")), [world.path("scratch/lifeboat-verify-notes")]);
    let process = rustix::process::Pid::from_raw(pid).unwrap();
    assert!(rustix::process::test_kill_process(process).is_err(), "the server of the killed one still runs");
}
