//! The log's thread on a disk in memory. Nothing here sleeps: tests wait for callbacks and for syncs.

#[allow(dead_code, reason = "the tests of another crate use the rest of it")]
#[path = "../../../core/src/wal/tests/memory_disk.rs"]
mod memory_disk;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use tidemill_core::disk as seam;
use tidemill_core::ids::Incarnation;
use tidemill_core::wal::{
    KnownDurable, LoggedPartition, Seqs, Sizes, Usage, WalError, WalReader, WalWriter, recover,
};

use self::memory_disk::{Fault, MemoryDisk};
use super::*;
use crate::pool::lock;

type Outcome = Result<Durable, WalError>;

#[derive(Debug, PartialEq)]
enum Event {
    Pressure(Usage),
    Failed(WalError),
}

struct Events(Mutex<Sender<Event>>);

impl WalEvents for Events {
    fn pressure(&self, usage: Usage) {
        lock(&self.0).send(Event::Pressure(usage)).ok();
    }

    fn failed(&self, error: &WalError) {
        lock(&self.0).send(Event::Failed(error.clone())).ok();
    }
}

struct Bench {
    disk: MemoryDisk,
    wal: Wal,
    sender: WalSender,
    events: Receiver<Event>,
    outcomes: Receiver<Outcome>,
    outcome: Sender<Outcome>,
}

fn sizes(quota_bytes: u64) -> Sizes {
    Sizes {
        segment_bytes: 4096 + 2048,
        fill_bytes: 512,
        fill_ahead_bytes: 1024,
        reserve_bytes: 256,
        quota_bytes,
    }
}

fn writer(disk: &MemoryDisk, incarnation: u64, quota_bytes: u64) -> (WalWriter, LoggedPartition) {
    let found = recover(disk, "wal", &KnownDurable::default()).unwrap();
    let (disk, number) = (Arc::new(disk.clone()), Incarnation(incarnation));
    let salt = [incarnation as u8; 16];
    let mut writer = WalWriter::begin(disk, found, number, salt, sizes(quota_bytes)).unwrap();
    let partition = writer.partition("in", "listener").unwrap();
    (writer, partition)
}

fn bench(queue_bytes: usize, quota_bytes: u64) -> Bench {
    let disk = MemoryDisk::default();
    let (writer, partition) = writer(&disk, 1, quota_bytes);
    let (event, events) = channel();
    let wal = Wal::start(writer, queue_bytes, Arc::new(Events(Mutex::new(event)))).unwrap();
    let sender = wal.sender(partition);
    let (outcome, outcomes) = channel();
    Bench { disk, wal, sender, events, outcomes, outcome }
}

impl Bench {
    fn on_durable(&self) -> OnDurable {
        let outcome = self.outcome.clone();
        Box::new(move |durable| drop(outcome.send(durable)))
    }

    fn append(&self, body: &[u8]) -> Result<(), Refused> {
        self.sender.append(body.to_vec(), self.on_durable())
    }

    fn append_waiting(&self, body: &[u8]) {
        self.sender.append_from_thread(body.to_vec(), self.on_durable()).unwrap();
    }

    /// Bodies in the log, as the next start finds them.
    fn logged(disk: &MemoryDisk) -> Vec<Vec<u8>> {
        let (writer, _) = writer(disk, 99, 1024 * 1024);
        let mut reader = WalReader::new(Arc::new(disk.clone()), writer.view(), 0, Seqs::default());
        let mut bodies = Vec::new();
        while let Some(logged) = reader.next_batch().unwrap() {
            bodies.push(logged.body.to_vec());
        }
        bodies
    }
}

#[test]
fn appends_of_many_threads_are_called_back_in_order_once_they_are_durable() {
    let bench = bench(2000, 64 * 1024 * 1024);
    let threads = (0..4_u8).map(|thread| {
        let (sender, outcome) = (bench.sender.clone(), bench.outcome.clone());
        std::thread::spawn(move || {
            for index in 0..50 {
                let outcome = outcome.clone();
                let on_durable = Box::new(move |durable| drop(outcome.send(durable)));
                sender.append_from_thread(vec![thread, index], on_durable).unwrap();
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    let found: Vec<Durable> = (0..200).map(|_| bench.outcomes.recv().unwrap().unwrap()).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(found.iter().map(|durable| durable.seq).eq(0..200));
    assert!(found.windows(2).all(|pair| pair[0].lsn < pair[1].lsn));
    for thread in 0..4 {
        let own = found.iter().filter(|durable| durable.body[0] == thread);
        assert!(own.map(|durable| durable.body[1]).eq(0..50));
    }
    let bodies: Vec<Vec<u8>> = found.into_iter().map(|durable| durable.body).collect();
    // Durable already: the power may fail.
    assert_eq!(Bench::logged(&bench.disk.after_crash(1)), bodies);
    let statistics = bench.wal.statistics();
    assert_eq!((statistics.records, statistics.full), (200, None));
    assert!(statistics.bytes > 200 * 56 && statistics.sync_us_max <= statistics.sync_us_total);
    assert!(bench.wal.seal_and_close().is_ok());
}

#[test]
fn what_waits_while_the_disk_is_busy_is_one_group() {
    let bench = bench(100_000, 64 * 1024 * 1024);
    let held = bench.disk.hold();
    for index in 0..20 {
        assert!(bench.append(&[index]).is_ok());
    }
    assert_eq!(bench.wal.statistics().queued_records, 20);
    drop(held);
    for index in 0..20 {
        assert_eq!(bench.outcomes.recv().unwrap().unwrap().body, [index]);
    }
    let durable = bench.wal.seal_and_close().unwrap();
    assert!(durable >= 21);
    // The segment, the first record, zeros and all the others, perhaps an idle record, the seal.
    assert!(bench.disk.counts().1 <= 6, "{:?}", bench.disk.counts());
}

#[test]
fn a_full_queue_refuses_and_tells_when_there_is_room() {
    let bench = bench(1000, 64 * 1024 * 1024);
    let held = bench.disk.hold();
    let mut taken = 0;
    let refused = loop {
        match bench.append(&[7; 100]) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(taken, 5);
    let Refused::NoRoom { body, on_durable } = refused else { panic!("it has not ended") };
    let (woken, wakes) = channel();
    bench.sender.when_room(Box::new(move || woken.send(()).unwrap_or_default()));
    assert!(wakes.try_recv().is_err());
    drop(held);
    wakes.recv().unwrap();
    bench.sender.append_from_thread(body, on_durable).unwrap();
    for _ in 0..=taken {
        bench.outcomes.recv().unwrap().unwrap();
    }
    let (woken, wakes) = channel();
    bench.sender.when_room(Box::new(move || woken.send(()).unwrap_or_default()));
    wakes.recv().unwrap();
}

#[test]
fn silence_is_closed_by_one_idle_record_and_then_nothing_is_written() {
    let bench = bench(1000, 64 * 1024 * 1024);
    let syncs = bench.disk.watch_syncs();
    bench.append_waiting(b"x");
    bench.outcomes.recv().unwrap().unwrap();
    let first = syncs.recv().unwrap();
    assert_eq!(syncs.recv().unwrap(), first + 1, "the idle record");
    let found = recover(&bench.disk, "wal", &KnownDurable::default()).unwrap();
    assert_eq!((found.last_lsn, found.cut), (3, None));
    bench.wal.seal_and_close().unwrap();
    assert_eq!(syncs.try_iter().count(), 1, "the seal, and nothing before it");
}

#[test]
fn a_failed_sync_is_told_once_and_everything_after_is_refused() {
    let bench = bench(100_000, 64 * 1024 * 1024);
    let held = bench.disk.hold();
    for _ in 0..3 {
        assert!(bench.append(b"x").is_ok());
    }
    drop(held);
    for _ in 0..3 {
        bench.outcomes.recv().unwrap().unwrap();
    }
    bench.disk.inject(Fault::Sync(bench.disk.counts().1 + 1));
    bench.disk.inject(Fault::Sync(bench.disk.counts().1 + 2));
    bench.append_waiting(b"lost");
    let error = bench.outcomes.recv().unwrap().unwrap_err();
    assert!(matches!(error, WalError::Disk { .. }), "{error}");
    assert_eq!(bench.events.recv().unwrap(), Event::Failed(error.clone()));
    match bench.append(b"x") {
        Err(Refused::Ended(found)) => assert_eq!(found, error),
        _ => panic!("it was taken"),
    }
    let waited = bench.sender.append_from_thread(vec![], bench.on_durable());
    assert_eq!(waited, Err(error.clone()));
    assert_eq!(bench.wal.seal_and_close(), Err(error));
    assert!(bench.events.try_recv().is_err(), "once");
}

#[test]
fn a_full_quota_presses_and_stops_intake_until_a_trim() {
    let bench = bench(100_000, 64 * 1024);
    let mut durable: Vec<Durable> = Vec::new();
    let half = loop {
        bench.append_waiting(&[1; 200]);
        durable.push(bench.outcomes.recv().unwrap().unwrap());
        match bench.events.try_recv() {
            Ok(Event::Pressure(usage)) => break usage,
            Ok(Event::Failed(error)) => panic!("{error}"),
            Err(_) => {}
        }
    };
    assert!(half.used_bytes >= half.quota_bytes / 2 && half.used_bytes < half.quota_bytes);
    for _ in 0..250 {
        assert!(bench.append(&[2; 200]).is_ok());
    }
    let Event::Pressure(full) = bench.events.recv().unwrap() else { panic!("it failed") };
    assert!(full.used_bytes >= half.used_bytes && full.used_bytes <= full.quota_bytes);
    durable.extend(bench.outcomes.try_iter().map(Result::unwrap));
    let statistics = bench.wal.statistics();
    assert_eq!(statistics.full, Some(FullOf::Quota));
    assert!(statistics.queued_records > 0);
    bench.wal.trim(durable.last().unwrap().lsn + 1);
    durable.push(bench.outcomes.recv().unwrap().unwrap());
    assert!(bench.wal.statistics().trimmed_bytes > 0);
    assert!(durable.iter().map(|durable| durable.seq).eq(0..durable.len() as u64));
}

#[test]
fn a_full_log_can_be_closed_and_calls_back_what_it_gives_up() {
    let bench = bench(1_000_000, 64 * 1024);
    let held = bench.disk.hold();
    for _ in 0..400 {
        assert!(bench.append(&[1; 200]).is_ok());
    }
    drop(held);
    let Bench { disk, wal, outcomes, outcome, sender, .. } = bench;
    wal.seal_and_close().unwrap();
    drop((outcome, sender));
    let outcomes: Vec<Outcome> = outcomes.iter().collect();
    let durable = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
    assert!(durable > 50 && outcomes.len() == 400, "{durable} of {}", outcomes.len());
    assert!(outcomes[durable..].iter().all(|outcome| *outcome == Err(WalError::Closed)));
    assert_eq!(Bench::logged(&disk).len(), durable);
}

#[test]
fn a_log_that_is_dropped_calls_everybody_back_and_loses_nothing_durable() {
    let bench = bench(1000, 64 * 1024 * 1024);
    bench.append_waiting(b"kept");
    bench.outcomes.recv().unwrap().unwrap();
    let Bench { disk, wal, sender, outcome, outcomes, .. } = bench;
    drop(wal);
    let refused = sender.append(vec![], Box::new(|_| panic!("it was refused")));
    assert!(matches!(refused, Err(Refused::Ended(WalError::Closed))));
    drop((outcome, sender));
    assert_eq!(outcomes.iter().count(), 0);
    assert_eq!(Bench::logged(&disk), [b"kept"]);
}

#[test]
fn a_batch_that_can_never_fit_is_refused_alone() {
    let bench = bench(1_000_000, 64 * 1024);
    bench.append_waiting(&[0; 10_000]);
    bench.append_waiting(b"small");
    assert!(matches!(bench.outcomes.recv().unwrap(), Err(WalError::TooLarge { .. })));
    assert_eq!(bench.outcomes.recv().unwrap().unwrap().body, b"small");
}

#[test]
fn a_panic_in_a_callback_is_told_as_a_defect() {
    let bench = bench(1000, 64 * 1024 * 1024);
    let panics: OnDurable = Box::new(|_| panic!("on purpose"));
    bench.sender.append_from_thread(vec![1], panics).unwrap();
    assert_eq!(bench.events.recv().unwrap(), Event::Failed(WalError::Defect));
    assert_eq!(bench.wal.seal_and_close(), Err(WalError::Defect));
}
