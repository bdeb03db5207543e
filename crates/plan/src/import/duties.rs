//! What remains to be done: after an incident, towards the law, figures.

use super::Importer;
use super::calendar::lists;
use super::draft::{Draft, Map};
use super::outline::{Piece, What, flat};
use super::words;

pub(super) fn after_incident<'a>(
    import: &mut Importer<'a>,
    at: usize,
    pieces: Vec<Piece<'a>>,
) -> Vec<Piece<'a>> {
    let title = import.document.sections[at].title.clone();
    let (mut forms, mut others) = (Vec::new(), Vec::new());
    for piece in pieces {
        match piece.what {
            What::Code(code) => forms.push((code.text(), piece.line, piece.last_line)),
            _ => others.push(piece),
        }
    }
    for (text, first, last) in forms {
        let mut form = Map::default();
        form.say("name", words::unnumbered(title.plain()), first);
        form.put("text", Draft::text(format!("{}\n", text.trim_end()), first));
        import.took(first, last);
        import.plan.within("duties", first).add("forms", Draft::map(form, first));
    }
    lists(import, at, others, &mut |import, list, line| {
        import.plan.within("duties", line).add("afterIncident", Draft::map(list, line));
    })
}

pub(super) fn compliance<'a>(import: &mut Importer<'a>, at: usize, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    lists(import, at, pieces, &mut |import, list, line| {
        import.plan.within("duties", line).add("compliance", Draft::map(list, line));
    })
}

pub(super) fn kpis<'a>(import: &mut Importer<'a>, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    let mut left = Vec::new();
    for piece in pieces {
        let (first, last) = (piece.line, piece.last_line);
        let mut kpi = |name: String, target: String, line: u32| {
            let mut kpi = Map::default();
            if kpi.say("name", name, line) {
                kpi.say("target", target, line);
                import.plan.within("duties", line).add("kpis", Draft::map(kpi, line));
            }
        };
        match &piece.what {
            What::Entries(entries) => {
                for entry in entries {
                    match &entry.key {
                        Some(key) => kpi(flat(key), flat(&entry.value), entry.line),
                        None => kpi(entry.text(), String::new(), entry.line),
                    }
                }
            }
            What::Table(table) => {
                for row in &table.rows {
                    let line = row.first().map_or(first, |cell| cell.whole().line);
                    let mut cells = row.iter().map(flat);
                    let name = cells.next().unwrap_or_default();
                    kpi(name, cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("; "), line);
                }
            }
            _ => {
                left.push(piece);
                continue;
            }
        }
        import.took(first, last);
    }
    left
}
