//! Everything that must pass, in the order of how soon it tells something.

use crate::steps::{Outcome, build_operators, cargo};

pub(crate) fn run() -> Outcome {
    cargo(&["fmt", "--all", "--check"])?;
    build_operators()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    cargo(&["test", "--workspace"])?;
    // Broken links in the documentation are errors.
    let mut doc = std::process::Command::new(env!("CARGO"));
    doc.args(["doc", "--workspace", "--no-deps", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .current_dir(crate::steps::root());
    eprintln!("xtask: cargo doc --workspace --no-deps");
    crate::steps::run(&mut doc)
}
