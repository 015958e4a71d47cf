//! Instructions that the hot path takes for a record, counted by callgrind. They hardly depend on what else the machine
//! does, so a change of a few per cent shows.
//!
//! What is counted is the benchmark `instructions` of `tests/bench`: callgrind counts inside of its function `measured`,
//! and writes a file each time that it ends, so that setting up is no part of a figure. On a machine without valgrind
//! that is said and the rest goes on.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::figures::{Figure, Figures, number};
use super::{cargo_bench, report};
use crate::steps::target;

/// Parts of the benchmark, each a process of its own.
const PARTS: [&str; 2] = ["state", "calls"];

/// The function inside of which callgrind counts. Without a wildcard: where both options have the same one, callgrind
/// forgets the second.
const MEASURED: &str = "instructions::measured";

pub(super) fn instructions() -> Figures {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        eprintln!("xtask: there is no `valgrind` to count instructions with; goes on without it");
        return Ok(Vec::new());
    }
    let mut figures = Vec::new();
    for part in PARTS {
        let folder = target().join("bench/instructions");
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).map_err(failed)?;
        let counted = count(part, &folder.join("counted"));
        fs::remove_dir_all(&folder).map_err(failed)?;
        figures.extend(counted?);
    }
    Ok(figures)
}

/// Runs a part of the benchmark; callgrind writes to files whose names begin with `out`.
fn count(part: &str, out: &Path) -> Figures {
    let runner = serde_json::json!([
        "valgrind",
        "--quiet",
        "--tool=callgrind",
        format!("--toggle-collect={MEASURED}"),
        format!("--dump-after={MEASURED}"),
        format!("--callgrind-out-file={}", out.display()),
    ]);
    let mut command = cargo_bench("instructions");
    // An array of strings is the same in TOML as in JSON.
    command.arg("--config").arg(format!("target.'cfg(all())'.runner = {runner}"));
    let measures = report(command.args(["--", part]))?;
    let measures = measures.as_array().ok_or("the benchmark `instructions` gave no array")?;
    let figure = |(at, measure): (usize, &serde_json::Value)| {
        let name = measure[0].as_str().unwrap_or_default();
        let mut file = out.as_os_str().to_owned();
        file.push(format!(".{}", at + 1));
        let each = total(file.as_ref())? / number(&measure[1])?;
        Ok(Figure::new(format!("instructions: {name}"), each, "instructions/record").down(""))
    };
    measures.iter().enumerate().map(figure).collect()
}

/// The instructions that a file of callgrind's tells of.
fn total(file: &Path) -> Result<f64, String> {
    let failed = |problem: String| format!("{}: {problem}", file.display());
    let text = fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.trim().parse().ok());
    total.filter(|total| *total > 0.0).ok_or_else(|| failed("nothing was counted".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_read_and_nothing_is_an_error() {
        let file = std::env::temp_dir().join(format!("callgrind-{}.1", std::process::id()));
        fs::write(&file, "version: 1\nevents: Ir\nfn=(1) main\n1 5\ntotals: 83831\n").unwrap();
        assert_eq!(total(&file), Ok(83831.0));
        fs::write(&file, "version: 1\ntotals: 0\n").unwrap();
        assert!(total(&file).is_err());
        fs::remove_file(&file).unwrap();
        assert!(total(&file).is_err());
    }
}
