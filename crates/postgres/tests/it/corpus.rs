//! Makes the fuzzers' seeds, from real servers. `lifeboat-cli`'s tests replay them.

use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Of a seed that is made here.
const SEED_LIMIT_BYTES: usize = 8 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
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
