//! Every record against that version's `pg_waldump`.

use crate::server::{options, read, version};
use lifeboat_base::{Lsn, SystemId, Timeline};
use lifeboat_pgformat::wal::{
    Content, EndReason, ReaderOptions, Record, RecordReader, Rmgr, RmgrSet, Start, Step, WalTime,
};
use lifeboat_pgformat::{ControlFile, PG_CONTROL_PATH, RelationLocator, SegmentSize, WalFileName};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use std::path::PathBuf;

const WORKLOAD: &str = "
create database doomed;
create table t (id int primary key, v text);
insert into t select g, repeat('x', 50) from generate_series(1, 5000) g;
copy t from program 'seq -f ''%.0f,y'' 10001 13000' with (format csv);
update t set v = 'z' where id < 500;
delete from t where id between 600 and 900;
begin; insert into t values (-1, 'a'); savepoint s; insert into t values (-2, 'b'); release s;
savepoint r; insert into t values (-3, 'c'); rollback to r; commit;
begin; delete from t where id < 100; rollback;
begin; insert into t values (-4, 'd'); prepare transaction 'two words'; commit prepared 'two words';
begin; insert into t values (-5, 'd'); create table gone (x int); prepare transaction 'p2'; rollback prepared 'p2';
create table big (id int, v text); alter table big alter v set storage external;
insert into big select g, repeat(md5(g::text), 2000) from generate_series(1, 30) g;
truncate big;
vacuum full t; cluster t using t_pkey; reindex table t;
create unlogged table u (x int); insert into u select generate_series(1, 100);
create table p (x int) partition by range (x); create table p1 partition of p for values from (0) to (10);
insert into p values (5); drop table p;
select pg_create_restore_point('before the storm');
select pg_switch_wal();
create index on t (v); create index on t using gin (to_tsvector('simple', v));
create materialized view m as select v from t; refresh materialized view m;
alter table t alter id type bigint;
vacuum freeze t; delete from t where id > 12000; vacuum t;
checkpoint;
drop table big; drop database doomed;
select pg_logical_emit_message(true, 'p', repeat('long', 10000));
do $$ begin for i in 1..300 loop begin insert into t values (-1000 - i, 'sub'); exception when others then null; end; end loop; end $$;
truncate t;
";

pub struct Wal {
    bytes: Vec<u8>,
    start: Lsn,
    system_id: SystemId,
    segment_size: SegmentSize,
}

fn pg_wal(cluster: &Cluster) -> PathBuf {
    cluster.data_directory().join("pg_wal")
}

/// All WAL from the first segment that is there.
pub fn read_wal(cluster: &Cluster) -> Wal {
    let control = ControlFile::parse(&read(cluster, PG_CONTROL_PATH)).unwrap();
    let names =
        std::fs::read_dir(pg_wal(cluster)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut segments: Vec<_> =
        names.filter_map(|name| WalFileName::parse(&name, control.wal_segment_size)).collect();
    segments.sort();
    let mut bytes = Vec::new();
    for segment in &segments {
        bytes.extend(std::fs::read(pg_wal(cluster).join(segment.to_string())).unwrap());
    }
    Wal {
        bytes,
        start: segments[0].range().start,
        system_id: control.system_id,
        segment_size: control.wal_segment_size,
    }
}

/// One line of `pg_waldump`.
struct Line<'a> {
    rmgr: &'a str,
    total: u32,
    xid: u32,
    lsn: Lsn,
    previous: Lsn,
    description: &'a str,
}

fn parse_line(line: &str) -> Option<Line<'_>> {
    let rest = line.strip_prefix("rmgr: ")?;
    let (rmgr, rest) = rest.split_once(" len (rec/tot):")?;
    let (lengths, rest) = rest.split_once(", tx:")?;
    let (xid, rest) = rest.split_once(", lsn: ")?;
    let (lsn, rest) = rest.split_once(", prev ")?;
    let (previous, description) = rest.split_once(", desc: ")?;
    Some(Line {
        rmgr: rmgr.trim(),
        total: lengths.split_once('/')?.1.trim().parse().ok()?,
        xid: xid.trim().parse().ok()?,
        lsn: lsn.parse().ok()?,
        previous: previous.parse().ok()?,
        description,
    })
}

fn time(time: WalTime) -> String {
    time.timestamp().unwrap().strftime("%Y-%m-%d %H:%M:%S%.6f UTC").to_string()
}

fn path(locator: RelationLocator) -> String {
    match locator.tablespace.0 {
        1663 => format!("base/{}/{}", locator.database, locator.relfilenode),
        1664 => format!("global/{}", locator.relfilenode),
        _ => format!("{}", locator.relfilenode),
    }
}

/// What `pg_waldump` must print of what we decoded.
fn expectations(record: &Record<'_>) -> Vec<String> {
    let mut expected = Vec::new();
    for block in record.layout().unwrap().blocks() {
        expected.push(format!("blkref #{}: rel {}", block.id, block.locator));
        expected.push(format!("blk {}", block.block));
        if block.image.is_some() {
            expected.push("FPW".to_owned());
        }
    }
    match record.content().unwrap() {
        Content::Commit(c) | Content::Abort(c) => {
            expected.push(time(c.time));
            let join = |items: Vec<String>| items.join(" ");
            if c.prepared {
                expected.push(format!("_PREPARED {}: ", c.xid));
            }
            if !c.dropped.is_empty() {
                expected.push(format!("rels: {}", join(c.dropped.iter().map(path).collect())));
            }
            if !c.subxacts.is_empty() {
                let subxacts = c.subxacts.iter().map(|xid| xid.to_string()).collect();
                expected.push(format!("subxacts: {}", join(subxacts)));
            }
            let items = c.dropped_statistics.iter();
            let items: Vec<_> = items.map(|i| format!("{}/{}/{}", i.kind, i.database, i.object)).collect();
            if !items.is_empty() {
                expected.push(format!("dropped stats: {}", join(items)));
            }
        }
        Content::Prepare(p) => {
            expected.push(time(p.time));
            expected.push(format!("gid {}", String::from_utf8_lossy(p.gid)));
        }
        Content::Checkpoint(c) => expected.push(format!(
            "{} redo 0/{:X}; tli {}; prev tli {}; fpw true;",
            if c.shutdown { "CHECKPOINT_SHUTDOWN" } else { "CHECKPOINT_ONLINE" },
            c.copy.redo.0,
            c.copy.timeline,
            c.copy.previous_timeline
        )),
        Content::ParameterChange(p) => expected.push(format!("max_connections={}", p.max_connections)),
        Content::RestorePoint(p) => {
            expected.push(format!("RESTORE_POINT {}", String::from_utf8_lossy(p.name)))
        }
        Content::StorageCreate(s) => expected.push(format!("CREATE {}", path(s.locator))),
        Content::StorageTruncate(s) => {
            expected.push(format!("TRUNCATE {} to {} blocks flags {}", path(s.locator), s.blocks, s.forks))
        }
        Content::MultiInsert { rows, .. } if record.version.number() == 15 => {
            expected.push(format!("{rows} tuples"))
        }
        Content::MultiInsert { rows, .. } => expected.push(format!("ntuples: {rows}")),
        Content::Insert { .. } => expected.push("INSERT".to_owned()),
        Content::Delete { .. } => expected.push("DELETE".to_owned()),
        Content::Update { hot, .. } => expected.push(if hot { "HOT_UPDATE" } else { "UPDATE" }.to_owned()),
        Content::Inplace { .. } => expected.push("INPLACE".to_owned()),
        Content::Switch => expected.push("SWITCH".to_owned()),
        Content::Locks(locks) => expected
            .extend(locks.iter().map(|l| format!("xid {} db {} rel {}", l.xid, l.database, l.relation))),
        Content::RunningTransactions(r) => {
            expected.push(format!("nextXid {}", r.next_xid));
            expected.push(format!("oldestRunningXid {}", r.oldest_running_xid));
        }
        Content::Truncate(t) => {
            let relations: Vec<_> = t.relations.iter().map(|oid| oid.to_string()).collect();
            expected.push(relations.join(if record.version.number() == 15 { " " } else { ", " }));
        }
        Content::DatabaseDrop(d) => expected.push(format!("DROP dir 1663/{}", d.database)),
        Content::DatabaseCreate { database, tablespace } => expected.push(format!("{tablespace}/{database}")),
        Content::Assignment { top_xid, .. } => expected.push(format!("xtop {top_xid}")),
        _ => {}
    }
    expected
}

/// Reads `bytes` in pieces of `piece` and hands every record to `each`.
pub fn read_all(
    wal: &Wal,
    options: ReaderOptions,
    piece: usize,
    mut each: impl FnMut(&Record<'_>),
) -> RecordReader {
    let mut reader = RecordReader::new(options, Start::Anywhere(wal.start));
    for bytes in wal.bytes.chunks(piece) {
        let mut feed = reader.feed(bytes);
        loop {
            match feed.next() {
                Step::Record(record) => each(&record),
                Step::NeedMore => break,
                Step::End(_) => return reader,
            }
        }
    }
    reader
}

fn compare_with_pg_waldump(installation: &Installation, options: &ClusterOptions) {
    let cluster = Cluster::start(installation, options);
    cluster.script("postgres", WORKLOAD);
    cluster.stop();
    let wal = read_wal(&cluster);
    let start = format!("{}", wal.start);
    let mut command = installation.command("pg_waldump");
    command.arg("-p").arg(pg_wal(&cluster)).args(["-t", "1", "-s", &start]);
    // It ends with an error where WAL does.
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().filter_map(parse_line);
    let options = ReaderOptions::new(version(installation), wal.segment_size);

    let mut count = 0;
    let reader = read_all(&wal, options, usize::MAX, |record| {
        count += 1;
        let line = lines.next().unwrap_or_else(|| panic!("a record too many at {}", record.lsn));
        let header = &record.header;
        let ours = (header.rmgr.to_string(), header.total_bytes, header.xid, record.lsn, header.previous);
        let theirs = (line.rmgr.to_owned(), line.total, line.xid, line.lsn, line.previous);
        assert_eq!(ours, theirs);
        for expected in expectations(record) {
            let version = version(installation);
            assert!(
                line.description.contains(&expected),
                "{version}: `{expected}` in `{}`",
                line.description
            );
        }
    });
    assert!(lines.next().is_none() && count > 3000, "{count} records");
    let end = reader.end();
    assert_ne!(end.why, EndReason::NeedMore, "{end}");
    assert_eq!(reader.timeline(), Some(Timeline(1)));

    // However the bytes are cut, the same records come out.
    for piece in [1, 13, 8191, 100_003] {
        let mut again = 0;
        let reader = read_all(&wal, options, piece, |_| again += 1);
        assert_eq!((again, reader.end()), (count, end.clone()), "pieces of {piece}");
    }
    // Wanting less finds the same end.
    let mut fewer = 0;
    let wanted = ReaderOptions {
        wanted: RmgrSet::of(&[Rmgr::TRANSACTION]),
        system_id: Some(wal.system_id),
        ..options
    };
    let reader = read_all(&wal, wanted, 8192, |record| {
        assert_eq!(record.header.rmgr, Rmgr::TRANSACTION);
        fewer += 1;
    });
    assert!(fewer > 20 && fewer < count);
    assert_eq!(reader.end().at, end.at);
    // From any page, the records from there on come out.
    let mut lsns = Vec::new();
    read_all(&wal, options, usize::MAX, |record| lsns.push(record.lsn));
    for offset in (0..end.at.bytes_since(wal.start)).step_by(8192 * 7 + 100) {
        let from = wal.start.advance(offset);
        let mut reader = RecordReader::new(options, Start::Anywhere(from));
        let mut feed = reader.feed(&wal.bytes[offset as usize..]);
        let Step::Record(record) = feed.next() else { continue };
        let page = Lsn(from.0.next_multiple_of(8192));
        assert_eq!(Some(&record.lsn), lsns.iter().find(|lsn| **lsn >= page), "from {from}");
    }
}

#[test]
fn records_are_those_of_pg_waldump() {
    for installation in Installation::all() {
        compare_with_pg_waldump(&installation, &options());
    }
}

#[test]
fn records_are_those_of_pg_waldump_with_small_segments_logical_and_compression() {
    for installation in Installation::all() {
        let small = options().wal_segment_mib(1).set("wal_level", "logical").set("wal_compression", "pglz");
        compare_with_pg_waldump(&installation, &small);
    }
}
