//! What a section is about, by its heading and those around it.

use crate::document::{Document, ROOT};
use crate::facts::procedures;

/// What a section is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Contents,
    Overview,
    Objectives,
    Backups,
    /// What holds scenarios.
    Scenarios,
    Scenario,
    /// What holds procedures.
    Procedures,
    Procedure,
    Roles,
    Contacts,
    Escalation,
    Communication,
    StatusPage,
    Testing,
    Checklist,
    AfterIncident,
    Compliance,
    Kpis,
    Maintenance,
    Resources,
    Other,
}

/// Words of headings, and what they say; the first that stands in a heading counts. Those of the first list count
/// below a scenario or procedure too.
const STRONG: &[(&[&str], Topic)] = &[
    (&["table of contents", "inhaltsverzeichnis", "目录", "目錄"], Topic::Contents),
    (&["escalation", "eskalation", "escalad", "升级", "升級"], Topic::Escalation),
    (&["status page", "statuspage", "statusseite"], Topic::StatusPage),
    (
        &[
            "post-incident",
            "post incident",
            "postmortem",
            "post-mortem",
            "after an incident",
            "after the incident",
            "lessons learned",
            "nachbereitung",
            "事后",
            "事後",
            "复盘",
        ],
        Topic::AfterIncident,
    ),
    (
        &["communication", "kommunikation", "notification", "comunicac", "沟通", "溝通", "通知"],
        Topic::Communication,
    ),
    (
        &[
            "roles",
            "responsib",
            "response team",
            "recovery team",
            "incident team",
            "dr team",
            "rollen",
            "verantwortlich",
            "角色",
            "职责",
            "職責",
        ],
        Topic::Roles,
    ),
    (
        &["contact", "kontakt", "ansprechpartner", "call list", "phone list", "联系", "聯絡", "聯繫"],
        Topic::Contacts,
    ),
    (&["checklist", "check list", "checkliste", "检查清单", "檢查清單"], Topic::Checklist),
];
const WEAK: &[(&[&str], Topic)] = &[
    (&["kpi", "key performance", "metrics and", "success metrics", "kennzahlen"], Topic::Kpis),
    (
        &["complian", "regulat", "auditing", "record keeping", "datenschutz", "合规", "合規"],
        Topic::Compliance,
    ),
    (
        &["objective", "objectif", "objetivo", "rto", "rpo", "targets", "ziele", "目标", "目標"],
        Topic::Objectives,
    ),
    (
        &[
            "document maintenance",
            "document control",
            "document history",
            "revision",
            "regular reviews",
            "plan review",
            "plan maintenance",
            "version history",
            "dokumentenpflege",
            "文档维护",
        ],
        Topic::Maintenance,
    ),
    (
        &[
            "scenario",
            "szenari",
            "disaster categor",
            "failure mode",
            "incident type",
            "场景",
            "場景",
            "情境",
            "情景",
        ],
        Topic::Scenarios,
    ),
    (
        &[
            "test",
            "drill",
            "game day",
            "gameday",
            "tabletop",
            "exercice",
            "simulacro",
            "exercise",
            "validation",
            "rehears",
            "übung",
            "演练",
            "演練",
            "测试",
            "測試",
        ],
        Topic::Testing,
    ),
    (
        &[
            "recovery procedure",
            "restore procedure",
            "restoration procedure",
            "runbook",
            "playbook",
            "recovery steps",
            "wiederherstellungsverfahren",
            "恢复流程",
            "恢复步骤",
            "恢復流程",
        ],
        Topic::Procedures,
    ),
    (
        &[
            "backup",
            "back up",
            "data protection",
            "how data is protected",
            "snapshot",
            "datensicherung",
            "sicherung",
            "sauvegarde",
            "respaldo",
            "copia de seguridad",
            "copias de seguridad",
            "备份",
            "備份",
        ],
        Topic::Backups,
    ),
    (&["procedures"], Topic::Procedures),
    (&["reference documentation", "related document", "see also", "verweise", "参考"], Topic::Resources),
    (
        &["overview", "introduction", "purpose", "scope", "überblick", "einleitung", "概述", "简介"],
        Topic::Overview,
    ),
];
/// A heading that is one of these words.
const WHOLE: &[(&str, Topic)] = &[
    ("contents", Topic::Contents),
    ("resources", Topic::Resources),
    ("references", Topic::Resources),
    ("links", Topic::Resources),
    ("inhalt", Topic::Contents),
    ("who", Topic::Roles),
    ("wer", Topic::Roles),
    ("people", Topic::Roles),
    ("team", Topic::Roles),
    ("about", Topic::Overview),
    ("procedures", Topic::Procedures),
];
/// What a scenario's own heading begins with.
const NUMBERED: [&str; 10] = [
    "scenario",
    "szenario",
    "escenario",
    "scénario",
    "category",
    "incident",
    "场景",
    "場景",
    "情境",
    "disaster",
];
/// Those of them that need no number to say so.
const SCENARIOS: [&str; 7] = ["scenario", "szenario", "escenario", "scénario", "场景", "場景", "情境"];
const PROCEDURES: [&str; 4] = ["procedure", "runbook", "playbook", "verfahren"];

/// The topic of each section.
pub(super) fn of(document: &Document) -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::with_capacity(document.sections.len());
    for at in 0..document.sections.len() {
        let above = document.sections[at].parent.map_or(Topic::Other, |parent| topics[parent]);
        topics.push(topic(document, at, above));
    }
    topics
}

fn topic(document: &Document, at: usize, above: Topic) -> Topic {
    let section = &document.sections[at];
    let is_whole = at == 1 && section.level == 1 && section.end == document.sections.len();
    if at == ROOT || is_whole {
        return Topic::Overview;
    }
    let title = super::words::unnumbered(section.title.plain()).to_lowercase();
    let title = title.trim_end_matches([':', '：']).trim();
    let whole = WHOLE.iter().find(|(word, _)| *word == title).map(|(_, topic)| *topic);
    let find = |lists: &[(&[&str], Topic)]| {
        lists.iter().find(|(words, _)| words.iter().any(|word| has(title, word))).map(|(_, topic)| *topic)
    };
    let small = section.title.plain().trim().to_lowercase();
    let counted = |words: &[&str]| {
        words.iter().any(|word| {
            small.strip_prefix(word).is_some_and(|rest| {
                rest.trim_start_matches([' ', '#'])
                    .starts_with(|c: char| c.is_numeric() || "一二三四五六七八九十".contains(c))
            })
        })
    };
    // `Scenario: database lost`, of which there may be one only.
    let named = |word: &str| {
        small.strip_prefix(word).is_some_and(|rest| {
            let rest = rest.trim_start();
            let behind = rest.trim_start_matches([':', '：', '-', '–', '—', ' ']);
            behind.len() < rest.len() && !behind.is_empty()
        })
    };
    if counted(&NUMBERED) || SCENARIOS.iter().any(|word| named(word)) {
        return Topic::Scenario;
    }
    if counted(&PROCEDURES) && above != Topic::Testing {
        return Topic::Procedure;
    }
    let is_part = procedures::owner(document, at) != Some(at);
    match above {
        // What stands below a scenario is part of it, whatever it says; but for people behind the last one.
        Topic::Scenario | Topic::Procedure => match whole.or_else(|| find(STRONG)) {
            Some(topic @ (Topic::Roles | Topic::Contacts | Topic::Escalation)) if section.level == 8 => topic,
            _ => above,
        },
        Topic::Scenarios if is_part => Topic::Scenarios,
        Topic::Scenarios => match find(STRONG) {
            Some(topic) => topic,
            None if find(WEAK) == Some(Topic::Scenarios) => Topic::Scenarios,
            None => Topic::Scenario,
        },
        Topic::Procedures => find(STRONG).unwrap_or(Topic::Procedures),
        Topic::Backups if ["verif", "test", "prüfung", "验证"].iter().any(|word| has(title, word)) => {
            Topic::Testing
        }
        Topic::Testing
            if ["checklist", "criteria", "procedure", "validation"].iter().any(|word| has(title, word)) =>
        {
            Topic::Testing
        }
        Topic::Communication if has(title, "status page") => Topic::StatusPage,
        Topic::Communication | Topic::Contacts | Topic::Roles => match find(STRONG) {
            Some(topic) => topic,
            None => above,
        },
        Topic::AfterIncident | Topic::StatusPage | Topic::Escalation | Topic::Kpis | Topic::Contents => above,
        _ => {
            let inherited =
                if matches!(above, Topic::Overview | Topic::Resources) { Topic::Other } else { above };
            let named = whole.or_else(|| find(STRONG)).or_else(|| find(WEAK));
            match named {
                // "Success metrics" below tests, "Backup validation": the nearer heading of the two.
                Some(Topic::Backups) if inherited == Topic::Testing => Topic::Testing,
                Some(topic) => topic,
                None => inherited,
            }
        }
    }
}

/// Whether a heading has a word: Latin ones begin where a word does.
fn has(title: &str, word: &str) -> bool {
    let begins = |at: usize| !title[..at].ends_with(|c: char| c.is_alphanumeric());
    let ends =
        |at: usize| word.len() > 3 || !title[at + word.len()..].starts_with(|c: char| c.is_alphanumeric());
    title.match_indices(word).any(|(at, _)| !word.is_ascii() || begins(at) && ends(at))
}
