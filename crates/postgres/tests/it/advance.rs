//! Restore points made of older ones, against standbys that replayed the same WAL.

use crate::backup_fixture::{restored, tree};
use crate::recovery::Fixture;
use lifeboat_base::{Lsn, Timeline};
use lifeboat_pgformat::{Fork, PAGE_SIZE_BYTES, RelationFile, WalFileName};
use lifeboat_postgres::advance::{self, AdvanceError, AdvanceOptions};
use lifeboat_postgres::restore::Stop;
use lifeboat_postgres::server::Server;
use lifeboat_postgres::target::{self, Resolved, Target};
use lifeboat_postgres::verify::{Outcome, examine};
use lifeboat_postgres::view::{self, Keep, View};
use lifeboat_testkit::faulty::{Fault, FaultPlan};
use lifeboat_testkit::postgres::Installation;
use lifeboat_vault::point::{self, RestorePoint};
use lifeboat_vault::wal::{WalArchive, clusters};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// A production that changes in every way between two restore points.
struct Production {
    fixture: Fixture,
    /// WAL segments that are in the vault.
    pushed: BTreeSet<String>,
}

impl Production {
    async fn start(installation: &Installation) -> Self {
        let fixture = Fixture::start(installation).await;
        fixture.cluster.psql("CREATE TABLE cut (id int PRIMARY KEY, note text)");
        fixture.backup(true).await;
        Self { fixture, pushed: BTreeSet::new() }
    }

    /// Rows come and go, tables are cut, rewritten, dropped and made again; then a checkpoint.
    async fn live(&mut self, round: u32) {
        let cluster = &self.fixture.cluster;
        cluster.psql(&format!("UPDATE ledger SET note = 'round {round}' WHERE id % 97 = {round} % 97"));
        cluster.psql(&format!("DELETE FROM ledger WHERE id % 89 = {round} % 89"));
        cluster.psql(&format!(
            "INSERT INTO ledger SELECT g, 'new in {round}' FROM generate_series({0}, {0} + 300) g",
            100_000 + round * 1000
        ));
        // Grown, and cut at its end by vacuum; in the next round it grows again over what was cut.
        cluster.psql("INSERT INTO cut SELECT g, repeat('c', 300) FROM generate_series(1, 2000) g ON CONFLICT DO NOTHING");
        cluster.psql(&format!("DELETE FROM cut WHERE id > {}", 100 * (round % 5)));
        cluster.psql("VACUUM cut");
        cluster.psql(&format!("CREATE TABLE made{round} AS SELECT g FROM generate_series(1, 3000) g"));
        cluster.psql(&format!("CREATE INDEX ON made{round} (g)"));
        if let Some(before) = round.checked_sub(1) {
            cluster.psql(&format!("TRUNCATE made{before}"));
        }
        if let Some(earlier) = round.checked_sub(2) {
            cluster.psql(&format!("DROP TABLE made{earlier}"));
        }
        match round % 4 {
            0 => drop(cluster.psql("VACUUM FULL apart")),
            1 => drop(cluster.psql(&format!("CREATE DATABASE other{round}"))),
            2 => drop(cluster.psql(&format!("DROP DATABASE other{}", round - 1))),
            _ => drop(cluster.psql("INSERT INTO fleeting SELECT g FROM generate_series(1, 500) g")),
        }
        cluster.psql("CHECKPOINT");
        self.fixture.archived_end();
        self.push().await;
    }

    /// Puts what was archived into the vault.
    async fn push(&mut self) {
        let (vault, service) = (&self.fixture.bench.vault, &self.fixture.bench.service);
        let cluster = clusters(vault, service).await.unwrap().remove(0);
        let archive = WalArchive::of(vault, service, cluster).unwrap();
        for entry in std::fs::read_dir(self.fixture.place("archive")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let file = WalFileName::parse(&name, archive.segment_size());
            if let Some(file) = file
                && self.pushed.insert(name.clone())
            {
                let bytes = std::fs::read(self.fixture.place("archive").join(&name)).unwrap();
                archive.put_segment(file, &bytes).await.unwrap();
            }
            if let Some(timeline) = name.strip_suffix(".history") {
                let bytes = std::fs::read(self.fixture.place("archive").join(&name)).unwrap();
                let timeline = Timeline(u32::from_str_radix(timeline, 16).unwrap());
                archive.put_history(timeline, &bytes).await.unwrap();
            }
        }
    }

    /// As after a failover: its own WAL to the end, then a new timeline.
    fn promoted(&self) {
        let cluster = &self.fixture.cluster;
        cluster.stop();
        std::fs::write(cluster.data_directory().join("standby.signal"), "").unwrap();
        cluster.restart();
        cluster.promote();
    }

    async fn points(&self) -> Vec<RestorePoint> {
        point::list(&self.fixture.bench.vault, &self.fixture.bench.service).await.unwrap()
    }

    /// The last checkpoint, from the newest point.
    async fn next(&self) -> Option<Resolved> {
        let (vault, service) = (&self.fixture.bench.vault, &self.fixture.bench.service);
        let latest = target::resolve(vault, service, &Target::Latest, None).await.unwrap();
        target::checkpoint_before(vault, &latest).await.unwrap()
    }

    /// A server at the checkpoint of `resolved`, in a view of its point, stopped; and that view.
    async fn replayed(&self, resolved: &Resolved, into: &str) -> View {
        let mut options = self.fixture.restore(&resolved.point, resolved.stop, into);
        options.recovery = resolved.recovery(options.recovery.restore_command);
        let plan = view::plan(&options).await.unwrap();
        view::create(&options, plan).await.unwrap();
        let nothing = Arc::new(|happened| panic!("{happened:?}"));
        let view =
            View::show(&self.fixture.bench.vault, &options.into, Keep::Written, nothing).await.unwrap();
        self.stopped_at(resolved.stop(), &options.into).await;
        view
    }

    /// Replays in a directory up to there, and stops.
    async fn stopped_at(&self, stop: Stop, directory: &Path) {
        let mut server = Server::start(&self.fixture.server(directory)).unwrap();
        server.recovered(stop, &|_| ()).await.unwrap();
        server.checkpoint().await.unwrap();
        server.stop().await.unwrap();
    }

    fn store(&self, resolved: &Resolved) -> AdvanceOptions {
        let (vault, resolved) = (self.fixture.bench.vault.clone(), resolved.clone());
        AdvanceOptions { vault, resolved, level: 1, progress: Arc::default() }
    }

    async fn advance(&self, resolved: &Resolved, into: &str) -> RestorePoint {
        let view = self.replayed(resolved, into).await;
        let point = advance::store(&self.store(resolved), &view).await.unwrap();
        view.throw_away().unwrap();
        point
    }
}

/// What recovery makes of a data directory that WAL has a say in, by path; free-space maps are not WAL's.
fn of_wal(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = tree(directory);
    files.retain(|path, _| {
        let is_map = RelationFile::parse(path).is_some_and(|file| file.name.fork == Fork::FreeSpace);
        let is_left =
            ["pg_wal/", "pg_stat", "pg_subtrans/", "pg_notify/"].iter().any(|d| path.starts_with(d));
        path.contains('/')
            && path != "global/pg_control"
            && !path.ends_with("pg_internal.init")
            && !is_map
            && !is_left
    });
    files
}

/// A page without what PostgreSQL itself may leave different on two servers that replayed the same WAL: what
/// `wal_consistency_checking` masks (access/common/bufmask.c and the masks of heap and btree).
fn masked(page: &[u8]) -> Vec<u8> {
    let mut page = page.to_vec();
    let word = |page: &[u8], at: usize| usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
    let (lower, upper, special) = (word(&page, 12), word(&page, 14), word(&page, 16));
    if page.len() < PAGE_SIZE_BYTES
        || !(24 <= lower && lower <= upper && upper <= special && special <= page.len())
    {
        return page;
    }
    // LSN and checksum, hints in the flags, the oldest transaction worth pruning for, and the hole.
    page[..10].fill(0);
    page[10] &= !0b111;
    page[20..24].fill(0);
    page[lower..upper].fill(0);
    let is_heap = special == page.len();
    for at in (24..lower).step_by(4) {
        let pointer = u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
        let (offset, flags) = ((pointer & 0x7FFF) as usize, pointer >> 15 & 0b11);
        if !is_heap {
            // An index tells of dead rows by a hint in the pointer.
            page[at + 1] &= !0x80;
            page[at + 2] &= !0x01;
        } else if flags == 1 && offset + 23 <= page.len() {
            // Whether its transactions have committed is looked up once, and then noted in the row.
            page[offset + 21] &= !0x0F;
        }
    }
    if special + 16 == page.len() {
        // Of btree: garbage, the end of a split, and vacuum's cycle.
        page[special + 12] &= !0x60;
        page[special + 14..].fill(0);
    }
    page
}

/// Production is promoted before each of the rounds in `switches`.
async fn a_chain_is_what_a_standby_is(installation: &Installation, rounds: u32, switches: &[u32]) {
    let mut production = Production::start(installation).await;
    let mut last: Option<(Resolved, RestorePoint)> = None;
    for round in 0..rounds {
        if switches.contains(&round) {
            production.promoted();
        }
        production.live(round).await;
        let resolved = production.next().await.unwrap();
        if let Some((_, newest)) = &last {
            assert_eq!(resolved.point, *newest, "from the newest on");
        }
        let point = production.advance(&resolved, &format!("advance{round}")).await;
        // From the ninth on, the newest are folded.
        assert!(point.layers.len() == round as usize + 2 || round >= 8, "{:?}", point.layers);
        let switched = switches.iter().filter(|before| **before <= round).count();
        assert_eq!(point.timeline, Timeline(1 + u32::try_from(switched).unwrap()));
        assert!(point.stop >= resolved.end && point.start > resolved.point.start);
        assert!(point.stored_bytes < point.size_bytes / 2, "{} of {}", point.stored_bytes, point.size_bytes);
        last = Some((resolved, point));
    }
    assert_eq!(production.next().await, None, "no checkpoint since");
    let (resolved, point) = last.unwrap();

    // A standby that never was anything else: all WAL, from the first backup on.
    let fixture = &production.fixture;
    let first = production.points().await.remove(0);
    let mut options = fixture.restore(&first, resolved.stop, "standby");
    options.recovery = resolved.recovery(options.recovery.restore_command);
    restored(&options).await.unwrap();
    production.stopped_at(resolved.stop(), &options.into).await;
    let standby = of_wal(&options.into);

    let own_end = target::own_end(&fixture.bench.vault, &point).await.unwrap();
    let mut options = fixture.restore(&point, own_end.stop, "advanced");
    options.recovery = own_end.recovery(options.recovery.restore_command);
    restored(&options).await.unwrap();
    let advanced = of_wal(&options.into);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<BTreeSet<_>>();
    let odd: Vec<String> = names(&standby).symmetric_difference(&names(&advanced)).cloned().collect();
    assert_eq!(odd, Vec::<String>::new(), "of PostgreSQL {}", installation.major);
    let mut pages = 0;
    for (path, bytes) in &standby {
        let other = &advanced[path];
        assert_eq!(bytes.len(), other.len(), "{path}");
        for (number, (a, b)) in bytes.chunks(PAGE_SIZE_BYTES).zip(other.chunks(PAGE_SIZE_BYTES)).enumerate() {
            let is_same = a == b || masked(a) == masked(b);
            assert!(is_same, "page {number} of {path}, PostgreSQL {}", installation.major);
            pages += 1;
        }
    }
    assert!(pages > 1000, "{pages}");

    // And it recovers by itself.
    let mut server = Server::start(&fixture.server(&options.into)).unwrap();
    let reached = server.recovered(own_end.stop(), &|_| ()).await.unwrap();
    target::reached(reached, &own_end).unwrap();
    server.promote().await.unwrap();
    let outcomes = examine(&mut server, &point, &[]).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.outcome == Outcome::Passed), "{outcomes:?}");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a2_a_chain_of_advances_is_page_by_page_what_a_standby_is() {
    a_chain_is_what_a_standby_is(&Installation::newest(), 3, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a2_of_every_older_version_an_advance_is_page_by_page_what_a_standby_is() {
    let newest = Installation::newest().major;
    for installation in Installation::all().into_iter().filter(|installation| installation.major != newest) {
        a_chain_is_what_a_standby_is(&installation, 2, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_chain_across_two_failovers_is_page_by_page_what_a_standby_is() {
    a_chain_is_what_a_standby_is(&Installation::newest(), 3, &[0, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: fifty advances"]
async fn a_chain_of_fifty_advances_is_page_by_page_what_a_standby_is() {
    a_chain_is_what_a_standby_is(&Installation::newest(), 50, &[17]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_server_that_did_not_stop_at_the_checkpoint_is_not_stored() {
    let mut production = Production::start(&Installation::newest()).await;
    production.live(0).await;
    let resolved = production.next().await.unwrap();
    let view = production.replayed(&resolved, "stopped").await;
    let elsewhere = |stop: Lsn, end: Lsn| {
        let wanted = Resolved { stop, end, ..resolved.clone() };
        production.store(&wanted)
    };
    for wrong in [elsewhere(Lsn(resolved.stop.0 + 8), resolved.end), elsewhere(resolved.stop, Lsn(u64::MAX))]
    {
        let stored = advance::store(&wrong, &view).await;
        assert!(matches!(stored, Err(AdvanceError::NotThere(_))), "{stored:?}");
    }
    assert_eq!(production.points().await.len(), 1);
    // A server that was killed has written nothing in order.
    let mut server = Server::start(&production.fixture.server(&view.place().mount)).unwrap();
    server.recovered(resolved.stop(), &|_| ()).await.unwrap();
    server.kill9();
    let stored = advance::store(&production.store(&resolved), &view).await;
    assert!(matches!(stored, Err(AdvanceError::NotThere(_))), "{stored:?}");
    assert_eq!(production.points().await.len(), 1);
    view.throw_away().unwrap();
}

/// The machine dies at every write in turn, once before the vault has it and once after.
#[tokio::test(flavor = "multi_thread")]
async fn a4_an_advance_killed_at_any_write_leaves_no_lie_and_does_not_hinder_the_next() {
    let mut production = Production::start(&Installation::newest()).await;
    production.live(0).await;
    let resolved = production.next().await.unwrap();
    let view = production.replayed(&resolved, "killed").await;
    let store = &production.fixture.bench.stores[0];
    let (options, before) = (production.store(&resolved), store.write_count());
    let whole = advance::store(&options, &view).await.unwrap();
    let writes = store.write_count() - before;
    assert!(writes >= 3, "packs, index and manifest are {writes} writes");
    let mut published = vec![whole];
    for fault in [Fault::Crash, Fault::CrashAfter] {
        for write in 1..=writes {
            let before = production.points().await;
            store.set_plan(FaultPlan::none().at_write(write, fault));
            let outcome = advance::store(&options, &view).await;
            assert!(store.has_crashed() && outcome.is_err(), "{fault:?} at write {write}: {outcome:?}");
            store.set_plan(FaultPlan::none());
            let after = production.points().await;
            assert!(
                before.iter().all(|point| after.contains(point)),
                "{fault:?} at write {write} lost a point"
            );
            published.extend(after.into_iter().filter(|point| !before.contains(point)));
        }
    }
    published.push(advance::store(&options, &view).await.unwrap());
    view.throw_away().unwrap();
    assert_eq!(published.len(), 3, "only one that died after its manifest is there");
    let mut trees = Vec::new();
    for (number, point) in published.iter().enumerate() {
        let options = production.fixture.restore(point, point.stop, &format!("published{number}"));
        restored(&options).await.unwrap();
        trees.push(of_wal(&options.into));
    }
    assert!(trees.iter().all(|tree| *tree == trees[0]));
}
