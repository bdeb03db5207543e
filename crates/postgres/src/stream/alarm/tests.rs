//! Attacks on what an alarm promises.

use super::super::testing::sink;
use super::*;

fn since() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

/// One of each kind.
fn all() -> Vec<Alarm> {
    let text = |text: &str| text.to_owned();
    let (timeline, reason) = (Timeline(2), text("connection refused"));
    let range = LsnRange { start: Lsn(16 << 20), end: Lsn(48 << 20) };
    let endpoint = text("db:5432");
    vec![
        Alarm::SlotLost { slot: text("lifeboat"), endpoint: endpoint.clone(), reason: reason.clone() },
        Alarm::Hole { timeline, range },
        Alarm::Fork { timeline, range, followed: Timeline(3) },
        Alarm::Stalled { server: range.end, received: range.start, since: since() },
        Alarm::SlotPressure {
            slot: text("lifeboat"),
            retained: ByteCount(3 << 30),
            limit: text("max_slot_wal_keep_size=4.0 GiB"),
            wal_status: text("extended"),
        },
        Alarm::SlotUnwatched { reason: reason.clone() },
        Alarm::StandbySlot { standby: text("host=standby"), reason: reason.clone() },
        Alarm::VaultUnavailable { since: since(), reason: reason.clone() },
        Alarm::CopyAway { copy: text("s3://backups"), reason: reason.clone(), only: false },
        Alarm::Disconnected { since: since(), reason: reason.clone() },
        Alarm::UnfitServer { endpoint, reason },
    ]
}

/// Whoever changes one of these breaks what others have built on it: a new alarm gets a new name.
#[test]
fn a1_names_never_change() {
    let names: Vec<&str> = all().iter().map(|alarm| alarm.kind().name()).collect();
    assert_eq!(
        names,
        [
            "slot-lost",
            "wal-hole",
            "wal-fork",
            "stream-stalled",
            "slot-pressure",
            "slot-unwatched",
            "standby-slot",
            "vault-unavailable",
            "copy-away",
            "stream-disconnected",
            "unfit-server",
        ]
    );
    let documented = include_str!("../../../../../docs/commands.md");
    let missing = names.iter().find(|name| !documented.contains(&format!("`{name}`")));
    assert_eq!(missing, None, "docs/commands.md does not name it");
}

#[test]
fn a2_an_alarm_says_what_happened_why_it_matters_and_what_to_do() {
    // In the order of `all`.
    let expected = [
        ["db:5432 no longer keeps WAL", "cannot be recovered", "take a base backup"],
        ["0/1000000 to 0/3000000 of timeline 2", "No moment after", "take a base backup now"],
        ["leaves out", "lost commits after a failover", "make sure that no second primary runs"],
        [
            "up to 0/3000000, and nothing after 0/1000000",
            "is not in the vault",
            "Look at pg_stat_replication",
        ],
        ["keeps 3.0 GiB", "disk fills or the slot is given up", "raise max_slot_wal_keep_size"],
        ["connection refused", "nobody watches", "pg_hba.conf"],
        ["host=standby", "the WAL could have a hole", "Correct the connection"],
        ["since 2026-11-21T10:00:00Z", "disk fills, and commits that wait", "Bring the store back"],
        ["s3://backups", "less left than the plan wants", "`lifeboat vault check --repair`"],
        ["since 2026-11-21T10:00:00Z", "is not in the vault", "See whether the server runs"],
        ["db:5432", "passed over", "connection refused"],
    ];
    let alarms = all();
    assert_eq!(alarms.len(), expected.len());
    for (alarm, parts) in alarms.iter().zip(expected) {
        let said = alarm.to_string();
        for part in parts {
            assert!(said.contains(part), "{} lacks `{part}`: {said}", alarm.kind());
        }
    }
}

#[test]
fn a3_an_alarm_that_stands_is_told_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let board = Board::new(sink(&told));
    let count = || told.lock().unwrap().len();
    for alarm in all() {
        let (kind, before) = (alarm.kind(), count());
        board.raise(alarm.clone());
        board.raise(alarm.clone());
        if kind.is_incident() {
            // Each is an event of its own, and none is ever over.
            assert_eq!(count(), before + 2, "{kind}");
            assert!(!board.stands(kind));
            continue;
        }
        assert_eq!(count(), before + 1, "{kind}");
        let subject = match &alarm {
            Alarm::StandbySlot { standby: subject, .. } | Alarm::CopyAway { copy: subject, .. } => subject,
            _ => "",
        };
        board.clear_for(kind, subject);
        board.clear_for(kind, subject);
        assert_eq!(count(), before + 2, "{kind}");
        assert_eq!(told.lock().unwrap().last(), Some(&StreamEvent::Cleared(kind)));
        board.raise(alarm);
        assert_eq!(count(), before + 3, "{kind}: what comes again is told again");
    }
}

#[test]
fn a3_each_copy_has_an_alarm_of_its_own_and_the_last_clears_the_kind() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let board = Board::new(sink(&told));
    let away = |copy: &str| Alarm::CopyAway { copy: copy.to_owned(), reason: "away".to_owned(), only: false };
    board.raise(away("one"));
    board.raise(away("two"));
    board.clear_for(AlarmKind::CopyAway, "one");
    assert_eq!(*told.lock().unwrap(), [StreamEvent::Raised(away("one")), StreamEvent::Raised(away("two"))]);
    board.clear_for(AlarmKind::CopyAway, "two");
    assert_eq!(told.lock().unwrap().last(), Some(&StreamEvent::Cleared(AlarmKind::CopyAway)));
}

#[test]
fn a2_where_there_is_one_copy_no_others_are_said_to_go_on() {
    let away =
        |only| Alarm::CopyAway { copy: "here".to_owned(), reason: "away".to_owned(), only }.to_string();
    assert!(away(false).contains("The others go on"), "{}", away(false));
    assert!(away(true).contains("only copy") && !away(true).contains("others"), "{}", away(true));
}
