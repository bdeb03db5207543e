//! Rules between two places of a plan: names that must exist, sums that must add up.
//!
//! They read the document's nodes and not the typed plan, so that they speak also about a plan whose
//! types are not right yet: every mistake is reported at once, each at its place.
//!
//! # Invariants
//! - **E1 no second opinion.** What the schema refuses is not judged again here: a value that
//!   cannot be read is passed over.

mod references;
mod steps;
pub(crate) use steps::names as variables_in;

use crate::finding::{Code, Finding, nearest};
use crate::model::Objectives;
use crate::shape::join;
use crate::values::{Conninfo, CopyUrl, Interval, Label, SlotName};
use crate::yaml::{Node, Scalar, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// A node and the way to it.
#[derive(Clone)]
struct Place<'a> {
    node: &'a Node,
    path: String,
}

impl<'a> Place<'a> {
    fn get(&self, key: &str) -> Option<Place<'a>> {
        self.node.get(key).map(|node| Place { node, path: join(&self.path, key) })
    }

    fn items(&self) -> Vec<Place<'a>> {
        let items = match &self.node.value {
            Value::List(items) => items.as_slice(),
            Value::Map(_) | Value::Scalar { .. } => &[],
        };
        let place = |(at, node)| Place { node, path: format!("{}[{at}]", self.path) };
        items.iter().enumerate().map(place).collect()
    }

    fn list(&self, key: &str) -> Vec<Place<'a>> {
        self.get(key).map(|place| place.items()).unwrap_or_default()
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        words(self.node.get(key)?)
    }

    fn read<T: FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.node.get(key)?.scalar() {
            Some(Scalar::Bool(value)) => Some(value),
            _ => None,
        }
    }

    fn error(&self, code: Code, message: impl Into<String>) -> Finding {
        Finding::error(code, self.node.mark, message).at(&*self.path)
    }

    fn warning(&self, code: Code, message: impl Into<String>) -> Finding {
        Finding::warning(code, self.node.mark, message).at(&*self.path)
    }
}

/// A text, that the schema takes for one (E1): `null`, `7` and `true` without quotes are none.
fn words(node: &Node) -> Option<&str> {
    match node.scalar() {
        Some(Scalar::Text(text)) => Some(text),
        _ => None,
    }
}

/// The same, if it can be a name at all.
fn label(node: &Node) -> Option<&str> {
    words(node).filter(|text| text.parse::<Label>().is_ok())
}

/// Everything that the rules find.
pub(crate) fn check(root: &Node) -> Vec<Finding> {
    let plan = Place { node: root, path: String::new() };
    let mut findings = Vec::new();
    names(&plan, &mut findings);
    needs(&plan, &mut findings);
    vault(&plan, &mut findings);
    durability(&plan, &mut findings);
    objectives(&plan, &mut findings);
    scenarios(&plan, &mut findings);
    references::look(&plan, &mut findings);
    steps::look(&plan, &mut findings);
    for service in plan.list("services") {
        if let Some(postgres) = service.get("postgres") {
            protection(&service, &postgres, &mut findings);
        }
    }
    if let Some(place) = plan.get("scenarios")
        && matches!(place.node.value, Value::List(_))
    {
        // What is accepted, so that a plan can be written whole, and not carried out yet.
        let message = "`scenarios` is accepted and not carried out yet: no scenario is watched for";
        findings.push(
            place.warning(Code::NotYet, message).with_help("leave it for people to read, or take it out"),
        );
    }
    findings
}

/// Services, scenarios and tiers are called by name: no two may share one.
fn names(plan: &Place<'_>, findings: &mut Vec<Finding>) {
    for (key, what) in [("services", "service"), ("scenarios", "scenario"), ("tiers", "tier")] {
        let mut seen = BTreeMap::new();
        for name in plan.list(key).iter().filter_map(|item| item.get("name")) {
            let Some(text) = label(name.node) else { continue };
            match seen.get(text) {
                None => {
                    seen.insert(text, name.node.mark.line);
                }
                Some(line) => findings.push(
                    name.error(
                        Code::DuplicateName,
                        format!("a second {what} `{text}`; the first is on line {line}"),
                    )
                    .with_help("give one of the two another name"),
                ),
            }
        }
    }
}

/// The keys of a mapping of the plan.
fn keys<'a>(plan: &Place<'a>, key: &str) -> BTreeSet<&'a str> {
    match plan.get(key).map(|place| &place.node.value) {
        Some(Value::Map(entries)) => entries.iter().filter_map(|(key, _)| key.text()).collect(),
        _ => BTreeSet::new(),
    }
}

fn service_names<'a>(plan: &Place<'a>) -> BTreeSet<&'a str> {
    plan.list("services").iter().filter_map(|service| service.text("name")).collect()
}

/// A name that nothing has, with what was meant, or what there is.
fn unknown(place: &Place<'_>, what: &str, name: &str, known: &BTreeSet<&str>) -> Finding {
    const MAX_LISTED: usize = 12;
    match nearest(name, known.iter().copied()) {
        Some(near) => {
            place.error(Code::UnknownName, format!("no {what} is called `{name}`; did you mean `{near}`?"))
        }
        None => {
            let listed: Vec<&str> = known.iter().copied().take(MAX_LISTED).collect();
            let help = match (listed.len(), known.len() - listed.len()) {
                (0, _) => format!("the plan has no {what} at all"),
                (_, 0) => format!("there is {}", listed.join(", ")),
                (_, more) => format!("there is {} and {more} more", listed.join(", ")),
            };
            place.error(Code::UnknownName, format!("no {what} is called `{name}`")).with_help(help)
        }
    }
}

/// What a service needs exists, and no service waits for itself.
fn needs(plan: &Place<'_>, findings: &mut Vec<Finding>) {
    let known = service_names(plan);
    // The first service of a name; a second one is reported elsewhere.
    let mut graph: BTreeMap<&str, Vec<(&str, Place<'_>)>> = BTreeMap::new();
    for service in plan.list("services") {
        let Some(name) = service.text("name") else { continue };
        let mut wanted = Vec::new();
        for need in service.list("needs") {
            match label(need.node) {
                Some(text) if known.contains(text) => wanted.push((text, need.clone())),
                Some(text) => findings.push(unknown(&need, "service", text, &known)),
                None => {}
            }
        }
        graph.entry(name).or_insert(wanted);
    }
    cycles(&graph, findings);
}

/// Each cycle once, at the need that closes it. Depth first, without recursion: a chain of services
/// may be as long as the plan.
fn cycles<'a>(graph: &BTreeMap<&'a str, Vec<(&'a str, Place<'a>)>>, findings: &mut Vec<Finding>) {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in graph.keys() {
        let mut trail: Vec<(&str, usize)> = vec![(start, 0)];
        let mut on_trail: BTreeSet<&str> = BTreeSet::from([*start]);
        while let Some((name, next)) = trail.last_mut() {
            let edge =
                if done.contains(name) { None } else { graph.get(name).and_then(|needs| needs.get(*next)) };
            let Some((need, place)) = edge else {
                done.insert(name);
                on_trail.remove(name);
                trail.pop();
                continue;
            };
            *next += 1;
            if on_trail.contains(need) {
                let from = trail.iter().position(|(name, _)| name == need).unwrap_or_default();
                findings.push(cycle(place, trail[from..].iter().map(|(name, _)| *name), need));
            } else if !done.contains(need) {
                on_trail.insert(need);
                trail.push((need, 0));
            }
        }
    }
}

fn cycle<'a>(place: &Place<'_>, ring: impl Iterator<Item = &'a str>, back: &str) -> Finding {
    const MAX_SHOWN: usize = 8;
    let ring: Vec<&str> = ring.collect();
    if ring.len() == 1 {
        return place
            .error(Code::Cycle, format!("`{back}` needs itself"))
            .with_help("take it out of its own `needs`");
    }
    let mut shown = ring.iter().copied().take(MAX_SHOWN).collect::<Vec<_>>();
    if ring.len() > MAX_SHOWN {
        shown.push("…");
    }
    shown.push(back);
    place
        .error(
            Code::Cycle,
            format!("services that need each other can never come back: {}", shown.join(" → ")),
        )
        .with_help("take one of these needs out")
}

/// A copy as the rules see it.
struct Copy<'a> {
    place: Place<'a>,
    url: Option<CopyUrl>,
    name: Option<&'a str>,
    domain: Option<&'a str>,
}

fn copies<'a>(plan: &Place<'a>) -> Vec<Copy<'a>> {
    let Some(vault) = plan.get("vault") else { return Vec::new() };
    let copy = |place: Place<'a>| {
        let address = words(place.node).or_else(|| place.text("url"));
        Copy {
            url: address.and_then(|text| text.parse().ok()),
            name: place.text("name"),
            domain: place.text("domain"),
            place,
        }
    };
    vault.list("copies").into_iter().map(copy).collect()
}

/// Copies are distinct, and the home is one of them.
fn vault(plan: &Place<'_>, findings: &mut Vec<Finding>) {
    let copies = copies(plan);
    let mut urls = BTreeMap::new();
    let mut names = BTreeMap::new();
    for copy in &copies {
        let line = copy.place.node.mark.line;
        // The same bucket and path at another endpoint is another store.
        let endpoint = copy.place.text("endpoint");
        if let Some(first) = copy.url.clone().and_then(|url| urls.insert((url, endpoint), line)) {
            findings.push(
                copy.place
                    .error(
                        Code::DuplicateName,
                        format!("this copy has the address of the one on line {first}"),
                    )
                    .with_help("two copies in one place are lost together; give this one a place of its own"),
            );
        }
        if let Some(first) = copy.name.and_then(|name| names.insert(name, line)) {
            let message = format!("this copy has the name of the one on line {first}");
            findings.push(copy.place.error(Code::DuplicateName, message));
        }
        let is_file = copy.url.as_ref().is_some_and(|url| url.as_url().scheme() == "file");
        for key in ["endpoint", "region"] {
            if let Some(place) = copy.place.get(key).filter(|_| is_file) {
                let message = format!("`{key}` means nothing for a directory");
                findings.push(place.warning(Code::Contradiction, message));
            }
        }
    }
    let Some(home) = plan.get("vault").and_then(|vault| vault.get("home")) else { return };
    let Some(text) = words(home.node) else { return };
    let url = text.parse::<CopyUrl>().ok();
    let called = |copy: &Copy<'_>| copy.name == Some(text) || (url.is_some() && copy.url == url);
    if !copies.iter().any(called) {
        let spelled: Vec<String> =
            copies.iter().filter_map(|copy| copy.url.as_ref().map(CopyUrl::to_string)).collect();
        let known = names.keys().copied().chain(spelled.iter().map(String::as_str)).collect();
        findings.push(unknown(&home, "copy", text, &known));
    }
}

/// There are as many copies as must have a write, also once a service's own domain is lost.
fn durability(plan: &Place<'_>, findings: &mut Vec<Finding>) {
    let copies = copies(plan);
    let stated = plan.get("vault").and_then(|vault| vault.get("durable"));
    let durable = match stated.as_ref().map(|place| place.node.scalar()) {
        None => 1,
        Some(Some(Scalar::Integer(durable))) => u32::try_from(durable).map_or(0, |durable| durable as usize),
        Some(_) => return,
    };
    if let Some(place) = stated.filter(|_| durable > copies.len()) {
        let message = format!("`durable` asks for {durable} copies; the vault has {}", copies.len());
        findings.push(place.error(Code::Durability, message).with_help("add copies, or lower `durable`"));
        return;
    }
    let domains: Vec<Place<'_>> =
        plan.list("services").iter().filter_map(|service| service.get("domain")).collect();
    for domain in &domains {
        let Some(text) = words(domain.node) else { continue };
        let outside = copies.iter().filter(|copy| copy.domain != Some(text)).count();
        if outside < durable && !copies.is_empty() {
            let message = format!(
                "a write must be durable in {durable} {} outside `{text}`; {outside} {} there",
                if durable == 1 { "copy" } else { "copies" },
                if outside == 1 { "is" } else { "are" },
            );
            findings.push(domain.error(Code::Durability, message).with_help(
                "add a copy in another domain: what takes the service would take its backups too",
            ));
        }
    }
    if domains.is_empty() {
        return;
    }
    for copy in copies.iter().filter(|copy| copy.url.is_some() && copy.domain.is_none()) {
        let message = "this copy names no domain and is taken to be outside every service's";
        findings.push(
            copy.place.warning(Code::UnknownDomain, message).with_help("write it as {url: …, domain: …}"),
        );
    }
}

/// What is promised can be kept: recovery is done before the downtime is intolerable.
fn objectives(plan: &Place<'_>, findings: &mut Vec<Finding>) {
    let read = |place: &Place<'_>| {
        let of = |key: &str| place.get("objectives").and_then(|objectives| objectives.read::<Interval>(key));
        Objectives { rto: of("rto"), mtd: of("mtd"), ..Objectives::default() }
    };
    let outer = read(plan);
    let places = [plan.clone()].into_iter().chain(plan.list("services")).chain(plan.list("scenarios"));
    for place in places {
        let own = read(&place);
        let whole = own.or(&outer);
        let (Some(rto), Some(mtd)) = (whole.rto, whole.mtd) else { continue };
        let stated = place.get("objectives").and_then(|own| own.get("rto").or_else(|| own.get("mtd")));
        if let Some(stated) = stated.filter(|_| rto > mtd) {
            let message = format!("recovery may take {rto} (rto), longer than is tolerable: {mtd} (mtd)");
            findings.push(stated.warning(Code::Objectives, message).with_help("lower `rto`, or raise `mtd`"));
        }
    }
}

/// Scenarios speak of services that exist.
fn scenarios(plan: &Place<'_>, findings: &mut Vec<Finding>) {
    let services = service_names(plan);
    for scenario in plan.list("scenarios") {
        for signal in scenario.list("detect") {
            match words(signal.node).map(|text| text.split_once('.').ok_or(text)) {
                Some(Ok((service, _))) if !services.contains(service) => {
                    findings.push(unknown(&signal, "service", service, &services));
                }
                Some(Err(text)) => findings.push(
                    signal
                        .error(Code::BadValue, format!("`{text}` is no signal"))
                        .with_help("write the service and the signal, as in `orders-db.checks`"),
                ),
                _ => {}
            }
        }
    }
}

/// The settings of one PostgreSQL cluster go together.
fn protection(service: &Place<'_>, postgres: &Place<'_>, findings: &mut Vec<Finding>) {
    if let Some(name) = service.get("name")
        && postgres.get("slot").is_none()
        && let Some(Ok(parsed)) = words(name.node).map(str::parse)
        && SlotName::of_service(&parsed).is_err()
    {
        findings.push(
            name.error(Code::BadValue, "this name is too long for a replication slot to be named after it")
                .with_help("name the slot yourself: `postgres: {slot: …}`"),
        );
    }
    let stream = postgres.get("stream");
    if let Some(stream) = stream
        && stream.flag("enabled") == Some(false)
        && stream.flag("synchronous") == Some(true)
    {
        findings.push(
            stream
                .error(Code::Contradiction, "`synchronous` needs the stream, which is not enabled")
                .with_help("take `enabled: false` out, or `synchronous: true`"),
        );
    }
    if let Some(advance) = postgres.get("advance")
        && matches!(advance.node.value, Value::Map(_))
        && ["every", "wal"].iter().all(|key| advance.get(key).is_none())
    {
        findings.push(
            advance
                .error(Code::Contradiction, "`advance` does not say how often")
                .with_help("write `every: 15m`, `wal: 256MiB`, or both"),
        );
    }
    if let Some(keep) = postgres.get("keep") {
        retention(&keep, findings);
    }
    let mut servers = BTreeMap::new();
    let connection = postgres.get("connection").into_iter();
    for server in connection.chain(postgres.list("standbys")) {
        let Some(Ok(conninfo)) = words(server.node).map(str::parse::<Conninfo>) else { continue };
        if let Some(line) = servers.insert(conninfo.as_str().to_owned(), server.node.mark.line) {
            let message = format!("this is the server on line {line} once more");
            findings
                .push(server.warning(Code::DuplicateName, message).with_help("a standby is another server"));
        }
    }
}

/// Retention keeps something.
fn retention(keep: &Place<'_>, findings: &mut Vec<Finding>) {
    let Value::Map(entries) = &keep.node.value else { return };
    let nothing = |node: &Node| match node.scalar() {
        Some(Scalar::Integer(count)) => count == 0,
        Some(Scalar::Text(text)) => text.parse::<Interval>().is_ok_and(|interval| interval.0.is_zero()),
        _ => false,
    };
    if entries.iter().all(|(_, value)| nothing(value)) {
        findings.push(
            keep.error(Code::KeepsNothing, "this keeps nothing: every restore point would be removed")
                .with_help("write for instance {daily: 30, monthly: 12, window: 7d}; without `keep` nothing is removed"),
        );
    }
}
