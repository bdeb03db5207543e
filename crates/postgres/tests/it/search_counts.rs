//! Counts of a random workload, searched in the vault, against what `pg_waldump` prints of the server's own WAL.

use crate::targets_world::{World, conninfo, options, position};
use lifeboat_base::Lsn;
use lifeboat_pgformat::search::EffectKind;
use lifeboat_postgres::catalogue::capture;
use lifeboat_postgres::search::{Bound, SearchReport, SearchRequest, search};
use lifeboat_testkit::postgres::{Cluster, Installation};
use std::collections::{BTreeMap, BTreeSet};

const TABLES: u64 = 8;
const TRANSACTIONS: u64 = 60;
/// The table with a primary key.
const KEYED: &str = "w_1";
/// The first file that is no catalogue's.
const FIRST_USER_FILE: u32 = 16_384;

/// Rows inserted, updated and deleted.
type Counts = (u64, u64, u64);
/// By transaction and file.
type Told = BTreeMap<(u32, u32), Counts>;
/// By file: who removed it, how, and whose it was, where that is told.
type Lost = BTreeMap<u32, (u32, EffectKind, Option<String>)>;

/// Numbers that are the same for the same seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (number ^ (number >> 31)) % limit
    }
}

/// One statement about a table that is there.
fn statement(numbers: &mut Numbers, tables: &[String]) -> String {
    let table = &tables[numbers.below(tables.len() as u64) as usize];
    let rows = 1 + numbers.below(200);
    let from = numbers.below(100_000);
    let part = 2 + numbers.below(5);
    match numbers.below(11) {
        0..=3 => format!(
            "INSERT INTO {table} SELECT g, md5(g::text) FROM generate_series({from}, {from} + {rows}) g \
             ON CONFLICT DO NOTHING"
        ),
        4 if table != KEYED => format!(
            "COPY {table} FROM PROGRAM 'seq -f ''%.0f,copied'' {from} {}' WITH (FORMAT csv)",
            from + rows
        ),
        5 | 6 => format!("UPDATE {table} SET note = 'new' WHERE id % {part} = 0"),
        7 | 8 => format!("DELETE FROM {table} WHERE id % {part} = 1"),
        9 => format!("SELECT count(*) FROM (SELECT 1 FROM {table} FOR UPDATE) locked"),
        _ => format!(
            "DO $$ BEGIN FOR i IN 1..{part} LOOP BEGIN INSERT INTO {table} VALUES (-i, 'sub'); \
             IF i % 2 = 0 THEN RAISE 'no'; END IF; EXCEPTION WHEN others THEN NULL; END; END LOOP; END $$"
        ),
    }
}

/// Some statements, some of them in savepoints that are released or rolled back.
fn body(numbers: &mut Numbers, tables: &[String]) -> String {
    let mut sql = String::new();
    for _ in 0..=numbers.below(4) {
        let statement = statement(numbers, tables);
        sql += &match numbers.below(4) {
            0 => format!("SAVEPOINT s; {statement}; ROLLBACK TO s; "),
            1 => format!("SAVEPOINT s; {statement}; RELEASE s; "),
            _ => format!("{statement}; "),
        };
    }
    sql
}

fn files(cluster: &Cluster) -> BTreeMap<String, u32> {
    let sql = "SELECT relname, pg_relation_filenode(oid) FROM pg_class WHERE relname LIKE 'w\\_%' AND relkind = 'r'";
    let rows = cluster.psql(sql);
    let file = |row: &str| row.split_once('|').map(|(name, file)| (name.to_owned(), file.parse().unwrap()));
    rows.lines().filter_map(file).collect()
}

/// A workload, and each file that a table lost by it, with the table's name and whether it was dropped.
fn work(cluster: &Cluster, seed: u64) -> BTreeMap<u32, (String, bool)> {
    let mut numbers = Numbers(seed);
    let mut tables: Vec<String> = (0..TABLES).map(|n| format!("w_{n}")).collect();
    let mut lost = BTreeMap::new();
    let mut before = files(cluster);
    for n in 0..TRANSACTIONS {
        let table = tables[numbers.below(tables.len() as u64) as usize].clone();
        let body = body(&mut numbers, &tables);
        let (truncate, drop) = (format!("TRUNCATE {table};"), format!("DROP TABLE {table};"));
        match numbers.below(10) {
            0 => cluster.psql(&format!("BEGIN; {body} ROLLBACK")),
            1 => cluster.psql(&format!("BEGIN; {body} {truncate} ROLLBACK")),
            2 => cluster.psql(&format!("BEGIN; {body} {truncate} COMMIT")),
            3 => cluster.psql(&format!("BEGIN; {truncate} {body} COMMIT")),
            4 if tables.len() > 4 => {
                tables.retain(|left| *left != table);
                cluster.psql(&format!("BEGIN; {body} {drop} COMMIT"))
            }
            5 => {
                cluster.psql(&format!("BEGIN; {body} PREPARE TRANSACTION 'p{n}'"));
                let end = if numbers.below(3) == 0 { "ROLLBACK" } else { "COMMIT" };
                cluster.psql(&format!("{end} PREPARED 'p{n}'"))
            }
            _ => cluster.psql(&format!("BEGIN; {body} COMMIT")),
        };
        let after = files(cluster);
        for (name, file) in before.iter().filter(|(name, file)| after.get(*name) != Some(file)) {
            lost.insert(*file, (name.clone(), !after.contains_key(name)));
        }
        before = after;
    }
    lost
}

/// What `pg_waldump` prints, added up.
#[derive(Default)]
struct Dump {
    open: BTreeMap<u32, BTreeMap<u32, Counts>>,
    /// Files and who made them, until that commits.
    made: BTreeMap<u32, u32>,
    told: Told,
    /// Files removed, and by whom.
    removed: BTreeMap<u32, u32>,
}

/// The numbers after `label`, up to a semicolon.
fn list<'a>(description: &'a str, label: &str) -> impl Iterator<Item = &'a str> {
    let rest = description.split_once(label).map_or("", |(_, rest)| rest);
    rest.split(';').next().unwrap_or_default().split_whitespace()
}

fn last_number(path: &str) -> u32 {
    path.rsplit('/').next().and_then(|name| name.split('_').next()).unwrap().parse().unwrap()
}

impl Dump {
    fn line(&mut self, line: &str) {
        let Some((rmgr, rest)) = line.strip_prefix("rmgr: ").and_then(|rest| rest.split_once(" len ")) else {
            return;
        };
        let (xid, description) = rest.split_once(", tx:").unwrap().1.split_once(", lsn:").unwrap();
        let xid: u32 = xid.trim().parse().unwrap();
        let description = description.split_once("desc: ").unwrap().1;
        let word = description.split([' ', '+', ':']).next().unwrap();
        match (rmgr.trim(), word) {
            ("Heap", "INSERT") => self.count(xid, description, (1, 0, 0)),
            ("Heap", "UPDATE" | "HOT_UPDATE") => self.count(xid, description, (0, 1, 0)),
            ("Heap", "DELETE") => self.count(xid, description, (0, 0, 1)),
            ("Heap2", "MULTI_INSERT") => {
                // 15 writes `7 tuples`, later versions `ntuples: 7,`.
                let words: Vec<&str> = description.split([' ', ',']).collect();
                let rows = words.windows(2).find_map(|pair| match pair {
                    [rows, "tuples"] | ["ntuples:", rows] => rows.parse().ok(),
                    _ => None,
                });
                self.count(xid, description, (rows.unwrap(), 0, 0));
            }
            ("Storage", "CREATE") => {
                _ = self.made.insert(last_number(list(description, "CREATE").next().unwrap()), xid)
            }
            ("Transaction", "COMMIT") => self.commit(xid, description),
            ("Transaction", "COMMIT_PREPARED") => {
                let xid = list(description, "COMMIT_PREPARED").next().unwrap().trim_end_matches(':').parse();
                self.commit(xid.unwrap(), description);
            }
            ("Transaction", "ABORT") => _ = self.open.remove(&xid),
            _ => {}
        }
    }

    fn count(&mut self, xid: u32, description: &str, counts: Counts) {
        let block = list(description, "blkref #0: rel").next().unwrap();
        let sum = self.open.entry(xid).or_default().entry(last_number(block)).or_default();
        *sum = (sum.0 + counts.0, sum.1 + counts.1, sum.2 + counts.2);
    }

    fn commit(&mut self, xid: u32, description: &str) {
        let parts = list(description, "subxacts:").map(|xid| xid.parse().unwrap());
        let parts: BTreeSet<u32> = parts.chain([xid]).collect();
        for (file, counts) in
            parts.iter().filter_map(|part| self.open.remove(part)).flatten().collect::<Vec<_>>()
        {
            // Filling what one has made destroys nothing. Its first record may come before its maker has a number.
            let maker = self.made.get(&file).copied();
            let own = maker.is_some_and(|maker| maker == 0 || parts.contains(&maker));
            if file >= FIRST_USER_FILE && !own {
                let sum = self.told.entry((xid, file)).or_default();
                *sum = (sum.0 + counts.0, sum.1 + counts.1, sum.2 + counts.2);
            }
        }
        self.made.retain(|_, maker| *maker != 0 && !parts.contains(maker));
        self.removed.extend(list(description, "rels:").map(|path| (last_number(path), xid)));
    }
}

fn dump(cluster: &Cluster, from: Lsn) -> Dump {
    let mut command = cluster.command("pg_waldump");
    command.arg("-p").arg(cluster.data_directory().join("pg_wal")).args(["-t", "1", "-s", &from.to_string()]);
    // It ends with an error where WAL does.
    let output = command.output().unwrap();
    let mut dump = Dump::default();
    String::from_utf8_lossy(&output.stdout).lines().for_each(|line| dump.line(line));
    dump
}

/// The rows that the search tells, and the files that it says were truncated or dropped.
fn told(report: &SearchReport) -> (Told, Lost) {
    let (mut rows, mut lost) = (Told::new(), Lost::new());
    for suspect in report.findings.iter().map(|finding| &finding.suspect) {
        for effect in &suspect.what {
            let file = effect.file.expect("every table has a file").relfilenode.0;
            let counts = rows.entry((suspect.xid, file));
            let count = effect.rows.unwrap_or_default();
            match effect.kind {
                EffectKind::Insert => counts.or_default().0 += count,
                EffectKind::Update => counts.or_default().1 += count,
                EffectKind::Delete => counts.or_default().2 += count,
                kind => {
                    let name = effect.relation.as_ref().map(|relation| relation.name.clone());
                    lost.insert(file, (suspect.xid, kind, name));
                }
            }
        }
    }
    (rows, lost)
}

async fn counts_are_those_of_pg_waldump(installation: &Installation, seed: u64) {
    let world = World::start(installation, &options().set("max_prepared_transactions", "5")).await;
    let cluster = &world.cluster;
    for n in 0..TABLES {
        let name = format!("w_{n}");
        let key = if name == KEYED { "PRIMARY KEY" } else { "" };
        cluster.psql(&format!("CREATE TABLE {name} (id int {key}, note text)"));
        cluster.psql(&format!("INSERT INTO {name} SELECT g, 'old' FROM generate_series(1, 500) g"));
    }
    capture(&world.vault, &world.service, &conninfo(cluster)).await.unwrap();
    let begin = position(cluster);
    let files_lost = work(cluster, seed);
    world.archive_all().await;

    let dump = dump(cluster, begin);
    let request =
        SearchRequest { from: Some(Bound::Lsn(begin)), min_rows: 1, rewrites: true, ..Default::default() };
    let report = search(&world.vault, &world.service, &request, &|_| ()).await.unwrap();
    assert!(!report.is_cut && !report.is_incomplete && report.ended_by.is_none());
    let (rows, lost) = told(&report);
    assert!(dump.told.len() > 50, "the workload did little: {:?}", dump.told);
    assert_eq!(rows, dump.told, "PostgreSQL {}, seed {seed}", installation.major);
    assert!(files_lost.len() > 5, "{files_lost:?}");
    for (file, (name, is_dropped)) in &files_lost {
        let (xid, kind, told_name) =
            lost.get(file).unwrap_or_else(|| panic!("seed {seed}: {name} lost {file}, and nothing was said"));
        assert_eq!(Some(xid), dump.removed.get(file), "seed {seed}: {name}");
        // Whose file it was is known unless two tables changed files in one transaction.
        if let Some(told_name) = told_name {
            let expected = if *is_dropped { EffectKind::Drop } else { EffectKind::Truncate };
            assert_eq!((told_name, *kind), (name, expected), "seed {seed}");
        }
    }
    let named = lost.values().filter(|(_, _, name)| name.is_some()).count();
    assert!(2 * named > lost.len(), "seed {seed}: few have names: {lost:?}");
    assert!(
        lost.keys().all(|file| files_lost.contains_key(file)),
        "seed {seed}: {lost:?} for {files_lost:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_counts_of_a_random_workload_are_those_of_pg_waldump() {
    for installation in [Installation::oldest(), Installation::newest()] {
        for seed in 0..3 {
            counts_are_those_of_pg_waldump(&installation, seed).await;
        }
    }
}
