//! Hands generated events to a lane.
//!
//! Owns how far each partition of the lane has come, and the thread that makes the events: like every source, a
//! generator does its work beside the lane, behind a bounded buffer. Partitions take turns, a batch each, so that
//! event time moves on alike in all of them. Invariant: a position moves when its batch is handed out, not when
//! it is made.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tidemill_core::batch::Batch;
use tidemill_core::connector::{
    BatchTarget, ConnectorError, ConnectorFault, PartitionPosition, SourcePoll, SourceReader, Wake,
};
use tidemill_core::ids::Now;
use tidemill_core::quota::Account;

use crate::connectors::nexmark::Generator;
use crate::connectors::nexmark::pace::Pace;
use crate::connectors::no_thread;
use crate::connectors::records::Records;
use crate::{priority, spawner};

/// Batches that lie ready beside the one that is being made.
const READY_BATCHES: usize = 2;
/// A thread that waits for its pace looks this often whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a thread of low priority that is to be replaced goes on when there is none to replace it.
const STAYS: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Part {
    index: u32,
    next: u64,
    end: u64,
}

/// A batch, and how far it brings its partition.
struct Made {
    batch: Batch,
    part: usize,
    next: u64,
}

/// One lane's partitions of a generator.
pub(in crate::connectors) struct GeneratorReader {
    generator: Arc<Generator>,
    parts: Vec<Part>,
    /// Events left; `None` when they never end.
    left: Option<u64>,
    is_stopped: bool,
    waker: Arc<dyn Wake>,
    account: Arc<dyn Account>,
    /// There is one from the first poll on, which says how large batches are to be.
    maker: Option<Receiver<Made>>,
    /// Taken from the maker, but not handed out.
    ready: Option<Made>,
    has_ended: bool,
    /// Tells the maker that nobody wants its events any more.
    unwanted: Arc<AtomicBool>,
    /// Of every position.
    detail: Vec<u8>,
}

impl GeneratorReader {
    /// `nexts` holds for each partition the number of its next event.
    pub(in crate::connectors) fn new(
        generator: Arc<Generator>,
        nexts: &[u64],
        (lane, lanes): (usize, usize),
        waker: Arc<dyn Wake>,
        account: Arc<dyn Account>,
    ) -> Self {
        let parts = (0..).zip(nexts).skip(lane).step_by(lanes).map(|(index, &next)| {
            let end = generator.size(index).unwrap_or(u64::MAX);
            Part { index, next, end }
        });
        let parts: Vec<Part> = parts.collect();
        let left = |part: &Part| generator.size(part.index).map(|size| size - part.next);
        let left = parts.iter().map(left).sum();
        Self {
            detail: generator.detail(),
            generator,
            parts,
            left,
            is_stopped: false,
            waker,
            account,
            maker: None,
            ready: None,
            has_ended: false,
            unwanted: Arc::default(),
        }
    }

    fn start(&mut self, target: BatchTarget) -> Result<(), ConnectorError> {
        let (made, ready) = mpsc::sync_channel(READY_BATCHES);
        let generator = &self.generator;
        let share = self.parts.len() as f64 / f64::from(generator.partitions().max(1));
        let per_second = generator.per_second.map(|events| events as f64 * share);
        let maker = Maker {
            records: Records::new(generator.is_keyed(), true),
            generator: generator.clone(),
            parts: self.parts.clone(),
            target,
            pace: per_second.map(|events| Pace::new(events, Instant::now())),
            turn: 0,
            waker: self.waker.clone(),
            account: self.account.clone(),
            unwanted: self.unwanted.clone(),
        };
        maker.start(made).map_err(|(error, _)| no_thread("that makes events", &error))?;
        self.maker = Some(ready);
        Ok(())
    }

    /// Takes what the maker has ready.
    fn look(&mut self) {
        if let (None, Some(maker)) = (&self.ready, &self.maker) {
            match maker.try_recv() {
                Ok(made) => self.ready = Some(made),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.has_ended = true,
            }
        }
    }
}

impl SourceReader for GeneratorReader {
    fn poll(&mut self, target: BatchTarget, _now: Now) -> Result<SourcePoll, ConnectorError> {
        if self.is_stopped {
            return Ok(SourcePoll::Pending);
        }
        if self.maker.is_none() {
            self.start(target)?;
        }
        self.look();
        let Some(Made { batch, part, next }) = self.ready.take() else {
            return match self.has_ended {
                false => Ok(SourcePoll::Pending),
                true if self.parts.iter().all(|part| part.next == part.end) => {
                    Ok(SourcePoll::Ended)
                }
                true => Err(died()),
            };
        };
        let part = &mut self.parts[part];
        self.left = self.left.map(|left| left - (next - part.next));
        part.next = next;
        Ok(SourcePoll::Batch(batch))
    }

    fn is_ready(&mut self) -> bool {
        self.look();
        !self.is_stopped && (self.maker.is_none() || self.ready.is_some() || self.has_ended)
    }

    fn stop(&mut self) {
        self.is_stopped = true;
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        let each = |part: &Part| self.generator.position(part.index, part.next, &self.detail);
        self.parts.iter().map(each).collect()
    }

    fn remaining(&self) -> Option<u64> {
        self.left
    }
}

/// The maker is gone and has not made all: what is missing must not pass for the end of the input.
fn died() -> ConnectorError {
    let what = "the thread that makes events has ended before the events have; the log says why";
    ConnectorError::new(ConnectorFault::Io, what)
}

impl Drop for GeneratorReader {
    fn drop(&mut self) {
        self.unwanted.store(true, Relaxed);
    }
}

/// Makes events ahead of the lane, on a thread of its own.
struct Maker {
    generator: Arc<Generator>,
    parts: Vec<Part>,
    target: BatchTarget,
    records: Records,
    /// What is due, when the events keep to a rate.
    pace: Option<Pace>,
    /// Whose turn it is.
    turn: usize,
    waker: Arc<dyn Wake>,
    account: Arc<dyn Account>,
    unwanted: Arc<AtomicBool>,
}

/// There is no thread for a maker; here it is back.
type NoThread = (io::Error, Option<Box<(Maker, SyncSender<Made>)>>);

/// Wakes a lane when this is dropped, also by a panic.
struct WakesAtEnd(Arc<dyn Wake>);

impl Drop for WakesAtEnd {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl Maker {
    /// Goes on, on a thread of the usual priority, whatever that of this one is; comes back if there is none.
    fn start(self, made: SyncSender<Made>) -> Result<(), NoThread> {
        let handed = Arc::new(Mutex::new(Some(Box::new((self, made)))));
        let lock = |handed: &Mutex<Option<_>>| {
            handed.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        let taken = handed.clone();
        let body = move || {
            // Unlocked before it begins, which takes its time.
            let maker: Option<Box<(Self, _)>> = lock(&taken);
            if let Some(maker) = maker {
                let (maker, made) = *maker;
                maker.run(made);
            }
        };
        let started = spawner::builder("tidemill-generate")
            .and_then(|thread| spawner::spawn(thread, Box::new(body)));
        started.map(drop).map_err(|error| (error, lock(&handed)))
    }

    /// Makes batches until the events end or nobody wants them any more. As the lane does that they are made for, it gives way
    /// when it is told to, and afterwards another thread goes on: a low priority cannot be taken back.
    fn run(mut self, made: SyncSender<Made>) {
        // The end is seen by the lane when the channel is closed, so it is woken after that: what is declared last is dropped first.
        let _wakes = WakesAtEnd(self.waker.clone());
        let mut made = made;
        let (mut gives_way, mut stays_until) = (false, None);
        loop {
            match (gives_way, self.account.gives_way()) {
                (false, true) => gives_way = spawner::is_ready() && priority::give_way(),
                (true, false) if stays_until.is_none_or(|until| until <= Instant::now()) => {
                    match self.start(made) {
                        Err((error, Some(back))) => {
                            tracing::debug!(
                                "No thread to make events at the usual priority: {error}."
                            );
                            (self, made) = *back;
                            stays_until = Some(Instant::now() + STAYS);
                        }
                        Ok(()) | Err((_, None)) => return,
                    }
                }
                _ => {}
            }
            let (account, mut next) = (self.account.clone(), None);
            account.pay_for(&mut || next = self.make());
            let Some(next) = next else { break };
            if made.send(next).is_err() {
                return;
            }
            self.waker.wake();
        }
    }

    /// The next batch, of the partition whose turn it is.
    fn make(&mut self) -> Option<Made> {
        for _ in 0..self.parts.len() {
            let at = self.turn % self.parts.len();
            self.turn = at + 1;
            if self.parts[at].next == self.parts[at].end {
                continue;
            }
            let due = self.due()?;
            let part = &mut self.parts[at];
            self.records.begin(self.target);
            let end = part.end.min(part.next.saturating_add(due));
            let next = self.generator.fill(part.index, part.next, end, &mut self.records);
            if let Some(pace) = &mut self.pace {
                pace.made(next - part.next);
            }
            part.next = next;
            if let Some(batch) = self.records.take() {
                return Some(Made { batch, part: at, next });
            }
        }
        None
    }

    /// How many events may be made, at least one; waits for it. `None` when nobody wants them any more.
    fn due(&mut self) -> Option<u64> {
        let Some(pace) = &mut self.pace else {
            return Some(u64::MAX);
        };
        loop {
            let due = pace.due(Instant::now());
            if due > 0 {
                return Some(due);
            }
            if self.unwanted.load(Relaxed) {
                return None;
            }
            thread::sleep(pace.wait().min(LOOK_EVERY));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::settings::{Encoding, GeneratorSource, Stream};
    use crate::connectors::tests::{bell, drain, nobody, target};

    fn generator(partitions: u32, events: Option<u64>, key: &str) -> Arc<Generator> {
        let (stream, encoding) = (Stream::Nexmark, Encoding::Ndjson);
        let key = Some(key.to_owned());
        let settings = GeneratorSource {
            stream,
            seed: 7,
            events,
            partitions,
            encoding,
            keys: 1_000_000,
            per_second: None,
            key,
        };
        Arc::new(Generator::new(&settings).unwrap())
    }

    fn reader(
        generator: Arc<Generator>,
        lane: usize,
        lanes: usize,
    ) -> (GeneratorReader, Receiver<()>) {
        let nexts = vec![0; generator.partitions() as usize];
        let (waker, wakes) = bell();
        (GeneratorReader::new(generator, &nexts, (lane, lanes), waker, nobody()), wakes)
    }

    /// The next batch, waited for; none behind the last.
    fn next(reader: &mut GeneratorReader, wakes: &Receiver<()>) -> Option<Batch> {
        loop {
            match reader.poll(target(), Now::default()).unwrap() {
                SourcePoll::Batch(batch) => return Some(batch),
                SourcePoll::Ended => return None,
                SourcePoll::Pending => wakes.recv().unwrap(),
            }
        }
    }

    #[test]
    fn a_reader_with_a_rate_makes_its_share_of_the_same_events_when_they_are_due() {
        let mut slow = Arc::into_inner(generator(2, Some(100), "extra")).unwrap();
        slow.per_second = Some(200);
        let begin = Instant::now();
        let (mut reader, wakes) = reader(Arc::new(slow), 0, 2);
        let mut made = 0;
        while let Some(batch) = next(&mut reader, &wakes) {
            made += batch.len();
            assert!(made as f64 <= begin.elapsed().as_secs_f64() * 100.0, "{made}");
        }
        assert_eq!((made, reader.remaining()), (50, Some(0)));
    }

    #[test]
    fn a_maker_that_dies_does_not_pass_for_the_end_of_the_input() {
        let (mut reader, _wakes) = reader(generator(1, Some(100), "extra"), 0, 1);
        let (dead, ready) = mpsc::sync_channel(READY_BATCHES);
        drop(dead);
        reader.maker = Some(ready);
        assert!(reader.is_ready());
        let error = reader.poll(target(), Now::default()).unwrap_err();
        assert!(error.message.contains("before the events have"), "{error}");
    }

    #[test]
    fn all_lanes_together_give_every_event_once_with_its_key() {
        for (key, is_text) in [("extra", true), ("date_time", false)] {
            let generator = generator(3, Some(12_345), key);
            let mut found = Vec::new();
            for lane in 0..2 {
                let (mut reader, wakes) = reader(Arc::clone(&generator), lane, 2);
                found.extend(drain(&mut reader, &wakes).unwrap());
                assert!(reader.positions().iter().all(|at| at.position.ended));
                assert_eq!(reader.remaining(), Some(0));
            }
            let mut expected: Vec<Vec<u8>> = (0..12_345)
                .map(|n| {
                    let mut out = Vec::new();
                    generator.event(n, &mut out);
                    out
                })
                .collect();
            for (found, value) in &found {
                let event: serde_json::Value = serde_json::from_slice(value).unwrap();
                let field = if is_text {
                    event[key].as_str().unwrap().to_owned()
                } else {
                    event[key].to_string()
                };
                assert_eq!(found.as_deref(), Some(field.as_bytes()));
            }
            let mut found: Vec<_> = found.into_iter().map(|(_, value)| value).collect();
            found.sort();
            expected.sort();
            assert!(found == expected);
        }
    }

    #[test]
    fn partitions_of_a_lane_take_turns_and_after_a_stop_nothing_is_handed_out() {
        let (mut reader, wakes) = reader(generator(2, None, "extra"), 0, 1);
        for _ in 0..4 {
            let batch = next(&mut reader, &wakes).unwrap();
            assert_eq!(batch.timestamps.len(), batch.len());
        }
        let positions = reader.positions();
        assert!(positions.iter().all(|at| at.position.offset > 0 && !at.position.ended));
        assert_eq!(reader.remaining(), None);
        reader.stop();
        assert!(!reader.is_ready());
        assert!(matches!(reader.poll(target(), Now::default()), Ok(SourcePoll::Pending)));
        assert_eq!(reader.positions(), positions);
    }
}
