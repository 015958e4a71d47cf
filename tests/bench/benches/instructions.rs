//! The hot path, to be run under callgrind: `instructions state` or `instructions calls`.
//!
//! What is to be counted happens in [`measured`] and nowhere else; callgrind is told to count there, and to write what
//! it counted each time that it ends. Prints one line of JSON with name and records of each time, in that order.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_bench::job::{
    BATCH_RECORDS, component_in, finish, keyed_batches, lane, rules, sandbox, sandboxes, step_calls,
};
use tidemill_bench::native;
use tidemill_bench::state::{
    GROUPS, SEED, Turns, batches, dictionary, encode, filled, read, resolve, write,
};
use tidemill_core::batch::{Batch, Dictionary};
use tidemill_core::call::{CallFrame, Phase};
use tidemill_core::describe::Description;
use tidemill_core::key_group::Assignment;
use tidemill_core::operator::{InstanceFactory, OpenContext};
use tidemill_core::poison::PoisonRules;
use tidemill_core::state::StateBackend;
use tidemill_sandbox::EngineSettings;

/// Batches of each measure.
const ROUNDS: usize = 16;
/// Calls of a sandbox before it is measured: its memory and its buffers have grown.
const WARM_UP: usize = 4;

/// Here instructions are counted. Its name is known to who starts callgrind.
#[inline(never)]
fn measured(what: &mut dyn FnMut()) {
    what();
}

/// What was measured so far: name and records.
#[derive(Default)]
struct Measures(Vec<Value>);

impl Measures {
    fn add(&mut self, name: impl Into<String>, records: usize, mut what: impl FnMut()) {
        measured(&mut what);
        self.0.push(json!([name.into(), records]));
    }
}

fn state(measures: &mut Measures) {
    for (keys, shown) in [(1_000, "1,000"), (1_000_000, "1,000,000")] {
        let batches = batches(keys);
        let mut backend = filled(&batches);
        let mut turns = Turns::new(&batches);
        let mut rounds = |what: &str, each: &mut dyn FnMut(&Batch)| {
            let name = format!("{what}, {shown} keys");
            measures.add(name, ROUNDS * BATCH_RECORDS, || {
                (0..ROUNDS).for_each(|_| each(turns.take()));
            });
        };
        rounds("find slots", &mut |batch| drop(black_box(resolve(&mut backend, batch))));
        rounds("find and read", &mut |batch| {
            let slots = resolve(&mut backend, batch);
            black_box(read(&mut backend, &slots));
        });
        rounds("find and write", &mut |batch| {
            let slots = resolve(&mut backend, batch);
            write(&mut backend, &slots);
            backend.settle();
        });
        if keys == 1_000_000 {
            backend.track(false);
            let entries = backend.usage().keys as usize;
            measures.add("encode an entry of a snapshot", entries, || {
                encode(&mut backend, |segment| drop(black_box(segment)));
            });
        }
    }
}

fn routing(measures: &mut Measures) {
    let unhashed = keyed_batches(BATCH_RECORDS, 1_000_000)[0].clone();
    let mut dictionaries: Vec<Dictionary> = vec![dictionary(&unhashed).clone(); ROUNDS];
    measures.add("hash a key", ROUNDS * BATCH_RECORDS, || {
        dictionaries.iter_mut().for_each(|dictionary| dictionary.ensure_hashes(SEED));
    });
    let mut batch = unhashed;
    batch.ensure_hashes(SEED);
    let assignment = Assignment::initial(GROUPS, 2);
    let mut batches: Vec<Arc<Batch>> = (0..ROUNDS).map(|_| Arc::new(batch.clone())).collect();
    measures.add("deal a record to 2 lanes", ROUNDS * BATCH_RECORDS, || {
        batches.drain(..).for_each(|batch| {
            batch.partition(&assignment, |_, part| drop(black_box(part)));
        });
    });
}

/// One sandbox, so that its address space fits into what callgrind leaves, and no tick of the epoch: what is done in one
/// would be counted, and valgrind does not bear it, since it hides the page that the thread's clock is read from.
fn engine() -> EngineSettings {
    let tick = Duration::from_secs(24 * 60 * 60);
    EngineSettings { sandboxes: 1, tick, ..EngineSettings::default() }
}

fn keyed_counts(measures: &mut Measures) {
    let sdk = component_in(&engine(), "word_count");
    let columns = component_in(&engine(), "count_columns");
    keyed_count(measures, "native", sdk.description(), native::factory());
    keyed_count(measures, "Wasm", sdk.description(), sandboxes(&sdk));
    let factory = sandboxes(&columns);
    keyed_count(measures, "Wasm by hand-written columns", columns.description(), factory);
}

fn keyed_count(
    measures: &mut Measures,
    what: &str,
    description: &Arc<Description>,
    factory: Box<dyn InstanceFactory>,
) {
    let batches = keyed_batches((WARM_UP + ROUNDS) * BATCH_RECORDS, 1_000);
    let mut lane = lane(description, factory, &batches, PoisonRules::default(), &[]);
    step_calls(&mut lane, WARM_UP);
    let name = format!("keyed count, 1,000 keys: {what}");
    measures.add(name, ROUNDS * BATCH_RECORDS, || finish(&mut lane));
}

/// Bids as MessagePack arrays, passed through unchanged (q0).
fn pass_through(measures: &mut Measures) {
    let component = component_in(&engine(), "nexmark");
    let mut operator = sandbox(&component);
    let mut frame = Box::new(CallFrame::new(rules(component.description()), None));
    frame.begin(Phase::Open, 1, 0);
    operator.open(&mut frame, &OpenContext::default()).expect("it opens");
    let bid = b"\x98\x02\xcd\x03\xe8\xcd\x03\xe9\x64\xa6Google\xa3url\xcf\x00\x00\x01\x8b\xcf\xe5h\x00\xa5extra";
    (0..BATCH_RECORDS).for_each(|_| frame.input.values.push(bid));
    let mut calls = |calls| {
        for _ in 0..calls {
            frame.begin(Phase::Process { keyed: false }, 2, 0);
            let bad = operator.process(&mut frame, 0).expect("it processes");
            let emitted: usize = frame.take_emitted().map(|(_, batch)| batch.len()).sum();
            assert_eq!((bad.len(), emitted), (0, BATCH_RECORDS));
        }
    };
    calls(WARM_UP);
    measures.add("q0 in a sandbox", ROUNDS * BATCH_RECORDS, || calls(ROUNDS));
}

fn main() {
    let mut measures = Measures::default();
    match std::env::args().nth(1).as_deref() {
        Some("state") => {
            routing(&mut measures);
            state(&mut measures);
        }
        Some("calls") => {
            keyed_counts(&mut measures);
            pass_through(&mut measures);
        }
        _ => panic!("usage: instructions state|calls"),
    }
    println!("{}", Value::Array(measures.0));
}
