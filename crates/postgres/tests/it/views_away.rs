//! Views whose vault goes away or is damaged, and what is durable when: looked at through the kernel.

use crate::backup_fixture::Bench;
use lifeboat_base::ManualClock;
use lifeboat_pgformat::{PAGE_SIZE_BYTES, RelationFile};
use lifeboat_postgres::restore::Stop;
use lifeboat_postgres::server::{self, RECOVERED_LOG, Server, StartOptions};
use lifeboat_postgres::view::{self, AWAY_LIMIT, Happened, Keep, Listener, Place, TOLD_EVERY, View};
use lifeboat_testkit::faulty::{Fault, FaultPlan, OperationKind, Select};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use lifeboat_vault::keys::Unlock;
use lifeboat_vault::layer::LayerReader;
use lifeboat_vault::point::RestorePoint;
use lifeboat_vault::{Copies, Vault, VaultCopy};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Pages that are waited for: more than there are threads anywhere, and than the kernel has under way by itself.
const WAITING: usize = 640;
const FRAME_BYTES: u64 = 128 << 10;
const FRAME_PAGES: usize = 16;

/// A view of a server with one big table, its vault in two copies.
pub struct Seen {
    bench: Bench,
    vault: Vault,
    clock: Arc<ManualClock>,
    point: RestorePoint,
    pub view: View,
    events: Arc<Mutex<Vec<Happened>>>,
    pub into: PathBuf,
    /// The big table below the data directory, as it was.
    pub path: String,
    expected: Vec<u8>,
}

impl Seen {
    pub async fn new(installation: &Installation) -> Self {
        let bench = Bench::new(2).await;
        let cluster = Cluster::start(installation, &ClusterOptions::new());
        cluster.psql("CREATE TABLE big AS SELECT g AS id, md5(g::text) || repeat('x', 900) AS t FROM generate_series(1, 8000) g");
        cluster.psql("VACUUM FREEZE big");
        cluster.psql("CHECKPOINT");
        let path = cluster.psql("SELECT pg_relation_filepath('big')");
        let expected = std::fs::read(cluster.data_directory().join(&path)).unwrap();
        assert!(
            expected.len() as u64 > FRAME_BYTES * (WAITING / FRAME_PAGES + 10) as u64,
            "{}",
            expected.len()
        );
        let point = bench.backup(&cluster, true).await.unwrap();
        let database = cluster.data_directory().join(&path).parent().unwrap().to_owned();
        // All the WAL that a recovery needs, too.
        for (from, to) in [(database, "plain"), (cluster.data_directory().join("pg_wal"), "wal")] {
            let copied = Command::new("cp").arg("-a").arg(from).arg(bench.scratch.path().join(to)).status();
            assert!(copied.unwrap().success());
        }
        drop(cluster);
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 1));
        let copy = |number: usize| {
            VaultCopy::new(format!("copy{number}"), None, Arc::new(bench.stores[number].clone()))
        };
        let unlock = Unlock::Passphrase("a long passphrase".to_owned().into());
        let vault =
            Vault::open(Copies::new(vec![copy(0), copy(1)], 1), &unlock, clock.clone()).await.unwrap();
        let options = bench.restore_options(&point, "seen");
        let plan = view::plan(&options).await.unwrap();
        view::create(&options, plan).await.unwrap();
        let events: Arc<Mutex<Vec<Happened>>> = Arc::default();
        let into = options.into;
        let view = show(&vault, &into, &events).await;
        Self { bench, vault, clock, point, view, events, into, path, expected }
    }

    /// As after a kill of the process behind the view.
    pub async fn shown_again(self) -> Self {
        let Self { bench, vault, clock, point, view, events, into, path, expected } = self;
        drop(view);
        let view = show(&vault, &into, &events).await;
        Self { bench, vault, clock, point, view, events, into, path, expected }
    }

    /// What the directory of the big table held, in a directory that is no view.
    pub fn plain_copy(&self) -> PathBuf {
        self.bench.scratch.path().join("plain")
    }

    /// The same fault for every read of every copy, or of one.
    fn plan(&self, copies: &[usize], fault: Option<Fault>) {
        for number in copies {
            let plan = match fault {
                Some(fault) => FaultPlan::none().on(Select::kind(OperationKind::Get).named("pack-"), fault),
                None => FaultPlan::none(),
            };
            self.bench.stores[*number].set_plan(plan);
        }
    }

    /// Reads a page of the frame as a server would, past what the kernel has kept.
    fn read(&self, frame: usize) -> std::io::Result<()> {
        read(&self.into.join(&self.path), frame * FRAME_PAGES, &self.expected)
    }

    fn heard(&self, is_it: impl Fn(&Happened) -> bool) -> bool {
        self.events.lock().unwrap().iter().any(is_it)
    }

    fn wait_for(&self, is_it: impl Fn(&Happened) -> bool) {
        while !self.heard(&is_it) {
            std::thread::yield_now();
        }
    }

    pub fn home(&self) -> PathBuf {
        Place::of(&self.into).home
    }
}

async fn show(vault: &Vault, into: &Path, events: &Arc<Mutex<Vec<Happened>>>) -> View {
    let told = events.clone();
    let listener: Listener = Arc::new(move |happened| told.lock().unwrap().push(happened));
    View::show(vault, into, Keep::All, listener).await.unwrap()
}

fn read(path: &Path, number: usize, expected: &[u8]) -> std::io::Result<()> {
    let file = File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
    let mut page = vec![0; PAGE_SIZE_BYTES];
    let at = (number * PAGE_SIZE_BYTES) as u64;
    file.read_exact_at(&mut page, at)?;
    // Nothing else is ever served: neither zeros nor what is damaged.
    assert!(page == expected[at as usize..][..PAGE_SIZE_BYTES], "page {number} is not what it was");
    Ok(())
}

fn is_away(happened: &Happened) -> bool {
    matches!(happened, Happened::Away(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_g1_while_the_vault_is_away_what_is_here_goes_on_and_the_rest_waits_then_fails_then_goes_on() {
    let seen = Seen::new(&Installation::newest()).await;
    seen.read(0).unwrap();
    // Another copy is as good.
    seen.plan(&[0], Some(Fault::Fail));
    seen.read(1).unwrap();
    assert!(seen.events.lock().unwrap().is_empty(), "{:?}", seen.events);

    // Away: everybody who needs it waits, and nobody else.
    seen.plan(&[0, 1], Some(Fault::Fail));
    let (path, expected) = (seen.into.join(&seen.path), Arc::new(seen.expected.clone()));
    let wait = |pages: std::ops::Range<usize>| -> Vec<_> {
        let start = |page| {
            let (path, expected) = (path.clone(), expected.clone());
            std::thread::spawn(move || read(&path, page, &expected))
        };
        pages.map(start).collect()
    };
    let waiting = wait(2 * FRAME_PAGES..2 * FRAME_PAGES + WAITING);
    seen.wait_for(is_away);
    for _ in 0..20 {
        seen.read(0).unwrap();
    }
    let here = OpenOptions::new().write(true).open(seen.into.join(&seen.path)).unwrap();
    here.write_all_at(&seen.expected[..PAGE_SIZE_BYTES], 0).unwrap();
    here.sync_data().unwrap();
    drop(here);
    std::fs::write(seen.into.join("made"), "while it was away").unwrap();
    assert!(waiting.iter().all(|thread| !thread.is_finished()), "what cannot be had yet is waited for");

    // Back in time, all of them get what they asked for.
    seen.plan(&[0, 1], None);
    for thread in waiting {
        thread.join().unwrap().unwrap();
    }
    assert!(seen.heard(|happened| *happened == Happened::Back));

    // Away for longer, it is an error; whoever asks later does not wait as long again.
    seen.events.lock().unwrap().clear();
    // One that comes and goes is not told of each time.
    seen.clock.advance(TOLD_EVERY);
    let last = seen.expected.len() / FRAME_BYTES as usize - 1;
    seen.plan(&[0, 1], Some(Fault::Fail));
    let waiting = wait(last * FRAME_PAGES..last * FRAME_PAGES + 1);
    seen.wait_for(is_away);
    seen.clock.advance(AWAY_LIMIT + Duration::from_secs(1));
    for thread in waiting {
        let error = thread.join().unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{error}");
    }
    seen.read(last).unwrap_err();
    seen.read(0).unwrap();
    assert!(!seen.heard(|happened| *happened == Happened::Back));
    seen.plan(&[0, 1], None);
    seen.read(last).unwrap();
    assert!(seen.heard(|happened| *happened == Happened::Back));

    // Whoever fetches the rest waits, too, and goes on.
    seen.events.lock().unwrap().clear();
    seen.clock.advance(TOLD_EVERY);
    seen.plan(&[0, 1], Some(Fault::Fail));
    let back = async {
        seen.wait_for(is_away);
        assert!(seen.view.status().is_hydrating);
        seen.plan(&[0, 1], None);
    };
    let (hydrated, ()) = tokio::join!(seen.view.hydrate(), back);
    hydrated.unwrap();
    assert!(seen.view.status().is_whole && seen.heard(|happened| *happened == Happened::Back));
    seen.view.hide().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_damage_is_healed_from_another_copy_and_else_told_and_never_served() {
    let seen = Seen::new(&Installation::newest()).await;
    seen.plan(&[0], Some(Fault::FlipBit));
    (0..4).for_each(|frame| seen.read(frame).unwrap());
    seen.plan(&[0], Some(Fault::TruncateBody));
    (4..8).for_each(|frame| seen.read(frame).unwrap());
    assert!(seen.events.lock().unwrap().is_empty(), "{:?}", seen.events);

    for (frame, fault) in [(8, Fault::FlipBit), (9, Fault::TruncateBody)] {
        seen.plan(&[0, 1], Some(fault));
        seen.read(frame).unwrap_err();
        let at_frame = |happened: &Happened| {
            matches!(happened, Happened::Damaged { path, at, .. }
                if *path == seen.path && *at == frame as u64 * FRAME_BYTES)
        };
        assert!(seen.heard(at_frame), "{fault:?}: {:?}", seen.events);
        if fault == Fault::TruncateBody {
            // What lacks this is not whole, and says so.
            seen.view.hydrate().await.unwrap_err();
            assert!(!seen.view.status().is_whole && seen.view.finish().is_err());
        }
        seen.read(frame).unwrap_err();
        // Once: whoever cannot read it tries again and again.
        let told = seen.events.lock().unwrap().iter().filter(|happened| at_frame(happened)).count();
        assert_eq!(told, 1, "{fault:?}: {:?}", seen.events);
        seen.plan(&[1], None);
        seen.read(frame).unwrap();
    }
    seen.plan(&[0, 1], None);
    seen.view.hydrate().await.unwrap();
    for frame in 0..seen.expected.len() / FRAME_BYTES as usize {
        seen.read(frame).unwrap();
    }
    assert!(seen.view.status().is_whole);
    seen.view.finish().unwrap();
    assert!(std::fs::read(seen.into.join(&seen.path)).unwrap() == seen.expected);
}

/// Whether the record says that the first page of a file is durably the overlay's own.
async fn is_on_record(seen: &Seen, path: &str) -> bool {
    let reader = LayerReader::open(&seen.bench.vault, &seen.point.service, &seen.point.layers[0]).await;
    let reader = reader.unwrap();
    let mut relations = reader.index().files.iter().filter(|file| RelationFile::parse(&file.path).is_some());
    let number = relations.position(|file| file.path == path).unwrap() as u32;
    let record = std::fs::read(seen.home().join("pages")).unwrap();
    let word = |entry: &[u8], at: usize| u32::from_le_bytes(entry[at * 4..][..4].try_into().unwrap());
    record.chunks_exact(16).any(|entry| word(entry, 0) == number && word(entry, 1) == 0 && word(entry, 2) > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_what_was_written_is_durable_before_a_server_starts_or_starts_anew() {
    let seen = Seen::new(&Installation::newest()).await;
    let write = |path: &str| {
        let file = OpenOptions::new().write(true).open(seen.into.join(path)).unwrap();
        file.write_all_at(&[7; PAGE_SIZE_BYTES], 0).unwrap();
    };
    let others = std::fs::read_dir(seen.into.join("base/4")).unwrap().flatten();
    let others = others.filter(|entry| entry.metadata().unwrap().len() > 0);
    let others = others.map(|entry| format!("base/4/{}", entry.file_name().to_str().unwrap()));
    let others: Vec<_> = others.filter(|path| RelationFile::parse(path).is_some()).collect();
    let mut others = others.into_iter();
    let mut another = || others.next().unwrap();
    // Made, then given new shared memory, then with all said anew: each is a start.
    let lines = "4711\n/seen\n1767225600\n5432\n/seen\n\n";
    let texts =
        [lines.to_owned(), format!("{lines}  1 11\nready   \n"), format!("{lines}  1 12\nready   \n")];
    let pid_file = seen.into.join("postmaster.pid");
    for text in &texts {
        let path = another();
        write(&path);
        assert!(!is_on_record(&seen, &path).await);
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&pid_file).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        assert!(is_on_record(&seen, &path).await, "{text}");
    }
    // How far it is means nothing for what is durable.
    let path = another();
    write(&path);
    OpenOptions::new().write(true).open(&pid_file).unwrap().write_all_at(b"4711", 0).unwrap();
    assert!(is_on_record(&seen, &path).await, "half a file says nothing");
    let path = another();
    write(&path);
    std::fs::remove_file(&pid_file).unwrap();
    assert!(!is_on_record(&seen, &path).await);
    std::fs::write(&pid_file, "").unwrap();
    assert!(is_on_record(&seen, &path).await);
    std::fs::remove_file(&pid_file).unwrap();
    seen.view.hide().unwrap();
}

/// Ends one process of a server as a crash would, and returns when the server answers again.
async fn crash(server: &mut Server) {
    let mut connection = server.answering().await.unwrap();
    let row =
        connection.query_one("SELECT pg_postmaster_start_time()::text, pg_backend_pid()").await.unwrap();
    let pid = row.at(1).unwrap().parse().ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    // Until the postmaster has seen it, it lets others in.
    let log = server.directory().join(RECOVERED_LOG);
    while !std::fs::read_to_string(&log).unwrap().contains("reinitializing") {
        std::thread::yield_now();
    }
    server.answering().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_every_version_that_crashes_and_starts_anew_by_itself_finds_all_durable() {
    for installation in Installation::all() {
        let seen = Seen::new(&installation).await;
        let start = StartOptions {
            directory: seen.into.clone(),
            installation: server::Installation {
                bin_dir: installation.bin_dir.clone(),
                major: installation.major,
            },
            account: server::server_account().unwrap(),
            port: 5432,
            users: vec!["postgres".to_owned()],
        };
        let mut server = Server::start(&start).unwrap();
        server.recovered(Stop { lsn: seen.point.stop, inclusive: false }, &|_| ()).await.unwrap();
        server.promote().await.unwrap();
        // As an eviction of a page would be: nobody asked for a sync.
        let path = seen.path.clone();
        assert!(!is_on_record(&seen, &path).await);
        let file = OpenOptions::new().write(true).open(seen.into.join(&path)).unwrap();
        file.write_all_at(&seen.expected[..PAGE_SIZE_BYTES], 0).unwrap();
        drop(file);
        assert!(!is_on_record(&seen, &path).await, "nobody synced it");
        crash(&mut server).await;
        assert!(is_on_record(&seen, &path).await, "PostgreSQL {}", installation.major);
        server.stop().await.unwrap();
        seen.view.hide().unwrap();
    }
}
