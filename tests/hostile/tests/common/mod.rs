//! The arena of the tests: the command as they were built, and the canary's components.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidemill_hostile::process::Host;
use tidemill_hostile::trial::Arena;

/// The canary's components, built by the cargo that runs the tests, below the directory of what cargo builds.
fn operators(target: &Path) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args(["build", "--profile", "operator", "--target", "wasm32-wasip2"]);
    build.arg("--target-dir").arg(target).args(["--package=word-split", "--package=word-count"]);
    let built = build.output().expect("cargo can be started");
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "the operators cannot be built:\n{said}");
    target.join("wasm32-wasip2/operator")
}

/// An arena whose compile cache is this one of the directory for tests.
pub(crate) fn arena(tmpdir: &Path, cache: &str) -> Arena {
    // Compiled anew in each run: compiling is a part of the attack.
    let cache = tmpdir.join(cache);
    std::fs::remove_dir_all(&cache).ok();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_hostile-host"));
    let target = tmpdir.parent().expect("it lies in the target directory");
    Arena::new(Host { binary, cache }, operators(target))
}
