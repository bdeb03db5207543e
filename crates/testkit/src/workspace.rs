//! Where the checkout is, asked at run time: a test binary may have been built elsewhere.

use std::path::{Path, PathBuf};

/// The directory whose `Cargo.toml` has the `[workspace]`.
pub(crate) fn root() -> PathBuf {
    let start = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .or_else(|| std::env::current_dir().ok())
        .expect("tests are run by cargo, or from inside the checkout");
    let root = start.ancestors().find(|directory| is_workspace(directory));
    root.unwrap_or_else(|| panic!("no Cargo.toml with a [workspace] above {}", start.display())).to_owned()
}

fn is_workspace(directory: &Path) -> bool {
    std::fs::read_to_string(directory.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"))
}
