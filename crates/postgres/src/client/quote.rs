//! Names and texts inside commands, whatever they contain.
//!
//! # Invariants
//! - What is quoted is read by the server as one name or one text, however hostile; a zero byte, which
//!   no command can carry, is refused when the command is sent.

use super::error::ClientError;

/// A name for SQL.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name for replication commands, whose grammar knows no doubled quote.
///
/// # Errors
/// [`ClientError::BadName`] for a name that holds one: no slot and no setting does.
pub(super) fn quote_replication_identifier(name: &str) -> Result<String, ClientError> {
    if name.contains('"') {
        return Err(ClientError::BadName { name: name.to_owned() });
    }
    Ok(format!("\"{name}\""))
}

/// A text for SQL, whatever `standard_conforming_strings` says.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text)
}

/// A text for replication commands (`BASE_BACKUP (LABEL '…')`), where a backslash is a backslash and
/// SQL's `E'…'` is unknown.
#[must_use]
pub fn quote_replication_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names() {
        assert_eq!(quote_identifier("a\"; drop table x; --"), "\"a\"\"; drop table x; --\"");
        assert!(quote_replication_identifier("a\" TEMPORARY").is_err());
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'b"), " E'a\\\\''b'");
        assert_eq!(quote_replication_literal("a\\'b"), "'a\\''b'");
    }
}
