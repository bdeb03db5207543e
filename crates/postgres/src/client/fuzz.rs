//! One entry per decoder of what a server, or a person's connection string, gives: bytes in, nothing out, no
//! panic, nothing allocated by a length that was only claimed.

use super::Conninfo;
use super::passfile::{self, Wanted};
use super::replication;
use super::row::{Columns, Row, read_columns};
use super::server_error::ServerError;
use super::wire::{Incoming, MESSAGE_LIMIT_BYTES, decode};
use bytes::BytesMut;
use postgres_protocol::message::backend::Message;

/// Messages, one after the other, as a server sends them.
pub fn messages(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    let mut columns: Columns = vec!["a".to_owned(), "b".to_owned()].into();
    while let Ok(Some(message)) = decode(&mut buffer, MESSAGE_LIMIT_BYTES) {
        match message {
            Incoming::CopyData(body) => _ = replication::decode(body),
            Incoming::Other(Message::RowDescription(body)) => {
                columns = read_columns(&body).unwrap_or(columns);
            }
            Incoming::Other(Message::DataRow(body)) => {
                if let Some(row) = Row::read(&columns, &body) {
                    _ = (row.at(0), row.parse::<u32>("a"));
                }
            }
            Incoming::Other(Message::ErrorResponse(body)) => _ = ServerError::read(body.fields()).to_string(),
            _ => {}
        }
    }
}

/// Connection strings.
///
/// # Panics
/// When what is written for a child process does not read back as the same.
pub fn conninfo(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Conninfo::parse(&text, &|_| None) {
        Ok(info) => {
            _ = (info.to_string(), format!("{info:?}"));
            let written = info.without_secrets();
            let again = Conninfo::parse(&written, &|_| None);
            assert!(
                again.as_ref().is_ok_and(|again| again.without_secrets() == written),
                "{written}: {again:?}"
            );
        }
        Err(error) => _ = error.to_string(),
    }
}

/// Password files.
pub fn passfile(bytes: &[u8]) {
    let wanted = Wanted { host: "db", port: 5432, database: "app", user: "me" };
    _ = passfile::find(&String::from_utf8_lossy(bytes), wanted);
}
