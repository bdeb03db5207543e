//! The client against real servers of every version found.

mod impostors;
mod login;
mod replication;
mod sql;

use lifeboat_postgres::client::ClientError;

/// An error with all its sources, as a person would see it.
fn told(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(next) = source {
        text = format!("{text}: {next}");
        source = next.source();
    }
    text
}
