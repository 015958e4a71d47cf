//! Keyed count through the SDK in Wasm, beside the same operator linked in natively, beside a bare
//! `HashMap` loop for orientation.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill_bench::job::{component, keyed_batches, run, sandboxes};
use tidemill_bench::native::NativeWordCount;
use tidemill_core::failure::Failure;
use tidemill_core::operator::{InstanceFactory, OperatorInstance};

const RECORDS: usize = 2_000_000;

fn native() -> Box<dyn InstanceFactory> {
    Box::new(|| -> Result<Box<dyn OperatorInstance>, Failure> {
        Ok(Box::new(NativeWordCount::default()))
    })
}

fn keyed_count(criterion: &mut Criterion) {
    let component = component("word_count");
    let description = component.description().clone();
    for keys in [1_000, 1_000_000] {
        let batches = keyed_batches(RECORDS, keys);
        let mut group = criterion.benchmark_group(format!("keyed_count/{keys}_keys"));
        group.throughput(Throughput::Elements(RECORDS as u64)).sample_size(10);
        group.bench_function("wasm", |bencher| {
            let setup = || sandboxes(&component);
            bencher.iter_batched(
                setup,
                |s| run(&description, s, &batches),
                BatchSize::PerIteration,
            );
        });
        group.bench_function("native", |bencher| {
            bencher.iter(|| run(&description, native(), &batches));
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
