//! What a sandbox costs: operators in Wasm beside the same operators linked in natively, from the benchmarks of
//! `tests/bench`.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::Wanted;
use super::figures::{Figure, Figures, number};
use crate::steps::{root, run, target};

/// Nanoseconds of one iteration, the median over samples, as criterion wrote it.
fn median_ns(benchmark: &str) -> Result<f64, String> {
    let path = target().join("criterion").join(benchmark).join("new/estimates.json");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let estimates: Value =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    number(&estimates["median"]["point_estimate"])
}

/// Records of one iteration of the keyed count.
const RECORDS: f64 = 2_000_000.0;

pub(super) fn sandbox(_: &Wanted) -> Figures {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for bench in ["keyed_count", "boundary"] {
        let words = ["bench", "--quiet", "--package", "tidemill-bench", "--bench", bench];
        run(Command::new(&cargo).args(words).current_dir(root()))?;
    }
    let mut figures = Vec::new();
    for (keys, shown, goal) in [(1_000, "1,000", "<= 1.5"), (1_000_000, "1,000,000", "<= 1.3")] {
        let of = |what: &str| median_ns(&format!("keyed_count_{keys}_keys/{what}"));
        let (wasm, native, map) = (of("wasm")?, of("native")?, of("hash_map")?);
        let name = |what: &str| format!("keyed count, {shown} keys: {what}");
        figures.extend([
            Figure::new(name("Wasm"), wasm / RECORDS, "ns/record").down(""),
            Figure::new(name("native"), native / RECORDS, "ns/record").down(""),
            Figure::new(name("Wasm / native"), wasm / native, "x").down(goal),
            Figure::new(name("a bare HashMap loop"), map / RECORDS, "ns/record"),
        ]);
    }
    figures.push(
        Figure::new("make and drop a sandbox", median_ns("instantiate")? / 1000.0, "us")
            .down("<= 20"),
    );
    Ok(figures)
}
