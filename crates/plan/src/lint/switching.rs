//! The moment at which users are led to what was recovered: in which order, with what behind it, and what is stopped.
//!
//! Deliberately absent: regions, contexts and fences of the old primary (`dangers`), and the way back (`gaps`).

use super::look::{
    At, any, deploys, each, heading, is_for, is_reference, last_line, line, lines_after, procedures,
    replicas, terminals, turns_names, verb,
};
use super::{Context, Found, Rule, rule_of};
use crate::document::ROOT;
use crate::facts::procedures::Peril;
use crate::shell::Command;

pub(super) const RULES: &[Rule] = &[
    rule_of!(
        "LB0210",
        "dns-lifetime-unknown",
        Note,
        dns_lifetime_unknown,
        "so long after the switch users still go to the old address, and the objective runs on"
    ),
    rule_of!(
        "LB0415",
        "traffic-before-check",
        Warning,
        traffic_before_check,
        "users are the first to find out that the new place does not work, and the way back takes as long again"
    ),
    rule_of!(
        "LB0417",
        "dns-change-unseen",
        Warning,
        dns_change_unseen,
        "who runs it cannot see which names it turns to which address, nor whether that is still right"
    ),
    rule_of!(
        "LB0419",
        "load-on-production",
        Warning,
        load_on_production,
        "what has just come back is at its weakest: caches are cold, replicas are missing, users return at once"
    ),
    rule_of!(
        "LB0420",
        "secrets-after-application",
        Warning,
        secrets_after_application,
        "its pods start without their secrets, and crash until somebody sees why"
    ),
    rule_of!(
        "LB0520",
        "never-started-again",
        Error,
        never_started_again,
        "the procedure ends, and the service is still down"
    ),
    rule_of!(
        "LB0521",
        "traffic-never-turned",
        Warning,
        traffic_never_turned,
        "a new cluster has new addresses: it runs, and users still go to the old one"
    ),
    rule_of!(
        "LB0522",
        "failover-without-data",
        Error,
        failover_without_data,
        "the application comes up over an empty database, and takes orders into it"
    ),
];

fn dns_lifetime_unknown(context: &Context<'_>, found: &mut Vec<Found>) {
    let at = each(context).find(|(snippet, command)| !snippet.inline && turns_names(command));
    let Some((snippet, command)) = at else { return };
    if !context.facts.says(ROOT, &["ttl", "time to live", "time-to-live"]) {
        let message = "nothing says how long resolvers keep the old address (TTL)";
        let help = "write down the records' TTL, keep it at a minute or less, and count it into the RTO";
        found.push(Found::new(snippet.whole(command), message).help(help));
    }
}

/// What looks whether something works, in small letters.
const LOOKS: [&str; 21] = [
    "verif",
    "validat",
    "curl",
    "health",
    "smoke",
    "rollout status",
    "kubectl wait",
    "kubectl get",
    "test",
    "--wait",
    "check",
    "confirm",
    "make sure",
    "prüf",
    "验证",
    "驗證",
    "检查",
    "檢查",
    "until ",
    "compare",
    "select ",
];

fn traffic_before_check(context: &Context<'_>, found: &mut Vec<Found>) {
    for (procedure, commands) in procedures(context) {
        let Some(turned) = commands.iter().position(|(_, command)| turns_names(command)) else { continue };
        let at = commands[turned];
        let builds = |command: &Command| {
            deploys(command) || verb(command).starts_with("aws rds promote") || replicas(command) == Some(0)
        };
        let before = commands[..turned].iter().rev().find(|(_, command)| builds(command));
        let later = commands[turned + 1..].iter().find(|(_, command)| deploys(command));
        let from = before.map(|before| last_line(*before) + 1);
        let checked = from.is_some_and(|from| {
            context.facts.lines_between(from, line(at).saturating_sub(1)).any(|(_, line)| any(line, &LOOKS))
        });
        let message = match (before, later) {
            (_, Some(later)) => format!(
                "users are turned here, and what is to serve them is started only in line {}",
                line(*later)
            ),
            (Some(_), None) if !checked => {
                "users are turned before anything shows that the new place works".to_owned()
            }
            _ => continue,
        };
        if context.document.sections[procedure].level > 0 {
            let help = "check the new place at its own address first (`curl -f --resolve …`, a query), then turn the names";
            found.push(Found::new(at.0.whole(at.1), message).help(help));
        }
    }
}

/// So many changes of names are looked up in the document.
const MOST: usize = 50;

fn dns_change_unseen(context: &Context<'_>, found: &mut Vec<Found>) {
    let mut seen: Vec<&str> = Vec::new();
    for (snippet, command) in
        each(context).filter(|(snippet, command)| !snippet.inline && turns_names(command))
    {
        let Some(file) = command.value("--change-batch").and_then(|value| value.strip_prefix("file://"))
        else {
            continue;
        };
        if seen.len() >= MOST {
            return;
        }
        let name = file.rsplit('/').next().unwrap_or(file);
        let small = name.to_lowercase();
        let mentions = context.facts.lines(ROOT).filter(|(_, line)| line.contains(&small)).count();
        let runs = each(context)
            .filter(|(_, other)| other.value("--change-batch") == Some(&format!("file://{file}")))
            .count();
        let is_there = context.files.is_some_and(|exists| exists(file));
        if seen.contains(&file) || mentions > runs || is_there || file.contains('$') {
            continue;
        }
        seen.push(file);
        let place = command
            .option("--change-batch")
            .map_or_else(|| snippet.whole(command), |word| snippet.place(word));
        let message = format!("what `{name}` changes is not in the plan");
        let help = "show the change: name, type, address and TTL of each record; it is typed by hand when the file is out of date";
        found.push(Found::new(place, message).help(help));
    }
}

fn load_on_production(context: &Context<'_>, found: &mut Vec<Found>) {
    const TOOLS: [&str; 10] =
        ["k6", "locust", "artillery", "jmeter", "vegeta", "wrk", "hey", "siege", "ab", "gatling"];
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        let titles = context.document.titles(snippet.section);
        let is_load = TOOLS.contains(&command.name()) && command.words.len() > 1
            || command.words.iter().any(|word| any(&word.text, &["load-test", "loadtest", "load_test"]));
        let elsewhere =
            any(titles, &["drill", "exercise", "staging", "test environment", "rehears", "schedule"])
                || command.words.iter().any(|word| any(&word.text, &["staging", "test-env"]));
        if is_load && !elsewhere && command.inside.is_none() {
            let message = "a load test meets what has just come back";
            let help =
                "measure with the users' own traffic and let it in by degrees; keep load tests for drills";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

/// Whether a command brings secrets.
fn brings_secrets(command: &Command) -> bool {
    let verb = verb(command);
    verb.starts_with("kubectl create secret")
        || verb.starts_with("kubectl apply")
            && command.words.iter().any(|word| word.text.to_lowercase().contains("secret"))
}

fn secrets_after_application(context: &Context<'_>, found: &mut Vec<Found>) {
    for (_, commands) in procedures(context) {
        let Some(secrets) = commands.iter().position(|(_, command)| brings_secrets(command)) else {
            continue;
        };
        let is_other = |command: &Command| {
            let others = ["namespace", "crd", "operator", "controller", "policy", "storageclass"];
            command.words.iter().any(|word| word.text == "-" || any(&word.text.to_lowercase(), &others))
        };
        let application = commands[..secrets].iter().find(|(_, command)| {
            let starts = ["kubectl apply", "helm install", "helm upgrade", "kubectl create deployment"];
            starts.contains(&verb(command)) && !is_other(command)
        });
        if let Some(application) = application {
            let (snippet, command) = commands[secrets];
            let message = format!("the application (line {}) comes before its secrets", line(*application));
            let help = "bring the secrets first, then what reads them";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

/// What a command stops: the application's name, or the words that stop it.
fn stops(command: &Command) -> bool {
    let text = command.line_text();
    let stops = ["systemctl stop", "docker stop", "docker compose stop", "docker-compose stop"];
    replicas(command) == Some(0) || stops.iter().any(|start| text.starts_with(start))
}

fn never_started_again(context: &Context<'_>, found: &mut Vec<Found>) {
    const STARTS: [&str; 28] = [
        "start",
        "resume",
        "scale up",
        "scale back",
        "scale the",
        "scale it",
        "replicas=1",
        "replicas=2",
        "replicas=3",
        "replicas=4",
        "replicas=5",
        "replicas=$",
        "replicas \"$",
        "bring up",
        "bring back",
        "bring the",
        "back online",
        "deploy",
        "apply",
        "helm ",
        "up -d",
        "hochfahren",
        "arrancar",
        "reanudar",
        "démarr",
        "relancer",
        "启动",
        "啟動",
    ];
    for (procedure, commands) in procedures(context) {
        let Some(at) = commands.iter().rev().copied().find(|(_, command)| stops(command)) else { continue };
        let starts = |at: &At<'_>| {
            replicas(at.1).is_some_and(|count| count > 0)
                || deploys(at.1)
                || any(&at.1.line_text(), &["start", "replicas", "uncordon"])
        };
        let later = commands.iter().filter(|other| line(**other) > line(at));
        let old = any(&at.1.line_text().to_lowercase(), &["old", "former", "primary", "staging", "test"]);
        let titles = context.document.titles(procedure);
        let moves_away = is_for(context, procedure, Peril::Region);
        if old
            || moves_away
            || later.clone().any(starts)
            || lines_after(context, procedure, line(at)).any(|line| any(line, &STARTS))
            || is_reference(context, procedure)
            || any(titles, &["isolat", "contain", "stop", "fenc", "decommission", "shut"])
        {
            continue;
        }
        let message = "this stops the service, and nothing in the procedure starts it again";
        let help = "write the step that starts it, and what must be true before it is taken";
        found.push(Found::new(at.0.whole(at.1), message).help(help));
    }
}

fn traffic_never_turned(context: &Context<'_>, found: &mut Vec<Found>) {
    const TURNS: [&str; 17] = [
        "dns",
        "route53",
        "route 53",
        "ingress",
        "load balancer",
        "loadbalancer",
        "load-balancer",
        "static ip",
        "static-ip",
        "traffic",
        "cloudfront",
        "cdn",
        "cloudflare",
        "域名",
        "流量",
        "解析",
        "endpoint address",
    ];
    for (section, commands) in terminals(context) {
        let makes = |command: &Command| {
            let verb = verb(command);
            let rebuilt =
                matches!(verb, "terraform apply" | "tofu apply") && is_for(context, section, Peril::Cluster);
            rebuilt
                || ["eksctl create cluster", "gcloud container clusters create", "aws eks create-cluster"]
                    .iter()
                    .any(|start| verb.starts_with(start))
                || command.line_text().starts_with("az aks create")
        };
        let Some(made) = commands.iter().position(|(_, command)| makes(command)) else { continue };
        let deployed = commands[made + 1..].iter().any(|(_, command)| deploys(command));
        if !deployed || context.facts.says(section, &TURNS) || is_reference(context, section) {
            continue;
        }
        let (snippet, command) = commands[made];
        let message = "nothing here leads users to the cluster that this makes";
        let help = "say which names and addresses lead to the cluster (DNS, load balancer, CDN), who changes them, and how";
        found.push(Found::new(snippet.whole(command), message).help(help));
    }
}

fn failover_without_data(context: &Context<'_>, found: &mut Vec<Found>) {
    const DATA: [&str; 21] = [
        "promote",
        "replica",
        "restore",
        "database",
        "pg_",
        "psql",
        "rds ",
        "sql ",
        "snapshot",
        "backup",
        "failover-db",
        "datenbank",
        "数据",
        "資料",
        "velero",
        "lifeboat",
        "global cluster",
        "global-cluster",
        "aurora",
        "standby",
        "dynamodb global",
    ];
    for (section, commands) in terminals(context) {
        let moves = |command: &Command| turns_names(command) || deploys(command);
        let titles = context.document.titles(section);
        if !is_for(context, section, Peril::Region)
            && !any(titles, &["multi-region failover", "cross-region failover", "region failover"])
            || !commands.iter().any(|(_, command)| moves(command))
            || context.facts.says(section, &DATA)
            || any(titles, &["test", "drill"])
        {
            continue;
        }
        let message = "nothing in this procedure brings the data to the other region";
        let help = "promote the replica there or restore the newest backup, in a step of its own, before the application starts";
        found.push(Found::new(heading(context, section), message).help(help));
    }
}
