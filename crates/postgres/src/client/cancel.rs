//! Ending a running command from elsewhere.
//!
//! # Invariants
//! - The request goes to the very address that the session has, and encrypted if the session is: the key
//!   in it lets whoever reads it end the session's commands.
//!
//! Source: PostgreSQL manual, "Canceling Requests in Progress".

use super::connect::open_channel;
use super::conninfo::Keepalive;
use super::endpoint::Endpoint;
use super::error::ClientError;
use super::tls::Tls;
use bytes::BytesMut;
use postgres_protocol::message::frontend;
use std::fmt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Where a cancel request must go: the very address that the session has.
#[derive(Clone)]
pub(super) struct CancelTarget {
    pub(super) endpoint: Endpoint,
    pub(super) tls: Option<Tls>,
    pub(super) name: String,
    pub(super) keepalive: Keepalive,
    pub(super) limit: Duration,
}

/// Ends a connection's running command from elsewhere.
#[derive(Clone)]
pub struct CancelHandle {
    pub(super) target: CancelTarget,
    /// Process and secret, as the server gave them.
    pub(super) key: (i32, i32),
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelHandle({}, process {})", self.target.endpoint, self.key.0)
    }
}

impl CancelHandle {
    /// Asks the server to end the command. The command's own stream tells whether it did; an encrypted
    /// session is cancelled over an encrypted one.
    ///
    /// # Errors
    /// [`ClientError`] if the server could not be asked.
    pub async fn cancel(&self) -> Result<(), ClientError> {
        let CancelTarget { endpoint, tls, name, keepalive, limit } = &self.target;
        let request = async {
            let mut channel = open_channel(endpoint, keepalive, tls.as_ref(), name).await?;
            if tls.is_some() && !channel.encrypted {
                return Err(ClientError::TlsRefused { endpoint: endpoint.clone(), mode: "require" });
            }
            let mut request = BytesMut::new();
            frontend::cancel_request(self.key.0, self.key.1, &mut request);
            let broken = |source| ClientError::Broken { endpoint: endpoint.clone(), source };
            channel.stream.write_all(&request).await.map_err(broken)?;
            channel.stream.flush().await.map_err(broken)?;
            // The server closes once it has acted; how it closes does not matter.
            let _ = channel.stream.read_u8().await;
            Ok(())
        };
        let late = |_| ClientError::ConnectTimeout { endpoint: endpoint.to_string(), limit: *limit };
        timeout(*limit, request).await.map_err(late)?
    }
}
