//! The long form of the suite of hostile operators, against the binary that users run.
//!
//! Builds what it needs and hands the arguments on: what is attacked, how, and what must hold is the suite's.

use std::process::Command;

use crate::steps::{Outcome, build_operators, build_tidemill, cargo, root, run, target, tidemill};

pub(crate) fn hostile(arguments: &[String]) -> Outcome {
    build_operators()?;
    build_tidemill()?;
    // The suite itself does nothing that must be fast.
    cargo(&["build", "--package", "tidemill-hostile", "--bin", "hostile"])?;
    let mut suite = Command::new(target().join("debug/hostile"));
    suite.arg("--binary").arg(tidemill());
    run(suite.args(arguments).current_dir(root()))
}
