//! Accidents on real servers, found again in the archived WAL by name and count.

use crate::targets_world::{World, conninfo, options};
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange};
use lifeboat_pgformat::search::EffectKind;
use lifeboat_postgres::catalogue::{capture, list, load};
use lifeboat_postgres::search::{Bound, Finding, SearchError, SearchReport, SearchRequest, search};
use lifeboat_postgres::target::resolve;
use lifeboat_testkit::postgres::{Cluster, Installation};
use lifeboat_vault::names;
use std::sync::Mutex;

async fn run(world: &World, request: &SearchRequest) -> SearchReport {
    search(&world.vault, &world.service, request, &|_| ()).await.unwrap()
}

/// The findings as a person would read them.
fn told(report: &SearchReport) -> Vec<String> {
    let effect = |finding: &Finding| {
        let parts = finding.suspect.what.iter().map(|effect| {
            let name = match (&effect.relation, &effect.database_name) {
                (Some(relation), Some(database)) => {
                    format!("{database}.{}.{}", relation.schema, relation.name)
                }
                (None, Some(database)) if effect.kind == EffectKind::DropDatabase => database.clone(),
                _ => "?".to_owned(),
            };
            let rows = effect.rows.map(|rows| format!(" {rows}")).unwrap_or_default();
            format!("{:?} {name}{rows}", effect.kind)
        });
        parts.collect::<Vec<_>>().join(", ")
    };
    report.findings.iter().map(effect).collect()
}

fn now(cluster: &Cluster) -> Timestamp {
    let text = cluster
        .psql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
    text.trim().parse().unwrap()
}

/// A shop with some tables, a second database, and a snapshot of their names.
async fn shop(installation: &Installation) -> World {
    let world = World::start(installation, &options()).await;
    world.cluster.psql("CREATE DATABASE other");
    world.cluster.psql("CREATE DATABASE \"shut Ä\" ALLOW_CONNECTIONS false");
    world.cluster.psql("CREATE SCHEMA \"Shop\"");
    for table in ["orders", "lines", "people", "log"] {
        world.cluster.psql(&format!("CREATE TABLE \"Shop\".{table} (id int, note text)"));
        world.cluster.psql(&format!(
            "INSERT INTO \"Shop\".{table} SELECT g, md5(g::text) FROM generate_series(1, 20000) g"
        ));
    }
    let captured = capture(&world.vault, &world.service, &conninfo(&world.cluster)).await.unwrap();
    assert_eq!(captured.system_id, world.archive.cluster().system_id);
    assert!(captured.databases >= 4 && captured.relations > 800, "{captured:?}");
    let skipped: Vec<_> = captured.skipped.iter().map(|skipped| skipped.database.as_str()).collect();
    assert_eq!(skipped, ["shut Ä"]);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_accidents_are_told_by_name_and_count_and_lead_to_a_target() {
    for installation in [Installation::oldest(), Installation::newest()] {
        let world = shop(&installation).await;
        let point = world.backup().await;
        let begin = now(&world.cluster);
        world.cluster.psql("DELETE FROM \"Shop\".orders WHERE id <= 10");
        world.cluster.psql("VACUUM FULL \"Shop\".people");
        world.cluster.psql("DELETE FROM \"Shop\".orders");
        world.cluster.psql("UPDATE \"Shop\".lines SET note = 'oh' WHERE id > 5000");
        let half = now(&world.cluster);
        world.cluster.psql("TRUNCATE \"Shop\".people");
        world.cluster.psql("DROP TABLE \"Shop\".log");
        world.cluster.psql("BEGIN; DELETE FROM \"Shop\".lines; ROLLBACK");
        world.cluster.psql("DROP DATABASE other");
        world.cluster.psql("DROP DATABASE \"shut Ä\"");
        world.archive_all().await;

        let all = [
            "Delete postgres.Shop.orders 19990",
            "Update postgres.Shop.lines 15000",
            "Truncate postgres.Shop.people",
            "Drop postgres.Shop.log",
            "DropDatabase other",
            "DropDatabase shut Ä",
        ];
        let seen = Mutex::new(Vec::new());
        let request = SearchRequest { from: Some(Bound::Time(begin)), ..SearchRequest::default() };
        let report = search(&world.vault, &world.service, &request, &|p| seen.lock().unwrap().push(p)).await;
        let report = report.unwrap();
        assert_eq!(told(&report), all);
        assert!(!report.is_cut && !report.is_incomplete && report.ended_by.is_none());
        assert_eq!((report.holes.len(), report.snapshots.len()), (0, 1));
        let seen = seen.into_inner().unwrap();
        assert!(seen.len() > 2 && seen.iter().all(|p| p.done_bytes <= p.total_bytes), "{seen:?}");

        // Only a part, by time, by position, by table, by count.
        let until = SearchRequest { to: Some(Bound::Time(half)), ..request.clone() };
        assert_eq!(told(&run(&world, &until).await), all[..2]);
        let after = SearchRequest { from: Some(Bound::Time(half)), ..request.clone() };
        assert_eq!(told(&run(&world, &after).await), all[2..]);
        let at = report.findings[1].suspect.commit_lsn;
        let from = SearchRequest { from: Some(Bound::Lsn(at)), ..request.clone() };
        assert_eq!(told(&run(&world, &from).await), all[1..], "a transaction is counted in full");
        for name in ["lines", "Shop.lines", "postgres.Shop.lines"] {
            let table = SearchRequest { table: Some(name.to_owned()), ..request.clone() };
            assert_eq!(told(&run(&world, &table).await), [all[1], all[4], all[5]]);
        }
        let few = SearchRequest { min_rows: 10, ..request.clone() };
        assert_eq!(told(&run(&world, &few).await)[0], "Delete postgres.Shop.orders 10");
        let rewrites = SearchRequest { rewrites: true, ..request.clone() };
        assert_eq!(told(&run(&world, &rewrites).await)[0], "Rewrite postgres.Shop.people");

        // Each leads to a moment right before it.
        for finding in &report.findings {
            let resolved = resolve(&world.vault, &world.service, &finding.target, None).await.unwrap();
            assert_eq!((resolved.stop, resolved.inclusive), (finding.suspect.commit_lsn, false));
            assert_eq!(resolved.point.id, point.id);
            assert!(resolved.last.unwrap().time <= finding.suspect.commit_time);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_come_back_as_they_were_taken() {
    let world = shop(&Installation::newest()).await;
    let system = world.archive.cluster().system_id;
    let lsns = list(&world.vault, &world.service, system).await.unwrap();
    let [lsn] = lsns[..] else { panic!("{lsns:?}") };
    let snapshot = load(&world.vault, &world.service, system, lsn).await.unwrap();
    assert_eq!(snapshot.lsn, lsn);
    let database = snapshot.databases.iter().find(|database| database.name == "postgres").unwrap();
    let orders = database.relations.iter().find(|relation| relation.name == "orders").unwrap();
    let facts = world.cluster.psql(
        "SELECT oid || ' ' || pg_relation_filenode(oid) || ' ' || reltoastrelid FROM pg_class WHERE relname = 'orders'",
    );
    let facts: Vec<u32> = facts.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!((orders.oid.0, orders.relfilenode.0), (facts[0], facts[1]));
    assert_eq!((&*orders.schema, orders.kind, orders.persistence), ("Shop", 'r', 'p'));
    let toast = database.relations.iter().find(|relation| relation.oid.0 == facts[2]).unwrap();
    assert_eq!((toast.toast_of, toast.kind), (Some(orders.oid), 't'));
    // On an idle server the next one has the same position, which is no error.
    capture(&world.vault, &world.service, &conninfo(&world.cluster)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn q3_holes_and_damage_are_told_beside_what_was_found() {
    let world = shop(&Installation::newest()).await;
    world.cluster.psql("DELETE FROM \"Shop\".orders");
    world.archive_all().await;
    let hole = crate::targets_world::position(&world.cluster);
    world.cluster.psql("DELETE FROM \"Shop\".people WHERE id < 2000");
    let files = world.archive_all().await;
    let lost = files.iter().find(|file| file.range().start >= hole.segment_start(1 << 20)).unwrap();
    world.cluster.psql("DROP TABLE \"Shop\".lines");
    let last = *world.archive_all().await.last().unwrap();
    let (system, timeline) = (world.archive.cluster().system_id, lost.timeline);
    let name = names::wal_segment(&world.service, system, timeline, &lost.to_string());
    assert!(world.vault.copies().delete(vec![name]).await.is_empty());
    let report = run(&world, &SearchRequest::default()).await;
    let (found, len) = (told(&report), report.holes.len());
    assert!(found.contains(&"Delete postgres.Shop.orders 20000".to_owned()), "{found:?}");
    assert_eq!(found.last().unwrap(), "Drop postgres.Shop.lines");
    assert_eq!((len, report.searched.len()), (1, 2));
    assert_eq!(report.holes[0], LsnRange { start: lost.range().start, end: lost.range().end });

    // Damage after it.
    let next = last.next();
    world.archive.put_segment(next, &vec![7; 1 << 20]).await.unwrap();
    let report = run(&world, &SearchRequest::default()).await;
    assert_eq!(told(&report), found);
    assert!(report.ended_by.unwrap().to_string().contains("damaged after"));
}

#[tokio::test]
async fn q4_a_search_that_reads_nothing_has_no_answer_and_the_most_below_the_limit_is_told() {
    let world = shop(&Installation::newest()).await;
    world.cluster.psql("DELETE FROM \"Shop\".people WHERE id <= 40");
    world.cluster.psql("DELETE FROM \"Shop\".people WHERE id <= 100");
    world.cluster.psql("UPDATE \"Shop\".people SET id = -id WHERE id <= 130");
    world.cluster.psql("DELETE FROM \"Shop\".people WHERE id BETWEEN 131 AND 150");
    world.archive_all().await;
    let search = async |request: SearchRequest| search(&world.vault, &world.service, &request, &|_| {}).await;
    let people = SearchRequest { table: Some("Shop.people".to_owned()), ..SearchRequest::default() };
    let report = search(people.clone()).await.unwrap();
    let rows = |finding: Option<Finding>| finding.unwrap().suspect.what[0].rows;
    let changed = |report: &SearchReport| {
        let findings = told(report).into_iter();
        findings.filter(|line| line.starts_with("Delete") || line.starts_with("Update")).collect::<Vec<_>>()
    };
    assert_eq!(changed(&report), Vec::<String>::new());
    assert_eq!((rows(report.most_deleted), rows(report.most_updated)), (Some(60), Some(30)));
    assert!(report.to_the_end && report.first_commit < report.last_commit);
    // What is above the limit is a finding, and no other than that.
    let report = search(SearchRequest { min_rows: 60, ..people }).await.unwrap();
    assert_eq!(changed(&report), ["Delete postgres.Shop.people 60"]);
    assert_eq!(rows(report.most_deleted), Some(40));

    let later = SearchRequest { from: Some(Bound::Lsn(Lsn(1 << 50))), ..SearchRequest::default() };
    let said = search(later).await.unwrap_err().to_string();
    assert!(said.contains("the last commit in it is of 20"), "{said}");
    let unknown = SearchRequest { table: Some("peple".to_owned()), ..SearchRequest::default() };
    let SearchError::UnknownTable { known, .. } = search(unknown).await.unwrap_err() else { panic!() };
    assert!(known.contains(&"Shop.people".to_owned()), "{known:?}");
}
