//! The arguments of the steps.

use lifeboat_plan::Interval;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which of a cluster's servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum On {
    /// What the plan's `connection` leads to.
    #[default]
    Primary,
    /// A standby, by its place in the plan's list, from 1 on.
    Standby(u16),
}

impl On {
    fn first_standby() -> Self {
        Self::Standby(1)
    }
}

impl Serialize for On {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Primary => serializer.serialize_str("primary"),
            Self::Standby(number) => serializer.serialize_u16(*number),
        }
    }
}

impl<'de> Deserialize<'de> for On {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u16),
            Text(String),
        }
        let wanted = "it is `primary`, `standby`, or the number of a standby in the plan's list, from 1 on";
        let number = match Form::deserialize(deserializer).map_err(|_| serde::de::Error::custom(wanted))? {
            Form::Number(number) => Some(number),
            Form::Text(text) if text == "primary" => return Ok(Self::Primary),
            Form::Text(text) if text == "standby" => Some(1),
            // A variable is bound as text.
            Form::Text(text) => text.parse().ok(),
        };
        match number {
            Some(number) if number > 0 => Ok(Self::Standby(number)),
            _ => Err(serde::de::Error::custom(wanted)),
        }
    }
}

/// Nothing but the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct About {
    /// The service.
    pub service: String,
}

/// Whose writes are stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StopWrites {
    /// The service.
    pub service: String,
    /// Roles whose sessions are not ended. Theirs are read-only by default too, and may say otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// A question, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Query {
    /// The service.
    pub service: String,
    /// Whom it is put to.
    #[serde(default)]
    pub on: On,
    /// The question: its first value is the answer.
    pub query: String,
    /// What the answer must be. Left out, true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// Statements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sql {
    /// The service.
    pub service: String,
    /// Where they are run.
    #[serde(default)]
    pub on: On,
    /// The statements: one transaction, unless they say otherwise.
    pub run: String,
    /// Whether they may only read; follows from the step's class.
    #[serde(default)]
    pub read_only: bool,
}

/// Which standby must have replayed what, and how soon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WaitReplay {
    /// The service.
    pub service: String,
    /// Which standby.
    #[serde(default = "On::first_standby")]
    pub standby: On,
    /// How long it may take. Left out, as long as the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Interval>,
    /// Up to where, as a position in the WAL. Left out, all that the primary had written when it was asked last; and
    /// if it never answered, all that the standby received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Which standby becomes the primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Promote {
    /// The service.
    pub service: String,
    /// Which standby.
    #[serde(default = "On::first_standby")]
    pub standby: On,
    /// Whether it is opened though the primary takes writes: for a drill.
    #[serde(default)]
    pub beside_production: bool,
    /// What keeps the primary from taking writes, if no step of the run has fenced it and it does not answer: for the
    /// record, and for whoever agrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced_by: Option<String>,
}

/// By which means a primary is kept from writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Means {
    /// Stops the server in the plan's `dataDirectory`, on this machine.
    Stop,
    /// Commands that switch it off, or cut it off; their success is their word for it.
    Command(String),
    /// Has the server refuse every session from now on. For superusers.
    Refuse,
}

impl Means {
    fn usual() -> Vec<Self> {
        vec![Self::Stop, Self::Refuse]
    }
}

/// Who is kept from writing, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fence {
    /// The service.
    pub service: String,
    /// By which means: they are tried in this order until one of them is proven.
    #[serde(default = "Means::usual")]
    pub by: Vec<Means>,
}

/// Which server is restarted, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Restart {
    /// The service.
    pub service: String,
    /// How it is restarted, where its `dataDirectory` is not on the machine that carries the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// What an application is told about its database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rewire {
    /// The service.
    pub service: String,
    /// The file that it reads, with its whole path.
    pub file: String,
    /// What the file is to hold. No password: name where it stands.
    pub content: String,
    /// What has the application read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<String>,
}

/// Which moment a service goes back to, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Recover {
    /// The service.
    pub service: String,
    /// The moment, as `lifeboat restore --to` takes it.
    #[serde(default = "latest")]
    pub to: String,
    /// The directory: new, empty, or left by this step.
    pub into: String,
    /// Whether all is fetched before the server starts. Left out, it answers from a view at once.
    #[serde(default)]
    pub full: bool,
    /// Whether the server is started.
    #[serde(default)]
    pub start: bool,
    /// Whether it is opened for writing once it is there.
    #[serde(default)]
    pub promote: bool,
    /// Whether it is opened though production takes writes: for a drill.
    #[serde(default)]
    pub beside_production: bool,
    /// The port that names the started server's socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

fn latest() -> String {
    "latest".to_owned()
}

impl Recover {
    /// The command that does it.
    pub(super) fn command(&self) -> String {
        let mut command = if self.full { "lifeboat restore" } else { "lifeboat recover" }.to_owned();
        for (name, value) in [("", &self.service), (" --to", &self.to), (" --into", &self.into)] {
            command += &format!("{name} {}", super::quoted(value));
        }
        let flags = [
            (self.start || self.promote, " --start"),
            (self.promote, " --promote"),
            (self.beside_production && self.promote, " --beside-production"),
        ];
        command.extend(flags.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| *flag));
        if let Some(port) = self.port {
            command += &format!(" --port {port}");
        }
        command
    }
}
