//! What documents are understood to say.

use super::*;
use crate::document::Document;
use objectives::Scope;

#[track_caller]
fn time(text: &str, expected: &[(u64, u64)]) {
    let found: Vec<(u64, u64)> = durations::find(text).iter().map(|span| (span.low_s, span.high_s)).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn durations_in_many_spellings() {
    time("4 hours (maximum downtime acceptable)", &[(14_400, 14_400)]);
    time("2-5 minutes", &[(120, 300)]);
    time("30 minutes - 4 hours", &[(1_800, 14_400)]);
    time("0-30 min, then 60+ min", &[(0, 1_800), (3_600, 3_600)]);
    time("≤ 5 minutes, <15 min", &[(300, 300), (900, 900)]);
    time("15-minute intervals; 1.5 h; 1h 30min", &[(900, 900), (5_400, 5_400), (5_400, 5_400)]);
    time("half an hour, two days, an hour", &[(1_800, 1_800), (172_800, 172_800), (3_600, 3_600)]);
    time("2 Stunden bis 3 Tage, eine Stunde", &[(7_200, 259_200), (3_600, 3_600)]);
    time("30 分钟 / 两小时 / 30天", &[(1_800, 1_800), (7_200, 7_200), (2_592_000, 2_592_000)]);
    time("24/7, 3 replicas, AES-256, v1.2, 5 M rows, us-east-1d", &[]);
}

#[track_caller]
fn objective(source: &str, expected: &[&str]) {
    let document = Document::read(source);
    let facts = Facts::of(&document);
    let found: Vec<String> = facts
        .objectives
        .iter()
        .map(|objective| {
            let scope = match &objective.scope {
                Scope::Everything => "all".to_owned(),
                Scope::Named(name) => name.clone(),
                Scope::Scenario(at) => format!("§{}", document.sections[*at].title.plain()),
            };
            format!(
                "{} {scope} {}..{} @{}",
                objective.metric.name(),
                objective.low_s,
                objective.high_s,
                objective.place.line
            )
        })
        .collect();
    assert_eq!(found, expected, "{source}");
}

#[test]
fn objectives_in_many_shapes() {
    objective(
        "## Objectives\n- **RTO**: 4 hours\n- **RPO**: ≤ 1 hour\n",
        &["RTO all 14400..14400 @2", "RPO all 3600..3600 @3"],
    );
    objective(
        "## Objectives\n### Recovery Time Objective (RTO)\n- **Critical Services**: 2 hours\n- Other: 1 day\n",
        &["RTO critical services 7200..7200 @3", "RTO other 86400..86400 @4"],
    );
    objective(
        "## Targets\n| Tier | RTO | RPO |\n|-|-|-|\n| Gold | 1 h | 5 min |\n",
        &["RTO Gold 3600..3600 @4", "RPO Gold 300..300 @4"],
    );
    objective(
        "## Ziele\n| Kennzahl | Produktion | Test |\n|-|-|-|\n| RTO | 2 Stunden | 2 Tage |\n",
        &["RTO produktion 7200..7200 @4", "RTO test 172800..172800 @4"],
    );
    objective(
        "## Objectives\n| Metric | Target | Description |\n|-|-|-|\n| **RTO** (Recovery Time Objective) | 4 hours | of 2 hours |\n",
        &["RTO all 14400..14400 @4"],
    );
    objective(
        "## Scenarios\n### Scenario 1: Node\n```yaml\nImpact: x\nRTO: 2-5 minutes\nRPO: 0 (no data loss)\n```\n",
        &["RTO §Scenario 1: Node 120..300 @5", "RPO §Scenario 1: Node 0..0 @6"],
    );
    objective("## 恢复目标\n- RTO：2 小时\n", &["RTO all 7200..7200 @2"]);
    objective(
        "We promise RPO: 15 minutes, checkpoint-defined otherwise.\n\nRTO: best effort\n",
        &["RPO all 900..900 @1"],
    );
}

#[test]
fn backups_have_intervals_times_zones_and_retention() {
    let document = Document::read(
        "## Database Backups\n- Schedule: daily at 2:00 AM\n- Frequency: every 6 hours\n- Retention: 30 days for daily, 1 year for monthly\n- Cron: `0 */4 * * *`\n\n## Datensicherung\n- täglich um 02:00 Uhr MEZ\n\n## Status updates\n- every 30 minutes\n",
    );
    let facts = Facts::of(&document);
    let shown: Vec<_> = facts
        .schedules
        .iter()
        .map(|schedule| {
            (schedule.place.line, schedule.every_s, schedule.at.is_some(), schedule.zone.as_deref())
        })
        .collect();
    assert_eq!(
        shown,
        [
            (2, Some(86_400), true, None),
            (3, Some(21_600), false, None),
            (5, Some(14_400), false, None),
            (8, Some(86_400), true, Some("MEZ"))
        ]
    );
    assert_eq!(
        facts.retentions.iter().map(|retention| (retention.place.line, retention.low_s)).collect::<Vec<_>>(),
        [(4, 2_592_000)]
    );
}

#[test]
fn dates_in_many_spellings() {
    for text in [
        "2026-02-20",
        "on 2026/2/20",
        "20.02.2026",
        "February 20, 2026",
        "Feb. 20 2026",
        "20 February 2026",
        "2026年2月20日",
    ] {
        assert_eq!(dates::find(text).map(|found| found.0), Some(jiff::civil::date(2026, 2, 20)), "{text}");
    }
    for text in ["10.0.0.1", "03/04/2026", "1-800-555-0100", "v1.2.3"] {
        assert_eq!(dates::find(text), None, "{text}");
    }
}

#[test]
fn commands_come_from_fences_sessions_and_running_text() {
    let source = "## Scenario 1\n\nRun `kubectl get pods`, then look.\n\n```console\n$ a b\nanswer 'x\n$ c\n```\n\n```\nkubectl delete pod x\n```\n\n```\nbackup.sh  # what\n```\n\n```console\nerror: it isn't there\n```\n\n```bash\nsudo kubectl exec x -- bash -c \"gunzip -c f | psql y\"\n```\n";
    let document = Document::read(source);
    let facts = Facts::of(&document);
    let shown: Vec<String> = facts
        .snippets
        .iter()
        .flat_map(|snippet| {
            snippet
                .script
                .commands
                .iter()
                .map(|command| format!("{} {}", snippet.whole(command).line, command.line_text()))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "3 kubectl get pods",
            "6 a b",
            "8 c",
            "12 kubectl delete pod x",
            "24 sudo kubectl exec x -- bash -c gunzip -c f | psql y",
            "24 kubectl exec x -- bash -c gunzip -c f | psql y",
            "24 bash -c gunzip -c f | psql y",
            "24 gunzip -c f",
            "24 psql y"
        ]
    );
}
