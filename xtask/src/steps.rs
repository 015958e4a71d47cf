//! Steps that several chores share. Knows where things lie in the checkout, and nothing of the product.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a chore failed, for people.
pub(crate) type Outcome = Result<(), String>;

/// The target of operators.
const WASM: &str = "wasm32-wasip2";

/// The packages that build to components.
pub(crate) const OPERATORS: [&str; 7] =
    ["enrich", "heavy", "nexmark", "nexmark-count", "top-bids", "word-count", "word-split"];

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The directory that builds go to.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs cargo in the root of the checkout, saying so.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: &[S]) -> Outcome {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let shown: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    eprintln!("xtask: cargo {}", shown.join(" "));
    run(Command::new(cargo).args(arguments).current_dir(root()))
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name} failed: {status}")),
        Err(error) => Err(format!("{name} could not be started: {error}")),
    }
}

/// Adds the Wasm target to the toolchain unless it is there.
pub(crate) fn ensure_wasm_target() -> Outcome {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()).output();
    let sysroot = sysroot.map_err(|error| format!("rustc could not be started: {error}"))?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    if Path::new(&sysroot).join("lib/rustlib").join(WASM).is_dir() {
        return Ok(());
    }
    eprintln!("xtask: rustup target add {WASM}");
    run(Command::new("rustup").args(["target", "add", WASM]).current_dir(root()))
        .map_err(|problem| format!("{problem}; add the target {WASM} to your Rust toolchain"))
}

/// Builds the sample operators.
pub(crate) fn build_operators() -> Outcome {
    ensure_wasm_target()?;
    let mut arguments = vec!["build", "--profile", "operator", "--target", WASM];
    OPERATORS.iter().for_each(|operator| arguments.extend(["-p", operator]));
    cargo(&arguments)
}

/// Builds the binary that users run.
pub(crate) fn build_tidemill() -> Outcome {
    cargo(&["build", "--release", "--package", "tidemill-runtime", "--bin", "tidemill"])
}

/// Where it is.
pub(crate) fn tidemill() -> PathBuf {
    target().join("release/tidemill")
}
