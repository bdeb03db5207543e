//! What a text of SQL is: what it only reads, how a value stands in it.

/// A text as a literal of SQL, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', r"\\")),
        false => format!("'{doubled}'"),
    }
}

/// Statements that change nothing begin so.
const READING: [&str; 5] = ["select", "show", "explain", "values", "table"];

/// Functions that change something though a transaction that only reads may call them; beginnings of names.
const CHANGING: [&str; 24] = [
    "pg_terminate_backend",
    "pg_cancel_backend",
    "pg_promote",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_switch_wal",
    "pg_create_",
    "pg_drop_",
    "pg_copy_",
    "pg_wal_replay_pause",
    "pg_wal_replay_resume",
    "pg_backup_",
    "pg_replication_",
    "pg_logical_",
    "pg_advisory_",
    "pg_try_advisory_",
    "pg_notify",
    "pg_stat_reset",
    "pg_import_",
    "pg_logfile_",
    "pg_file_",
    "dblink",
    "set_config",
    "nextval",
];

/// Whether a text only reads (P2).
pub(super) fn reads_only(text: &str) -> bool {
    let plain = plain(&text.to_ascii_lowercase());
    let mut statements = plain.split(';').map(str::trim).filter(|statement| !statement.is_empty()).peekable();
    statements.peek().is_some()
        && statements.all(|statement| {
            let mut words = statement.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).peekable();
            let begins = words.find(|word| !word.is_empty()).is_some_and(|first| READING.contains(&first));
            let changes = |word: &str| {
                matches!(word, "into" | "update" | "insert" | "delete" | "analyze" | "analyse")
                    || CHANGING.iter().any(|name| word.starts_with(name))
            };
            begins && !words.any(changes)
        })
}

/// Without comments, and with quoted texts and names emptied; `;` then only ends statements.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let behind = if rest.starts_with("--") {
            rest.find('\n').map(|at| &rest[at..])
        } else if rest.starts_with("/*") {
            after_comment(rest)
        } else if c == '\'' {
            // Where a backslash may hide the end of a text, what follows is not understood.
            if out.ends_with('e') && rest.contains('\\') { None } else { after_quote(rest, '\'') }
        } else if c == '"' {
            // A name in quotes is a name still.
            let behind = after_quote(rest, '"');
            let named = behind.map_or(rest, |behind| &rest[..rest.len() - behind.len()]);
            out.extend(named.chars().filter(|c| *c != '"' && *c != ';'));
            behind
        } else if let Some(tag) = dollar_tag(rest) {
            rest[tag.len()..].find(tag).map(|at| &rest[tag.len() + at + tag.len()..])
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        match behind {
            Some(behind) => rest = behind,
            None if rest.starts_with("--") => break,
            // Not ended: nothing is known about it.
            None => return "unreadable".to_owned(),
        }
    }
    out
}

/// Comments lie within one another.
fn after_comment(text: &str) -> Option<&str> {
    let (mut depth, mut rest) = (0_u32, text);
    loop {
        if let Some(behind) = rest.strip_prefix("/*") {
            depth += 1;
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = behind;
            if depth == 0 {
                return Some(rest);
            }
        } else {
            let c = rest.chars().next()?;
            rest = &rest[c.len_utf8()..];
        }
    }
}

fn after_quote(text: &str, quote: char) -> Option<&str> {
    let mut rest = &text[quote.len_utf8()..];
    loop {
        rest = &rest[rest.find(quote)? + quote.len_utf8()..];
        match rest.strip_prefix(quote) {
            Some(behind) => rest = behind,
            None => return Some(rest),
        }
    }
}

/// `$$` or `$tag$` at the beginning.
fn dollar_tag(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let end = inner.find('$')?;
    let tag = &inner[..end];
    let is_tag = !tag.starts_with(|c: char| c.is_ascii_digit())
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_tag.then(|| &text[..end + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, reads: bool) {
        assert_eq!(reads_only(text), reads, "{text}");
    }

    #[test]
    fn p2_what_is_not_known_to_read_writes() {
        check("select 1", true);
        check("  -- why\nSELECT count(*) FROM orders;\n/* a /* b */ c */ show timezone;", true);
        check("(select 1) union (select 2)", true);
        check("values (1), (2); table orders", true);
        check("explain select ';delete from x'", true);
        check("select $a$ ; drop table t; $a$", true);
        check("select 'it''s; delete'", true);
        for text in [
            "",
            ";",
            "delete from orders",
            "select 1; delete from orders",
            "explain analyze delete from orders",
            "with gone as (delete from orders returning 1) select * from gone",
            "select * into copy from orders",
            "select pg_terminate_backend(1)",
            "select \"pg_promote\"()",
            "select pg_catalog.pg_switch_wal()",
            "select E'\\'; delete from orders; --'",
            "select 'unended",
            "/* unended select 1",
            "do $$ begin delete from orders; end $$",
            "copy orders to program 'rm'",
            "begin; select 1",
        ] {
            check(text, false);
        }
    }

    #[test]
    fn a_value_cannot_end_its_literal() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }
}
