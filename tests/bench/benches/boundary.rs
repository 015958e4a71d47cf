//! What it costs to cross into a sandbox: making one, its first call, and records in and out in columns.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill_bench::job::{component, rules, sandbox};
use tidemill_core::call::{CallFrame, Phase};
use tidemill_core::operator::{OpenContext, OperatorInstance};

fn boundary(criterion: &mut Criterion) {
    let component = component("nexmark");
    let mut group = criterion.benchmark_group("boundary");
    group.bench_function("instantiate_and_drop", |bencher| bencher.iter(|| sandbox(&component)));
    group.bench_function("first_call_of_a_sandbox", |bencher| {
        let setup = || {
            (sandbox(&component), Box::new(CallFrame::new(rules(component.description()), None)))
        };
        let call = |(mut sandbox, mut frame): (Box<dyn OperatorInstance>, Box<CallFrame>)| {
            frame.begin(Phase::Open, 1, 0);
            let opened = sandbox.open(&mut frame, &OpenContext::default());
            assert!(opened.is_ok());
            (sandbox, frame)
        };
        bencher.iter_batched(setup, call, BatchSize::PerIteration);
    });
    // Bids as MessagePack arrays, passed through unchanged (q0).
    for records in [1usize, 256, 4096] {
        let mut operator = sandbox(&component);
        let mut frame = Box::new(CallFrame::new(rules(component.description()), None));
        frame.begin(Phase::Open, 1, 0);
        operator.open(&mut frame, &OpenContext::default()).expect("it opens");
        let bid = b"\x98\x02\xcd\x03\xe8\xcd\x03\xe9\x64\xa6Google\xa3url\xcf\x00\x00\x01\x8b\xcf\xe5h\x00\xa5extra";
        for _ in 0..records {
            frame.input.values.push(bid);
        }
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(format!("pass_{records}_records_through"), |bencher| {
            bencher.iter(|| {
                frame.begin(Phase::Process { keyed: false }, 2, 0);
                let bad = operator.process(&mut frame, 0).expect("it processes");
                assert!(bad.is_empty());
                assert_eq!(
                    frame.take_emitted().map(|(_, batch)| batch.len()).sum::<usize>(),
                    records
                );
            });
        });
    }
    group.finish();
}

criterion_group!(benches, boundary);
criterion_main!(benches);
