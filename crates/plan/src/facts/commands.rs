//! The commands of a document: each fence of shell text, and each command in running text, parsed.

use super::procedures;
use crate::document::{Block, Code, Document, Kind, Place};
use crate::shell::{Command, Refused, Script, Word};

/// A piece of shell text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The section that it stands in.
    pub section: usize,
    /// The procedure or scenario that it belongs to.
    pub procedure: usize,
    /// The block that it stands in.
    pub block: usize,
    /// Its lines; prompts are blanked out.
    pub code: Code,
    /// Its commands, and why a shell would refuse it.
    pub script: Script,
    /// Whether it stands in running text.
    pub inline: bool,
}

/// Programs whose name at the beginning of unmarked code says that it is shell text.
const PROGRAMS: &[&str] = &[
    "kubectl",
    "aws",
    "gcloud",
    "gsutil",
    "az",
    "terraform",
    "tofu",
    "helm",
    "eksctl",
    "psql",
    "pg_dump",
    "pg_restore",
    "pg_basebackup",
    "createdb",
    "dropdb",
    "curl",
    "wget",
    "npm",
    "docker",
    "docker-compose",
    "systemctl",
    "ssh",
    "scp",
    "rsync",
    "ansible-playbook",
    "mysql",
    "mysqldump",
    "mongodump",
    "mongorestore",
    "redis-cli",
    "sudo",
    "git",
    "velero",
    "pgbackrest",
    "wal-g",
    "barman",
    "patronictl",
    "etcdctl",
    "vault",
    "doctl",
    "oc",
    "bash",
    "sh",
    "make",
    "cd",
    "export",
];

impl Snippet {
    /// The place of a word.
    #[must_use]
    pub fn place(&self, word: &Word) -> Place {
        self.code.place(
            word.line,
            word.column,
            word.raw.lines().next().map_or(1, |line| line.chars().count()),
        )
    }

    /// The place of a command: from its first word to its last on that line.
    #[must_use]
    pub fn whole(&self, command: &Command) -> Place {
        let Some(first) = command.words.first().or(command.assignments.first().map(|(_, word)| word)) else {
            return self.code.place(1, 1, 1);
        };
        let on_line = command.words.iter().filter(|word| word.line == first.line);
        let end = on_line
            .map(|word| word.column + word.raw.lines().next().map_or(0, |line| line.chars().count()))
            .max();
        self.code.place(
            first.line,
            first.column,
            end.unwrap_or(first.column + 1).saturating_sub(first.column),
        )
    }

    /// The place where a shell would refuse it.
    #[must_use]
    pub fn refused_at(&self, refused: &Refused) -> Place {
        self.code.place(refused.line, refused.column, 1)
    }
}

/// All commands of a document, in its order.
#[must_use]
pub fn find(document: &Document) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    for (number, block) in document.blocks.iter().enumerate() {
        match &block.kind {
            Kind::Code(code) => {
                if let Some(code) = shell_text(code) {
                    snippets.push(snippet(document, number, block, code, false));
                }
            }
            Kind::Paragraph(text) | Kind::Item(crate::document::Item { text, .. }) => {
                for (from, to) in text.code() {
                    let words = text.plain()[from..to].trim();
                    let mut parts = words.split_whitespace();
                    let is_command =
                        parts.next().is_some_and(|first| PROGRAMS.contains(&first)) && parts.next().is_some();
                    if is_command && !words.contains('\n') {
                        let place = text.place(from, to);
                        let line = crate::document::CodeLine {
                            line: place.line,
                            column: place.column,
                            text: words.to_owned(),
                        };
                        let code = Code { language: "sh".to_owned(), lines: vec![line] };
                        snippets.push(snippet(document, number, block, code, true));
                    }
                }
            }
            Kind::Table(_) | Kind::Html(_) => {}
        }
    }
    snippets
}

fn snippet(document: &Document, number: usize, block: &Block, code: Code, inline: bool) -> Snippet {
    let mut script = Script::parse(&code.text());
    unwrap(&mut script);
    let procedure = procedures::owner(document, block.section).unwrap_or(block.section);
    Snippet { section: block.section, procedure, block: number, code, script, inline }
}

/// The lines of a fence that a person would type; none if it is no shell text.
fn shell_text(code: &Code) -> Option<Code> {
    let mut code = code.clone();
    let is_session =
        matches!(code.language.as_str(), "console" | "shell-session" | "shellsession" | "terminal");
    let prompted = |line: &str| line.trim_start().starts_with("$ ");
    let has_prompts = code.lines.iter().any(|line| prompted(&line.text));
    // A session without a prompt is what a machine said.
    let is_shell =
        matches!(code.language.as_str(), "bash" | "sh" | "shell" | "zsh") || is_session && has_prompts;
    if !is_shell {
        let mut lines = code
            .lines
            .iter()
            .map(|line| line.text.trim())
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next()?;
        let first = first.strip_prefix("$ ").unwrap_or(first);
        let name = first.split_whitespace().next()?;
        let may_be = code.language.is_empty() || is_session;
        if !(may_be && PROGRAMS.contains(&name) && first.contains(' ')) {
            return None;
        }
    }
    if has_prompts {
        let mut goes_on = false;
        for line in &mut code.lines {
            let typed = prompted(&line.text);
            if typed {
                line.text = line.text.replacen("$ ", "  ", 1);
            } else if !goes_on {
                // What the machine answers.
                line.text.clear();
            }
            goes_on = (typed || goes_on) && line.text.ends_with('\\');
        }
    }
    Some(code)
}

/// Adds the commands that other commands are given to run: `sudo`, `kubectl exec … --`, `bash -c "…"`.
pub(crate) fn unwrap(script: &mut Script) {
    let mut at = 0;
    while at < script.commands.len() {
        if script.commands.len() > 10_000 {
            return;
        }
        let command = &script.commands[at];
        let words = &command.words;
        let name = command.name();
        let behind_dashes = || words.iter().position(|word| word.text == "--").map(|at| at + 1);
        let inner = match name {
            "kubectl" | "oc" => behind_dashes(),
            "sudo" | "nohup" | "time" | "watch" | "timeout" | "env" => words
                .iter()
                .skip(1)
                .position(|word| {
                    !(word.text.starts_with('-')
                        || word.text.contains('=')
                        || word.text.starts_with(|c: char| c.is_ascii_digit()))
                })
                .map(|at| at + 1),
            "docker" if words.get(1).is_some_and(|word| word.text == "exec") => {
                words.iter().skip(2).position(|word| !word.text.starts_with('-')).map(|at| at + 3)
            }
            _ => None,
        };
        if let Some(from) = inner.filter(|from| *from < words.len()) {
            let mut inner = Command { words: words[from..].to_vec(), inside: Some(at), ..command.clone() };
            inner.assignments.clear();
            script.commands.insert(at + 1, inner);
            for other in script.commands.iter_mut().skip(at + 2) {
                other.inside = other.inside.map(|inside| if inside > at { inside + 1 } else { inside });
            }
        }
        let command = &script.commands[at];
        if matches!(command.name(), "bash" | "sh" | "zsh")
            && let Some(text) =
                command.words.iter().position(|word| matches!(word.text.as_str(), "-c" | "-lc" | "-ec"))
            && let Some(word) = command.words.get(text + 1).filter(|word| word.quoted)
        {
            let base = (word.line, word.column + 1);
            let nested = Script::parse(&word.text.clone());
            let offset = script.commands.len();
            let guarded = command.guarded;
            for mut inner in nested.commands {
                for word in inner.words.iter_mut().chain(inner.assignments.iter_mut().map(|(_, word)| word)) {
                    word.column = if word.line == 1 { word.column + base.1 - 1 } else { word.column };
                    word.line += base.0 - 1;
                }
                for redirect in &mut inner.redirects {
                    redirect.target.column += if redirect.target.line <= 1 { base.1 - 1 } else { 0 };
                    redirect.target.line = redirect.target.line.max(1) + base.0 - 1;
                }
                inner.line += base.0 - 1;
                inner.guarded |= guarded;
                inner.inside = Some(inner.inside.map_or(at, |inside| inside + offset));
                // No pipeline of the text around it.
                inner.pipeline += 1_000_000 + 1_000 * at;
                script.commands.push(inner);
            }
        }
        at += 1;
    }
}
