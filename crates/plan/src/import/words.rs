//! Names and small readings of texts.

use crate::facts::durations::{self, DAY};
use crate::values::{Cadence, Interval};
use std::collections::BTreeSet;
use std::time::Duration;

/// The longest name of something in a plan.
const MAX_LABEL_CHARS: usize = 50;

/// A heading without the number and the word in front: `Scenario 1: Database failure` is `Database failure`.
pub(super) fn unnumbered(title: &str) -> &str {
    const LEADS: [&str; 23] = [
        "scenario",
        "szenario",
        "escenario",
        "scénario",
        "category",
        "procedure",
        "runbook",
        "playbook",
        "incident",
        "disaster",
        "phase",
        "step",
        "schritt",
        "paso",
        "etapa",
        "步骤",
        "步驟",
        "part",
        "appendix",
        "场景",
        "場景",
        "情境",
        "level",
    ];
    let title = title.trim().trim_end_matches([':', '：']).trim();
    let is_number = |c: char| c.is_ascii_digit() || c == '.' || "一二三四五六七八九十".contains(c);
    let small = title.to_ascii_lowercase();
    let lead = LEADS.iter().find(|lead| small.starts_with(**lead)).map_or(0, |lead| lead.len());
    let rest = title[lead..].trim_start_matches([' ', '#']);
    let behind = rest.trim_start_matches(is_number);
    let sign = behind.trim_start_matches(['.', ')', ':', '：', '-', '–', '—', ' ', '、']);
    let counted = behind.len() < rest.len() && (sign.len() < behind.len() || lead > 0);
    if counted && !sign.is_empty() {
        sign
    } else if lead > 0 && rest.starts_with([':', '：']) {
        rest.trim_start_matches([':', '：', ' '])
    } else {
        title
    }
}

/// A name for a title: small letters, digits and hyphens; none where the title has no Latin letters.
pub(super) fn label(title: &str) -> Option<String> {
    let mut out = String::new();
    for c in title.chars().flat_map(char::to_lowercase) {
        let plain = match c {
            'ä' => "ae",
            'ö' => "oe",
            'ü' => "ue",
            'ß' => "ss",
            'á' | 'à' | 'â' | 'ã' | 'å' => "a",
            'é' | 'è' | 'ê' | 'ë' => "e",
            'í' | 'ì' | 'î' | 'ï' => "i",
            'ó' | 'ò' | 'ô' | 'õ' => "o",
            'ú' | 'ù' | 'û' => "u",
            'ç' => "c",
            'ñ' => "n",
            _ => "",
        };
        if !plain.is_empty() {
            out.push_str(plain);
        } else if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if c != '\'' && c != '’' && !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    if out.len() > MAX_LABEL_CHARS {
        let cut = out[..MAX_LABEL_CHARS].rfind('-').filter(|at| *at > 10).unwrap_or(MAX_LABEL_CHARS);
        out.truncate(cut);
    }
    let out = out.trim_matches('-');
    out.bytes().any(|byte| byte.is_ascii_alphabetic()).then(|| out.to_owned())
}

/// Names of one kind, each once.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    /// The name for a title, or one by number: `scenario-2`.
    pub fn take(&mut self, title: &str, else_by: &str) -> String {
        let wanted = label(title).unwrap_or_else(|| format!("{else_by}-{}", self.taken.len() + 1));
        let mut name = wanted.clone();
        let mut count = 2;
        while !self.taken.insert(name.clone()) {
            name = format!("{wanted}-{count}");
            count += 1;
        }
        name
    }
}

/// A length of time as a plan has it.
pub(super) fn interval(seconds: u64) -> String {
    Interval(Duration::from_secs(seconds)).to_string()
}

/// How often, as a plan has it.
pub(super) fn cadence(seconds: u64) -> String {
    let named = match seconds {
        DAY => Some(Cadence::Daily),
        n if n == 7 * DAY => Some(Cadence::Weekly),
        n if n == 31 * DAY || n == 30 * DAY => Some(Cadence::Monthly),
        n if n == 92 * DAY => Some(Cadence::Quarterly),
        n if (182 * DAY..=184 * DAY).contains(&n) => Some(Cadence::Semiannually),
        n if n == 366 * DAY || n == 365 * DAY => Some(Cadence::Yearly),
        _ => None,
    };
    named.unwrap_or(Cadence::Every(Interval(Duration::from_secs(seconds)))).to_string()
}

/// What somebody still has to fill in: `TBD`, `[phone]`, `+886-XXX-XXXX`.
pub(super) fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    let small = text.to_lowercase();
    let bracketed =
        |open: char, close: char| text.starts_with(open) && text.ends_with(close) && !text.contains("](");
    text.is_empty()
        || [
            "tbd",
            "tba",
            "todo",
            "n/a",
            "-",
            "—",
            "–",
            "?",
            "...",
            "…",
            "xxx",
            "待定",
            "por definir",
            "à définir",
            "noch offen",
            "n.n.",
            "n. n.",
            "none",
            "fill in",
        ]
        .contains(&small.as_str())
        || bracketed('[', ']')
        || bracketed('<', '>')
        || bracketed('{', '}')
        || small.contains("xxx")
}

/// An e-mail address.
pub(super) fn is_email(text: &str) -> bool {
    let parts = text.split_once('@');
    parts.is_some_and(|(user, host)| {
        !user.is_empty() && host.contains('.') && !text.contains(char::is_whitespace)
    })
}

/// A telephone number: digits and what stands between them, seven at the least counting letters as keys.
pub(super) fn is_phone(text: &str) -> bool {
    let text = text.trim();
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let plain = |c: char| c.is_ascii_alphanumeric() || " +-().x/".contains(c);
    let starts = text.starts_with(|c: char| c == '+' || c == '(' || c.is_ascii_digit());
    starts && digits >= 4 && text.len() >= 7 && text.chars().all(plain) && durations::first(text).is_none()
}

/// A condition and what is done then, of a text such as `If the node is gone, replace it` or `Fail over (if available)`.
pub(super) fn condition(text: &str) -> (Option<String>, String) {
    let text = text.trim().trim_end_matches([':', '：']).trim();
    let small = text.to_ascii_lowercase();
    for (lead, end) in [
        ("if ", ','),
        ("if ", ':'),
        ("for ", ','),
        ("when ", ','),
        ("falls ", ','),
        ("wenn ", ','),
        ("如果", '，'),
        ("若", '，'),
    ] {
        if let Some(rest) = small.strip_prefix(lead)
            && let Some(at) = text[lead.len()..].find(end)
            && rest.len() > at + 1
        {
            let when = text[lead.len()..lead.len() + at].trim();
            let does = text[lead.len() + at..].trim_start_matches([end, ' ']);
            if !does.is_empty() && !when.is_empty() {
                return (Some(when.to_owned()), capital(does));
            }
        }
    }
    for lead in ["(if ", "(falls ", "(when ", "(wenn "] {
        if let Some(at) = small.find(lead)
            && let Some(end) = small[at..].find(')')
        {
            let when = text[at + lead.len()..at + end].trim().to_owned();
            let does = format!("{}{}", text[..at].trim_end(), &text[at + end + 1..]);
            return (Some(when), does.trim().to_owned());
        }
    }
    if let Some(at) = small.rfind(" if ")
        && at > 0
        && small.len() - at < 60
    {
        return (Some(text[at + 4..].trim().to_owned()), text[..at].trim().to_owned());
    }
    (None, text.to_owned())
}

/// With a capital letter in front.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
