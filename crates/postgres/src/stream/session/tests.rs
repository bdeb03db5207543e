//! Attacks on a session: a server that falls silent, a vault that takes nothing.

use super::super::alarm::Alarm;
use super::super::piecer::PIECE_BYTES;
use super::super::testing::{Bench, SEGMENT_BYTES, noise};
use super::super::uploads::UNDER_WAY_LIMIT;
use super::*;
use bytes::Bytes;
use lifeboat_base::Clock;
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use tokio::sync::watch;

const START: Lsn = Lsn(3 * SEGMENT_BYTES);
/// What a server sends at once.
const MESSAGE_BYTES: usize = 128 << 10;

fn session(bench: &Bench) -> Session<'_> {
    Session::new(&bench.shared, &bench.archive, Timeline(1), START, Overlap::default(), STATUS_INTERVAL)
}

/// The next message of a server that has a great deal.
fn message(session: &Session<'_>, length: usize) -> Event {
    let (start, sent_at) = (session.piecer.end(), session.shared.clock.now());
    let end = start.advance(length as u64);
    Event::WalData { start, end, sent_at, data: Bytes::from(noise(length, 0)) }
}

#[tokio::test]
async fn a3_a_server_that_has_more_and_sends_none_is_one_alarm_until_wal_comes() {
    let bench = Bench::new(1).await;
    let mut session = session(&bench);
    let server = START.advance(100);
    let stalls = || {
        let is_stall = |event: &StreamEvent| matches!(event, StreamEvent::Raised(Alarm::Stalled { .. }));
        bench.told().into_iter().filter(is_stall).collect::<Vec<_>>()
    };
    let since = bench.clock.now();
    // However long a server has nothing to send, nothing is wrong.
    bench.clock.advance(STALL_LIMIT * 2);
    session.look(true);
    assert_eq!(stalls(), []);
    session.take_event(message(&session, 10)).unwrap();
    let received = START.advance(10);
    bench.shared.observe_flush(server);
    bench.clock.advance(STALL_LIMIT);
    session.look(true);
    assert_eq!(stalls(), []);
    bench.clock.advance(Duration::from_secs(1));
    session.look(true);
    session.look(true);
    let since = since + STALL_LIMIT * 2;
    assert_eq!(stalls(), [StreamEvent::Raised(Alarm::Stalled { server, received, since })]);
    assert_eq!(bench.shared.exposure.borrow().behind_bytes(), 100);

    session.take_event(message(&session, 90)).unwrap();
    assert_eq!(bench.told().last(), Some(&StreamEvent::Cleared(AlarmKind::Stalled)));
    // A new one is told again.
    bench.shared.observe_flush(server.advance(1));
    bench.clock.advance(STALL_LIMIT + Duration::from_secs(1));
    session.look(true);
    assert_eq!(stalls().len(), 2);
}

#[tokio::test]
async fn t3_u2_what_a_vault_that_is_away_does_not_take_stays_in_the_server() {
    let bench = Bench::new(1).await;
    bench.stores[0].set_plan(FaultPlan::none().on(Select::kind(OperationKind::Create), Fault::Fail));
    let mut session = session(&bench);
    while session.can_read() {
        session.take_event(message(&session, MESSAGE_BYTES)).unwrap();
        session.begin_due();
        let held = session.piecer.end().bytes_since(START) as usize;
        assert!(held <= (UNDER_WAY_LIMIT + 1) * PIECE_BYTES + MESSAGE_BYTES, "{held} bytes are in memory");
    }
    let received = session.piecer.end();
    assert!(!session.uploads.has_room());
    // It stays so for as long as the vault is away.
    assert!(matches!(session.uploads.next().await, Uploaded::Trouble(_)));
    session.begin_due();
    assert!(!session.can_read());

    bench.stores[0].set_plan(FaultPlan::none());
    let (_stop, asked) = watch::channel(false);
    session.drain(None, &mut StopSignal(asked)).await.unwrap();
    assert!(session.can_read());
    assert_eq!(session.reached(), (Timeline(1), received, 0));
    let coverage = bench.archive.coverage(Timeline(1)).await.unwrap();
    assert_eq!(coverage.stretches, [LsnRange { start: START, end: received }]);
}
