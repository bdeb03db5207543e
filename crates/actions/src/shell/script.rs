//! Commands as a file that an interpreter runs, and the shell variables that they leave.
//!
//! The file is read by `/bin/sh`, or by what a first line `#!…` names; it is not executed itself, so that it may lie
//! where nothing may be executed. Variables are written down as the shell ends, however it ends but by a signal, each
//! behind its name and before a zero byte, which none of them can hold.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What runs commands that do not say.
const SHELL: &str = "/bin/sh";
/// Interpreters that know shell variables.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ksh", "zsh", "ash"];
/// So much all variables together may hold: they stand in one record of the run's chain.
pub(super) const OUTPUTS_LIMIT_BYTES: u64 = 32 << 10;
/// Where the file with the variables is, for the shell.
pub(super) const OUTPUTS_VARIABLE: &str = "LIFEBOAT_OUTPUTS";
/// Names tried for a directory of our own.
const ATTEMPTS: u32 = 1000;

/// What interprets the commands: a program and its arguments before the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interpreter {
    pub program: String,
    pub argument: Option<String>,
}

impl Interpreter {
    /// As the first line says.
    pub(super) fn of(text: &str) -> Self {
        let first = text.lines().next().unwrap_or_default();
        let Some(named) = first.strip_prefix("#!").map(str::trim).filter(|named| !named.is_empty()) else {
            return Self { program: SHELL.to_owned(), argument: None };
        };
        // As the kernel does it: the rest of the line is one argument.
        match named.split_once([' ', '\t']) {
            Some((program, argument)) => {
                Self { program: program.to_owned(), argument: Some(argument.trim().to_owned()) }
            }
            None => Self { program: named.to_owned(), argument: None },
        }
    }

    /// Whether it knows shell variables.
    pub(super) fn is_shell(&self) -> bool {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let program = name(&self.program);
        let real = match (program.as_str(), &self.argument) {
            ("env", Some(argument)) => name(argument.split_whitespace().next().unwrap_or_default()),
            _ => program,
        };
        SHELLS.contains(&real.as_str())
    }
}

/// The file and the directory that it lies in, which goes when this is dropped.
#[derive(Debug)]
pub(super) struct Script {
    directory: PathBuf,
}

impl Script {
    /// Writes it down, where only we can read it.
    pub(super) fn new(below: &Path, text: &str, outputs: &[String]) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(below)?;
        let script = Self { directory: own_directory(below)? };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(script.path())?;
        // On the first line, so that the shell's own messages name the right one.
        file.write_all(on_exit(outputs).as_bytes())?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        Ok(script)
    }

    /// The commands.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("step")
    }

    /// Where the shell writes its variables.
    pub(super) fn outputs_path(&self) -> PathBuf {
        self.directory.join("outputs")
    }

    /// The variables that the shell left; or why not.
    pub(super) fn outputs(&self) -> Result<BTreeMap<String, String>, String> {
        let file = match fs::File::open(self.outputs_path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(format!("its outputs cannot be read: {error}")),
        };
        let mut bytes = Vec::new();
        let read = file.take(OUTPUTS_LIMIT_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| format!("its outputs cannot be read: {error}"))?;
        if bytes.len() as u64 > OUTPUTS_LIMIT_BYTES {
            return Err(format!(
                "its outputs are larger than {} KiB; what is larger belongs into a file",
                OUTPUTS_LIMIT_BYTES >> 10
            ));
        }
        let text = String::from_utf8(bytes).map_err(|_| "its outputs are no UTF-8 text".to_owned())?;
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // What cannot be removed is harmless: only we can read it.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn own_directory(below: &Path) -> io::Result<PathBuf> {
    for attempt in 0..ATTEMPTS {
        let directory = below.join(format!("step-{}-{attempt}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|()| directory),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn on_exit(outputs: &[String]) -> String {
    if outputs.is_empty() {
        return String::new();
    }
    let one = |name: &String| {
        format!(
            r#"if [ "${{{name}+x}}" ]; then printf "{name}=%s\0" "${name}" >>"${OUTPUTS_VARIABLE}"; fi; "#
        )
    };
    let all: String = outputs.iter().map(one).collect();
    format!("trap '{all}' EXIT; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, program: &str, argument: Option<&str>, is_shell: bool) {
        let interpreter = Interpreter::of(text);
        assert_eq!((interpreter.program.as_str(), interpreter.argument.as_deref()), (program, argument));
        assert_eq!(interpreter.is_shell(), is_shell);
    }

    #[test]
    fn a_first_line_names_the_interpreter() {
        check("echo", "/bin/sh", None, true);
        check("#!\necho", "/bin/sh", None, true);
        check("#!/bin/bash\necho", "/bin/bash", None, true);
        check("#! /bin/bash -eu -o pipefail\n", "/bin/bash", Some("-eu -o pipefail"), true);
        check("#!/usr/bin/env bash\n", "/usr/bin/env", Some("bash"), true);
        check("#!/usr/bin/env python3\n", "/usr/bin/env", Some("python3"), false);
    }
}
