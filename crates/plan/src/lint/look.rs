//! What several rules ask of commands and procedures.

use super::Context;
use crate::document::Place;
use crate::facts::Facts;
use crate::facts::commands::Snippet;
use crate::facts::procedures::{self, Peril};
use crate::shell::{Command, Direction};
use crate::tools;
use std::collections::BTreeMap;

/// A command with the snippet that it stands in.
pub(super) type At<'a> = (&'a Snippet, &'a Command);

/// Every command, in order.
pub(super) fn each<'a>(context: &Context<'a>) -> impl Iterator<Item = At<'a>> {
    let snippets = context.facts.snippets.iter();
    snippets.flat_map(|snippet| snippet.script.commands.iter().map(move |command| (snippet, command)))
}

/// The commands of each procedure that has any in fences, in the order in which they would be typed.
pub(super) fn procedures<'c, 'a>(context: &'c Context<'a>) -> impl Iterator<Item = (usize, &'c [At<'a>])> {
    context.procedures.iter().map(|(procedure, commands)| (*procedure, commands.as_slice()))
}

/// The same, found in a document.
pub(super) fn by_procedure<'a>(facts: &'a Facts<'a>) -> Vec<(usize, Vec<At<'a>>)> {
    let mut procedures: BTreeMap<usize, Vec<At<'a>>> = BTreeMap::new();
    for snippet in facts.snippets.iter().filter(|snippet| !snippet.inline) {
        let commands = procedures.entry(snippet.procedure).or_default();
        commands.extend(snippet.script.commands.iter().map(|command| (snippet, command)));
    }
    for commands in procedures.values_mut() {
        commands.sort_by_key(|(snippet, command)| (snippet.block, command.line));
    }
    procedures.into_iter().collect()
}

/// The tool and its subcommands: `kubectl rollout restart`.
pub(super) fn verb(command: &Command) -> &str {
    command.verb.get_or_init(|| {
        let subcommands = tools::subcommands(command).join(" ");
        if subcommands.is_empty() {
            command.name().to_owned()
        } else {
            format!("{} {subcommands}", command.name())
        }
    })
}

/// Whether a procedure is there for this.
pub(super) fn is_for(context: &Context<'_>, procedure: usize, peril: Peril) -> bool {
    procedures::perils(context.document, procedure).contains(&peril)
}

/// The line of the document where a command stands.
pub(super) fn line(at: At<'_>) -> u32 {
    at.0.whole(at.1).line
}

/// The place of a heading.
pub(super) fn heading(context: &Context<'_>, section: usize) -> Place {
    context.document.sections[section].title.whole()
}

/// The number of copies that a command scales to.
pub(super) fn replicas(command: &Command) -> Option<u64> {
    if command.name() != "kubectl" || !command.has("scale") {
        return None;
    }
    command.value("--replicas").and_then(|count| count.parse().ok())
}

/// The value of an option by its long name or letter.
pub(super) fn either<'a>(command: &'a Command, long: &str, letter: &str) -> Option<&'a str> {
    let glued = || {
        let words = command.arguments().iter();
        words
            .filter_map(|word| word.text.strip_prefix(letter))
            .find(|rest| !rest.is_empty() && !rest.starts_with('-'))
    };
    command.value(long).or_else(|| command.value(letter)).or_else(glued)
}

/// Whether any of the words stands in the text.
pub(super) fn any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// The file that a command reads: by `<`, or none.
pub(super) fn read_from(command: &Command) -> Option<&str> {
    let read = command.redirects.iter().find(|redirect| redirect.direction == Direction::Read);
    read.map(|redirect| redirect.target.text.as_str())
}

/// The command in front of this one in its pipeline, in the same snippet.
pub(super) fn feeder<'a>(at: At<'a>) -> Option<&'a Command> {
    let before = at.1.position.checked_sub(1)?;
    at.0.script
        .commands
        .iter()
        .find(|command| command.pipeline == at.1.pipeline && command.position == before)
}

/// The file, archive or stream of SQL that a command loads.
pub(super) fn loads(at: At<'_>) -> Option<String> {
    let (_, command) = at;
    let file = match command.name() {
        "psql" | "mysql" | "mariadb" => read_from(command)
            .or_else(|| either(command, "--file", "-f").filter(|_| command.name() == "psql"))
            .map(str::to_owned),
        "pg_restore" if command.has("--list") || command.has("-l") => return None,
        "pg_restore" | "mongorestore" => tools::positionals(command)
            .last()
            .map(|word| word.text.clone())
            .or_else(|| read_from(command).map(str::to_owned)),
        _ => return None,
    };
    file.or_else(|| {
        let feeder = feeder(at)?;
        let reads = [
            "gunzip",
            "zcat",
            "gzip",
            "cat",
            "zstd",
            "zstdcat",
            "bzcat",
            "xzcat",
            "aws",
            "gsutil",
            "gcloud",
            "pg_dump",
            "pg_restore",
            "curl",
            "openssl",
        ];
        reads.contains(&feeder.name()).then(|| feeder.words.last().map(|word| word.text.clone())).flatten()
    })
}

/// The database or instance that a command loads a backup into.
pub(super) fn loaded_into(at: At<'_>) -> Option<String> {
    let (_, command) = at;
    if verb(command) == "gcloud sql backups restore" {
        return either(command, "--restore-instance", "--restore-instance").map(str::to_owned);
    }
    let file = loads(at)?.to_lowercase();
    let is_dump = command.name() != "psql" && command.name() != "mysql"
        || any(&file, &["dump", "backup", ".sql.gz", "restore", ".bak", "latest"])
        || feeder(at).is_some_and(|feeder| feeder.name().starts_with("pg_dump"));
    let database = either(command, "--dbname", "-d").map(str::to_owned).or_else(|| {
        let positionals = tools::positionals(command);
        positionals
            .first()
            .filter(|_| matches!(command.name(), "psql" | "mysql"))
            .map(|word| word.text.clone())
    });
    is_dump.then(|| database.unwrap_or_else(|| "the default database".to_owned()))
}

/// The last line on which a command, or another one of its pipeline, has a word.
pub(super) fn last_line((snippet, command): At<'_>) -> u32 {
    let same = snippet.script.commands.iter().filter(|other| other.pipeline == command.pipeline);
    same.flat_map(|other| &other.words)
        .map(|word| snippet.place(word).line)
        .max()
        .unwrap_or_else(|| line((snippet, command)))
}

/// Whether a command changes where names lead.
pub(super) fn turns_names(command: &Command) -> bool {
    let verb = verb(command);
    verb == "aws route53 change-resource-record-sets"
        || verb.starts_with("gcloud dns record-sets transaction execute")
        || verb.starts_with("gcloud dns record-sets update")
        || command.line_text().starts_with("az network dns record-set")
}

/// Whether a command puts an application, or what it stands on, into place.
pub(super) fn deploys(command: &Command) -> bool {
    let verb = verb(command);
    let starts = [
        "kubectl apply",
        "kubectl create deployment",
        "kubectl set image",
        "kubectl set env",
        "kubectl rollout restart",
        "helm install",
        "helm upgrade",
        "terraform apply",
        "tofu apply",
        "aws ecs update-service",
        "eksctl create cluster",
    ];
    starts.iter().any(|start| verb.starts_with(start))
        || replicas(command).is_some_and(|count| count > 0)
        || command.name().ends_with(".sh") && command.name().contains("deploy")
}

/// The heading, of the third level or above, under which a snippet's section stands: a scenario or runbook, whatever
/// it is divided into.
pub(super) fn terminal(context: &Context<'_>, snippet: &Snippet) -> usize {
    let mut path = context.document.path(snippet.section);
    path.find(|at| context.document.sections[*at].level <= 3).unwrap_or(snippet.section)
}

/// The commands of fences under each [`terminal`], in the document's order.
pub(super) fn terminals<'a>(context: &Context<'a>) -> Vec<(usize, Vec<At<'a>>)> {
    let mut groups: Vec<(usize, Vec<At<'a>>)> = Vec::new();
    for at in each(context).filter(|(snippet, _)| !snippet.inline) {
        let section = terminal(context, at.0);
        match groups.last_mut() {
            Some((last, commands)) if *last == section => commands.push(at),
            _ => groups.push((section, vec![at])),
        }
    }
    groups
}

/// So many lines of a procedure are looked at before or behind a command.
const WINDOW_LINES: u32 = 500;

/// Lines of a procedure in small letters, from the first up to but without `before`.
pub(super) fn lines_before<'a>(
    context: &Context<'a>,
    procedure: usize,
    before: u32,
) -> impl Iterator<Item = &'a str> {
    let last = before.saturating_sub(1);
    let first = heading(context, procedure).line.max(last.saturating_sub(WINDOW_LINES));
    let lines = if last < first { None } else { Some(context.facts.lines_between(first, last)) };
    lines.into_iter().flatten().map(|(_, line)| line)
}

/// Lines of a procedure in small letters behind `after`.
pub(super) fn lines_after<'a>(
    context: &Context<'a>,
    procedure: usize,
    after: u32,
) -> impl Iterator<Item = &'a str> {
    let last = context.document.sections[procedure].last_line;
    let lines = if last <= after { None } else { Some(context.facts.lines_between(after + 1, last)) };
    lines.into_iter().flatten().take(WINDOW_LINES as usize).map(|(_, line)| line)
}

/// Whether a section only lists commands to look up.
pub(super) fn is_reference(context: &Context<'_>, section: usize) -> bool {
    any(
        context.document.titles(section),
        &[
            "reference",
            "useful command",
            "common command",
            "cheat",
            "quick command",
            "befehlsreferenz",
            "常用命令",
        ],
    )
}
