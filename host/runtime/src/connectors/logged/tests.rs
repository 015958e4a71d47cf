//! An intake with a log on a disk, without a job.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use tidemill_core::batch::Batch;
use tidemill_core::column::BytesColumn;
use tidemill_core::connector::{
    BatchTarget, ConnectorFault, PartitionPosition, Position, SourcePoll, SourceReader,
};
use tidemill_core::disk::Disk;
use tidemill_core::ids::{Incarnation, Now};
use tidemill_core::input_log::{Body, End, Head, LoggedPart, LoggedReader, Supply, Taken};
use tidemill_core::wal::{
    KnownDurable, Seqs, Sizes, Usage, WalError, WalReader, WalWriter, recover,
};
use tidemill_storage::RealDisk;
use tidemill_storage::wal::{Wal, WalEvents};

use super::intake::{Intake, IntakeHandle};
use super::replay::{ReplayCounts, Replayed, start};
use crate::connectors::tests::{bell, nobody, target};

struct Deaf;

impl WalEvents for Deaf {
    fn pressure(&self, _usage: Usage) {}
    fn failed(&self, _error: &WalError) {}
}

/// A source `in` with one partition `p`.
pub(in crate::connectors) struct Bench {
    _dir: TempDir,
    disk: Arc<dyn Disk>,
    pub(in crate::connectors) intake: Arc<Intake>,
    incarnation: u64,
    wal: Option<Wal>,
    replay: Option<JoinHandle<()>>,
    counts: Arc<ReplayCounts>,
    lanes: usize,
}

/// A lane that reads it.
pub(in crate::connectors) struct Lane {
    pub(in crate::connectors) reader: LoggedReader<IntakeHandle>,
    pub(in crate::connectors) wakes: mpsc::Receiver<()>,
}

pub(in crate::connectors) fn forming() -> super::Forming {
    super::Forming { target: target(), linger: Duration::from_millis(1), account: nobody() }
}

pub(in crate::connectors) fn beginning() -> PartitionPosition {
    PartitionPosition { partition: "p".to_owned(), position: Position::default() }
}

impl Bench {
    pub(in crate::connectors) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::create(dir.path()).unwrap());
        let intake = Arc::new(Intake::new(Arc::default()));
        let (wal, replay, counts) = (None, None, Arc::default());
        Self { _dir: dir, disk, intake, incarnation: 0, wal, replay, counts, lanes: 1 }
    }

    /// Begins an incarnation that replays from `at` on.
    pub(in crate::connectors) fn begin(&mut self, at: &PartitionPosition) -> Lane {
        self.incarnation += 1;
        let known = KnownDurable::default();
        let found = recover(&*self.disk, "wal", &known).unwrap();
        let (number, sizes) = (Incarnation(self.incarnation), Sizes::for_quota(64 << 20).unwrap());
        let mut writer =
            WalWriter::begin(self.disk.clone(), found, number, [1; 16], sizes).unwrap();
        let partition = writer.partition("in", "p").unwrap();
        let mut seqs = Seqs::default();
        seqs.set("in", "p", at.position.offset);
        let reader = WalReader::new(self.disk.clone(), writer.view(), 0, seqs);
        let wal = Wal::start(writer, 1 << 20, Arc::new(Deaf)).unwrap();
        let run = self.intake.connect(vec![wal.sender(partition)], self.lanes, 0);
        let (name, parts) = ("in".to_owned(), BTreeMap::from([("p".to_owned(), 0)]));
        let replayed = Replayed { name, intake: self.intake.clone(), run, parts };
        self.replay = Some(start(reader, vec![replayed], self.counts.clone(), &nobody()).unwrap());
        self.wal = Some(wal);
        let (waker, wakes) = bell();
        let part = LoggedPart::at(at, true).unwrap();
        Lane {
            reader: LoggedReader::new(IntakeHandle(self.intake.clone()), 0, 1, vec![part], waker),
            wakes,
        }
    }

    /// Ends the incarnation in order.
    pub(in crate::connectors) fn end(&mut self) {
        self.intake.drain(Duration::from_secs(60));
        self.wal.take().unwrap().seal_and_close().unwrap();
        self.intake.disconnect();
        self.replay.take().unwrap().join().unwrap();
    }

    /// The process goes without a word, and another comes.
    pub(in crate::connectors) fn crash(&mut self) {
        drop(self.wal.take());
        self.intake.disconnect();
        self.intake.close();
        self.replay.take().unwrap().join().unwrap();
        self.intake = Arc::new(Intake::new(Arc::default()));
    }

    fn append(&self, values: &[&str]) -> bool {
        self.intake.append(0, body(values))
    }
}

impl Lane {
    /// Polls until `count` records have come.
    pub(in crate::connectors) fn take(&mut self, count: usize) -> Vec<String> {
        let mut records = Vec::new();
        while records.len() < count {
            match self.reader.poll(target(), Now::default()).unwrap() {
                SourcePoll::Batch(batch) => records.extend(texts(&batch)),
                SourcePoll::Pending => self.wakes.recv().unwrap(),
                SourcePoll::Ended => panic!("ended after {} of {count}", records.len()),
            }
        }
        assert_eq!(records.len(), count);
        records
    }

    pub(in crate::connectors) fn position(&self) -> PartitionPosition {
        self.reader.positions().pop().unwrap()
    }
}

fn texts(batch: &Batch) -> Vec<String> {
    batch.values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn body(values: &[&str]) -> Body {
    let mut column = BytesColumn::default();
    values.iter().for_each(|value| column.push(value.as_bytes()));
    let batch = Batch { values: column, ..Batch::default() };
    Body { head: Head::default(), batch }
}

#[test]
fn what_a_lane_took_and_no_checkpoint_covers_comes_again_before_what_is_new() {
    let mut bench = Bench::new();
    let mut lane = bench.begin(&beginning());
    assert!(bench.append(&["a", "b"]) && bench.append(&["c"]));
    assert_eq!(lane.take(3), ["a", "b", "c"]);
    let covered = lane.position();
    assert_eq!(covered.position.offset, 2);
    assert!(bench.append(&["d"]));
    assert_eq!(lane.take(1), ["d"]);
    bench.crash();
    let mut lane = bench.begin(&covered);
    assert!(bench.append(&["e"]));
    assert_eq!(lane.take(2), ["d", "e"]);
    bench.crash();
    let mut lane = bench.begin(&beginning());
    assert_eq!(lane.take(5), ["a", "b", "c", "d", "e"]);
    assert_eq!(bench.counts.records.load(Relaxed), 6);
}

#[test]
fn what_came_between_two_logs_goes_into_the_next() {
    let mut bench = Bench::new();
    let mut lane = bench.begin(&beginning());
    assert!(bench.append(&["a"]));
    assert_eq!(lane.take(1), ["a"]);
    bench.end();
    let intake = bench.intake.clone();
    let former = std::thread::spawn(move || {
        (0..50).all(|index| intake.append(0, body(&[&index.to_string()])))
    });
    let mut lane = bench.begin(&lane.position());
    let expected: Vec<String> = (0..50).map(|index| index.to_string()).collect();
    assert_eq!(lane.take(50), expected);
    assert!(former.join().unwrap());
}

#[test]
fn a_log_that_ends_under_load_loses_and_repeats_nothing() {
    let mut bench = Bench::new();
    let intake = bench.intake.clone();
    let former = std::thread::spawn(move || {
        let long = "x".repeat(10_000);
        (0..400).all(|index| intake.append(0, body(&[&format!("{index} {long}")])))
    });
    let (mut at, mut next) = (beginning(), 0);
    while next < 400 {
        let mut lane = bench.begin(&at);
        // As far as it happens to come.
        for _ in 0..7 {
            if next == 400 {
                break;
            }
            match lane.reader.poll(target(), Now::default()).unwrap() {
                SourcePoll::Batch(batch) => {
                    for text in texts(&batch) {
                        assert_eq!(text.split(' ').next(), Some(&*next.to_string()));
                        next += 1;
                    }
                }
                SourcePoll::Pending => lane.wakes.recv().unwrap(),
                SourcePoll::Ended => panic!("it has no end"),
            }
        }
        at = lane.position();
        bench.end();
    }
    assert!(former.join().unwrap());
}

#[test]
fn the_lane_ends_after_everything_was_handed_out() {
    let mut bench = Bench::new();
    let mut lane = bench.begin(&beginning());
    assert!(bench.append(&["a"]));
    bench.intake.finish(End::Ended);
    assert_eq!(lane.take(1), ["a"]);
    while !lane.reader.is_ready() {
        lane.wakes.recv().unwrap();
    }
    let polled = lane.reader.poll(target(), Now::default());
    assert!(matches!(polled, Ok(SourcePoll::Ended)));
    assert!(lane.position().position.ended);
    // Another incarnation of the process replays, and ends again.
    bench.end();
    let mut lane = bench.begin(&beginning());
    assert_eq!(lane.take(1), ["a"]);
    while !lane.reader.is_ready() {
        lane.wakes.recv().unwrap();
    }
    assert!(matches!(lane.reader.poll(target(), Now::default()), Ok(SourcePoll::Ended)));
}

#[test]
fn after_a_stop_nothing_is_handed_out_and_all_of_it_is_kept() {
    let mut bench = Bench::new();
    let mut lane = bench.begin(&beginning());
    assert!(bench.append(&["a"]));
    lane.wakes.recv().unwrap();
    lane.reader.stop();
    assert!(!lane.reader.is_ready());
    let polled = lane.reader.poll(target(), Now::default());
    assert!(matches!(polled, Ok(SourcePoll::Pending)));
    // What is received already still becomes durable, however much it is.
    let block = "x".repeat(1 << 20);
    assert!((0..6).all(|_| bench.append(&[&block])));
    let at = lane.position();
    assert_eq!((at.position.offset, at.position.ended), (0, false));
    bench.intake.finish(End::Stopped);
    bench.end();
    bench.intake = Arc::new(Intake::new(Arc::default()));
    let mut lane = bench.begin(&at);
    assert_eq!(lane.take(7)[0], "a");
}

#[test]
fn a_batch_that_can_never_be_logged_fails_the_source_as_bad_data() {
    let mut bench = Bench::new();
    let mut lane = bench.begin(&beginning());
    assert!(bench.append(&[&"x".repeat(9 << 20)]));
    while !lane.reader.is_ready() {
        lane.wakes.recv().unwrap();
    }
    let error = lane.reader.poll(target(), Now::default()).unwrap_err();
    assert_eq!(error.fault, ConnectorFault::BadData);
    assert!(error.message.contains("send smaller records"), "{error}");
}

#[test]
fn a_lane_that_does_not_take_holds_back_who_forms_batches() {
    let mut bench = Bench::new();
    let mut lane = bench.begin(&beginning());
    let (intake, block) = (bench.intake.clone(), "x".repeat(1 << 20));
    let (sender, appended) = mpsc::channel();
    let former = std::thread::spawn(move || {
        (0..12).for_each(|index| sender.send((index, intake.append(0, body(&[&block])))).unwrap());
    });
    // The bound, and one.
    for _ in 0..4 {
        appended.recv().unwrap();
    }
    let first = lane.take(1);
    assert_eq!(first[0].len(), 1 << 20);
    let settled = appended.try_iter().count();
    assert!(settled <= 2, "{settled} more than the bound allows");
    assert_eq!(lane.take(11).len(), 11);
    former.join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn small_batches_are_handed_out_together_and_none_in_part(
        sizes in proptest::collection::vec(1..40_usize, 1..30),
        records in 1..64_usize,
    ) {
        let mut bench = Bench::new();
        let mut lane = bench.begin(&beginning());
        let mut next = 0;
        let mut bounds = vec![0];
        for size in &sizes {
            let values: Vec<String> = (next..next + size).map(|value| value.to_string()).collect();
            prop_assert!(bench.append(&values.iter().map(String::as_str).collect::<Vec<_>>()));
            next += size;
            bounds.push(next);
        }
        let target = BatchTarget { records, bytes: 1 << 20 };
        let mut taken = 0;
        while taken < next {
            match lane.reader.poll(target, Now::default()).unwrap() {
                SourcePoll::Batch(batch) => {
                    let expected = (taken..taken + batch.len()).map(|value| value.to_string());
                    prop_assert!(texts(&batch).into_iter().eq(expected));
                    taken += batch.len();
                    let offset = lane.position().position.offset as usize;
                    prop_assert_eq!(bounds[offset], taken);
                    prop_assert!(batch.len() <= records || sizes[offset - 1] == batch.len());
                }
                SourcePoll::Pending => lane.wakes.recv().unwrap(),
                SourcePoll::Ended => panic!("it has no end"),
            }
        }
    }
}

#[test]
fn a_place_is_known_until_a_checkpoint_covers_it() {
    let settled_lsn = Arc::default();
    let mut bench = Bench::new();
    bench.intake = Arc::new(Intake::new(Arc::clone(&settled_lsn)));
    let mut lane = bench.begin(&beginning());
    assert!(bench.append(&["a"]) && bench.append(&["b"]));
    lane.take(2);
    let place = |seq| bench.intake.place_of(0, seq);
    let (first, second) = (place(0).unwrap(), place(1).unwrap());
    // Of small batches, or of one not far before.
    assert!(first <= second && second <= settled_lsn.load(SeqCst));
    assert_eq!(place(2), None);
    bench.intake.covered(0, 1);
    assert_eq!(place(1), Some(second));
    bench.intake.covered(0, 2);
    assert_eq!(place(1), None);
}

#[test]
fn a_lane_that_waits_only_for_the_end_is_woken_by_the_last_batch_of_another() {
    let mut bench = Bench { lanes: 2, ..Bench::new() };
    let mut lane = bench.begin(&beginning());
    let (waker, wakes) = bell();
    let other = IntakeHandle(bench.intake.clone());
    other.attach(1, waker);
    assert!(bench.append(&["a"]));
    bench.intake.finish(End::Ended);
    while other.take(1) != Ok(Taken::Ended) {
        wakes.recv().unwrap();
    }
    assert_eq!(lane.take(1), ["a"]);
}
