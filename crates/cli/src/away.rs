//! A copy of the vault that is away: a disk that is not mounted, an address without credentials.
//!
//! Left out, it would make "I have not found it" sound like "it does not exist"; so it stays among the
//! copies and answers every question with the reason.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;

/// What a store's client puts around the reason.
const WRAPPING: &str = "Generic away error: ";

/// A reason without the words of the store's client around it.
#[must_use]
pub fn plain(reason: &str) -> String {
    reason.replace(WRAPPING, "")
}

/// A store that answers nothing.
#[derive(Debug, Clone)]
pub struct Away {
    reason: String,
}

impl Away {
    /// Away because of `reason`.
    #[must_use]
    pub fn new(reason: String) -> Self {
        Self { reason }
    }

    fn error(&self) -> Error {
        Error::Generic { store: "away", source: self.reason.clone().into() }
    }

    fn silence<T: Send + 'static>(&self) -> BoxStream<'static, Result<T>> {
        stream::iter([Err(self.error())]).boxed()
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "away ({})", self.reason)
    }
}

#[async_trait]
impl ObjectStore for Away {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(self.error())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(self.error())
    }

    async fn get_opts(&self, _: &Path, _: GetOptions) -> Result<GetResult> {
        Err(self.error())
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.silence()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.silence()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(self.error())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(self.error())
    }
}
