//! Durations in running text: `4 hours`, `2-5 minutes`, `≤ 5 min`, `half an hour`, `30 天`, `zwei Stunden`.

/// A duration, or a range of them, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
    /// The shortest that is meant, in seconds.
    pub low_s: u64,
    /// The longest that is meant, in seconds; the same as the shortest if it is no range.
    pub high_s: u64,
    /// Whether it is open upwards: `4+ hours`.
    pub open: bool,
}

/// Units and their seconds; the longer spelling of two that begin alike stands first.
const UNITS: &[(&str, u64)] = &[
    ("seconds", 1),
    ("second", 1),
    ("secs", 1),
    ("sec", 1),
    ("sekunden", 1),
    ("sekunde", 1),
    ("sek", 1),
    ("秒钟", 1),
    ("秒鐘", 1),
    ("秒", 1),
    ("minutes", 60),
    ("minute", 60),
    ("minuten", 60),
    ("mins", 60),
    ("min", 60),
    ("分钟", 60),
    ("分鐘", 60),
    ("分", 60),
    ("hours", 3600),
    ("hour", 3600),
    ("hrs", 3600),
    ("hr", 3600),
    ("stunden", 3600),
    ("stunde", 3600),
    ("std", 3600),
    ("个小时", 3600),
    ("個小時", 3600),
    ("小时", 3600),
    ("小時", 3600),
    ("時間", 3600),
    ("days", DAY),
    ("day", DAY),
    ("tagen", DAY),
    ("tage", DAY),
    ("tag", DAY),
    ("天", DAY),
    ("日", DAY),
    ("weeks", 7 * DAY),
    ("week", 7 * DAY),
    ("wochen", 7 * DAY),
    ("woche", 7 * DAY),
    ("周", 7 * DAY),
    ("週", 7 * DAY),
    ("months", 30 * DAY),
    ("month", 30 * DAY),
    ("monaten", 30 * DAY),
    ("monate", 30 * DAY),
    ("monat", 30 * DAY),
    ("个月", 30 * DAY),
    ("個月", 30 * DAY),
    ("years", 365 * DAY),
    ("year", 365 * DAY),
    ("jahren", 365 * DAY),
    ("jahre", 365 * DAY),
    ("jahr", 365 * DAY),
    ("年", 365 * DAY),
    ("secondes", 1),
    ("seconde", 1),
    ("segundos", 1),
    ("minutos", 60),
    ("minuto", 60),
    ("heures", 3600),
    ("heure", 3600),
    ("horas", 3600),
    ("hora", 3600),
    ("jours", DAY),
    ("jour", DAY),
    ("días", DAY),
    ("día", DAY),
    ("semaines", 7 * DAY),
    ("semaine", 7 * DAY),
    ("semanas", 7 * DAY),
    ("semana", 7 * DAY),
    ("mois", 30 * DAY),
    ("meses", 30 * DAY),
    ("mes", 30 * DAY),
    ("années", 365 * DAY),
    ("años", 365 * DAY),
    ("s", 1),
    ("m", 60),
    ("h", 3600),
    ("d", DAY),
];
const WORDS: &[(&str, u64)] = &[
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("twelve", 12),
    ("fifteen", 15),
    ("twenty", 20),
    ("thirty", 30),
    ("sixty", 60),
    ("ninety", 90),
    ("an", 1),
    ("a", 1),
    ("eine", 1),
    ("einer", 1),
    ("ein", 1),
    ("zwei", 2),
    ("drei", 3),
    ("vier", 4),
    ("fünf", 5),
    ("sechs", 6),
    ("acht", 8),
    ("zehn", 10),
    ("zwölf", 12),
    ("一", 1),
    ("两", 2),
    ("兩", 2),
    ("二", 2),
    ("三", 3),
    ("四", 4),
    ("五", 5),
    ("六", 6),
    ("八", 8),
    ("十", 10),
];
/// A day in seconds.
pub const DAY: u64 = 86_400;
/// An hour in seconds.
pub const HOUR: u64 = 3_600;
/// More than anyone plans for.
const MAX_S: u64 = 1_000 * 365 * DAY;

/// All durations of a text.
#[must_use]
pub fn find(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if !text.is_char_boundary(at) {
            at += 1;
            continue;
        }
        let before = text[..at].chars().next_back();
        // `us-east-1d` is a name.
        let named = text[..at]
            .strip_suffix('-')
            .is_some_and(|rest| rest.ends_with(|c: char| c.is_ascii_alphabetic()));
        let starts =
            !named && before.is_none_or(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '$')));
        match starts.then(|| one(text, at)).flatten() {
            Some(span) => {
                at = span.end;
                spans.push(span);
            }
            None => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    spans
}

/// The first duration of a text.
#[must_use]
pub fn first(text: &str) -> Option<Span> {
    find(text).into_iter().next()
}

/// A duration that begins at `at`.
fn one(text: &str, at: usize) -> Option<Span> {
    if let Some(half) = ["half an hour", "half hour", "eine halbe stunde", "半小时", "半小時"]
        .iter()
        .find(|words| starts_with(&text[at..], words))
    {
        return Some(Span { start: at, end: at + half.len(), low_s: 1800, high_s: 1800, open: false });
    }
    let (low, mut next) = number(text, at)?;
    let mut open = false;
    if let Some(rest) = text[next..].strip_prefix('+') {
        open = true;
        next = text.len() - rest.len();
    }
    if let Some((unit_s, end)) = unit(text, next) {
        let low_s = seconds(low, unit_s)?;
        let (low_s, end) = and_more(text, low_s, unit_s, end);
        // `30 minutes - 4 hours`
        if let Some((high, after)) = range_sign(text, end).and_then(|from| number(text, from))
            && let Some((high_unit, high_end)) = unit(text, after)
            && let Some(high_s) = seconds(high, high_unit).filter(|high_s| *high_s > low_s)
        {
            return Some(Span { start: at, end: high_end, low_s, high_s, open });
        }
        let open = open || text[end..].starts_with('+');
        return Some(Span { start: at, end, low_s, high_s: low_s, open });
    }
    let (high, after) = number(text, range_sign(text, next)?)?;
    let (unit_s, end) = unit(text, after)?;
    let (low_s, high_s) = (seconds(low, unit_s)?, seconds(high, unit_s)?);
    (low_s <= high_s).then_some(Span { start: at, end, low_s, high_s, open })
}

/// `1 h 30 min`, `1 hour and 30 minutes`.
fn and_more(text: &str, low_s: u64, unit_s: u64, end: usize) -> (u64, usize) {
    let rest = &text[end..];
    let skipped = rest.strip_prefix(" and ").or_else(|| rest.strip_prefix(' ')).unwrap_or(rest);
    let from = text.len() - skipped.len();
    let more = skipped.starts_with(|c: char| c.is_ascii_digit()).then(|| number(text, from)).flatten();
    match more.and_then(|(count, next)| unit(text, next).map(|unit| (count, unit))) {
        Some((count, (smaller, end))) if smaller < unit_s => {
            (low_s + seconds(count, smaller).unwrap_or(0), end)
        }
        _ => (low_s, end),
    }
}

/// Behind `-`, `–`, `to`, `bis`, `至`.
fn range_sign(text: &str, at: usize) -> Option<usize> {
    let rest = text[at..].trim_start_matches(' ');
    let signs = ["-", "–", "—", "to ", "bis ", "至", "到", "~", "～"];
    let rest = signs.iter().find_map(|sign| rest.strip_prefix(sign))?;
    Some(text.len() - rest.trim_start_matches(' ').len())
}

/// A number in thousandths, and where it ends.
fn number(text: &str, at: usize) -> Option<(u64, usize)> {
    let rest = &text[at..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        let whole: u64 = rest[..digits].parse().ok().filter(|n| *n < 1_000_000_000)?;
        let fraction = rest[digits..].strip_prefix(['.', ',']).unwrap_or_default();
        let places = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if places == 0 || places > 3 {
            return Some((whole * 1000, at + digits));
        }
        let part: u64 = fraction[..places].parse().ok()?;
        let scale = [1000, 100, 10, 1][places];
        return Some((whole * 1000 + part * scale, at + digits + 1 + places));
    }
    let (word, count) = WORDS.iter().find(|(word, _)| starts_with(rest, word))?;
    // Letters of ours must not go on as another word; Chinese has no blanks between words.
    let behind = rest[word.len()..].chars().next();
    let ends = !word.is_ascii() || behind.is_some_and(|c| c == ' ' || c == '-');
    ends.then_some((count * 1000, at + word.len()))
}

/// A unit in seconds, and where it ends.
fn unit(text: &str, at: usize) -> Option<(u64, usize)> {
    let rest = text[at..].trim_start_matches([' ', '-', '\u{a0}']);
    let skipped = text.len() - at - rest.len();
    if skipped > 2 {
        return None;
    }
    let (name, unit_s) = UNITS.iter().find(|(name, _)| {
        let ends = |c: char| !c.is_alphabetic() || !c.is_ascii();
        starts_with(rest, name) && (!name.is_ascii() || rest[name.len()..].chars().next().is_none_or(ends))
    })?;
    // `5 M` is no time, and neither are the times of day `2 a` and `3 d` of a word that goes on.
    if name.len() == 1 && rest.starts_with(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    // `1 day's`, `24/7`
    Some((*unit_s, text.len() - rest.len() + name.len()))
}

fn seconds(thousandths: u64, unit_s: u64) -> Option<u64> {
    thousandths.checked_mul(unit_s).map(|n| n / 1000).filter(|n| *n <= MAX_S)
}

/// Whether `text` begins so, whatever the case of Latin letters.
fn starts_with(text: &str, words: &str) -> bool {
    text.get(..words.len()).is_some_and(|start| start.eq_ignore_ascii_case(words))
}

/// As a person says it: `4 hours`, `90 minutes`.
#[must_use]
pub fn say(seconds: u64) -> String {
    let units = [(365 * DAY, "year"), (DAY, "day"), (HOUR, "hour"), (60, "minute"), (1, "second")];
    for (size, name) in units {
        if seconds >= size && seconds.is_multiple_of(size) {
            let count = seconds / size;
            return if count == 1 { format!("1 {name}") } else { format!("{count} {name}s") };
        }
    }
    "0".to_owned()
}
