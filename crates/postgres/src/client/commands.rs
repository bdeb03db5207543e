//! The commands of the replication protocol, as functions.
//!
//! All need a connection opened for [`super::Purpose::Replication`] or
//! [`super::Purpose::ReplicationDatabase`].
//!
//! Source: PostgreSQL manual, "Streaming Replication Protocol".

use super::connection::Connection;
use super::error::ClientError;
use super::quote::quote_replication_identifier;
use super::row::{Row, RowError};
use bytes::Bytes;
use lifeboat_base::{Lsn, SystemId, Timeline};
use std::str::FromStr;

/// What `IDENTIFY_SYSTEM` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Which cluster.
    pub system: SystemId,
    /// Its timeline now.
    pub timeline: Timeline,
    /// End of the WAL that is flushed there.
    pub flushed: Lsn,
    /// The database of the connection; none for plain replication.
    pub database: Option<String>,
}

/// A timeline's history file, as it lies in `pg_wal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryFile {
    /// Its name, `00000002.history`.
    pub name: String,
    /// Its bytes.
    pub content: Bytes,
}

/// Whether a slot outlives its connection, and what it keeps from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotOptions {
    /// Gone with the connection.
    pub temporary: bool,
    /// Keeps WAL from now on, not from the first streaming on.
    pub reserve_wal: bool,
}

/// Where a physical slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotPosition {
    /// From where on it keeps WAL; none if it never streamed and reserves none.
    pub restart: Option<Lsn>,
    /// The timeline of that position.
    pub timeline: Option<Timeline>,
}

fn parse<T: FromStr>(row: &Row, column: &str) -> Result<T, RowError> {
    row.parse(column)
}

impl Connection {
    /// Which cluster this is, its timeline and how far its WAL is flushed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, ClientError> {
        let row = self.query_one("IDENTIFY_SYSTEM").await?;
        let read = || {
            Ok(SystemIdentity {
                system: SystemId(parse(&row, "systemid")?),
                timeline: Timeline(parse(&row, "timeline")?),
                flushed: parse(&row, "xlogpos")?,
                database: row.optional("dbname")?.filter(|name| !name.is_empty()).map(str::to_owned),
            })
        };
        read().map_err(|error| self.bad_row(error))
    }

    /// The history file of a timeline; timeline 1 has none.
    ///
    /// # Errors
    /// [`ClientError`]; the server reports an error if there is no such file.
    pub async fn timeline_history(&mut self, timeline: Timeline) -> Result<HistoryFile, ClientError> {
        let row = self.query_one(&format!("TIMELINE_HISTORY {timeline}")).await?;
        let read = || {
            let content = row.bytes("content")?.ok_or(RowError::Null { column: "content".to_owned() })?;
            // A copy, as the row shares its memory with the whole read.
            Ok(HistoryFile {
                name: row.text("filename")?.to_owned(),
                content: Bytes::copy_from_slice(content),
            })
        };
        read().map_err(|error| self.bad_row(error))
    }

    /// A server setting.
    ///
    /// # Errors
    /// [`ClientError`]; the server reports an error if there is no such setting.
    pub async fn show(&mut self, setting: &str) -> Result<String, ClientError> {
        let names: Vec<_> = setting.split('.').map(quote_replication_identifier).collect::<Result<_, _>>()?;
        let row = self.query_one(&format!("SHOW {}", names.join("."))).await?;
        let value = row.columns().first().map(|column| row.text(column).map(str::to_owned));
        value.unwrap_or(Err(RowError::NoRow)).map_err(|error| self.bad_row(error))
    }

    /// Makes a physical replication slot.
    ///
    /// # Errors
    /// [`ClientError`], among them [`super::Refusal::SlotExists`] and [`super::Refusal::TooManySlots`].
    pub async fn create_physical_slot(
        &mut self,
        slot: &str,
        options: SlotOptions,
    ) -> Result<(), ClientError> {
        let temporary = if options.temporary { " TEMPORARY" } else { "" };
        // The older spelling, which every version takes.
        let reserve = if options.reserve_wal { " RESERVE_WAL" } else { "" };
        let name = quote_replication_identifier(slot)?;
        self.run_for_slot(&format!("CREATE_REPLICATION_SLOT {name}{temporary} PHYSICAL{reserve}"), slot)
            .await?;
        Ok(())
    }

    /// Drops a replication slot that nobody reads from.
    ///
    /// # Errors
    /// [`ClientError`], among them [`super::Refusal::SlotMissing`] and [`super::Refusal::SlotInUse`].
    pub async fn drop_slot(&mut self, slot: &str) -> Result<(), ClientError> {
        let name = quote_replication_identifier(slot)?;
        self.run_for_slot(&format!("DROP_REPLICATION_SLOT {name}"), slot).await?;
        Ok(())
    }

    /// Where a physical slot is; `None` if there is no such slot. PostgreSQL 15 and newer.
    ///
    /// # Errors
    /// [`ClientError`]; older servers report a syntax error, ask `pg_replication_slots` there.
    pub async fn read_slot(&mut self, slot: &str) -> Result<Option<SlotPosition>, ClientError> {
        let command = format!("READ_REPLICATION_SLOT {}", quote_replication_identifier(slot)?);
        let row = self.run_for_slot(&command, slot).await?;
        let row = row.ok_or_else(|| self.bad_row(RowError::NoRow))?;
        let read = || {
            if row.optional("slot_type")?.is_none() {
                return Ok(None);
            }
            let restart = row.optional("restart_lsn")?.map(|_| parse(&row, "restart_lsn")).transpose()?;
            let timeline = row.optional("restart_tli")?.map(|_| parse(&row, "restart_tli")).transpose()?;
            Ok(Some(SlotPosition { restart, timeline: timeline.map(Timeline) }))
        };
        read().map_err(|error| self.bad_row(error))
    }

    /// Runs a command about a slot to its end and returns its last row.
    async fn run_for_slot(&mut self, command: &str, slot: &str) -> Result<Option<Row>, ClientError> {
        self.send(command, Some(slot)).await?;
        let mut last = None;
        while let Some(event) = self.step().await? {
            if let super::CommandEvent::Row(row) = event {
                last = Some(row);
            }
        }
        Ok(last)
    }
}
