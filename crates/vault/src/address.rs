//! Addresses of copies: `file:///…`, `s3://bucket/path`, `gs://…`, `az://…`, to object stores.
//!
//! Credentials come from the environment, as each cloud's own tools read them (`AWS_…`, `GOOGLE_…`,
//! `AZURE_…`); an address never holds one.

mod rooted;

use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, RetryConfig};
use std::sync::Arc;
use std::time::Duration;

/// A store that does not answer is given up after this long, so that another copy can be asked.
const RETRY_LIMIT: Duration = Duration::from_secs(15);
const RETRIES: usize = 4;

/// Why an address leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Not an address.
    #[error(
        "`{0}` is not an address of a copy; one looks like file:///var/lib/lifeboat/vault or s3://bucket/path"
    )]
    Syntax(String),
    /// Not a store that Lifeboat speaks to.
    #[error("`{0}` begins with none of file://, s3://, gs://, az://")]
    Scheme(String),
    /// A directory that cannot be used.
    #[error("directory {path} cannot be used")]
    Directory {
        /// The directory.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The store's own settings are wrong or missing.
    #[error("{address} cannot be opened; look at the credentials and the region in the environment")]
    Store {
        /// The address.
        address: String,
        /// What the store's client said.
        source: object_store::Error,
    },
}

/// Settings that the environment holds, by name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Opens the store at `address`. A directory is made if `create`, and must exist otherwise.
///
/// # Errors
/// [`AddressError`]; nothing is asked of a remote store yet.
pub fn open(
    address: &str,
    create: bool,
    environment: Environment<'_>,
) -> Result<Arc<dyn ObjectStore>, AddressError> {
    let url = url::Url::parse(address).map_err(|_| AddressError::Syntax(address.to_owned()))?;
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_LIMIT, ..RetryConfig::default() };
    let store_error = |source| AddressError::Store { address: address.to_owned(), source };
    let bucket = || url.host_str().filter(|h| !h.is_empty()).ok_or(AddressError::Syntax(address.to_owned()));
    match url.scheme() {
        "file" => {
            let path = url.to_file_path().map_err(|()| AddressError::Syntax(address.to_owned()))?;
            let directory = |source| AddressError::Directory { path: path.display().to_string(), source };
            if create {
                std::fs::create_dir_all(&path).map_err(directory)?;
            }
            std::fs::read_dir(&path).map_err(directory)?;
            Ok(Arc::new(rooted::RootedStore::open(&path).map_err(directory)?))
        }
        "s3" => {
            let mut builder =
                object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket()?).with_retry(retry);
            if let Some(region) = environment("AWS_REGION").or_else(|| environment("AWS_DEFAULT_REGION")) {
                builder = builder.with_region(region);
            }
            if let Some(endpoint) =
                environment("AWS_ENDPOINT_URL_S3").or_else(|| environment("AWS_ENDPOINT_URL"))
            {
                builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
            }
            prefixed(builder.build().map_err(store_error)?, &url)
        }
        "gs" => {
            let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket()?)
                .with_retry(retry);
            prefixed(builder.build().map_err(store_error)?, &url)
        }
        "az" => {
            let builder = object_store::azure::MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket()?)
                .with_retry(retry);
            prefixed(builder.build().map_err(store_error)?, &url)
        }
        _ => Err(AddressError::Scheme(address.to_owned())),
    }
}

fn prefixed(store: impl ObjectStore, url: &url::Url) -> Result<Arc<dyn ObjectStore>, AddressError> {
    match url.path().trim_matches('/') {
        "" => Ok(Arc::new(store)),
        prefix => Ok(Arc::new(PrefixStore::new(store, prefix))),
    }
}
