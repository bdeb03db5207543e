//! What the demonstration prints: a timeline, how long each part of a recovery took, what was lost, what was
//! checked.

use super::ledger::Comparison;
use crate::output::{Style, Tone};
use serde::Serialize;
use std::time::Duration;

/// The demonstration, whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// PostgreSQL's major version.
    pub postgresql: u32,
    /// Whether all of it holds.
    pub holds: bool,
    /// From start to end.
    pub took_seconds: f64,
    /// Where everything is, with `--keep`.
    pub kept: Option<String>,
    /// Commands to look around there with.
    pub look: Vec<String>,
    /// Each disaster and its recovery.
    pub disasters: Vec<Disaster>,
}

/// One disaster and its recovery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disaster {
    /// A few words.
    pub name: &'static str,
    /// Where recovery went.
    pub target: String,
    /// How long each part took, from the disaster on.
    pub segments: Vec<Segment>,
    /// How long writing all files takes, which a full restore does before its server starts; none if this was one.
    pub full_restore_seconds: Option<f64>,
    /// Their sum: recovery time.
    pub rto_seconds: f64,
    /// What the plan promises.
    pub rto_objective_seconds: f64,
    /// Time of which acknowledged commits are lost.
    pub rpo_seconds: f64,
    /// What the plan promises.
    pub rpo_objective_seconds: f64,
    /// Acknowledged transactions lost.
    pub lost_transactions: u64,
    /// Database against notes.
    pub comparison: Comparison,
    /// What was looked at, in words.
    pub checked: Vec<String>,
    /// Whether objectives and checks hold.
    pub holds: bool,
}

/// A part of a recovery.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// Its name.
    pub name: &'static str,
    /// How long it took.
    pub seconds: f64,
}

/// Measures segments one after the other.
#[derive(Debug)]
pub struct Stopwatch {
    last: Duration,
    segments: Vec<Segment>,
}

impl Stopwatch {
    /// Begins at the disaster.
    pub fn begin(at: Duration) -> Self {
        Self { last: at, segments: Vec::new() }
    }

    /// Ends the segment that ran until now.
    pub fn lap(&mut self, name: &'static str, now: Duration) {
        let seconds = now.saturating_sub(self.last).as_secs_f64();
        self.segments.push(Segment { name, seconds });
        self.last = now;
    }

    /// The segments, and their sum in seconds.
    pub fn end(self) -> (Vec<Segment>, f64) {
        let sum = self.segments.iter().map(|segment| segment.seconds).sum();
        (self.segments, sum)
    }
}

impl Disaster {
    /// As lines for a person.
    pub fn render(&self, style: &Style) -> String {
        let mark = |good| if good { style.paint(Tone::Good, "✓") } else { style.paint(Tone::Bad, "✗") };
        let mut out = String::new();
        let segments: Vec<String> = self
            .segments
            .iter()
            .map(|segment| format!("{} {:.2} s", segment.name, segment.seconds))
            .collect();
        out.push_str(&format!(
            "  {} RTO {:.2} s of {} s   {}\n",
            mark(self.rto_seconds <= self.rto_objective_seconds),
            self.rto_seconds,
            self.rto_objective_seconds,
            style.paint(Tone::Faint, &segments.join(" · "))
        ));
        if let Some(seconds) = self.full_restore_seconds {
            let text = format!(
                "in the place of `shown`, all files take {seconds:.2} s here, and longer the more there are"
            );
            out.push_str(&format!("            {}\n", style.paint(Tone::Faint, &text)));
        }
        out.push_str(&format!(
            "  {} RPO {:.3} s of {} s, {} acknowledged transactions\n",
            mark(self.rpo_seconds <= self.rpo_objective_seconds),
            self.rpo_seconds,
            self.rpo_objective_seconds,
            self.lost_transactions
        ));
        for line in &self.checked {
            out.push_str(&format!("  {} {}\n", mark(self.comparison.holds()), line));
        }
        out
    }
}

impl Report {
    /// The last lines.
    pub fn render_end(&self, style: &Style) -> String {
        let verdict = if self.holds {
            style.paint(Tone::Good, "Both disasters recovered within the promised time and loss.")
        } else {
            style.paint(Tone::Bad, "An objective or a check failed: see the lines marked ✗.")
        };
        let kept = match &self.kept {
            Some(place) => format!(
                "Kept in {place}: the vault, its passphrase, a plan, the recovered servers' directories. To look \
                 around:\n  {}",
                self.look.join("\n  ")
            ),
            None => "Nothing is left behind; --keep leaves it for a look.".to_owned(),
        };
        format!("{verdict} {:.1} s in all.\n{kept}\n", self.took_seconds)
    }
}
