//! Mistakes and what is said about them, through one [`check`]; and any text at all.

use super::*;
use crate::shape::KEYWORDS;
use proptest::prelude::*;
use serde_json::Value as Json;
use std::fmt::Write as _;

pub(crate) const VALID: &str = r##"apiVersion: lifeboat/v1
kind: RecoveryPlan
metadata: {name: gas-orders, owner: DevOps, approvedBy: CTO, reviewed: 2026-10-01, reviewEvery: 90d}
objectives: {rto: 2h, rpo: 1h, mtd: 4h}
tiers:
  - {name: production, title: Production, kind: environment, objectives: {mttr: 30m, words: {rpo: as good as none}}}
vault:
  copies:
    - {url: "file:///var/lib/lifeboat/vault", name: local, domain: taipei}
    - {url: s3://backups-eu/lifeboat, domain: frankfurt, region: eu-central-1}
  durable: 1
  home: local
services:
  - name: orders-db
    domain: taipei
    objectives: {rto: 15m, rpo: 1m}
    postgres:
      connection: host=db.internal user=lifeboat
      passwordFile: /etc/lifeboat/password
      dataDirectory: /var/lib/postgresql/15/main
      standbys: [host=db2.internal user=lifeboat]
      base: {schedule: "0 3 * * *", timeZone: Asia/Taipei, rate: 100MiB}
      advance: {every: 15m, wal: 256MiB}
      keep: {daily: 30, weekly: 12, monthly: 12, window: 7d}
      stream: {synchronous: true}
      checks: [{query: "select count(*) > 0 from orders"}]
      tablespaces: {/mnt/fast: /srv/fast}
  - name: api
    needs: [orders-db]
    tier: production
    backups:
      - {name: Uploads, method: replication, every: daily, when: at night, continuous: true, keep: 30d, kept: a month,
         location: [another region], encryption: AES-256, runbook: notify, notes: [a note],
         schedule: "0 2 * * *", timeZone: UTC}
scenarios:
  - name: database-corruption
    detect: [orders-db.checks]
    severity: P1
    objectives: {rto: 1h}
    runbook: point-in-time-recovery
runbooks:
  point-in-time-recovery:
    steps:
      - postgres.stop_writes: {service: orders-db}
      - postgres.recover: {service: orders-db, to: "{{ moment }}", parallel: 4}
  notify:
    title: Notify
    variables: {number: {type: number, description: who, format: "+NN", default: "1", environment: NUMBER}}
    steps:
      - {id: ask, choose: {question: Is it down?, options: [{when: yes, step: call}, {when: no, runbook: notify}]}}
      - {id: call, name: Call, description: by hand, onlyIf: it is down, duration: 5m, verify: somebody answers, manual: "{{ number }}"}
      - shell: {run: echo, outputs: [X]}
      - check: {run: curl -f https://orders.example, expect: ok}
      - {sql: select 1, id: query, class: read, needs: [ask, call], timeout: 10s, tries: 2, approvals: 0, onFailure: go-on, probe: test -e x, undo: rm x, verify: {run: test -e x, expect: ""}}
      - {approval: to go on}
      - {manual: look again}
      - {wait: 30s}
people:
  approvers: [{name: Ana, keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti ana]}]
  roles: [{name: Lead, person: A, deputy: B, duties: [lead], phone: "1", email: a@b.example, contact: "#lead"}]
  contacts: [{name: Cloud, person: C, phone: "2", email: c@d.example, url: "https://e.example", account: "7", notes: [x]}]
  escalation: [{name: Level 1, severity: P1, from: 0s, until: 30m, who: Lead, respondWithin: 5m, notify: all, then: CTO}]
communication:
  channels: [{name: Chat, address: "#incidents", audience: team, when: always}]
  updates: [{name: During, audience: team, every: 30m, within: 15m}]
  statusPage: {url: "https://status.example", within: 15m, every: 30m, states: [Investigating], notes: [x]}
  templates: [{name: First, audience: customers, subject: We look, text: "[what]"}]
checklists: [{name: At once, from: 0s, until: 30m, items: [Declare]}]
calendar:
  drills: [{name: Failover, every: quarterly, when: Q1, duration: 1h, steps: [x], criteria: [y], scenario: database-corruption}]
  reviews: [{name: The plan, every: yearly}]
  success: [{name: Failover, items: [in time]}]
  procedure: [announce]
duties:
  afterIncident: [{name: Afterwards, items: [write]}]
  forms: [{name: Report, text: "# Report\n"}]
  compliance: [{name: GDPR, items: [tell]}]
  kpis: [{name: RTO kept, target: 99 %}]
notes: [{title: Network, text: two zones}]
origin: {document: DR.md, sha256: "00", fields: {objectives.rto: 9 0123456789abcdef}}
"##;

/// The valid plan with one text replaced.
#[track_caller]
fn edit(from: &str, to: &str) -> String {
    assert!(VALID.contains(from), "{from}");
    VALID.replacen(from, to, 1)
}

/// All that is said about each source, in one snapshot.
#[track_caller]
fn check(name: &str, sources: &[String]) {
    let mut said = String::new();
    for source in sources {
        let findings = match load(source) {
            Ok(loaded) => loaded.warnings,
            Err(findings) => findings,
        };
        assert!(!findings.is_empty(), "nothing was said about:\n{source}");
        // The plan that they are made from has what is not carried out yet: said in a test of its own.
        for finding in findings.into_iter().filter(|finding| finding.code != Code::NotYet) {
            let _ = writeln!(said, "{}", render(&finding, "plan.yaml", source));
        }
        said.push_str("----------------------------------------\n");
    }
    insta::assert_snapshot!(name, said);
}

#[test]
fn a_valid_plan_loads_and_says_nothing() {
    let loaded = load(VALID).unwrap();
    assert!(loaded.warnings.iter().all(|finding| finding.code == Code::NotYet), "{:?}", loaded.warnings);
    insta::assert_json_snapshot!("valid", loaded.plan);
    // What was written reads back: JSON is YAML.
    let again = load(&serde_json::to_string_pretty(&loaded.plan).unwrap()).unwrap();
    assert_eq!(again.plan, loaded.plan);
}

#[test]
fn r1_what_is_written_loads_as_the_same_plan() {
    let plan = load(VALID).unwrap().plan;
    let written = write(&plan);
    insta::assert_snapshot!("written", written);
    assert_eq!(load(&written).unwrap().plan, plan, "{written}");
}

#[test]
fn steps_and_references() {
    check(
        "steps_and_references",
        &[
            edit("tier: production", "tier: staging"),
            edit("runbook: notify, notes", "runbook: notfy, notes"),
            edit("step: call}", "step: cal}"),
            edit("runbook: notify}]}", "runbook: nobody}]}"),
            edit("step: call}", "step: call, runbook: notify}"),
            edit("id: call", "id: ask"),
            edit("needs: [ask, call]", "needs: [ask, kall]"),
            edit("needs: [ask, call]", "needs: [query]"),
            edit("\"{{ number }}\"", "\"{{ numbr }}\""),
            edit("{manual: look again}", "{manual: look again, sql: select 1}"),
            edit("{manual: look again}", "{name: look}"),
            edit("{manual: look again}", "{manul: look again}"),
            edit("shell: {run: echo, outputs: [X]}", "shell: {run: echo, outputs: [1X]}"),
            edit("until: 30m, who", "until: 0s, who"),
            edit("every: quarterly", "every: quartely"),
            edit("scenario: database-corruption", "scenario: fire"),
            edit("kind: environment", "kind: place"),
            edit("vault:\n", "valt:\n"),
            edit("9 0123456789abcdef", "9"),
        ],
    );
}

#[test]
fn what_is_not_carried_out_yet_is_said_where_it_stands() {
    let warnings = load(VALID).unwrap().warnings;
    let said: Vec<_> = warnings.iter().map(|finding| (finding.path.as_str(), finding.severity)).collect();
    let of = |path| (path, Severity::Warning);
    assert_eq!(said, [of("scenarios")]);
    insta::assert_snapshot!("not_yet", render(&warnings[0], "plan.yaml", VALID));
}

#[test]
fn syntax() {
    check(
        "syntax",
        &[
            String::new(),
            "# only a comment\n".to_owned(),
            "---\n...\n".to_owned(),
            edit("  durable: 1", "\tdurable: 1"),
            edit("kind: RecoveryPlan", "kind: [RecoveryPlan"),
            edit("metadata: {name: gas-orders,", "metadata: {name: \"gas-orders,"),
            edit("owner: DevOps", "owner: *nobody"),
            edit("owner: DevOps", "owner: !secret DevOps"),
            format!("{VALID}---\nkind: RecoveryPlan\n"),
            "just text".to_owned(),
            "- a\n- list\n".to_owned(),
            edit("kind: RecoveryPlan", "kind: RecoveryPlan\nkind: RecoveryPlan"),
            edit("to: \"{{ moment }}\"", "to: a, to: b"),
            edit("kind: RecoveryPlan", "? [a, b]\n: c\nkind: RecoveryPlan"),
        ],
    );
}

#[test]
fn keys() {
    check(
        "keys",
        &[
            edit("{schedule: \"0 3", "{shedule: \"0 3"),
            edit("passwordFile:", "password_file:"),
            edit("    needs: [orders-db]", "    wants: [orders-db]"),
            edit("kind: RecoveryPlan\n", ""),
            edit("apiVersion: lifeboat/v1", "apiversion: lifeboat/v1"),
            edit("{query: \"select", "{sql: \"select"),
            edit("keep: {daily: 30", "keep: {<<: {daily: 3}, daily: 30"),
            "{}".to_owned(),
            // All at once, each at its place.
            edit("rpo: 1h, mtd: 4h}", "rpo: 1x, mdt: 4h}")
                .replace("needs: [orders-db]", "needs: [order-db]\n    color: red"),
        ],
    );
}

#[test]
fn types() {
    check(
        "types",
        &[
            edit("apiVersion: lifeboat/v1", "apiVersion: lifeboat/v2"),
            edit("name: gas-orders", "name: 17"),
            edit("name: gas-orders", "name: Gas Orders"),
            edit("owner: DevOps", "owner: 17"),
            edit("reviewed: 2026-10-01", "reviewed: 2026-13-01"),
            edit("reviewEvery: 90d", "reviewEvery: 90"),
            edit("rto: 2h", "rto: [2h]"),
            edit("durable: 1", "durable: 0"),
            edit("durable: 1", "durable: one"),
            edit("daily: 30", "daily: -1"),
            edit("daily: 30", "daily: 99999999999"),
            edit("wal: 256MiB", "wal: 256"),
            edit("{synchronous: true}", "{synchronous: yes}"),
            edit("[orders-db]", "orders-db"),
            edit("connection: host=db.internal user=lifeboat", "connection:"),
            edit("      base: {schedule: \"0 3 * * *\", timeZone: Asia/Taipei, rate: 100MiB}", "      base:"),
            edit("severity: P1", "severity: high"),
            edit("severity: P1", "severity: p1"),
            edit("0 3 * * *", "0 25 * * *"),
            edit("0 3 * * *", "0 3 * *"),
            edit("0 3 * * *", "@daily"),
            edit("0 3 * * *", "0 3 31 2 *"),
            edit("Asia/Taipei", "Asia/Tapei"),
            edit("Asia/Taipei", "CST"),
            edit("dataDirectory: /var", "dataDirectory: var"),
            edit("advance: {every", "slot: Lifeboat-Slot\n      advance: {every"),
            edit("postgres.stop_writes: {service: orders-db}", "stop_writes: {}"),
            edit("postgres.stop_writes: {service: orders-db}", "{a.b: 1, c.d: 2}"),
            edit("      - postgres.stop_writes: {service: orders-db}", "      - postgres.stop_writes"),
            edit("\"select count(*) > 0 from orders\"", "\" \""),
            edit(
                "  - {url: s3://backups-eu/lifeboat, domain: frankfurt, region: eu-central-1}",
                "  - [s3://b]",
            ),
        ],
    );
}

#[test]
fn names_and_references() {
    check(
        "names_and_references",
        &[
            edit("  - name: api", "  - name: orders-db"),
            edit("needs: [orders-db]", "needs: [orders]"),
            edit("needs: [orders-db]", "needs: [billing-queue]"),
            edit("needs: [orders-db]", "needs: [api]"),
            edit("    domain: taipei\n", "    domain: taipei\n    needs: [api]\n"),
            edit("runbook: point-in-time-recovery", "runbook: point-in-time-recover"),
            edit("runbook: point-in-time-recovery", "runbook: failover"),
            edit("orders-db.checks", "order-db.checks"),
            edit("orders-db.checks", "checks"),
            edit("  point-in-time-recovery:", "  Point in time:"),
        ],
    );
}

#[test]
fn vaults() {
    check(
        "vaults",
        &[
            edit("file:///var/lib/lifeboat/vault", "/var/lib/lifeboat/vault"),
            edit("file:///var/lib/lifeboat/vault", "file://var/lib/lifeboat/vault"),
            edit("s3://backups-eu/lifeboat", "sftp://backups-eu/lifeboat"),
            edit("s3://backups-eu/lifeboat", "https://backups-eu.example/lifeboat"),
            edit("s3://backups-eu/lifeboat", "\"s3://AKIA:hunter2@backups-eu/lifeboat\""),
            edit("s3://backups-eu/lifeboat", "s3://backups-eu/lifeboat?region=eu"),
            edit("s3://backups-eu/lifeboat", "file:///var/lib/lifeboat/vault/"),
            edit("s3://backups-eu/lifeboat, domain", "s3://backups-eu/lifeboat, name: local, domain"),
            edit("name: local, domain", "name: local, endpoint: \"https://s3.example\", domain"),
            edit("durable: 1", "durable: 3"),
            edit("durable: 1", "durable: 2"),
            edit("domain: frankfurt", "domain: taipei"),
            edit("domain: frankfurt, ", ""),
            edit("home: local", "home: locl"),
            edit("home: local", "home: s3://elsewhere"),
        ],
    );
}

#[test]
fn protection() {
    check(
        "protection",
        &[
            edit("connection: host=db.internal", "connection: hots=db.internal"),
            edit("user=lifeboat\n", "user=lifeboat password=hunter2\n"),
            edit("connection: host=db.internal user=lifeboat", "connection: postgresql://u:hunter2@db/x"),
            edit("[host=db2.internal user=lifeboat]", "[host=db.internal user=lifeboat]"),
            edit("[host=db2.internal user=lifeboat]", "[host=db2.internal user]"),
            edit("{daily: 30, weekly: 12, monthly: 12, window: 7d}", "{daily: 0, window: 0s}"),
            edit("{daily: 30, weekly: 12, monthly: 12, window: 7d}", "{}"),
            edit("{every: 15m, wal: 256MiB}", "{}"),
            edit("{synchronous: true}", "{synchronous: true, enabled: false}"),
            edit("{rto: 15m, rpo: 1m}", "{rto: 1d}"),
            edit("objectives: {rto: 2h, rpo: 1h, mtd: 4h}", "objectives: {rto: 6h, mtd: 4h}"),
            edit("name: orders-db", "name: a-service-with-a-name-of-which-no-slot-can-be-named-after-it"),
        ],
    );
}

#[test]
fn anchors_serve_and_wide_characters_keep_the_caret_in_place() {
    let anchored = edit("objectives: {rto: 15m, rpo: 1m}", "objectives: &tight {rto: 15m, rpo: 1m}")
        .replace("    objectives: {rto: 1h}", "    objectives: *tight");
    let plan = load(&anchored).unwrap().plan;
    assert_eq!(plan.scenarios[0].objectives, plan.services[0].objectives);
    let source = edit("owner: DevOps, approvedBy", "owner: 數位營運部, approvdBy");
    let findings = load(&source).unwrap_err();
    insta::assert_snapshot!("wide", render(&findings[0], "plan.yaml", &source));
    let crlf = load(&VALID.replace('\n', "\r\n")).unwrap();
    assert_eq!(crlf.plan, load(VALID).unwrap().plan);
    assert_eq!(load(&format!("\u{feff}{VALID}")).unwrap().plan, crlf.plan);
}

#[test]
fn y1_limits_hold() {
    let code = |source: &str| load(source).unwrap_err()[0].code;
    assert_eq!(code(&format!("#{}", "x".repeat(MAX_SOURCE_BYTES))), Code::Document);
    // The scanner has a limit of its own for brackets, and says so.
    assert_eq!(code(&"[".repeat(500_000)), Code::Syntax);
    assert_eq!(code(&"- ".repeat(500_000)), Code::Limit);
    assert_eq!(code(&"{a: ".repeat(100)), Code::Limit);
    assert_eq!(code(&format!("[{}]", "1,".repeat(MAX_NODES))), Code::Limit);
    // Each line names ten times the one before it.
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..30 {
        let names = vec![format!("*a{}", level - 1); 10].join(",");
        let _ = writeln!(laughs, "a{level}: &a{level} [{names}]");
    }
    assert_eq!(code(&laughs), Code::Limit);
    // Nesting is counted through aliases too.
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        let _ = writeln!(chain, "a{level}: &a{level} [*a{}]", level - 1);
    }
    assert_eq!(code(&chain), Code::Limit);
    assert_eq!(code("a: &a [*a]\n"), Code::Syntax);
}

#[test]
fn p2_findings_are_few_however_much_is_wrong() {
    let source: String = (0..20_000).map(|n| format!("key{n}: x\n")).collect();
    assert_eq!(load(&source).unwrap_err().len(), MAX_FINDINGS);
}

#[test]
fn p3_no_finding_shows_a_password() {
    for secret in ["password = 'hunter2'", "password=hunter2", "sslpassword=hunter2", "password='hunter2"] {
        // In the line of another mistake, too.
        let source = edit("[host=db2.internal user=lifeboat]", &format!("{{\"host=db {secret}\": nothing}}"));
        for finding in load(&source).unwrap_err() {
            let shown = render(&finding, "plan.yaml", &source);
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}

#[test]
fn f2_a_plan_does_not_write_to_the_terminal() {
    let source = edit("owner: DevOps", "\"\\e[31mred\\u202e\": DevOps, o\u{200b}wner\u{85}: \"\u{202e}x\"");
    for finding in load(&source).unwrap_err() {
        let shown = render(&finding, "plan\u{1b}.yaml", &source);
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{shown:?}");
    }
}

#[test]
fn w1_the_walk_knows_every_keyword_of_the_schema() {
    fn visit(schema: &Json, formats: &mut Vec<String>) {
        let Some(object) = schema.as_object() else { return };
        for (keyword, value) in object {
            assert!(KEYWORDS.contains(&keyword.as_str()), "{keyword}");
            match keyword.as_str() {
                "properties" | "$defs" => value.as_object().unwrap().values().for_each(|v| visit(v, formats)),
                "items" | "additionalProperties" | "propertyNames" => visit(value, formats),
                "oneOf" | "anyOf" => value.as_array().unwrap().iter().for_each(|v| visit(v, formats)),
                "format" if schema["type"] == "string" => formats.push(value.as_str().unwrap().to_owned()),
                "type" => assert!(value.is_string(), "{value}"),
                "examples" => {
                    for example in value.as_array().unwrap() {
                        let format = schema["format"].as_str().unwrap();
                        assert!(values::problem(format, example.as_str().unwrap()).is_none(), "{example}");
                    }
                }
                _ => {}
            }
        }
        let is_field = object.contains_key("type") || object.contains_key("$ref");
        assert!(!is_field || schema["type"] == "array" || described(schema), "{schema:#}");
    }
    fn described(schema: &Json) -> bool {
        ["description", "$ref", "const", "format"].iter().any(|key| schema.get(key).is_some())
            || schema["type"] == "string"
    }
    let mut formats = Vec::new();
    visit(&schema(), &mut formats);
    formats.sort();
    formats.dedup();
    assert_eq!(formats, READERS.map(|(format, ..)| format), "V1 has to know them all");
    for format in formats {
        assert!(values::problem(&format, "\u{0}").is_some(), "{format} has no parser");
    }
}

/// The valid plan as a tree, which written as JSON is YAML too.
fn document() -> Json {
    let (value, findings) = shape::check(&schema::SCHEMA, &yaml::parse(VALID).unwrap());
    assert_eq!(findings, []);
    value
}

/// The ways to all that stands below the top of a tree.
fn places(value: &Json) -> Vec<String> {
    let below = |key: String, value: &Json| {
        let key = key.replace('~', "~0").replace('/', "~1");
        let mut found = vec![format!("/{key}")];
        found.extend(places(value).into_iter().map(|rest| format!("/{key}{rest}")));
        found
    };
    let mut found = Vec::new();
    match value {
        Json::Object(map) => found.extend(map.iter().flat_map(|(key, value)| below(key.clone(), value))),
        Json::Array(list) => {
            found.extend(list.iter().enumerate().flat_map(|(n, value)| below(n.to_string(), value)));
        }
        _ => {}
    }
    found
}

/// What the walk says of a document, and what the types say.
fn judged(document: &Json) -> (Vec<Finding>, Result<Plan, serde_json::Error>) {
    let (value, findings) = shape::check(&schema::SCHEMA, &yaml::parse(&document.to_string()).unwrap());
    assert!(!findings.is_empty() || value == *document, "the walk changed it: {value}");
    (findings, serde_json::from_value(document.clone()))
}

#[test]
fn m1_which_keys_must_and_may_be_there_is_what_the_types_say() {
    let whole = document();
    for place in [String::new()].into_iter().chain(places(&whole)) {
        let Some(Json::Object(map)) = whole.pointer(&place) else { continue };
        let changed =
            map.keys().map(|key| (key.clone(), None)).chain([("zzz".to_owned(), Some(Json::from(1)))]);
        for (key, value) in changed {
            let mut document = whole.clone();
            let map = document.pointer_mut(&place).and_then(Json::as_object_mut).unwrap();
            match value {
                Some(value) => map.insert(key.clone(), value),
                None => map.remove(&key),
            };
            let (findings, read) = judged(&document);
            assert_eq!(findings.is_empty(), read.is_ok(), "{key} in {place}: {findings:?} {read:?}");
        }
    }
}

#[test]
fn s1_a_key_without_a_value_is_refused_wherever_the_plan_says_what_belongs_there() {
    assert!(!schema().to_string().contains("\"null\""), "the schema allows null");
    let whole = document();
    let is_argument = |place: &str| place.starts_with("/runbooks/") && place.matches('/').count() > 4;
    let all: Vec<_> = places(&whole).into_iter().filter(|place| !is_argument(place)).collect();
    assert!(all.len() > 50);
    for place in all {
        let mut document = whole.clone();
        *document.pointer_mut(&place).unwrap() = Json::Null;
        let (findings, _) = judged(&document);
        assert!(findings.iter().any(|finding| finding.code == Code::WrongType), "{place}: {findings:?}");
    }
}

type Reads = fn(&str) -> bool;

/// Each format, a text of it, and whether its type reads a text through serde.
const READERS: [(&str, &str, Reads); 16] = {
    fn reads<T: serde::de::DeserializeOwned>(text: &str) -> bool {
        serde_json::from_value::<T>(Json::from(text)).is_ok()
    }
    [
        ("date", "2026-01-01", reads::<Date>),
        ("lifeboat-cadence", "quarterly", reads::<Cadence>),
        ("lifeboat-connection", "host=db user=u", reads::<Conninfo>),
        ("lifeboat-copy", "s3://bucket/prefix", reads::<CopyUrl>),
        ("lifeboat-cron", "0 3 * * *", reads::<Cron>),
        ("lifeboat-duration", "1h15m", reads::<Interval>),
        ("lifeboat-environment", "DB_HOST", reads::<EnvironmentName>),
        ("lifeboat-label", "a-name", reads::<Label>),
        ("lifeboat-origin", "9 0123456789abcdef", reads::<FieldOrigin>),
        ("lifeboat-path", "/srv/data", reads::<AbsolutePath>),
        ("lifeboat-service", "orders-db", reads::<lifeboat_base::ServiceName>),
        ("lifeboat-size", "1GiB", reads::<Size>),
        ("lifeboat-slot", "a_slot", reads::<SlotName>),
        (
            "lifeboat-ssh-key",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti user@example.com",
            reads::<SshKey>,
        ),
        ("lifeboat-step-key", "postgres.recover", |text| {
            let of_all = [
                "id",
                "name",
                "description",
                "onlyIf",
                "duration",
                "verify",
                "class",
                "needs",
                "timeout",
                "tries",
                "approvals",
                "onFailure",
                "probe",
                "undo",
                "shell",
                "check",
                "sql",
                "manual",
                "choose",
                "approval",
                "wait",
            ];
            of_all.contains(&text) || reads::<ActionName>(text)
        }),
        ("lifeboat-time-zone", "Asia/Taipei", reads::<Zone>),
    ]
};

#[test]
fn the_schema_is_published_as_it_is() {
    insta::assert_json_snapshot!("schema", schema());
}

#[test]
fn the_starter_loads_and_says_nothing() {
    let mut start = Starter {
        name: "gas-orders".to_owned(),
        service: "orders-db".to_owned(),
        connection: "host=/var/run/postgresql user=lifeboat options='-c a=b'".to_owned(),
        data_directory: None,
        copies: vec!["file:///var/lib/lifeboat/vault".to_owned()],
        time_zone: "Asia/Taipei".to_owned(),
    };
    insta::assert_snapshot!("starter", starter(&start));
    assert_eq!(load(&starter(&start)).unwrap().warnings, []);
    // The examples in its comments are right as well.
    let text = starter(&start);
    let (head, tail) = text.split_once("# scenarios:\n").unwrap();
    let tail: String = tail.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
    let whole = load(&format!("{head}scenarios:\n{}", tail.replace("#   ", "  "))).unwrap();
    assert_eq!((whole.plan.scenarios.len(), whole.plan.runbooks.len()), (1, 1));
    assert!(whole.warnings.iter().all(|finding| finding.code == Code::NotYet), "{:?}", whole.warnings);
    start.data_directory = Some("/srv/data: #1".to_owned());
    start.service = "007".to_owned();
    start.copies.push("s3://backups-eu/lifeboat".to_owned());
    let plan = load(&starter(&start)).unwrap().plan;
    assert_eq!(plan.services[0].name.as_str(), "007");
    assert_eq!(
        plan.services[0].postgres.as_ref().unwrap().data_directory.as_ref().unwrap().to_string(),
        "/srv/data: #1"
    );
    assert_eq!(plan.vault.copies.len(), 2);
    start.service = "Not a name".to_owned();
    start.time_zone = "Mars/Olympus\n".to_owned();
    assert_eq!(load(&starter(&start)).unwrap_err().len(), 2);
}

fn never_panics(source: &str) {
    let findings = match load(source) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    };
    assert!(findings.len() <= MAX_FINDINGS);
    for finding in findings {
        assert!(finding.line >= 1 && finding.column >= 1 && finding.length >= 1);
        assert!(!render(&finding, "plan.yaml", source).is_empty());
    }
}

#[test]
fn a_plan_without_a_vault_is_for_people_and_protects_nothing() {
    let (head, tail) = VALID.split_once("vault:\n").unwrap();
    let without = format!("{head}{}", &tail[tail.find("services:").unwrap()..]);
    let findings = load(&without).unwrap_err();
    assert_eq!(findings.iter().filter(|finding| finding.severity == Severity::Error).count(), 1);
    assert!(
        findings
            .iter()
            .any(|finding| finding.code == Code::MissingKey && finding.path == "services[0].postgres")
    );
    let (head, tail) = without.split_once("    postgres:\n").unwrap();
    let people = format!("{head}{}", &tail[tail.find("  - name: api").unwrap()..]);
    assert!(load(&people).unwrap().plan.vault.is_empty());
}

/// What may stand anywhere in a plan by mistake.
fn odd_value() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        prop::sample::select(vec![
            "15m",
            "1GiB",
            "orders-db",
            "P1",
            "host=db user=u",
            "s3://b/p",
            "/srv",
            "0 3 * * *",
            "Asia/Taipei",
            "orders-db.checks",
            "2026-01-01",
            "lifeboat/v1",
            "point-in-time-recovery",
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        prop_oneof![-5_i64..40, any::<i64>()].prop_map(Json::from),
        (0.1_f64..9.9).prop_map(Json::from),
        text.prop_map(Json::from),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        let key =
            prop::sample::select(vec!["name", "rto", "window", "daily", "query", "service", "url", "zzz"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..3)
                .prop_map(|map| map.into_iter().collect::<Json>()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn p2_any_text_has_an_answer(source in "[ -~\n\t\u{0}-\u{ff}]{0,200}|.{0,80}") {
        never_panics(&source);
    }

    #[test]
    fn p2_text_like_yaml_has_an_answer(parts in prop::collection::vec("[a-z]{1,4}: |- |\\[|\\]|\\{|\\}|,|\n *|\"|'|&a |\\*a|!!str |\\| ?\n|> ?\n|#|\\?|:|---\n|%|\\\\|\t|數|[0-9]{1,3}", 0..60)) {
        never_panics(&parts.concat());
    }

    #[test]
    fn p2_a_mutated_plan_has_an_answer(cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[ -~\n數]{0,6}"), 1..5)) {
        let mut chars: Vec<char> = VALID.chars().collect();
        for (at, gone, new) in cuts {
            let at = at.index(chars.len() + 1);
            let end = (at + gone).min(chars.len());
            chars.splice(at..end, new.chars());
        }
        never_panics(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn r1_any_text_is_written_so_that_it_reads_back(texts in prop::collection::vec(
        "[ -~\n\t\u{85}\u{2028}\u{feff}數]{0,40}|[a-z :#\\-\n]{0,60}|(ab? ){0,60}[a-z]", 1..5,
    )) {
        let mut plan = load(VALID).unwrap().plan;
        plan.metadata.description = texts.first().cloned();
        plan.duties.forms[0].text = texts[0].clone();
        plan.people.roles[0].duties = texts.clone();
        plan.notes.push(Note { title: texts[texts.len() - 1].clone(), text: texts.concat() });
        plan.runbooks.values_mut().next().unwrap().steps[2].does =
            Does::Shell(Shell { run: texts[0].clone(), outputs: Vec::new() });
        let written = write(&plan);
        let read: Plan = serde_json::from_value(shape::check(&schema::SCHEMA, &yaml::parse(&written).unwrap()).0).unwrap();
        prop_assert_eq!(read, plan, "{}", written);
    }

    #[test]
    fn p1_two_mistakes_are_both_reported(first in 0usize..6, second in 0usize..6) {
        let mistakes = [
            ("owner: DevOps", "owner: []"), ("durable: 1", "durable: 9"), ("needs: [orders-db]", "needs: [nobody]"),
            ("rto: 15m", "rto: x"), ("severity: P1", "severity: P9"), ("timeZone: Asia/Taipei", "timezone: Asia/Taipei"),
        ];
        prop_assume!(first != second);
        let wrong = |finding: &&Finding| finding.code != Code::NotYet;
        let count = |source: &str| load(source).unwrap_err().iter().filter(wrong).count();
        let (a, b) = (mistakes[first], mistakes[second]);
        let both = edit(a.0, a.1).replacen(b.0, b.1, 1);
        prop_assert_eq!(count(&both), count(&edit(a.0, a.1)) + count(&edit(b.0, b.1)));
    }

    #[test]
    fn m1_what_the_walk_lets_pass_the_types_read(at in any::<prop::sample::Index>(), new in odd_value()) {
        let mut document = document();
        let places = places(&document);
        *document.pointer_mut(&places[at.index(places.len())]).unwrap() = new;
        let (findings, read) = judged(&document);
        prop_assert!(!findings.is_empty() || read.is_ok(), "{document}: {read:?}");
        if let Ok(plan) = read {
            let written = write(&plan);
            let (_, again) = judged(&shape::check(&schema::SCHEMA, &yaml::parse(&written).unwrap()).0);
            prop_assert_eq!(again.unwrap(), plan, "{}", written);
        }
    }

    #[test]
    fn e1_what_is_refused_where_it_stands_is_not_judged_again(
        at in prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 1..4),
    ) {
        let mut document = document();
        for (at, new) in at {
            let places = places(&document);
            *document.pointer_mut(&places[at.index(places.len())]).unwrap() = new;
        }
        let root = yaml::parse(&document.to_string()).unwrap();
        let (_, refused) = shape::check(&schema::SCHEMA, &root);
        // A key that is missing or unknown is told of where the mapping stands, which may be wrong besides.
        let refused = refused.iter().filter(|finding| {
            matches!(finding.code, Code::WrongType | Code::BadValue | Code::Connection | Code::Address | Code::Secret)
        });
        let refused: Vec<&str> = refused.map(|finding| finding.path.as_str()).collect();
        for judged in sense::check(&root) {
            prop_assert!(!refused.contains(&&*judged.path), "{document}: {judged:?}");
        }
    }

    #[test]
    fn v1_the_check_takes_what_serde_takes(
        other in 0..READERS.len(),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<bool>(), prop_oneof!["[ -~\u{e9}\u{0}]", "[ \n+:/-]"]), 0..3,
        ),
    ) {
        for (format, example, reads) in READERS {
            let mut text: Vec<char> = example.chars().collect();
            for (at, adds, new) in &edits {
                let at = at.index(text.len() + 1);
                text.splice(at..(at + usize::from(!adds)).min(text.len()), new.chars());
            }
            let text: String = text.into_iter().collect();
            for (format, _, reads) in [(format, example, reads), READERS[other]] {
                prop_assert_eq!(values::problem(format, &text).is_none(), reads(&text), "{} {:?}", format, text);
            }
        }
    }
}
