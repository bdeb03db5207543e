//! What `restore` and `promote` promise besides the rows: what is said first, and when the vault only reads.

use crate::world::World;
use lifeboat_testkit::postgres::Installation;
use std::process::Command;

#[test]
fn p2_r1_r2_what_is_typed_is_printed_first_and_a_vault_that_takes_nothing_still_restores() {
    let (world, _cluster) = World::with_server(&Installation::newest());
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    let restore = ["restore", "ledger-db", "--into", "back"];
    let said = world.run(&[&restore[..], &["--dry-run"]].concat()).expect(0).stderr;
    assert!(!world.path("back").exists());
    let typed = said.lines().find_map(|line| line.trim().strip_prefix("by hand")).unwrap().trim();

    // Neither a pin nor an event finds a place; and whoever types it may be anywhere.
    let vault = world.path("vault");
    let pins = vault.join("services/ledger-db/pins");
    if pins.exists() {
        std::fs::remove_dir_all(&pins).unwrap();
    }
    std::fs::write(pins, "").unwrap();
    std::fs::create_dir_all(vault.join("journal/services/ledger-db")).unwrap();
    std::fs::write(vault.join("journal/services/ledger-db/restore"), "").unwrap();
    let program = world.command(&[]).get_program().to_owned();
    let directory = std::path::Path::new(&program).parent().unwrap().to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-c", typed]).current_dir("/").env("LIFEBOAT_PASSPHRASE", crate::world::PASSPHRASE);
    let places = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(directory).chain(std::env::split_paths(&places));
    let output = shell.env("PATH", std::env::join_paths(places).unwrap()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{typed}\n{said}");
    assert!(said.contains("prune could not be told"), "{said}");
    assert!(world.path("back/global/pg_control").exists());

    // P2 of promote: a directory without our marker is another's.
    std::fs::remove_file(world.path("back/lifeboat.restore")).unwrap();
    let refused = world.run(&["promote", "back"]).expect(2);
    assert!(refused.stderr.contains("was not made by `lifeboat restore`"), "{}", refused.stderr);
}
