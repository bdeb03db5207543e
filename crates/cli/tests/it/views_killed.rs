//! A view that is killed under load, again and again: no acknowledged row is lost, and no old value comes back.

use crate::views::Seen;
use lifeboat_base::{Clock, SystemClock};
use lifeboat_postgres::client::{ClientError, Connection};
use lifeboat_testkit::postgres::Installation;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// Ways to die, twice each while the view is filled as it is read, and once while it is filled as a whole.
const ROUNDS: u64 = 12;
const WRITERS: u64 = 3;
/// Rows that are written over.
const ROWS: u64 = 2000;
/// To repeat what failed: it is printed.
const SEED: &str = "LIFEBOAT_TEST_SEED";

const TABLES: &str = "
    CREATE TABLE notes (writer int, number bigint, text text, PRIMARY KEY (writer, number));
    CREATE TABLE accounts (id int PRIMARY KEY, version bigint NOT NULL, text text);
    INSERT INTO accounts SELECT g, 0, repeat(md5(g::text), 12) FROM generate_series(0, 1999) g;
    CREATE TABLE scrap AS SELECT g AS id, 0::bigint AS run FROM generate_series(1, 3000) g;
    CREATE INDEX ON scrap (id);
    DO $$ BEGIN FOR number IN 0..11 LOOP
        EXECUTE format('CREATE TABLE cold%s AS SELECT g AS id, repeat(md5(g::text), 30) AS text
            FROM generate_series(1, 2000) g', number);
    END LOOP; END $$;
    VACUUM ANALYZE;
    CHECKPOINT;";

/// What the clients know.
#[derive(Default)]
struct Known {
    /// Writer and number of the rows that were acknowledged.
    notes: BTreeSet<(u64, u64)>,
    /// What was acknowledged last, of each account.
    versions: BTreeMap<u64, u64>,
    /// What may have come about without an answer.
    attempted: BTreeSet<(u64, u64)>,
    /// The last run of the scrap table that was acknowledged, and of which no answer came.
    run: u64,
    attempted_run: u64,
    next: u64,
}

struct Round {
    known: Arc<Mutex<Known>>,
    is_over: AtomicBool,
    acknowledged: mpsc::UnboundedSender<()>,
}

/// As `SplitMix64` draws.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

/// A row and an account in one transaction, each account always by the same writer.
async fn write(mut connection: Connection, writer: u64, mut random: Random, round: Arc<Round>) {
    while !round.is_over.load(Ordering::Relaxed) {
        let id = random.below(ROWS / WRITERS) * WRITERS + writer;
        let number = {
            let mut known = round.known.lock().unwrap();
            known.next += 1;
            let number = known.next;
            known.attempted.insert((id, number));
            number
        };
        let sql = format!(
            "WITH changed AS (UPDATE accounts SET version = {number} WHERE id = {id}) \
             INSERT INTO notes VALUES ({writer}, {number}, repeat('x', 100))"
        );
        if connection.query(&sql).await.is_err() {
            return;
        }
        let mut known = round.known.lock().unwrap();
        known.notes.insert((writer, number));
        known.versions.insert(id, number);
        drop(known);
        // Nobody counts them any more once it is over.
        let _ = round.acknowledged.send(());
    }
}

/// Checkpoints without end, files that go and come, and a table that is whole and of one run at any time.
async fn disturb(
    mut connection: Connection,
    mut random: Random,
    round: Arc<Round>,
) -> Result<(), ClientError> {
    while !round.is_over.load(Ordering::Relaxed) {
        match random.below(6) {
            0 | 1 => drop(connection.query("CHECKPOINT").await?),
            2 => drop(connection.query("VACUUM accounts").await?),
            3 => drop(connection.query("VACUUM FULL scrap").await?),
            4 => {
                let sql =
                    "DROP TABLE IF EXISTS passing; CREATE TABLE passing AS SELECT * FROM accounts LIMIT 500";
                connection.query_all(sql).await?;
            }
            _ => {
                let run = {
                    let mut known = round.known.lock().unwrap();
                    known.attempted_run = known.run.max(known.attempted_run) + 1;
                    known.attempted_run
                };
                let sql = format!(
                    "BEGIN; TRUNCATE scrap; \
                     INSERT INTO scrap SELECT g, {run} FROM generate_series(1, 3000) g; COMMIT"
                );
                connection.query_all(&sql).await?;
                round.known.lock().unwrap().run = run;
            }
        }
    }
    Ok(())
}

/// Everything that the clients know is there, and nothing else.
async fn must_hold(seen: &Seen, known: &Mutex<Known>, cold: &[(u64, String)]) {
    let mut connection = seen.connect().await;
    let number = |text: Option<&str>| text.unwrap().parse::<u64>().unwrap();
    let rows = connection.query("SELECT writer, number FROM notes").await.unwrap();
    let found: BTreeSet<_> = rows.iter().map(|row| (number(row.at(0)), number(row.at(1)))).collect();
    assert_eq!(found.len(), rows.len(), "a row is there twice");
    let rows = connection.query("SELECT id, version FROM accounts").await.unwrap();
    let versions: BTreeMap<_, _> = rows.iter().map(|row| (number(row.at(0)), number(row.at(1)))).collect();
    assert_eq!(rows.len() as u64, ROWS);
    let (run, attempted) = must_be_known(&mut known.lock().unwrap(), found, versions);
    let row = connection.query_one("SELECT count(*), min(run), max(run) FROM scrap").await.unwrap();
    let (count, least, most) = (number(row.at(0)), number(row.at(1)), number(row.at(2)));
    assert!(
        count == 3000 && least == most && [run, attempted].contains(&most),
        "{count} {least} {most}, {run}"
    );
    for (table, sum) in cold {
        let row = connection.query_one(&sum_of(*table)).await.unwrap();
        assert_eq!(row.at(0), Some(&**sum), "what nobody wrote to has changed: cold{table}");
    }
    connection.close().await;
    seen.must_be_sound(&["notes", "accounts", "scrap", "pg_class", "pg_attribute"]);
}

/// Holds what was found against what is known, goes on from it, and tells which runs there may be.
fn must_be_known(known: &mut Known, found: BTreeSet<(u64, u64)>, versions: BTreeMap<u64, u64>) -> (u64, u64) {
    let lost: Vec<_> = known.notes.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(versions.len() as u64, ROWS);
    for (id, version) in &versions {
        let acknowledged = known.versions.get(id).copied().unwrap_or(0);
        let is_known = *version == acknowledged
            || (*version > acknowledged && known.attempted.contains(&(*id, *version)));
        assert!(is_known, "account {id} is at {version}, acknowledged was {acknowledged}");
    }
    // What came about without an answer is now known to.
    let came: Vec<_> = versions.into_iter().filter(|(_, version)| *version > 0).collect();
    known.versions.extend(came);
    known.notes = found;
    (known.run, known.attempted_run)
}

fn sum_of(cold: u64) -> String {
    format!("SELECT count(*) || ' ' || sum(hashtext(id || text)::bigint) FROM cold{cold}")
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "with it, what failed is done again")]
async fn o1_o2_o3_what_was_acknowledged_outlives_every_death_of_view_and_server() {
    let seed = std::env::var(SEED).ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        SystemClock::new().random(&mut bytes);
        u64::from_le_bytes(bytes)
    });
    eprintln!("{SEED}={seed}");
    let mut random = Random(seed);
    let seen = Seen::new(&Installation::newest(), TABLES, "seen");
    let known = Arc::new(Mutex::new(Known::default()));
    let limits = "SHOW max_connections";
    let connections = seen.psql(limits).unwrap();
    for number in 0..ROUNDS {
        let (acknowledged, mut count) = mpsc::unbounded_channel();
        let round = Arc::new(Round { known: known.clone(), is_over: AtomicBool::new(false), acknowledged });
        let mut clients = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let random = Random(random.below(u64::MAX));
            clients.spawn(write(seen.connect().await, writer, random, round.clone()));
        }
        let disturbing = disturb(seen.connect().await, Random(random.below(u64::MAX)), round.clone());
        clients.spawn(async move { drop(disturbing.await) });
        for _ in 0..random.below(300) {
            count.recv().await.unwrap();
        }
        let hydrating = (number >= ROUNDS * 2 / 3).then(|| {
            let directory = seen.directory.display().to_string();
            let mut command = seen.world.command(&["view", "hydrate", &directory]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        });
        for _ in 0..random.below(100) {
            count.recv().await.unwrap();
        }
        match number % 4 {
            0 => {
                seen.kill_view();
                seen.kill_server();
            }
            1 => {
                seen.kill_server();
                seen.kill_view();
            }
            // The server lives on without its files.
            2 => seen.kill_view(),
            _ => seen.kill_server(),
        }
        round.is_over.store(true, Ordering::Relaxed);
        while clients.join_next().await.transpose().unwrap().is_some() {}
        if let Some(mut hydrating) = hydrating {
            // It has ended already, with or without success.
            let _ = hydrating.kill();
            hydrating.wait().unwrap();
        }
        seen.view(&["show", "--start"]).expect(0);
        let sum = seen.cluster.psql(&sum_of(number));
        must_hold(&seen, &known, &[(number, sum)]).await;
    }
    assert!(known.lock().unwrap().notes.len() > 100, "nobody could write");
    assert_eq!(seen.psql(limits).unwrap(), connections, "each start takes more memory");
    seen.view(&["finish"]).expect(0);
    let sums: Vec<_> = (0..ROUNDS).map(|number| (number, seen.cluster.psql(&sum_of(number)))).collect();
    must_hold(&seen, &known, &sums).await;
    assert!(!seen.home().exists());
}
