//! Replays the fuzzers' seeds, and mutations of them that are the same every time.
//!
//! Here, because no other crate sees all decoders.

use std::path::{Path, PathBuf};

/// Mutations of each seed.
const MUTATIONS: u64 = 300;
/// The same for whole documents, each of which is read, judged, written and read again.
const DOCUMENT_MUTATIONS: u64 = 100;
/// A mutation that is longer grows no more.
const GROWTH_LIMIT_BYTES: usize = 16 << 10;
/// What a decoder may hold at once for an input of a few KiB: a length that is only claimed is a gigabyte.
const MEMORY_LIMIT_BYTES: u64 = 16 << 20;
/// Where a frame was sealed, its seal vouches for its length, up to that of the largest frame.
const SEALED_LIMIT_BYTES: u64 = 80 << 20;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 24] = [
    ("pgformat_control_file", lifeboat_pgformat::fuzz::control_file),
    ("pgformat_page", lifeboat_pgformat::fuzz::page),
    ("pgformat_label", lifeboat_pgformat::fuzz::label),
    ("pgformat_history", lifeboat_pgformat::fuzz::history),
    ("pgformat_name", lifeboat_pgformat::fuzz::name),
    ("pgformat_wal", lifeboat_pgformat::fuzz::wal),
    ("pgformat_record", lifeboat_pgformat::fuzz::record),
    ("plan_document", lifeboat_plan::fuzz::document),
    ("plan_yaml", lifeboat_plan::fuzz::plan),
    ("postgres_base_backup", lifeboat_postgres::backup::fuzz::archive),
    ("postgres_catalogue", lifeboat_postgres::catalogue::fuzz),
    ("postgres_conninfo", lifeboat_postgres::client::fuzz::conninfo),
    ("postgres_helper", lifeboat_postgres::fetch::fuzz),
    ("postgres_messages", lifeboat_postgres::client::fuzz::messages),
    ("postgres_passfile", lifeboat_postgres::client::fuzz::passfile),
    ("vault_index", lifeboat_vault::fuzz::index),
    ("vault_journal", lifeboat_vault::fuzz::journal),
    ("vault_key", lifeboat_vault::fuzz::wrapped_key),
    ("vault_names", lifeboat_vault::fuzz::names),
    ("vault_pack_directory", lifeboat_vault::fuzz::pack_directory),
    ("vault_point", lifeboat_vault::fuzz::point),
    ("vault_prune", lifeboat_vault::fuzz::prune),
    ("vault_record", lifeboat_vault::fuzz::record),
    ("vault_sealed", lifeboat_vault::fuzz::sealed),
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
            3 if bytes.len() < GROWTH_LIMIT_BYTES => bytes.extend_from_within(at..),
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

/// Runs one target on this thread and holds it to its memory.
fn run((name, target): Target, seed: &str, bytes: &[u8]) {
    let limit = if name == "vault_sealed" { SEALED_LIMIT_BYTES } else { MEMORY_LIMIT_BYTES };
    let held = allocation_counter::measure(|| target(bytes)).bytes_max;
    assert!(held <= limit, "{name} held {held} bytes for {} of {seed}, changed: {bytes:x?}", bytes.len());
}

#[test]
fn every_decoder_takes_every_seed_and_its_mutations_without_a_panic_and_in_little_memory() {
    let listed: Vec<_> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, names(&fuzz().join("fuzz_targets")), "a target is not in the list, or has no file");
    for (name, target) in TARGETS {
        let target = (name, target);
        let directory = fuzz().join("corpus").join(name);
        let seeds = names(&directory);
        assert!(!seeds.is_empty(), "{name} has no seed");
        run(target, "nothing", &[]);
        for (number, seed) in (1..).zip(&seeds) {
            let bytes = std::fs::read(directory.join(seed)).unwrap();
            run(target, seed, &bytes);
            let mut numbers = Numbers(number);
            let mutations = if name.starts_with("plan_") { DOCUMENT_MUTATIONS } else { MUTATIONS };
            for _ in 0..mutations {
                run(target, seed, &mutate(&bytes, &mut numbers));
            }
        }
    }
}
