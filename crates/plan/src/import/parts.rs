//! What the parts, keys and sentences of a scenario or procedure are about.

use crate::document::Text;

/// What a part of a scenario, or a key in it, is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Symptoms,
    Impact,
    Examples,
    Response,
    Severity,
    When,
    Description,
    Steps,
    Note,
}

const PARTS: &[(&[&str], Part)] = &[
    (
        &[
            "symptom",
            "síntoma",
            "sintoma",
            "symptôme",
            "detección",
            "detect",
            "sign",
            "trigger",
            "indicator",
            "alert",
            "erkennung",
            "anzeichen",
            "检测",
            "檢測",
            "症状",
            "症狀",
        ],
        Part::Symptoms,
    ),
    (&["impact", "effect", "auswirkung", "影响", "影響"], Part::Impact),
    (&["example", "beispiel", "示例"], Part::Examples),
    (&["severity", "priority", "schweregrad", "gravedad", "gravité", "严重", "嚴重"], Part::Severity),
    (&["when to use", "use when", "wann"], Part::When),
    (&["description", "beschreibung", "descripción", "描述"], Part::Description),
    (&["recovery time", "rto", "rpo"], Part::Note),
    (
        &[
            "action",
            "step",
            "recovery",
            "procedure",
            "rollback",
            "verif",
            "validat",
            "resolution",
            "mitigation",
            "prerequisite",
            "schritt",
            "paso",
            "étape",
            "procedimiento",
            "ablauf",
            "wiederherstellung",
            "步骤",
            "步驟",
            "恢复",
            "恢復",
        ],
        Part::Steps,
    ),
    (&["response", "strategy", "reaktion", "响应"], Part::Response),
    (&["likelihood", "probability", "owner", "note", "hinweis", "注意"], Part::Note),
];

pub(super) fn part(title: &str) -> Option<Part> {
    let small = title.to_lowercase();
    PARTS.iter().find(|(words, _)| words.iter().any(|word| small.contains(word))).map(|(_, part)| *part)
}

/// Whether a part of a procedure is what comes next, and no other way to do it.
pub(super) fn goes_on(title: &str) -> bool {
    const NEXT: [&str; 19] = [
        "verif",
        "validat",
        "check",
        "test",
        "step",
        "phase",
        "post",
        "clean",
        "fail back",
        "failback",
        "after",
        "then",
        "next",
        "monitor",
        "prüf",
        "schritt",
        "验证",
        "驗證",
        "步骤",
    ];
    let small = title.trim().trim_end_matches([':', '：']).to_lowercase();
    let whole = [
        "recovery steps",
        "recovery procedure",
        "recovery strategy",
        "response procedure",
        "procedure",
        "recovery",
        "rollback",
        "actions",
        "resolution",
        "response",
    ];
    whole.contains(&small.as_str())
        || small.starts_with(|c: char| c.is_ascii_digit())
        || NEXT.iter().any(|word| small.contains(word))
}

/// Whether a key is an objective.
pub(super) fn metric(key: &Text) -> bool {
    !crate::facts::objectives::metrics(key.plain()).0.is_empty()
}

/// The number of the step that a text sends to: `go to step 3`, `→ step 3`.
pub(super) fn jump(text: &str) -> Option<u64> {
    const LEADS: [&str; 14] = [
        "go to step ",
        "goto step ",
        "skip to step ",
        "proceed to step ",
        "continue with step ",
        "continue at step ",
        "jump to step ",
        "→ step ",
        "-> step ",
        "return to step ",
        "weiter mit schritt ",
        "→ schritt ",
        "转到步骤",
        "→ 步骤 ",
    ];
    let small = text.to_lowercase();
    LEADS.iter().find_map(|lead| {
        let at = small.find(lead)? + lead.len();
        let digits: String = small[at..].trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

/// The number of a step that is told in prose: `Step 3: promote the standby`.
pub(super) fn counted(text: &str) -> Option<u64> {
    const LEADS: [&str; 6] = ["step ", "schritt ", "étape ", "paso ", "步骤", "第"];
    let small = text.to_lowercase();
    let rest = LEADS.iter().find_map(|lead| small.strip_prefix(lead))?.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let behind = rest[digits..].trim_start_matches('步').trim_start();
    let signed = behind.starts_with([':', '：', '.', ')', '-', '–', '—', '、']);
    if signed { rest[..digits].parse().ok() } else { None }
}

/// The grade that a word stands for.
pub(super) fn grade(words: &str) -> Option<&'static str> {
    const GRADES: [(&str, &[&str]); 4] = [
        ("P1", &["p1", "sev1", "sev-1", "sev 1", "critical", "kritisch", "严重", "緊急", "紧急"]),
        ("P2", &["p2", "sev2", "sev-2", "sev 2", "high", "major", "hoch", "高"]),
        ("P3", &["p3", "sev3", "sev-3", "sev 3", "medium", "moderate", "mittel", "中"]),
        ("P4", &["p4", "sev4", "sev-4", "sev 4", "low", "minor", "niedrig", "gering", "低"]),
    ];
    let small = words.trim().to_lowercase();
    GRADES.iter().find(|(_, names)| names.iter().any(|name| small.starts_with(name))).map(|(grade, _)| *grade)
}
