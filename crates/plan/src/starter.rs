//! The plan that a team starts from: short, commented, and valid as it stands.

use crate::yaml::{Scalar, resolve};

/// What is known when a first plan is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starter {
    /// The plan's name.
    pub name: String,
    /// The service's name.
    pub service: String,
    /// How its server is reached.
    pub connection: String,
    /// Its data directory, if it is on this machine.
    pub data_directory: Option<String>,
    /// Addresses of the vault's copies, the home first.
    pub copies: Vec<String>,
    /// The IANA name of the time zone in which schedules are read.
    pub time_zone: String,
}

/// Writes a first plan, with comments that say what may be changed.
///
/// It loads without findings if what it was given is valid; else loading it says what is not.
#[must_use]
pub fn starter(start: &Starter) -> String {
    let Starter { name, service, connection, time_zone, .. } = start;
    let (name, service) = (scalar(name), scalar(service));
    let label = service.trim_matches('"');
    let (connection, time_zone) = (scalar(connection), scalar(time_zone));
    let copies: String = start.copies.iter().map(|copy| format!("    - {}\n", scalar(copy))).collect();
    let copies = if copies.is_empty() { "    []\n".to_owned() } else { copies };
    let directory = match &start.data_directory {
        Some(directory) => format!(
            "      dataDirectory: {}    # on this machine: base backups read it in parallel\n",
            scalar(directory)
        ),
        None => "      # dataDirectory: /var/lib/postgresql/17/main    # if the server is on this machine\n"
            .to_owned(),
    };
    format!(
        "\
# A recovery plan for Lifeboat. Keep it in Git. Durations are written 15m or 1h30m, sizes 256MiB.
apiVersion: lifeboat/v1
kind: RecoveryPlan
metadata:
  name: {name}
  # owner: the team that keeps this plan
  # reviewEvery: 90d

# What the business was promised. A service may state tighter ones of its own.
objectives:
  rto: 1h    # how long it may take until it serves again
  rpo: 5m    # how much of the newest data may be lost
  mtd: 4h    # after this long the damage is not acceptable

# Where backups are kept, sealed. Two copies at different providers survive the loss of one.
vault:
  copies:
{copies}  durable: 1    # copies that must have a write before it counts

services:
  - name: {service}
    postgres:
      # Never a password here: set PGPASSWORD, name a passwordFile, or use ~/.pgpass.
      connection: {connection}
{directory}      # standbys: [host=db2.internal user=lifeboat]    # so that a promotion leaves no hole
      base:
        schedule: \"0 3 * * *\"    # minute, hour, day of month, month, day of week
        timeZone: {time_zone}
        # rate: 100MiB    # the most to read in a second
      keep:
        daily: 30
        weekly: 12
        monthly: 12
        window: 7d    # every single moment of the last week
      # Asked of the database that `backup verify`, or `serve --verify-in DIR`, recovers from a backup: each must
      # answer true, or the backup has failed.
      checks:
        - name: answers
          query: select count(*) > 0 from pg_catalog.pg_class

# What may happen, and what is done then. For people to read: Lifeboat checks that it fits together, and does
# not carry it out yet.
# scenarios:
#   - name: database-corruption
#     detect: [{label}.checks]
#     severity: P1
#     runbook: point-in-time-recovery
# runbooks:
#   point-in-time-recovery:
#     steps:
#       - postgres.recover: {{service: {label}, to: \"{{{{ moment }}}}\"}}
"
    )
}

/// A scalar that reads back as this text: plain where that is safe, else in double quotes.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && !text.ends_with([' ', ':'])
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._:@=-+ ".contains(c))
        && !text.contains(": ")
        && resolve(text) == Scalar::Text(text);
    // A JSON string is a YAML string in double quotes; serde_json cannot fail on text.
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
