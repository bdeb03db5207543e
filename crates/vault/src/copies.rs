//! The copies of a vault: written together, read one after the other until one is whole.
//!
//! # Invariants
//! - **C1 durable means durable.** A write is acknowledged when as many copies as the plan asks have it.
//! - **C2 immutable.** Nothing is overwritten: a name that is taken is read back; one's own bytes mean
//!   success (stores retry, and replies get lost), others' a conflict. Whether other bytes mean the same is
//!   judged copy by copy.
//! - **C3 absence is proven.** "Missing" is said only when so few copies are silent that an acknowledged
//!   object must show in one that answered.
//! - **C4 damage is not served.** What does not open in one copy is asked of the next.
//! - **C5 presence is proof too.** [`Copies::as_seen`] goes on with what the copies that answer show, for
//!   those who only use what is there. Nothing that prunes, leads or ends a recovery looks that way.
//! - **C6 a copy that falls behind is known**, also where the caller did not wait for it.
//! - **C7 what is lost with the service is no backup of it.** A write for a service counts as durable in copies
//!   outside of the service's failure domain alone ([`Copies::outside`]).
//!
//! Deliberately absent: what objects mean, and healing (`check`).

mod patience;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use patience::{Stopped, asked, each_limited, limited, next_limited};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Writes that one copy may have under way; a copy that hangs falls behind instead of filling memory.
const WRITES_UNDER_WAY: usize = 16;
/// A copy that hangs holds up what the home has decided for no longer than this.
const MIRROR_LIMIT: Duration = Duration::from_secs(5);

/// One copy: an object store, and the failure domain that it shares with others.
#[derive(Debug, Clone)]
pub struct VaultCopy {
    name: String,
    domain: Option<String>,
    store: Arc<dyn ObjectStore>,
    gate: Arc<Semaphore>,
    /// C6.
    last_write: Arc<Mutex<Option<Result<(), String>>>>,
}

impl VaultCopy {
    /// A copy in `store`, shown to people as `name`.
    #[must_use]
    pub fn new(name: impl Into<String>, domain: Option<String>, store: Arc<dyn ObjectStore>) -> Self {
        let gate = Arc::new(Semaphore::new(WRITES_UNDER_WAY));
        Self { name: name.into(), domain, store, gate, last_write: Arc::default() }
    }

    /// What people call it: its address without secrets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What would take it down together with others.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// What came of the last write that this process gave it (C6); `None` before the first.
    #[must_use]
    pub fn last_write(&self) -> Option<Result<(), String>> {
        self.last_write.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As [`VaultCopy::create`], unless too many writes hang already; the outcome is remembered (C6).
    async fn create_behind_gate(&self, name: &str, bytes: &Bytes) -> Result<Created, String> {
        let outcome = match self.gate.try_acquire() {
            Ok(_permit) => self.create(name, bytes).await.map_err(|error| error.to_string()),
            Err(_) => Err(format!("{WRITES_UNDER_WAY} writes to it hang")),
        };
        match &outcome {
            Ok(Created::Mine) => self.remember(Ok(())),
            // Whoever waits for it judges.
            Ok(Created::Taken(_)) => {}
            Err(reason) => self.remember(Err(reason.clone())),
        }
        outcome
    }

    fn remember(&self, outcome: Result<(), String>) {
        *self.last_write.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// Creates `name`, or finds that it holds exactly these bytes already.
    async fn create(&self, name: &str, bytes: &Bytes) -> Result<Created, object_store::Error> {
        let path = Path::from(name);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store.put_opts(&path, PutPayload::from_bytes(bytes.clone()), options);
        match limited(put).await {
            Ok(_) => Ok(Created::Mine),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                let there = limited(async { self.store.get(&path).await?.bytes().await }).await?;
                Ok(if there == *bytes { Created::Mine } else { Created::Taken(there) })
            }
            Err(error) => Err(error),
        }
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Bytes, object_store::Error> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let path = Path::from(name);
        asked(|| limited(async { self.store.get_opts(&path, options.clone()).await?.bytes().await })).await
    }

    async fn list(&self, prefix: &str, offset: Option<&str>) -> Result<Vec<ObjectMeta>, object_store::Error> {
        let prefix = Path::from(prefix);
        let list = || async {
            let stream = match offset {
                Some(offset) => self.store.list_with_offset(Some(&prefix), &Path::from(offset)),
                None => self.store.list(Some(&prefix)),
            };
            let mut listed = Vec::new();
            match each_limited(stream, |meta| listed.push(meta)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(listed),
                Err(error) => Err(error),
            }
        };
        asked(list).await
    }

    async fn delete(&self, names: &[String]) -> Vec<CopyFailure> {
        let mut failures = Vec::new();
        let paths: Vec<_> = names.iter().map(|name| Ok(Path::from(name.as_str()))).collect();
        let mut deleted = self.store.delete_stream(futures::stream::iter(paths).boxed());
        loop {
            let failed = match next_limited(&mut deleted).await {
                Ok(None) => break,
                Ok(Some(_)) | Err(Stopped::One(object_store::Error::NotFound { .. })) => continue,
                Err(failed) => failed,
            };
            let (reason, is_over) = failed.reason();
            failures.push(CopyFailure { copy: self.name.clone(), reason });
            if is_over {
                break;
            }
        }
        failures
    }
}

/// What came of a conditional create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The object holds these bytes, now or since an earlier try.
    Mine,
    /// Another's bytes are under that name.
    Taken(Bytes),
}

/// What another's bytes under one's name turn out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// They mean what was to be written.
    Same,
    /// They mean something else.
    Other,
    /// They mean nothing: the copy has lost what it held, and does not count.
    Damaged,
}

/// Said of a copy where an object is damaged.
const DAMAGED: &str = "holds it damaged; `lifeboat vault check --repair` heals it";

/// One copy's refusal.
#[derive(Debug)]
pub struct CopyFailure {
    /// The copy.
    pub copy: String,
    /// What it said.
    pub reason: String,
}

impl fmt::Display for CopyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.copy, self.reason)
    }
}

/// Several copies' refusals in one line.
#[must_use]
pub fn refusals(failures: &[CopyFailure]) -> String {
    let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// Why a write does not count.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Too few copies have it.
    #[error(
        "{name} is durable in {got} of the {wanted} copies that the plan asks for ({})",
        refusals(failures)
    )]
    NotDurable {
        /// The object.
        name: String,
        /// Copies asked for.
        wanted: usize,
        /// Copies that have it.
        got: usize,
        /// The others.
        failures: Vec<CopyFailure>,
    },
    /// What it refers to is not there, or not proven to be.
    #[error("{name} was not written: {missing}, which it refers to, is not in the vault")]
    Incomplete {
        /// The object.
        name: String,
        /// What is missing.
        missing: String,
    },
    /// Another's bytes are under that name.
    #[error("{name} exists already with other contents in {copy}")]
    Conflict {
        /// The object.
        name: String,
        /// Where.
        copy: String,
    },
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No copy has it, and enough copies said so.
    #[error("{0} is not in the vault")]
    Missing(String),
    /// A copy that might have it did not answer.
    #[error("{name} cannot be read now ({})", refusals(failures))]
    Unavailable {
        /// The object.
        name: String,
        /// Who did not answer.
        failures: Vec<CopyFailure>,
    },
    /// It is there, and in no copy whole.
    #[error("{name} is damaged ({})", refusals(failures))]
    Damaged {
        /// The object.
        name: String,
        /// What is wrong with each.
        failures: Vec<CopyFailure>,
    },
}

impl ReadError {
    /// Whether the vault proves that the object does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_))
    }
}

/// Why one copy did not give it.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The store's word.
    Store(object_store::Error),
    /// What it gave does not open.
    Damaged(String),
}

/// Where a write must have arrived before the caller goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In as many copies as the plan asks; the others follow behind.
    Durable,
    /// In every copy that answers, durable at least: before something refers to it.
    All,
}

/// What a listing found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Name → size and the copies (by index) that have it.
    pub objects: BTreeMap<String, Listed>,
    /// Copies that did not answer.
    pub failures: Vec<CopyFailure>,
    /// Whether what is not listed is proven not to be there (C3), or counts as absent (C5).
    pub is_complete: bool,
}

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The largest size that a copy tells.
    pub size: u64,
    /// Indices of the copies that have it.
    pub copies: Vec<usize>,
}

/// All copies of one vault.
#[derive(Debug, Clone)]
pub struct Copies {
    copies: Vec<VaultCopy>,
    durable: usize,
    /// What is lost together with the service: copies in it count for nothing when a write is to be durable (C7).
    lost_domain: Option<String>,
    /// So many silent copies leave it open whether what the others do not have is there (C3, C5).
    silent_limit: usize,
}

impl Copies {
    /// The copies; the first is the home of leases and the journal. `durable` is kept within 1 and their number.
    ///
    /// # Panics
    /// If there is no copy: a plan without one does not load.
    #[must_use]
    pub fn new(copies: Vec<VaultCopy>, durable: usize) -> Self {
        assert!(!copies.is_empty(), "a vault has at least one copy");
        let durable = durable.clamp(1, copies.len());
        Self { copies, durable, lost_domain: None, silent_limit: durable }
    }

    /// The same copies for a service that is lost together with `domain` (C7).
    #[must_use]
    pub fn outside(&self, domain: Option<&str>) -> Self {
        Self { lost_domain: domain.map(str::to_owned), ..self.clone() }
    }

    /// How many of the copies `holders`, by index, count for a write to be durable (C7).
    #[must_use]
    pub fn counted(&self, holders: &[usize]) -> usize {
        let held = holders.iter().filter_map(|index| self.copies.get(*index));
        held.filter(|copy| self.counts(copy)).count()
    }

    /// A copy that names no domain is taken to be outside of every service's, of which the plan's findings warn.
    fn counts(&self, copy: &VaultCopy) -> bool {
        self.lost_domain.is_none() || copy.domain != self.lost_domain
    }

    /// The same copies for one who uses what is there: as long as one answers, what it does not show counts
    /// as absent (C5). What only a silent copy holds is then passed over.
    #[must_use]
    pub fn as_seen(&self) -> Self {
        Self { silent_limit: self.copies.len(), ..self.clone() }
    }

    /// Each of them, home first.
    #[must_use]
    pub fn all(&self) -> &[VaultCopy] {
        &self.copies
    }

    /// The home alone: what decides must not be answered by another.
    #[must_use]
    pub fn home(&self) -> Self {
        Self::new(vec![self.copies[0].clone()], 1)
    }

    /// Some of them, by index; `None` if they are too few for a write to count.
    pub(crate) fn only(&self, chosen: &[usize]) -> Option<Self> {
        let copies: Vec<_> = chosen.iter().map(|index| self.copies[*index].clone()).collect();
        let is_enough = self.counted(chosen) >= self.durable;
        is_enough.then(|| Self::new(copies, self.durable).outside(self.lost_domain.as_deref()))
    }

    /// How many must have a write before it counts.
    #[must_use]
    pub fn durable(&self) -> usize {
        self.durable
    }

    /// Writes an object that no other may have written.
    ///
    /// Returns the copies that do not have it.
    ///
    /// # Errors
    /// [`WriteError::NotDurable`] when too few copies took it, [`WriteError::Conflict`] by C2.
    pub async fn put(&self, name: &str, bytes: Bytes, reach: Reach) -> Result<Vec<CopyFailure>, WriteError> {
        self.put_or_find(name, bytes, reach, |_| Found::Other).await
    }

    /// Writes an object, or finds it: what a copy holds under that name already counts for that copy if `judge`
    /// says that it means the same (the same bytes sealed twice are not equal).
    ///
    /// Returns the copies that do not have it.
    ///
    /// # Errors
    /// [`WriteError::NotDurable`] when too few copies took or hold it, [`WriteError::Conflict`] by C2.
    pub async fn put_or_find(
        &self,
        name: &str,
        bytes: Bytes,
        reach: Reach,
        judge: impl Fn(&Bytes) -> Found,
    ) -> Result<Vec<CopyFailure>, WriteError> {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(self.copies.len());
        for copy in &self.copies {
            let (copy, sender, bytes, name) = (copy.clone(), sender.clone(), bytes.clone(), name.to_owned());
            let write = async move {
                let outcome = copy.create_behind_gate(&name, &bytes).await;
                // The caller may have had enough copies and gone on.
                let _ = sender.send((copy, outcome)).await;
            };
            drop(tokio::spawn(write));
        }
        drop(sender);
        let mut got = 0;
        let mut failures = Vec::new();
        while let Some((copy, outcome)) = receiver.recv().await {
            match outcome {
                Ok(Created::Mine) => got += usize::from(self.counts(&copy)),
                Ok(Created::Taken(there)) => match judge(&there) {
                    Found::Same => {
                        copy.remember(Ok(()));
                        got += usize::from(self.counts(&copy));
                    }
                    Found::Damaged => {
                        copy.remember(Err(DAMAGED.to_owned()));
                        failures.push(CopyFailure { copy: copy.name, reason: DAMAGED.to_owned() });
                    }
                    Found::Other => {
                        let (name, copy) = (name.to_owned(), copy.name);
                        return Err(WriteError::Conflict { name, copy });
                    }
                },
                Err(reason) => failures.push(CopyFailure { copy: copy.name, reason }),
            }
            if reach == Reach::Durable && got >= self.durable {
                break;
            }
        }
        if got < self.durable {
            let (name, wanted) = (name.to_owned(), self.durable);
            return Err(WriteError::NotDurable { name, wanted, got, failures });
        }
        Ok(failures)
    }

    /// Creates `name` in the home copy alone: the arbiter of leases and of journal numbers.
    ///
    /// # Errors
    /// [`WriteError::NotDurable`] when the home did not answer; whether it was written is then unknown.
    pub async fn create_at_home(&self, name: &str, bytes: Bytes) -> Result<Created, WriteError> {
        let home = &self.copies[0];
        home.create(name, &bytes).await.map_err(|error| WriteError::NotDurable {
            name: name.to_owned(),
            wanted: 1,
            got: 0,
            failures: vec![CopyFailure { copy: home.name.clone(), reason: error.to_string() }],
        })
    }

    /// Mirrors what the home has to the other copies, as well as they take it.
    pub async fn mirror(&self, name: &str, bytes: Bytes) -> Vec<CopyFailure> {
        let writes = self.copies[1..].iter().map(|copy| {
            let bytes = bytes.clone();
            async move {
                let failure = |reason| Some(CopyFailure { copy: copy.name.clone(), reason });
                match tokio::time::timeout(MIRROR_LIMIT, copy.create(name, &bytes)).await {
                    Ok(Ok(Created::Mine)) => None,
                    Ok(Ok(Created::Taken(_))) => failure("holds other contents".to_owned()),
                    Ok(Err(error)) => failure(error.to_string()),
                    Err(elapsed) => failure(elapsed.to_string()),
                }
            }
        });
        futures::future::join_all(writes).await.into_iter().flatten().collect()
    }

    /// Reads an object, or a `range` of it, from the first copy where `open` accepts it (C4).
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Missing`] only by C3.
    pub async fn read<T, E: fmt::Display>(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        open: impl Fn(Bytes) -> Result<T, E>,
    ) -> Result<T, ReadError> {
        let mut refusals = Vec::new();
        for copy in 0..self.copies.len() {
            let opened = match self.copies[copy].get(name, range.clone()).await {
                Ok(bytes) => open(bytes).map_err(|error| Refusal::Damaged(error.to_string())),
                Err(error) => Err(Refusal::Store(error)),
            };
            match opened {
                Ok(value) => return Ok(value),
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(self.refused(name, refusals))
    }

    /// Reads what takes several requests, all of them to the same copy: bytes of one must not be opened with
    /// a header of another (C4). `attempt` is given each copy in turn until one succeeds.
    ///
    /// # Errors
    /// As [`Copies::read`].
    pub(crate) async fn read_whole<'a, T>(
        &self,
        name: &str,
        attempt: impl Fn(usize) -> BoxFuture<'a, Result<T, Refusal>>,
    ) -> Result<T, ReadError> {
        let mut refusals = Vec::new();
        for copy in 0..self.copies.len() {
            match attempt(copy).await {
                Ok(value) => return Ok(value),
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(self.refused(name, refusals))
    }

    /// A range of an object in one copy alone.
    pub(crate) async fn range_from(
        &self,
        copy: usize,
        name: &str,
        range: Range<u64>,
    ) -> Result<Bytes, Refusal> {
        self.copies[copy].get(name, Some(range)).await.map_err(Refusal::Store)
    }

    /// What it means that no copy gave it; a refusal of each, in order.
    fn refused(&self, name: &str, refusals: Vec<Refusal>) -> ReadError {
        let mut silent = Vec::new();
        let mut damaged = Vec::new();
        for (copy, refusal) in self.copies.iter().zip(refusals) {
            let failure = |reason: String| CopyFailure { copy: copy.name.clone(), reason };
            match refusal {
                Refusal::Store(object_store::Error::NotFound { .. }) => {}
                Refusal::Store(error) => silent.push(failure(error.to_string())),
                Refusal::Damaged(why) => damaged.push(failure(why)),
            }
        }
        let name = name.to_owned();
        if !damaged.is_empty() {
            damaged.extend(silent);
            return ReadError::Damaged { name, failures: damaged };
        }
        if silent.len() < self.silent_limit {
            return ReadError::Missing(name);
        }
        ReadError::Unavailable { name, failures: silent }
    }

    /// Reads an object from one copy alone: `check` compares them.
    ///
    /// # Errors
    /// What that copy said.
    pub async fn read_from(&self, copy: usize, name: &str) -> Result<Bytes, object_store::Error> {
        self.copies[copy].get(name, None).await
    }

    /// The size of an object in one copy; `None` if it is not there.
    ///
    /// # Errors
    /// What that copy said.
    pub async fn size_in(&self, copy: usize, name: &str) -> Result<Option<u64>, object_store::Error> {
        let path = Path::from(name);
        match asked(|| limited(self.copies[copy].store.head(&path))).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object in one copy alone: `check --repair` brings back what it has lost.
    ///
    /// # Errors
    /// What that copy said.
    pub async fn create_in(
        &self,
        copy: usize,
        name: &str,
        bytes: Bytes,
    ) -> Result<Created, object_store::Error> {
        self.copies[copy].create(name, &bytes).await
    }

    /// Lists one copy alone: name and size.
    ///
    /// # Errors
    /// What that copy said.
    pub async fn list_in(
        &self,
        copy: usize,
        prefix: &str,
    ) -> Result<Vec<(String, u64)>, object_store::Error> {
        let listed = self.copies[copy].list(prefix, None).await?;
        Ok(listed.into_iter().map(|meta| (meta.location.to_string(), meta.size)).collect())
    }

    /// The names right below `prefix` in one copy: objects, and prefixes of more.
    ///
    /// # Errors
    /// What that copy said.
    pub async fn children_in(&self, copy: usize, prefix: &str) -> Result<Vec<String>, object_store::Error> {
        let path = Path::from(prefix);
        let prefix = (!prefix.is_empty()).then_some(&path);
        match asked(|| limited(self.copies[copy].store.list_with_delimiter(prefix))).await {
            Ok(listed) => {
                let objects = listed.objects.into_iter().map(|meta| meta.location);
                Ok(objects.chain(listed.common_prefixes).map(|path| path.to_string()).collect())
            }
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Writes an object to one copy alone, over whatever is there: `check --repair` heals with it.
    ///
    /// # Errors
    /// What that copy said.
    pub async fn overwrite_in(
        &self,
        copy: usize,
        name: &str,
        bytes: Bytes,
    ) -> Result<(), object_store::Error> {
        let path = Path::from(name);
        limited(self.copies[copy].store.put(&path, PutPayload::from_bytes(bytes))).await.map(drop)
    }

    /// Lists all objects below `prefix` in all copies.
    pub async fn list(&self, prefix: &str) -> Listing {
        self.list_after(prefix, None).await
    }

    /// Lists the objects below `prefix` whose names come after `offset`.
    pub async fn list_after(&self, prefix: &str, offset: Option<&str>) -> Listing {
        let mut listing = Listing::default();
        let lists = self.copies.iter().map(|copy| copy.list(prefix, offset));
        let lists = futures::future::join_all(lists).await;
        for (index, (copy, listed)) in self.copies.iter().zip(lists).enumerate() {
            match listed {
                Ok(found) => {
                    for meta in found {
                        let listed = listing.objects.entry(meta.location.to_string());
                        let listed = listed.or_insert(Listed { size: 0, copies: Vec::new() });
                        listed.size = listed.size.max(meta.size);
                        listed.copies.push(index);
                    }
                }
                Err(error) => {
                    listing.failures.push(CopyFailure { copy: copy.name.clone(), reason: error.to_string() });
                }
            }
        }
        listing.is_complete = listing.failures.len() < self.silent_limit;
        listing
    }

    /// Deletes objects from every copy; those that are gone already are no failure.
    pub async fn delete(&self, names: Vec<String>) -> Vec<CopyFailure> {
        let mut failures = Vec::new();
        for copy in &self.copies {
            failures.extend(copy.delete(&names).await);
        }
        failures
    }

    /// Deletes objects from one copy alone; those that are gone already are no failure.
    pub async fn delete_in(&self, copy: usize, names: &[String]) -> Vec<CopyFailure> {
        self.copies[copy].delete(names).await
    }
}
