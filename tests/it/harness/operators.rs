//! The components that tests run: built once for each run of this binary, by the cargo that runs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::root;

/// The sample operators, and those in `operators/` that tests run.
const PACKAGES: [&str; 12] = [
    "enrich",
    "heavy",
    "nexmark",
    "nexmark-count",
    "top-bids",
    "word-count",
    "word-split",
    "history-1",
    "history-2",
    "look-for-files",
    "misbehave",
    "read-files",
];

/// Where cargo puts what it builds.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory")
}

/// Cargo, as the tests were started by it.
pub(crate) fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The directory that holds the components.
pub(crate) fn operators() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut build = cargo();
        build.args(["build", "--profile", "operator", "--target", "wasm32-wasip2"]);
        build.arg("--target-dir").arg(target());
        build.args(PACKAGES.map(|package| format!("--package={package}")));
        let built = build.output().expect("cargo can be started");
        assert!(
            built.status.success(),
            "the operators cannot be built:\n{}",
            String::from_utf8_lossy(&built.stderr)
        );
        target().join("wasm32-wasip2/operator")
    })
}
