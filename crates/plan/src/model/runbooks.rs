//! What is done, step by step.

use crate::schema::Keyed;
use crate::values::{ActionName, EnvironmentName, Interval, Label, StepKey};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is done, step by step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Runbook {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// When it is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What a run must bind: each stands as `{{ name }}` in steps, or is given to commands in the environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Keyed<Label, Variable>")]
    pub variables: BTreeMap<Label, Variable>,
    /// The steps, in order.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
    /// What else is to be known of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Something that a run must bind before it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Variable {
    /// What may stand for it.
    #[serde(rename = "type", default, skip_serializing_if = "VariableType::is_text")]
    pub kind: VariableType,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How it is written: `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What stands for it unless a run binds something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The environment variable by which commands are given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
}

/// What may stand for a variable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VariableType {
    /// Any text.
    #[default]
    Text,
    /// A number.
    Number,
    /// A day.
    Date,
    /// A moment.
    Time,
    /// A length of time.
    Duration,
    /// What nobody else may see: never shown, never in an argument.
    Secret,
}

impl VariableType {
    fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

/// One step: what is done under one key (`shell`, `check`, `sql`, `manual`, `choose`, `approval`, `wait`, or an action of
/// Lifeboat's own), and what is to be known about it beside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StepForm", into = "StepForm")]
pub struct Step {
    /// By which a choice leads to it.
    pub id: Option<Label>,
    /// What it is called.
    pub name: Option<String>,
    /// What it does and why.
    pub description: Option<String>,
    /// What must be so for it to be done; a person says whether it is.
    pub only_if: Option<String>,
    /// How long it takes, as a rule.
    pub duration: Option<Interval>,
    /// How to see that it worked.
    pub verify: Option<Verify>,
    /// How a run carries it out.
    pub carry: Carry,
    /// What is done.
    pub does: Does,
}

/// How a run carries a step out: its order, its repetition, what it asks of people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Carry {
    /// What repeating it does. Left out: `check` reads, an action of Lifeboat's own knows, and commands count as
    /// destructive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<StepClass>,
    /// The steps that come first, by their `id`; steps that do not need each other are done side by side. Left out,
    /// the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Vec<Label>>,
    /// After how long it is broken off. Left out, four times `duration`, and at least 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Interval>,
    /// How often it is tried, at the most. Left out, 3; what is destructive, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub tries: Option<u32>,
    /// How many people must agree to it. Left out, 2 for what is destructive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 20))]
    pub approvals: Option<u32>,
    /// What is done when it has failed for good. Left out, a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<WhenFailed>,
    /// Commands that succeed if it is done already: text, or a mapping with `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<StepCheck>,
    /// Commands that undo it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub undo: Option<String>,
}

/// What repeating a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepClass {
    /// It changes nothing.
    Read,
    /// Twice is as once.
    Idempotent,
    /// It must not happen twice by accident.
    Destructive,
}

/// What is done when a step has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFailed {
    /// A person is asked.
    Stop,
    /// What was done is undone, the newest first.
    Undo,
    /// The run goes on without it.
    GoOn,
}

/// How to see that a step worked: words for a person, or commands that must succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Verify {
    /// For a person.
    Words(String),
    /// For a run.
    Commands(CheckMapping),
}

impl JsonSchema for Verify {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Verify".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mapping = generator.subschema_for::<CheckMapping>();
        either(mapping, "Words for a person; or `run` with commands that must succeed.")
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Does {
    /// Runs commands.
    Shell(Shell),
    /// Runs commands that change nothing and must succeed.
    Check(StepCheck),
    /// Puts queries to the service's database.
    Sql(String),
    /// Asks a person to do it.
    Manual(String),
    /// Lets a person decide how it goes on.
    Choose(Choose),
    /// Goes on once people have agreed to what it says.
    Approval(String),
    /// Lets time pass.
    Wait(Interval),
    /// Calls an action; its own types check the arguments.
    Action(ActionName, serde_json::Value),
}

/// A step as it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct StepForm {
    /// By which a choice leads to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Label>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// What it does and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// What must be so for it to be done; a person says whether it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only_if: Option<String>,
    /// How long it takes, as a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration: Option<Interval>,
    /// How to see that it worked: words for a person, or `run` with commands that must succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verify: Option<Verify>,
    #[serde(flatten)]
    carry: Carry,
    /// Commands to run as they stand, in one shell: text, or a mapping with `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shell: Option<Shell>,
    /// Commands that change nothing and must succeed: text, or a mapping with `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<StepCheck>,
    /// Queries for the service's database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sql: Option<String>,
    /// What a person does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manual: Option<String>,
    /// What a person decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    choose: Option<Choose>,
    /// What people agree to before it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    approval: Option<String>,
    /// For how long nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wait: Option<Interval>,
    #[serde(flatten)]
    #[schemars(skip)]
    actions: BTreeMap<ActionName, serde_json::Value>,
}

/// A step does not do one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a step does one thing, not {0}")]
pub struct StepError(usize);

impl TryFrom<StepForm> for Step {
    type Error = StepError;

    fn try_from(form: StepForm) -> Result<Self, Self::Error> {
        let StepForm {
            id,
            name,
            description,
            only_if,
            duration,
            verify,
            carry,
            shell,
            check,
            sql,
            manual,
            choose,
            approval,
            wait,
            actions,
        } = form;
        let all = [
            shell.map(Does::Shell),
            check.map(Does::Check),
            sql.map(Does::Sql),
            manual.map(Does::Manual),
            choose.map(Does::Choose),
            approval.map(Does::Approval),
            wait.map(Does::Wait),
        ];
        let actions = actions.into_iter().map(|(action, arguments)| Does::Action(action, arguments));
        let mut all: Vec<Does> = all.into_iter().flatten().chain(actions).collect();
        match (all.pop(), all.len()) {
            (Some(does), 0) => Ok(Self { id, name, description, only_if, duration, verify, carry, does }),
            (None, _) => Err(StepError(0)),
            (Some(_), others) => Err(StepError(others + 1)),
        }
    }
}

impl From<Step> for StepForm {
    fn from(step: Step) -> Self {
        let Step { id, name, description, only_if, duration, verify, carry, does } = step;
        let mut form = Self { id, name, description, only_if, duration, verify, carry, ..Self::default() };
        match does {
            Does::Shell(shell) => form.shell = Some(shell),
            Does::Check(check) => form.check = Some(check),
            Does::Sql(text) => form.sql = Some(text),
            Does::Manual(text) => form.manual = Some(text),
            Does::Choose(choose) => form.choose = Some(choose),
            Does::Approval(text) => form.approval = Some(text),
            Does::Wait(length) => form.wait = Some(length),
            Does::Action(action, arguments) => {
                form.actions.insert(action, arguments);
            }
        }
        form
    }
}

/// Keys of a step that say what it does; what is no key of [`StepForm`] is an action, and does too.
const BESIDE: [&str; 14] = [
    "id",
    "name",
    "description",
    "onlyIf",
    "duration",
    "verify",
    "class",
    "needs",
    "timeout",
    "tries",
    "approvals",
    "onFailure",
    "probe",
    "undo",
];

impl JsonSchema for Step {
    fn schema_name() -> Cow<'static, str> {
        "Step".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = StepForm::json_schema(generator);
        schema.insert(
            "description".to_owned(),
            "One step: what is done under one key (`shell`, `check`, `sql`, `manual`, `choose`, `approval`, `wait`, or an action such as \
             `postgres.recover` with its arguments), and what is to be known about it beside."
                .into(),
        );
        schema.insert("propertyNames".to_owned(), generator.subschema_for::<StepKey>().to_value());
        schema.insert("additionalProperties".to_owned(), true.into());
        schema.insert("x-lifeboat-one-beside".to_owned(), serde_json::Value::from(BESIDE.to_vec()));
        schema
    }
}

/// Commands to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ShellForm", into = "ShellForm")]
pub struct Shell {
    /// The commands, as they are typed.
    pub run: String,
    /// Shell variables that later steps are given in the environment.
    pub outputs: Vec<EnvironmentName>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum ShellForm {
    Text(String),
    Mapping(ShellMapping),
}

/// Commands to run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "Shell")]
struct ShellMapping {
    /// The commands, as they are typed.
    #[schemars(length(min = 1))]
    run: String,
    /// Shell variables that later steps are given in the environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<EnvironmentName>,
}

impl From<ShellForm> for Shell {
    fn from(form: ShellForm) -> Self {
        match form {
            ShellForm::Text(run) => Self { run, outputs: Vec::new() },
            ShellForm::Mapping(ShellMapping { run, outputs }) => Self { run, outputs },
        }
    }
}

impl From<Shell> for ShellForm {
    fn from(Shell { run, outputs }: Shell) -> Self {
        if outputs.is_empty() { Self::Text(run) } else { Self::Mapping(ShellMapping { run, outputs }) }
    }
}

impl JsonSchema for Shell {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ShellForm".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        either(generator.subschema_for::<ShellMapping>(), "Commands to run as they stand, in one shell.")
    }
}

/// Commands that change nothing and must succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "CheckForm", into = "CheckForm")]
pub struct StepCheck {
    /// The commands, as they are typed.
    pub run: String,
    /// What they must print.
    pub expect: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum CheckForm {
    Text(String),
    Mapping(CheckMapping),
}

/// Commands that change nothing and must succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "StepCheck")]
pub struct CheckMapping {
    /// The commands, as they are typed.
    #[schemars(length(min = 1))]
    pub run: String,
    /// What they must print.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

impl From<CheckForm> for StepCheck {
    fn from(form: CheckForm) -> Self {
        match form {
            CheckForm::Text(run) => Self { run, expect: None },
            CheckForm::Mapping(CheckMapping { run, expect }) => Self { run, expect },
        }
    }
}

impl From<StepCheck> for CheckForm {
    fn from(StepCheck { run, expect }: StepCheck) -> Self {
        if expect.is_none() { Self::Text(run) } else { Self::Mapping(CheckMapping { run, expect }) }
    }
}

impl JsonSchema for StepCheck {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StepCheckForm".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        either(generator.subschema_for::<CheckMapping>(), "Commands that change nothing and must succeed.")
    }
}

/// Text, or a mapping.
fn either(mapping: Schema, description: &str) -> Schema {
    let text = json_schema!({"type": "string", "minLength": 1});
    json_schema!({"description": description, "anyOf": [text, mapping]})
}

/// What a person decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Choose {
    /// What is asked.
    pub question: String,
    /// The answers.
    #[schemars(length(min = 1))]
    pub options: Vec<Choice>,
}

/// An answer, and where it leads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Choice {
    /// What is the case.
    pub when: String,
    /// The step of this runbook that is done next, by its `id`. Left out, the one that follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Label>,
    /// Another runbook that is followed instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Label>,
}
