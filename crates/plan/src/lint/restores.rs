//! A backup that is loaded, and a database that is made of one: where it comes from, what it meets, who reads it.
//!
//! Deliberately absent: whether what was there is kept (`dangers`), and how long it takes (`objectives`).

use super::dangers::is_aside;
use super::look::{
    any, each, either, is_reference, last_line, line, lines_after, lines_before, loaded_into, loads,
    procedures, read_from, verb,
};
use super::{Context, Found, Rule, rule_of};
use crate::shell::{Command, Direction};
use crate::tools;

pub(super) const RULES: &[Rule] = &[
    rule_of!(
        "LB0318",
        "restored-without-network",
        Warning,
        restored_without_network,
        "the instance comes up in the default security group, and nothing reaches it"
    ),
    rule_of!(
        "LB0319",
        "loaded-onto-what-is-there",
        Error,
        loaded_onto_what_is_there,
        "the tables are there already: each of them is refused, or its rows stand in it twice"
    ),
    rule_of!(
        "LB0320",
        "backup-inside-the-database",
        Warning,
        backup_inside_the_database,
        "a pod or volume that is lost takes along what was kept in it"
    ),
    rule_of!(
        "LB0321",
        "old-secret-in-use",
        Warning,
        old_secret_in_use,
        "a pod reads its environment when it starts: those that run go on with the old value"
    ),
    rule_of!(
        "LB0322",
        "export-cannot-return",
        Warning,
        export_cannot_return,
        "roles, service accounts and custom resources are not in it; addresses and owners of the old cluster are, and refuse"
    ),
    rule_of!(
        "LB0323",
        "verified-before-switched",
        Warning,
        verified_before_switched,
        "the check looks at the database that is being replaced, and says nothing of the new one"
    ),
    rule_of!(
        "LB0418",
        "writes-go-on",
        Warning,
        writes_go_on,
        "the application writes into a database that is half the old one and half the backup"
    ),
];

/// Source: Amazon RDS API reference, `RestoreDBInstanceToPointInTime` and `RestoreDBInstanceFromDBSnapshot`: default
/// security group and default parameter group unless the call names others.
fn restored_without_network(context: &Context<'_>, found: &mut Vec<Found>) {
    for (procedure, commands) in procedures(context) {
        for (snippet, command) in commands {
            let restores = verb(command).starts_with("aws rds restore-db");
            if !restores
                || command.option("--vpc-security-group-ids").is_some()
                || command.option("--cli-input-json").is_some()
                || lines_after(context, procedure, last_line((snippet, command)))
                    .any(|line| line.contains("security-group"))
            {
                continue;
            }
            let message = format!("`{}` names no security group for what it makes", verb(command));
            let help = "add `--vpc-security-group-ids`, and with it `--db-subnet-group-name`, `--db-parameter-group-name` and `--multi-az` as production has them";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

/// What empties the way for a restore, in small letters.
const EMPTIES: [&str; 7] =
    ["createdb", "create database", "dropdb", "drop database", "drop schema", "drop table", "truncate"];

fn loaded_onto_what_is_there(context: &Context<'_>, found: &mut Vec<Found>) {
    const CLEANS: [&str; 7] =
        ["--clean", "-c", "--create", "-C", "--schema-only", "-s", "--on-conflict-do-nothing"];
    let cleans = |command: &Command| CLEANS.iter().any(|option| command.has(option));
    for (procedure, commands) in procedures(context) {
        for (number, at) in commands.iter().enumerate() {
            let (snippet, command) = *at;
            let host = either(command, "--host", "-h").unwrap_or_default();
            let is_archive = loads(*at).is_some_and(|file| !file.contains(".sql"));
            let target = match command.name() {
                "pg_restore" if !cleans(command) && is_archive => {
                    either(command, "--dbname", "-d").map(str::to_owned)
                }
                // A dump that this procedure has made itself, of tables that are there.
                "psql" => {
                    let file = read_from(command).or_else(|| either(command, "--file", "-f"));
                    let dump = commands[..number].iter().find(|(_, earlier)| {
                        let writes = earlier.redirects.iter().any(|redirect| {
                            redirect.direction == Direction::Write
                                && Some(redirect.target.text.as_str()) == file
                        });
                        earlier.name() == "pg_dump"
                            && (writes || file.is_some() && either(earlier, "--file", "-f") == file)
                    });
                    let unclean = dump.is_some_and(|(_, dump)| !cleans(dump));
                    let first = || tools::positionals(command).first().map(|word| word.text.as_str());
                    either(command, "--dbname", "-d").or_else(first).filter(|_| unclean).map(str::to_owned)
                }
                _ => None,
            };
            let Some(target) = target.filter(|target| !is_aside(target) && !is_aside(host)) else { continue };
            if lines_before(context, procedure, line(*at)).any(|line| any(line, &EMPTIES)) {
                continue;
            }
            let message =
                format!("`{target}` is not empty, and nothing takes out of it what the backup brings");
            let help = "load it into a new database and take the rows over from there; or, with a copy kept, `--clean --if-exists`";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

fn backup_inside_the_database(context: &Context<'_>, found: &mut Vec<Found>) {
    const BRINGS: [&str; 9] = [
        "kubectl cp",
        "docker cp",
        "s3 cp",
        "s3 sync",
        "gsutil",
        "gcloud storage",
        "curl",
        "wget",
        "az storage",
    ];
    for (procedure, commands) in procedures(context) {
        for at in commands.iter().copied() {
            let (snippet, command) = at;
            let mut around = std::iter::successors(command.inside, |inside| {
                snippet.script.commands.get(*inside).and_then(|outer| outer.inside)
            });
            let in_pod = around.any(|inside| {
                let outer = &snippet.script.commands[inside];
                matches!(outer.name(), "kubectl" | "oc" | "docker") && outer.has("exec")
            });
            let Some(file) = loads(at).filter(|file| file.starts_with('/') && in_pod) else { continue };
            if lines_before(context, procedure, line(at)).any(|line| any(line, &BRINGS)) {
                continue;
            }
            let file = file.trim_end_matches([')', '"']);
            let message =
                format!("`{file}` is read from inside the pod that is restored, and nothing puts it there");
            let help = "fetch it from where the backups lie, in a step of its own, or read it from there in the same pipe";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

/// Whether a command changes a secret of Kubernetes.
fn changes_secret(command: &Command) -> bool {
    let verb = verb(command);
    let names = |command: &Command| {
        tools::positionals(command)
            .first()
            .is_some_and(|word| any(&word.text, &["secret/", "secrets/"]) || word.text == "secret")
    };
    verb.starts_with("kubectl create secret")
        || matches!(verb, "kubectl patch" | "kubectl edit") && names(command)
}

fn old_secret_in_use(context: &Context<'_>, found: &mut Vec<Found>) {
    const STARTS: [&str; 17] = [
        "restart",
        "delete pod",
        "scale",
        "helm ",
        "deploy",
        "reload",
        "rollout",
        "kubectl apply -",
        "terraform",
        "set env",
        "neu start",
        "neustart",
        "redémarr",
        "reinici",
        "重启",
        "重啟",
        "roll the",
    ];
    for (procedure, commands) in procedures(context) {
        let Some(at) = commands.iter().rev().find(|(_, command)| changes_secret(command)) else { continue };
        let replaced = at.0.script.commands.iter().any(|other| {
            other.pipeline == at.1.pipeline && matches!(verb(other), "kubectl apply" | "kubectl replace")
        });
        let changed = replaced || verb(at.1) != "kubectl create secret generic";
        let stopped =
            lines_before(context, procedure, line(*at)).any(|line| any(line, &["replicas=0", "replicas 0"]));
        let last = last_line(*at);
        if !changed
            || stopped
            || is_reference(context, procedure)
            || lines_after(context, procedure, last).any(|line| any(line, &STARTS))
        {
            continue;
        }
        let message = "nothing behind this restarts what reads the secret";
        let help = "`kubectl rollout restart deployment/NAME`, then `kubectl rollout status deployment/NAME --timeout=5m`";
        found.push(Found::new(at.0.whole(at.1), message).help(help));
    }
}

fn export_cannot_return(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        let is_all = tools::positionals(command)
            .first()
            .is_some_and(|word| word.text.split(',').any(|kind| kind == "all"));
        let written = command.redirects.iter().any(|redirect| redirect.direction == Direction::Write)
            || command.stages > 1;
        let as_manifests =
            either(command, "--output", "-o").is_some_and(|form| matches!(form, "yaml" | "json"));
        if verb(command) == "kubectl get" && is_all && written && as_manifests {
            let message = "`kubectl get all` is not all, and what it writes cannot be applied as it is";
            let help = "keep the manifests in Git and apply those, or use a tool that knows the way back (Velero); prove it in an empty cluster";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

fn verified_before_switched(context: &Context<'_>, found: &mut Vec<Found>) {
    const RUNNERS: [&str; 14] = [
        "npm", "npx", "yarn", "pnpm", "make", "python", "python3", "rake", "bundle", "php", "node", "go",
        "dotnet", "mix",
    ];
    const ASKS: [&str; 6] = ["verif", "valid", "check", "integrity", "smoke", "test"];
    const POINTS: [&str; 8] = [
        "database_url",
        "database_host",
        "db_host",
        "db_url",
        "set env",
        "edit secret",
        "create secret",
        "patch secret",
    ];
    for (_, commands) in procedures(context) {
        let makes = |command: &Command| {
            verb(command).starts_with("aws rds restore-db") || verb(command) == "gcloud sql instances clone"
        };
        let Some(made) = commands.iter().position(|(_, command)| makes(command)) else { continue };
        let pointed = commands[made + 1..].iter().find(|(snippet, command)| {
            let (from, to) = (line((*snippet, *command)), last_line((*snippet, *command)));
            context.facts.lines_between(from.saturating_sub(1), to).any(|(_, line)| any(line, &POINTS))
                && any(verb(command), &["kubectl set env", "secret", "kubectl edit", "kubectl patch", "helm"])
        });
        let Some(pointed) = pointed.map(|at| line(*at)) else { continue };
        for (snippet, command) in &commands[made + 1..] {
            let text = command.line_text().to_lowercase();
            let here = line((*snippet, *command));
            if here < pointed
                && RUNNERS.contains(&command.name())
                && any(&text, &ASKS)
                && command.assignments.is_empty()
                && !any(&text, &["restor", "recover", "--host", "url="])
            {
                let message = format!(
                    "`{}` asks the database that the application is set to, and that is changed only later (line {pointed})",
                    command.line_text()
                );
                let help =
                    "give it the new database (`DATABASE_URL=… npm run verify`), or verify behind the switch";
                found.push(Found::new(snippet.whole(command), message).help(help));
            }
        }
    }
}

fn writes_go_on(context: &Context<'_>, found: &mut Vec<Found>) {
    const STOPS: [&str; 20] = [
        "replicas=0",
        "replicas 0",
        "stop writes",
        "stop all write",
        "stop the app",
        "stop app",
        "stop all app",
        "read-only",
        "read only",
        "maintenance",
        "scale down",
        "pg_terminate_backend",
        "systemctl stop",
        "docker stop",
        "compose stop",
        "compose down",
        "allow_connections",
        "rename to",
        "wartungsmodus",
        "停止",
    ];
    for (procedure, commands) in procedures(context) {
        for at in commands.iter().copied() {
            let (snippet, command) = at;
            let managed = command.name() == "gcloud";
            let Some(target) = loaded_into(at).filter(|_| !managed) else { continue };
            let host = either(command, "--host", "-h").unwrap_or_default();
            let titles = context.document.titles(procedure);
            let beside = |line: &str| any(line, &EMPTIES) || any(line, &STOPS);
            if is_aside(&target)
                || is_aside(host)
                || any(titles, &["staging", "test", "drill", "verification"])
                || lines_before(context, procedure, line(at)).any(beside)
            {
                continue;
            }
            let message =
                format!("nothing before this keeps the application from writing to `{target}` meanwhile");
            let help = "stop the application or make it read-only first, and start it again when the result is verified";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}
