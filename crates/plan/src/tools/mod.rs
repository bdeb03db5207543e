//! What command-line tools know: subcommands and options, as data with the version that they were taken from.
//!
//! The files in `data/` are written by `scripts/lint-tools`; `docs/lint/README.md` says how each was made.
//!
//! # Invariants
//! - **T1 silence on what is not covered.** A tool, subcommand or option style that the data does not speak of has no
//!   problem.
//!
//! Deliberately absent: values of options, and what a command does.

#[cfg(test)]
mod tests;

use crate::finding::nearest;
use crate::shell::{Command, Word};
use std::collections::HashMap;
use std::sync::OnceLock;

/// A tool and what is known of it.
struct Tool {
    name: &'static str,
    data: &'static str,
    /// Long options begin with one hyphen (or two).
    one_hyphen: bool,
    /// The beginning of an option's name will do.
    abbreviates: bool,
    /// Other programs may add subcommands.
    plugins: bool,
    index: OnceLock<Index>,
}

const fn tool(name: &'static str, data: &'static str, [one_hyphen, abbreviates, plugins]: [bool; 3]) -> Tool {
    Tool { name, data, one_hyphen, abbreviates, plugins, index: OnceLock::new() }
}

const GO: [bool; 3] = [false, false, false];
const TAKES_PLUGINS: [bool; 3] = [false, false, true];
const ONE_HYPHEN: [bool; 3] = [true, false, false];
const ABBREVIATES: [bool; 3] = [false, true, false];

static TOOLS: [Tool; 13] = [
    tool("kubectl", include_str!("data/kubectl.txt"), TAKES_PLUGINS),
    tool("helm", include_str!("data/helm.txt"), TAKES_PLUGINS),
    tool("eksctl", include_str!("data/eksctl.txt"), GO),
    tool("terraform", include_str!("data/terraform.txt"), ONE_HYPHEN),
    tool("aws", include_str!("data/aws.txt"), ABBREVIATES),
    tool("gcloud", include_str!("data/gcloud.txt"), ABBREVIATES),
    tool("gsutil", include_str!("data/gsutil.txt"), ABBREVIATES),
    tool("psql", include_str!("data/psql.txt"), ABBREVIATES),
    tool("pg_dump", include_str!("data/pg_dump.txt"), ABBREVIATES),
    tool("pg_restore", include_str!("data/pg_restore.txt"), ABBREVIATES),
    tool("createdb", include_str!("data/createdb.txt"), ABBREVIATES),
    tool("curl", include_str!("data/curl.txt"), ABBREVIATES),
    tool("npm", include_str!("data/npm.txt"), ABBREVIATES),
];

/// What a tool says of a command: a line of its data.
#[derive(Clone, Copy)]
struct Line {
    /// `*` it only holds others, `+` it also runs, `~` nothing is known below it.
    mark: char,
    options: &'static str,
}

struct Index {
    version: &'static str,
    lines: HashMap<String, Line>,
}

impl Tool {
    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index { version: "", lines: HashMap::new() };
            for line in self.data.lines() {
                if let Some(version) = line.strip_prefix("version ").filter(|_| index.version.is_empty()) {
                    index.version = version;
                } else if !line.starts_with('#') {
                    let options_at = line.find(" -").map_or(line.len(), |at| at + 1);
                    let (mut words, options) = (line[..options_at].trim_end(), &line[options_at..]);
                    let mut mark = ' ';
                    if let Some((before, last)) = words.rsplit_once(' ')
                        && let ("*" | "+" | "~", Some(sign)) = (last, last.chars().next())
                    {
                        (words, mark) = (before, sign);
                    }
                    // `get nodegroup|ng`: a line for each name.
                    let (group, names) =
                        words.rsplit_once(' ').map_or(("", words), |(group, names)| (group, names));
                    for name in names.split('|') {
                        let key = if group.is_empty() { name.to_owned() } else { format!("{group} {name}") };
                        index.lines.insert(key, Line { mark, options });
                    }
                }
            }
            index
        })
    }

    fn line(&self, path: &str) -> Option<Line> {
        self.index().lines.get(path).copied()
    }
}

/// What a tool would not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// There is no such subcommand.
    Subcommand {
        /// The word, as an index of the command's words.
        word: usize,
        /// The tool and the subcommands in front of it.
        of: String,
        /// What it may have been meant to be.
        nearest: Option<String>,
    },
    /// There is no such option.
    Unknown {
        /// The word, as an index of the command's words.
        word: usize,
        /// The option without its value.
        option: String,
        /// The tool and its subcommands.
        of: String,
        /// What it may have been meant to be.
        nearest: Option<String>,
    },
    /// An option must be there and is not.
    Missing {
        /// The option.
        option: String,
        /// The tool and its subcommands.
        of: String,
    },
}

/// The version that the data of a tool was taken from.
#[must_use]
pub fn version(name: &str) -> Option<&'static str> {
    TOOLS.iter().find(|tool| tool.name == name).map(|tool| tool.index().version)
}

/// The names of the tools that there is data of.
pub fn names() -> impl Iterator<Item = &'static str> {
    TOOLS.iter().map(|tool| tool.name)
}

/// The tool's own subcommands of a command: `["rollout", "restart"]`. Empty if the tool is not known.
#[must_use]
pub fn subcommands(command: &Command) -> Vec<String> {
    TOOLS
        .iter()
        .find(|tool| tool.name == command.name())
        .map_or_else(Vec::new, |tool| walk(tool, command).path)
}

/// The words that are neither options nor their values, behind the subcommands.
#[must_use]
pub fn positionals(command: &Command) -> Vec<&Word> {
    let found =
        TOOLS.iter().find(|tool| tool.name == command.name()).map(|tool| walk(tool, command).positionals);
    found.unwrap_or_default().into_iter().filter_map(|at| command.words.get(at)).collect()
}

/// All that the tool would not accept.
#[must_use]
pub fn problems(command: &Command) -> Vec<Problem> {
    let Some(tool) = TOOLS.iter().find(|tool| tool.name == command.name()) else { return Vec::new() };
    walk(tool, command).problems
}

#[derive(Default)]
struct Walk {
    path: Vec<String>,
    positionals: Vec<usize>,
    problems: Vec<Problem>,
}

/// Whether a word is not what will be typed: a variable, a placeholder, a template.
fn is_open(word: &Word) -> bool {
    word.substitutes
        || !word.variables.is_empty()
        || word.text.contains(['<', '>', '{', '[', '$', '…', '*'])
        || word.text.contains("...")
}

fn walk(tool: &Tool, command: &Command) -> Walk {
    let mut walk = Walk::default();
    let global = tool.line("global").map_or("", |line| line.options);
    let has_commands = tool.index().lines.len() > 1;
    let mut line = Line { mark: if has_commands { '*' } else { ' ' }, options: "" };
    let mut given: Vec<String> = Vec::new();
    let mut is_whole = true;
    let mut at = 1;
    while at < command.words.len() {
        let word = &command.words[at];
        let text = word.text.as_str();
        if text == "--" {
            break;
        }
        if text.starts_with('-') && text.len() > 1 && !text[1..].starts_with(|c: char| c.is_ascii_digit()) {
            let of = format!("{} {}", tool.name, walk.path.join(" ")).trim_end().to_owned();
            match option(tool, text, &[line.options, global]) {
                Known::Yes { name, takes_next } => {
                    given.push(name);
                    at += usize::from(takes_next);
                }
                Known::Open => {}
                Known::No { option, nearest } => {
                    // Options in front of the subcommand may be the subcommand's own.
                    let speaks = line.mark != '*' && line.mark != '~' && !is_open(word);
                    let passed_on =
                        matches!(walk.path.first().map(String::as_str), Some("exec" | "run" | "debug"))
                            && walk.positionals.len() > 1;
                    if speaks && !passed_on {
                        walk.problems.push(Problem::Unknown { word: at, option, of, nearest });
                    }
                    is_whole = false;
                }
            }
            at += 1;
            continue;
        }
        if line.mark == '~' {
            break;
        }
        if is_open(word) {
            is_whole = false;
        }
        if matches!(line.mark, '*' | '+') {
            let path = if walk.path.is_empty() {
                text.to_owned()
            } else {
                format!("{} {text}", walk.path.join(" "))
            };
            let is_name = text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            match tool.line(&path).filter(|_| {
                text != "global" && text != "version" || !walk.path.is_empty() || tool.line(text).is_some()
            }) {
                Some(found) => {
                    line = Line { mark: found.mark, options: found.options };
                    walk.path.push(text.to_owned());
                    at += 1;
                    continue;
                }
                None if line.mark == '*'
                    && is_name
                    && !is_open(word)
                    && !walk.path.is_empty() | !tool.plugins =>
                {
                    let of = format!("{} {}", tool.name, walk.path.join(" ")).trim_end().to_owned();
                    walk.problems.push(Problem::Subcommand {
                        word: at,
                        of,
                        nearest: sibling(tool, &walk.path, text),
                    });
                    return walk;
                }
                None if line.mark == '*' => {
                    // A plugin, a placeholder: only a slip of the finger is one.
                    if let Some(near) = sibling(tool, &walk.path, text).filter(|near| {
                        is_name
                            && near.len().abs_diff(text.len()) <= 1
                            && near.len() >= 3
                            && strsim::damerau_levenshtein(near, text) == 1
                    }) {
                        walk.problems.push(Problem::Subcommand {
                            word: at,
                            of: tool.name.to_owned(),
                            nearest: Some(near),
                        });
                    }
                    return walk;
                }
                None => line.mark = ' ',
            }
        }
        walk.positionals.push(at);
        at += 1;
    }
    if is_whole && !matches!(line.mark, '*' | '~') {
        let skipped = ["--cli-input-json", "--cli-input-yaml", "--generate-cli-skeleton", "--help"];
        let excused = given.iter().any(|name| skipped.contains(&name.as_str()));
        let needed =
            line.options.split(' ').filter_map(|option| option.split(',').next()?.strip_suffix("=!"));
        for needed in needed.filter(|needed| !excused && !given.iter().any(|name| name == needed)) {
            let of = format!("{} {}", tool.name, walk.path.join(" "));
            walk.problems.push(Problem::Missing { option: needed.to_owned(), of });
        }
    }
    walk
}

fn sibling(tool: &Tool, path: &[String], written: &str) -> Option<String> {
    let prefix = if path.is_empty() { String::new() } else { format!("{} ", path.join(" ")) };
    let names = tool
        .index()
        .lines
        .keys()
        .filter_map(|key| key.strip_prefix(&prefix))
        .filter(|name| !name.contains(' ') && *name != "global");
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    nearest(written, names).map(str::to_owned)
}

enum Known {
    Yes {
        name: String,
        takes_next: bool,
    },
    /// The data does not speak of it.
    Open,
    No {
        option: String,
        nearest: Option<String>,
    },
}

fn option(tool: &Tool, text: &str, lists: &[&'static str]) -> Known {
    let options = || lists.iter().flat_map(|list| list.split(' ')).filter(|option| !option.is_empty());
    if options().any(|option| option == "--*") {
        return Known::Open;
    }
    let (written, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let name_of =
        |option: &'static str| option.split(',').next().unwrap_or_default().trim_end_matches(['=', '?', '!']);
    let takes = |option: &'static str| {
        option.split(',').next().is_some_and(|name| name.trim_end_matches('!').ends_with('='))
    };
    let yes = |option: &'static str| Known::Yes {
        name: name_of(option).to_owned(),
        takes_next: takes(option) && value.is_none(),
    };
    let is_long = written.starts_with("--") || tool.one_hyphen;
    if is_long {
        let wanted = if tool.one_hyphen {
            format!("-{}", written.trim_start_matches('-'))
        } else {
            written.to_owned()
        };
        if let Some(option) = options().find(|option| name_of(option) == wanted) {
            return if tool.one_hyphen {
                Known::Yes { name: wanted, takes_next: false }
            } else {
                yes(option)
            };
        }
        let positive = wanted.strip_prefix("--no-").map(|rest| format!("--{rest}"));
        if let Some(option) = options().find(|option| positive.as_deref() == Some(name_of(option))) {
            return Known::Yes { name: name_of(option).to_owned(), takes_next: false };
        }
        if tool.abbreviates
            && wanted.len() > 4
            && let Some(option) = options().find(|option| name_of(option).starts_with(&wanted))
        {
            return yes(option);
        }
        let near = nearest(&wanted, options().map(name_of).filter(|name| name.len() > 2)).map(str::to_owned);
        return Known::No { option: wanted, nearest: near };
    }
    // Letters: all that follow one which takes a value are its value.
    let letters = written.trim_start_matches('-');
    let mut last = None;
    for (number, letter) in letters.chars().enumerate() {
        let of_letter = options().find(|option| {
            let short =
                option.split_once(",-").map_or(name_of(option).strip_prefix('-'), |(_, short)| Some(short));
            short.is_some_and(|short| short.chars().eq([letter]))
        });
        let Some(option) = of_letter else {
            // A letter that may take a value of which the data does not know.
            return if number == 0 {
                Known::No { option: format!("-{letter}"), nearest: None }
            } else {
                Known::Open
            };
        };
        let is_last = number + 1 == letters.chars().count();
        if takes(option) {
            return Known::Yes { name: name_of(option).to_owned(), takes_next: is_last && value.is_none() };
        }
        last = Some(option);
    }
    last.map_or(Known::Open, |option| Known::Yes { name: name_of(option).to_owned(), takes_next: false })
}
