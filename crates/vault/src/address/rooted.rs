//! A directory as an object store that notices when the directory is gone.
//!
//! `object_store` makes whatever directories a write lacks. When a disk is unmounted or the directory moved
//! away under a running process, that would quietly begin an empty vault in its place: writes would count as
//! durable, and what was there would seem never to have been.
//!
//! # Invariants
//! - **D1 one directory.** A write succeeds only if the path led to the directory that was opened, before it
//!   and after it: the same device and inode.
//! - **D2 a vanished directory proves nothing.** "Not found", and a listing, are passed on only while the
//!   path leads there; otherwise they are errors like any other (C3 of `copies`).
//!
//! The handle that is held keeps the inode from being given to another directory. A directory that comes back
//! is used again by itself; one that was mounted anew as another device only after a restart.
//!
//! Deliberately absent: a disk that was not mounted when the process began; its vault has no header then.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the directory cannot be used now.
#[derive(Debug, thiserror::Error)]
enum RootError {
    /// Nothing is at the path.
    #[error(
        "the directory {0} is gone: its disk was unmounted, or it was moved; nothing was written elsewhere. Mount it or move it back"
    )]
    Gone(String),
    /// Another directory is at the path.
    #[error(
        "{0} is not the directory that was opened: its disk was unmounted, or the directory replaced; nothing written there counts. Mount it or move it back; if it is back as another device, restart Lifeboat"
    )]
    Another(String),
    /// It could not be looked at.
    #[error("the directory {path} cannot be looked at")]
    Look { path: String, source: io::Error },
}

/// The directory that was opened.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    handle: File,
}

impl Root {
    fn compare(&self) -> Result<(), RootError> {
        let path = || self.path.display().to_string();
        let same = |a: &Metadata, b: &Metadata| a.dev() == b.dev() && a.ino() == b.ino();
        match (std::fs::metadata(&self.path), self.handle.metadata()) {
            (Ok(there), Ok(opened)) if same(&there, &opened) => Ok(()),
            (Ok(_), Ok(_)) => Err(RootError::Another(path())),
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Err(RootError::Gone(path())),
            (Err(source), _) | (_, Err(source)) => Err(RootError::Look { path: path(), source }),
        }
    }

    /// Whether the path still leads to it. A network file system may hang, so not on the caller's thread.
    async fn check(self: Arc<Self>) -> Result<()> {
        let generic = |source| Error::Generic { store: "directory", source };
        match tokio::task::spawn_blocking(move || self.compare()).await {
            Ok(outcome) => outcome.map_err(|error| generic(error.into())),
            Err(error) => Err(generic(error.into())),
        }
    }

    /// Passes an outcome on, "not found" only if the directory is there to prove it (D2).
    async fn settle<T>(self: Arc<Self>, outcome: Result<T>) -> Result<T> {
        if matches!(outcome, Err(Error::NotFound { .. })) {
            self.check().await?;
        }
        outcome
    }

    /// The check as a stream: of nothing, or of one error.
    fn checked<T: Send + 'static>(self: Arc<Self>) -> BoxStream<'static, Result<T>> {
        let failure = |outcome: Result<()>| futures::future::ready(outcome.err().map(Err));
        stream::once(self.check()).filter_map(failure).boxed()
    }

    /// Runs a write between two checks (D1).
    async fn guard<T>(self: &Arc<Self>, write: impl Future<Output = Result<T>>) -> Result<T> {
        self.clone().check().await?;
        let outcome = write.await;
        // Whatever came of it came of another directory.
        self.clone().check().await?;
        outcome
    }
}

/// A directory, written with fsync, as long as it is the one that was opened.
#[derive(Debug)]
pub(super) struct RootedStore {
    inner: LocalFileSystem,
    root: Arc<Root>,
}

impl RootedStore {
    /// Opens the directory at `path`, which exists.
    pub(super) fn open(path: &std::path::Path) -> io::Result<Self> {
        // Links are followed once: what is checked is what is written to.
        let path = path.canonicalize()?;
        let handle = File::open(&path)?;
        let inner = LocalFileSystem::new_with_prefix(&path).map_err(io::Error::other)?;
        // Off by default; a backup that a power cut takes away is none.
        Ok(Self { inner: inner.with_fsync(true), root: Arc::new(Root { path, handle }) })
    }
}

impl std::fmt::Display for RootedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "directory({})", self.root.path.display())
    }
}

#[async_trait]
impl ObjectStore for RootedStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.root.guard(self.inner.put_opts(path, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.root.guard(self.inner.put_multipart_opts(path, options)).await?;
        Ok(Box::new(RootedUpload { upload, root: self.root.clone() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let outcome = self.inner.get_opts(path, options).await;
        self.root.clone().settle(outcome).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let outcome = self.inner.get_ranges(path, ranges).await;
        self.root.clone().settle(outcome).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (before, after) = (self.root.clone(), self.root.clone());
        let checked = paths.and_then(move |path| {
            let root = before.clone();
            async move { root.check().await.map(|()| path) }
        });
        self.inner.delete_stream(checked.boxed()).then(move |outcome| after.clone().settle(outcome)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.root.guard(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.root.guard(self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.root.guard(self.inner.rename_opts(from, to, options)).await
    }
}

impl RootedStore {
    /// A listing between two checks (D2); it is complete only if both are well.
    fn listed(
        &self,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (root, after) = (self.root.clone(), self.root.clone().checked());
        let settled = listing.then(move |outcome| root.clone().settle(outcome));
        self.root.clone().checked().chain(settled).chain(after).boxed()
    }
}

/// An upload in parts to such a directory.
#[derive(Debug)]
struct RootedUpload {
    upload: Box<dyn MultipartUpload>,
    root: Arc<Root>,
}

#[async_trait]
impl MultipartUpload for RootedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        // Parts go to a file that is open already; completing it gives it its name.
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.root.guard(self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
