//! Replays the fuzzers' seeds, and mutations of them that are the same every time.

use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Mutations of each seed.
const MUTATIONS: u64 = 300;
/// Of a seed that is made here.
const SEED_LIMIT_BYTES: usize = 8 << 10;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 15] = [
    ("pgformat_control_file", lifeboat_pgformat::fuzz::control_file),
    ("pgformat_page", lifeboat_pgformat::fuzz::page),
    ("pgformat_label", lifeboat_pgformat::fuzz::label),
    ("pgformat_history", lifeboat_pgformat::fuzz::history),
    ("pgformat_name", lifeboat_pgformat::fuzz::name),
    ("pgformat_wal", lifeboat_pgformat::fuzz::wal),
    ("pgformat_record", lifeboat_pgformat::fuzz::record),
    ("vault_sealed", lifeboat_vault::fuzz::sealed),
    ("vault_pack_directory", lifeboat_vault::fuzz::pack_directory),
    ("vault_index", lifeboat_vault::fuzz::index),
    ("vault_names", lifeboat_vault::fuzz::names),
    ("vault_point", lifeboat_vault::fuzz::point),
    ("postgres_messages", lifeboat_postgres::client::fuzz::messages),
    ("postgres_conninfo", lifeboat_postgres::client::fuzz::conninfo),
    ("postgres_base_backup", lifeboat_postgres::backup::fuzz::archive),
];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(directory: &Path) -> Vec<String> {
    let entries =
        std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A generator whose numbers are the same for ever (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ (number >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Flips, extremes, cuts, repeats and transplants: what real damage and real attackers do.
fn mutate(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF, b'9'][numbers.below(6)],
            2 => bytes.truncate(at),
            3 if bytes.len() < 2 * SEED_LIMIT_BYTES => bytes.extend_from_within(at..),
            4 if bytes.len() > at + 4 => bytes[at..at + 4].fill([0, 0xFF][numbers.below(2)]),
            _ if !bytes.is_empty() => {
                let (from, count) = (numbers.below(bytes.len()), numbers.below(16));
                let end = bytes.len().min(from + count).min(from + bytes.len() - at);
                bytes.copy_within(from..end, at);
            }
            _ => {}
        }
    }
    bytes
}

#[test]
fn every_decoder_takes_every_seed_and_its_mutations_without_a_panic() {
    let listed: Vec<_> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, names(&fuzz().join("fuzz_targets")), "a target is not in the list, or has no file");
    for (name, target) in TARGETS {
        let directory = fuzz().join("corpus").join(name);
        let seeds = names(&directory);
        assert!(!seeds.is_empty(), "{name} has no seed");
        target(&[]);
        for (number, seed) in (1..).zip(&seeds) {
            let bytes = std::fs::read(directory.join(seed)).unwrap();
            target(&bytes);
            let mut numbers = Numbers(number);
            for _ in 0..MUTATIONS {
                target(&mutate(&bytes, &mut numbers));
            }
        }
    }
}

fn save(target: &str, name: &str, bytes: &[u8]) {
    let directory = fuzz().join("corpus").join(target);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(name), &bytes[..bytes.len().min(SEED_LIMIT_BYTES)]).unwrap();
}

/// Not a test: writes the seeds, from real servers.
#[tokio::test]
#[ignore = "writes fuzz/corpus; run it by hand when a format has changed"]
async fn make_the_corpus() {
    for installation in [Installation::oldest(), Installation::newest()] {
        let (major, bench) = (installation.major, crate::backup_fixture::Bench::new(1).await);
        let cluster = Cluster::start(&installation, &ClusterOptions::new());
        cluster.psql("CREATE TABLE t (id int PRIMARY KEY, note text)");
        cluster.psql("INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 100) g");
        cluster.psql("DELETE FROM t WHERE id % 2 = 0; TRUNCATE t; DROP TABLE t; CHECKPOINT");
        let data = cluster.data_directory();
        let read = |path: &str| std::fs::read(data.join(path)).unwrap();
        save("pgformat_control_file", &format!("pg{major}"), &read("global/pg_control")[..512]);
        save("pgformat_page", &format!("heap-pg{major}"), &read("global/1262")[..8192]);
        let segment = cluster.psql("SELECT pg_walfile_name(pg_current_wal_lsn())");
        let wal = read(&format!("pg_wal/{segment}"));
        save("pgformat_wal", &format!("pg{major}"), &wal);
        save("pgformat_record", &format!("pg{major}"), &wal[40..400]);
        let point = bench.backup(&cluster, true).await.unwrap();
        save("pgformat_label", &format!("pg{major}"), point.backup_label.as_bytes());
        save("pgformat_label", "map", b"16400 /srv/a \\\\ space\n16401 /srv/new\\\nline\n");
        save("vault_point", &format!("pg{major}"), &serde_json::to_vec(&point).unwrap());
        let id = &point.layers[0];
        let reader =
            lifeboat_vault::layer::LayerReader::open(&bench.vault, &bench.service, id).await.unwrap();
        let files = &reader.index().files[..20];
        let header = r#"{"kind":"base","files":20,"packs":[1],"chunks":[20]}"#.to_owned() + "\n";
        save(
            "vault_index",
            &format!("pg{major}"),
            (header + &serde_json::to_string(files).unwrap()).as_bytes(),
        );
        save("postgres_messages", &format!("session-pg{major}"), &session(&cluster));
        save("postgres_base_backup", &format!("pg{major}"), &base_backup(&cluster));
    }
    save(
        "pgformat_history",
        "two",
        b"1\t0/3000000\tno recovery target specified\n\n2\t0/5000060\tbefore 2026-01-01\n",
    );
    for (number, name) in [
        "base/5/16384_fsm.1",
        "000000010000000A000000FF",
        "00000002.history",
        "pg_tblspc/16400/PG_18_202506291/5/t3_16385",
    ]
    .iter()
    .enumerate()
    {
        save("pgformat_name", &number.to_string(), name.as_bytes());
    }
    let directory = br#"{"files":["PG_VERSION"],"frames":[{"f":0,"b":0,"n":100,"o":48,"s":30,"h":"00112233445566778899aabbccddeeff"}]}"#;
    save("vault_pack_directory", "one", directory);
    let clock = lifeboat_base::ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 7);
    let (key, name) = (lifeboat_vault::fuzz::key(), lifeboat_vault::fuzz::NAME);
    save("vault_sealed", "object", &lifeboat_vault::seal::seal_object(&key, name, &clock, &[b'x'; 300]));
    let mut pack = lifeboat_vault::layer::PackWriter::begin(&key, name, 0, 1, &clock);
    pack.add("PG_VERSION", 0, b"18\n");
    pack.add("base/5/1", 0, &[3; 8192]);
    save("vault_sealed", "pack", &pack.finish().bytes);
    save("vault_names", "names", b"journal/backup/000000000041\nservices/db/wal/7/00000001/000000010000000000000002.d/0000000002000000-0000000002000100\n");
    save(
        "postgres_conninfo",
        "words",
        b"host=db,'other host' port=5432 user=u password='p\\'w' sslmode=verify-full dbname=app",
    );
    save(
        "postgres_conninfo",
        "uri",
        b"postgresql://u:p%40w@[::1]:5433,db/app?sslmode=require&application_name=x",
    );
}

/// The bytes of a session with rows, an error and a copy, as the server sends them.
fn session(cluster: &Cluster) -> Vec<u8> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", cluster.port())).unwrap();
    let parameters = b"user\0postgres\0database\0postgres\0\0";
    let mut sent = ((parameters.len() + 8) as u32).to_be_bytes().to_vec();
    sent.extend([0, 3, 0, 0]);
    sent.extend(parameters);
    for query in ["SELECT 1 AS a, NULL AS b", "SELECT 1/0", "COPY (SELECT 'x') TO STDOUT", "nonsense"] {
        sent.push(b'Q');
        sent.extend(((query.len() + 5) as u32).to_be_bytes());
        sent.extend(query.as_bytes());
        sent.push(0);
    }
    sent.extend(b"X\0\0\0\x04");
    stream.write_all(&sent).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The beginning of a base backup: small files, and a page.
fn base_backup(cluster: &Cluster) -> Vec<u8> {
    let mut command = cluster.command("pg_basebackup");
    let output = command.args(["-D", "-", "-F", "tar", "-X", "none", "-c", "fast"]).output().unwrap();
    let mut bytes = vec![16];
    bytes.extend(output.stdout.into_iter().take(SEED_LIMIT_BYTES));
    bytes
}
