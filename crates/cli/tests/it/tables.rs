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

#[test]
fn t3_a_table_comes_with_its_partitions_and_heirs_or_is_refused() {
    let world = World::new();
    let cluster = Cluster::start(&with_programs(), &ClusterOptions::new());
    cluster.script(
        "postgres",
        "CREATE TABLE ev (id int, at int) PARTITION BY RANGE (at);
         CREATE TABLE ev1 PARTITION OF ev FOR VALUES FROM (0) TO (100);
         CREATE TABLE ev2 PARTITION OF ev FOR VALUES FROM (100) TO (500) PARTITION BY LIST (at);
         CREATE SCHEMA deep;
         CREATE TABLE deep.\"e'v\" PARTITION OF ev2 DEFAULT;
         INSERT INTO ev SELECT g, g FROM generate_series(0, 499) g;
         CREATE INDEX ON ev (id);
         CREATE TABLE base (id int);
         CREATE TABLE heir (more text) INHERITS (base);
         INSERT INTO base VALUES (1);
         INSERT INTO heir SELECT g, 'm' FROM generate_series(2, 8) g;
         CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM ev;
         CREATE TABLE half (id int) PARTITION BY RANGE (id);
         CREATE UNLOGGED TABLE half1 PARTITION OF half DEFAULT;",
    );
    world.plan(&cluster.conninfo());
    world.run(&["vault", "init"]).expect(0);
    world.run(&["backup", "run", "ledger-db"]).expect(0);
    std::fs::create_dir(world.path("scratch")).unwrap();
    let recover = |tables: &[&str], rest: &[&str]| {
        let mut words = vec!["recover", "ledger-db", "--scratch", "scratch"];
        tables.iter().for_each(|table| words.extend(["--table", table]));
        world.run(&[&words[..], rest].concat())
    };
    let count = |table: &str| cluster.psql(&format!("SELECT count(*) FROM {table}")).trim().to_owned();
    let conninfo = cluster.conninfo();
    let into = ["--into", conninfo.as_str()];

    // Beside what is there: all of it, and nothing of it shows in what is there.
    let beside = [&into[..], &["--into-schema", "old", "--json"]].concat();
    let done = recover(&["ev", "base", "ev1"], &beside).expect(0).json();
    let rows: Vec<_> =
        done["tables"].as_array().unwrap().iter().map(|table| table["rows"].as_u64()).collect();
    assert_eq!(rows, [Some(500), Some(100), Some(8)], "{done:#}");
    assert_eq!([count("old.ev"), count("old.\"e'v\""), count("old.base")], ["500", "400", "8"]);
    assert_eq!([count("public.ev"), count("public.base")], ["500", "8"]);
    // Parts by themselves, whether production's are there or not.
    cluster.psql("DROP TABLE ev1");
    recover(&["ev1", "heir"], &[&into[..], &["--into-schema", "part"]].concat()).expect(0);
    recover(&["ev2"], &[&into[..], &["--into-schema", "part"]].concat()).expect(0);
    assert_eq!([count("part.ev1"), count("part.ev2"), count("part.heir")], ["100", "400", "7"]);
    assert_eq!([count("public.ev"), count("public.base")], ["400", "8"]);

    cluster.psql("DROP TABLE ev, base CASCADE");
    recover(&["ev", "base"], &into).expect(0);
    assert_eq!([count("ev"), count("ev1"), count("base"), count("heir")], ["500", "100", "8", "7"]);

    let file = world.path("x.sql");
    let file = ["--dump", file.to_str().unwrap()];
    for (table, why) in [("seen", "materialized view"), ("half", "half1, below public.half, is unlogged")] {
        let refused = recover(&[table], &file).expect(2);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    // T2: nor over what the dump is called meanwhile.
    std::fs::write(world.path("x.sql.partial"), "mine").unwrap();
    let refused = recover(&["ev"], &file).expect(2);
    assert!(refused.stderr.contains("x.sql.partial is there already"), "{}", refused.stderr);
    assert_eq!(std::fs::read(world.path("x.sql.partial")).unwrap(), b"mine");
}
