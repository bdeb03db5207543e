//! How long a scenario's recovery takes, step by step, beside how long it may take.
//!
//! The times are those that the steps state; steps that state none are counted and told, and so are choices, of which
//! the longest way is not looked for: all that is stated is added up.
//!
//! Deliberately absent: measuring.

use crate::model::{Plan, Scenario, Step};
use crate::values::Interval;
use std::time::Duration;

/// The widest bar, in characters.
const WIDTH_CHARS: usize = 48;
/// The longest name of a step beside its bar.
const MAX_NAME_CHARS: usize = 28;

/// The recovery times of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Times {
    pub rto: Option<Interval>,
    pub mtd: Option<Interval>,
    /// Each step that states a time: its number and name, when it begins, how long it takes.
    pub steps: Vec<(String, Duration, Duration)>,
    /// How many steps there are.
    pub count: usize,
}

impl Times {
    /// Those of a scenario; none if there is nothing to show.
    pub fn of(plan: &Plan, scenario: &Scenario) -> Option<Self> {
        let objectives = scenario.objectives.or(&plan.objectives);
        let runbook = scenario.runbook.as_ref().and_then(|name| plan.runbooks.get(name));
        let all = runbook.map_or(&[][..], |runbook| &runbook.steps);
        let mut begins = Duration::ZERO;
        let mut steps = Vec::new();
        for (at, step) in all.iter().enumerate() {
            let Some(Interval(takes)) = step.duration else { continue };
            steps.push((name(at, step), begins, takes));
            begins = begins.saturating_add(takes);
        }
        let times = Self { rto: objectives.rto, mtd: objectives.mtd, steps, count: all.len() };
        (times.rto.is_some() || times.mtd.is_some() || !times.steps.is_empty()).then_some(times)
    }

    /// All stated times together.
    pub fn total(&self) -> Duration {
        self.steps.last().map_or(Duration::ZERO, |(_, begins, takes)| begins.saturating_add(*takes))
    }

    /// The time that the whole width stands for.
    pub fn whole(&self) -> Duration {
        let bounds = [self.rto, self.mtd].into_iter().flatten().map(|Interval(time)| time);
        bounds.chain([self.total()]).max().unwrap_or_default()
    }

    /// What is to be said of them, in a sentence.
    pub fn verdict(&self) -> String {
        let total = Interval(self.total());
        let stated = self.steps.len();
        let known = match (stated, self.count) {
            (_, 0) => return "No runbook: nothing says how long the recovery takes.".to_owned(),
            (0, count) => return format!("None of the {count} steps says how long it takes."),
            (stated, count) if stated == count => "all steps together".to_owned(),
            (stated, count) => format!("{stated} of {count} steps, the others do not say how long they take"),
        };
        match self.rto {
            Some(rto) if total > rto => {
                format!("{total} for {known}: {} longer than the RTO of {rto}.", Interval(total.0 - rto.0))
            }
            Some(rto) => format!("{total} for {known}, of an RTO of {rto}."),
            None => format!("{total} for {known}; no RTO is stated."),
        }
    }

    /// As lines of text.
    pub fn lines(&self) -> Vec<String> {
        let whole = self.whole().as_millis().max(1);
        // A bar of the width: what is more than nothing is seen.
        let chars = |time: Duration| {
            usize::try_from((time.as_millis() * WIDTH_CHARS as u128).div_ceil(whole)).unwrap_or(WIDTH_CHARS)
        };
        let mut rows: Vec<(String, String, String)> = Vec::new();
        for (name, begins, takes) in &self.steps {
            let from = chars(*begins).min(WIDTH_CHARS - 1);
            let to = chars(begins.saturating_add(*takes)).max(from + 1);
            let bar = format!("{}{}", " ".repeat(from), "█".repeat(to - from));
            rows.push((name.clone(), Interval(*takes).to_string(), bar));
        }
        for (name, bound) in [("RTO", self.rto), ("MTD", self.mtd)] {
            if let Some(bound) = bound {
                let width = chars(bound.0).max(1);
                rows.push((name.to_owned(), bound.to_string(), format!("{}┤", "─".repeat(width - 1))));
            }
        }
        let width = |of: fn(&(String, String, String)) -> &String| {
            rows.iter()
                .map(|row| unicode_width::UnicodeWidthStr::width(of(row).as_str()))
                .max()
                .unwrap_or_default()
        };
        let (names, times) = (width(|row| &row.0), width(|row| &row.1));
        let pad = |text: &str, to: usize| {
            " ".repeat(to.saturating_sub(unicode_width::UnicodeWidthStr::width(text)))
        };
        let lines = rows.iter().map(|(name, time, bar)| {
            format!("{name}{}  {}{time}  {bar}", pad(name, names), pad(time, times))
        });
        lines.map(|line| line.trim_end().to_owned()).chain([self.verdict()]).collect()
    }
}

fn name(at: usize, step: &Step) -> String {
    let name = step.name.as_deref().unwrap_or_default();
    let name = crate::finding::clean(&name.split_whitespace().collect::<Vec<_>>().join(" "));
    let name = match name.char_indices().nth(MAX_NAME_CHARS) {
        Some((cut, _)) => format!("{}…", name[..cut].trim_end()),
        None => name,
    };
    format!("{} {name}", at + 1).trim_end().to_owned()
}
