//! The table of objectives: of everything, of tiers, of services and of scenarios, beside each other.
//!
//! An objective that holds because the tier or the plan says so stands in italics, and is not read back; one that is
//! stated in words stands in quotes behind the time.
//!
//! Deliberately absent: any other place where objectives are written.

use super::blocks::{Block, Said};
use crate::model::{Objectives, Plan, TierKind};

/// What a row is about, in the first column.
pub(crate) const EVERYTHING: &str = "Everything";
pub(crate) const SERVICE: &str = "Service";
pub(crate) const SCENARIO: &str = "Scenario";
/// Tiers by what they are of; the first is of nothing in particular.
pub(crate) const TIERS: [(Option<TierKind>, &str, &str); 4] = [
    (None, "Group", ""),
    (Some(TierKind::Tier), "Tier", "tier"),
    (Some(TierKind::Environment), "Environment", "environment"),
    (Some(TierKind::Data), "Data", "data"),
];
/// The columns behind the first two, and the keys of their objectives.
pub(crate) const COLUMNS: [(&str, &str); 4] =
    [("RTO", "rto"), ("RPO", "rpo"), ("MTD", "mtd"), ("MTTR", "mttr")];
/// The first two columns.
pub(crate) const OF: &str = "Objectives of";
pub(crate) const NAME: &str = "Name";

/// The table.
pub(crate) fn table(plan: &Plan) -> Block {
    let none = Objectives::default();
    let text = |text: &str| Said::Text(text.to_owned());
    let mut rows = vec![row([text(EVERYTHING), Said::Nothing], &plan.objectives, &none)];
    for tier in &plan.tiers {
        let of = TIERS.iter().find(|(kind, ..)| *kind == tier.kind).map_or(EVERYTHING, |(_, of, _)| of);
        let name = Said::Name(tier.title.clone(), Some(tier.name.to_string()));
        rows.push(row([text(of), name], &tier.objectives, &plan.objectives));
    }
    for service in &plan.services {
        let tier = service.tier.as_ref().and_then(|name| plan.tiers.iter().find(|tier| tier.name == *name));
        let outer = tier.map_or_else(|| plan.objectives.clone(), |tier| tier.objectives.or(&plan.objectives));
        let name = Said::Ref("service", service.name.to_string());
        rows.push(row([text(SERVICE), name], &service.objectives, &outer));
    }
    for scenario in &plan.scenarios {
        let name = Said::Ref("scenario", scenario.name.to_string());
        rows.push(row([text(SCENARIO), name], &scenario.objectives, &plan.objectives));
    }
    // A column that says nothing of anything is left out.
    let said: Vec<bool> = (0..rows[0].len())
        .map(|at| rows.iter().any(|row| !matches!(row[at], Said::Nothing | Said::Objective(None, None, _))))
        .collect();
    let kept = |at: usize| at < 4 || said[at];
    let columns = [OF, NAME].into_iter().chain(COLUMNS.map(|(title, _)| title));
    let columns = columns.enumerate().filter(|(at, _)| kept(*at)).map(|(_, title)| title).collect();
    for row in &mut rows {
        let cells = std::mem::take(row);
        *row = cells.into_iter().enumerate().filter(|(at, _)| kept(*at)).map(|(_, cell)| cell).collect();
    }
    Block::Table { title: None, columns, rows }
}

fn row(of: [Said; 2], own: &Objectives, outer: &Objectives) -> Vec<Said> {
    let cell = |(own, outer, words): (Option<_>, Option<_>, &Option<String>)| match (own, outer, words) {
        (None, Some(outer), None) => {
            let outer: crate::values::Interval = outer;
            Said::Objective(Some(outer.to_string()), None, true)
        }
        (own, _, words) => {
            Said::Objective(own.map(|own: crate::values::Interval| own.to_string()), words.clone(), false)
        }
    };
    let cells = [
        (own.rto, outer.rto, &own.words.rto),
        (own.rpo, outer.rpo, &own.words.rpo),
        (own.mtd, outer.mtd, &own.words.mtd),
        (own.mttr, outer.mttr, &own.words.mttr),
    ];
    of.into_iter().chain(cells.map(cell)).collect()
}
