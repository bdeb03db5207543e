//! A bank: accounts, transfers between them, and notes outside the database of what it acknowledged.
//!
//! # Invariants
//! - **K1** A transfer is noted as begun before it is sent, and as acknowledged only after its commit returned.
//! - **K2** No money is made: the sum of the balances never changes.

use anyhow::Context;
use lifeboat_base::Clock;
use lifeboat_postgres::client::{Connection, Conninfo, Purpose};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Accounts of the bank.
pub const ACCOUNTS: u64 = 1_000;
/// On each of them at first.
const OPENING_BALANCE: i64 = 10_000;
/// Clients that transfer money side by side.
const CLIENTS: usize = 4;
/// Between two transfers of a client: a busy shop, not a benchmark.
const THINK: Duration = Duration::from_millis(2);
/// History that is there before the workload begins, so that a backup has something to hold.
const HISTORY_ROWS: u64 = 200_000;

/// One transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    from: u64,
    to: u64,
    amount: i64,
}

/// What is known of a transfer outside the database.
#[derive(Debug, Clone, Copy)]
struct Note {
    transfer: Transfer,
    /// When its commit returned; `None` while that is unknown.
    acknowledged: Option<Duration>,
}

/// The book kept outside.
#[derive(Debug, Default)]
pub struct Notes {
    notes: Mutex<BTreeMap<u64, Note>>,
    next: AtomicU64,
}

impl Notes {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, transfer: Transfer) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().insert(id, Note { transfer, acknowledged: None });
        id
    }

    fn acknowledge(&self, id: u64, at: Duration) {
        if let Some(note) = self.lock().get_mut(&id) {
            note.acknowledged = Some(at);
        }
    }

    /// Transfers whose commit returned.
    pub fn acknowledged(&self) -> u64 {
        self.lock().values().filter(|note| note.acknowledged.is_some()).count() as u64
    }

    /// Forgets what a recovery has given up, as the bank does after it told its customers.
    pub fn settle(&self, present: &BTreeMap<u64, Transfer>) {
        self.lock().retain(|id, _| present.contains_key(id));
        for note in self.lock().values_mut() {
            // What the database has was committed, whether or not the answer arrived.
            note.acknowledged.get_or_insert(Duration::ZERO);
        }
    }
}

/// What a comparison of the database with the notes found.
#[derive(Debug, Clone, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Transfers that are in both, equal in every column.
    pub equal: u64,
    /// Acknowledged, and not in the database.
    pub lost: u64,
    /// Of those lost, acknowledged before the moment that was recovered to: none is allowed.
    pub lost_before: u64,
    /// In the database, and never sent, or with other values.
    pub wrong: u64,
    /// In the database, without an acknowledgement: the answer was on its way.
    pub unanswered: u64,
    /// Accounts whose balance is not what their transfers make it.
    pub wrong_balances: u64,
    /// How long before the last acknowledgement the last one was that survived.
    #[serde(skip)]
    pub lost_time: Duration,
}

impl Comparison {
    /// Whether nothing contradicts the notes.
    pub fn holds(&self) -> bool {
        self.lost_before == 0 && self.wrong == 0 && self.wrong_balances == 0 && self.equal > 0
    }
}

/// Creates the bank.
pub async fn open_bank(connection: &mut Connection) -> anyhow::Result<()> {
    let sql = format!(
        "CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL);
         CREATE TABLE transfer (id bigint PRIMARY KEY, from_account bigint NOT NULL, to_account bigint NOT NULL, \
             amount bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
         CREATE TABLE history (id bigint PRIMARY KEY, note text NOT NULL);
         INSERT INTO account SELECT g, {OPENING_BALANCE} FROM generate_series(1, {ACCOUNTS}) g;
         INSERT INTO history SELECT g, md5(g::text) || md5((g * 7)::text) FROM generate_series(1, {HISTORY_ROWS}) g;"
    );
    connection.query_all(&sql).await.context("create the bank's ledger")?;
    Ok(())
}

/// Clients that transfer money until they are stopped, or the database is gone.
pub struct Workload {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Workload {
    /// Starts the clients.
    pub async fn start(info: &Conninfo, notes: &Arc<Notes>, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let connection =
                Connection::connect(info, Purpose::Sql).await.context("connect a client of the bank")?;
            let (notes, clock, stop) = (notes.clone(), clock.clone(), stop.clone());
            clients.push(tokio::spawn(client(number as u64, connection, notes, clock, stop)));
        }
        Ok(Self { stop, clients })
    }

    /// Stops writing and waits for the last answers.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            // A client whose connection broke has ended by itself.
            let _ = client.await;
        }
    }
}

async fn client(
    number: u64,
    mut connection: Connection,
    notes: Arc<Notes>,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
) {
    // A sequence of its own for each client; nothing here needs to be unpredictable.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number + 1);
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    while !stop.load(Ordering::Relaxed) {
        let from = 1 + random(ACCOUNTS);
        let to = 1 + (from + random(ACCOUNTS - 1)) % ACCOUNTS;
        let transfer = Transfer { from, to, amount: 1 + random(50) as i64 };
        let id = notes.begin(transfer);
        if connection.query_all(&transfer.sql(id)).await.is_err() {
            return;
        }
        notes.acknowledge(id, clock.monotonic());
        tokio::time::sleep(THINK).await;
    }
}

impl Transfer {
    fn sql(&self, id: u64) -> String {
        let Self { from, to, amount } = self;
        // The lower account first, or two clients could wait for each other.
        let mut updates = [(from, -amount), (to, *amount)];
        updates.sort_unstable();
        let updates = updates.map(|(account, by)| {
            format!("UPDATE account SET balance = balance + {by} WHERE id = {account};")
        });
        format!(
            "BEGIN; {} {} INSERT INTO transfer VALUES ({id}, {from}, {to}, {amount}); COMMIT",
            updates[0], updates[1]
        )
    }
}

/// What the database holds, compared with the notes, row for row.
///
/// Notes acknowledged before `moment` must all be there.
pub async fn compare(
    connection: &mut Connection,
    notes: &Notes,
    moment: Duration,
) -> anyhow::Result<(Comparison, BTreeMap<u64, Transfer>)> {
    let present = transfers(connection).await?;
    let mut found = Comparison::default();
    {
        let notes = notes.lock();
        for (id, transfer) in &present {
            match notes.get(id) {
                Some(note) if note.transfer != *transfer => found.wrong += 1,
                Some(note) => {
                    found.equal += 1;
                    found.unanswered += u64::from(note.acknowledged.is_none());
                }
                None => found.wrong += 1,
            }
        }
        let lost = notes.iter().filter(|(id, _)| !present.contains_key(id));
        let lost: Vec<Duration> = lost.filter_map(|(_, note)| note.acknowledged).collect();
        found.lost = lost.len() as u64;
        found.lost_before = lost.iter().filter(|at| **at < moment).count() as u64;
        let last = notes.values().filter_map(|note| note.acknowledged).max().unwrap_or_default();
        let first_lost = lost.iter().min().copied().unwrap_or(last);
        found.lost_time = last.saturating_sub(first_lost);
    }
    found.wrong_balances = wrong_balances(connection, &present).await?;
    Ok((found, present))
}

async fn transfers(connection: &mut Connection) -> anyhow::Result<BTreeMap<u64, Transfer>> {
    let sql = "SELECT id, from_account, to_account, amount FROM transfer";
    let rows = connection.query(sql).await.context("read the transfers")?;
    let row = |row: &lifeboat_postgres::client::Row| -> anyhow::Result<(u64, Transfer)> {
        let transfer = Transfer {
            from: row.parse("from_account")?,
            to: row.parse("to_account")?,
            amount: row.parse("amount")?,
        };
        Ok((row.parse("id")?, transfer))
    };
    rows.iter().map(row).collect()
}

async fn wrong_balances(
    connection: &mut Connection,
    present: &BTreeMap<u64, Transfer>,
) -> anyhow::Result<u64> {
    let mut expected: BTreeMap<u64, i64> = (1..=ACCOUNTS).map(|id| (id, OPENING_BALANCE)).collect();
    for transfer in present.values() {
        *expected.entry(transfer.from).or_default() -= transfer.amount;
        *expected.entry(transfer.to).or_default() += transfer.amount;
    }
    let rows = connection.query("SELECT id, balance FROM account").await.context("read the accounts")?;
    let mut wrong = 0;
    for row in &rows {
        let (id, balance): (u64, i64) = (row.parse("id")?, row.parse("balance")?);
        wrong += u64::from(expected.remove(&id) != Some(balance));
    }
    Ok(wrong + expected.len() as u64)
}
