//! Looks at objects in all copies, tells what is wrong, and heals.

use super::kind::{Kind, verify};
use super::{
    CheckError, CheckOptions, CopyReport, FINDINGS_LIMIT, Finding, FindingKind, PointReport, Progress, Report,
};
use crate::lease::Fenced;
use crate::{Created, Vault};
use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeMap;

/// Objects that are looked at side by side; each may be a pack in memory, once for each copy.
const LOOK_AHEAD: usize = 4;

/// How an object is in one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There, and as whole as was looked for.
    Whole,
    /// Not there.
    Missing,
    /// There, and not whole; or not readable.
    Bad,
    /// The copy does not answer.
    Away,
}

/// An object to look at.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub name: String,
    pub kind: Kind,
    /// Its size in each copy, as listed.
    pub sizes: Vec<Option<u64>>,
    /// Its sealed size, if that is known from elsewhere.
    pub expected: Option<u64>,
}

/// What each copy lists below one prefix: name → size in each copy.
pub(super) type Group = BTreeMap<String, Vec<Option<u64>>>;

pub(super) struct Examiner<'a> {
    vault: &'a Vault,
    pub(super) options: &'a CheckOptions,
    report: Report,
    /// Prune's lease of the service that is repaired (H3).
    pub(super) fenced: Option<Fenced>,
}

/// What a look at one object gave, for one copy.
enum Look {
    /// With the bytes of the first copy that was read, for repair, how many were read, and the digest of what they say.
    Whole(Option<Bytes>, u64, Option<String>),
    Missing,
    Damaged(String),
    Unreadable(String),
    Away,
}

impl<'a> Examiner<'a> {
    /// Asks every copy whether it is there.
    pub(super) async fn begin(vault: &'a Vault, options: &'a CheckOptions) -> Result<Self, CheckError> {
        let mut examiner = Self { vault, options, report: Report::default(), fenced: None };
        for (index, copy) in vault.copies().all().iter().enumerate() {
            let away = vault.copies().children_in(index, "").await.err().map(|error| error.to_string());
            let name = copy.name().to_owned();
            if let Some(why) = &away {
                examiner.find(FindingKind::CopyAway, Some(index), "", format!("it does not answer: {why}"));
            }
            examiner.report.copies.push(CopyReport { name, away, objects: 0, bytes: 0 });
        }
        if examiner.report.copies.iter().all(|copy| copy.away.is_some()) {
            let said = examiner.report.copies.iter().filter_map(|c| c.away.as_deref());
            return Err(CheckError::Silent(said.collect::<Vec<_>>().join("; ")));
        }
        Ok(examiner)
    }

    pub(super) fn vault(&self) -> &'a Vault {
        self.vault
    }

    pub(super) fn copies(&self) -> usize {
        self.report.copies.len()
    }

    pub(super) fn is_away(&self, copy: usize) -> bool {
        self.report.copies.get(copy).is_some_and(|copy| copy.away.is_some())
    }

    pub(super) fn copy_name(&self, copy: usize) -> &'a str {
        self.vault.copies().all()[copy].name()
    }

    pub(super) fn find(&mut self, kind: FindingKind, copy: Option<usize>, object: &str, what: String) {
        self.find_repaired(kind, copy, object, what, false);
    }

    pub(super) fn find_repaired(
        &mut self,
        kind: FindingKind,
        copy: Option<usize>,
        object: &str,
        what: String,
        repaired: bool,
    ) {
        if self.report.findings.len() >= FINDINGS_LIMIT {
            self.report.more_findings += 1;
            return;
        }
        let copy = copy.map(|copy| self.copy_name(copy).to_owned());
        self.report.findings.push(Finding { kind, copy, object: object.to_owned(), what, repaired });
    }

    pub(super) fn point(&mut self, point: PointReport) {
        self.report.points.push(point);
    }

    pub(super) fn finish(self) -> Report {
        self.report
    }

    /// A copy that stopped answering: from now on nothing is said about it.
    fn lose(&mut self, copy: usize, why: String) {
        if !self.is_away(copy) {
            self.find(FindingKind::CopyAway, Some(copy), "", format!("it stopped answering: {why}"));
            self.report.copies[copy].away = Some(why);
        }
    }

    /// The names right below `prefix` in any copy.
    pub(super) async fn children(&mut self, prefix: &str) -> Vec<String> {
        let mut children = std::collections::BTreeSet::new();
        for copy in 0..self.copies() {
            if self.is_away(copy) {
                continue;
            }
            match self.vault.copies().children_in(copy, prefix).await {
                Ok(names) => children.extend(names),
                Err(error) => self.lose(copy, error.to_string()),
            }
        }
        children.into_iter().collect()
    }

    /// Lists `prefix` in every copy.
    pub(super) async fn list(&mut self, prefix: &str) -> Group {
        let mut group = Group::new();
        let count = self.copies();
        for copy in 0..count {
            if self.is_away(copy) {
                continue;
            }
            match self.vault.copies().list_in(copy, prefix).await {
                Ok(objects) => {
                    for (name, size) in objects {
                        self.report.copies[copy].objects += 1;
                        self.report.copies[copy].bytes += size;
                        group.entry(name).or_insert_with(|| vec![None; count])[copy] = Some(size);
                    }
                }
                Err(error) => self.lose(copy, error.to_string()),
            }
        }
        group
    }

    /// The sizes of one object in every copy.
    pub(super) async fn list_one(&mut self, name: &str) -> (String, Vec<Option<u64>>) {
        let mut sizes = vec![None; self.copies()];
        for (copy, size) in sizes.iter_mut().enumerate() {
            if self.is_away(copy) {
                continue;
            }
            match self.vault.copies().size_in(copy, name).await {
                Ok(found) => *size = found,
                Err(error) => self.lose(copy, error.to_string()),
            }
        }
        (name.to_owned(), sizes)
    }

    /// Looks at `objects` in all copies, tells what is wrong and heals, unless `is_dead` says that it was
    /// pruned. Returns how each is in each copy, after repair.
    pub(super) async fn examine(
        &mut self,
        objects: Vec<Object>,
        is_dead: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<BTreeMap<String, Vec<State>>, CheckError> {
        let mut states = BTreeMap::new();
        let mut rest = objects.into_iter();
        loop {
            let batch: Vec<Object> = rest.by_ref().take(LOOK_AHEAD).collect();
            if batch.is_empty() {
                return Ok(states);
            }
            let looks: Vec<(Object, Vec<Look>)> = {
                let this = &*self;
                let looks = batch.into_iter().map(|object| async move {
                    let looks = this.look(&object).await;
                    (object, looks)
                });
                futures::stream::iter(looks).buffered(LOOK_AHEAD).collect().await
            };
            for (object, looks) in looks {
                let state = self.judge(&object, looks, is_dead(&object.name)).await?;
                states.insert(object.name, state);
            }
        }
    }

    /// Looks at one object in each copy, reading no more than is needed.
    async fn look(&self, object: &Object) -> Vec<Look> {
        let sizes: Vec<u64> = object.sizes.iter().flatten().copied().collect();
        let differ = sizes.iter().any(|size| *size != sizes[0]);
        let odd = object.expected.is_some_and(|expected| sizes.iter().any(|size| *size != expected));
        let opens = self.options.deep || object.kind.is_always_opened() || differ || odd;
        let mut looks = Vec::with_capacity(object.sizes.len());
        for (copy, size) in object.sizes.iter().enumerate() {
            looks.push(match size {
                _ if self.is_away(copy) => Look::Away,
                Some(_) if opens => self.open(object, copy).await,
                Some(_) => Look::Whole(None, 0, None),
                // Writes reach the copies one after the other: ask again before saying so.
                None => match self.vault.copies().size_in(copy, &object.name).await {
                    Ok(Some(_)) => self.open(object, copy).await,
                    Ok(None) => Look::Missing,
                    Err(error) => Look::Unreadable(error.to_string()),
                },
            });
            // One copy's bytes are enough to heal the others; a pack is large.
            let has_source = looks.iter().filter(|look| matches!(look, Look::Whole(Some(_), ..))).count() > 1;
            if has_source && let Some(Look::Whole(bytes, ..)) = looks.last_mut() {
                *bytes = None;
            }
        }
        looks
    }

    async fn open(&self, object: &Object, copy: usize) -> Look {
        let bytes = match self.vault.copies().read_from(copy, &object.name).await {
            Ok(bytes) => bytes,
            Err(object_store::Error::NotFound { .. }) => return Look::Missing,
            Err(error) => return Look::Unreadable(error.to_string()),
        };
        if let Some(expected) = object.expected.filter(|expected| *expected != bytes.len() as u64) {
            return Look::Damaged(format!("it has {} bytes instead of {expected}", bytes.len()));
        }
        match verify(&object.kind, self.vault.key(), &object.name, &bytes).await {
            Ok(digest) => {
                let read = bytes.len() as u64;
                Look::Whole(Some(bytes), read, digest)
            }
            Err(why) => Look::Damaged(why),
        }
    }

    /// Tells and heals.
    async fn judge(
        &mut self,
        object: &Object,
        looks: Vec<Look>,
        is_dead: bool,
    ) -> Result<Vec<State>, CheckError> {
        self.count(object, &looks);
        let is_somewhere = looks.iter().any(|look| !matches!(look, Look::Missing | Look::Away));
        if is_dead || !is_somewhere {
            // Deleted while we looked; or pruned, and not to be brought back (H3).
            if is_dead && is_somewhere {
                for (copy, look) in looks.iter().enumerate() {
                    if !matches!(look, Look::Missing | Look::Away) {
                        let what = "it was pruned, and is still there".to_owned();
                        self.find(FindingKind::Leftover, Some(copy), &object.name, what);
                    }
                }
            }
            return Ok(looks.iter().map(state).collect());
        }
        let differs = self.compare(object, &looks);
        let is_well = looks.iter().all(|look| matches!(look, Look::Whole(..) | Look::Away));
        if is_well {
            return Ok(looks.iter().map(state).collect());
        }
        // Which of them is right is for a person to say (H5).
        let source = if differs { None } else { self.source(object, &looks).await };
        let mut states = Vec::with_capacity(looks.len());
        for (copy, look) in looks.iter().enumerate() {
            let (kind, what) = match look {
                Look::Whole(..) | Look::Away => {
                    states.push(state(look));
                    continue;
                }
                Look::Missing => (FindingKind::Missing, "it is in another copy, and not here".to_owned()),
                Look::Damaged(why) => (FindingKind::Damaged, why.clone()),
                Look::Unreadable(why) => (FindingKind::Unreadable, why.clone()),
            };
            let is_damaged = matches!(look, Look::Damaged(_));
            let repaired = match &source {
                Some(bytes) if !matches!(look, Look::Unreadable(_)) => {
                    self.heal(copy, object, bytes, is_damaged).await
                }
                _ => Ok(false),
            };
            let (repaired, what) = match repaired {
                Ok(repaired) => (repaired, what),
                Err(why) => (false, format!("{what}; it could not be repaired: {why}")),
            };
            self.find_repaired(kind, Some(copy), &object.name, what, repaired);
            states.push(if repaired { State::Whole } else { state(look) });
        }
        Ok(states)
    }

    /// Tells what copies say otherwise than the first that was opened (H5). Whether any does.
    fn compare(&mut self, object: &Object, looks: &[Look]) -> bool {
        let digests = looks.iter().enumerate().filter_map(|(copy, look)| match look {
            Look::Whole(_, _, Some(digest)) => Some((copy, digest)),
            _ => None,
        });
        let mut digests = digests.collect::<Vec<_>>().into_iter();
        let Some((first, said)) = digests.next() else { return false };
        let others: Vec<usize> =
            digests.filter(|(_, digest)| *digest != said).map(|(copy, _)| copy).collect();
        for copy in &others {
            let what = format!(
                "it opens, and holds something else than in {}: the copies went apart, as after one of them was set back. Nothing was changed; decide which is right",
                self.copy_name(first)
            );
            self.find(FindingKind::Differs, Some(*copy), &object.name, what);
        }
        !others.is_empty()
    }

    fn count(&mut self, object: &Object, looks: &[Look]) {
        for look in looks {
            self.report.objects += u64::from(!matches!(look, Look::Away));
            if let Look::Whole(_, read, _) = look {
                self.report.bytes_read += read;
            }
        }
        if let Some(progress) = &self.options.progress {
            progress(&Progress {
                at: object.name.clone(),
                objects: self.report.objects,
                bytes: self.report.bytes_read,
                findings: self.report.findings.len() as u64 + self.report.more_findings,
            });
        }
    }

    /// Bytes that open (H2), from whichever copy has them.
    async fn source(&self, object: &Object, looks: &[Look]) -> Option<Bytes> {
        self.options.repair.as_ref()?;
        for (copy, look) in looks.iter().enumerate() {
            match look {
                Look::Whole(Some(bytes), ..) => return Some(bytes.clone()),
                Look::Whole(None, 0, _) => {
                    if let Look::Whole(Some(bytes), ..) = self.open(object, copy).await {
                        return Some(bytes);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Writes `bytes` to `copy` and reads them back (H2). Whether it is well now; the error is for people.
    async fn heal(
        &self,
        copy: usize,
        object: &Object,
        bytes: &Bytes,
        is_damaged: bool,
    ) -> Result<bool, String> {
        if let Some(fenced) = &self.fenced {
            // H3.
            fenced.confirm().await.map_err(|error| error.to_string())?;
        }
        let copies = self.vault.copies();
        let name = &object.name;
        if is_damaged {
            copies.overwrite_in(copy, name, bytes.clone()).await.map_err(|error| error.to_string())?;
        } else if let Created::Taken(_) =
            copies.create_in(copy, name, bytes.clone()).await.map_err(|error| error.to_string())?
        {
            return Err("it was written meanwhile".to_owned());
        }
        let there = copies.read_from(copy, name).await.map_err(|error| error.to_string())?;
        if there == *bytes { Ok(true) } else { Err("it reads back other than it was written".to_owned()) }
    }
}

fn state(look: &Look) -> State {
    match look {
        Look::Whole(..) => State::Whole,
        Look::Missing => State::Missing,
        Look::Damaged(_) | Look::Unreadable(_) => State::Bad,
        Look::Away => State::Away,
    }
}
