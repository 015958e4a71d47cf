//! What it costs that a guest can be interrupted: compiled code that asks at each loop and function whether the epoch
//! has advanced, as that of every sandbox does, beside code that counts fuel and code that does neither.
//!
//! Two sample operators on batches of 4,096: a scan of JSON events that passes hardly any on, and a split of lines into
//! words. Only the engine's settings differ; the epoch stands still, since a tick each 5 ms is too rare to be seen.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use contract::exports::tidemill::operator::operator::{Context, InputBatch};
use contract::tidemill::operator::types::{BytesColumn, OutputBatch};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, OptLevel, Store, StoreContextMut};

mod contract {
    wasmtime::component::bindgen!({ path: "../../wit", world: "tidemill:operator/plain" });
}

const RECORDS: u32 = 4096;

/// By what a guest can be interrupted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interruption {
    Nothing,
    Epochs,
    Fuel,
}

/// An operator that was opened.
struct Opened {
    store: Store<()>,
    plain: contract::Plain,
    interruption: Interruption,
}

impl Opened {
    fn new(name: &str, config: &[(String, String)], interruption: Interruption) -> Self {
        let engine = engine(interruption);
        let component = Component::from_file(&engine, path(name));
        let component = component.expect("it was built by `cargo xtask operators`");
        let mut store = Store::new(&engine, ());
        // Instantiating runs code of the guest, too.
        allow_a_call(&mut store, interruption);
        let plain = contract::Plain::instantiate(&mut store, &component, &linker(&component));
        let mut opened = Self { store, plain: plain.expect("an instance"), interruption };
        allow_a_call(&mut opened.store, interruption);
        let context = Context {
            tenant: String::new(),
            job: String::new(),
            operator_id: String::new(),
            task: 0,
            parallelism: 1,
            incarnation: 1,
            config: config.to_vec(),
        };
        let guest = opened.plain.tidemill_operator_operator();
        let answer = guest.call_open(&mut opened.store, &context).expect("no trap");
        answer.expect("it opens");
        opened
    }

    fn process(&mut self, batch: &InputBatch) {
        allow_a_call(&mut self.store, self.interruption);
        let guest = self.plain.tidemill_operator_operator();
        let bad = guest.call_process(&mut self.store, 0, batch).expect("no trap");
        assert!(bad.expect("it processes").is_empty());
    }
}

fn allow_a_call(store: &mut Store<()>, interruption: Interruption) {
    match interruption {
        Interruption::Nothing => {}
        Interruption::Epochs => store.set_epoch_deadline(1),
        Interruption::Fuel => store.set_fuel(u64::MAX).expect("the engine counts it"),
    }
}

fn engine(interruption: Interruption) -> Engine {
    let mut config = Config::new();
    config
        // As sandboxes have it, as far as it shows in compiled code.
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .concurrency_support(false)
        .epoch_interruption(interruption == Interruption::Epochs)
        .consume_fuel(interruption == Interruption::Fuel);
    Engine::new(&config).expect("an engine")
}

/// What is emitted is thrown away; nothing else of the host is used.
fn linker(component: &Component) -> Linker<()> {
    let mut linker = Linker::new(component.engine());
    let mut output = linker.instance("tidemill:operator/output@0.1.0").expect("a free name");
    let emit = |_: StoreContextMut<'_, ()>, (_, batch): (u32, OutputBatch)| {
        black_box(batch);
        Ok(())
    };
    output.func_wrap("emit", emit).expect("a free name");
    linker.define_unknown_imports_as_traps(component).expect("free names");
    linker
}

fn path(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    let target = target.unwrap_or_else(|| root.join("target"));
    target.join("wasm32-wasip2/operator").join(format!("{name}.wasm"))
}

fn bid(record: u32) -> String {
    format!(
        r#"{{"type":"bid","auction":{},"bidder":{},"price":{},"channel":"Google","url":"https://www.nexmark.com/googlechannel/item.htm?query=1","date_time":1700000000000,"extra":"hbsyaqvneoiuwrtcmxlzpqkdjf"}}"#,
        1000 + record,
        2000 + record * 7 % 1000,
        100 + record * 31 % 9000
    )
}

fn line(record: u32) -> String {
    let words = ["tide", "mill", "wheel", "gate", "water", "grain", "stone", "flour", "basin"];
    let word = |place| words[((record + place) * 7 % 9) as usize];
    (0..10).map(word).collect::<Vec<_>>().join(" ")
}

/// Records without keys.
fn batch(value: impl Fn(u32) -> String) -> InputBatch {
    let (mut data, mut ends) = (Vec::new(), Vec::new());
    for record in 0..RECORDS {
        data.extend(value(record).into_bytes());
        ends.push(data.len() as u32);
    }
    let keys = BytesColumn { data: Vec::new(), ends: Vec::new() };
    let values = BytesColumn { data, ends };
    InputBatch { keys, key_of: Vec::new(), values, timestamps: Vec::new() }
}

fn interruption(criterion: &mut Criterion) {
    let query = [("query".to_owned(), "q2".to_owned())];
    let works = [
        ("scan_json", "nexmark", &query[..], batch(bid)),
        ("split_words", "word_split", &[], batch(line)),
    ];
    for (what, name, config, batch) in &works {
        let mut group = criterion.benchmark_group(format!("interruption/{what}"));
        group.throughput(Throughput::Elements(RECORDS.into()));
        let by = [
            ("nothing", Interruption::Nothing),
            ("epochs", Interruption::Epochs),
            ("fuel", Interruption::Fuel),
        ];
        for (by, interruption) in by {
            let mut operator = Opened::new(name, config, interruption);
            group.bench_function(by, |bencher| bencher.iter(|| operator.process(batch)));
        }
        group.finish();
    }
}

criterion_group!(benches, interruption);
criterion_main!(benches);
