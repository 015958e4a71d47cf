//! How fast the input log makes batches durable, beside plain writing and syncing of the same bytes in the same
//! directory.
//!
//! Prints one line of JSON with MB/s: `log`, `plain_each` (a plain file, one fdatasync for each batch) and
//! `plain_grouped` (one for each 4 MiB, which is what a disk gives at best). The three run in turn, three times;
//! the figures are medians.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tidemill_core::disk::Disk;
use tidemill_core::ids::Incarnation;
use tidemill_core::wal::{KnownDurable, Sizes, Usage, WalError, WalWriter, recover};
use tidemill_storage::disk::RealDisk;
use tidemill_storage::wal::{Wal, WalEvents};

const BATCH_BYTES: usize = 64 * 1024;
const BATCHES: usize = 4096;
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
const ROUNDS: usize = 3;

struct Ignored;

impl WalEvents for Ignored {
    fn pressure(&self, _: Usage) {}

    fn failed(&self, _: &WalError) {}
}

fn main() {
    // `cargo bench` passes flags that are of no use here.
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    let folder = target.unwrap_or_else(|| root.join("target")).join("bench-wal");
    // Different bytes in each batch, that do not compress.
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let batch: Vec<u8> = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as u8
    })
    .take(BATCH_BYTES)
    .collect();
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let measures = [
            log(&folder, &batch),
            plain(&folder, &batch, 1),
            plain(&folder, &batch, 4 * 1024 * 1024 / BATCH_BYTES),
        ];
        rates.iter_mut().zip(measures).for_each(|(rates, rate)| rates.push(rate));
    }
    let [log, plain_each, plain_grouped] = rates.map(median);
    println!(
        "{}",
        serde_json::json!({ "log": log, "plain_each": plain_each, "plain_grouped": plain_grouped })
    );
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2].round()
}

fn megabytes_per_second(began: Instant) -> f64 {
    (BATCHES * BATCH_BYTES) as f64 / 1e6 / began.elapsed().as_secs_f64()
}

/// The product's log, with its own thread, queue and sizes.
fn log(folder: &Path, batch: &[u8]) -> f64 {
    fs::remove_dir_all(folder).ok();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::create(folder).expect("a folder"));
    fs::create_dir(folder.join("wal")).expect("a folder");
    let found = recover(&*disk, "wal", &KnownDurable::default()).expect("an empty log");
    let sizes = Sizes::for_quota(1 << 30).expect("a quota");
    let mut writer =
        WalWriter::begin(disk, found, Incarnation(1), [7; 16], sizes).expect("a new log");
    let partition = writer.partition("in", "0").expect("a partition");
    let wal = Wal::start(writer, QUEUE_BYTES, Arc::new(Ignored)).expect("a thread");
    let sender = wal.sender(partition);
    let (done, is_done) = channel();
    // Bodies come back and are used again, as intakes do not allocate for each batch either.
    let bodies = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
    let began = Instant::now();
    for _ in 0..BATCHES {
        let body = bodies.lock().expect("no panic").pop().unwrap_or_else(|| batch.to_vec());
        let (done, bodies) = (done.clone(), bodies.clone());
        let on_durable = move |outcome: Result<tidemill_storage::wal::Durable, WalError>| {
            let durable = outcome.expect("the disk takes it");
            bodies.lock().expect("no panic").push(durable.body);
            done.send(()).expect("somebody waits");
        };
        sender.append_from_thread(body, Box::new(on_durable)).expect("the log takes it");
    }
    (0..BATCHES).for_each(|_| is_done.recv().expect("each is called back"));
    let rate = megabytes_per_second(began);
    wal.seal_and_close().expect("the log ends well");
    fs::remove_dir_all(folder).ok();
    rate
}

/// A file that is written and synced every `group` batches.
fn plain(folder: &Path, batch: &[u8], group: usize) -> f64 {
    fs::create_dir_all(folder).expect("a folder");
    let mut file = File::create(folder.join("plain")).expect("a file");
    let group: Vec<u8> = std::iter::repeat_n(batch, group).flatten().copied().collect();
    let began = Instant::now();
    for _ in 0..BATCHES * BATCH_BYTES / group.len() {
        file.write_all(&group).expect("the disk takes it");
        file.sync_data().expect("the disk takes it");
    }
    let rate = megabytes_per_second(began);
    fs::remove_dir_all(folder).ok();
    rate
}
