//! Decoders against bytes that nobody wrote (F1, F2).

use crate::server::{options, read};
use lifeboat_pgformat::{PG_CONTROL_PATH, fuzz};
use lifeboat_testkit::postgres::{Cluster, Installation};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn f1_no_decoder_panics_on_noise(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz::control_file(&bytes);
        fuzz::label(&bytes);
        fuzz::history(&bytes);
        fuzz::name(&bytes);
        fuzz::wal(&bytes);
        fuzz::record(&bytes);
    }

    #[test]
    fn f1_no_text_decoder_panics_on_almost_right_text(
        text in "(START WAL LOCATION: [0-9/A]{1,6} \\(file [0-9A]*\\)\n|[0-9]{1,11}[\t ][0-9A/]{1,9}(\t.{0,9})?\n|[0-9]{1,9} [/\\\\\na]{0,9}){0,6}",
        path in "(base|global|pg_tblspc|pg_wal)(/[0-9t_.]{1,9}|/PG_15){0,4}(_fsm|_init|\\.partial)?",
    ) {
        fuzz::label(text.as_bytes());
        fuzz::history(text.as_bytes());
        fuzz::name(path.as_bytes());
    }

    /// Every kind of record, with a body of noise behind a layout that reads.
    #[test]
    fn f1_no_record_decoder_panics(
        rmgr in 0u8..24,
        info in any::<u8>(),
        with_block in any::<bool>(),
        main in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..255),
    ) {
        let mut bytes = vec![0; 24];
        bytes[4] = 7;
        bytes[16] = info;
        bytes[17] = rmgr;
        if with_block {
            bytes.extend([0, 0, 0, 0]);
            bytes.extend([1; 16]);
        }
        bytes.extend([255, main.len() as u8]);
        bytes.extend(&main);
        let length = (bytes.len() as u32).to_le_bytes();
        bytes[..4].copy_from_slice(&length);
        fuzz::record(&bytes);
    }
}

/// Real files with bytes changed, cut and swapped.
#[test]
fn f1_no_decoder_panics_on_damaged_files() {
    for installation in Installation::all() {
        let cluster = Cluster::start(&installation, &options().set("wal_level", "logical"));
        cluster.script(
            "postgres",
            "create table t (id int primary key, v text);
             begin; savepoint s; insert into t select g, g from generate_series(1, 500) g; commit;
             truncate t; select pg_create_restore_point('x'); drop table t; checkpoint;",
        );
        cluster.stop();
        let tail = read(&cluster, "pg_wal/000000010000000000000001");
        let used = tail.iter().rposition(|byte| *byte != 0).unwrap();
        let from = used.saturating_sub(400_000) / 8192 * 8192;
        let wal = &tail[from..used];
        let control = read(&cluster, PG_CONTROL_PATH);
        let mut noise = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = |below: usize| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as usize % below
        };
        fuzz::wal(wal);
        for _ in 0..300 {
            let mut damaged = wal.to_vec();
            for _ in 0..next(20) + 1 {
                let at = next(damaged.len());
                damaged[at] = next(256) as u8;
            }
            damaged.truncate(next(damaged.len()) + 1);
            fuzz::wal(&damaged);
            fuzz::page(&damaged);
            let mut damaged = control.clone();
            damaged[next(300)] ^= 1 << next(8);
            damaged.truncate(next(8192));
            fuzz::control_file(&damaged);
        }
    }
}

type Decode = fn(&[u8]);

/// Every length, count and offset in real bytes, blown up: what a decoder holds stays near to what it was given.
#[test]
fn f2_a_length_that_is_only_claimed_takes_no_memory() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let decoders: [(&str, Decode); 6] = [
        ("pgformat_control_file", fuzz::control_file),
        ("pgformat_label", fuzz::label),
        ("pgformat_history", fuzz::history),
        ("pgformat_page", fuzz::page),
        ("pgformat_record", fuzz::record),
        ("pgformat_wal", fuzz::wal),
    ];
    for (name, decode) in decoders {
        for seed in std::fs::read_dir(corpus.join(name)).unwrap() {
            let seed = seed.unwrap().path();
            let bytes = std::fs::read(&seed).unwrap();
            for at in 0..bytes.len() {
                for huge in [[0xFF; 4], [0xFF, 0xFF, 0xFF, 0x3F], [0, 0, 0, 0x10]] {
                    let mut changed = bytes.clone();
                    let end = changed.len().min(at + huge.len());
                    changed[at..end].copy_from_slice(&huge[..end - at]);
                    let held = allocation_counter::measure(|| decode(&changed)).bytes_max;
                    let limit = 64 * changed.len() as u64 + (16 << 10);
                    assert!(held <= limit, "{held} bytes held with {huge:x?} at {at} of {}", seed.display());
                }
            }
        }
    }
}
