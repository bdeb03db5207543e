//! A PostgreSQL client that speaks physical replication.
//!
//! Read in this order: [`Conninfo`] (what to connect to), `connect` (which server, how encrypted),
//! `auth` (the login), [`Connection`] (commands, rows, copies), [`Replication`] (WAL), `wire` below them
//! all. Why there is a client of our own: `docs/decisions/0002-replication-client.md`.
//!
//! # Invariants
//! - No password is printed or logged, by anything here.
//! - Whatever a server sends, nothing here panics or takes memory without a limit.
//! - Every wait for the network has a limit, but for the answer of a command of the caller's own.
//!
//! Deliberately absent: prepared statements, binary values, logical replication, connection pools.

mod auth;
mod cancel;
mod commands;
mod connect;
mod connection;
mod conninfo;
mod endpoint;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod passfile;
mod password;
mod quiet;
mod quote;
mod replication;
mod row;
mod server_error;
mod tls;
mod wire;

pub use cancel::CancelHandle;
pub use commands::{HistoryFile, SlotOptions, SlotPosition, SystemIdentity};
pub use connect::Purpose;
pub use connection::{CommandEvent, CommandStream, Connection, CopyOut, ResultSet, ServerVersion};
pub use conninfo::{ChannelBinding, Conninfo, ConninfoError, Host, Place, SslMode, TargetSessionAttrs};
pub use endpoint::Endpoint;
pub use error::{Advice, ClientError, Refusal};
pub use passfile::PassfileError;
pub use password::Password;
pub use quote::{quote_identifier, quote_literal, quote_replication_literal};
pub use replication::{Event, Replication, StartReplication, Status};
pub use row::{Columns, Row, RowError};
pub use server_error::ServerError;
pub use tls::TlsSetupError;
