//! What destroys something, or lets it out, as it is written.

mod secrets;

use super::commands::backend;
use super::look::{
    any, each, either, heading, is_for, line, lines_before, loaded_into, procedures, replicas, verb,
};
use super::{Context, Found, Rule, rule_of};
use crate::facts::backups::is_about_backups;
use crate::facts::procedures::{Peril, perils};
use crate::shell::Command;
use crate::tools;
use secrets::{secret, secret_deleted_first, secret_in_argument, secret_loses_keys, secrets_exported};

pub(super) const RULES: &[Rule] = &[
    rule_of!(
        "LB0401",
        "secret-deleted-first",
        Error,
        secret_deleted_first,
        "between the two, or for good if the second fails, every pod that starts finds no secret"
    ),
    rule_of!(
        "LB0402",
        "secret-loses-keys",
        Warning,
        secret_loses_keys,
        "a secret is replaced whole: what else it held is gone with the next start of each pod"
    ),
    rule_of!(
        "LB0403",
        "secrets-exported",
        Error,
        secrets_exported,
        "base64 is no encryption: whoever reads that file has every password"
    ),
    rule_of!(
        "LB0404",
        "secret-in-argument",
        Warning,
        secret_in_argument,
        "arguments stand in the shell's history, in the process list and in the audit log"
    ),
    rule_of!(
        "LB0405",
        "overwrites-production",
        Error,
        overwrites_production,
        "if the backup turns out bad or too old, what production still had is gone too"
    ),
    rule_of!(
        "LB0406",
        "promoted-before-fenced",
        Error,
        promoted_before_fenced,
        "if the old primary is not dead but unreachable, both take writes, and no tool merges them again"
    ),
    rule_of!(
        "LB0407",
        "fixed-count",
        Warning,
        fixed_count,
        "production may run more by then: the step itself becomes the outage"
    ),
    rule_of!(
        "LB0408",
        "namespace-missing",
        Warning,
        namespace_missing,
        "it acts in whatever namespace the terminal is set to: on nothing, or on somebody else's"
    ),
    rule_of!(
        "LB0409",
        "script-unseen",
        Warning,
        script_unseen,
        "who runs it cannot see what it will do, nor do it by hand when it fails"
    ),
    rule_of!(
        "LB0410",
        "evidence-destroyed",
        Warning,
        evidence_destroyed,
        "what the intruder left in memory and on disk is gone before anybody looked, and with it how they got in"
    ),
    rule_of!(
        "LB0411",
        "region-not-named",
        Error,
        region_not_named,
        "the terminal's default is the home region, the one that was just lost"
    ),
    rule_of!(
        "LB0412",
        "context-of-the-lost-cluster",
        Error,
        context_of_the_lost_cluster,
        "kubectl still speaks to the cluster that was lost, and waits for it"
    ),
    rule_of!(
        "LB0413",
        "state-in-the-lost-region",
        Error,
        state_in_the_lost_region,
        "without its state terraform can neither plan nor build in the other region"
    ),
    rule_of!(
        "LB0414",
        "backups-in-one-place",
        Warning,
        backups_in_one_place,
        "a region takes its backups with it"
    ),
];

/// Whether a name says that it is not production's own.
pub(super) fn is_aside(name: &str) -> bool {
    any(
        &name.to_lowercase(),
        &[
            "restor", "recover", "new", "staging", "test", "tmp", "temp", "verify", "scratch", "copy",
            "clone", "sandbox", "drill", "dev", "_bak",
        ],
    )
}

fn overwrites_production(context: &Context<'_>, found: &mut Vec<Found>) {
    for (procedure, commands) in procedures(context) {
        for at in commands.iter().copied() {
            let (snippet, command) = at;
            let Some(target) = loaded_into(at) else { continue };
            let host = either(command, "--host", "-h").unwrap_or_default();
            let at_line = line(at);
            let copied = lines_before(context, procedure, at_line).any(|line| {
                let dumps = line.contains("pg_dump") && !line.contains(" -t ") && !line.contains("--table");
                dumps
                    || any(
                        line,
                        &[
                            "create-db-snapshot",
                            "sql backups create",
                            "createdb",
                            "create database",
                            "rename to",
                            "backup create",
                            "safety copy",
                            "pg_basebackup",
                            "take a snapshot",
                            "snapshot of",
                        ],
                    )
            });
            let titles = context.document.titles(procedure);
            if is_aside(&target)
                || is_aside(host)
                || copied
                || any(titles, &["staging", "test", "drill", "verification"])
            {
                continue;
            }
            let message = format!(
                "the backup is loaded over `{target}`, and nothing before it keeps a copy of what is there"
            );
            let help = "restore beside it and switch over when it is proven, or take a snapshot first";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

fn promoted_before_fenced(context: &Context<'_>, found: &mut Vec<Found>) {
    const FENCES: [&str; 20] = [
        "fence",
        "fencing",
        "stonith",
        "shut down",
        "shutdown",
        "stop the primary",
        "stop primary",
        "stop the old",
        "old primary",
        "former primary",
        "isolate",
        "read-only",
        "read only",
        "revoke",
        "replicas=0",
        "demote",
        "power off",
        "stop-db-instance",
        "split brain",
        "split-brain",
    ];
    let mut seen: Vec<usize> = Vec::new();
    for (snippet, command) in each(context) {
        let text = command.line_text();
        let promotes = [
            "aws rds promote-read-replica",
            "aws rds promote-read-replica-db-cluster",
            "gcloud sql instances promote-replica",
        ]
        .contains(&verb(command))
            || text.contains("pg_promote(")
            || text.starts_with("pg_ctl promote")
            || text.contains("repmgr standby promote");
        let at_line = line((snippet, command));
        if !promotes || snippet.inline || seen.contains(&snippet.procedure) {
            continue;
        }
        seen.push(snippet.procedure);
        if !lines_before(context, snippet.procedure, at_line).any(|line| any(line, &FENCES)) {
            found.push(unfenced(snippet.whole(command)));
        }
    }
    // The same as a step in words.
    for statement in &context.facts.statements {
        let text = statement.whole().to_lowercase();
        let procedure =
            crate::facts::procedures::owner(context.document, statement.section).unwrap_or(statement.section);
        let promotes = [
            "promote replica",
            "promote the replica",
            "promote standby",
            "promote the standby",
            "promote read replica",
            "promote secondary",
        ];
        if !promotes.iter().any(|words| text.starts_with(words))
            || seen.contains(&procedure)
            || context.facts.snippets_of(procedure).next().is_some()
        {
            continue;
        }
        seen.push(procedure);
        if !lines_before(context, procedure, statement.place().line).any(|line| any(line, &FENCES)) {
            found.push(unfenced(statement.place()));
        }
    }
}

fn unfenced(place: crate::document::Place) -> Found {
    let message =
        "the replica is promoted, and nothing before it makes sure that the old primary takes no more writes";
    Found::new(place, message).help("fence first: stop the old primary, or take its network or its clients' credentials away; say how to do it when it does not answer")
}

fn fixed_count(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        if let Some(count) = replicas(command).filter(|count| *count > 0) {
            let word = command.option("--replicas").unwrap_or(&command.words[0]);
            let message = format!("the plan scales to {count}, whatever production runs by then");
            let help = "note the count before scaling down and put it back (`kubectl get deployment NAME -o jsonpath='{.spec.replicas}'`), or apply the manifests";
            found.push(Found::new(snippet.place(word), message).help(help));
        }
    }
}

fn namespace_missing(context: &Context<'_>, found: &mut Vec<Found>) {
    const WIDE: [&str; 21] = [
        "node",
        "nodes",
        "no",
        "namespace",
        "namespaces",
        "ns",
        "pv",
        "persistentvolume",
        "persistentvolumes",
        "crd",
        "crds",
        "sc",
        "storageclass",
        "storageclasses",
        "clusterrole",
        "clusterroles",
        "clusterrolebinding",
        "cs",
        "componentstatuses",
        "apiservices",
        "csr",
    ];
    const VERBS: [&str; 18] = [
        "get",
        "describe",
        "delete",
        "scale",
        "logs",
        "exec",
        "rollout",
        "set",
        "edit",
        "create",
        "run",
        "port-forward",
        "patch",
        "cp",
        "annotate",
        "label",
        "autoscale",
        "expose",
    ];
    let in_namespace = |command: &Command| {
        either(command, "--namespace", "-n").is_some() || command.has("-A") || command.has("--all-namespaces")
    };
    let is_kube = |command: &Command| matches!(command.name(), "kubectl" | "helm");
    let with = each(context).find(|(snippet, command)| {
        !snippet.inline && is_kube(command) && either(command, "--namespace", "-n").is_some()
    });
    let Some(with) = with else { return };
    if context.facts.says(crate::document::ROOT, &["--current --namespace", "kubens ", "set-context"]) {
        return;
    }
    let with_line = line(with);
    for (snippet, command) in
        each(context).filter(|(snippet, command)| !snippet.inline && command.name() == "kubectl")
    {
        let path = tools::subcommands(command);
        let Some(first) = path.first().filter(|first| VERBS.contains(&first.as_str())) else { continue };
        let from_file = command.arguments().iter().any(|word| {
            matches!(word.text.as_str(), "-f" | "-k" | "--kustomize")
                || word.text.starts_with("--filename")
                || word.text.starts_with("-f=")
        }) && first != "logs";
        let kinds = tools::positionals(command);
        let kind = kinds.first().map_or("", |word| word.text.split('/').next().unwrap_or_default());
        let wide = kind.split(',').all(|kind| WIDE.contains(&kind)) && !kind.is_empty()
            || path
                .get(1)
                .is_some_and(|kind| WIDE.contains(&kind.as_str()) || kind.starts_with("clusterrole"));
        if in_namespace(command) || from_file || wide || path.len() + kinds.len() < 2 {
            continue;
        }
        let message = format!("`{}` names no namespace; line {with_line} does", verb(command));
        found.push(Found::new(snippet.whole(command), message).help("add `-n NAMESPACE`"));
    }
}

fn script_unseen(context: &Context<'_>, found: &mut Vec<Found>) {
    if context.files.is_some() {
        // Inside a repository its lines can be read; LB0511 says when they cannot.
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        let words: Vec<&str> = command.words.iter().map(|word| word.text.as_str()).collect();
        let script = match words[..] {
            [first, ..]
                if first.starts_with("./") || first.starts_with("scripts/") || first.ends_with(".sh") =>
            {
                first
            }
            ["bash" | "sh" | "source" | ".", script, ..] if script.ends_with(".sh") => script,
            _ => continue,
        };
        let name = script.rsplit('/').next().unwrap_or_default().to_lowercase();
        let acts = any(
            &name,
            &[
                "restore",
                "emergency",
                "rotate",
                "failover",
                "patch",
                "recover",
                "promote",
                "rollback",
                "switch",
                "evacuat",
                "isolate",
            ],
        );
        let is_backup = is_about_backups(context.document.titles(snippet.section));
        if acts && !is_backup && !seen.contains(&script) {
            seen.push(script);
            let message = format!("what `{script}` does is not in the plan");
            found.push(Found::new(snippet.place(&command.words[0]), message).help("say in a line or two what it changes and how to do that by hand, and keep it beside the plan"));
        }
    }
}

fn evidence_destroyed(context: &Context<'_>, found: &mut Vec<Found>) {
    const KEEPS: [&str; 16] = [
        "snapshot",
        "forensic",
        "preserve",
        "evidence",
        "image of",
        "memory dump",
        "kubectl logs",
        "audit log",
        "cordon",
        "quarantine",
        "networkpolicy",
        "network policy",
        "debug",
        "describe pod",
        "beweis",
        "取证",
    ];
    for (procedure, commands) in procedures(context) {
        if !is_for(context, procedure, Peril::Breach) {
            continue;
        }
        let destroys = |command: &Command| {
            let verb = verb(command);
            replicas(command) == Some(0)
                || verb == "kubectl delete" && secret(command, "delete").is_none()
                || verb == "kubectl rollout restart"
                || verb == "aws ec2 terminate-instances"
                || command.name() == "docker" && command.has("rm")
        };
        let Some(at) = commands.iter().copied().find(|(_, command)| destroys(command)) else { continue };
        if !lines_before(context, procedure, line(at)).any(|line| any(line, &KEEPS)) {
            let message = "this ends the affected processes before anything of them is kept";
            let help = "isolate with a network policy instead, and keep logs, disk and memory first (`kubectl logs`, `kubectl debug`, a volume snapshot)";
            found.push(Found::new(at.0.whole(at.1), message).help(help));
        }
    }
}

fn region_not_named(context: &Context<'_>, found: &mut Vec<Found>) {
    const SERVICES: [&str; 12] = [
        "rds",
        "eks",
        "ec2",
        "ecs",
        "elasticache",
        "autoscaling",
        "lambda",
        "elb",
        "elbv2",
        "secretsmanager",
        "docdb",
        "redshift",
    ];
    for (procedure, commands) in procedures(context) {
        if !is_for(context, procedure, Peril::Region) {
            continue;
        }
        let at = commands.iter().copied().find(|(_, command)| {
            let service = tools::subcommands(command).first().cloned().unwrap_or_default();
            command.name() == "aws" && SERVICES.contains(&service.as_str())
        });
        let Some(at @ (snippet, command)) = at else { continue };
        let named = command.option("--region").is_some()
            || command.option("--profile").is_some()
            || command.assignments.iter().any(|(name, _)| name.contains("REGION") || name == "AWS_PROFILE");
        let set = lines_before(context, procedure, line(at)).any(|line| {
            any(line, &["aws_region=", "aws_default_region=", "aws_profile=", "configure set region"])
        });
        if !named && !set {
            let message = format!("`{}` names no region", verb(command));
            found.push(Found::new(snippet.whole(command), message).help(
                "add `--region` with the region that takes over, or `export AWS_REGION=…` as the first step",
            ));
        }
    }
}

fn context_of_the_lost_cluster(context: &Context<'_>, found: &mut Vec<Found>) {
    for (procedure, commands) in procedures(context) {
        if !is_for(context, procedure, Peril::Region) {
            continue;
        }
        let at = commands.iter().copied().find(|(_, command)| {
            matches!(command.name(), "kubectl" | "helm")
                && tools::subcommands(command).first().is_none_or(|verb| verb != "config")
        });
        let Some(at @ (snippet, command)) = at else { continue };
        let named = ["--context", "--kubeconfig", "--kube-context"]
            .iter()
            .any(|option| command.option(option).is_some());
        let set = lines_before(context, procedure, line(at)).any(|line| {
            any(
                line,
                &[
                    "use-context",
                    "update-kubeconfig",
                    "get-credentials",
                    "kubeconfig=",
                    "kubectx ",
                    "create cluster",
                    "write-kubeconfig",
                    "--context",
                ],
            )
        });
        if !named && !set {
            let message = format!("nothing before `{}` turns kubectl to the other cluster", verb(command));
            found.push(
                Found::new(snippet.whole(command), message)
                    .help("`kubectl config use-context …` first, or `--context` with each command"),
            );
        }
    }
}

fn state_in_the_lost_region(context: &Context<'_>, found: &mut Vec<Found>) {
    let inits: Vec<_> = each(context)
        .filter(|(snippet, command)| !snippet.inline && verb(command) == "terraform init")
        .collect();
    for (number, (snippet, command)) in inits.iter().enumerate() {
        let (Some((_, bucket)), Some((word, region))) =
            (backend(command, "bucket"), backend(command, "region"))
        else {
            continue;
        };
        let other = inits[..number].iter().find_map(|(other, earlier)| {
            let (_, other_bucket) = backend(earlier, "bucket")?;
            let (word, other_region) = backend(earlier, "region")?;
            (other_bucket == bucket && other_region != region).then(|| (other.place(word).line, other_region))
        });
        if let Some((at, other_region)) = other {
            let message =
                format!("the bucket `{bucket}` lies in {other_region} (line {at}), not in {region}");
            let help = "a bucket has one region: keep the other region's state in a bucket of its own there, replicated, and name that one";
            found.push(Found::new(snippet.place(word), message).help(help));
        }
    }
}

fn backups_in_one_place(context: &Context<'_>, found: &mut Vec<Found>) {
    const ELSEWHERE: [&str; 22] = [
        "cross-region",
        "cross region",
        "replicat",
        "secondary",
        "another region",
        "other region",
        "second region",
        "multi-region",
        "multi region",
        "off-site",
        "offsite",
        "geo-redundant",
        "georedundan",
        "grs",
        "both regions",
        "two regions",
        "dr region",
        "different region",
        "second copy",
        "zweite",
        "异地",
        "異地",
    ];
    let document = context.document;
    let has_scenario = (1..document.sections.len()).any(|section| {
        perils(document, section).contains(&Peril::Region) && document.sections[section].level >= 2
    });
    if !has_scenario {
        return;
    }
    let mut told: Vec<usize> = Vec::new();
    for statement in &context.facts.statements {
        let titles = document.titles(statement.section);
        let key = statement.key_text();
        let is_location =
            ["location", "storage", "stored in", "destination", "speicherort", "存储位置", "儲存位置"]
                .iter()
                .any(|word| key == *word || key.ends_with(&format!(" {word}")));
        if !is_location
            || !is_about_backups(titles)
            || !any(titles, &["database", "datenbank", "数据库", "資料庫", "postgres", "mysql"])
        {
            continue;
        }
        let section = document
            .path(statement.section)
            .find(|at| document.sections[*at].level <= 3)
            .unwrap_or(statement.section);
        if told.contains(&section) || context.facts.says(section, &ELSEWHERE) || regions(context, section) > 1
        {
            continue;
        }
        told.push(section);
        let scenario = (1..document.sections.len()).find(|at| perils(document, *at).contains(&Peril::Region));
        let at = scenario.map_or(1, |section| heading(context, section).line);
        let message = format!(
            "the plan reckons with the loss of a region (line {at}), and the database's backups lie in one place"
        );
        found.push(
            Found::new(statement.value.whole(), message)
                .help("keep a copy in another region or with another provider, and name both here"),
        );
    }
}

/// How many cloud regions a section names.
fn regions(context: &Context<'_>, section: usize) -> usize {
    let mut names: Vec<&str> = Vec::new();
    for (_, line) in context.facts.lines(section) {
        for word in line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
            let starts = [
                "us-",
                "eu-",
                "ap-",
                "sa-",
                "ca-",
                "me-",
                "af-",
                "asia-",
                "europe-",
                "westeurope",
                "northeurope",
                "eastus",
                "westus",
            ];
            let is_region = starts.iter().any(|start| word.starts_with(start)) && word.len() > 5;
            if is_region && !names.contains(&word) {
                names.push(word);
            }
        }
    }
    names.len()
}
