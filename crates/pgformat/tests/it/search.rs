//! The search for what destroyed data, against servers on which it was destroyed.

use crate::server::{options, version};
use crate::wal::{read_all, read_wal};
use lifeboat_base::Lsn;
use lifeboat_pgformat::search::{Effect, Search, SearchOptions, Suspect};
use lifeboat_pgformat::wal::ReaderOptions;
use lifeboat_pgformat::{
    CatalogueDatabase, CatalogueRelation, CatalogueSnapshot, Landmarks, Oid, SegmentSize, Target, TargetHit,
    TargetSearch,
};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};

const SETUP: &str = "
create table a (id serial primary key, v text);
create table b (id int primary key, v text);
create table c (id int, v text);
create table l (id int, v text); alter table l alter v set storage external;
insert into a (v) select repeat('x', 100) from generate_series(1, 1000);
insert into b select id, v from a;
insert into c select id, v from a;
insert into l select g, repeat(md5(g::text), 200) from generate_series(1, 500) g;
create table e (id int); create table f (id int, v text); create table g (id int); create table h (id int);
insert into f select id, v from a; insert into e select id from a; insert into h select id from a;
create table p (x int) partition by range (x);
create table p1 partition of p for values from (0) to (1000);
create table p2 partition of p for values from (1000) to (2000);
insert into p select generate_series(0, 999);
create materialized view m as select * from a;
create index on c (id); create index on c using gin (to_tsvector('simple', v));
create table odd (id int); alter table odd alter id type bigint; insert into odd select id from a;
create sequence s;
create database doomed;
";

/// Statements of one transaction each, and what the search must say of it.
const STORY: &[(&str, &str)] = &[
    ("insert into b select g, 'few' from generate_series(2001, 2050) g", ""),
    ("vacuum full b", ""),
    ("cluster a using a_pkey", ""),
    ("reindex table c", ""),
    ("refresh materialized view m", ""),
    ("alter table b alter id type bigint", ""),
    ("create table fresh as select * from a", ""),
    ("delete from c where id <= 40", ""),
    ("begin; delete from c; rollback", ""),
    ("delete from b where id <= 300", "Delete public.b 300"),
    ("update c set v = 'gone' where id <= 240", "Update public.c 200"),
    (
        "begin; savepoint x; delete from c where id > 500; rollback to x; delete from c where id > 600; commit",
        "Delete public.c 400",
    ),
    (
        "begin; savepoint x; delete from c where id > 500; release x; delete from c where id > 300; commit",
        "Delete public.c 300",
    ),
    ("insert into c select id, v from a", "Insert public.c 1000"),
    ("copy c to '/dev/null'", ""),
    ("delete from l", "Delete public.l 500"),
    ("update p set x = x + 1000", "Update public.p1 1000, Insert public.p2 1000"),
    ("truncate b", "Truncate public.b"),
    ("insert into b select id, v from a", "Insert public.b 1000"),
    ("vacuum full b", ""),
    ("truncate b, c", "Truncate public.b, Truncate public.c"),
    ("insert into c select id, v from a", "Insert public.c 1000"),
    ("begin; truncate c; insert into c select id, v from a; commit", "Truncate public.c"),
    ("delete from fresh", "Delete ? 1000"),
    (
        "begin; delete from a where id <= 500; prepare transaction 'p'; commit prepared 'p'",
        "Delete public.a 500",
    ),
    ("drop table odd", "Drop public.odd"),
    ("drop table a cascade", "Drop public.a, Drop public.m"),
    ("begin; truncate e; drop table f; create table f (id int); commit", "Drop public.f, Truncate public.e"),
    ("begin; truncate h; alter table b alter id type int; commit", "Rewrite public.b, Truncate public.h"),
    ("drop table p", "Drop public.p, Drop public.p1, Drop public.p2"),
    ("drop table fresh", "Drop ?"),
    ("drop sequence s", "Drop public.s"),
    ("drop database doomed", "DropDatabase doomed"),
];

fn snapshot(cluster: &Cluster) -> CatalogueSnapshot {
    let lsn: Lsn = cluster.script("postgres", "select pg_current_wal_insert_lsn()").parse().unwrap();
    let databases =
        cluster.script("postgres", "select oid, dattablespace, datname from pg_database where datallowconn");
    let number = |text: &str| Oid(text.parse().unwrap());
    let database = |line: &str| {
        let mut fields = line.split('|');
        let mut next = || fields.next().unwrap();
        let (oid, tablespace, name) = (number(next()), number(next()), next().to_owned());
        let sql = "select c.oid, coalesce(pg_relation_filenode(c.oid), 0), c.reltablespace, c.relkind, c.relpersistence,
                   coalesce((select t.oid from pg_class t where t.reltoastrelid = c.oid), 0), n.nspname, c.relname
                   from pg_class c join pg_namespace n on n.oid = c.relnamespace";
        let rows = cluster.script(&name, sql);
        let relation = |line: &str| {
            let mut fields = line.split('|');
            let mut next = || fields.next().unwrap();
            CatalogueRelation {
                oid: number(next()),
                relfilenode: number(next()),
                tablespace: number(next()),
                kind: next().chars().next().unwrap(),
                persistence: next().chars().next().unwrap(),
                toast_of: Some(number(next())).filter(|oid| oid.0 != 0),
                schema: next().into(),
                name: next().to_owned(),
            }
        };
        CatalogueDatabase {
            oid,
            name: name.clone(),
            tablespace,
            relations: rows.lines().map(relation).collect(),
        }
    };
    CatalogueSnapshot { lsn, databases: databases.lines().map(database).collect() }
}

fn describe(effect: &Effect) -> String {
    let name = match (&effect.relation, &effect.database_name) {
        (Some(name), _) => format!("{}.{}", name.schema, name.name),
        (None, Some(database)) if effect.file.is_none() => database.clone(),
        (None, _) => "?".to_owned(),
    };
    let rows = effect.rows.map_or(String::new(), |rows| format!(" {rows}"));
    let doubt = if effect.certain || name == "?" { "" } else { " ?" };
    format!("{:?} {name}{rows}{doubt}", effect.kind)
}

fn story_is_found(installation: &Installation, options: &ClusterOptions) {
    let cluster = Cluster::start(installation, options);
    cluster.script("postgres", SETUP);
    let snapshot = snapshot(&cluster);
    let begin = snapshot.lsn;
    let position =
        || cluster.script("postgres", "select pg_current_wal_insert_lsn()").parse::<Lsn>().unwrap();
    let mut ends = Vec::new();
    for (sql, _) in STORY {
        cluster.script("postgres", &format!("{sql};"));
        ends.push(position());
    }
    cluster.stop();
    let wal = read_wal(&cluster);

    let options = ReaderOptions {
        wanted: Search::wanted(),
        ..ReaderOptions::new(version(installation), SegmentSize::DEFAULT)
    };
    let mut search = Search::new(SearchOptions { min_rows: 100, rewrites: false }, vec![snapshot]);
    let mut suspects: Vec<Suspect> = Vec::new();
    read_all(&wal, options, usize::MAX, |record| {
        if record.lsn >= begin {
            suspects.extend(search.feed(record).unwrap());
        }
    });
    assert!(!search.is_incomplete());
    let mut wrong = Vec::new();
    for (index, (sql, expected)) in STORY.iter().enumerate() {
        let from = if index == 0 { begin } else { ends[index - 1] };
        let within = suspects.iter().filter(|s| from <= s.commit_lsn && s.commit_lsn < ends[index]);
        let told: Vec<Vec<String>> = within.map(|s| s.what.iter().map(describe).collect()).collect();
        let mut told: Vec<String> = told.concat();
        told.sort();
        let told = told.join(", ");
        let mut expected: Vec<&str> = expected.split(", ").collect();
        expected.sort();
        if told != expected.join(", ") {
            wrong.push(format!("{sql}\n  expected {expected:?}\n  told     {told}"));
        }
    }
    assert!(wrong.is_empty(), "PostgreSQL {}:\n{}", installation.major, wrong.join("\n"));
}

#[test]
fn what_destroyed_the_data_is_found() {
    for installation in Installation::all() {
        story_is_found(&installation, &options());
    }
}

#[test]
fn what_destroyed_the_data_is_found_with_compressed_images() {
    for installation in Installation::all() {
        story_is_found(&installation, &options().set("wal_compression", "pglz"));
    }
}

#[test]
fn what_destroyed_the_data_is_found_with_logical_wal() {
    for installation in Installation::all() {
        story_is_found(&installation, &options().set("wal_level", "logical"));
    }
}

#[test]
fn targets_are_found_where_the_server_says_they_are() {
    for installation in Installation::all() {
        let cluster = Cluster::start(&installation, &options().set("track_commit_timestamp", "on"));
        let one = |sql: &str| cluster.script("postgres", sql);
        one("create table t (x int)");
        let xid = one("begin; insert into t values (1); select pg_current_xact_id(); commit;");
        let time = one(&format!("select pg_xact_commit_timestamp('{xid}'::xid)"));
        one("insert into t values (2)");
        one("begin; insert into t values (3); prepare transaction 'later'");
        one("commit prepared 'later'");
        let point: Lsn = one("select pg_create_restore_point('here')").parse().unwrap();
        one("select pg_create_restore_point('here')");
        cluster.stop();
        let wal = read_wal(&cluster);
        let options = ReaderOptions::new(version(&installation), SegmentSize::DEFAULT);
        let find = |target: Target| {
            let search = TargetSearch::new(target);
            let mut hits: Vec<TargetHit> = Vec::new();
            read_all(&wal, options, usize::MAX, |record| hits.extend(search.feed(record).unwrap()));
            hits
        };
        let by_xid = find(Target::Xid(xid.parse().unwrap()));
        assert_eq!(by_xid.len(), 1);
        let shown: jiff::Timestamp = time.replace("+00", "Z").parse().unwrap();
        assert_eq!(by_xid[0].time, shown);
        let next = find(Target::Time(shown))[0];
        assert_eq!(u64::from(next.xid), xid.parse::<u64>().unwrap() + 1);
        assert!(next.range.start >= by_xid[0].range.end);
        let prepared = find(Target::Xid(next.xid + 1));
        assert_eq!(prepared.len(), 1, "a prepared transaction commits under its own number");
        let named = find(Target::Name("here".to_owned()));
        assert_eq!((named.len(), named[0].range.end), (2, point));

        let mut landmarks = Landmarks::default();
        let reader = read_all(&wal, options, usize::MAX, |record| landmarks.feed(record).unwrap());
        let (lsn, checkpoint) = landmarks.last_checkpoint.unwrap();
        assert!(checkpoint.shutdown);
        assert_eq!(landmarks.last_record.unwrap().start, lsn);
        assert_eq!(landmarks.last_record.unwrap().end, reader.end().at);
        assert_eq!(landmarks.last_commit.unwrap().xid, next.xid + 1);
    }
}
