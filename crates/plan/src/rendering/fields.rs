//! What the parts of a plan are called on paper, and in which shape each stands there.
//!
//! One table for writing and for reading back: a key of the plan, the words for it, its shape.
//!
//! # Invariants
//! - **F1 nothing is left out.** Each key that the plan's schema knows has its place here, or in the table of
//!   objectives.
//!
//! Deliberately absent: objectives and tiers, which stand together in one table ([`super::objectives`]).

/// How a value stands on paper.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// A text on one line; one of several lines as a quotation.
    Text,
    /// A text for a machine: a path, an address, a schedule.
    Mark,
    /// The name of something else of this plan, and of what.
    Ref(&'static str),
    /// Several names of something else.
    Refs(&'static str),
    /// Texts for a machine, on one line.
    Marks,
    /// A whole number.
    Number,
    /// Yes or no.
    Flag,
    /// Texts, one below the other.
    Texts,
    /// Texts in an order that matters.
    Numbered,
    /// What is ticked off, without a name of its own.
    Ticks,
    /// What something is, without a name of its own: prose.
    Prose,
    /// Words to be taken as they stand, without a name of their own.
    Words(&'static str),
    /// Commands, exact.
    Fence(&'static str),
    /// Things of one kind.
    Items(&'static Record),
    /// Things of one kind by their label.
    Keyed(&'static Record),
    /// One thing that has parts.
    Part(&'static Record),
    /// Places and what stands for them.
    Pairs(&'static str, &'static str),
    /// An action of Lifeboat's own and its arguments.
    Action,
}

/// A key of the plan; a dot leads into a mapping.
#[derive(Debug)]
pub(crate) struct Field {
    pub key: &'static str,
    pub title: &'static str,
    pub shape: Shape,
}

/// What one thing of a kind has.
#[derive(Debug)]
pub(crate) struct Record {
    /// What one of it is called: it leads the heading of one that stands inside of something else.
    pub what: &'static str,
    /// Whether they are told apart by their number.
    pub counted: bool,
    /// The key whose text is the heading.
    pub title: Option<&'static str>,
    /// The key whose label stands behind it; [`KEY`] for the key under which the thing stands.
    pub label: Option<&'static str>,
    /// Whether each has a heading of its own, however little is said of it.
    pub apart: bool,
    pub fields: &'static [Field],
}

/// The key under which a thing stands.
pub(crate) const KEY: &str = "";

const fn field(key: &'static str, title: &'static str, shape: Shape) -> Field {
    Field { key, title, shape }
}

const fn record(what: &'static str, title: &'static str, fields: &'static [Field]) -> Record {
    Record { what, counted: false, title: Some(title), label: None, apart: false, fields }
}

/// A part of the plan under a heading of its own.
#[derive(Debug)]
pub(crate) struct Part {
    pub title: &'static str,
    /// The key of the plan; none for what is put together of several.
    pub key: &'static str,
    pub shape: Shape,
}

/// What is drawn from the rest, and so is not read back.
pub(crate) const CONTENTS: &str = "Contents";
pub(crate) const DEPENDENCIES: &str = "What needs what";
/// The table of objectives.
pub(crate) const OBJECTIVES: &str = "Objectives";
/// The fences that are drawn from the rest.
pub(crate) const DRAWN: [&str; 2] = ["mermaid", "recovery-time"];

/// The parts in the order in which they are written.
pub(crate) const PARTS: &[Part] = &[
    Part { title: "Scenarios", key: "scenarios", shape: Shape::Items(&SCENARIO) },
    Part { title: "Runbooks", key: "runbooks", shape: Shape::Keyed(&RUNBOOK) },
    Part { title: "People", key: "people", shape: Shape::Part(&PEOPLE) },
    Part { title: "Communication", key: "communication", shape: Shape::Part(&COMMUNICATION) },
    Part { title: "Checklists", key: "checklists", shape: Shape::Items(&CHECKLIST) },
    Part { title: "Services and backups", key: "services", shape: Shape::Items(&SERVICE) },
    Part { title: "Vault", key: "vault", shape: Shape::Part(&VAULT) },
    Part { title: "Tests and reviews", key: "calendar", shape: Shape::Part(&CALENDAR) },
    Part { title: "Duties", key: "duties", shape: Shape::Part(&DUTIES) },
    Part { title: "Notes", key: "notes", shape: Shape::Items(&NOTE) },
];

pub(crate) const METADATA: Record = Record {
    what: "Plan",
    counted: false,
    title: Some("title"),
    label: Some("name"),
    apart: true,
    fields: &[
        field("description", "Description", Shape::Prose),
        field("owner", "Owner", Shape::Text),
        field("approvedBy", "Approved by", Shape::Text),
        field("version", "Version", Shape::Text),
        field("reviewed", "Reviewed", Shape::Text),
        field("nextReview", "Next review", Shape::Text),
        field("reviewEvery", "Reviewed every", Shape::Text),
    ],
};

const SCENARIO: Record = Record {
    what: "Scenario",
    counted: false,
    title: Some("title"),
    label: Some("name"),
    apart: true,
    fields: &[
        field("description", "Description", Shape::Prose),
        field("severity", "Severity", Shape::Text),
        field("runbook", "Runbook", Shape::Ref("runbook")),
        field("detect", "Signals", Shape::Marks),
        field("symptoms", "Noticed by", Shape::Texts),
        field("impact", "Impact", Shape::Texts),
        field("examples", "Examples", Shape::Texts),
        field("response", "Response", Shape::Numbered),
        field("notes", "Notes", Shape::Texts),
    ],
};

const RUNBOOK: Record = Record {
    what: "Runbook",
    counted: false,
    title: Some("title"),
    label: Some(KEY),
    apart: true,
    fields: &[
        field("description", "Description", Shape::Prose),
        field("when", "Followed when", Shape::Text),
        field("variables", "To be bound before", Shape::Keyed(&VARIABLE)),
        field("steps", "Steps", Shape::Items(&STEP)),
        field("notes", "Notes", Shape::Texts),
    ],
};

const VARIABLE: Record = Record {
    what: "Variable",
    counted: false,
    title: None,
    label: Some(KEY),
    apart: false,
    fields: &[
        field("type", "Kind", Shape::Text),
        field("description", "What it is", Shape::Text),
        field("format", "Written as", Shape::Text),
        field("default", "Otherwise", Shape::Text),
        field("environment", "In the environment", Shape::Mark),
    ],
};

const STEP: Record = Record {
    what: "Step",
    counted: true,
    title: Some("name"),
    label: Some("id"),
    apart: true,
    fields: &[
        field("description", "Description", Shape::Prose),
        field("onlyIf", "Only if", Shape::Text),
        field("duration", "Takes", Shape::Text),
        field("needs", "Needs steps", Shape::Marks),
        field("class", "Repeating it", Shape::Text),
        field("timeout", "Broken off after", Shape::Text),
        field("tries", "Tries", Shape::Number),
        field("approvals", "Approvals", Shape::Number),
        field("onFailure", "If it fails", Shape::Text),
        field("probe.run", "Done already if", Shape::Fence("sh")),
        field("probe.expect", "Done already if it prints", Shape::Text),
        field("shell.run", "Run", Shape::Fence("sh")),
        field("shell.outputs", "Gives to later steps", Shape::Marks),
        field("check.run", "Check", Shape::Fence("sh")),
        field("check.expect", "Expect", Shape::Text),
        field("sql", "Query", Shape::Fence("sql")),
        field("manual", "By hand", Shape::Text),
        field("choose.question", "Decide", Shape::Text),
        field("approval", "Agree to", Shape::Text),
        field("wait", "Wait", Shape::Text),
        field("action", "Action", Shape::Action),
        field("verify", "Verify", Shape::Text),
        field("verify.run", "Verify by", Shape::Fence("sh")),
        field("verify.expect", "Verify it prints", Shape::Text),
        field("undo", "Undo", Shape::Fence("sh")),
        field("choose.options", "Answers", Shape::Items(&CHOICE)),
    ],
};

const CHOICE: Record = record(
    "Answer",
    "when",
    &[
        field("step", "Go on with step", Shape::Mark),
        field("runbook", "Follow the runbook", Shape::Ref("runbook")),
    ],
);

const PEOPLE: Record = Record {
    what: "",
    counted: false,
    title: None,
    label: None,
    apart: true,
    fields: &[
        field("escalation", "Escalation", Shape::Items(&ESCALATION)),
        field("approvers", "Approvers", Shape::Items(&APPROVER)),
        field("roles", "Roles", Shape::Items(&ROLE)),
        field("contacts", "Contacts", Shape::Items(&CONTACT)),
        field("notes", "Notes", Shape::Texts),
    ],
};

const APPROVER: Record = record("Approver", "name", &[field("keys", "SSH keys", Shape::Marks)]);

const ESCALATION: Record = record(
    "Level",
    "name",
    &[
        field("severity", "Severity", Shape::Text),
        field("from", "From", Shape::Text),
        field("until", "Until", Shape::Text),
        field("who", "Call", Shape::Text),
        field("respondWithin", "Answer within", Shape::Text),
        field("notify", "Tell", Shape::Text),
        field("then", "Then", Shape::Text),
        field("notes", "Notes", Shape::Texts),
    ],
);

const ROLE: Record = record(
    "Role",
    "name",
    &[
        field("person", "Person", Shape::Text),
        field("deputy", "Deputy", Shape::Text),
        field("phone", "Telephone", Shape::Text),
        field("email", "Mail", Shape::Text),
        field("contact", "Reached by", Shape::Text),
        field("duties", "Duties", Shape::Texts),
    ],
);

const CONTACT: Record = record(
    "Contact",
    "name",
    &[
        field("person", "Person", Shape::Text),
        field("phone", "Telephone", Shape::Text),
        field("email", "Mail", Shape::Text),
        field("url", "Page", Shape::Text),
        field("contact", "Reached by", Shape::Text),
        field("account", "Account", Shape::Text),
        field("notes", "Notes", Shape::Texts),
    ],
);

const COMMUNICATION: Record = Record {
    what: "",
    counted: false,
    title: None,
    label: None,
    apart: true,
    fields: &[
        field("channels", "Channels", Shape::Items(&CHANNEL)),
        field("updates", "Updates", Shape::Items(&UPDATE)),
        field("statusPage", "Status page", Shape::Part(&STATUS_PAGE)),
        field("templates", "Templates", Shape::Items(&TEMPLATE)),
        field("notes", "Notes", Shape::Texts),
    ],
};

const CHANNEL: Record = record(
    "Channel",
    "name",
    &[
        field("address", "Address", Shape::Text),
        field("audience", "Read by", Shape::Text),
        field("when", "When", Shape::Text),
    ],
);

const UPDATE: Record = record(
    "Update",
    "name",
    &[
        field("audience", "For", Shape::Text),
        field("every", "Every", Shape::Text),
        field("within", "Within", Shape::Text),
    ],
);

const STATUS_PAGE: Record = Record {
    what: "Status page",
    counted: false,
    title: None,
    label: None,
    apart: true,
    fields: &[
        field("url", "Address", Shape::Text),
        field("within", "Says so within", Shape::Text),
        field("every", "Renewed every", Shape::Text),
        field("states", "States", Shape::Numbered),
        field("notes", "Notes", Shape::Texts),
    ],
};

const TEMPLATE: Record = record(
    "Template",
    "name",
    &[
        field("audience", "For", Shape::Text),
        field("subject", "Subject", Shape::Text),
        field("text", "Text", Shape::Words("text")),
    ],
);

const CHECKLIST: Record = record(
    "Checklist",
    "name",
    &[
        field("from", "From", Shape::Text),
        field("until", "Until", Shape::Text),
        field("items", "Items", Shape::Ticks),
    ],
);

const SERVICE: Record = Record {
    what: "Service",
    counted: false,
    title: Some("title"),
    label: Some("name"),
    apart: false,
    fields: &[
        field("description", "Description", Shape::Prose),
        field("needs", "Needs", Shape::Refs("service")),
        field("tier", "Tier", Shape::Mark),
        field("domain", "Fails with", Shape::Text),
        field("postgres", "Protection by Lifeboat", Shape::Part(&POSTGRES)),
        field("backups", "Backups", Shape::Items(&BACKUP)),
    ],
};

const BACKUP: Record = record(
    "Backup",
    "name",
    &[
        field("method", "Method", Shape::Text),
        field("schedule", "Schedule", Shape::Mark),
        field("timeZone", "Time zone", Shape::Text),
        field("every", "Every", Shape::Text),
        field("when", "When", Shape::Text),
        field("continuous", "As changes happen", Shape::Flag),
        field("keep", "Kept", Shape::Text),
        field("kept", "Kept, in words", Shape::Text),
        field("location", "Where", Shape::Texts),
        field("encryption", "Encryption", Shape::Text),
        field("runbook", "Runbook", Shape::Ref("runbook")),
        field("notes", "Notes", Shape::Texts),
    ],
);

const POSTGRES: Record = Record {
    what: "Protection",
    counted: false,
    title: None,
    label: None,
    apart: true,
    fields: &[
        field("connection", "Connection", Shape::Mark),
        field("passwordFile", "Password file", Shape::Mark),
        field("dataDirectory", "Data directory", Shape::Mark),
        field("slot", "Replication slot", Shape::Mark),
        field("standbys", "Standbys", Shape::Marks),
        field("base.schedule", "Base backup", Shape::Mark),
        field("base.timeZone", "Time zone", Shape::Text),
        field("base.rate", "At most, in a second", Shape::Text),
        field("advance.every", "Restore points advanced every", Shape::Text),
        field("advance.wal", "Restore points advanced after WAL", Shape::Text),
        field("keep.last", "Newest kept", Shape::Number),
        field("keep.daily", "Daily kept", Shape::Number),
        field("keep.weekly", "Weekly kept", Shape::Number),
        field("keep.monthly", "Monthly kept", Shape::Number),
        field("keep.yearly", "Yearly kept", Shape::Number),
        field("keep.window", "Every moment kept", Shape::Text),
        field("stream.enabled", "WAL as it is written", Shape::Flag),
        field("stream.synchronous", "Commits wait for the vault", Shape::Flag),
        field("tablespaces", "Tablespaces", Shape::Pairs("In production", "After a recovery")),
        field("checks", "Checks", Shape::Items(&CHECK)),
    ],
};

const CHECK: Record = Record {
    what: "Check",
    counted: true,
    title: Some("name"),
    label: None,
    apart: true,
    fields: &[field("query", "Query", Shape::Fence("sql"))],
};

const VAULT: Record = Record {
    what: "",
    counted: false,
    title: None,
    label: None,
    apart: true,
    fields: &[
        field("durable", "Copies that must have a write", Shape::Number),
        field("home", "Home of leases", Shape::Mark),
        field("copies", "Copies", Shape::Items(&COPY)),
    ],
};

const COPY: Record = Record {
    what: "Copy",
    counted: true,
    title: None,
    label: Some("name"),
    apart: false,
    fields: &[
        field("url", "Address", Shape::Mark),
        field("domain", "Fails with", Shape::Text),
        field("endpoint", "Endpoint", Shape::Mark),
        field("region", "Region", Shape::Text),
    ],
};

const CALENDAR: Record = Record {
    what: "",
    counted: false,
    title: None,
    label: None,
    apart: true,
    fields: &[
        field("drills", "Drills", Shape::Items(&DRILL)),
        field("reviews", "Reviews", Shape::Items(&REVIEW)),
        field("procedure", "How a drill goes", Shape::Numbered),
        field("success", "What a test must show", Shape::Items(&CHECKLIST)),
        field("notes", "Notes", Shape::Texts),
    ],
};

const DRILL: Record = record(
    "Drill",
    "name",
    &[
        field("every", "Every", Shape::Text),
        field("when", "When", Shape::Text),
        field("duration", "Takes", Shape::Text),
        field("scenario", "Scenario", Shape::Ref("scenario")),
        field("owner", "Done by", Shape::Text),
        field("steps", "What is done", Shape::Numbered),
        field("criteria", "What must come of it", Shape::Texts),
    ],
);

const REVIEW: Record = record("Review", "name", &[field("every", "Every", Shape::Text)]);

const DUTIES: Record = Record {
    what: "",
    counted: false,
    title: None,
    label: None,
    apart: true,
    fields: &[
        field("afterIncident", "After an incident", Shape::Items(&CHECKLIST)),
        field("forms", "Forms", Shape::Items(&FORM)),
        field("compliance", "Compliance", Shape::Items(&CHECKLIST)),
        field("kpis", "Figures", Shape::Items(&KPI)),
    ],
};

const FORM: Record = record("Form", "name", &[field("text", "Text", Shape::Words("text"))]);

const KPI: Record = record("Figure", "name", &[field("target", "Target", Shape::Text)]);

const NOTE: Record = record("Note", "title", &[field("text", "Text", Shape::Words("markdown"))]);
