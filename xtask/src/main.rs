//! What CI and people run that no stock tool does: `cargo xtask tidy`, `make bench`.
//!
//! Deliberately absent: anything that the Makefile can say in a line.

#[cfg(feature = "bench")]
mod bench;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy             look for what the house rules forbid
       make bench, make bench-NAME    measure (built with the feature `bench`)";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is for people to read")]
fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    match words[..] {
        ["tidy"] => {
            let findings = tidy::look(root)?;
            for finding in &findings {
                println!("{finding}");
            }
            Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        #[cfg(feature = "bench")]
        ["bench", ref names @ ..] => bench::run(root, names),
        // What a measurement starts beside itself.
        #[cfg(feature = "bench")]
        [bench::SWEEP, directory] => bench::keep(Path::new(directory)).map(|()| ExitCode::SUCCESS),
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}
