//! Commands that cannot work as they are written.

use super::look::{
    any, each, either, feeder, is_reference, line, lines_before, loads, procedures, read_from, terminal, verb,
};
use super::{Context, Found, Rule, rule_of};
use crate::document::Place;
use crate::facts::commands::Snippet;
use crate::shell::{Command, Word};
use crate::tools::{self, Problem};

pub(super) const RULES: &[Rule] = &[
    rule_of!(
        "LB0301",
        "unknown-subcommand",
        Error,
        unknown_subcommand,
        "the step ends with a usage message, and whoever follows the plan has to find out what was meant"
    ),
    rule_of!(
        "LB0302",
        "unknown-option",
        Error,
        unknown_option,
        "the command refuses to start, and whoever follows the plan has to find out what was meant"
    ),
    rule_of!(
        "LB0303",
        "missing-option",
        Error,
        missing_option,
        "the command refuses to start until somebody knows the value"
    ),
    rule_of!(
        "LB0304",
        "wrong-restore-tool",
        Error,
        wrong_restore_tool,
        "the restore ends with an error message while the database is down"
    ),
    rule_of!(
        "LB0305",
        "install-not-repeatable",
        Warning,
        install_not_repeatable,
        "a recovery is rarely right the first time, and the second attempt fails because the name is in use"
    ),
    rule_of!(
        "LB0306",
        "check-that-cannot-fail",
        Warning,
        check_that_cannot_fail,
        "an error page counts as an answer: the check passes while the service is down"
    ),
    rule_of!(
        "LB0307",
        "lost-failure",
        Warning,
        lost_failure,
        "a pipe succeeds if its last command does: half a dump is written or loaded, and nothing says so"
    ),
    rule_of!(
        "LB0308",
        "shell-refuses",
        Error,
        shell_refuses,
        "pasted into a terminal, nothing of it runs, or the shell waits for more"
    ),
    rule_of!(
        "LB0309",
        "sql-errors-ignored",
        Warning,
        sql_errors_ignored,
        "psql goes on after an error and exits with 0: a half-loaded database looks restored"
    ),
    rule_of!(
        "LB0310",
        "directory-of-another-step",
        Warning,
        directory_of_another_step,
        "the steps are typed into one terminal, and this one starts where the one before left it"
    ),
    rule_of!(
        "LB0311",
        "backend-changed",
        Error,
        backend_changed,
        "terraform stops and asks whether to migrate the state, and the wrong answer overwrites it"
    ),
    rule_of!(
        "LB0312",
        "never-ends",
        Warning,
        never_ends,
        "what stands below is never reached when the block is pasted"
    ),
    rule_of!(
        "LB0313",
        "not-waited-for",
        Warning,
        not_waited_for,
        "the command returns at once and the work takes minutes to hours: the next step meets something half made"
    ),
    rule_of!(
        "LB0314",
        "namespace-not-there",
        Error,
        namespace_not_there,
        "a new cluster has only its own namespaces, and the step fails"
    ),
    rule_of!(
        "LB0315",
        "database-in-use",
        Error,
        database_in_use,
        "PostgreSQL refuses while anything is connected, and the application reconnects within a second"
    ),
    rule_of!(
        "LB0316",
        "database-named-as-user",
        Warning,
        database_named_as_user,
        "without a database psql connects to one named as the user, which is rarely there"
    ),
    rule_of!(
        "LB0317",
        "terraform-not-initialised",
        Note,
        terraform_not_initialised,
        "on the machine that is at hand that day there is no working directory: `terraform init` must come first"
    ),
];

fn unknown_subcommand(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in each(context) {
        for problem in tools::problems(command) {
            if let Problem::Subcommand { word, of, nearest } = problem {
                let written = &command.words[word];
                let version = tools::version(command.name()).unwrap_or_default();
                let message = format!("`{of}` has no command `{}` ({version})", written.text);
                let help = nearest.map_or_else(
                    || format!("`{of} --help` lists its commands"),
                    |near| format!("the nearest that it has is `{of} {near}`"),
                );
                found.push(Found::new(snippet.place(written), message).help(help));
            }
        }
    }
}

fn unknown_option(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in each(context) {
        for problem in tools::problems(command) {
            if let Problem::Unknown { word, option, of, nearest } = problem {
                let version = tools::version(command.name()).unwrap_or_default();
                let message = format!("`{of}` has no option `{option}` ({version})");
                let restarts_all = of == "kubectl rollout restart" && option == "--all";
                let help = match nearest {
                    _ if restarts_all => "without a name it restarts all of the namespace: `kubectl rollout restart deployment -n NAMESPACE`".to_owned(),
                    Some(near) => format!("the nearest that it has is `{near}`"),
                    None => format!("`{of} --help` lists its options"),
                };
                found.push(Found::new(snippet.place(&command.words[word]), message).help(help));
            }
        }
    }
}

fn missing_option(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        for problem in tools::problems(command) {
            if let Problem::Missing { option, of } = problem {
                let message = format!("`{of}` does not run without `{option}`");
                found.push(
                    Found::new(snippet.whole(command), message).help(format!("add `{option}` and its value")),
                );
            }
        }
    }
}

fn wrong_restore_tool(context: &Context<'_>, found: &mut Vec<Found>) {
    for at @ (snippet, command) in
        each(context).filter(|(snippet, command)| !snippet.inline && command.name() == "pg_restore")
    {
        let place = snippet.place(&command.words[0]);
        let is_sql = |file: &String| {
            let file = file.trim_end_matches([')', '"']);
            [".sql", ".sql.gz", ".sql.bz2", ".sql.xz", ".sql.zst"].iter().any(|end| file.ends_with(end))
        };
        if let Some(file) = loads(at).filter(is_sql) {
            let message = format!(
                "pg_restore does not read `{file}`: that is SQL text, and it takes archives of pg_dump -Fc, -Fd or -Ft"
            );
            let help = if file.ends_with(".sql") {
                format!("load it with `psql -v ON_ERROR_STOP=1 -f {file}`")
            } else {
                format!(
                    "load it with `gunzip -c {file} | psql -v ON_ERROR_STOP=1 …`, under `set -o pipefail`"
                )
            };
            found.push(Found::new(place, message).help(help));
        } else if either(command, "--dbname", "-d").is_none()
            && either(command, "--file", "-f").is_none()
            && !command.arguments().is_empty()
            && !["-l", "--list", "--help", "--version", "-V"].iter().any(|option| command.has(option))
        {
            let message = "pg_restore does not say where to: it refuses to start without `-d` or `-f`";
            found.push(Found::new(place, message).help("add `-d DATABASE`"));
        }
    }
}

fn install_not_repeatable(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        if verb(command) != "helm install"
            || command.has("--generate-name")
            || command.has("-g")
            || command.has("--replace")
            || command.guarded
        {
            continue;
        }
        let Some(word) = command.words.iter().find(|word| word.text == "install") else { continue };
        let place = snippet.place(word);
        let found_here =
            Found::new(place, "`helm install` fails if the release is there already, also as a failed one");
        found.push(
            found_here
                .help("`helm upgrade --install` does the same and can be repeated")
                .fix(place, "upgrade --install"),
        );
    }
}

fn check_that_cannot_fail(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in
        each(context).filter(|(snippet, command)| !snippet.inline && command.name() == "curl")
    {
        let words: Vec<&str> = command.arguments().iter().map(|word| word.text.as_str()).collect();
        let letters = |letters: &[char]| {
            words
                .iter()
                .any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(letters))
        };
        let does_more = letters(&['o', 'O', 'd', 'F', 'T', 'w', 'X'])
            || words.iter().any(|word| {
                any(
                    word,
                    &[
                        "--data",
                        "--output",
                        "--request",
                        "--form",
                        "--upload",
                        "--write-out",
                        "--remote-name",
                    ],
                )
            });
        let fails = letters(&['f']) || words.iter().any(|word| word.starts_with("--fail"));
        let says_so = || {
            let of_url = words.iter().any(|word| {
                any(&word.to_lowercase(), &["health", "ready", "readiness", "live", "status", "ping"])
            });
            of_url
                || comment_above(snippet, command).is_some_and(|comment| {
                    any(
                        &comment,
                        &[
                            "verif", "check", "test", "health", "smoke", "prüf", "检查", "验证", "檢查",
                            "驗證",
                        ],
                    )
                })
        };
        if fails
            || does_more
            || command.stages > 1
            || command.inside.is_some_and(|at| snippet.script.commands[at].name() != "kubectl")
            || !says_so()
        {
            continue;
        }
        let place = snippet.place(&command.words[0]);
        let message =
            "this check succeeds whatever the server answers: curl fails on an HTTP error only with `-f`";
        found.push(
            Found::new(place, message)
                .help("`curl -f` fails on 4xx and 5xx; `--max-time 10` on a server that hangs")
                .fix(place, "curl -f"),
        );
    }
}

/// The comment in the lines right above a command, in small letters.
fn comment_above(snippet: &Snippet, command: &Command) -> Option<String> {
    let lines = snippet.code.lines.iter().take(command.line.saturating_sub(1)).rev();
    lines.take(2).map(|line| line.text.trim()).find(|line| line.starts_with('#')).map(str::to_lowercase)
}

fn sets_pipefail(snippet: &Snippet) -> bool {
    snippet.code.lines.iter().any(|line| line.text.contains("pipefail"))
}

fn lost_failure(context: &Context<'_>, found: &mut Vec<Found>) {
    const MAKES: [&str; 6] =
        ["pg_dump", "pg_dumpall", "mysqldump", "mariadb-dump", "mongodump", "pg_basebackup"];
    const GIVES: [&str; 12] = [
        "gunzip", "zcat", "gzip", "zstd", "zstdcat", "xzcat", "bzcat", "aws", "gsutil", "openssl", "age",
        "gpg",
    ];
    const TAKES: [&str; 7] = ["psql", "mysql", "mariadb", "mongorestore", "pg_restore", "redis-cli", "tar"];
    for at @ (snippet, command) in each(context) {
        let Some(from) = feeder(at) else { continue };
        let is_last = command.position + 1 == command.stages;
        let first = snippet
            .script
            .commands
            .iter()
            .find(|other| other.pipeline == command.pipeline && other.position == 0);
        let makes = first.is_some_and(|first| MAKES.contains(&first.name()));
        let loads = GIVES.contains(&from.name()) && TAKES.contains(&command.name());
        if !is_last || !(makes || loads) || sets_pipefail(snippet) || snippet.inline {
            continue;
        }
        let Some(source) = first else { continue };
        let message =
            format!("if `{}` fails, the pipe into `{}` still succeeds", source.name(), command.name());
        found.push(
            Found::new(snippet.place(&source.words[0]), message)
                .help("put `set -o pipefail` in front, or write a file first and look at it"),
        );
    }
}

fn shell_refuses(context: &Context<'_>, found: &mut Vec<Found>) {
    for snippet in context.facts.snippets.iter().filter(|snippet| !snippet.inline) {
        if let Some(refused) = &snippet.script.refused {
            // Dots and templates stand for what a person fills in.
            let text = snippet.code.text();
            if any(&text, &["...", "…", "{{", "{%"]) {
                continue;
            }
            let message = format!("a shell refuses this block: {}", refused.what);
            found.push(
                Found::new(snippet.refused_at(refused), message)
                    .help("`bash -n FILE` checks it without running it"),
            );
        }
    }
}

fn sql_errors_ignored(context: &Context<'_>, found: &mut Vec<Found>) {
    for at @ (snippet, command) in
        each(context).filter(|(snippet, command)| !snippet.inline && command.name() == "psql")
    {
        let text = command.line_text();
        if loads(at).is_none()
            || text.to_uppercase().contains("ON_ERROR_STOP")
            || command.has("-1")
            || command.has("--single-transaction")
        {
            continue;
        }
        let place = snippet.place(&command.words[0]);
        let message = "psql goes on after an error in what it loads";
        found.push(
            Found::new(place, message)
                .help("`psql -v ON_ERROR_STOP=1` stops at the first error and fails")
                .fix(place, "psql -v ON_ERROR_STOP=1"),
        );
    }
}

fn directory_of_another_step(context: &Context<'_>, found: &mut Vec<Found>) {
    let mut last: Option<(usize, usize, String, u32)> = None;
    for (snippet, command) in each(context)
        .filter(|(snippet, command)| !snippet.inline && matches!(command.name(), "cd" | "pushd" | "popd"))
    {
        let Some(target) = command.words.get(1).map(|word| word.text.trim_end_matches('/')) else { continue };
        let in_subshell = snippet
            .code
            .lines
            .get(command.line.saturating_sub(1))
            .is_some_and(|line| line.text.trim_start().starts_with('('));
        let is_relative = !target.starts_with(['/', '~', '$', '-', '.'])
            && command.words[1].variables.is_empty()
            && command.name() == "cd"
            && !in_subshell;
        let here = terminal(context, snippet);
        if !is_relative {
            last = None;
            continue;
        }
        if let Some((terminal, block, before, line)) = &last
            && *terminal == here
            && *block != snippet.block
            && !context.files.is_some_and(|exists| exists(&format!("{before}/{target}")))
        {
            let message =
                format!("the shell is still in `{before}` (line {line}): `{target}` is looked for in there");
            found.push(Found::new(snippet.whole(command), message).help("start each step from a named place: `cd \"$(git rev-parse --show-toplevel)/…\"`, or `terraform -chdir=…`"));
        }
        last = Some((here, snippet.block, target.to_owned(), line((snippet, command))));
    }
}

/// The value of one `-backend-config=key=value`.
pub(super) fn backend<'a>(command: &'a Command, key: &str) -> Option<(&'a Word, &'a str)> {
    command.arguments().iter().find_map(|word| {
        let setting = word.text.trim_start_matches('-').strip_prefix("backend-config=")?;
        setting.strip_prefix(key)?.strip_prefix('=').map(|value| (word, value))
    })
}

fn backend_changed(context: &Context<'_>, found: &mut Vec<Found>) {
    let inits: Vec<_> = each(context)
        .filter(|(snippet, command)| !snippet.inline && verb(command) == "terraform init")
        .collect();
    for (number, (snippet, command)) in inits.iter().enumerate() {
        let Some((_, key)) = backend(command, "key") else { continue };
        let earlier = inits[..number].iter().rev().find_map(|(other, earlier)| {
            backend(earlier, "key").map(|(_, key)| (other.whole(earlier).line, key))
        });
        let handled = ["-reconfigure", "-migrate-state", "--reconfigure", "--migrate-state"]
            .iter()
            .any(|option| command.has(option));
        if let Some((line, earlier)) = earlier
            && earlier != key
            && !handled
        {
            let message = format!(
                "a directory that was initialised for `{earlier}` (line {line}) refuses another backend"
            );
            found.push(
                Found::new(snippet.whole(command), message)
                    .help("add `-reconfigure`, or keep a working directory for each state"),
            );
        }
    }
}

fn never_ends(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in each(context)
        .filter(|(snippet, command)| !snippet.inline && command.stages == 1 && command.inside.is_none())
    {
        let watches = match command.name() {
            "kubectl" => tools::subcommands(command).first().is_some_and(|verb| match verb.as_str() {
                "get" => command.has("-w") || command.has("--watch"),
                "logs" => command.has("-f") || command.has("--follow"),
                _ => false,
            }),
            "tail" => command.has("-f") || command.has("-F"),
            "journalctl" => command.has("-f"),
            "watch" => true,
            _ => false,
        };
        let is_last =
            !snippet.script.commands.iter().any(|other| other.line > command.line && other.inside.is_none());
        if watches && !is_last && !is_reference(context, snippet.section) {
            let message = format!(
                "`{}` goes on until somebody stops it, and steps follow in the same block",
                verb(command)
            );
            let help = if command.name() == "kubectl" {
                "`kubectl rollout status --timeout=5m` and `kubectl wait --for=… --timeout=…` end by themselves"
            } else {
                "leave the following out, or make it the last of its block"
            };
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

/// Whether a command only starts something.
fn starts_work(command: &Command) -> bool {
    let verb = verb(command);
    let restores = [
        "aws rds restore-db",
        "aws rds promote-read-replica",
        "aws rds create-db-instance",
        "aws eks create-cluster",
        "aws elasticache create-",
    ];
    restores.iter().any(|start| verb.starts_with(start))
        || command.name() == "gcloud" && command.has("--async")
        || command.name() == "az" && command.has("--no-wait")
}

fn not_waited_for(context: &Context<'_>, found: &mut Vec<Found>) {
    for (procedure, commands) in procedures(context) {
        for (number, at) in commands.iter().enumerate().filter(|(_, (_, command))| starts_work(command)) {
            let Some(next) = commands[number + 1..]
                .iter()
                .find(|(_, command)| command.inside.is_none() && !command.words.is_empty())
            else {
                continue;
            };
            let (from, to) = (line(*at), line(*next));
            let waits =
                |text: &str| any(text, &["wait", "until", "available", "ready", "poll", "warten", "等待"]);
            let said = context.facts.lines_between(from, to).any(|(_, line)| waits(line));
            if !said && context.document.sections[procedure].level > 0 {
                let message = format!(
                    "`{}` only starts the work, and the next step (line {to}) does not wait for it",
                    verb(at.1)
                );
                let help = if at.1.name() == "aws" {
                    "`aws rds wait db-instance-available --db-instance-identifier …` waits for it"
                } else {
                    "wait for the operation to end before the next step"
                };
                found.push(Found::new(at.0.whole(at.1), message).help(help));
            }
        }
    }
}

/// Whether a command makes a new cluster.
fn makes_cluster(command: &Command) -> bool {
    [
        "eksctl create cluster",
        "gcloud container clusters create",
        "gcloud container clusters create-auto",
        "aws eks create-cluster",
    ]
    .contains(&verb(command))
        || command.line_text().starts_with("az aks create")
        || command.line_text().starts_with("kind create cluster")
}

fn namespace_not_there(context: &Context<'_>, found: &mut Vec<Found>) {
    for (_, commands) in procedures(context) {
        let Some(made) = commands.iter().position(|(_, command)| makes_cluster(command)) else { continue };
        for (snippet, command) in &commands[made + 1..] {
            let verb = verb(command);
            let makes = verb.starts_with("kubectl create namespace")
                || verb.starts_with("kubectl create ns")
                || verb.starts_with("kubectl apply")
                || command.has("--create-namespace");
            if makes
                || command.name().ends_with(".sh")
                || command.name() == "flux"
                || command.name() == "argocd"
            {
                break;
            }
            let namespace =
                either(command, "--namespace", "-n").filter(|_| matches!(command.name(), "kubectl" | "helm"));
            if let Some(namespace) =
                namespace.filter(|name| !matches!(*name, "default" | "kube-system" | "kube-public"))
            {
                let message =
                    format!("nothing in this procedure makes the namespace `{namespace}` in the new cluster");
                found.push(Found::new(snippet.whole(command), message).help(format!(
                    "`kubectl create namespace {namespace}` first, or `--create-namespace` with helm"
                )));
                break;
            }
        }
    }
}

fn database_in_use(context: &Context<'_>, found: &mut Vec<Found>) {
    for (procedure, commands) in procedures(context) {
        for (snippet, command) in commands {
            let text = command.words.iter().find(|word| {
                let text = word.text.to_lowercase();
                text.contains("alter database") && text.contains(" rename to")
                    || text.contains("drop database") && !text.contains("force")
            });
            let drops = (command.name() == "dropdb" && !command.has("-f") && !command.has("--force"))
                .then(|| command.words.first())
                .flatten();
            let Some(word) = text.or(drops) else { continue };
            let place = statement_place(snippet, word);
            let stopped = lines_before(context, procedure, place.line).any(|line| {
                any(
                    line,
                    &[
                        "replicas=0",
                        "replicas 0",
                        "pg_terminate_backend",
                        "stop the app",
                        "stop app",
                        "systemctl stop",
                        "docker stop",
                        "compose stop",
                        "allow_connections",
                        "connection limit 0",
                        "disconnect",
                        "stop writes",
                        "scale down",
                    ],
                )
            });
            if !stopped {
                let message = "PostgreSQL refuses this while anybody is connected, and nothing before it stops the application";
                found.push(Found::new(place, message).help("stop the application first, then `ALTER DATABASE … WITH ALLOW_CONNECTIONS false` and `pg_terminate_backend` for who is left"));
            }
        }
    }
}

/// Where the statement stands inside a word of several lines.
fn statement_place(snippet: &Snippet, word: &Word) -> Place {
    let small = word.raw.to_lowercase();
    let at = small.find("alter database").or_else(|| small.find("drop database"));
    match at.filter(|_| word.raw.contains('\n')) {
        Some(at) => {
            let before = &small[..at];
            let line = word.line + before.matches('\n').count();
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            snippet.code.place(line, column, 14)
        }
        None => snippet.place(word),
    }
}

fn database_named_as_user(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in
        each(context).filter(|(snippet, command)| !snippet.inline && command.name() == "psql")
    {
        let Some(user) = either(command, "--username", "-U") else { continue };
        let is_plain = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let named = either(command, "--dbname", "-d").is_some() || !tools::positionals(command).is_empty();
        let lists = command.has("-l")
            || command.has("--list")
            || command.arguments().iter().any(|word| word.text.starts_with("-l"));
        let set = command.assignments.iter().any(|(name, _)| name == "PGDATABASE")
            || snippet.code.text().contains("PGDATABASE");
        if is_plain && !matches!(user, "postgres") && !named && !lists && !set && read_from(command).is_none()
        {
            let message = format!("psql names no database and connects to `{user}`");
            found.push(
                Found::new(snippet.place(&command.words[0]), message)
                    .help("add `-d postgres`, or the database that is meant"),
            );
        }
    }
}

fn terraform_not_initialised(context: &Context<'_>, found: &mut Vec<Found>) {
    for (_, commands) in procedures(context) {
        let first = commands
            .iter()
            .find(|(_, command)| matches!(verb(command), "terraform apply" | "terraform plan"));
        let Some((snippet, command)) = first else { continue };
        let section = terminal(context, snippet);
        let is_there = context.facts.says(section, &["terraform init"])
            || command.arguments().iter().any(|word| word.text.contains("-chdir"));
        if !is_there {
            let message = "nothing here initialises the working directory";
            found.push(Found::new(snippet.whole(command), message).help("`terraform init` first; on a new machine it also fetches providers and reads the state's address"));
        }
    }
}
