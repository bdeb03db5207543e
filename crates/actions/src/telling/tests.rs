//! Secrets planted everywhere, cut anywhere.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use std::sync::Mutex;

fn told(secrets: &[&str], chunks: &[&[u8]]) -> (String, Vec<String>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let live = Arc::clone(&lines);
    let redactor = Arc::new(Redactor::new(secrets.iter().copied()));
    let mut telling =
        Telling::new(&redactor, Box::new(move |line| live.lock().unwrap().push(line.to_owned())));
    chunks.iter().for_each(|chunk| telling.push(0, chunk));
    let text = telling.finish();
    let lines = lines.lock().unwrap().clone();
    (text, lines)
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(Redactor::new([]).text(text), expected);
}

#[test]
fn what_acts_on_a_terminal_is_taken_out() {
    let (text, lines) = told(
        &[],
        &[
            b"\x1b[31mred\x1b[0m \x1b]0;title\x07done\r\n50%\r100%\n\x1b]0;broken\nnext\x08 \xe2\x82",
            b"\xac \xff\n\x1b(Bend",
        ],
    );
    assert_eq!(text, "red done\n50%\n100%\n\nnext \u{20ac} \u{fffd}\nend\n");
    assert_eq!(lines, text.lines().collect::<Vec<_>>());
}

#[test]
fn what_nobody_declared_is_known_by_how_it_is_written() {
    check("PGPASSWORD=hunter2 psql", "PGPASSWORD=[redacted] psql");
    check(r#"{"password": "hun ter2", "a": 1}"#, r#"{"password": "[redacted]", "a": 1}"#);
    check("ALTER ROLE app PASSWORD 'hunter2';", "ALTER ROLE app PASSWORD '[redacted]';");
    check("tool --db-password hunter2 --x", "tool --db-password [redacted] --x");
    check("aws_secret_access_key = abc/def+ghi", "aws_secret_access_key = [redacted]");
    check("key AKIAIOSFODNN7EXAMPLE.", "key [redacted]");
    check("> Authorization: Basic YTpi", "> Authorization: [redacted]");
    check("authentication by Bearer abcdefgh12", "authentication by Bearer [redacted]");
    check("postgres://app:hun/t@er2@db:5432/x", "postgres://app:[redacted]@db:5432/x");
    check("cookie: a=b; c=d", "cookie: [redacted]");
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\ndef\n-----END OPENSSH PRIVATE KEY-----";
    check(&format!("a\n{key}\nb\n"), "a\n[redacted]\n[redacted]\n[redacted]\n[redacted]\nb\n");
    check(&key.replace('\n', r"\n"), "[redacted]");
}

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "FATAL:  password authentication failed for user \"app\"",
        "http://localhost:8080/a@b and mail@example.org",
        "https://db.internal/path",
        "the tokeniser, the secretary",
        "Basic checks passed",
    ] {
        check(text, text);
    }
}

#[test]
fn a_variables_name_tells_whether_it_holds_a_secret() {
    for name in ["PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "github_token", "DB_PWD"] {
        assert!(names_a_secret(name), "{name}");
    }
    for name in ["PWD", "OLDPWD", "PGPASSFILE", "AWS_TOKEN_FILE", "SSH_AUTH_SOCK", "HOME"] {
        assert!(!names_a_secret(name), "{name}");
    }
}

#[test]
fn e1_a_secret_of_many_lines_goes_line_by_line() {
    let (text, _) = told(&["first line\n  second line\n"], &[b"> second line\n> first line\n"]);
    assert_eq!(text, "> [redacted]\n> [redacted]\n");
}

#[test]
fn e1_a_very_long_line_hides_no_secret_wherever_it_is_cut() {
    for before in [0, 130_900, 131_060, 131_072, 140_000, 400_000] {
        let line = format!("{} s3cret-w0rd {}", "x".repeat(before), "y ".repeat(150_000));
        let chunks: Vec<&[u8]> = line.as_bytes().chunks(4096).collect();
        let (text, _) = told(&["s3cret-w0rd"], &chunks);
        assert!(!text.contains("s3cret-w0rd") && text.contains("[redacted]"), "{before}");
        let line = format!("{} password={}", "x".repeat(before), "p4ss".repeat(150_000));
        let chunks: Vec<&[u8]> = line.as_bytes().chunks(4096).collect();
        assert!(!told(&[], &chunks).0.contains("p4ss"), "{before}");
    }
}

/// How a secret may be written.
fn written(secret: &str, how: usize) -> String {
    let bytes = secret.as_bytes();
    match how {
        0 => secret.to_owned(),
        1 => STANDARD.encode(format!("user:{secret}")),
        2 => STANDARD.encode(format!("{secret}!")),
        3 => STANDARD.encode(format!("u:{secret}\n")),
        4 => bytes.iter().map(|byte| format!("%{byte:02X}")).collect(),
        5 => url::form_urlencoded::byte_serialize(bytes).collect(),
        6 => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        7 => serde_json::Value::from(secret).to_string(),
        _ => format!("'{}'", secret.replace('\'', r"'\''")),
    }
}

proptest! {
    #[test]
    fn e1_a3_no_secret_is_told_wherever_it_stands_and_however_it_is_cut(
        secret in "[!-~]{4,12}( [!-~]{1,8})?",
        parts in prop::collection::vec(("[a-z \n:=/]{0,12}", 0..9_usize), 1..5),
        cuts in prop::collection::vec(1..9_usize, 1..9),
    ) {
        let mut all = String::new();
        for (around, how) in &parts {
            all.push_str(around);
            all.push_str(&written(&secret, *how));
            all.push(' ');
        }
        let (mut chunks, mut rest) = (Vec::new(), all.as_bytes());
        for cut in cuts.iter().cycle() {
            let (chunk, behind) = rest.split_at((*cut).min(rest.len()));
            chunks.push(chunk);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        let (text, lines) = told(&[&secret], &chunks);
        // What the mark itself, or the text around, happens to hold is no leak.
        let around: String = parts.iter().map(|(around, _)| around.as_str()).collect();
        prop_assume!(!"[redacted]".contains(&secret) && !around.contains(&secret));
        for how in 0..9 {
            let leak = written(&secret, how);
            prop_assert!(!text.contains(&leak), "{leak} in {text}");
            prop_assert!(!lines.iter().any(|line| line.contains(&leak)));
        }
    }
}
