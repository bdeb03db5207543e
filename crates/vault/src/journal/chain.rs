//! The writing end of a chain.

use super::error::{JournalError, read_error};
use super::read::number_in;
use super::record::{Fault, FaultKind, Head, Record, parse, sha256, to_json};
use super::{RECORD_LIMIT_BYTES, Scope};
use crate::lease::Epoch;
use crate::{Copies, Created, Vault, names, seal};
use lifeboat_base::RandomId;
use std::time::Duration;

/// Tries of one append while the home does not answer; afterwards the caller decides.
const SILENT_TRIES: u32 = 3;
/// Before the second try; twice that before the third.
const SILENT_PAUSE: Duration = Duration::from_millis(100);
/// Numbers that a shared append may find taken by others.
pub(super) const SHARED_TRIES: usize = 64;
/// How long a copy that is not the home may take to tell how far it knows a chain.
const MIRROR_LIMIT: Duration = Duration::from_secs(5);

/// What to do when the number is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// J1.
    Stop,
    /// The chain has many writers.
    Renumber,
    /// The lease was taken anew: who wrote under an older epoch yields, whoever has a later one wins.
    Outrank,
}

/// Appends an event to a chain that others write too.
///
/// # Errors
/// [`JournalError`], but never [`JournalError::LostChain`].
pub async fn append_shared(
    vault: &Vault,
    scope: &Scope,
    actor: &str,
    kind: &str,
    data: serde_json::Value,
) -> Result<Record, JournalError> {
    Chain::open(vault, scope, actor).await?.append_shared(kind, data).await
}

/// The writing end of one chain.
#[derive(Debug)]
pub struct Chain {
    vault: Vault,
    scope: Scope,
    actor: String,
    lease: Option<Epoch>,
    head: Head,
    /// Being written, perhaps written (J2). Set before the first byte leaves, so that a caller that stops
    /// waiting loses nothing.
    pending: Option<(Record, Taken)>,
    /// Who took the chain; from then on nothing is written.
    lost: Option<Record>,
}

impl Chain {
    /// The chain of `scope`, to be continued by `actor` (`user@host, pid`).
    ///
    /// # Errors
    /// [`JournalError`], when its end is not proven (J4) or its last record not whole.
    pub async fn open(vault: &Vault, scope: &Scope, actor: &str) -> Result<Self, JournalError> {
        let (vault, scope, actor) = (vault.clone(), scope.clone(), actor.to_owned());
        let mut chain =
            Self { vault, scope, actor, lease: None, head: Head::none(), pending: None, lost: None };
        chain.find_head().await?;
        Ok(chain)
    }

    /// Where it ends, as far as we know.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What it is for.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The epoch that the records to come name.
    pub fn set_lease(&mut self, epoch: Option<Epoch>) {
        self.lease = epoch;
    }

    /// Appends an event as the only writer of this chain.
    ///
    /// # Errors
    /// [`JournalError::LostChain`] when another writes it, now and ever after; [`JournalError::Unknown`]
    /// when the home is silent: call [`Chain::settle`], not `append` again with the same event.
    pub async fn append(&mut self, kind: &str, data: serde_json::Value) -> Result<Record, JournalError> {
        self.write(kind, data, Taken::Stop).await
    }

    /// Appends the first event of a newly taken lease: from then on whoever held it before meets another's
    /// record at his number.
    ///
    /// # Errors
    /// As [`Chain::append`]; `LostChain` only when a later epoch wrote already.
    pub(crate) async fn append_taken(
        &mut self,
        kind: &str,
        data: serde_json::Value,
    ) -> Result<Record, JournalError> {
        self.write(kind, data, Taken::Outrank).await
    }

    /// Appends an event to a chain that others write too: a taken number only means the next one.
    ///
    /// # Errors
    /// [`JournalError::Contended`], and as [`Chain::append`], but never `LostChain`.
    pub async fn append_shared(
        &mut self,
        kind: &str,
        data: serde_json::Value,
    ) -> Result<Record, JournalError> {
        self.write(kind, data, Taken::Renumber).await
    }

    /// Finds out whether the event of an append that ended in [`JournalError::Unknown`] is written, and
    /// writes it if not. `None` if nothing was open.
    ///
    /// # Errors
    /// As [`Chain::append`].
    pub async fn settle(&mut self) -> Result<Option<Record>, JournalError> {
        match self.pending {
            Some(_) => self.place().await.map(Some),
            None => Ok(None),
        }
    }

    async fn write(
        &mut self,
        kind: &str,
        data: serde_json::Value,
        taken: Taken,
    ) -> Result<Record, JournalError> {
        if let Some(by) = &self.lost {
            return Err(self.lost_to(by));
        }
        if self.pending.is_some() {
            self.place().await?;
        }
        let clock = self.vault.clock();
        let record = Record {
            number: self.head.number + 1,
            previous: self.head.hash.clone(),
            id: RandomId::new(clock.as_ref()),
            time: clock.now(),
            actor: self.actor.clone(),
            lease: self.lease,
            kind: kind.to_owned(),
            data,
        };
        let raw = to_json(&record);
        if raw.len() > RECORD_LIMIT_BYTES {
            return Err(JournalError::TooLarge { kind: kind.to_owned(), bytes: raw.len() });
        }
        // JSON nested too deeply can be written and not read.
        serde_json::from_slice::<Record>(&raw)
            .map_err(|source| JournalError::Unreadable { kind: kind.to_owned(), source })?;
        self.pending = Some((record, taken));
        self.place().await
    }

    /// Puts the pending event at the end of the chain.
    async fn place(&mut self) -> Result<Record, JournalError> {
        for _ in 0..SHARED_TRIES {
            let (mut record, taken) = self.pending.clone().expect("callers have set it");
            record.number = self.head.number + 1;
            record.previous.clone_from(&self.head.hash);
            let raw = to_json(&record);
            let Some(theirs) = self.create(&record, &raw).await? else {
                self.head = Head { number: record.number, hash: sha256(&raw) };
                self.pending = None;
                return Ok(record);
            };
            let by = parse(record.number, &theirs).map_err(|fault| self.fault(fault))?;
            let yields = match taken {
                Taken::Stop => false,
                Taken::Renumber => true,
                Taken::Outrank => by.lease < record.lease,
            };
            if !yields {
                let error = self.lost_to(&by);
                (self.lost, self.pending) = (Some(by), None);
                return Err(error);
            }
            self.head = Head { number: record.number, hash: sha256(&theirs) };
            self.find_head().await?;
        }
        Err(JournalError::Contended(self.scope.clone()))
    }

    /// Creates the record; `Some` is another's that is there instead.
    async fn create(&self, record: &Record, raw: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        let name = names::journal_record(self.scope.as_str(), record.number);
        let mut pause = SILENT_PAUSE;
        let mut tries = 1;
        let there = loop {
            match self.vault.create_at_home(&name, raw).await {
                Ok(Created::Mine) => return Ok(None),
                Ok(Created::Taken(there)) => break there,
                Err(source) if tries == SILENT_TRIES => {
                    return Err(JournalError::Unknown {
                        scope: self.scope.clone(),
                        number: record.number,
                        source,
                    });
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            (pause, tries) = (pause * 2, tries + 1);
        };
        let theirs = seal::open_object(self.vault.key(), &name, &there).map_err(|error| {
            self.fault(Fault { number: record.number, what: FaultKind::Sealed(error.to_string()) })
        })?;
        if parse(record.number, &theirs).is_ok_and(|theirs| theirs.id == record.id) {
            // The reply to an earlier try was lost, and with it the mirroring.
            self.vault.copies().mirror(&name, there).await;
            return Ok(None);
        }
        Ok(Some(theirs))
    }

    /// Moves the head forward to the end that the home proves.
    async fn find_head(&mut self) -> Result<(), JournalError> {
        let copies = self.vault.copies().all();
        let home = highest(Copies::new(vec![copies[0].clone()], 1), &self.scope, self.head.number).await;
        let ours = home.map_err(|why| JournalError::Silent { scope: self.scope.clone(), why })?;
        let others = copies[1..].iter().map(|copy| async {
            let asked = highest(Copies::new(vec![copy.clone()], 1), &self.scope, self.head.number);
            (copy.name(), tokio::time::timeout(MIRROR_LIMIT, asked).await)
        });
        for (copy, answer) in futures::future::join_all(others).await {
            // One that does not answer is behind at worst; the home decides.
            let Ok(Ok(theirs)) = answer else { continue };
            if theirs > ours {
                // What is written meanwhile arrives there after it is at home: look at home once more.
                let name = names::journal_record(self.scope.as_str(), theirs);
                if self.vault.copies().read_from(0, &name).await.is_ok() {
                    continue;
                }
                let (scope, copy) = (self.scope.clone(), copy.to_owned());
                return Err(JournalError::HomeBehind { scope, copy, theirs, ours });
            }
        }
        if ours > self.head.number {
            let name = names::journal_record(self.scope.as_str(), ours);
            let raw = self.vault.read(&name).await;
            let raw = raw.map_err(|source| read_error(&self.scope, ours, source))?;
            parse(ours, &raw).map_err(|fault| self.fault(fault))?;
            self.head = Head { number: ours, hash: sha256(&raw) };
        }
        Ok(())
    }

    fn fault(&self, fault: Fault) -> JournalError {
        JournalError::Fault { scope: self.scope.clone(), fault }
    }

    fn lost_to(&self, by: &Record) -> JournalError {
        JournalError::LostChain {
            scope: self.scope.clone(),
            number: by.number,
            by: by.actor.clone(),
            time: by.time,
        }
    }
}

/// The highest number of a chain in `copies`, at least `known`.
async fn highest(copies: Copies, scope: &Scope, known: u64) -> Result<u64, String> {
    let after = names::journal_record(scope.as_str(), known);
    let listing = copies.list_after(&names::journal_scope(scope.as_str()), Some(&after)).await;
    if let Some(failure) = listing.failures.first() {
        return Err(failure.reason.clone());
    }
    Ok(listing.objects.keys().filter_map(|name| number_in(scope, name)).max().unwrap_or(known))
}
