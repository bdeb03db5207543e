//! `lifeboat recover --table`: one table as it was, without a full restore.
//!
//! ```text
//! throw-away view ─▶ server at the moment ─▶ pg_dump ─▶ a file, or pg_restore into a database
//! ```
//!
//! # Invariants
//! - **T1 all or nothing.** A database gets the tables in one transaction; a file has its name once it is whole.
//! - **T2 nothing is written over.** A table, or a file, that is there already is refused, not replaced.
//! - **T3 all of its rows.** A table comes with its partitions and with the tables that inherit from it, or is refused.

use crate::commands::backup::scratch::Scratch;
use crate::commands::restore::{Asked, resolve};
use crate::failure::Next;
use crate::output::{Exit, Tone, clean};
use crate::points;
use crate::recovery::{self, Hold, Segment, Stopwatch, Wanted};
use crate::settings::{self, Opened, Settings};
use crate::signals::{self, unless_stopped};
use crate::throwaway::ThrowAway;
use anyhow::{Context, anyhow, bail, ensure};
use lifeboat_base::{ByteCount, Lsn, ServiceName};
use lifeboat_postgres::client::{Connection, quote_identifier, quote_literal};
use lifeboat_postgres::server::{Installation, Server};
use lifeboat_postgres::target;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Of what a program says on failing, how many of its errors are shown.
const ERRORS: usize = 3;
/// What makes a dump a script.
const SCRIPT: &str = "sql";

/// Arguments of `lifeboat recover` that are about tables.
#[derive(Debug, clap::Args)]
#[group(id = "table")]
pub struct Args {
    /// Bring back this table alone (schema.name), with its partitions; may be given several times.
    #[arg(long = "table", value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Write it to this file, for pg_restore, or as a script if its name ends with .sql.
    #[arg(long, value_name = "FILE", requires = "tables", conflicts_with = "into")]
    dump: Option<PathBuf>,
    /// The database that it is in [default: the plan's].
    #[arg(long, value_name = "NAME", requires = "tables")]
    database: Option<String>,
    /// Bring it back into this schema, which is made, beside the table of today. Its foreign keys and triggers are
    /// left out.
    #[arg(long, value_name = "SCHEMA", requires = "tables")]
    into_schema: Option<String>,
    /// Where to make the scratch directory: it needs room for what replay writes.
    #[arg(long, value_name = "DIR", requires = "tables")]
    scratch: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Recovered {
    service: ServiceName,
    restore_point: String,
    /// Where replay ended.
    reached: Lsn,
    database: String,
    tables: Vec<Table>,
    /// The file, if it went to one.
    dump: Option<PathBuf>,
    segments: Vec<Segment>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    /// Schema and name, quoted as SQL would have it.
    name: String,
    rows: u64,
}

/// Where the tables go.
enum Goal {
    File(PathBuf),
    Database(String),
}

/// Brings tables back.
///
/// # Errors
/// If they are not where they were to go; nothing is there then.
pub(super) async fn run(
    settings: &Settings,
    asked: &Asked,
    into: Option<String>,
    args: Args,
) -> anyhow::Result<Exit> {
    let goal = match (&args.dump, into) {
        (Some(file), _) => Goal::File(std::path::absolute(file).context("the file has no absolute path")?),
        (None, Some(connection)) => Goal::Database(connection),
        (None, None) => bail!("say where the table goes: --dump FILE, or --into CONNECTION"),
    };
    let opened = settings.open().await?;
    points::must_be_known(&opened, &asked.service).await?;
    let mut watch = Stopwatch::start(settings);
    let resolved = resolve(settings, &opened, asked, None).await?;
    watch.lap("resolved");
    // Known before anything is fetched.
    let installation = recovery::installation(resolved.point.major)?;
    let tools = Tools::of(&installation)?;
    goal.must_be_free(&tools).await?;
    let parent = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Scratch::new(&parent, &resolved.point.id, false).await?;
    let wanted = Wanted::of(&resolved, scratch.path());
    settings.output.say(format!(
        "{} of {} as of {}, from restore point {}",
        args.tables.join(", "),
        asked.service,
        resolved.stop,
        resolved.point.id
    ));
    // Listened to until nothing of it runs any more.
    let _stopping = signals::stopping();
    let hold = Hold::take(settings, &opened, &resolved.point).await;
    let ground = ThrowAway::make(settings, &opened, &wanted).await?;
    watch.lap("shown");
    let taken = async {
        let started = recovery::start(settings, &opened, &resolved.point, scratch.path(), asked.port, &[]);
        let mut server = unless_stopped(started).await??;
        let reached = recovery::reach(settings, &mut server, &resolved.point, resolved.stop()).await?;
        target::reached(reached, &resolved)?;
        watch.lap("replayed");
        let database = database(&opened, &asked.service, &args)?;
        let tables = unless_stopped(take(&mut server, &database, &args, &tools, &goal)).await??;
        watch.lap("copied");
        server.kill9();
        anyhow::Ok((reached, database, tables))
    };
    let taken = taken.await;
    let damage = ground.damage();
    ground.end().await;
    hold.release().await;
    drop(scratch);
    let (reached, database, tables) = match (taken, damage) {
        (Err(error), Some(damage)) => {
            return Err(error).context(format!("the vault holds it damaged: {damage}"));
        }
        (taken, _) => taken.context("nothing was brought back")?,
    };
    let recovered = Recovered {
        service: asked.service.clone(),
        restore_point: resolved.point.id.clone(),
        reached,
        database,
        tables,
        dump: args.dump,
        seconds: watch.total().as_secs_f64(),
        segments: watch.segments,
    };
    settings.output.result("recover.table", &recovered, |style| {
        let mut out = String::new();
        for table in &recovered.tables {
            let line = format!("{} is back as of {}: {} rows", table.name, recovered.reached, table.rows);
            out.push_str(&format!("{}\n", style.paint(Tone::Good, &clean(&line))));
        }
        if let Some(dump) = &recovered.dump {
            let size = std::fs::metadata(dump).map_or(0, |found| found.len());
            out.push_str(&format!(
                "  in            {}, {}\n",
                clean(&dump.display().to_string()),
                ByteCount(size)
            ));
        }
        out.push_str(&format!("  time          {}\n", recovery::times(&recovered.segments)));
        out
    })?;
    Ok(Exit::Good)
}

/// The database that the tables are in.
fn database(opened: &Opened, service: &ServiceName, args: &Args) -> anyhow::Result<String> {
    if let Some(name) = &args.database {
        return Ok(name.clone());
    }
    let postgres =
        opened.postgres(service).next("name the database that the table is in: --database NAME")?;
    Ok(settings::parse_conninfo(postgres.connection.as_str())?.database().to_owned())
}

/// PostgreSQL's own programs for tables.
struct Tools {
    dump: PathBuf,
    restore: PathBuf,
    sql: PathBuf,
}

impl Tools {
    fn of(installation: &Installation) -> anyhow::Result<Self> {
        let find = |name: &str| {
            let program = installation.program(name);
            ensure!(
                program.exists(),
                "{} is missing: install PostgreSQL's client programs",
                program.display()
            );
            Ok(program)
        };
        Ok(Self { dump: find("pg_dump")?, restore: find("pg_restore")?, sql: find("psql")? })
    }
}

impl Goal {
    /// T2, and whether it can be reached at all.
    async fn must_be_free(&self, tools: &Tools) -> anyhow::Result<()> {
        match self {
            Self::File(path) => {
                let is_there = |path: &Path| path.symlink_metadata().is_ok();
                ensure!(!is_there(path), "{} is there already", path.display());
                let partial = partial_of(path);
                if is_there(&partial) {
                    return Err(anyhow!("{} is there already", partial.display()))
                        .next("a call that was killed leaves it: remove it, if it is nobody's");
                }
                let parent = path.parent().unwrap_or(Path::new("/"));
                ensure!(parent.is_dir(), "there is no directory {}", parent.display());
                Ok(())
            }
            Self::Database(connection) => {
                let mut command = Command::new(&tools.sql);
                command.args(["-X", "-q", "-A", "-t", "-w", "-c", "SELECT 1", "-d", connection]);
                run_to_its_end("psql", command.stdin(Stdio::null()).stdout(Stdio::null()))
                    .await
                    .context("the database that the table goes to cannot be reached")
            }
        }
    }
}

/// What a dump is called until it is whole.
fn partial_of(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    partial.into()
}

/// Copies the tables from the recovered server to where they go.
async fn take(
    server: &mut Server,
    database: &str,
    args: &Args,
    tools: &Tools,
    goal: &Goal,
) -> anyhow::Result<Vec<Table>> {
    if args.into_schema.is_some() {
        // Only then can anything be changed there.
        server.promote().await.context("the throw-away server was not opened")?;
    } else {
        server.answering().await?.close().await;
    }
    let mut connection = server
        .connect_to(database)
        .await
        .with_context(|| format!("database {database} of that moment cannot be read"))?;
    let mut asked = Vec::new();
    let mut all: Vec<Found> = Vec::new();
    for table in &args.tables {
        let found = find(&mut connection, database, table).await?;
        let place = |of: &Found| all.iter().position(|known| known.oid == of.oid);
        let new: Vec<Found> = found.iter().filter(|found| place(found).is_none()).cloned().collect();
        asked.extend(found.first().map(|found| found.oid.clone()));
        all.extend(new);
    }
    if let Some(schema) = &args.into_schema {
        let oids = all.iter().map(|found| found.oid.as_str()).collect::<Vec<_>>().join(", ");
        for table in &mut all {
            move_to(&mut connection, table, schema, &oids).await?;
        }
    }
    let mut tables = Vec::new();
    for table in all.iter().filter(|found| asked.contains(&found.oid)) {
        // Of a table with others below it, all of their rows (T3).
        let row = connection.query_one(&format!("SELECT count(*) FROM {}", table.quoted())).await?;
        let rows = row.at(0).and_then(|count| count.parse().ok()).unwrap_or_default();
        tables.push(Table { name: table.quoted(), rows });
    }
    connection.close().await;
    let mut dump = Command::new(&tools.dump);
    dump.arg("-w").arg("-d").arg(with_database(&server.address(), database));
    for table in &all {
        // A pattern: what is between double quotes stands for itself.
        dump.arg("-t").arg(table.quoted());
    }
    copy(dump, tools, goal, args.into_schema.as_deref()).await?;
    Ok(tables)
}

/// The address of the server, with another database.
fn with_database(address: &str, database: &str) -> String {
    let value = lifeboat_postgres::server::conninfo_value(database);
    // The last one counts.
    format!("{address} dbname={value}")
}

async fn copy(mut dump: Command, tools: &Tools, goal: &Goal, schema: Option<&str>) -> anyhow::Result<()> {
    match goal {
        Goal::File(path) => {
            let is_script = path.extension().is_some_and(|extension| extension == SCRIPT);
            let partial = partial_of(path);
            // T2: what is there is somebody's.
            let made = File::create_new(&partial);
            let made = made.with_context(|| format!("{} cannot be made", partial.display()))?;
            dump.arg(if is_script { "-Fp" } else { "-Fc" }).arg("-f").arg(&partial).stdin(Stdio::null());
            let dumped = run_to_its_end("pg_dump", &mut dump).await;
            let named = dumped.and_then(|()| {
                // T1.
                made.sync_all()?;
                renameat_with(CWD, &partial, CWD, path, RenameFlags::NOREPLACE)?;
                File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
                Ok(())
            });
            named.inspect_err(|_| {
                // It is ours, and if it has its name already it is not there.
                let _ = std::fs::remove_file(&partial);
            })
        }
        Goal::Database(connection) => {
            if let Some(schema) = schema {
                let mut make = Command::new(&tools.sql);
                let made = format!("CREATE SCHEMA IF NOT EXISTS {}", quote_identifier(schema));
                make.args(["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-c", &made, "-d", connection]);
                run_to_its_end("psql", make.stdin(Stdio::null())).await?;
            }
            dump.arg("-Fc").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut dumping = dump.kill_on_drop(true).spawn().context("pg_dump was not started")?;
            let from: Stdio =
                dumping.stdout.take().context("pg_dump has no output")?.try_into().context("a pipe")?;
            let mut restore = Command::new(&tools.restore);
            restore.args(["-w", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]);
            restore.arg("-d").arg(connection).stdin(from);
            let restored = run_to_its_end("pg_restore", &mut restore).await;
            let dumped = ended("pg_dump", dumping).await;
            restored.next(
                "if the table is there already, bring it back beside it with --into-schema NAME, or into a file \
                 with --dump FILE",
            )?;
            dumped
        }
    }
}

async fn run_to_its_end(name: &str, command: &mut Command) -> anyhow::Result<()> {
    let child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn();
    ended(name, child.with_context(|| format!("{name} was not started"))?).await
}

async fn ended(name: &str, child: Child) -> anyhow::Result<()> {
    let output = child.wait_with_output().await.with_context(|| format!("{name} was lost"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // The statement that failed is told after what was wrong with it.
    let errors = said.lines().filter(|line| line.contains("error:") || line.contains("ERROR:"));
    let errors: Vec<&str> = errors.take(ERRORS).collect();
    let tail = if errors.is_empty() { said.trim().to_owned() } else { errors.join("\n") };
    Err(anyhow!("{}", clean(&tail)).context(format!("{name} failed")))
}

/// A table that is there.
#[derive(Debug, Clone)]
struct Found {
    oid: String,
    schema: String,
    name: String,
}

impl Found {
    /// As SQL has it.
    fn quoted(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }
}

/// The table, and after it those that its rows are in besides: its partitions, and what inherits from it (T3).
async fn find(connection: &mut Connection, database: &str, table: &str) -> anyhow::Result<Vec<Found>> {
    let question = format!(
        "WITH RECURSIVE below AS (SELECT to_regclass({})::oid AS oid, 0 AS depth \
         UNION SELECT i.inhrelid, below.depth + 1 FROM pg_inherits i JOIN below ON i.inhparent = below.oid) \
         SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind, \
         c.relpersistence = 'u' AS is_unlogged \
         FROM (SELECT oid, max(depth) AS depth FROM below GROUP BY oid) found \
         JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY depth, c.oid",
        quote_literal(table)
    );
    let rows = connection.query(&question).await.with_context(|| format!("`{table}` is no table's name"))?;
    if rows.is_empty() {
        let all = connection.query("SELECT schemaname || '.' || tablename FROM pg_tables").await?;
        let names = all.iter().filter_map(|row| row.at(0));
        let near = lifeboat_plan::nearest(table, names);
        let near = near.map_or_else(String::new, |name| format!("; the nearest name is {name}"));
        return Err(anyhow!("database {database} had no table {table} at that moment{near}"))
            .next("`lifeboat wal search` shows when a table was dropped; another database: --database NAME");
    }
    let mut found: Vec<Found> = Vec::new();
    for row in rows {
        let text = |column: &str| row.text(column).map(str::to_owned);
        let below = Found { oid: text("oid")?, schema: text("schema")?, name: text("name")? };
        let name = match found.first() {
            None => format!("{}.{}", below.schema, below.name),
            Some(above) => format!("{}.{}, below {}.{},", below.schema, below.name, above.schema, above.name),
        };
        match row.text("kind")? {
            "r" | "p" => {}
            "m" => {
                return Err(anyhow!("{name} is a materialized view"))
                    .next("bring back the tables that it is made of, and refresh it");
            }
            "f" => bail!("{name} is a foreign table: its rows were never here"),
            _ => bail!("{name} is no table"),
        }
        ensure!(row.text("is_unlogged")? != "t", "{name} is unlogged: no backup holds its rows");
        found.push(below);
    }
    Ok(found)
}

/// Puts a table of the throw-away server into another schema, without what ties it to any but `others`, oids.
async fn move_to(
    connection: &mut Connection,
    table: &mut Found,
    schema: &str,
    others: &str,
) -> anyhow::Result<()> {
    let (name, oid) = (table.quoted(), &table.oid);
    // Made to be part of what is there today it would show in it, or be refused.
    let above = format!(
        "SELECT CASE WHEN c.relispartition THEN format('ALTER TABLE %s DETACH PARTITION {{}}', i.inhparent::regclass) \
         ELSE format('ALTER TABLE {{}} NO INHERIT %s', i.inhparent::regclass) END \
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhrelid = {oid} AND i.inhparent NOT IN ({others})"
    );
    let ties = format!(
        "SELECT format('ALTER TABLE {{}} DROP CONSTRAINT %I', conname) FROM pg_constraint \
         WHERE conrelid = {oid} AND contype = 'f' AND conparentid = 0 \
         UNION ALL SELECT format('DROP TRIGGER %I ON {{}}', tgname) FROM pg_trigger \
         WHERE tgrelid = {oid} AND NOT tgisinternal AND tgparentid = 0"
    );
    // What it has from above is its own once it is taken away from there.
    for question in [above, ties] {
        let question = question.replace("{}", &name.replace('\'', "''").replace('%', "%%"));
        for row in connection.query(&question).await? {
            connection.query(row.at(0).unwrap_or_default()).await?;
        }
    }
    connection.query(&format!("CREATE SCHEMA IF NOT EXISTS {}", quote_identifier(schema))).await?;
    connection.query(&format!("ALTER TABLE {name} SET SCHEMA {}", quote_identifier(schema))).await?;
    table.schema = schema.to_owned();
    Ok(())
}
