//! What a server reports: errors and notices, and what their codes mean to us.
//!
//! Source: PostgreSQL manual, "PostgreSQL Error Codes" and "Error and Notice Message Fields".

use super::connect::Purpose;
use super::endpoint::Endpoint;
use super::error::{Advice, ClientError, Refusal};
use super::quote::quote_identifier;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;
use std::fmt;
use std::net::IpAddr;

/// An error or notice in the server's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `NOTICE`, …; not translated.
    pub severity: String,
    /// SQLSTATE, five characters.
    pub code: String,
    /// What happened, perhaps translated.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it, by the server.
    pub hint: Option<String>,
    /// The server's C function that reported it; not translated, absent behind some poolers.
    pub routine: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.code, self.message)?;
        for more in [&self.detail, &self.hint].into_iter().flatten() {
            write!(f, "; {more}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

/// What was going on when the server reported an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    pub(super) purpose: Purpose,
    pub(super) encrypted: bool,
    /// Our own address, for want of the one that the server sees.
    pub(super) local: Option<IpAddr>,
    /// What was asked, in a few words.
    pub(super) doing: &'a str,
    /// The slot that it was about.
    pub(super) slot: Option<&'a str>,
}

impl ServerError {
    /// Reads the fields; a malformed rest is left out, as half an error says more than none.
    pub(super) fn read(mut fields: ErrorFields<'_>) -> Self {
        let mut error = Self::default();
        while let Ok(Some(field)) = fields.next() {
            let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                // The translated severity comes first; the plain one takes its place.
                b'S' | b'V' => error.severity = text,
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                b'R' => error.routine = Some(text),
                _ => {}
            }
        }
        error
    }

    /// What the caller should do, as far as the code alone tells.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self.code.get(..2).unwrap_or_default() {
            // Connection trouble, rollback, resources, operator intervention, system errors.
            "08" | "40" | "53" | "57" | "58" => Advice::Retry,
            "28" | "3D" | "42" | "55" => Advice::FixConfiguration,
            _ => Advice::GiveUp,
        }
    }

    /// The client's error for it: a refusal that is understood, or the server's words as they are.
    pub(super) fn explain(self, situation: &Situation<'_>) -> ClientError {
        let endpoint = situation.endpoint.clone();
        let source = Box::new(self);
        match source.refusal(situation) {
            Some(refusal) => ClientError::Refusal { refusal, source },
            None => ClientError::Server { endpoint, doing: situation.doing.to_owned(), source },
        }
    }

    fn refusal(&self, situation: &Situation<'_>) -> Option<Refusal> {
        let endpoint = situation.endpoint.clone();
        let user = situation.user.to_owned();
        let replicates = situation.purpose != Purpose::Sql;
        // Names of settings stay as they are in every language.
        let names = |setting: &str| self.message.contains(setting);
        Some(match (self.code.as_str(), situation.slot.map(quote_identifier)) {
            ("28P01", _) => Refusal::WrongPassword { endpoint, user },
            // The name of a file is not translated either.
            ("28000", _) if names("pg_hba.conf") => {
                Refusal::NotInHba { line: self.hba_line(situation), endpoint, user }
            }
            ("28000", _) => Refusal::NotAuthorized { endpoint, user },
            ("42501", _) if replicates => {
                Refusal::NotPermitted { endpoint, quoted_user: quote_identifier(&user), user }
            }
            ("3D000", _) => Refusal::NoDatabase { endpoint, database: situation.database.to_owned() },
            ("57P03", _) => Refusal::NotReady { endpoint },
            ("57P01" | "57P02", _) => Refusal::ShuttingDown { endpoint },
            ("53300", _) if names("max_wal_senders") => Refusal::TooManyWalSenders { endpoint },
            ("53300", _) => Refusal::TooManyConnections { endpoint },
            ("53400", Some(_)) => Refusal::TooManySlots { endpoint },
            ("58P01", _) if replicates => Refusal::WalRemoved { endpoint },
            ("42704", Some(slot)) => Refusal::SlotMissing { endpoint, slot },
            ("42710", Some(slot)) => Refusal::SlotExists { endpoint, slot },
            ("55006", Some(slot)) => Refusal::SlotInUse { endpoint, slot },
            ("55000", _) if names("wal_level") => Refusal::WalLevel { endpoint },
            ("55000", Some(slot)) => Refusal::SlotLost { endpoint, slot },
            _ => return None,
        })
    }

    /// The line of `pg_hba.conf` that would let us in.
    fn hba_line(&self, situation: &Situation<'_>) -> String {
        let database = match situation.purpose {
            Purpose::Replication => "replication".to_owned(),
            Purpose::Sql | Purpose::ReplicationDatabase => hba_word(situation.database),
        };
        let user = hba_word(situation.user);
        // The server names the address it sees, which behind NAT is not ours.
        let seen = self.message.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'));
        let address =
            seen.filter(|word| word.len() > 2).find_map(|word| word.parse().ok()).or(situation.local);
        match (situation.endpoint, address) {
            (Endpoint::Unix(_), _) => format!("local {database} {user} scram-sha-256"),
            (Endpoint::Tcp { .. }, address) => {
                let kind = if situation.encrypted { "hostssl" } else { "host" };
                let network = match address {
                    Some(IpAddr::V4(address)) => format!("{address}/32"),
                    Some(IpAddr::V6(address)) => format!("{address}/128"),
                    None => "samenet".to_owned(),
                };
                format!("{kind} {database} {user} {network} scram-sha-256")
            }
        }
    }
}

/// A name as `pg_hba.conf` wants it: quoted unless it is plainly a name.
fn hba_word(name: &str) -> String {
    let keyword = ["all", "replication", "sameuser", "samerole", "samegroup"].contains(&name);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !keyword && !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        quote_identifier(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};

    fn error(code: &str, message: &str, routine: &str) -> ServerError {
        ServerError {
            severity: "FATAL".to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
            routine: Some(routine.to_owned()),
            ..ServerError::default()
        }
    }

    #[track_caller]
    fn check(error: ServerError, slot: Option<&str>, advice: Advice, expected: &str) {
        let endpoint =
            Endpoint::Tcp { name: "db".to_owned(), address: SocketAddr::from(([10, 0, 0, 1], 5432)) };
        let situation = Situation {
            endpoint: &endpoint,
            user: "life\"boat",
            database: "app",
            purpose: Purpose::Replication,
            encrypted: false,
            local: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9))),
            doing: "START_REPLICATION",
            slot,
        };
        let explained = error.explain(&situation);
        assert_eq!(explained.advice(), advice, "{explained}");
        let shown = explained.to_string();
        assert!(shown.contains(expected), "{shown}");
    }

    #[test]
    fn the_line_for_pg_hba_is_told() {
        let seen = "no pg_hba.conf entry for replication connection from host \"192.0.2.7\", user \"x\"";
        check(
            error("28000", seen, "ClientAuthentication"),
            None,
            Advice::FixConfiguration,
            "host replication \"life\"\"boat\" 192.0.2.7/32 scram-sha-256",
        );
        check(
            error("28000", "… pg_hba.conf …", "ClientAuthentication"),
            None,
            Advice::FixConfiguration,
            "10.0.0.9/32",
        );
    }

    #[test]
    fn refusals_are_known_by_code_in_any_language() {
        let fix = Advice::FixConfiguration;
        check(error("28000", "???", "x"), None, fix, "check that the role exists");
        check(error("28P01", "???", "auth_failed"), None, fix, "the password is wrong");
        check(error("42501", "???", "x"), None, fix, "alter role \"life\"\"boat\" replication");
        check(error("42704", "???", "x"), Some("s"), Advice::GiveUp, "slot \"s\" does not exist");
        check(error("55006", "???", "x"), Some("s"), Advice::Retry, "is in use");
        check(error("58P01", "???", "x"), Some("s"), Advice::GiveUp, "no longer has the WAL");
        check(error("57P03", "???", "x"), None, Advice::Retry, "starting up");
        check(error("57P01", "???", "x"), None, Advice::Retry, "shutting down");
        check(error("53300", "… max_wal_senders …", "x"), None, Advice::Retry, "max_wal_senders");
        check(error("53300", "???", "x"), None, Advice::Retry, "max_connections");
        check(error("XX000", "???", "x"), None, Advice::GiveUp, "reported an error");
        check(error("", "", ""), None, Advice::GiveUp, "reported an error");
    }
}
