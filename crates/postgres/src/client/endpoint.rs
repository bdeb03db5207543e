//! One address of one server.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where exactly a connection goes, as shown in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A local socket.
    Unix(PathBuf),
    /// An address, with the name that it was found under.
    Tcp {
        /// Name or address as the connection string has it.
        name: String,
        /// What it stands for.
        address: SocketAddr,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp { name, address } if *name == address.ip().to_string() => write!(f, "{address}"),
            Self::Tcp { name, address } => write!(f, "{name}:{} ({})", address.port(), address.ip()),
        }
    }
}
