//! `lifeboat vault status`: the copies, who can open them, and what each service has in them.

use crate::away::plain;
use crate::output::{Exit, Table, Tone};
use crate::settings::Settings;
use crate::show;
use lifeboat_base::ByteCount;
use lifeboat_vault::{Vault, names};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    vault: String,
    format: u32,
    created: jiff::Timestamp,
    durable: usize,
    copies: Vec<CopyStatus>,
    keys: Vec<String>,
    services: Vec<ServiceStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CopyStatus {
    name: String,
    domain: Option<String>,
    home: bool,
    answers: bool,
    problem: Option<String>,
    objects: u64,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct ServiceStatus {
    service: String,
    restore_points: u64,
    layer_bytes: u64,
    wal_bytes: u64,
}

/// Shows it.
///
/// # Errors
/// If the vault cannot be opened.
pub async fn run(settings: &Settings) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    let status = look(&opened.vault).await;
    settings.output.result("vault.status", &status, |style| {
        let mut out = format!(
            "vault {}, format {}, made {}\n",
            status.vault,
            status.format,
            show::time(status.created)
        );
        out.push_str(&format!(
            "a write counts once {} of {} copies have it; keys: {}\n\n",
            status.durable,
            status.copies.len(),
            status.keys.join(", ")
        ));
        let mut copies = Table::new(&["COPY", "DOMAIN", "OBJECTS", "STATE"]);
        for copy in &status.copies {
            let state = match &copy.problem {
                None if copy.home => "answers, home of leases and the journal".to_owned(),
                None => "answers".to_owned(),
                Some(problem) => problem.clone(),
            };
            let domain = copy.domain.clone().unwrap_or_else(|| "not stated".to_owned());
            copies.row([copy.name.clone(), domain, copy.objects.to_string(), state]);
        }
        out.push_str(&copies.render(style));
        if status.services.is_empty() {
            out.push_str("\nno service has anything in it yet\n");
            return out;
        }
        let mut services = Table::new(&["SERVICE", "RESTORE POINTS", "LAYERS", "WAL"]);
        for service in &status.services {
            let (layers, wal) = (ByteCount(service.layer_bytes), ByteCount(service.wal_bytes));
            let points = service.restore_points.to_string();
            services.row([service.service.clone(), points, layers.to_string(), wal.to_string()]);
        }
        out.push_str(&format!("\n{}", services.render(style)));
        if status.copies.iter().any(|copy| !copy.answers) {
            let line = "a copy does not answer: what is written meanwhile is in the others only";
            out.push_str(&format!("\n{}\n", style.paint(Tone::Doubtful, line)));
        }
        out
    })?;
    let all_answer = status.copies.iter().all(|copy| copy.answers);
    Ok(if all_answer { Exit::Good } else { Exit::Findings })
}

async fn look(vault: &Vault) -> Status {
    let listing = vault.copies().list("services").await;
    let keys = vault.copies().list(names::KEYS).await;
    let problem = |name: &str| {
        let failure = listing.failures.iter().find(|failure| failure.copy == name);
        failure.map(|failure| plain(&failure.reason))
    };
    let copies = vault.copies().all().iter().enumerate().map(|(index, copy)| CopyStatus {
        name: copy.name().to_owned(),
        domain: copy.domain().map(str::to_owned),
        home: index == 0,
        answers: problem(copy.name()).is_none(),
        problem: problem(copy.name()),
        objects: listing.objects.values().filter(|object| object.copies.contains(&index)).count() as u64,
    });
    let mut services: BTreeMap<String, ServiceStatus> = BTreeMap::new();
    for (name, object) in &listing.objects {
        let mut parts = name.split('/').skip(1);
        let (Some(service), Some(kind)) = (parts.next(), parts.next()) else { continue };
        let status = services.entry(service.to_owned()).or_default();
        service.clone_into(&mut status.service);
        match kind {
            "points" => status.restore_points += 1,
            "layers" => status.layer_bytes += object.size,
            "wal" => status.wal_bytes += object.size,
            _ => {}
        }
    }
    Status {
        vault: vault.header().vault.to_string(),
        format: vault.header().format,
        created: vault.header().created,
        durable: vault.copies().durable(),
        copies: copies.collect(),
        keys: keys.objects.keys().filter_map(|name| Some(name.rsplit('/').next()?.to_owned())).collect(),
        services: services.into_values().collect(),
    }
}
