//! Keyed count through the SDK in Wasm, beside the same operator linked in natively and beside one in Wasm that works on
//! the contract's columns by hand, beside a bare `HashMap` loop for orientation.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill_bench::job::{component, keyed_batches, outputs, run, sandboxes};
use tidemill_bench::native;

const RECORDS: usize = 2_000_000;

fn keyed_count(criterion: &mut Criterion) {
    let sdk = component("word_count");
    let columns = component("count_columns");
    let description = sdk.description();
    for keys in [1_000, 1_000_000] {
        let batches = keyed_batches(RECORDS, keys);
        let counts = outputs(description, native::factory(), &batches);
        assert!(counts == outputs(description, sandboxes(&sdk), &batches), "they count alike");
        assert!(counts == outputs(columns.description(), sandboxes(&columns), &batches));
        drop(counts);
        let mut group = criterion.benchmark_group(format!("keyed_count/{keys}_keys"));
        group.throughput(Throughput::Elements(RECORDS as u64)).sample_size(10);
        for (name, component) in [("wasm", &sdk), ("wasm_columns", &columns)] {
            group.bench_function(name, |bencher| {
                let job = |factory| run(component.description(), factory, &batches);
                bencher.iter_batched(|| sandboxes(component), job, BatchSize::PerIteration);
            });
        }
        group.bench_function("native", |bencher| {
            bencher.iter(|| run(description, native::factory(), &batches));
        });
        group.bench_function("hash_map", |bencher| {
            bencher.iter(|| {
                let mut counts: HashMap<Vec<u8>, u64> = HashMap::new();
                for batch in batches.iter() {
                    for record in 0..batch.len() {
                        let key = batch.key(record).unwrap_or_default();
                        match counts.get_mut(key) {
                            Some(count) => *count += 1,
                            None => drop(counts.insert(key.to_vec(), 1)),
                        }
                    }
                }
                black_box(counts.len())
            });
        });
        group.finish();
    }
}

criterion_group!(benches, keyed_count);
criterion_main!(benches);
