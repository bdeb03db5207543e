//! Cron expressions of five fields, in a time zone.
//!
//! Written here and not taken from a crate: five bit sets and a search over dates are all of it, while
//! the crates that know jiff read a wider language than a plan should have, do not say which field
//! is wrong, and run a job twice in the hour that a zone repeats.
//!
//! # Invariants
//! - **C1 once.** A wall-clock time fires once: in an hour that comes twice, the first time; one in
//!   an hour that is left out, at the instant after the gap (and once, however many fall into it).
//! - **C2 forward.** [`Cron::next_after`] is later than what it was given, and grows with it.
//!
//! Deliberately absent: seconds, years, nicknames (`@daily`), `L`, `W` and `#`.

use crate::values::Zone;
use jiff::civil::{Date, DateTime};
use jiff::tz::AmbiguousOffset;
use jiff::{Timestamp, ToSpan};
use std::fmt;
use std::str::FromStr;

/// How far ahead a firing is searched: a 29 February can be 8 years away (from 2096 to 2104).
const SEARCH_DAYS: usize = 366 * 9;

/// A schedule of five fields: minute, hour, day of month, month, day of week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both the day of month and the day of week are restricted: either may match, as POSIX says.
    either_day: bool,
}

/// The text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseCronError {
    /// Not five fields.
    #[error(
        "`{text}` has {found} fields; a schedule has five: minute, hour, day of month, month and day of week, as in `0 3 * * *`"
    )]
    Fields {
        /// What was written.
        text: String,
        /// Its fields.
        found: usize,
    },
    /// A nickname such as `@daily`.
    #[error("`{0}` is a nickname; write the five fields out, as in `0 3 * * *` for 03:00 each day")]
    Nickname(String),
    /// One field cannot be read.
    #[error("`{part}` is no {field}; use {low} to {high}, `*`, ranges `a-b`, steps `*/n` and lists `a,b`")]
    Field {
        /// Which field.
        field: &'static str,
        /// The part of it that cannot be read.
        part: String,
        /// Least number.
        low: u8,
        /// Greatest number.
        high: u8,
    },
    /// All fields can be read, but there is no such day.
    #[error("`{0}` never comes round: no month that it names has such a day")]
    Never(String),
}

struct Field {
    name: &'static str,
    low: u8,
    high: u8,
    /// Names, the first standing for `low`.
    words: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, words: &[] },
    Field { name: "hour", low: 0, high: 23, words: &[] },
    Field { name: "day of month", low: 1, high: 31, words: &[] },
    Field { name: "month", low: 1, high: 12, words: &MONTHS },
    // 7 is Sunday as well.
    Field { name: "day of week", low: 0, high: 7, words: &WEEKDAYS },
];

impl Field {
    fn parse(&self, text: &str) -> Result<u64, ParseCronError> {
        text.split(',').try_fold(0, |set, part| self.part(part).map(|more| set | more).ok_or(part)).map_err(
            |part| ParseCronError::Field {
                field: self.name,
                part: part.to_owned(),
                low: self.low,
                high: self.high,
            },
        )
    }

    fn part(&self, part: &str) -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.low, self.high),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            // `5/10` is read as some crons do and others do not: refused.
            None if step.is_some() => return None,
            None => (self.value(range)?, self.value(range)?),
        };
        if from > to {
            return None;
        }
        let values = (from..=to).step_by(usize::from(step.unwrap_or(1)));
        Some(values.fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str) -> Option<u8> {
        let word = self.words.iter().position(|word| text.eq_ignore_ascii_case(word));
        let value = match word {
            Some(at) => self.low + u8::try_from(at).ok()?,
            None => number(text)?,
        };
        (self.low..=self.high).contains(&value).then_some(value)
    }
}

fn number(text: &str) -> Option<u8> {
    let plain = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

impl FromStr for Cron {
    type Err = ParseCronError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.starts_with('@') {
            return Err(ParseCronError::Nickname(text.to_owned()));
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(ParseCronError::Fields { text: text.to_owned(), found: fields.len() });
        };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let week = weekdays.parse(weekday)?;
        let cron = Self {
            text: fields.join(" "),
            minutes: minutes.parse(minute)?,
            hours: hours.parse(hour)?,
            days: days.parse(day)?,
            months: months.parse(month)?,
            weekdays: (week | week >> 7) & 0b111_1111,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        // Every day pattern that exists at all falls within the search from any day.
        match cron.next_date(Date::constant(2024, 1, 1)) {
            Some(_) => Ok(cron),
            None => Err(ParseCronError::Never(cron.text)),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cron {
    /// The first firing after `after`, by the clocks of `zone`; none only at the end of the calendar.
    #[must_use]
    pub fn next_after(&self, zone: &Zone, after: Timestamp) -> Option<Timestamp> {
        let zone = zone.time_zone();
        let start = zone.to_datetime(after);
        let mut wall = self.next_wall(start)?;
        // Wall-clock times of a repeated hour may lie behind `after`; each step takes one minute of
        // it, and no zone has repeated more than a day.
        const MAX_STEPS: usize = 60 * 25;
        for _ in 0..MAX_STEPS {
            match instant(zone, wall) {
                Some(at) if at > after => return Some(at),
                Some(_) => wall = self.next_wall(wall.checked_add(1.minute()).ok()?)?,
                None => return None,
            }
        }
        None
    }

    /// The first wall-clock time that matches, not before the minute of `from`.
    fn next_wall(&self, from: DateTime) -> Option<DateTime> {
        if self.matches(from.date()) {
            let minute_of_day = |hour: u32, minute: u32| hour * 60 + minute;
            let (hour, minute) = (from.hour().unsigned_abs(), from.minute().unsigned_abs());
            let earliest = minute_of_day(u32::from(hour), u32::from(minute));
            let found = (earliest..24 * 60)
                .find(|at| self.hours >> (at / 60) & 1 == 1 && self.minutes >> (at % 60) & 1 == 1);
            if let Some(at) = found {
                return Some(from.date().at(i8::try_from(at / 60).ok()?, i8::try_from(at % 60).ok()?, 0, 0));
            }
        }
        let date = self.next_date(from.date().tomorrow().ok()?)?;
        let hour = i8::try_from(self.hours.trailing_zeros()).ok()?;
        Some(date.at(hour, i8::try_from(self.minutes.trailing_zeros()).ok()?, 0, 0))
    }

    fn next_date(&self, from: Date) -> Option<Date> {
        std::iter::successors(Some(from), |date| date.tomorrow().ok())
            .take(SEARCH_DAYS)
            .find(|date| self.matches(*date))
    }

    fn matches(&self, date: Date) -> bool {
        let day = self.days >> date.day() & 1 == 1;
        let weekday = self.weekdays >> date.weekday().to_sunday_zero_offset() & 1 == 1;
        let days = if self.either_day { day || weekday } else { day && weekday };
        days && self.months >> date.month() & 1 == 1
    }
}

/// C1: the one instant at which a wall-clock time fires.
fn instant(zone: &jiff::tz::TimeZone, wall: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => {
            // Read with the offset after the change, a time in the gap lies before the change.
            let before = ambiguous.earlier().ok()?;
            zone.following(before).next().map(|change| change.timestamp())
        }
        _ => ambiguous.earlier().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(cron: &str, zone: &str, after: &str, expected: &[&str]) {
        let cron: Cron = cron.parse().unwrap();
        let zone: Zone = zone.parse().unwrap();
        let mut at: Timestamp = after.parse().unwrap();
        for expected in expected {
            at = cron.next_after(&zone, at).unwrap();
            assert_eq!(at.to_string(), *expected);
        }
    }

    #[test]
    fn fires_by_the_clock_of_its_zone() {
        check(
            "0 3 * * *",
            "Asia/Taipei",
            "2026-01-01T00:00:00Z",
            &["2026-01-01T19:00:00Z", "2026-01-02T19:00:00Z"],
        );
        check(
            "*/20 * * * *",
            "UTC",
            "2026-01-01T23:39:59.5Z",
            &["2026-01-01T23:40:00Z", "2026-01-02T00:00:00Z"],
        );
        check("0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z", &["2104-02-29T00:00:00Z"]);
        check("0 0 * * mon-fri", "UTC", "2026-01-02T00:00:00Z", &["2026-01-05T00:00:00Z"]);
        check("0 0 * * 7", "UTC", "2026-01-02T00:00:00Z", &["2026-01-04T00:00:00Z"]);
    }

    #[test]
    fn either_day_matches_when_both_are_restricted() {
        check(
            "0 0 13 * fri",
            "UTC",
            "2026-02-07T00:00:00Z",
            &["2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"],
        );
        check(
            "0 0 10 * sun",
            "UTC",
            "2026-02-08T00:00:00Z",
            &["2026-02-10T00:00:00Z", "2026-02-15T00:00:00Z"],
        );
    }

    #[test]
    fn c1_a_job_in_a_gap_runs_once_right_after_it() {
        // Berlin leaves out 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
        let after = "2026-03-28T12:00:00Z";
        check("30 2 * * *", "Europe/Berlin", after, &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        check("*/15 2 * * *", "Europe/Berlin", after, &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
        // Samoa left out the whole of 30 December 2011.
        check("0 3 30 12 *", "Pacific/Apia", "2011-12-29T20:00:00Z", &["2011-12-30T10:00:00Z"]);
    }

    #[test]
    fn c1_a_job_in_an_overlap_runs_once() {
        // Berlin repeats 02:00 to 03:00 on 25 October 2026: 00:00 and 01:00 UTC.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        );
        check("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", &["2026-10-26T01:30:00Z"]);
        check("30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", &["2026-10-25T02:30:00Z"]);
    }

    #[test]
    fn refuses_what_is_no_schedule() {
        let bad = [
            "",
            "* * * *",
            "* * * * * *",
            "@daily",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "5-1 * * * *",
            "1,,2 * * * *",
            "a * * * *",
            "+5 * * * *",
            "5/10 * * * *",
            "0 0 30 2 *",
            "0 0 31 apr,jun,sep,nov *",
            "٣ * * * *",
            "*-5 * * * *",
        ];
        for text in bad {
            assert!(text.parse::<Cron>().is_err(), "{text}");
        }
    }

    fn cron() -> impl Strategy<Value = String> {
        let minute =
            prop_oneof![Just("*".to_owned()), (0u8..60).prop_map(|m| m.to_string()), Just("*/7".to_owned())];
        let hour = prop_oneof![Just("*".to_owned()), (0u8..24).prop_map(|h| h.to_string())];
        let day = prop_oneof![Just("*".to_owned()), (1u8..32).prop_map(|d| d.to_string())];
        let weekday = prop_oneof![Just("*".to_owned()), (0u8..8).prop_map(|d| d.to_string())];
        (minute, hour, day, weekday).prop_map(|(m, h, d, w)| format!("{m} {h} {d} * {w}"))
    }

    proptest! {
        #[test]
        fn c2_next_is_later_and_grows(
            text in cron(),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
            seconds in 1_300_000_000i64..1_900_000_000,
            later in 0i64..200_000,
        ) {
            let cron: Cron = text.parse().unwrap();
            let zone: Zone = zone.parse().unwrap();
            let after = Timestamp::from_second(seconds).unwrap();
            let next = cron.next_after(&zone, after).unwrap();
            prop_assert!(next > after);
            let second = cron.next_after(&zone, Timestamp::from_second(seconds + later).unwrap()).unwrap();
            prop_assert!(second >= next);
            // Nothing lies between: from any moment before it, it is still the next.
            let between = Timestamp::from_second((seconds + next.as_second()) / 2).unwrap();
            prop_assert_eq!(cron.next_after(&zone, between).unwrap(), next);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[*0-9,/@a-z -]{0,30}|.{0,30}") {
            let _ = text.parse::<Cron>();
        }
    }
}
