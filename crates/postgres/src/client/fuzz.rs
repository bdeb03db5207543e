//! One entry per decoder of what a server, or a person's connection string, gives: bytes in, nothing out, no
//! panic, nothing allocated by a length that was only claimed.

use super::Conninfo;
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
pub fn conninfo(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(info) = Conninfo::parse(&text, &|_| None) {
        _ = (info.to_string(), info.without_secrets());
    }
}
