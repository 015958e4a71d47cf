//! Keyed count through the SDK in Wasm, beside the same operator linked in natively and beside one in Wasm that works on
//! the contract's columns by hand, beside a bare `HashMap` loop for orientation.
//!
//! The first three run in turn, in each of the six orders, so that a machine that is busy for a while slows all of them: what is
//! asked is the ratio. The order changes because the allocator leaves to the next what one has freed. Prints one line of
//! JSON: for each number of keys, by name, the nanoseconds a record of each turn.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tidemill_bench::job::{component, keyed_batches, outputs, run, sandboxes};
use tidemill_bench::native;
use tidemill_core::batch::Batch;

const RECORDS: usize = 2_000_000;
const TURNS: usize = 4;
/// Who runs before whom, each once.
const ORDERS: [[&str; 3]; 6] = [
    ["wasm", "native", "wasm_columns"],
    ["wasm_columns", "native", "wasm"],
    ["native", "wasm", "wasm_columns"],
    ["wasm_columns", "wasm", "native"],
    ["native", "wasm_columns", "wasm"],
    ["wasm", "wasm_columns", "native"],
];
/// Runs of the bare loop, for orientation.
const LOOPS: usize = 5;

fn count_in_a_map(batches: &[Batch]) {
    let mut counts: HashMap<Vec<u8>, u64> = HashMap::new();
    for batch in batches {
        for record in 0..batch.len() {
            let key = batch.key(record).unwrap_or_default();
            match counts.get_mut(key) {
                Some(count) => *count += 1,
                None => drop(counts.insert(key.to_vec(), 1)),
            }
        }
    }
    black_box(counts.len());
}

fn turns(keys: u64) -> BTreeMap<&'static str, Vec<f64>> {
    let sdk = component("word_count");
    let columns = component("count_columns");
    let description = sdk.description();
    let batches: Arc<Vec<Batch>> = keyed_batches(RECORDS, keys);
    let counts = outputs(description, native::factory(), &batches);
    assert!(counts == outputs(description, sandboxes(&sdk), &batches), "they count alike");
    assert!(counts == outputs(columns.description(), sandboxes(&columns), &batches));
    drop(counts);
    let mut took: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut measure = |name: &'static str| {
        let began = Instant::now();
        match name {
            "wasm" => run(description, sandboxes(&sdk), &batches),
            "native" => run(description, native::factory(), &batches),
            "wasm_columns" => run(columns.description(), sandboxes(&columns), &batches),
            _ => count_in_a_map(&batches),
        }
        let ns = began.elapsed().as_nanos() as f64 / RECORDS as f64;
        took.entry(name).or_default().push(ns);
    };
    for _ in 0..TURNS {
        ORDERS.into_iter().flatten().for_each(&mut measure);
    }
    (0..LOOPS).for_each(|_| measure("hash_map"));
    took
}

fn main() {
    let took: BTreeMap<u64, _> =
        [1_000, 1_000_000].into_iter().map(|keys| (keys, turns(keys))).collect();
    println!("{}", serde_json::json!(took));
}
