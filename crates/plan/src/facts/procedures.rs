//! Which section a command or a step belongs to: the scenario or procedure, not the heading "Recovery Steps" in it.

use crate::document::{Document, ROOT};

/// Headings that only divide what they stand in.
const PARTS: &[&str] = &[
    "recovery steps",
    "recovery procedure",
    "recovery procedures",
    "recovery strategy",
    "response procedure",
    "steps",
    "procedure",
    "symptoms",
    "detection",
    "impact",
    "resolution",
    "response",
    "actions",
    "verification",
    "validation",
    "rollback",
    "notes",
    "prerequisites",
    "recovery",
    "immediate actions",
    "when to use",
    "schritte",
    "ablauf",
    "wiederherstellung",
    "erkennung",
    "恢复步骤",
    "恢復步驟",
    "步骤",
    "步驟",
    "检测",
    "檢測",
];

/// The section of the procedure or scenario that a section belongs to.
#[must_use]
pub fn owner(document: &Document, section: usize) -> Option<usize> {
    let is_part = |at: usize| {
        let section = &document.sections[at];
        let title = section.title.plain().trim().trim_end_matches([':', '：']).to_lowercase();
        // A heading for each step divides what it stands in, unless that is the document.
        let inside = section.parent.is_some_and(|parent| document.sections[parent].level >= 2);
        section.level >= 8 || PARTS.contains(&title.as_str()) || inside && is_counted(&title)
    };
    let mut path = document.path(section).filter(|at| document.sections[*at].level > 0);
    let innermost = path.next()?;
    if !is_part(innermost) {
        return Some(innermost);
    }
    path.find(|at| !is_part(*at)).or(Some(innermost)).filter(|at| *at != ROOT)
}

/// Whether a heading is that of a step: `Step 2: Restore`.
#[must_use]
pub fn is_step(title: &str) -> bool {
    is_counted(&title.trim().to_lowercase())
}

fn is_counted(title: &str) -> bool {
    const STEPS: [&str; 9] = ["step", "schritt", "phase", "paso", "étape", "etapa", "步骤", "步驟", "第"];
    STEPS.iter().any(|word| {
        title.strip_prefix(word).is_some_and(|rest| {
            let rest = rest.trim_start_matches([' ', '#']);
            rest.starts_with(|c: char| c.is_ascii_digit() || "一二三四五六七八九十".contains(c))
                && (*word != "第" || rest.contains('步'))
        })
    })
}

/// What a procedure is there for, as its headings say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peril {
    /// A region, site or data centre is gone.
    Region,
    /// Somebody got in.
    Breach,
    /// Data is wrong.
    Corruption,
    /// A cluster is gone.
    Cluster,
}

/// What a section is there for.
#[must_use]
pub fn perils(document: &Document, section: usize) -> Vec<Peril> {
    let titles = document.titles(section);
    let has = |words: &[&str]| words.iter().any(|word| titles.contains(word));
    let mut perils = Vec::new();
    let lost = [
        "fail",
        "outage",
        "loss",
        "lost",
        "disaster",
        "evacuat",
        "down",
        "activat",
        "ausfall",
        "ausgefall",
        "caída",
        "caida",
        "pérdida",
        "panne",
        "故障",
        "中断",
        "中斷",
        "断电",
        "斷電",
        "失火",
        "火灾",
    ];
    let region = [
        "region",
        "data center",
        "data centre",
        "datacenter",
        "site failure",
        "site outage",
        "rechenzentrum",
        "standort",
        "región",
        "centro de datos",
        "région",
        "区域",
        "區域",
        "机房",
        "機房",
    ];
    if has(&region) && has(&lost) {
        perils.push(Peril::Region);
    }
    if has(&[
        "breach",
        "security incident",
        "compromis",
        "ransom",
        "intrusion",
        "attack",
        "sicherheitsvorfall",
        "angriff",
        "安全",
        "入侵",
    ]) {
        perils.push(Peril::Breach);
    }
    if has(&["corrupt", "korrupt", "beschädig", "损坏", "損壞"]) {
        perils.push(Peril::Corruption);
    }
    if has(&["cluster"]) && has(&lost) || has(&["cluster recovery", "cluster rebuild"]) {
        perils.push(Peril::Cluster);
    }
    perils
}
