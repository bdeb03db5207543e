//! The store itself: asks the plan before each operation, and counts.

use super::plan::{Fault, FaultPlan, OperationKind, draw};
use super::upload::FaultyUpload;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// One operation that was asked of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number among all, the first being 1.
    pub number: u64,
    /// What it was.
    pub kind: OperationKind,
    /// The object's name; for a listing its prefix, which may be empty.
    pub path: String,
    /// How often one of the same kind and name came before.
    pub before: u64,
}

/// Wraps a store. Clones share the plan and what was counted.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    shared: Shared,
}

impl FaultyStore {
    /// `inner`, with the faults of `plan`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, plan: FaultPlan) -> Self {
        let state = State { plan, ..State::default() };
        Self { inner, shared: Shared(Arc::new(Mutex::new(state))) }
    }

    /// The store beneath, without faults: what the next process would find.
    #[must_use]
    pub fn inner(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner)
    }

    /// Replaces the faults to come, their counting begun anew. A crashed store is up again.
    pub fn set_plan(&self, plan: FaultPlan) {
        let mut state = self.shared.state();
        state.plan = plan;
        state.crashed = false;
        state.replaced.notify_waiters();
    }

    /// All that was asked, in the order in which it began; also what failed.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// Those that change what the store holds.
    #[must_use]
    pub fn writes(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.kind.is_write()).collect()
    }

    /// How many operations were asked.
    #[must_use]
    pub fn call_count(&self) -> u64 {
        count(self.shared.state().calls.len())
    }

    /// How many of them change what the store holds.
    #[must_use]
    pub fn write_count(&self) -> u64 {
        count(self.writes().len())
    }

    /// The faults that came true, in order.
    #[must_use]
    pub fn fired(&self) -> Vec<(Call, Fault)> {
        self.shared.state().fired.clone()
    }

    /// Whether [`Fault::Crash`] or [`Fault::CrashAfter`] came true.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.shared.state().crashed
    }

    async fn delete_one(&self, path: Path) -> Result<Path> {
        let turn = self.shared.begin(OperationKind::Delete, path.as_ref()).await?;
        turn.end(self.inner.delete(&path).await)?;
        Ok(path)
    }

    async fn list_now(self, prefix: Option<Path>) -> Result<BoxStream<'static, Result<ObjectMeta>>> {
        let turn = self.shared.begin_list(prefix.as_ref()).await?;
        let hidden = turn.hidden();
        let listed = self.inner.list(prefix.as_ref());
        Ok(listed.try_filter(move |meta| futures::future::ready(!hidden.contains(&meta.location))).boxed())
    }
}

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "faulty({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let kind = match options.mode {
            PutMode::Overwrite => OperationKind::Put,
            PutMode::Create => OperationKind::Create,
            PutMode::Update(_) => OperationKind::Update,
        };
        let turn = self.shared.begin(kind, path.as_ref()).await?;
        let done = self.inner.put_opts(path, turn.damage_payload(payload), options).await;
        turn.end_write(done, &self.inner, path).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let turn = self.shared.begin(OperationKind::StartUpload, path.as_ref()).await?;
        let upload = turn.end(self.inner.put_multipart_opts(path, options).await)?;
        let (inner, shared) = (Arc::clone(&self.inner), self.shared.clone());
        Ok(Box::new(FaultyUpload { upload, path: path.clone(), inner, shared }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let kind = if options.head { OperationKind::Head } else { OperationKind::Get };
        let turn = self.shared.begin(kind, path.as_ref()).await?;
        let result = self.inner.get_opts(path, options).await?;
        turn.damage_result(result).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |path: Result<Path>| {
            let store = store.clone();
            async move { store.delete_one(path?).await }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(self.clone().list_now(prefix.cloned())).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let turn = self.shared.begin_list(prefix).await?;
        let hidden = turn.hidden();
        let mut result = self.inner.list_with_delimiter(prefix).await?;
        result.objects.retain(|meta| !hidden.contains(&meta.location));
        Ok(result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let turn = self.shared.begin(OperationKind::Copy, to.as_ref()).await?;
        let done = self.inner.copy_opts(from, to, options).await;
        turn.end_write(done, &self.inner, to).await
    }
}

#[derive(Debug, Default)]
struct State {
    plan: FaultPlan,
    calls: Vec<Call>,
    earlier: HashMap<(OperationKind, String), u64>,
    fired: Vec<(Call, Fault)>,
    /// Objects made through this store, the newest last.
    made: Vec<Path>,
    crashed: bool,
    /// Told when the plan is replaced: nobody is delayed by the old one any longer.
    replaced: Arc<Notify>,
}

#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and decides its faults.
    pub(super) fn open(&self, kind: OperationKind, path: &str) -> Turn {
        let (call, faults) = self.state().record(kind, path);
        let delay =
            faults.iter().map(|fault| if let Fault::Delay(delay) = fault { *delay } else { Duration::ZERO });
        let delay = delay.sum();
        let strike = faults.into_iter().find(|fault| !matches!(fault, Fault::Delay(_)));
        Turn { shared: self.clone(), call, delay, strike }
    }

    /// As [`Shared::open`], and has it wait, or fail before anything is done.
    pub(super) async fn begin(&self, kind: OperationKind, path: &str) -> Result<Turn> {
        self.open(kind, path).enter().await
    }

    async fn begin_list(&self, prefix: Option<&Path>) -> Result<Turn> {
        self.begin(OperationKind::List, prefix.map_or("", AsRef::as_ref)).await
    }
}

impl State {
    fn record(&mut self, kind: OperationKind, path: &str) -> (Call, Vec<Fault>) {
        let earlier = self.earlier.entry((kind, path.to_owned())).or_default();
        let call =
            Call { number: count(self.calls.len()) + 1, kind, path: path.to_owned(), before: *earlier };
        *earlier += 1;
        self.calls.push(call.clone());
        // Nothing befalls the dead.
        let faults = if self.crashed { Vec::new() } else { self.plan.decide(kind, path, call.before) };
        self.fired.extend(faults.iter().map(|fault| (call.clone(), *fault)));
        (call, faults)
    }
}

/// One operation on its way.
#[derive(Debug)]
pub(super) struct Turn {
    shared: Shared,
    call: Call,
    delay: Duration,
    strike: Option<Fault>,
}

impl Turn {
    /// Waits, and fails if nothing is to be done.
    pub(super) async fn enter(self) -> Result<Self> {
        if !self.delay.is_zero() {
            let replaced = self.shared.state().replaced.clone();
            // No time but this one: it is over when the delay is, or the plan that asked for it.
            let _ = tokio::time::timeout(self.delay, replaced.notified()).await;
        }
        if self.shared.state().crashed {
            return Err(self.error("the process has been killed", ErrorKind::BrokenPipe));
        }
        match self.strike {
            Some(Fault::Fail) => Err(self.error("connection reset", ErrorKind::ConnectionReset)),
            Some(Fault::Unavailable) => Err(self.error("503 Slow Down", ErrorKind::ResourceBusy)),
            Some(Fault::FullDisk) => Err(self.error("no space left on device", ErrorKind::StorageFull)),
            Some(Fault::Crash) => Err(self.crash()),
            _ => Ok(self),
        }
    }

    /// The answer, unless it is lost.
    pub(super) fn end<T>(self, done: Result<T>) -> Result<T> {
        match self.strike {
            Some(Fault::LoseReply) => {
                Err(self.error("timed out waiting for the answer", ErrorKind::TimedOut))
            }
            Some(Fault::CrashAfter) => Err(self.crash()),
            _ => done,
        }
    }

    /// As [`Turn::end`], for what makes an object.
    pub(super) async fn end_write<T>(
        self,
        done: Result<T>,
        inner: &dyn ObjectStore,
        path: &Path,
    ) -> Result<T> {
        if done.is_ok() {
            self.shared.state().made.push(path.clone());
            if self.strike == Some(Fault::LoseObject) {
                inner.delete(path).await?;
            }
        }
        self.end(done)
    }

    /// What is stored instead of what was sent.
    pub(super) fn damage_payload(&self, payload: PutPayload) -> PutPayload {
        if !matches!(self.strike, Some(Fault::TruncateBody | Fault::FlipBit)) {
            return payload;
        }
        let mut bytes = BytesMut::with_capacity(payload.content_length());
        payload.iter().for_each(|part| bytes.extend_from_slice(part));
        self.damage(bytes.freeze()).into()
    }

    /// What is read instead of what is stored. Its size is still said to be the true one.
    async fn damage_result(&self, result: GetResult) -> Result<GetResult> {
        if !matches!(self.strike, Some(Fault::TruncateBody | Fault::FlipBit | Fault::ResetBody)) {
            return Ok(result);
        }
        let (meta, range, attributes) =
            (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let extensions = result.extensions.clone();
        let mut parts = vec![Ok(self.damage(result.bytes().await?))];
        if self.strike == Some(Fault::ResetBody) {
            parts.push(Err(self.error("connection reset while reading", ErrorKind::ConnectionReset)));
        }
        let payload = GetResultPayload::Stream(stream::iter(parts).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn damage(&self, bytes: Bytes) -> Bytes {
        if self.strike != Some(Fault::FlipBit) {
            return bytes.slice(..bytes.len() / 2);
        }
        let mut bytes = BytesMut::from(bytes.as_ref());
        let bits = count(bytes.len()) * 8;
        // An empty object has no bit to flip.
        if bits > 0 {
            let seed = self.shared.state().plan.seed;
            let bit = draw(seed, (self.call.kind, &self.call.path, self.call.before, "bit")) % bits;
            let byte = usize::try_from(bit / 8).expect("within a body that is in memory");
            bytes[byte] ^= 1 << (bit % 8);
        }
        bytes.freeze()
    }

    /// The objects that a listing lacks.
    fn hidden(&self) -> Vec<Path> {
        let Some(Fault::StaleList { hide }) = self.strike else { return Vec::new() };
        self.shared.state().made.iter().rev().take(hide).cloned().collect()
    }

    fn crash(&self) -> Error {
        self.shared.state().crashed = true;
        self.error("killed", ErrorKind::BrokenPipe)
    }

    fn error(&self, what: &str, kind: ErrorKind) -> Error {
        let Call { number, kind: operation, path, .. } = &self.call;
        let text = format!("injected: {what} (operation {number}, {operation:?} {path})");
        Error::Generic { store: "faulty", source: std::io::Error::new(kind, text).into() }
    }
}

/// A length as a number; no machine has more memory than that counts.
fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
