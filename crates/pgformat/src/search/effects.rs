//! Turns what a committed transaction has done into [`Effect`]s; the rules are in the module above.

use super::open::{FileKind, OpenTransactions, Tally, Transaction};
use super::{Effect, EffectKind, SearchOptions};
use crate::catalogue::{KnownRelation, Names, RelationKind};
use crate::wal::{Completion, DroppedStatistic};
use crate::{Oid, RelationLocator};
use std::collections::HashSet;

/// The first OID that is not PostgreSQL's own. Catalogues change with every DDL: they are not told.
const FIRST_USER_OID: u32 = 16_384;

/// What `transaction` did, the worst first; the names follow the files that it replaced.
pub(super) fn effects(
    options: &SearchOptions,
    names: &mut Names,
    open: &mut OpenTransactions,
    transaction: &Transaction,
    commit: &Completion<'_>,
) -> Vec<Effect> {
    let files = Files::of(transaction, commit);
    let mut effects = Vec::new();
    for database in &transaction.dropped_databases {
        effects.push(Effect { kind: EffectKind::DropDatabase, ..blank(names, *database) });
    }
    dropped_relations(names, open, &files, &mut effects);
    replaced_relations(names, open, transaction, &files, &mut effects);
    changed_rows(options, names, open, transaction, &files, &mut effects);
    follow_files(names, &files);
    remember_kinds(names, open, transaction);

    let lost_rows = |effect: &Effect| !is_sequence(names, effect) && effect.kind != EffectKind::Rewrite;
    if effects.iter().any(lost_rows) {
        // A table's sequences go with it: they would only hide it.
        effects.retain(|effect| !is_sequence(names, effect));
    } else if !options.rewrites {
        effects.retain(|effect| effect.kind != EffectKind::Rewrite);
    }
    effects.sort_by_key(|effect| (effect.kind, std::cmp::Reverse(effect.rows)));
    effects
}

/// The files that the transaction made and gave up.
struct Files {
    /// Given up, oldest first; not those that it made itself.
    given_up: Vec<RelationLocator>,
    /// Made, and still there, in order.
    born: Vec<RelationLocator>,
    /// Those of `born` that a transient relation left to another.
    inherited: Vec<RelationLocator>,
    /// Relations dropped, by database and OID, in order.
    dropped_oids: Vec<(Oid, Oid)>,
}

impl Files {
    fn of(transaction: &Transaction, commit: &Completion<'_>) -> Self {
        let made: HashSet<_> = transaction.created.iter().copied().collect();
        let mut given_up: Vec<_> = commit.dropped.iter().collect();
        given_up.reverse();
        let gone: HashSet<_> = given_up.iter().copied().collect();
        given_up.retain(|locator| !made.contains(locator));
        let statistics = commit.dropped_statistics.iter();
        let relations = statistics.filter(|item| item.kind == DroppedStatistic::RELATION);
        let dropped_oids: Vec<_> =
            relations.filter_map(|r| Some((r.database, Oid(u32::try_from(r.object).ok()?)))).collect();
        let born: Vec<_> = transaction.created.iter().copied().filter(|l| !gone.contains(l)).collect();
        let transient = |l: &RelationLocator| dropped_oids.contains(&(l.database, l.relfilenode));
        let inherited = born.iter().copied().filter(transient).collect();
        Self { given_up, born, inherited, dropped_oids }
    }

    fn was_dropped(&self, database: Oid, oid: Oid) -> bool {
        self.dropped_oids.contains(&(database, oid))
    }

    /// Known relations with rows that kept their OID and lost their files.
    fn replaced<'a>(
        &'a self,
        names: &'a Names,
    ) -> impl Iterator<Item = (RelationLocator, &'a KnownRelation)> {
        self.given_up.iter().filter_map(|locator| {
            let known = names.by_file(locator).filter(|known| known.kind == RelationKind::Rows)?;
            (!self.was_dropped(locator.database, known.name.oid)).then_some((*locator, known))
        })
    }
}

fn blank(names: &Names, database: Oid) -> Effect {
    Effect {
        kind: EffectKind::Insert,
        database,
        database_name: names.database(database).map(str::to_owned),
        relation: None,
        file: None,
        rows: None,
        certain: true,
    }
}

fn of_relation(names: &Names, database: Oid, known: &KnownRelation) -> Effect {
    Effect { relation: Some(known.name.clone()), ..blank(names, database) }
}

fn is_sequence(names: &Names, effect: &Effect) -> bool {
    let relation = effect.relation.as_ref().and_then(|name| names.by_oid(effect.database, name.oid));
    relation.is_some_and(|known| known.kind == RelationKind::Sequence)
}

fn dropped_relations(names: &Names, open: &OpenTransactions, files: &Files, effects: &mut Vec<Effect>) {
    for (database, oid) in &files.dropped_oids {
        let Some(known) = names.by_oid(*database, *oid) else { continue };
        if known.kind == RelationKind::Auxiliary {
            continue;
        }
        let file = files.given_up.iter().copied().find(|locator| {
            names.by_file(locator).is_some_and(|at| at.name.oid == *oid && locator.database == *database)
        });
        effects.push(Effect { kind: EffectKind::Drop, file, ..of_relation(names, *database, known) });
    }
    // Files of relations that no snapshot knows: those that rows were seen in, else, if nothing else of
    // the transaction is known, whatever may have held rows.
    let nothing_known = effects.is_empty() && files.given_up.iter().all(|l| names.by_file(l).is_none());
    let replaced = files.dropped_oids.is_empty() && !files.born.is_empty();
    for locator in files.given_up.iter().filter(|locator| names.by_file(locator).is_none()) {
        let by_number = files.was_dropped(locator.database, locator.relfilenode);
        let told = match open.kind_of(locator) {
            Some(FileKind::Rows) => true,
            Some(FileKind::Toast | FileKind::Index) => false,
            None => nothing_known && locator.relfilenode.0 >= FIRST_USER_OID,
        };
        if !told || (!files.inherited.is_empty() && !by_number) {
            continue;
        }
        let kind = if replaced { EffectKind::Truncate } else { EffectKind::Drop };
        let certain = by_number && open.kind_of(locator) == Some(FileKind::Rows);
        effects.push(Effect { kind, file: Some(*locator), certain, ..blank(names, locator.database) });
    }
}

fn replaced_relations(
    names: &Names,
    open: &OpenTransactions,
    transaction: &Transaction,
    files: &Files,
    effects: &mut Vec<Effect>,
) {
    let replaced: Vec<_> = files.replaced(names).collect();
    let rewritten = files.inherited.iter().filter(|l| open.kind_of(l) != Some(FileKind::Index)).count();
    for (file, known) in &replaced {
        let database = file.database;
        let named = transaction.truncated.contains(&(database, known.name.oid));
        let (kind, certain) = match rewritten {
            _ if named => (EffectKind::Truncate, true),
            0 => (EffectKind::Truncate, true),
            count if count >= replaced.len() => (EffectKind::Rewrite, true),
            _ => (EffectKind::Truncate, false),
        };
        let file = Some(*file);
        effects.push(Effect { kind, file, certain, ..of_relation(names, database, known) });
    }
    // A relation made and truncated in one transaction keeps its file; so may be named only by the record.
    for (database, oid) in &transaction.truncated {
        let told = replaced.iter().any(|(_, known)| known.name.oid == *oid);
        if let Some(known) = names.by_oid(*database, *oid).filter(|k| !told && k.kind == RelationKind::Rows) {
            effects.push(Effect { kind: EffectKind::Truncate, ..of_relation(names, *database, known) });
        }
    }
}

fn changed_rows(
    options: &SearchOptions,
    names: &Names,
    open: &OpenTransactions,
    transaction: &Transaction,
    files: &Files,
    effects: &mut Vec<Effect>,
) {
    for (locator, tally) in &transaction.tallies {
        let Tally { inserted, updated, deleted } = *tally;
        let known = names.by_file(locator);
        let told = match known {
            Some(known) => known.kind == RelationKind::Rows && known.name.oid.0 >= FIRST_USER_OID,
            // TOAST, or a catalogue, or new in this transaction: filling what one has made destroys nothing.
            None => {
                open.kind_of(locator).is_none_or(|kind| kind == FileKind::Rows)
                    && locator.relfilenode.0 >= FIRST_USER_OID
                    && !files.born.contains(locator)
            }
        };
        if !told {
            continue;
        }
        let counts =
            [(EffectKind::Delete, deleted), (EffectKind::Update, updated), (EffectKind::Insert, inserted)];
        for (kind, rows) in counts.into_iter().filter(|(_, rows)| *rows >= options.min_rows.max(1)) {
            let named = match known {
                Some(known) => of_relation(names, locator.database, known),
                None => blank(names, locator.database),
            };
            effects.push(Effect { kind, file: Some(*locator), rows: Some(rows), ..named });
        }
    }
}

/// Lets names move on to the files that took the place of old ones.
fn follow_files(names: &mut Names, files: &Files) {
    let replaced: Vec<_> = files.replaced(names).map(|(locator, _)| locator).collect();
    let (old, new) = if files.dropped_oids.is_empty() {
        (&files.given_up, &files.born)
    } else {
        (&replaced, &files.inherited)
    };
    if old.len() != new.len() {
        return;
    }
    for (old, new) in old.iter().zip(new) {
        names.follow(old, *new);
    }
}

/// Rows were written to these files; if they are dropped one day, that is worth telling.
fn remember_kinds(names: &Names, open: &mut OpenTransactions, transaction: &Transaction) {
    for locator in transaction.tallies.keys() {
        let user = locator.relfilenode.0 >= FIRST_USER_OID;
        if user && names.by_file(locator).is_none() && open.kind_of(locator).is_none() {
            open.learn(*locator, FileKind::Rows);
        }
    }
}
