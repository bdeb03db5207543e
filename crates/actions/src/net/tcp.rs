//! An address, and whether something listens there.

use lifeboat_core::runbook::Tcp;
use tokio::net::TcpStream;

/// What was seen; or what is wrong with it.
pub(super) async fn look(with: &Tcp) -> Result<String, String> {
    match TcpStream::connect(&with.address).await {
        Ok(_) => Ok(format!("{} listens", with.address)),
        Err(error) => Err(format!("{} cannot be reached: {error}", with.address)),
    }
}
