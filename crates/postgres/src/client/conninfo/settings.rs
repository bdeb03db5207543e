//! The keys: their names, environment variables, meanings, and how they are written back.

use super::{
    ChannelBinding, Conninfo, ConninfoError, DEFAULT_PORT, HOST_LIMIT, Host, Keepalive, Place, Roots,
    SslMode, TargetSessionAttrs, TlsSettings,
};
use crate::client::Password;
use crate::client::conninfo::syntax::Setting;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// Every key that is understood, with its environment variable.
const KEYS: [(&str, Option<&str>); 24] = [
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("port", Some("PGPORT")),
    ("user", Some("PGUSER")),
    ("dbname", Some("PGDATABASE")),
    ("password", Some("PGPASSWORD")),
    ("passfile", Some("PGPASSFILE")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("application_name", Some("PGAPPNAME")),
    ("fallback_application_name", None),
    ("options", Some("PGOPTIONS")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("keepalives", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("keepalives_count", None),
    ("tcp_user_timeout", None),
];

/// Keys of libpq that would change what is connected to, or how safely, if they were ignored.
const REFUSED: [(&str, Option<&str>, &str); 13] = [
    (
        "service",
        Some("PGSERVICE"),
        "write the parameters of that service into the connection string, and unset PGSERVICE",
    ),
    ("servicefile", None, "write the parameters of the service into the connection string"),
    ("require_auth", Some("PGREQUIREAUTH"), "use channel_binding=require or sslmode=verify-full"),
    ("requirepeer", Some("PGREQUIREPEER"), "use a socket directory that only the server's owner can write"),
    ("sslcrl", Some("PGSSLCRL"), "revocation lists are not read; replace the authority in sslrootcert"),
    ("sslcrldir", Some("PGSSLCRLDIR"), "revocation lists are not read; replace the authority in sslrootcert"),
    ("sslpassword", None, "give an sslkey that is not encrypted, readable by its owner only"),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION"), "TLS 1.2 is the oldest that is spoken"),
    ("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION"), "the newest common version is spoken"),
    ("krbsrvname", Some("PGKRBSRVNAME"), "GSSAPI is not spoken; use a password or a client certificate"),
    ("client_encoding", Some("PGCLIENTENCODING"), "UTF8 is always used"),
    ("replication", None, "Lifeboat sets it itself where replication is meant"),
    (
        "load_balance_hosts",
        Some("PGLOADBALANCEHOSTS"),
        "hosts are tried in the order they are listed in; leave the key out",
    ),
];

/// Environment variables that are refused only where ignoring them would connect elsewhere or less
/// safely; those that would not (an encoding, say) may stand in a shell for other programs.
const REFUSED_VARIABLES: [&str; 5] =
    ["PGSERVICE", "PGREQUIREAUTH", "PGREQUIREPEER", "PGSSLCRL", "PGSSLCRLDIR"];

/// Edits between a wrong key and the one that is suggested for it, as a share of its length.
const SUGGEST_SIMILARITY: f64 = 0.7;

/// Values by key; empty ones count as not given, as in libpq.
pub(super) struct Settings(BTreeMap<&'static str, Zeroizing<String>>);

impl Settings {
    pub(super) fn gather(
        written: Vec<Setting>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConninfoError> {
        let mut values = BTreeMap::new();
        for (key, value) in written {
            values.insert(known(&key)?, value);
        }
        for (key, variable) in KEYS {
            let from_environment = || variable.and_then(lookup).filter(|value| !value.contains('\0'));
            if !values.contains_key(key)
                && let Some(value) = from_environment()
            {
                values.insert(key, Zeroizing::new(value));
            }
        }
        for (key, variable, instead) in REFUSED {
            let set = variable.filter(|name| REFUSED_VARIABLES.contains(name)).and_then(lookup);
            if set.is_some_and(|value| !value.is_empty()) {
                return Err(ConninfoError::Unsupported { key, instead });
            }
        }
        values.retain(|_, value: &mut Zeroizing<String>| !value.is_empty());
        Ok(Self(values))
    }

    fn get(&self, key: &'static str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str())
    }

    fn list(&self, key: &'static str) -> Vec<&str> {
        self.get(key).map(|value| value.split(',').map(str::trim).collect()).unwrap_or_default()
    }

    fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.get(key).map(PathBuf::from)
    }

    fn whole<T: std::str::FromStr>(&self, key: &'static str) -> Result<Option<T>, ConninfoError> {
        let bad = |_| ConninfoError::BadValue { key, wanted: "a whole number" };
        self.get(key).map(|value| value.trim().parse().map_err(bad)).transpose()
    }

    /// Seconds; zero stands for the default.
    fn seconds(&self, key: &'static str) -> Result<Option<Duration>, ConninfoError> {
        let seconds = self.whole::<u32>(key)?.filter(|seconds| *seconds > 0);
        Ok(seconds.map(|seconds| Duration::from_secs(seconds.into())))
    }

    fn choice<T: Copy>(
        &self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
        wanted: &'static str,
    ) -> Result<T, ConninfoError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let chosen = choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice);
        chosen.ok_or(ConninfoError::BadValue { key, wanted })
    }
}

fn known(key: &str) -> Result<&'static str, ConninfoError> {
    if let Some((known, _)) = KEYS.iter().find(|(known, _)| *known == key) {
        return Ok(known);
    }
    if let Some((key, _, instead)) = REFUSED.iter().find(|(refused, _, _)| *refused == key) {
        return Err(ConninfoError::Unsupported { key, instead });
    }
    let nearest = KEYS
        .iter()
        .map(|(known, _)| (strsim::jaro_winkler(known, &key.to_ascii_lowercase()), *known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity >= SUGGEST_SIMILARITY)
        .map(|(_, known)| known);
    Err(ConninfoError::UnknownKey { key: key.to_owned(), nearest })
}

const SSL_MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

const BINDINGS: [(&str, ChannelBinding); 3] = [
    ("disable", ChannelBinding::Disable),
    ("prefer", ChannelBinding::Prefer),
    ("require", ChannelBinding::Require),
];

const TARGETS: [(&str, TargetSessionAttrs); 6] = [
    ("any", TargetSessionAttrs::Any),
    ("read-write", TargetSessionAttrs::ReadWrite),
    ("read-only", TargetSessionAttrs::ReadOnly),
    ("primary", TargetSessionAttrs::Primary),
    ("standby", TargetSessionAttrs::Standby),
    ("prefer-standby", TargetSessionAttrs::PreferStandby),
];

/// The name under which `choice` is written.
fn name_of<T: PartialEq>(choices: &[(&'static str, T)], choice: &T) -> &'static str {
    choices.iter().find(|(_, value)| value == choice).map_or("", |(name, _)| name)
}

/// `sslmode` as it is written.
pub(in crate::client) fn ssl_mode_name(mode: SslMode) -> &'static str {
    name_of(&SSL_MODES, &mode)
}

pub(super) fn interpret(
    settings: &Settings,
    home: Option<PathBuf>,
    system_user: impl Fn() -> Option<String>,
) -> Result<Conninfo, ConninfoError> {
    settings.choice(
        "gssencmode",
        (),
        &[("disable", ()), ("prefer", ())],
        "disable or prefer; GSSAPI encryption is not spoken, use sslmode",
    )?;
    settings.choice(
        "sslnegotiation",
        (),
        &[("postgres", ())],
        "postgres; TLS without PostgreSQL's own greeting is not spoken",
    )?;
    let user = settings.get("user").map(str::to_owned).or_else(system_user).filter(|user| !user.is_empty());
    let application_name =
        settings.get("application_name").or_else(|| settings.get("fallback_application_name"));
    Ok(Conninfo {
        hosts: hosts(settings)?,
        user: user.ok_or(ConninfoError::NoUser)?,
        database: settings.get("dbname").map(str::to_owned),
        password: settings.get("password").map(|text| Password::new(text.to_owned())),
        passfile: settings.path("passfile"),
        home,
        tls: tls(settings)?,
        connect_timeout: settings.seconds("connect_timeout")?,
        application_name: application_name.map(str::to_owned),
        options: settings.get("options").map(str::to_owned),
        target: settings.choice(
            "target_session_attrs",
            TargetSessionAttrs::Any,
            &TARGETS,
            "any, read-write, read-only, primary, standby or prefer-standby",
        )?,
        keepalive: Keepalive {
            on: settings.choice("keepalives", true, &[("1", true), ("0", false)], "1 or 0")?,
            idle: settings.seconds("keepalives_idle")?,
            interval: settings.seconds("keepalives_interval")?,
            count: settings.whole::<u32>("keepalives_count")?.filter(|count| *count > 0),
            unacknowledged_ms: settings.whole::<u32>("tcp_user_timeout")?.filter(|limit| *limit > 0),
        },
    })
}

fn tls(settings: &Settings) -> Result<TlsSettings, ConninfoError> {
    let roots = match settings.get("sslrootcert") {
        None => Roots::Default,
        Some("system") => Roots::System,
        Some(path) => Roots::File(path.into()),
    };
    // As in libpq: trusting every public authority means nothing unless the name is checked too.
    let default = if roots == Roots::System { SslMode::VerifyFull } else { SslMode::Prefer };
    let mode = settings.choice(
        "sslmode",
        default,
        &SSL_MODES,
        "disable, allow, prefer, require, verify-ca or verify-full",
    )?;
    if roots == Roots::System && mode != SslMode::VerifyFull {
        return Err(ConninfoError::BadValue {
            key: "sslmode",
            wanted: "verify-full when sslrootcert=system",
        });
    }
    let binding = settings.choice(
        "channel_binding",
        ChannelBinding::Prefer,
        &BINDINGS,
        "disable, prefer or require",
    )?;
    let (certificate, key) = (settings.path("sslcert"), settings.path("sslkey"));
    Ok(TlsSettings { mode, roots, certificate, key, binding })
}

fn hosts(settings: &Settings) -> Result<Vec<Host>, ConninfoError> {
    let names = settings.list("host");
    let addresses = settings.list("hostaddr");
    let ports = settings.list("port");
    let count = names.len().max(addresses.len()).max(1);
    if count > HOST_LIMIT {
        return Err(ConninfoError::TooManyHosts { count, limit: HOST_LIMIT });
    }
    let uneven = |key, list: &[&str], one_will_do| {
        let fits = list.is_empty() || list.len() == count || (one_will_do && list.len() == 1);
        if fits { Ok(()) } else { Err(ConninfoError::Uneven { key, count: list.len(), hosts: count }) }
    };
    uneven("host", &names, false)?;
    uneven("hostaddr", &addresses, false)?;
    uneven("port", &ports, true)?;
    (0..count)
        .map(|index| {
            let port = if ports.len() == 1 { ports.first() } else { ports.get(index) };
            Ok(Host {
                place: place(
                    names.get(index).copied().unwrap_or_default(),
                    addresses.get(index).copied().unwrap_or_default(),
                )?,
                port: port
                    .filter(|port| !port.is_empty())
                    .map_or(Ok(DEFAULT_PORT), |port| self::port(port))?,
            })
        })
        .collect()
}

fn port(text: &str) -> Result<u16, ConninfoError> {
    let port = text.parse().ok().filter(|port| *port > 0);
    // The text is not shown: an unescaped `/` or `:` in a URI's password ends up here.
    port.ok_or(ConninfoError::BadValue {
        key: "port",
        wanted: "1 to 65535 (in a URI, write : / and @ in a password as %3A, %2F and %40)",
    })
}

fn place(name: &str, address: &str) -> Result<Place, ConninfoError> {
    let address: Option<IpAddr> =
        match address {
            "" => None,
            text => Some(text.parse().map_err(|_| ConninfoError::BadValue {
                key: "hostaddr",
                wanted: "an IPv4 or IPv6 address",
            })?),
        };
    match (name, address) {
        ("", None) => Ok(Place::DefaultSocket),
        ("", Some(address)) => Ok(Place::Network { name: address.to_string(), address: Some(address) }),
        (name, None) if name.starts_with('/') => Ok(Place::Socket(name.into())),
        (name, _) if name.starts_with('@') || name.contains(|c: char| c.is_whitespace() || c == '/') => {
            Err(ConninfoError::BadValue {
                key: "host",
                wanted: "a host name, an address, or a socket directory that begins with /",
            })
        }
        (name, address) => Ok(Place::Network { name: name.to_owned(), address }),
    }
}

/// Writes `key=value` pairs; what is at its default stays out.
pub(super) fn write(info: &Conninfo) -> String {
    let mut pairs = Pairs(String::new());
    let list = |f: &dyn Fn(&Host) -> String| info.hosts.iter().map(f).collect::<Vec<_>>().join(",");
    let hosts = list(&|host| match &host.place {
        Place::DefaultSocket => String::new(),
        Place::Socket(directory) => directory.display().to_string(),
        Place::Network { name, .. } => name.clone(),
    });
    let addresses = list(&|host| match &host.place {
        Place::Network { address: Some(address), .. } => address.to_string(),
        _ => String::new(),
    });
    let only_commas = |text: &str| text.chars().all(|c| c == ',');
    // Several default sockets are a list of empty names, and must stay one.
    pairs.add("host", Some(hosts.as_str()).filter(|hosts| !hosts.is_empty()));
    pairs.add("hostaddr", Some(addresses.as_str()).filter(|list| !only_commas(list)));
    pairs.add("port", Some(&list(&|host| host.port.to_string())));
    pairs.add("user", Some(&info.user));
    pairs.add("dbname", info.database.as_deref());
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    pairs.add("passfile", path(&info.passfile).as_deref());
    pairs.add("sslmode", Some(name_of(&SSL_MODES, &info.tls.mode)));
    let roots = match &info.tls.roots {
        Roots::Default => None,
        Roots::System => Some("system".to_owned()),
        Roots::File(path) => Some(path.display().to_string()),
    };
    pairs.add("sslrootcert", roots.as_deref());
    pairs.add("sslcert", path(&info.tls.certificate).as_deref());
    pairs.add("sslkey", path(&info.tls.key).as_deref());
    if info.tls.binding != ChannelBinding::Prefer {
        pairs.add("channel_binding", Some(name_of(&BINDINGS, &info.tls.binding)));
    }
    let seconds = |time: &Option<Duration>| time.map(|time| time.as_secs().to_string());
    pairs.add("connect_timeout", seconds(&info.connect_timeout).as_deref());
    pairs.add("application_name", info.application_name.as_deref());
    pairs.add("options", info.options.as_deref());
    if info.target != TargetSessionAttrs::Any {
        pairs.add("target_session_attrs", Some(name_of(&TARGETS, &info.target)));
    }
    pairs.add("keepalives", (!info.keepalive.on).then_some("0"));
    pairs.add("keepalives_idle", seconds(&info.keepalive.idle).as_deref());
    pairs.add("keepalives_interval", seconds(&info.keepalive.interval).as_deref());
    pairs.add("keepalives_count", info.keepalive.count.map(|count| count.to_string()).as_deref());
    pairs.add("tcp_user_timeout", info.keepalive.unacknowledged_ms.map(|limit| limit.to_string()).as_deref());
    pairs.0
}

struct Pairs(String);

impl Pairs {
    fn add(&mut self, key: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        let space = if self.0.is_empty() { "" } else { " " };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@+%".contains(c);
        let written = if !value.is_empty() && value.chars().all(plain) {
            write!(self.0, "{space}{key}={value}")
        } else {
            let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
            write!(self.0, "{space}{key}='{escaped}'")
        };
        written.expect("writing to a string cannot fail");
    }
}
