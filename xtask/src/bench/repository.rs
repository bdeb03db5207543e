//! How large repositories become: seven days, compressed to their changes, with a backup each day.
//!
//! Lifeboat twice: a new restore point each day by `advance`, and a full base backup each day. pgBackRest: a full backup,
//! then incremental ones. restic: what `pg_basebackup` writes, each day.

use super::load;
use super::measure::{bytes_below, output, run as measure, say};
use super::peer::Peer;
use super::protected::{Protected, SERVICE, Streaming};
use super::sizes::{GB, Size};
use anyhow::Context;
use lifeboat_testkit::postgres::give_to_server_user;
use std::path::Path;
use std::process::Command;

const SIZE: Size = Size::new(GB, "2");
pub const SETTINGS: &[Size] = &[SIZE];
const DAYS: usize = 7;
/// Of the accounts' pages, what changes in a day; beside it what is inserted.
const PART: f64 = 0.02;
const INSERTS_PER_GB: f64 = 20_000.0;
const TRANSACTIONS: &str = "5000";

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let gigabytes = SIZE.one()?;
    let (protected, peer) = Peer::beside(root)?;
    let cluster = &protected.cluster;
    let bytes = peer.fill(&protected, gigabytes)?;
    // What does not compress, in the measure of the rest.
    cluster.psql("CREATE TABLE hashes (id bigint, noise bytea)");
    let daily = format!("file://{}", protected.path("daily").display());
    measure(&mut protected.lifeboat(&["vault", "init", "--vault", &daily]))?;
    let restic = Restic::new(&protected)?;
    let streaming = Streaming::start(&protected)?;
    let scratch = protected.path("").display().to_string();
    println!("{:.1} GB at first\n", bytes / 1e9);
    println!(
        "| day | database MB | WAL so far MB | Lifeboat, advanced MB | of it WAL | pgBackRest incr MB | of it WAL | restic MB | Lifeboat, full each day MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let begin = protected.written()?;
    for day in 1..=DAYS {
        say(&format!("day {day} of {DAYS}"));
        if day > 1 {
            load::update_pages(&protected, PART)?;
            let rows = (gigabytes * INSERTS_PER_GB).ceil();
            cluster.psql(&format!(
                "INSERT INTO hashes SELECT g, sha512((g * {day})::text::bytea) || sha512((-g * {day})::text::bytea) \
                 FROM generate_series(1, {rows}) g"
            ));
            cluster.pgbench(&["-n", "-c", "4", "-t", TRANSACTIONS]);
        }
        cluster.psql("CHECKPOINT");
        cluster.psql("SELECT pg_switch_wal()");
        protected.until_durable()?;
        measure(&mut peer.command(&["check"]))?;
        match day {
            1 => measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?,
            _ => {
                measure(&mut protected.lifeboat(&["advance", SERVICE, "--no-verify", "--scratch", &scratch]))?
            }
        };
        let kind = if day == 1 { "--type=full" } else { "--type=incr" };
        measure(&mut peer.command(&[kind, "backup"]))?;
        restic.back_up(&protected)?;
        measure(&mut protected.lifeboat(&["backup", "run", SERVICE, "--vault", &daily]))?;
        let megabytes = |place: &Path| bytes_below(place) as f64 / 1e6;
        let [backups, archive] = peer.stored_bytes().map(|bytes| bytes as f64 / 1e6);
        println!(
            "| {day} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {archive:.1} | {:.1} | {:.1} |",
            protected.database_bytes()? as f64 / 1e6,
            (protected.written()? - begin) as f64 / 1e6,
            megabytes(&protected.vault()),
            megabytes(&protected.vault().join("services").join(SERVICE).join("wal")),
            backups + archive,
            megabytes(&restic.repository),
            megabytes(&protected.path("daily")),
        );
    }
    drop(streaming);
    println!(
        "\nLifeboat, advanced, and pgBackRest have all WAL, so every moment; the other two the seven moments alone."
    );
    Ok(())
}

struct Restic {
    repository: std::path::PathBuf,
}

impl Restic {
    /// An empty repository, compressed.
    fn new(protected: &Protected) -> anyhow::Result<Self> {
        let made = Self { repository: protected.path("restic") };
        output(&mut made.command(&["init", "--repository-version", "2"]))
            .context("make restic's repository")?;
        Ok(made)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("restic");
        command.arg("--no-cache").args(arguments).arg("--repo").arg(&self.repository);
        command.env("RESTIC_PASSWORD", "correct horse");
        command
    }

    /// The files of a `pg_basebackup`, under the same name each day.
    fn back_up(&self, protected: &Protected) -> anyhow::Result<()> {
        let parent = protected.path("basebackup");
        std::fs::create_dir_all(&parent)?;
        give_to_server_user(&parent);
        let files = parent.join("files");
        let mut copy = protected.cluster.command("pg_basebackup");
        measure(copy.args(["--checkpoint=fast", "-X", "fetch", "-D"]).arg(&files))?;
        let files_text = files.display().to_string();
        measure(&mut self.command(&["backup", "--compression", "auto", &files_text]))?;
        std::fs::remove_dir_all(&parent).context("remove the base backup")
    }
}
