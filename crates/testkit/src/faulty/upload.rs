//! Multipart uploads through the faulty store.

use super::plan::OperationKind;
use super::store::Shared;
use async_trait::async_trait;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, PutPayload, PutResult, Result, UploadPart};
use std::sync::Arc;

/// An upload whose parts and end ask the plan too.
#[derive(Debug)]
pub(super) struct FaultyUpload {
    pub(super) upload: Box<dyn MultipartUpload>,
    pub(super) path: Path,
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) shared: Shared,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        // Parts are put together in the order of these calls, so the store beneath is told now, and
        // only what it then does waits or is dropped.
        let turn = self.shared.open(OperationKind::Part, self.path.as_ref());
        let part = self.upload.put_part(turn.damage_payload(data));
        Box::pin(async move { turn.enter().await?.end(part.await) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let turn = self.shared.begin(OperationKind::CompleteUpload, self.path.as_ref()).await?;
        let done = self.upload.complete().await;
        turn.end_write(done, &self.inner, &self.path).await
    }

    async fn abort(&mut self) -> Result<()> {
        let turn = self.shared.begin(OperationKind::AbortUpload, self.path.as_ref()).await?;
        let done = self.upload.abort().await;
        turn.end(done)
    }
}
