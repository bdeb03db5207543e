//! Turns what a committed transaction has done into [`Effect`]s; the rules are in the module above.

use super::open::{FileKind, OpenTransactions, Tally, Transaction};
use super::{Below, Effect, EffectKind, SearchOptions};
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
    let replaced = files.replaced(names);
    dropped_relations(names, open, &files, &mut effects);
    replaced_relations(names, transaction, &replaced, &mut effects);
    let is_told = |_, rows| rows >= options.min_rows.max(1);
    changed_rows(is_told, names, open, transaction, &files, &mut effects);
    follow_files(names, &files, &replaced);
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

/// What `transaction` deleted and updated below the limit, from `below` on; before [`effects`] lets the names
/// follow.
pub(super) fn below(
    options: &SearchOptions,
    below: Below,
    names: &Names,
    open: &OpenTransactions,
    transaction: &Transaction,
    commit: &Completion<'_>,
) -> Vec<Effect> {
    let mut effects = Vec::new();
    let is_told = |kind, rows: u64| {
        let from = match kind {
            EffectKind::Delete => below.deleted,
            EffectKind::Update => below.updated,
            _ => u64::MAX,
        };
        rows >= from.max(1) && rows < options.min_rows
    };
    if below != Below::NOTHING {
        changed_rows(is_told, names, open, transaction, &Files::of(transaction, commit), &mut effects);
    }
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

    /// Known relations with rows that kept their OID and lost their files, and how.
    fn replaced(&self, names: &Names) -> Vec<Replaced> {
        let with_rows = self.given_up.iter().filter_map(|locator| {
            let known = names.by_file(locator).filter(|known| known.kind == RelationKind::Rows)?;
            let oid = known.name.oid;
            let kept = !self.was_dropped(locator.database, oid);
            kept.then(|| Replaced {
                file: *locator,
                oid,
                toast: self.toast_of(names, *locator, oid),
                fate: Fate::Truncated,
            })
        });
        let mut replaced: Vec<_> = with_rows.collect();
        self.decide(&mut replaced);
        replaced
    }

    fn toast_of(&self, names: &Names, file: RelationLocator, table: Oid) -> Toast {
        let Some(toast) = names.toast_of(file.database, table) else { return Toast::None };
        if self.was_dropped(file.database, toast.name.oid) {
            return Toast::Dropped;
        }
        let is_its = |locator: &&RelationLocator| {
            names.by_file(locator).is_some_and(|known| known.toast_of == Some(table))
        };
        self.given_up.iter().find(is_its).map_or(Toast::None, |file| Toast::Replaced(*file))
    }

    /// Shares the transient relations out among the replaced ones.
    fn decide(&self, replaced: &mut [Replaced]) {
        let transients = self.inherited.len();
        let certain = replaced.iter().filter(|relation| relation.toast == Toast::Dropped).count();
        let left = transients.saturating_sub(certain);
        let open = || replaced.iter().filter(|relation| relation.toast != Toast::Dropped);
        let (open_count, needed) =
            (open().count(), open().map(|relation| relation.toast.transients()).sum::<usize>());
        let fate = match left {
            0 => Fate::Truncated,
            left if left == needed || open_count == 1 => Fate::Rewritten,
            _ => Fate::Unclear,
        };
        for relation in replaced {
            relation.fate = if relation.toast == Toast::Dropped { Fate::Rewritten } else { fate };
        }
    }
}

/// A relation whose files were replaced.
struct Replaced {
    file: RelationLocator,
    oid: Oid,
    toast: Toast,
    fate: Fate,
}

/// What became of the TOAST relation of a replaced one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Toast {
    /// It has none, or it was not touched.
    None,
    /// It lost this file, as its table did.
    Replaced(RelationLocator),
    /// It was dropped, the transient relation's having come in its place: only a rewrite does so.
    Dropped,
}

impl Toast {
    /// How many transient files a rewrite inherits: the table's, and where the TOAST relation stays, its
    /// and its index's.
    const fn transients(self) -> usize {
        if matches!(self, Self::Replaced(_)) { 3 } else { 1 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Truncated,
    Rewritten,
    Unclear,
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
    dropped_strangers(names, open, files, effects);
}

/// Files of relations that no snapshot knows: those that rows were seen in; else, if nothing else of the
/// transaction is known, whatever may have held rows.
fn dropped_strangers(names: &Names, open: &OpenTransactions, files: &Files, effects: &mut Vec<Effect>) {
    let strangers: Vec<_> =
        files.given_up.iter().filter(|locator| names.by_file(locator).is_none()).collect();
    let had_rows = |locator: &RelationLocator| open.kind_of(locator) == Some(FileKind::Rows);
    let nothing_known = effects.is_empty()
        && strangers.len() == files.given_up.len()
        && !strangers.iter().any(|locator| had_rows(locator));
    let replaced = files.dropped_oids.is_empty() && !files.born.is_empty();
    for locator in strangers {
        let guess =
            nothing_known && open.kind_of(locator).is_none() && locator.relfilenode.0 >= FIRST_USER_OID;
        let by_number = files.was_dropped(locator.database, locator.relfilenode);
        let rewritten = !files.inherited.is_empty() && !by_number;
        if rewritten || !(had_rows(locator) || guess) {
            continue;
        }
        let kind = if replaced { EffectKind::Truncate } else { EffectKind::Drop };
        let certain = by_number && had_rows(locator);
        effects.push(Effect { kind, file: Some(*locator), certain, ..blank(names, locator.database) });
    }
}

fn replaced_relations(
    names: &Names,
    transaction: &Transaction,
    replaced: &[Replaced],
    effects: &mut Vec<Effect>,
) {
    for relation in replaced {
        let database = relation.file.database;
        let Some(known) = names.by_oid(database, relation.oid) else { continue };
        let named = transaction.truncated.contains(&(database, relation.oid));
        let (kind, certain) = match relation.fate {
            Fate::Rewritten if !named => (EffectKind::Rewrite, true),
            fate => (EffectKind::Truncate, named || fate == Fate::Truncated),
        };
        let file = Some(relation.file);
        effects.push(Effect { kind, file, certain, ..of_relation(names, database, known) });
    }
    // A relation made and truncated in one transaction keeps its file, and a partitioned table has none:
    // only the record names them.
    for (database, oid) in &transaction.truncated {
        let told = replaced.iter().any(|relation| relation.oid == *oid);
        if let Some(known) = names.by_oid(*database, *oid).filter(|k| !told && k.kind == RelationKind::Rows) {
            effects.push(Effect { kind: EffectKind::Truncate, ..of_relation(names, *database, known) });
        }
    }
}

fn changed_rows(
    is_told: impl Fn(EffectKind, u64) -> bool,
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
        for (kind, rows) in counts.into_iter().filter(|(kind, rows)| is_told(*kind, *rows)) {
            let named = match known {
                Some(known) => of_relation(names, locator.database, known),
                None => blank(names, locator.database),
            };
            effects.push(Effect { kind, file: Some(*locator), rows: Some(rows), ..named });
        }
    }
}

/// Lets names move on to the files that took the place of old ones.
fn follow_files(names: &mut Names, files: &Files, replaced: &[Replaced]) {
    let nothing_dropped = files.dropped_oids.is_empty();
    if nothing_dropped && files.given_up.len() == files.born.len() {
        for (old, new) in files.given_up.iter().zip(&files.born) {
            names.follow(old, *new);
        }
        return;
    }
    let rewritten = || replaced.iter().filter(|relation| relation.fate == Fate::Rewritten);
    let needed: usize = rewritten().map(|relation| relation.toast.transients()).sum();
    if needed != files.inherited.len() {
        return;
    }
    let mut inherited = files.inherited.iter();
    for relation in rewritten() {
        let Some(table) = inherited.next() else { return };
        names.follow(&relation.file, *table);
        match relation.toast {
            Toast::None => {}
            Toast::Replaced(toast) => {
                if let (Some(new), Some(_index)) = (inherited.next(), inherited.next()) {
                    names.follow(&toast, *new);
                }
            }
            // The transient relation's own TOAST relation was made right after it, and stays.
            Toast::Dropped => {
                let after = files.born.iter().skip_while(|file| *file != table).nth(1);
                if let Some(new) = after.filter(|file| !files.inherited.contains(file)) {
                    names.replace_toast(relation.oid, *new);
                }
            }
        }
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
