//! A fence of shell text as steps: each command its own, but for those that share the state of a shell.
//!
//! What a later command needs of an earlier one (a directory, a variable, a process in the background, a session) keeps
//! them in one step. A comment above a command is the step's name.
//!
//! # Invariants
//! - **C1 every line.** Each line of the fence that is not blank is in a step: as command, name or text for a person.
//!
//! Deliberately absent: what the commands do to the world, but for whether they change anything.

use crate::facts::commands::{Snippet, unwrap};
use crate::shell::{Command, Direction, Script};
use std::collections::BTreeSet;

/// Statements are put together from at most so many lines.
const MAX_STATEMENT_LINES: usize = 80;

/// Commands that belong together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chunk {
    /// The first line in the document.
    pub line: u32,
    /// The comments above it.
    pub comments: Vec<String>,
    /// The comments between its commands.
    pub inner: Vec<String>,
    /// The commands as they are typed; none for comments without commands.
    pub run: Option<String>,
    /// Whether it changes nothing.
    pub is_check: bool,
    /// What the document says that it prints.
    pub expect: Option<String>,
    /// Variables that it sets and that are used elsewhere.
    pub sets: BTreeSet<String>,
    /// Variables that every later command is given.
    pub exports: BTreeSet<String>,
    /// Variables that it uses.
    pub uses: BTreeSet<String>,
}

/// One statement: the lines `first..=last` of the fence.
struct Statement {
    first: usize,
    last: usize,
    script: Script,
    text: String,
}

/// The steps of a fence.
pub(super) fn chunks(snippet: &Snippet, shown: &[String]) -> Vec<Chunk> {
    let lines: Vec<&str> = snippet.code.lines.iter().map(|line| line.text.trim_end()).collect();
    let number = |at: usize| snippet.code.lines.get(at).map_or(1, |line| line.line);
    let statements = statements(&lines);
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut at = 0;
    let mut next = 0;
    while next < statements.len() {
        let last = shared(&statements, next);
        let (first_line, last_line) = (statements[next].first, statements[last].last);
        let mut comments = Vec::new();
        let mut comment_line = None;
        for (line, text) in lines.iter().enumerate().take(first_line).skip(at) {
            let text = text.trim();
            if text.is_empty() {
                // What stands above a gap is a remark of its own.
                if !comments.is_empty() {
                    chunks.extend(remark(&mut comments, comment_line.take()));
                }
            } else {
                comment_line.get_or_insert(number(line));
                comments.push(words(text));
            }
        }
        let run: Vec<&str> = lines[first_line..=last_line].to_vec();
        let of = &statements[next..=last];
        let behind = statements.get(last + 1).map_or(lines.len(), |next| next.first);
        // What a session shows behind a prompt is no line of its commands.
        let answered: Vec<&str> = (last_line + 1..behind)
            .filter(|line| lines[*line].trim().is_empty())
            .filter_map(|line| shown.get(line).map(|text| text.trim()))
            .filter(|text| !text.is_empty())
            .collect();
        let inner = lines[first_line..=last_line].iter().skip(1).map(|line| line.trim());
        let inner: Vec<String> = inner.filter(|line| line.starts_with("# ")).map(words).collect();
        let is_check = of.iter().all(|statement| changes_nothing(&statement.script));
        let expect = (!answered.is_empty() && answered.len() <= 5).then(|| answered.join("\n"));
        chunks.push(Chunk {
            line: comment_line.unwrap_or_else(|| number(first_line)),
            comments: comments.into_iter().filter(|comment| !comment.is_empty()).collect(),
            inner,
            run: Some(dedented(&run)),
            is_check,
            expect,
            sets: of.iter().flat_map(|statement| sets(&statement.script)).collect(),
            exports: of.iter().flat_map(|statement| exports(&statement.script)).collect(),
            uses: of.iter().flat_map(uses).collect(),
        });
        at = last_line + 1;
        next = last + 1;
    }
    let mut comments = Vec::new();
    let mut comment_line = None;
    for (line, text) in lines.iter().enumerate().skip(at) {
        if !text.trim().is_empty() {
            comment_line.get_or_insert(number(line));
            comments.push(words(text.trim()));
        }
    }
    chunks.extend(remark(&mut comments, comment_line));
    chunks
}

/// Comments without commands: a person does what each says.
fn remark(comments: &mut Vec<String>, line: Option<u32>) -> Vec<Chunk> {
    let line = line.unwrap_or(1);
    let comments = std::mem::take(comments).into_iter().filter(|comment| !comment.is_empty());
    (line..)
        .zip(comments)
        .map(|(line, comment)| Chunk { line, comments: vec![comment], ..Chunk::default() })
        .collect()
}

/// A comment's words, without its number.
fn words(comment: &str) -> String {
    let words = comment.trim_start_matches(['#', ' ', '=', '-']).trim_end_matches(['=', '-', ' ']);
    super::words::unnumbered(words).to_owned()
}

/// Without the blanks that stand in front of every line.
fn dedented(lines: &[&str]) -> String {
    let indent = |line: &&&str| line.len() - line.trim_start_matches(' ').len();
    let least =
        lines.iter().filter(|line| !line.trim().is_empty()).map(|line| indent(&line)).min().unwrap_or(0);
    let lines: Vec<&str> = lines.iter().map(|line| line.get(least..).unwrap_or(line.trim_start())).collect();
    lines.join("\n")
}

/// The statements of a text, each as long as a shell waits for more.
fn statements(lines: &[&str]) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let trimmed = lines[at].trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            at += 1;
            continue;
        }
        let mut found = None;
        let limit = lines.len().min(at + MAX_STATEMENT_LINES);
        for end in at..limit {
            if lines[end].ends_with('\\') && end + 1 < lines.len() {
                continue;
            }
            let text = lines[at..=end].join("\n");
            let script = parsed(&text);
            if script.refused.is_none() {
                found = Some((end, script, text));
                break;
            }
        }
        // What a shell refuses is kept as it stands, up to the next gap.
        let (end, script, text) = found.unwrap_or_else(|| {
            let gap = lines[at..]
                .iter()
                .position(|line| line.trim().is_empty())
                .map_or(lines.len(), |gap| at + gap);
            let text = lines[at..gap].join("\n");
            (gap - 1, parsed(&text), text)
        });
        statements.push(Statement { first: at, last: end, script, text });
        at = end + 1;
    }
    statements
}

/// The commands of a text, those that others are given to run among them.
fn parsed(text: &str) -> Script {
    let mut script = Script::parse(text);
    unwrap(&mut script);
    script
}

/// Whether a text is commands that only look.
pub(super) fn looks(text: &str) -> bool {
    changes_nothing(&parsed(text))
}

/// The last statement that shares the shell's state with the one at `first`.
fn shared(statements: &[Statement], first: usize) -> usize {
    let mut last = first;
    let mut at = first;
    while at <= last {
        let statement = &statements[at];
        if keeps_state(statement) {
            return statements.len() - 1;
        }
        for name in sets(&statement.script) {
            let user = statements.iter().rposition(|other| uses(other).contains(&name));
            last = last.max(user.unwrap_or(0));
        }
        at += 1;
    }
    last
}

/// Whether all that follows in the same shell depends on it.
fn keeps_state(statement: &Statement) -> bool {
    let text = statement.text.trim_end();
    if text.ends_with('&') && !text.ends_with("&&") {
        return true;
    }
    let functions = text.contains("() {") || text.starts_with("function ");
    functions
        || statement.script.commands.iter().filter(|command| command.inside.is_none()).any(|command| {
            let words: Vec<&str> = command.words.iter().map(|word| word.text.as_str()).collect();
            let alone = |shells: &[&str]| {
                words.last().is_some_and(|last| shells.contains(&last.rsplit('/').next().unwrap_or(last)))
            };
            match command.name() {
                "cd" | "pushd" | "popd" | "export" | "set" | "shopt" | "source" | "." | "alias" | "trap"
                | "eval" | "read" | "umask" | "ulimit" | "unset" => true,
                "ssh" => words.len() == 2,
                "kubectl" | "oc" | "docker" if words.contains(&"exec") => {
                    alone(&["bash", "sh", "zsh", "ash"])
                }
                "sudo" => words.contains(&"-i") || words.get(1) == Some(&"su"),
                "su" | "bash" | "sh" | "zsh" => {
                    words.len() <= 2 && !words.iter().any(|word| word.contains('.') || word.contains('/'))
                }
                _ => false,
            }
        })
}

/// The variables that a statement leaves behind.
fn sets(script: &Script) -> BTreeSet<String> {
    let mut sets = BTreeSet::new();
    for command in script.commands.iter().filter(|command| command.inside.is_none() && command.stages <= 1) {
        if command.words.is_empty() {
            sets.extend(command.assignments.iter().map(|(name, _)| name.clone()));
        }
        if matches!(command.name(), "export" | "declare" | "readonly" | "local" | "typeset") {
            let named = command.arguments().iter().filter(|word| !word.text.starts_with('-'));
            sets.extend(named.map(|word| word.text.split('=').next().unwrap_or_default().to_owned()));
        }
    }
    sets
}

/// The variables that a statement gives to every command that follows.
fn exports(script: &Script) -> BTreeSet<String> {
    let exporting =
        script.commands.iter().filter(|command| command.name() == "export" && command.inside.is_none());
    let named = exporting.flat_map(|command| command.arguments()).filter(|word| !word.text.starts_with('-'));
    named.map(|word| word.text.split('=').next().unwrap_or_default().to_owned()).collect()
}

/// The variables that a statement needs and does not make itself.
fn uses(statement: &Statement) -> BTreeSet<String> {
    let mut uses = BTreeSet::new();
    for command in &statement.script.commands {
        let targets = command.redirects.iter().map(|redirect| &redirect.target);
        let words =
            command.words.iter().chain(command.assignments.iter().map(|(_, word)| word)).chain(targets);
        uses.extend(words.flat_map(|word| word.variables.iter().cloned()));
    }
    // `${MOMENT:?say when}`
    for (at, _) in statement.text.match_indices("${") {
        let rest = &statement.text[at + 2..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(0);
        if [":?", "?", ":-", "-", "#", "%"].iter().any(|sign| rest[end..].starts_with(sign)) && end > 0 {
            uses.insert(rest[..end].to_owned());
        }
    }
    for lead in ["for ", "read ", "read -r "] {
        for (at, _) in statement.text.match_indices(lead) {
            let name = statement.text[at + lead.len()..].split([' ', ';', '\n']).next().unwrap_or_default();
            uses.remove(name);
        }
    }
    uses.retain(|name| !name.starts_with(|c: char| c.is_ascii_digit()));
    uses
}

/// The variables that a text says must be there: `${MOMENT:?say when}`.
pub(super) fn demands(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("${").filter_map(|(at, _)| {
        let rest = &text[at + 2..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
        (end > 0 && (rest[end..].starts_with(":?") || rest[end..].starts_with('?'))).then(|| &rest[..end])
    })
}

/// Whether all commands of a script only look.
fn changes_nothing(script: &Script) -> bool {
    let mut commands = script.commands.iter().filter(|command| !command.words.is_empty()).peekable();
    commands.peek().is_some() && script.refused.is_none() && commands.all(only_looks) && !writes(script)
}

fn writes(script: &Script) -> bool {
    script.commands.iter().flat_map(|command| &command.redirects).any(|redirect| {
        matches!(redirect.direction, Direction::Write | Direction::Append)
            && redirect.target.text != "/dev/null"
    })
}

/// Whether a command looks at something, ends by itself, and changes nothing.
fn only_looks(command: &Command) -> bool {
    let words: Vec<&str> = command.words.iter().map(|word| word.text.as_str()).collect();
    let has = |any: &[&str]| words.iter().any(|word| any.contains(word));
    let sub = |at: usize| {
        words.iter().skip(1).filter(|word| !word.starts_with('-')).nth(at).copied().unwrap_or_default()
    };
    match command.name() {
        "curl" => {
            let sends = |word: &&str| {
                matches!(
                    *word,
                    "-d" | "--data" | "-T" | "--upload-file" | "-F" | "--form" | "-o" | "--output" | "-O"
                ) || word.starts_with("--data")
                    || word.starts_with("-X") && !word.ends_with("GET") && *word != "-X"
            };
            let method = words
                .iter()
                .position(|word| matches!(*word, "-X" | "--request"))
                .and_then(|at| words.get(at + 1));
            !words.iter().any(sends) && method.is_none_or(|method| matches!(*method, "GET" | "HEAD"))
        }
        "wget" => has(&["--spider"]),
        "psql" => {
            // `-Atc QUERY`
            let joined = || {
                let at = words.iter().position(|word| {
                    word.starts_with('-') && !word.starts_with("--") && word.len() > 2 && word.ends_with('c')
                })?;
                words.get(at + 1).copied()
            };
            let query = command.value("-c").or_else(|| command.value("--command")).or_else(joined);
            has(&["-l", "--list"]) || query.is_some_and(only_selects)
        }
        "kubectl" | "oc" => {
            let endless = has(&["-w", "--watch", "-f", "--follow"]);
            match sub(0) {
                "get" | "describe" | "top" | "cluster-info" | "version" | "logs" | "wait" | "events"
                | "api-resources" => !endless,
                "rollout" => matches!(sub(1), "status" | "history"),
                "auth" => sub(1) == "can-i",
                // What is run inside is looked at as a command of its own.
                "exec" => {
                    has(&["--"])
                        && !words
                            .last()
                            .is_some_and(|last| matches!(last.rsplit('/').next(), Some("bash" | "sh")))
                }
                _ => false,
            }
        }
        "aws" => {
            let (service, does) = (sub(0), sub(1));
            service == "s3" && does == "ls"
                || service == "s3" && does == "cp" && words.last() == Some(&"-")
                || ["describe-", "list-", "get-", "head-"].iter().any(|lead| does.starts_with(lead))
                || does == "wait"
        }
        "gcloud" | "az" => {
            let verbs = ["describe", "list", "show", "read", "get-value", "wait"];
            words.iter().skip(1).take_while(|word| !word.starts_with('-')).any(|word| verbs.contains(word))
        }
        // What they run is looked at as a command of its own.
        "sudo" | "nohup" | "time" | "timeout" | "env" => words.len() > 1,
        "bash" | "sh" => has(&["-c", "-lc", "-ec"]),
        "gsutil" => matches!(sub(0), "ls" | "stat" | "du" | "cat"),
        "helm" => matches!(sub(0), "status" | "list" | "ls" | "history" | "get" | "test"),
        "terraform" | "tofu" => matches!(sub(0), "plan" | "validate" | "show" | "output"),
        "docker" | "docker-compose" => {
            matches!(sub(0), "ps" | "logs" | "inspect" | "images") && !has(&["-f", "--follow"])
        }
        "systemctl" => matches!(sub(0), "status" | "is-active" | "is-enabled" | "list-units"),
        "redis-cli" => {
            matches!(sub(0).to_ascii_lowercase().as_str(), "ping" | "info" | "dbsize" | "lastsave")
        }
        "patronictl" => matches!(sub(0), "list" | "history" | "topology"),
        "pgbackrest" => words.iter().any(|word| matches!(*word, "info" | "check" | "verify")),
        "pg_restore" => has(&["-l", "--list"]),
        "gzip" | "gunzip" | "zcat" | "zstd" | "xz" => {
            has(&["-t", "--test", "-tv"]) || command.position > 0 || command.name() == "zcat"
        }
        "sed" => !has(&["-i", "--in-place"]),
        "sha256sum" | "md5sum" | "sha1sum" | "grep" | "egrep" | "head" | "tail" | "jq" | "wc" | "awk"
        | "sort" | "uniq" | "cut" | "tr" | "cat" | "ls" | "df" | "du" | "ps" | "date" | "echo" | "test"
        | "[" | "true" | "pg_isready" | "dig" | "nslookup" | "host" | "ping" | "nc" | "netstat" | "ss"
        | "uptime" | "free" | "stat" | "diff" | "journalctl" | "lsof" | "yq" | "column" => {
            !has(&["-f", "--follow"]) || !matches!(command.name(), "tail" | "journalctl")
        }
        _ => false,
    }
}

/// Whether every statement of a query only reads.
pub(super) fn only_selects(query: &str) -> bool {
    let mut statements = query.split(';').map(str::trim).filter(|statement| !statement.is_empty()).peekable();
    statements.peek().is_some()
        && statements.all(|statement| {
            let statement = statement
                .lines()
                .filter(|line| !line.trim_start().starts_with("--"))
                .collect::<Vec<_>>()
                .join(" ");
            let small = statement.trim().to_ascii_lowercase();
            small.is_empty()
                || ["select ", "show ", "explain ", "\\l", "\\d"].iter().any(|lead| small.starts_with(lead))
                    && !small.contains(" into ")
                    && !["pg_promote", "pg_terminate", "pg_switch_wal", "nextval", "setval"]
                        .iter()
                        .any(|name| small.contains(name))
        })
}
