//! What the document says of itself, and the services that its commands name.

use super::Importer;
use super::draft::Draft;
use super::outline::{Piece, What, flat};
use super::words::{self, cadence, label};
use crate::document::Kind;
use crate::facts::backups;
use crate::facts::dates::Review;

const OWNER: [&str; 9] = [
    "owner",
    "document owner",
    "plan owner",
    "owned by",
    "maintained by",
    "eigentümer",
    "verantwortlich",
    "responsable",
    "负责人",
];
const APPROVED: [&str; 5] = ["approved by", "approver", "freigegeben von", "批准人", "批准"];
const VERSION: [&str; 4] = ["version", "document version", "plan version", "版本"];
const FREQUENCY: [&str; 5] =
    ["review frequency", "review cycle", "review schedule", "reviewed every", "überprüfung alle"];

/// The document's name, owner and dates, wherever they stand.
pub(super) fn read(import: &mut Importer<'_>) {
    let document = import.document;
    let first = document.sections.get(1).filter(|section| {
        section.level == 1
            || section.level >= 7 && document.blocks.first().is_none_or(|block| block.section >= 1)
    });
    let title =
        first.map(|section| section.title.plain().trim().to_owned()).filter(|title| !title.is_empty());
    let line = first.map_or(1, |section| section.title.whole().line);
    let stem =
        import.file.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default().to_owned();
    let own = title.as_deref().and_then(own_name).or_else(|| own_name(&stem));
    let name = own.or_else(|| title.as_deref().and_then(label)).unwrap_or_else(|| "recovery-plan".to_owned());
    let metadata = import.plan.within("metadata", line);
    metadata.say("name", name, line);
    if let Some(title) = title {
        metadata.say("title", title, line);
    }
    let facts = import.facts;
    for review in &facts.reviews {
        let key = match review.review {
            Review::Last => "reviewed",
            Review::Next => "nextReview",
        };
        let at = review.place.line;
        import.plan.within("metadata", line).say(key, review.date.to_string(), at);
        import.took(at, at);
    }
    for statement in &facts.statements {
        sentences(import, &statement.whole(), line, statement.place().line);
        let (key, at) = (statement.key_text(), statement.place().line);
        let key = key.trim();
        let of = |list: &[&str]| list.contains(&key);
        // In a table of two columns, each row is a key and its value.
        let pairs = matches!(document.blocks.get(statement.block).map(|block| &block.kind), Some(Kind::Table(table)) if table.header.len() == 2);
        if import.is_in_unit(at) || statement.under.is_some() && !pairs {
            continue;
        }
        let value = flat(&statement.value);
        let value = value.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned();
        if words::is_placeholder(&value) {
            continue;
        }
        let metadata = import.plan.within("metadata", line);
        let said = if of(&OWNER) {
            metadata.say("owner", value, at)
        } else if of(&APPROVED) {
            metadata.say("approvedBy", value, at)
        } else if of(&VERSION) {
            metadata.say("version", value, at)
        } else if of(&FREQUENCY) {
            backups::frequency(&value)
                .is_some_and(|(.., every)| metadata.say("reviewEvery", cadence(every), at))
        } else {
            false
        };
        if said {
            import.took(at, at);
        }
    }
}

/// `Reviewed on 3 November 2026 by Mara. Next review: 3 February 2027.`
fn sentences(import: &mut Importer<'_>, text: &str, of: u32, line: u32) {
    if import.is_in_unit(line) || !text.contains(|c: char| c.is_ascii_digit()) {
        return;
    }
    let parts = text.split(". ").flat_map(|part| part.split("; ")).flat_map(|part| part.split(" · "));
    let mut whole = true;
    for sentence in parts.flat_map(|part| part.split(" | ")) {
        let small = sentence.trim().to_lowercase();
        if let Some((key, value)) = sentence.trim().split_once(": ")
            && OWNER.contains(&key.to_lowercase().as_str())
            && !words::is_placeholder(value)
        {
            import.plan.within("metadata", of).say("owner", value.trim_end_matches('.'), line);
            continue;
        }
        let leads = |words: &[&str]| words.iter().any(|word| small.starts_with(word));
        let key = if leads(&["next review", "review due"]) {
            "nextReview"
        } else if leads(&["reviewed on", "last reviewed", "last updated", "updated on", "last review"]) {
            "reviewed"
        } else {
            whole = false;
            continue;
        };
        if let Some((date, ..)) = crate::facts::dates::find(sentence) {
            import.plan.within("metadata", of).say(key, date.to_string(), line);
        }
    }
    // All that the line says is known.
    if whole && text.contains([':', '：']) {
        import.took(line, line);
    }
}

/// A title without the words that every such document has; none if nothing is left.
fn own_name(title: &str) -> Option<String> {
    const COMMON: [&str; 18] = [
        "disaster",
        "recovery",
        "plan",
        "dr",
        "runbook",
        "document",
        "documentation",
        "procedures",
        "guide",
        "handbook",
        "strategy",
        "drp",
        "business",
        "continuity",
        "the",
        "of",
        "for",
        "and",
    ];
    let whole = label(title)?;
    let words: Vec<&str> = whole.split('-').filter(|word| !COMMON.contains(word)).collect();
    label(&words.join("-"))
}

/// The first words of the document, or of its overview.
pub(super) fn overview<'a>(import: &mut Importer<'a>, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    let mut left = Vec::new();
    for piece in pieces {
        let What::Prose(text) = piece.what else {
            left.push(piece);
            continue;
        };
        let open = (piece.line..=piece.last_line)
            .all(|line| import.fates.get(line as usize) == Some(&super::Fate::Open));
        if !open {
            import.took(piece.line, piece.last_line);
            continue;
        }
        // Where a wiki puts the contents.
        let is_contents =
            matches!(text.plain().trim(), "[[TOC]]" | "[TOC]" | "[toc]" | "{{TOC}}" | "[[toc]]" | "${toc}");
        if is_contents
            || import.plan.within("metadata", piece.line).say("description", flat(text), piece.line)
        {
            import.took(piece.line, piece.last_line);
        } else {
            left.push(piece);
        }
    }
    left
}

/// The deployments that commands name are services too; a plan has one at the least.
pub(super) fn services(import: &mut Importer<'_>) {
    let facts = import.facts;
    for snippet in &facts.snippets {
        for command in snippet.script.commands.iter().filter(|command| command.name() == "kubectl") {
            let words: Vec<&str> = command.arguments().iter().map(|word| word.text.as_str()).collect();
            let glued = words.iter().find_map(|word| {
                ["deployment/", "deployments/", "deploy/", "statefulset/"]
                    .iter()
                    .find_map(|lead| word.strip_prefix(lead))
            });
            let apart = words
                .iter()
                .position(|word| matches!(*word, "deployment" | "statefulset"))
                .and_then(|at| words.get(at + 1));
            let Some(name) = glued.or(apart.copied()) else { continue };
            let plain = name.len() > 1
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if !plain || name.starts_with('-') || label(name).as_deref() != Some(name) {
                continue;
            }
            let line = snippet.whole(command).line;
            let service = import.plan.named("services", name, line);
            service.say("description", "a workload on Kubernetes, named by the document's commands", line);
        }
    }
    if import.plan.get("services").is_none() {
        let name = import.name().to_owned();
        let title = match import.plan.get("metadata").map(|draft| &draft.value) {
            Some(super::draft::Shape::Map(map)) => map.text_of("title").map(str::to_owned),
            _ => None,
        };
        let service = import.plan.named("services", &name, 1);
        if let Some(title) = title {
            service.put("description", Draft::text(format!("all that {title} is about"), 1));
        }
    }
}
