//! Connection strings as people paste them, and hostile ones.

use super::*;
use proptest::prelude::*;

fn no_environment(_: &str) -> Option<String> {
    None
}

fn parse(text: &str) -> Result<Conninfo, ConninfoError> {
    Conninfo::parse(text, &no_environment)
}

/// What a string means, as one that leaves nothing open; or why it was refused.
#[track_caller]
fn check(text: &str, expected: &str) {
    let outcome = parse(text).map_or_else(|error| format!("refused: {error}"), |info| info.without_secrets());
    assert_eq!(outcome, expected, "{text}");
}

#[test]
fn pairs() {
    check("user=u", "port=5432 user=u sslmode=prefer");
    check(
        "  host = db.internal port=6432\tuser='a b' ",
        "host=db.internal port=6432 user='a b' sslmode=prefer",
    );
    check(r"user='it\'s \\ me' dbname=a\ b", r"port=5432 user='it\'s \\ me' dbname='a b' sslmode=prefer");
    check("user=u host=/run/pg", "host=/run/pg port=5432 user=u sslmode=prefer");
    check("user=u host=a,b port=1,2", "host=a,b port=1,2 user=u sslmode=prefer");
    check("user=u host=a,b port=1", "host=a,b port=1,1 user=u sslmode=prefer");
    check("user=u host=a,,b", "host=a,,b port=5432,5432,5432 user=u sslmode=prefer");
    check("user=u host=db hostaddr=10.0.0.1", "host=db hostaddr=10.0.0.1 port=5432 user=u sslmode=prefer");
    check("user=u sslrootcert=system", "port=5432 user=u sslmode=verify-full sslrootcert=system");
    check("user=u user=v", "port=5432 user=v sslmode=prefer");
}

#[test]
fn uris() {
    check("postgresql://u@db/app", "host=db port=5432 user=u dbname=app sslmode=prefer");
    check("postgres://u:p%40ss@db:6432", "host=db port=6432 user=u sslmode=prefer");
    check(
        "postgresql://u@a:1,b/app?sslmode=require&target_session_attrs=primary",
        "host=a,b port=1,5432 user=u dbname=app sslmode=require target_session_attrs=primary",
    );
    check("postgresql://u@[2001:db8::1]:6432/", "host=2001:db8::1 port=6432 user=u sslmode=prefer");
    check("postgresql://u@%2Frun%2Fpg/app", "host=/run/pg port=5432 user=u dbname=app sslmode=prefer");
    check("postgresql:///app?user=u&host=%2Ftmp", "host=/tmp port=5432 user=u dbname=app sslmode=prefer");
    check("postgresql://u@db?ssl=true", "host=db port=5432 user=u sslmode=require");
}

#[test]
fn refusals_say_what_to_write() {
    check("user=u hots=db", "refused: `hots` is no connection parameter; did you mean `host`?");
    check("user=u sslMode=require", "refused: `sslMode` is no connection parameter; did you mean `sslmode`?");
    check("user=u zzz=1", "refused: `zzz` is no connection parameter");
    check(
        "service=prod",
        "refused: `service` is not offered here: write the parameters of that service into the connection string, and unset PGSERVICE",
    );
    check("user=u host=a,b port=1,2,3", "refused: `port` lists 3 values for 2 hosts; give one for each host");
    check("host=db", "refused: no user is named; add user=… to the connection string or set PGUSER");
    check(
        "user=u sslmode=on",
        "refused: the value of `sslmode` cannot be used: it must be disable, allow, prefer, require, verify-ca or verify-full",
    );
    check(
        "user=u sslmode=require sslrootcert=system",
        "refused: the value of `sslmode` cannot be used: it must be verify-full when sslrootcert=system",
    );
    check(
        "user=u dbname='x",
        r"refused: the quote that begins the value of `dbname` does not end; write a quote inside it as \' and a backslash as \\",
    );
}

#[test]
fn no_password_is_printed() {
    let texts = [
        "user=u password=hunter2",
        "postgresql://u:hunter2@db/app",
        "postgresql://u:x@hunter2@db/app",
        "postgresql://u:hunter2/x@db/app",
        "user=u password=x hunter2",
        "postgresql://u:hunter2%zz@db/app",
        "user=u password='hunter2",
        "user=u port=hunter2",
    ];
    for text in texts {
        let shown = match parse(text) {
            Ok(info) => format!("{info} {info:?} {:?}", info.password),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains("hunter2"), "{text}: {shown}");
    }
}

#[test]
fn the_environment_fills_what_is_open() {
    let environment = |name: &str| {
        let value = match name {
            "PGHOST" => "from.environment",
            "PGPORT" => "7000",
            "PGPASSWORD" => "secret",
            "PGSSLMODE" => "verify-ca",
            "HOME" => "/home/x",
            "USER" => "x",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let info = Conninfo::parse("port=5433", &environment).unwrap();
    assert_eq!(info.without_secrets(), "host=from.environment port=5433 user=x sslmode=verify-ca");
    assert_eq!(info.password, Some(Password::new("secret".to_owned())));
    assert_eq!(info.home_file(".pgpass"), Some("/home/x/.pgpass".into()));

    let service = |name: &str| (name == "PGSERVICE").then(|| "prod".to_owned());
    assert!(matches!(
        Conninfo::parse("user=u", &service),
        Err(ConninfoError::Unsupported { key: "service", .. })
    ));
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("postgresql://{text}"));
    }

    #[test]
    fn near_real_strings_never_panic(text in "(postgres(ql)?://)?([a-z:@/\\[\\]%?&=,' \\\\]|host|port|user|password){0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn what_is_written_reads_back(user in "[^\0]{1,20}", database in "[^\0]{1,20}", options in "[^\0]{1,20}") {
        let quote = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
        let text = format!("user='{}' dbname='{}' options='{}'", quote(&user), quote(&database), quote(&options));
        let info = parse(&text).unwrap();
        prop_assert_eq!(info.user(), user);
        prop_assert_eq!(info.database(), database);
        prop_assert_eq!(parse(&info.without_secrets()).unwrap(), info);
    }
}
