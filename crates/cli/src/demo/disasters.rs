//! The two days that nobody wants.

use super::ledger::{Workload, compare};
use super::production::{SLOT, Stream, conninfo};
use super::recovery::{Recovered, recover};
use super::report::{Disaster, Stopwatch};
use super::{CANARY_EVERY, Production, QUIET_TIME, RPO, RTO, Stage};
use anyhow::{Context, anyhow};
use lifeboat_postgres::client::{Connection, Purpose, SlotOptions};
use lifeboat_postgres::target::Target;
use std::time::Duration;

/// What a comparison is about, besides the rows.
struct Found {
    target: Target,
    stopwatch: Stopwatch,
    recovered: Recovered,
    /// Notes acknowledged before this must all be there.
    moment: Duration,
    name: &'static str,
}

impl Stage {
    /// Somebody forgets a WHERE while the bank is busy.
    pub(super) async fn corruption(&self, production: Production) -> anyhow::Result<(Disaster, Recovered)> {
        let workload = Workload::start(&production.info, &self.notes, &self.clock).await?;
        tokio::time::sleep(QUIET_TIME).await;
        let mut somebody = Connection::connect(&production.info, Purpose::Sql).await?;
        let moment = self.now();
        somebody.query("DELETE FROM transfer").await.context("delete everything")?;
        let mut stopwatch = Stopwatch::begin(self.now());
        self.tell("somebody ran DELETE FROM transfer; it is committed, and the bank writes on");

        self.watch_canary(&production).await?;
        stopwatch.lap("detected", self.now());
        workload.stop().await;
        let given_up = self.notes.acknowledged();
        self.tell(format!(
            "the canary query misses transfers: writes stopped, {given_up} acknowledged so far"
        ));
        production.stream.caught_up(&production.info).await?;
        let target = self.find_mistake().await?;
        // Q2: the old server is fenced before another is opened.
        production.stream.end().await?;
        production.server.stop().await.context("stop the damaged server")?;
        stopwatch.lap("decided", self.now());

        let recovered = recover(self, &target, "recovered-1", &mut stopwatch).await?;
        let found = Found { target, stopwatch, recovered, moment, name: "corruption" };
        self.verify(found).await
    }

    /// The machine burns: processes, data directory, everything.
    pub(super) async fn host_loss(&self, production: Production) -> anyhow::Result<(Disaster, Recovered)> {
        let _workload = Workload::start(&production.info, &self.notes, &self.clock).await?;
        tokio::time::sleep(QUIET_TIME).await;
        let Production { server, stream, data, .. } = production;
        server.kill9();
        let moment = self.now();
        let mut stopwatch = Stopwatch::begin(moment);
        std::fs::remove_dir_all(&data).context("erase the data directory")?;
        self.tell("kill -9, and the data directory is erased");
        // The clients see it first: their connections are gone.
        self.until_refused(&data).await;
        stopwatch.lap("detected", self.now());
        stream.end().await?;
        let target = Target::Latest;
        stopwatch.lap("decided", self.now());
        let recovered = recover(self, &target, "recovered-2", &mut stopwatch).await?;
        // What was acknowledged right before the end may be lost; how much is the measured RPO.
        let found = Found { target, stopwatch, recovered, moment: Duration::ZERO, name: "host loss" };
        self.verify(found).await
    }

    /// Compares the recovered database with the notes, row for row.
    async fn verify(&self, found: Found) -> anyhow::Result<(Disaster, Recovered)> {
        let Found { target, mut stopwatch, mut recovered, moment, name } = found;
        let mut connection = recovered.server.answering().await?;
        let (comparison, present) = compare(&mut connection, &self.notes, moment).await?;
        let checksums = checksum_failures(&mut connection).await?;
        stopwatch.lap("verified", self.now());
        let (segments, rto_seconds) = stopwatch.end();
        let full_restore_seconds = recovered.compared(self).await?;
        let rpo_seconds = comparison.lost_time.as_secs_f64();
        let checked = vec![
            format!(
                "{} transfers are as noted, row for row; {} lost, of which {} from before the moment; {} wrong",
                comparison.equal, comparison.lost, comparison.lost_before, comparison.wrong
            ),
            format!(
                "the balances of {} accounts follow from them; {} wrong",
                super::ledger::ACCOUNTS,
                comparison.wrong_balances
            ),
            format!("every page of every table was read; {checksums} failed its checksum"),
        ];
        let holds = comparison.holds()
            && checksums == 0
            && rto_seconds <= RTO.as_secs_f64()
            && rpo_seconds <= RPO.as_secs_f64();
        let disaster = Disaster {
            name,
            target: format!("{target} → {}", recovered.resolved),
            segments,
            full_restore_seconds,
            rto_seconds,
            rto_objective_seconds: RTO.as_secs_f64(),
            rpo_seconds,
            rpo_objective_seconds: RPO.as_secs_f64(),
            lost_transactions: comparison.lost,
            comparison,
            checked,
            holds,
        };
        self.notes.settle(&present);
        Ok((disaster, recovered))
    }

    /// Asks every so often whether the ledger still has what was acknowledged.
    async fn watch_canary(&self, production: &Production) -> anyhow::Result<()> {
        let mut connection = Connection::connect(&production.info, Purpose::Sql).await?;
        loop {
            let expected = self.notes.acknowledged();
            let row = connection.query_one("SELECT count(*) AS transfers FROM transfer").await?;
            if row.parse::<u64>("transfers")? < expected {
                return Ok(());
            }
            tokio::time::sleep(CANARY_EVERY).await;
        }
    }

    /// Searches the archived WAL for what destroyed the data.
    async fn find_mistake(&self) -> anyhow::Result<Target> {
        let suspects = super::recovery::search(self).await?;
        let suspect = suspects.into_iter().max_by_key(|suspect| suspect.rows);
        let suspect = suspect.ok_or_else(|| anyhow!("the search found nothing that changed many rows"))?;
        self.tell(format!("wal search: {}", suspect.what));
        Ok(suspect.target)
    }

    async fn until_refused(&self, data: &std::path::Path) {
        while data.join(".s.PGSQL.5432").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes the recovered server production, and protects it.
    pub(super) async fn reprotect(&self, recovered: Recovered) -> anyhow::Result<Production> {
        let info = conninfo(&recovered.server)?;
        // A new server has no slot yet. Made before it takes work, and before it is restarted, which lets go of old WAL:
        // so none can be missed.
        let mut connection = Connection::connect(&info, Purpose::Replication).await?;
        let options = SlotOptions { temporary: false, reserve_wal: true };
        connection.create_physical_slot(SLOT, options).await.context("make the slot")?;
        drop(connection);
        let stream = Stream::start(&self.vault, &self.service, &info, self.alarms());
        stream.caught_up(&info).await?;
        self.tell("the recovered server is production now, and its WAL flows into the vault on a timeline of its own");
        let Recovered { server, directory, .. } = recovered.made_plain(self).await?;
        stream.caught_up(&info).await?;
        Ok(Production { server, info, stream, data: directory })
    }
}

/// Reads every table whole: with checksums on, a damaged page would be an error.
async fn checksum_failures(connection: &mut Connection) -> anyhow::Result<u64> {
    for table in ["account", "transfer", "history"] {
        connection
            .query(&format!("SELECT count(*), min(ctid) FROM {table}"))
            .await
            .context("read a table whole")?;
    }
    let sql = "SELECT coalesce(sum(checksum_failures), 0)::bigint AS failures FROM pg_stat_database";
    Ok(connection.query_one(sql).await?.parse("failures")?)
}
