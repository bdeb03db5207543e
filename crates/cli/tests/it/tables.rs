//! `lifeboat recover --table`: one table as it was.

use crate::world::World;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};

/// An installation with the client programs that this needs, which not all have.
fn with_programs() -> Installation {
    let has = |installation: &Installation| installation.bin_dir.join("pg_dump").exists();
    let found = Installation::all().into_iter().find(has);
    found.expect("no PostgreSQL here has pg_dump: the distribution's has")
}

fn shop() -> (World, Cluster) {
    let world = World::new();
    let cluster = Cluster::start(&with_programs(), &ClusterOptions::new());
    cluster.psql("CREATE SCHEMA shop");
    cluster.psql("CREATE TABLE shop.customers (id int PRIMARY KEY, name text)");
    cluster.psql("INSERT INTO shop.customers SELECT g, 'c' || g FROM generate_series(1, 100) g");
    cluster.psql(
        "CREATE TABLE shop.\"Or\"\"ders'\" (id int PRIMARY KEY, customer int REFERENCES shop.customers, \
         note text CHECK (note <> ''))",
    );
    cluster.psql(
        "INSERT INTO shop.\"Or\"\"ders'\" SELECT g, 1 + g % 100, 'n' || g FROM generate_series(1, 5000) g",
    );
    cluster.psql("CREATE UNLOGGED TABLE shop.carts (id int)");
    world.plan(&cluster.conninfo());
    world.run(&["vault", "init"]).expect(0);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    std::fs::create_dir(world.path("scratch")).unwrap();
    (world, cluster)
}

const TABLE: &str = "shop.\"Or\"\"ders'\"";

#[test]
fn t1_t2_a_table_comes_back_whole_beside_what_is_there_or_not_at_all() {
    let (world, cluster) = shop();
    let recover = |table: &str, rest: &[&str]| {
        let begin = ["recover", "ledger-db", "--scratch", "scratch", "--table", table];
        world.run(&[&begin[..], rest].concat())
    };
    let count = |table: &str| cluster.psql(&format!("SELECT count(*) FROM {table}")).trim().to_owned();
    cluster.psql(&format!("DELETE FROM {TABLE} WHERE id > 10"));
    cluster.psql(&format!("UPDATE {TABLE} SET note = 'wrong'"));
    let conninfo = cluster.conninfo();

    // T2: what is there is not written over, and the way on is told.
    let refused = recover(TABLE, &["--into", &conninfo]).expect(2);
    assert!(
        refused.stderr.contains("already exists") && refused.stderr.contains("--into-schema"),
        "{}",
        refused.stderr
    );
    assert_eq!(count(&format!("{TABLE} WHERE note = 'wrong'")), "10");

    let done =
        recover(TABLE, &["--into", &conninfo, "--into-schema", "as it was", "--json"]).expect(0).json();
    assert_eq!(done["tables"][0]["rows"], 5000);
    let back = "\"as it was\".\"Or\"\"ders'\"";
    assert_eq!(count(&format!("{back} WHERE note = 'n' || id")), "5000");
    cluster.psql(&format!("INSERT INTO {TABLE} SELECT * FROM {back} WHERE id > 10"));
    assert_eq!(count(TABLE), "5000");
    // T1: a second time it is there, and stays as it is.
    cluster.psql(&format!("DELETE FROM {back} WHERE id > 1"));
    recover(TABLE, &["--into", &conninfo, "--into-schema", "as it was"]).expect(2);
    assert_eq!(count(back), "1");

    // Dropped: back where it was, with all that belongs to it.
    cluster.psql(&format!("DROP TABLE {TABLE}"));
    recover(TABLE, &["--into", &conninfo]).expect(0);
    assert_eq!(count(TABLE), "5000");
    let ties = "SELECT string_agg(contype::text, '' ORDER BY contype) FROM pg_constraint \
         WHERE conrelid = 'shop.\"Or\"\"ders''\"'::regclass AND contype <> 'n'";
    assert_eq!(cluster.psql(ties).trim(), "cfp");

    for file in ["orders.sql", "orders.dump"] {
        let path = world.path(file);
        recover(TABLE, &["--dump", path.to_str().unwrap()]).expect(0);
        assert!(std::fs::metadata(&path).unwrap().len() > 1000);
        let again = recover(TABLE, &["--dump", path.to_str().unwrap()]).expect(2);
        assert!(again.stderr.contains("is there already"), "{}", again.stderr);
    }
    assert!(std::fs::read_to_string(world.path("orders.sql")).unwrap().contains("n4999"));

    let unlogged = recover("shop.carts", &["--dump", world.path("c.sql").to_str().unwrap()]).expect(2);
    assert!(unlogged.stderr.contains("unlogged"), "{}", unlogged.stderr);
    let misspelt = recover("shop.custmers", &["--dump", world.path("c.sql").to_str().unwrap()]).expect(2);
    assert!(misspelt.stderr.contains("shop.customers"), "{}", misspelt.stderr);
    let nowhere = recover(TABLE, &["--into", "host=127.0.0.1 port=1 dbname=x"]).expect(2);
    assert!(nowhere.stderr.contains("cannot be reached"), "{}", nowhere.stderr);

    // Nothing of it is left.
    let left: Vec<_> =
        std::fs::read_dir(world.path("scratch")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty() && !world.path("c.sql").exists(), "{left:?}");
}
