//! Runs PostgreSQL servers of our own: on a restored directory, for a check, a drill or for good.
//!
//! # Invariants
//! - **V1 nobody is disturbed.** A server that we start listens on a private socket only, archives nothing,
//!   connects nowhere and loads nothing that may be missing here. These settings stand on its command line,
//!   which no file of production's can override.
//! - **V2 no false end.** A server counts as recovered only when it paused at its target; one that opened by
//!   itself, or stopped short, is an error.
//! - **V3 never as root.** PostgreSQL refuses; as root, we run it as the directory's owner.
//!
//! Deliberately absent: what is restored, and to which moment.

mod account;
mod configuration;
mod install;
mod run;
mod settings;
mod stranded;

pub(crate) use account::first_closed;
pub use account::{Account, server_account};
pub(crate) use configuration::{OUR_FILES, SOCKET_PREFIX, configure, parent_of_sockets};
pub use configuration::{configured_port, conninfo_value, write_configuration};
pub use install::{Installation, InstallationError, find};
pub use run::{RECOVERED_LOG, Server, ServerError, StartOptions, end_orphan};
pub use settings::{Needs, isolation};
pub use stranded::{end_stranded, stranded};
