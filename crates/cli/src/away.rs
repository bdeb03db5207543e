//! A copy of the vault that is away: a disk that is not mounted, an address without credentials.
//!
//! Left out, it would make "I have not found it" sound like "it does not exist"; so it stays among the
//! copies and answers every question with the reason, until it is found again: `serve` runs for months.
//!
//! # Invariants
//! - **A1** What comes back is the same vault: its header says so, before anything else is asked of it.

use crate::copies::{self, CopySpec};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What a store's client puts around the reason.
const WRAPPINGS: [&str; 3] =
    ["Generic away error: ", "Generic directory error: ", "Generic vault copy error: "];
/// Between two looks for it.
const PAUSE: Duration = Duration::from_secs(10);

/// A reason without the words of the store's client around it.
#[must_use]
pub fn plain(reason: &str) -> String {
    WRAPPINGS.iter().fold(reason.to_owned(), |reason, wrapping| reason.replace(wrapping, ""))
}

/// A store that answers nothing until it is back.
#[derive(Debug, Clone)]
pub struct Away(Arc<Looked>);

#[derive(Debug)]
struct Looked {
    spec: CopySpec,
    /// A1; without it the copy is not looked for.
    header: Option<Bytes>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Away { reason: String, last_look: Instant },
    Back(Arc<dyn ObjectStore>),
}

impl Away {
    /// Away because of `reason`; it is back once `header`, the vault's, is found there.
    #[must_use]
    pub fn new(spec: &CopySpec, reason: String, header: Option<Bytes>) -> Self {
        let state = Mutex::new(State::Away { reason, last_look: Instant::now() });
        Self(Arc::new(Looked { spec: spec.clone(), header, state }))
    }

    /// The store, if it is back.
    async fn store(&self) -> Result<Arc<dyn ObjectStore>> {
        let mut state = self.0.state.lock().await;
        let reason = match &mut *state {
            State::Back(store) => return Ok(store.clone()),
            State::Away { reason, last_look } => {
                if self.0.header.is_some() && last_look.elapsed() >= PAUSE {
                    // Before it: whoever asks next must not wait too for a place that hangs.
                    *last_look = Instant::now();
                    match self.0.look().await {
                        Ok(store) => {
                            *state = State::Back(store.clone());
                            return Ok(store);
                        }
                        Err(why) => *reason = why,
                    }
                }
                reason.clone()
            }
        };
        Err(Error::Generic { store: "away", source: reason.into() })
    }

    /// What a stream of the store gives, once there is one.
    fn streamed<T: Send + 'static>(
        &self,
        open: impl FnOnce(Arc<dyn ObjectStore>) -> BoxStream<'static, Result<T>> + Send + 'static,
    ) -> BoxStream<'static, Result<T>> {
        let away = self.clone();
        stream::once(async move { away.store().await.map(open) }).try_flatten().boxed()
    }
}

impl Looked {
    async fn look(&self) -> std::result::Result<Arc<dyn ObjectStore>, String> {
        let store = self.spec.store(false).map_err(|error| format!("{error:#}"))?;
        match copies::header(store.as_ref()).await {
            Ok(found) if Some(&found) == self.header.as_ref() => Ok(store),
            Ok(_) => Err(OTHER_VAULT.to_owned()),
            Err(Error::NotFound { .. }) => Err(NO_VAULT.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Said of a place without a vault's header.
pub const NO_VAULT: &str = "it holds no vault (is its disk mounted?)";
/// Said of a place with another vault's header.
pub const OTHER_VAULT: &str = "it holds another vault";

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (away at first)", self.0.spec.name)
    }
}

#[async_trait]
impl ObjectStore for Away {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.store().await?.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store().await?.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.store().await?.get_opts(from, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.streamed(move |store| store.delete_stream(paths))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        self.streamed(move |store| store.list(prefix.as_ref()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store().await?.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store().await?.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_vault::names;
    use object_store::ObjectStoreExt;

    #[tokio::test(start_paused = true)]
    async fn a1_it_is_back_once_the_same_vault_is_there() {
        let scratch = tempfile::tempdir().unwrap();
        let place = scratch.path().join("copy");
        let spec = CopySpec::of_url(&format!("file://{}", place.display()).parse().unwrap());
        let away = Away::new(&spec, "not mounted".to_owned(), Some(Bytes::from_static(b"ours")));
        let header = Path::from(names::VAULT_HEADER);
        let look = async || away.get(&header).await.map(drop).map_err(|error| error.to_string());

        assert!(look().await.unwrap_err().contains("not mounted"));
        tokio::time::advance(PAUSE).await;
        assert!(look().await.unwrap_err().contains("cannot be used"), "it is looked for");
        std::fs::create_dir(&place).unwrap();
        assert!(look().await.unwrap_err().contains("cannot be used"), "not at every request");
        tokio::time::advance(PAUSE).await;
        assert!(look().await.unwrap_err().contains(NO_VAULT));
        let file = place.join(names::VAULT_HEADER);
        std::fs::write(&file, "theirs").unwrap();
        tokio::time::advance(PAUSE).await;
        assert!(look().await.unwrap_err().contains(OTHER_VAULT));
        assert!(away.list(None).try_collect::<Vec<_>>().await.is_err());
        std::fs::write(&file, "ours").unwrap();
        tokio::time::advance(PAUSE).await;
        look().await.unwrap();
        assert_eq!(away.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    }
}
