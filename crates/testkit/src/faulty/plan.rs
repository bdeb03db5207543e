//! Which operations fail, and how.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// A put that overwrites.
    Put,
    /// A put that must find nothing there.
    Create,
    /// A put that must find a version it names.
    Update,
    /// The start of a multipart upload.
    StartUpload,
    /// A part of one.
    Part,
    /// Its completion, at which the object appears.
    CompleteUpload,
    /// Its abandonment.
    AbortUpload,
    /// Reading an object or a range of it.
    Get,
    /// Asking for size and time alone.
    Head,
    /// A listing.
    List,
    /// A deletion.
    Delete,
    /// A copy within the store; its name is the target's.
    Copy,
}

impl OperationKind {
    /// Whether it changes what the store holds.
    #[must_use]
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::Head | Self::List)
    }

    fn sends_bytes(self) -> bool {
        matches!(self, Self::Put | Self::Create | Self::Update | Self::Part)
    }

    fn makes_object(self) -> bool {
        matches!(self, Self::Put | Self::Create | Self::Update | Self::CompleteUpload | Self::Copy)
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and an error as of a dropped connection comes back.
    Fail,
    /// Nothing is done, and the store asks to come back later: 503.
    Unavailable,
    /// Nothing is written: no space is left.
    FullDisk,
    /// It is done, but the answer is an error.
    LoseReply,
    /// The second half is missing, and nothing says so: of what is read or, when writing, of what is stored.
    TruncateBody,
    /// What is read ends half-way with an error.
    ResetBody,
    /// One bit is wrong, and nothing says so: of what is read or, when writing, of what is stored.
    FlipBit,
    /// It is done and acknowledged; then the object is gone.
    LoseObject,
    /// The listing lacks this many of the objects last written through this store.
    StaleList {
        /// How many.
        hide: usize,
    },
    /// It takes this much longer, or until the plan is replaced, and then goes on as it would have.
    Delay(Duration),
    /// The machine dies just before this is done: it and all that follows fails.
    Crash,
    /// The machine dies just after this was done: its answer and all that follows fails.
    CrashAfter,
}

impl Fault {
    /// Whether an operation of this kind can have it.
    #[must_use]
    pub fn befalls(self, kind: OperationKind) -> bool {
        match self {
            Self::Fail | Self::Unavailable | Self::Delay(_) | Self::Crash => true,
            Self::FullDisk => {
                kind.is_write() && !matches!(kind, OperationKind::Delete | OperationKind::AbortUpload)
            }
            Self::LoseReply | Self::CrashAfter => kind.is_write(),
            Self::TruncateBody | Self::FlipBit => kind.sends_bytes() || kind == OperationKind::Get,
            Self::ResetBody => kind == OperationKind::Get,
            Self::LoseObject => kind.makes_object(),
            Self::StaleList { .. } => kind == OperationKind::List,
        }
    }
}

/// Which operations are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Select {
    kinds: Option<Vec<OperationKind>>,
    writes_only: bool,
    name_part: Option<String>,
}

impl Select {
    /// All of them.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Those that change what the store holds.
    #[must_use]
    pub fn writes() -> Self {
        Self { writes_only: true, ..Self::default() }
    }

    /// Those of one kind.
    #[must_use]
    pub fn kind(kind: OperationKind) -> Self {
        Self { kinds: Some(vec![kind]), ..Self::default() }
    }

    /// Those of any of these kinds.
    #[must_use]
    pub fn kinds(kinds: &[OperationKind]) -> Self {
        Self { kinds: Some(kinds.to_vec()), ..Self::default() }
    }

    /// Of these, the ones whose object's whole name contains `part`; for a listing, whose prefix does.
    #[must_use]
    pub fn named(mut self, part: &str) -> Self {
        self.name_part = Some(part.to_owned());
        self
    }

    fn takes(&self, kind: OperationKind, path: &str) -> bool {
        (!self.writes_only || kind.is_write())
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
            && self.name_part.as_ref().is_none_or(|part| path.contains(part))
    }
}

/// The faults to come.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    rules: Vec<Rule>,
    chance: Option<Chance>,
    pub(super) seed: u64,
}

#[derive(Debug, Clone)]
struct Rule {
    select: Select,
    fault: Fault,
    /// The matches that it is for, the first being 1.
    matches: std::ops::RangeInclusive<u64>,
    seen: u64,
}

#[derive(Debug, Clone)]
struct Chance {
    per_mille: u64,
    faults: Vec<Fault>,
}

impl FaultPlan {
    /// No faults: the operations are only counted.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The `n`-th operation of all, the first being 1.
    #[must_use]
    pub fn at(self, n: u64, fault: Fault) -> Self {
        self.nth(Select::any(), n, fault)
    }

    /// The `n`-th operation that changes what the store holds, the first being 1.
    #[must_use]
    pub fn at_write(self, n: u64, fault: Fault) -> Self {
        self.nth(Select::writes(), n, fault)
    }

    /// The `n`-th operation that `select` takes, the first being 1.
    #[must_use]
    pub fn nth(self, select: Select, n: u64, fault: Fault) -> Self {
        self.rule(select, fault, n..=n)
    }

    /// The first `n` operations that `select` takes; those after are well.
    #[must_use]
    pub fn first(self, select: Select, n: u64, fault: Fault) -> Self {
        self.rule(select, fault, 1..=n)
    }

    /// Every operation that `select` takes.
    #[must_use]
    pub fn on(self, select: Select, fault: Fault) -> Self {
        self.rule(select, fault, 1..=u64::MAX)
    }

    /// Each operation has one of `faults` with this chance in a thousand, as the seed decides.
    #[must_use]
    pub fn randomly(mut self, seed: u64, per_mille: u64, faults: &[Fault]) -> Self {
        self.chance = Some(Chance { per_mille, faults: faults.to_vec() });
        self.seeded(seed)
    }

    /// Which bit flips is decided by this.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    fn rule(mut self, select: Select, fault: Fault, matches: std::ops::RangeInclusive<u64>) -> Self {
        self.rules.push(Rule { select, fault, matches, seen: 0 });
        self
    }

    /// The faults of one operation: all delays, and the first other one. `before` is how often one of
    /// the same kind and name came earlier.
    pub(super) fn decide(&mut self, kind: OperationKind, path: &str, before: u64) -> Vec<Fault> {
        let mut faults = Vec::new();
        for rule in &mut self.rules {
            if !rule.select.takes(kind, path) {
                continue;
            }
            rule.seen += 1;
            if rule.matches.contains(&rule.seen) && rule.fault.befalls(kind) {
                faults.push(rule.fault);
            }
        }
        faults.extend(self.draw(kind, path, before));
        let mut struck = false;
        faults.retain(|fault| matches!(fault, Fault::Delay(_)) || !std::mem::replace(&mut struck, true));
        faults
    }

    fn draw(&self, kind: OperationKind, path: &str, before: u64) -> Option<Fault> {
        let chance = self.chance.as_ref()?;
        if draw(self.seed, (kind, path, before, "whether")) % 1000 >= chance.per_mille {
            return None;
        }
        let possible: Vec<Fault> =
            chance.faults.iter().copied().filter(|fault| fault.befalls(kind)).collect();
        let count = u64::try_from(possible.len()).ok().filter(|count| *count > 0)?;
        let which = usize::try_from(draw(self.seed, (kind, path, before, "which")) % count).ok()?;
        possible.get(which).copied()
    }
}

/// A number that hangs on the seed and `what` alone.
pub(super) fn draw(seed: u64, what: impl Hash) -> u64 {
    // Its keys are fixed, unlike a `HashMap`'s.
    let mut hasher = DefaultHasher::new();
    (seed, what).hash(&mut hasher);
    hasher.finish()
}
