//! Attacks on the joining: a segment that is not whole, and pieces that nobody joined.

use super::super::testing::{Bench, SEGMENT_BYTES, noise};
use super::*;
use lifeboat_vault::wal::Fetched;

/// How long joining may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The vault has the pieces of two segments, of which a byte is missing in the second.
async fn pieces_of_two_segments(bench: &Bench) -> (Lsn, Lsn, Vec<u8>) {
    let (first, second) = (Lsn(3 * SEGMENT_BYTES), Lsn(4 * SEGMENT_BYTES));
    let bytes = noise(SEGMENT_BYTES as usize, 0);
    let half = bytes.len() / 2;
    for (start, from, to) in
        [(first, 0, half), (first, half, bytes.len()), (second, 0, half), (second, half + 1, bytes.len())]
    {
        let put = bench.archive.put_piece(Timeline(1), start.advance(from as u64), &bytes[from..to]).await;
        put.unwrap();
    }
    (first, second, bytes)
}

/// The names of objects of the timeline.
async fn objects(bench: &Bench) -> Vec<String> {
    let prefix = names::wal_timeline(&bench.service, bench.archive.cluster().system_id, Timeline(1));
    let listing = bench.vault.copies().list(&prefix).await;
    listing.objects.into_keys().collect()
}

/// Joins as beside a stream that is durable up to `durable`, until `segments` were told of.
async fn run_until(bench: &Bench, durable: Lsn, segments: usize) -> Vec<String> {
    let joined = || {
        let name = |event| if let StreamEvent::Joined { segment } = event { Some(segment) } else { None };
        bench.told().into_iter().filter_map(name).collect::<Vec<_>>()
    };
    bench.shared.progress.send_replace(Some((Timeline(1), durable)));
    let (vault, service) = (bench.vault.clone(), bench.service.clone());
    let mut joining = std::pin::pin!(run(vault, service, bench.archive.clone(), bench.shared.clone()));
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let mut given_up = std::pin::pin!(tokio::time::sleep(PATIENCE));
    while joined().len() < segments {
        tokio::select! {
            () = &mut joining => unreachable!("the sender of progress lives"),
            () = &mut given_up => panic!("only {:?} were joined", joined()),
            _ = looks.tick() => {}
        }
    }
    joined()
}

#[tokio::test]
async fn j2_what_a_killed_stream_left_in_pieces_is_joined_by_the_next() {
    let bench = Bench::new(1).await;
    let (first, _, bytes) = pieces_of_two_segments(&bench).await;
    // The next stream goes on far behind them.
    let joined = run_until(&bench, Lsn(9 * SEGMENT_BYTES + 5), 1).await;
    let name = WalFileName::holding(Timeline(1), first, bench.archive.segment_size()).to_string();
    assert_eq!(joined, [name]);
    assert_eq!(bench.archive.fetch(Timeline(1), first).await.unwrap(), Fetched::Whole(bytes));
}

#[tokio::test]
async fn j1_a_segment_that_lacks_a_byte_stays_in_pieces() {
    let bench = Bench::new(1).await;
    let (_, second, bytes) = pieces_of_two_segments(&bench).await;
    let before = objects(&bench).await;
    // All of it was streamed, says the one who streams; the vault's names decide.
    let ahead = second.advance(2 * SEGMENT_BYTES);
    bench.archive.put_piece(Timeline(1), ahead, &bytes).await.unwrap();
    let joined = run_until(&bench, ahead.advance(SEGMENT_BYTES), 2).await;
    let name = WalFileName::holding(Timeline(1), second, bench.archive.segment_size()).to_string();
    assert!(!joined.contains(&name), "{joined:?}");
    let after = objects(&bench).await;
    let range = LsnRange { start: second, end: second.advance(SEGMENT_BYTES) };
    let of_second = |names: &[String]| {
        let inside = |name: &&String| {
            names::piece_range(name).is_some_and(|piece| range.start <= piece.start && piece.end <= range.end)
        };
        names.iter().filter(inside).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of_second(&after), of_second(&before));
    assert_eq!(of_second(&after).len(), 2);
}
