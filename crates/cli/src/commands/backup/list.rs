//! `lifeboat backup list` and `lifeboat backup show`.

use crate::output::{Exit, Style, Table, Tone};
use crate::points::{self, PointView, State};
use crate::settings::Settings;
use crate::{journal, show};
use lifeboat_base::{ByteCount, ServiceName, format_duration};
use serde::Serialize;
use std::time::Duration;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    restore_points: Vec<PointView>,
}

/// Lists restore points, of one service or of all.
///
/// # Errors
/// If the vault cannot be read.
pub async fn list(settings: &Settings, service: Option<ServiceName>) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let services = match service {
        Some(service) => {
            points::must_be_known(&opened, &service).await?;
            vec![service]
        }
        None => points::services(&opened).await?,
    };
    let mut listed = Listed { restore_points: Vec::new() };
    let mut exit = Exit::Good;
    for service in &services {
        let known = points::of_service(&opened.vault, service).await?;
        listed.restore_points.extend(known.views);
        for unread in known.unread {
            settings.output.warn(unread);
            exit = Exit::Findings;
        }
    }
    let now = settings.clock.now();
    settings.output.result("backup.list", &listed, |style| {
        if listed.restore_points.is_empty() {
            return "no restore point yet: `lifeboat backup run SERVICE` takes a backup\n".to_owned();
        }
        let headings =
            ["RESTORE POINT", "SERVICE", "FINISHED", "TOOK", "SIZE", "STORED", "TIMELINE", "STATE"];
        let mut table = Table::new(&headings);
        for point in &listed.restore_points {
            table.row([
                point.id.clone(),
                point.service.to_string(),
                show::ago(now, point.finished),
                took(point),
                ByteCount(point.size_bytes).to_string(),
                ByteCount(point.stored_bytes).to_string(),
                point.timeline.to_string(),
                point.state.text().to_owned(),
            ]);
        }
        table.render(style)
    })?;
    Ok(exit)
}

/// Shows one restore point.
///
/// # Errors
/// If there is none of that name.
pub async fn show(settings: &Settings, id: &str) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let point = points::find(&opened, id).await?;
    let verdicts = journal::verdicts(&opened.vault, &point.service).await?;
    let view = PointView::new(&point, verdicts.get(&point.id));
    settings.output.result("backup.show", &view, |style| human(&view, style))?;
    Ok(if matches!(view.state, State::Failed | State::Doubtful) { Exit::Findings } else { Exit::Good })
}

/// One restore point, for people.
#[must_use]
pub fn human(view: &PointView, style: &Style) -> String {
    let state = match (view.state, &view.verified_detail, view.verified_at) {
        (State::Written, _, _) => "written: nobody has recovered it yet".to_owned(),
        (state, Some(detail), Some(at)) => format!("{} {}: {detail}", state.text(), show::time(at)),
        (state, ..) => state.text().to_owned(),
    };
    let tone = match view.state {
        State::Written | State::Doubtful => Tone::Doubtful,
        State::Verified => Tone::Good,
        State::Failed => Tone::Bad,
    };
    let source = match (&view.advanced_from, view.from_standby) {
        (Some(older), _) => format!("restore point {older}, recovered forward"),
        (None, true) => "a standby".to_owned(),
        (None, false) => "a primary".to_owned(),
    };
    let checksums = if view.checksums { "pages checked" } else { "pages carry no checksums: unchecked" };
    let mut out = format!("{}\n", style.paint(Tone::Strong, &view.id));
    let mut line = |name: &str, value: String| {
        out.push_str(&format!("  {name:<12} {}\n", crate::output::clean(&value)));
    };
    line("service", view.service.to_string());
    line("finished", format!("{}, took {}", show::time(view.finished), took(view)));
    let stored = ByteCount(view.stored_bytes);
    line("size", format!("{} in {} files, stored as {stored}", ByteCount(view.size_bytes), view.files));
    line("from", format!("{source}, PostgreSQL {}, cluster {}", view.major, view.system_id));
    line("WAL", format!("timeline {}, {} to {}", view.timeline, view.start, view.stop));
    line("layers", view.layers.join(", "));
    line("checksums", checksums.to_owned());
    for tablespace in &view.tablespaces {
        line("tablespace", format!("{} at {}", tablespace.oid, tablespace.location));
    }
    for page in view.damaged_pages.iter().take(points::PAGES_TOLD) {
        match page.suspect {
            true => line("SUSPECT", page.to_string()),
            false => line("DAMAGED", format!("{page}: production itself could not read it")),
        }
    }
    if view.damaged_pages.len() > points::PAGES_TOLD {
        line("", format!("and {} pages more", view.damaged_pages.len() - points::PAGES_TOLD));
    }
    out.push_str(&format!("  {:<12} {}\n", "state", style.paint(tone, &state)));
    out
}

fn took(view: &PointView) -> String {
    let took = Duration::try_from(view.finished.duration_since(view.started)).unwrap_or_default();
    format_duration(took)
}
