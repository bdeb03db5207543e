//! What is kept, against what could be done with it: stores that nobody restores, copies that an intruder reaches, keys
//! that nobody has, a database that is described as two.
//!
//! Deliberately absent: how often and how long (`objectives`), and where (`dangers`).

use super::look::{any, heading, line, terminals, verb};
use super::{Context, Found, Rule, rule_of};
use crate::document::{Place, ROOT};
use crate::facts::backups::is_about_backups;
use crate::facts::procedures::{Peril, perils};
use crate::shell::Command;
use crate::tools;

pub(super) const RULES: &[Rule] = &[
    rule_of!(
        "LB0416",
        "backups-within-reach",
        Warning,
        backups_within_reach,
        "who holds production's credentials deletes its backups first"
    ),
    rule_of!(
        "LB0519",
        "two-databases",
        Warning,
        two_databases,
        "half of the procedures are for a database that is not there, and only one person knows which half"
    ),
    rule_of!(
        "LB0524",
        "kept-and-never-restored",
        Warning,
        kept_and_never_restored,
        "that it is kept is no help: how it comes back is found out with the service down"
    ),
    rule_of!(
        "LB0525",
        "key-not-named",
        Warning,
        key_not_named,
        "without the key an encrypted backup is noise, and the key is often in what was lost"
    ),
];

fn backups_within_reach(context: &Context<'_>, found: &mut Vec<Found>) {
    const BREACH: [&str; 10] = [
        "breach",
        "ransom",
        "compromis",
        "intrusion",
        "attack",
        "security incident",
        "sicherheitsvorfall",
        "angriff",
        "入侵",
        "勒索",
    ];
    const APART: [&str; 27] = [
        "immutab",
        "object lock",
        "object-lock",
        "worm",
        "write once",
        "write-once",
        "air-gap",
        "air gap",
        "airgap",
        "offline copy",
        "offline backup",
        "vault lock",
        "bucket lock",
        "retention lock",
        "retention policy lock",
        "append-only backup",
        "append-only copy",
        "separate account",
        "different account",
        "another account",
        "other account",
        "backup account",
        "mfa delete",
        "mfa-delete",
        "unveränderlich",
        "不可变",
        "不可變",
    ];
    let document = context.document;
    let is_plan = context.facts.statements.iter().any(|of| is_about_backups(document.titles(of.section)));
    if !is_plan || context.facts.says(ROOT, &APART) {
        return;
    }
    let breach = (1..document.sections.len()).find(|section| {
        let own = document.sections[*section].title.plain().to_lowercase();
        let titles = document.titles(*section);
        (2..=7).contains(&document.sections[*section].level)
            && perils(document, *section).contains(&Peril::Breach)
            && any(&own, &BREACH)
            && !any(titles, &["test", "drill", "contact", "preventive", "compliance", "training"])
    });
    if let Some(section) = breach {
        let message = "the plan reckons with an intruder, and no backup is said to be out of their reach";
        let help = "keep a copy that production's credentials can neither change nor delete: Object Lock, another account, or offline";
        found.push(Found::new(heading(context, section), message).help(help));
    }
}

/// A database in a pod that a command names.
fn pod_database(command: &Command) -> bool {
    let is_name = |text: &str| {
        let name = text.rsplit(['/', '=']).next().unwrap_or(text).to_lowercase();
        let engine = any(&name, &["postgres", "mysql", "mariadb", "mongo"]);
        let other = any(&name, &["exporter", "client", "backup", "operator", "proxy", "bouncer", "secret"]);
        (engine || name.ends_with("-db") || name.ends_with("-db-0")) && !other
    };
    let verb = tools::subcommands(command);
    let on_pod = ["exec", "logs", "delete", "describe", "get", "scale", "rollout"];
    command.name() == "kubectl"
        && verb.first().is_some_and(|verb| on_pod.contains(&verb.as_str()))
        && command
            .arguments()
            .iter()
            .take_while(|word| word.text != "--")
            .any(|word| !word.text.starts_with("--") && is_name(&word.text))
}

fn two_databases(context: &Context<'_>, found: &mut Vec<Found>) {
    let is_managed = |command: &Command| {
        let verb = verb(command);
        let made =
            ["aws rds restore-db", "aws rds promote", "aws rds failover", "gcloud sql backups restore"];
        made.iter().any(|start| verb.starts_with(start))
            || ["gcloud sql instances failover", "gcloud sql instances clone"].contains(&verb)
    };
    if context.facts.says(ROOT, &["migrat", "both databases", "two databases"]) {
        return;
    }
    let mut pod = None;
    let mut managed = None;
    for (section, commands) in terminals(context) {
        if any(context.document.titles(section), &["test", "drill", "staging"]) {
            continue;
        }
        for at in commands {
            if pod.is_none() && pod_database(at.1) {
                pod = Some(at);
            }
            if managed.is_none() && is_managed(at.1) {
                managed = Some(at);
            }
        }
    }
    if let (Some(pod), Some(managed)) = (pod, managed) {
        let of = if managed.1.name() == "gcloud" { "Cloud SQL" } else { "RDS" };
        let message = format!("the database is on {of} here, and in a pod in line {}", line(pod));
        let help = "say which of them production has; write the others' procedures under a heading that says when they are meant";
        found.push(Found::new(managed.0.whole(managed.1), message).help(help));
    }
}

/// What is kept, by the words that name it in a backup's section and by those that show how it comes back.
const STORES: [(&str, &[&str], &[&str]); 6] = [
    ("Redis", &["redis"], &["redis", "cache"]),
    (
        "the search index",
        &["elasticsearch", "opensearch", "solr"],
        &["elastic", "opensearch", "solr", "reindex", "index"],
    ),
    ("MongoDB", &["mongodb", "mongodump"], &["mongo"]),
    ("etcd", &["etcd"], &["etcd"]),
    (
        "volumes",
        &["ebs snapshot", "persistent volume", "volume snapshot", "disk snapshot"],
        &["volume", "ebs", "pvc", "disk snapshot", "velero"],
    ),
    (
        "files",
        &[
            "file storage",
            "file upload",
            "uploads",
            "storage bucket",
            "user files",
            "attachments",
            "media files",
        ],
        &[
            "upload",
            "bucket",
            "file storage",
            "s3 sync",
            "gsutil",
            "gcloud storage",
            "rsync",
            "rclone",
            "attachment",
            "media files",
            "user files",
            "velero",
            "azcopy",
        ],
    ),
];

fn kept_and_never_restored(context: &Context<'_>, found: &mut Vec<Found>) {
    let document = context.document;
    // Lines of sections that say what is done: the others repeat the words without a way back.
    let mut does: Vec<&str> = Vec::new();
    for section in 1..document.sections.len() {
        let titles = document.titles(section);
        let other = [
            "objective",
            "monitor",
            "test",
            "drill",
            "redundan",
            "prevent",
            "maintenance",
            "architecture",
            "overview",
            "contact",
            "communicat",
            "reference",
            "checklist",
            "improvement",
            "compliance",
            "kpi",
            "inventory",
            "inhalt",
            "contents",
            "validation",
        ];
        if is_about_backups(titles) || any(titles, &other) {
            continue;
        }
        let of = &document.sections[section];
        let last = document
            .sections
            .get(section + 1)
            .map_or(of.last_line, |next| next.title.whole().line.saturating_sub(1).min(of.last_line));
        does.extend(context.facts.lines_between(of.title.whole().line, last).map(|(_, line)| line));
    }
    let any_commands = context
        .facts
        .snippets
        .iter()
        .any(|snippet| !snippet.inline && !is_about_backups(document.titles(snippet.section)));
    if !any_commands {
        return;
    }
    for (what, kept, back) in STORES {
        let place = context.facts.statements.iter().find_map(|statement| {
            let document = context.document;
            let own = document.sections[statement.section].title.plain().to_lowercase();
            let text = statement.whole().to_lowercase();
            // Where a backup lies is not what is backed up.
            let is_place = any(&statement.key_text(), &["storage", "location", "destination", "stored"])
                && !any(&statement.key_text(), kept);
            let about = is_about_backups(document.titles(statement.section)) && !is_place;
            (about && (any(&text, kept) || any(&own, kept))).then(|| statement.place())
        });
        let place = place.or_else(|| titled(context, kept));
        if let Some(place) = place.filter(|_| !does.iter().any(|line| any(line, back))) {
            let message = format!("{what} are kept, and no procedure brings them back");
            let message = if what.starts_with(|c: char| c.is_uppercase())
                || what.starts_with("the")
                || what == "etcd"
            {
                format!("{what} is kept, and no procedure brings it back")
            } else {
                message
            };
            let help = "write the steps that bring it back, how long they take and how the result is checked; or say that it may be lost";
            found.push(Found::new(place, message).help(help));
        }
    }
}

/// The heading of a section about backups that names one of these.
fn titled(context: &Context<'_>, words: &[&str]) -> Option<Place> {
    let document = context.document;
    let section = (1..document.sections.len()).find(|section| {
        let own = document.sections[*section].title.plain().to_lowercase();
        any(&own, words) && is_about_backups(document.titles(*section))
    })?;
    Some(heading(context, section))
}

fn key_not_named(context: &Context<'_>, found: &mut Vec<Found>) {
    const NAMED: [&str; 14] = [
        "kms",
        "passphrase",
        "gpg",
        "pgp",
        "vault",
        "decrypt",
        "keyring",
        "hsm",
        "lifeboat",
        "schlüssel",
        "entschlüssel",
        "密钥",
        "金鑰",
        "clé",
    ];
    const SELF: [&str; 9] = [
        "at rest",
        "at-rest",
        "in transit",
        "sse-",
        "tls",
        "managed",
        "provider",
        "transparent",
        "default encryption",
    ];
    let document = context.document;
    let has_key = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric()).any(|word| matches!(word, "key" | "keys" | "age"))
    };
    if context.facts.lines(ROOT).any(|(_, line)| any(line, &NAMED) || has_key(line)) {
        return;
    }
    let encrypted = context.facts.statements.iter().find(|statement| {
        let text = statement.whole().to_lowercase();
        is_about_backups(document.titles(statement.section))
            && any(&text, &["encrypt", "verschlüssel", "加密", "chiffr", "cifrad"])
            && !any(&text, &SELF)
            && any(&text, &["dump", "backup", "archive", "snapshot", "format", "copy", "sicherung"])
    });
    if let Some(statement) = encrypted {
        let message = "the backup is encrypted, and nothing says where its key is";
        let help = "name the key, two places where it is kept (one that survives the loss of this region and account), and who can fetch it at night";
        found.push(Found::new(statement.value.whole(), message).help(help));
    }
}
