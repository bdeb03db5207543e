//! Secrets: lost, written down, shown.

use crate::lint::look::{any, each, either, line, procedures, verb};
use crate::lint::{Context, Found};
use crate::shell::{Command, Direction};
use crate::tools;

/// The name of the secret that a command deletes or creates.
pub(super) fn secret<'a>(command: &'a Command, verb: &str) -> Option<&'a str> {
    if command.name() != "kubectl" || tools::subcommands(command).first().map(String::as_str) != Some(verb) {
        return None;
    }
    let words = tools::positionals(command);
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let made = tools::subcommands(command);
    match (&texts[..], made.get(1).map(String::as_str)) {
        (["secret" | "secrets", name, ..], _) => Some(*name),
        ([name, ..], Some("secret")) => Some(*name),
        ([one, ..], _) => one.strip_prefix("secret/"),
        _ => None,
    }
    .and_then(|name| command.words.iter().map(|word| word.text.as_str()).find(|text| text.ends_with(name)))
}

pub(super) fn secret_deleted_first(context: &Context<'_>, found: &mut Vec<Found>) {
    for (_, commands) in procedures(context) {
        for (number, (snippet, command)) in commands.iter().enumerate() {
            let Some(name) = secret(command, "delete") else { continue };
            let made_before = commands[..number]
                .iter()
                .any(|(_, other)| secret(other, "create").is_some_and(|made| made != name));
            let made_after =
                commands[number + 1..].iter().find(|(_, other)| secret(other, "create") == Some(name));
            if made_before && made_after.is_none() {
                continue;
            }
            let message = match made_after {
                Some(after) => format!(
                    "the secret `{name}` is deleted before the new one is made (line {})",
                    line(*after)
                ),
                None => format!("the secret `{name}` is deleted, and nothing here makes a new one"),
            };
            let help = "make the new one and put it in the old one's place in one step: `kubectl create secret … --dry-run=client -o yaml | kubectl apply -f -`";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

pub(super) fn secret_loses_keys(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        let Some(name) = secret(command, "create") else { continue };
        let literals =
            command.arguments().iter().filter(|word| word.text.starts_with("--from-literal")).count();
        let files = command
            .arguments()
            .iter()
            .any(|word| word.text.starts_with("--from-file") || word.text.starts_with("--from-env-file"));
        let replaced = snippet.script.commands.iter().any(|other| {
            other.pipeline == command.pipeline && matches!(verb(other), "kubectl apply" | "kubectl replace")
        });
        if literals == 1 && !files && replaced {
            let message = format!("`{name}` is written with one key; the others that it had are not");
            let help = format!(
                "change the one key: `kubectl patch secret {name} --patch-file …`, or make it from all its keys"
            );
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

pub(super) fn secrets_exported(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        let words = tools::positionals(command);
        let gets = verb(command) == "kubectl get"
            && words
                .first()
                .is_some_and(|word| word.text.split(',').any(|kind| matches!(kind, "secret" | "secrets")))
            && either(command, "--output", "-o").is_some_and(|format| matches!(format, "yaml" | "json"));
        let file = command
            .redirects
            .iter()
            .find(|redirect| matches!(redirect.direction, Direction::Write | Direction::Append));
        let sealed = snippet.script.commands.iter().any(|other| {
            other.pipeline == command.pipeline
                && matches!(other.name(), "kubeseal" | "gpg" | "age" | "sops" | "openssl")
        });
        let piped = snippet.script.commands.iter().any(|other| {
            other.pipeline == command.pipeline
                && other.position > command.position
                && (other.name() == "tee"
                    || other.redirects.iter().any(|redirect| redirect.direction == Direction::Write))
        });
        if gets && (file.is_some() || piped) && !sealed {
            let shown = file.map_or("a file", |redirect| redirect.target.text.as_str());
            let message = format!("all secrets of the namespace are written to `{shown}` in plain text");
            let help = "leave `secret` out and keep them in a vault, or encrypt on the way: `… | age -r RECIPIENT > …`";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

pub(super) fn secret_in_argument(context: &Context<'_>, found: &mut Vec<Found>) {
    const NAMES: [&str; 9] =
        ["password", "passwd", "secret", "token", "api_key", "apikey", "database_url", "dsn", "credential"];
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        for (at, word) in command.words.iter().enumerate().skip(1) {
            let text = word.text.as_str();
            let (option, value) = match text.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (text, command.words.get(at + 1).map(|next| next.text.as_str())),
            };
            let literal = |value: &str| {
                !value.is_empty()
                    && !value.starts_with('-')
                    && (!value.starts_with('$') || value.starts_with("$("))
            };
            let what = if matches!(
                option,
                "--password" | "--master-user-password" | "--admin-password" | "--docker-password"
            ) && command.name() != "psql"
            {
                value.filter(|value| literal(value)).map(|_| "a password")
            } else if option == "--from-literal" {
                let pair = value.and_then(|pair| pair.split_once('='));
                pair.filter(|(key, value)| any(&key.to_lowercase(), &NAMES) && literal(value))
                    .map(|_| "a secret")
            } else if command.name() == "curl" && matches!(option, "-u" | "--user") {
                value.filter(|value| value.contains(':') && literal(value)).map(|_| "a password")
            } else if matches!(
                command.name(),
                "mysql" | "mysqldump" | "mysqladmin" | "mariadb" | "mariadb-dump"
            ) {
                let glued =
                    text.strip_prefix("-p").filter(|value| literal(value) && !value.contains(['<', '[']));
                glued.map(|_| "a password")
            } else if let Some((_, rest)) = text.split_once("://") {
                let user = rest.split('/').next().unwrap_or_default();
                let secret = user
                    .rsplit_once('@')
                    .and_then(|(user, _)| user.split_once(':'))
                    .filter(|(_, secret)| literal(secret));
                secret.map(|_| "a password")
            } else {
                None
            };
            let Some(what) = what else { continue };
            let message = format!("`{}` gets {what} as an argument", verb(command));
            let help = match command.name() {
                "gcloud" => "`--prompt-for-password` asks for it",
                "kubectl" => {
                    "`--from-env-file=/dev/stdin` or `--from-file=KEY=/dev/stdin` takes it from a pipe"
                }
                "aws" => "let the service keep it: `--manage-master-user-password`",
                _ => "give it by environment, a file, or standard input",
            };
            found.push(Found::new(snippet.place(word), message).help(help));
        }
        for (name, value) in &command.assignments {
            let given =
                matches!(name.as_str(), "PGPASSWORD" | "MYSQL_PWD" | "VAULT_TOKEN" | "AWS_SECRET_ACCESS_KEY")
                    && !value.text.is_empty();
            if given && value.variables.is_empty() && !value.substitutes && !value.text.contains(['<', '$']) {
                let message = format!("{name} stands in the plan in plain text");
                found.push(
                    Found::new(snippet.place(value), message)
                        .help("read it where it is kept, as `$(…)`, or use ~/.pgpass"),
                );
            }
        }
    }
}
