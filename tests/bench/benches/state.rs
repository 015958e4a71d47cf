//! What keyed state costs by itself: finding slots, reading and writing values, lists and maps, snapshots and their
//! restore, and dealing batches to lanes. No sandbox, no lane.

use std::hint::black_box;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill_bench::job::{BATCH_RECORDS, keyed_batches};
use tidemill_bench::state::{
    GROUPS, LIST, MAP, SEED, Turns, WIDTH, batches, dictionary, empty, encode, filled, read,
    resolve, states, write,
};
use tidemill_core::batch::{Batch, Dictionary};
use tidemill_core::column::BytesColumn;
use tidemill_core::disk::Disk;
use tidemill_core::ids::{CheckpointId, Incarnation, KeyGroup};
use tidemill_core::key_group::Assignment;
use tidemill_core::snapshot::{
    Restore, SnapshotHeader, SnapshotReader, SnapshotWriter, Written, merge,
};
use tidemill_core::state::memory::MemoryBackend;
use tidemill_core::state::{EncodeBudget, NEVER, StateBackend};
use tidemill_storage::RealDisk;

fn values(criterion: &mut Criterion) {
    for keys in [1_000, 1_000_000] {
        let batches = batches(keys);
        let mut backend = filled(&batches);
        let mut turns = Turns::new(&batches);
        let mut group = criterion.benchmark_group(format!("state/{keys}_keys"));
        group.throughput(Throughput::Elements(BATCH_RECORDS as u64));
        group.bench_function("resolve", |bencher| {
            bencher.iter(|| resolve(&mut backend, turns.take()));
        });
        group.bench_function("resolve_read", |bencher| {
            bencher.iter(|| {
                let slots = resolve(&mut backend, turns.take());
                read(&mut backend, &slots)
            });
        });
        group.bench_function("resolve_write", |bencher| {
            bencher.iter(|| {
                let slots = resolve(&mut backend, turns.take());
                write(&mut backend, &slots);
                backend.settle();
            });
        });
        group.finish();
    }
}

fn collections(criterion: &mut Criterion) {
    const ENTRIES: u32 = 1000;
    let batches = batches(1);
    let mut backend = empty();
    let slot = resolve(&mut backend, &batches[0])[0];
    let mut group = criterion.benchmark_group("state/collections");
    group.throughput(Throughput::Elements(ENTRIES.into()));
    group.bench_function("map_write", |bencher| {
        bencher.iter(|| {
            for entry in 0..ENTRIES {
                backend.write_map(MAP, slot, &entry.to_be_bytes(), Some(&[7; WIDTH]), NEVER);
            }
        });
    });
    group.bench_function("map_scan", |bencher| {
        bencher.iter(|| {
            let mut bytes = 0;
            backend.scan_map(MAP, slot, &[], 0, &mut |key, item| {
                bytes += key.len() + item.len();
                true
            });
            bytes
        });
    });
    let mut items = BytesColumn::default();
    (0..ENTRIES).for_each(|item| items.push(&item.to_le_bytes()));
    group.bench_function("list_append_and_clear", |bencher| {
        bencher.iter(|| {
            backend.append_list(LIST, slot, &items, NEVER);
            backend.clear_list(LIST, slot);
        });
    });
    group.finish();
}

fn routing(criterion: &mut Criterion) {
    let batch = batches(BATCH_RECORDS as u64).remove(0);
    let mut group = criterion.benchmark_group("routing");
    group.throughput(Throughput::Elements(BATCH_RECORDS as u64));
    group.bench_function("hash", |bencher| {
        let unhashed = keyed_batches(1, 1_000_000)[0].clone();
        let setup = || dictionary(&unhashed).clone();
        let hash = |mut dictionary: Dictionary| {
            dictionary.ensure_hashes(SEED);
            dictionary
        };
        bencher.iter_batched(setup, hash, BatchSize::SmallInput);
    });
    for lanes in [2, 8] {
        let assignment = Assignment::initial(GROUPS, lanes);
        group.bench_function(format!("deal_to_{lanes}_lanes"), |bencher| {
            let deal =
                |batch: Arc<Batch>| batch.partition(&assignment, |_, part| drop(black_box(part)));
            bencher.iter_batched(|| Arc::new(batch.clone()), deal, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn header(is_base: bool) -> SnapshotHeader {
    SnapshotHeader {
        identity: "bench".to_owned(),
        operator: "bench".to_owned(),
        lane: 0,
        checkpoint: CheckpointId(1),
        incarnation: Incarnation(1),
        key_groups: GROUPS,
        hash_seed: SEED,
        states: states(),
        is_base,
    }
}

fn snapshots(criterion: &mut Criterion) {
    const KEYS: u64 = 1_000_000;
    let batches = batches(KEYS);
    let mut backend = filled(&batches);
    backend.track(false);
    let folder = std::env::temp_dir().join(format!("tidemill-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let disk = RealDisk::open(&folder).expect("a folder");
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10).throughput(Throughput::Elements(backend.usage().keys));
    group.bench_function("encode", |bencher| bencher.iter(|| encode(&mut backend, |_| {})));
    let mut written = 0;
    let mut bytes_per_entry = 0.0;
    group.bench_function("encode_sort_compress_write", |bencher| {
        bencher.iter(|| {
            written += 1;
            let file = write_file(&mut backend, &disk, &format!("s{written}"), true);
            bytes_per_entry = file.bytes as f64 / file.entries as f64;
        });
    });
    if bytes_per_entry > 0.0 {
        println!("snapshot: {bytes_per_entry:.2} bytes per entry");
    }
    write_file(&mut backend, &disk, "base", true);
    write_file(&mut backend, &disk, "delta", false);
    let mut merged = 0;
    group.bench_function("merge_base_and_delta", |bencher| {
        bencher.iter(|| {
            merged += 1;
            let chain = ["base", "delta"].map(|name| open(&disk, name)).into();
            let file = disk.create(&format!("m{merged}")).expect("a file");
            merge(chain, 0, file, "m", || ()).expect("it is written")
        });
    });
    group.bench_function("restore", |bencher| restore(bencher, &disk, "base"));
    group.finish();
    std::fs::remove_dir_all(&folder).expect("it was there");
}

fn write_file(backend: &mut MemoryBackend, disk: &RealDisk, name: &str, is_base: bool) -> Written {
    let file = disk.create(name).expect("a file");
    let mut writer = SnapshotWriter::new(file, name, &header(is_base)).expect("a file");
    encode(backend, |segment| writer.add(segment).expect("it is sound"));
    writer.finish().expect("it is written").0
}

fn open(disk: &RealDisk, name: &str) -> SnapshotReader {
    let file = disk.open(name).expect("it was written");
    SnapshotReader::open(file, name, None).expect("it is sound")
}

fn restore(bencher: &mut criterion::Bencher<'_, WallTime>, disk: &RealDisk, name: &str) {
    let groups: Vec<KeyGroup> = (0..GROUPS as u16).map(KeyGroup).collect();
    // What a backend takes to be dropped is not counted.
    bencher.iter_with_large_drop(|| {
        let reader = open(disk, name);
        let ids = (0..states().len()).map(Some).collect();
        let mut restore = Restore::new(vec![reader], &groups, ids).expect("it is sound");
        let mut backend = empty();
        while !restore.step(&mut backend, EncodeBudget::default()).expect("it is sound") {}
        backend
    });
}

criterion_group!(benches, values, collections, routing, snapshots);
criterion_main!(benches);
