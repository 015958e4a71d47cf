//! What a sandbox costs, and the parts below it: the benchmarks of `tests/bench` and of `host/sandbox`, which criterion
//! measures.

use std::fs;

use serde_json::Value;

use super::figures::{Figure, Figures, median, number};
use super::{cargo_bench, report};
use crate::steps::{Outcome, run, target};

/// Parts that are measured by themselves, by the names of their benchmarks.
const PARTS: [(&str, &str); 20] = [
    ("boundary/pass_1_records_through", "q0 in a sandbox, one record"),
    ("boundary/first_call_of_a_sandbox", "open in a new sandbox"),
    ("boundary/pass_256_records_through", "q0 in a sandbox, batches of 256"),
    ("boundary/pass_4096_records_through", "q0 in a sandbox, batches of 4,096"),
    ("state_1000_keys/resolve", "find slots, 1,000 keys"),
    ("state_1000000_keys/resolve", "find slots, 1,000,000 keys"),
    ("state_1000_keys/resolve_read", "find and read, 1,000 keys"),
    ("state_1000000_keys/resolve_read", "find and read, 1,000,000 keys"),
    ("state_1000_keys/resolve_write", "find and write, 1,000 keys"),
    ("state_1000000_keys/resolve_write", "find and write, 1,000,000 keys"),
    ("state_collections/map_write", "write a map entry"),
    ("state_collections/map_scan", "scan a map entry"),
    ("state_collections/list_append_and_clear", "append to a list"),
    ("routing/hash", "hash a key"),
    ("routing/deal_to_2_lanes", "deal a record to 2 lanes"),
    ("routing/deal_to_8_lanes", "deal a record to 8 lanes"),
    ("snapshot/encode", "encode an entry of a snapshot"),
    ("snapshot/encode_sort_compress_write", "the same, sorted, compressed and written"),
    ("snapshot/merge_base_and_delta", "merge an entry of a base and a delta"),
    ("snapshot/restore", "restore an entry, 1,000,000 keys"),
];

/// Nanoseconds of one iteration, the median over samples, and its elements, as criterion wrote them.
fn median_ns(benchmark: &str) -> Result<(f64, f64), String> {
    let read = |file: &str| {
        let path = target().join("criterion").join(benchmark).join("new").join(file);
        let failed = |error: String| format!("{}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str::<Value>(&text).map_err(|error| failed(error.to_string()))
    };
    let median = number(&read("estimates.json")?["median"]["point_estimate"])?;
    let elements = read("benchmark.json")?["throughput"]["Elements"].as_f64();
    Ok((median, elements.unwrap_or(1.0)))
}

fn bench(names: &[&str]) -> Outcome {
    names.iter().try_for_each(|name| run(&mut cargo_bench(name)))
}

/// Operators in Wasm beside the same operators linked in natively. What ran in turn is compared turn by turn.
pub(super) fn sandbox() -> Figures {
    let took = report(&mut cargo_bench("keyed_count"))?;
    let mut figures = Vec::new();
    for (keys, shown, goal) in [("1000", "1,000", "<= 1.5"), ("1000000", "1,000,000", "<= 1.3")] {
        let turns = |what: &str| {
            let turns = took[keys][what].as_array().ok_or("keyed_count gave no turns")?;
            turns.iter().map(number).collect::<Result<Vec<_>, _>>()
        };
        let (wasm, native) = (turns("wasm")?, turns("native")?);
        let (columns, map) = (turns("wasm_columns")?, turns("hash_map")?);
        let ratio = |other: &[f64]| median(wasm.iter().zip(other).map(|(a, b)| a / b).collect());
        let (to_native, to_columns) = (ratio(&native), ratio(&columns));
        let name = |what: &str| format!("keyed count, {shown} keys: {what}");
        let each = |what: &str, turns| Figure::new(name(what), median(turns), "ns/record");
        figures.extend([
            Figure::new(name("Wasm / native"), to_native, "x").down(goal),
            Figure::new(name("SDK / hand-written columns"), to_columns, "x").down("<= 1.3"),
            each("Wasm", wasm).down(""),
            each("native", native).down(""),
            each("Wasm by hand-written columns", columns).down(""),
            each("a bare HashMap loop", map),
        ]);
    }
    Ok(figures)
}

/// The parts of a call and of a checkpoint, each by itself.
pub(super) fn micro() -> Figures {
    bench(&["boundary", "state"])?;
    let figure = |(benchmark, name): (&str, &str)| {
        let (median, elements) = median_ns(benchmark)?;
        Ok(Figure::new(name, median / elements, "ns").down(""))
    };
    let parts: Figures = PARTS.into_iter().map(figure).collect();
    let mut figures = parts?;
    let (made_ns, _) = median_ns("boundary/instantiate_and_drop")?;
    figures.push(Figure::new("make and drop a sandbox", made_ns / 1000.0, "us").down("<= 20"));
    figures.extend(interruption()?);
    Ok(figures)
}

/// What it costs that a guest can be interrupted.
fn interruption() -> Figures {
    bench(&["interruption"])?;
    let mut figures = Vec::new();
    for (benchmark, what) in [("scan_json", "scan JSON"), ("split_words", "split a line")] {
        let of = |by: &str| {
            let (median, elements) = median_ns(&format!("interruption_{benchmark}/{by}"))?;
            Ok::<_, String>(median / elements)
        };
        let (nothing, epochs, fuel) = (of("nothing")?, of("epochs")?, of("fuel")?);
        let name = |by: &str| format!("{what} in Wasm, {by}");
        figures.extend([
            Figure::new(name("not interruptible"), nothing, "ns/record").down(""),
            Figure::new(name("interruptible by epochs"), epochs, "ns/record").down(""),
            Figure::new(name("interruptible by fuel"), fuel, "ns/record").down(""),
            Figure::new(name("by epochs / not interruptible"), epochs / nothing, "x").down(""),
            Figure::new(name("by fuel / not interruptible"), fuel / nothing, "x"),
        ]);
    }
    Ok(figures)
}
