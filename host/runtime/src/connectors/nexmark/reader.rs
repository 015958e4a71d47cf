//! Hands generated events to a lane.
//!
//! Owns how far each partition of the lane has come. Partitions take turns, a batch each, so that
//! event time moves on alike in all of them.

use std::sync::Arc;
use std::time::Instant;

use tidemill_core::connector::{
    BatchTarget, ConnectorError, PartitionPosition, SourcePoll, SourceReader, Wake,
};
use tidemill_core::ids::Now;

use crate::connectors::nexmark::Generator;
use crate::connectors::nexmark::pace::Pace;
use crate::connectors::records::Records;

struct Part {
    index: u32,
    next: u64,
    end: u64,
}

/// One lane's partitions of a generator.
pub(in crate::connectors) struct GeneratorReader {
    generator: Arc<Generator>,
    parts: Vec<Part>,
    turn: usize,
    /// Events left; `None` when they never end.
    left: Option<u64>,
    is_stopped: bool,
    records: Records,
    /// What is due, when the events keep to a rate.
    pace: Option<Pace>,
    /// Of every position.
    detail: Vec<u8>,
}

impl GeneratorReader {
    /// `nexts` holds for each partition the number of its next event.
    pub(in crate::connectors) fn new(
        generator: Arc<Generator>,
        nexts: &[u64],
        lane: usize,
        lanes: usize,
        waker: Arc<dyn Wake>,
    ) -> Result<Self, ConnectorError> {
        let parts = (0..).zip(nexts).skip(lane).step_by(lanes).map(|(index, &next)| {
            let end = generator.size(index).unwrap_or(u64::MAX);
            Part { index, next, end }
        });
        let parts: Vec<Part> = parts.collect();
        let left = |part: &Part| generator.size(part.index).map(|size| size - part.next);
        let left = parts.iter().map(left).sum();
        let (records, detail) = (Records::new(generator.is_keyed(), true), generator.detail());
        let share = parts.len() as f64 / f64::from(generator.partitions().max(1));
        let per_second = generator.per_second.map(|events| events as f64 * share);
        let pace = per_second.map(|events| Pace::start(events, waker)).transpose()?;
        Ok(Self { generator, parts, turn: 0, left, is_stopped: false, records, pace, detail })
    }
}

impl SourceReader for GeneratorReader {
    fn poll(&mut self, target: BatchTarget, _now: Now) -> Result<SourcePoll, ConnectorError> {
        if self.is_stopped {
            return Ok(SourcePoll::Pending);
        }
        let due = self.pace.as_mut().map_or(u64::MAX, |pace| pace.due(Instant::now()));
        if due == 0 && self.left != Some(0) {
            return Ok(SourcePoll::Pending);
        }
        for _ in 0..self.parts.len() {
            let turn = self.turn % self.parts.len();
            self.turn = turn + 1;
            let part = &mut self.parts[turn];
            if part.next < part.end {
                self.records.begin(target);
                let end = part.end.min(part.next.saturating_add(due));
                let next = self.generator.fill(part.index, part.next, end, &mut self.records);
                if let Some(pace) = &mut self.pace {
                    pace.made(next - part.next);
                }
                self.left = self.left.map(|left| left - (next - part.next));
                part.next = next;
                if let Some(batch) = self.records.take() {
                    return Ok(SourcePoll::Batch(batch));
                }
            }
        }
        Ok(SourcePoll::Ended)
    }

    fn is_ready(&mut self) -> bool {
        let mut is_due = || self.pace.as_mut().is_none_or(|pace| pace.due(Instant::now()) > 0);
        !self.is_stopped && (self.left == Some(0) || is_due())
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::connectors::settings::{Encoding, GeneratorSource, Stream};
    use crate::connectors::tests::{drain, target};

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

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    fn reader(generator: Arc<Generator>, lane: usize, lanes: usize) -> GeneratorReader {
        let nexts = vec![0; generator.partitions() as usize];
        GeneratorReader::new(generator, &nexts, lane, lanes, Arc::new(Nobody)).unwrap()
    }

    #[test]
    fn a_reader_with_a_rate_makes_its_share_of_the_same_events_when_they_are_due() {
        let mut slow = Arc::into_inner(generator(2, Some(100), "extra")).unwrap();
        slow.per_second = Some(200);
        let begin = Instant::now();
        let mut reader = reader(Arc::new(slow), 0, 2);
        let mut made = 0;
        while reader.remaining() != Some(0) {
            if !reader.is_ready() {
                std::thread::sleep(std::time::Duration::from_millis(1));
                continue;
            }
            let Ok(SourcePoll::Batch(batch)) = reader.poll(target(), Now::default()) else {
                panic!()
            };
            made += batch.len();
            assert!(made as f64 <= begin.elapsed().as_secs_f64() * 100.0, "{made}");
        }
        assert_eq!(made, 50);
        assert!(reader.is_ready());
        assert!(matches!(reader.poll(target(), Now::default()), Ok(SourcePoll::Ended)));
    }

    #[test]
    fn all_lanes_together_give_every_event_once_with_its_key() {
        for (key, is_text) in [("extra", true), ("date_time", false)] {
            let generator = generator(3, Some(12_345), key);
            let mut found = Vec::new();
            for lane in 0..2 {
                let mut reader = reader(Arc::clone(&generator), lane, 2);
                let (_sender, wakes) = mpsc::channel();
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
        let mut reader = reader(generator(2, None, "extra"), 0, 1);
        for _ in 0..4 {
            let Ok(SourcePoll::Batch(batch)) = reader.poll(target(), Now::default()) else {
                panic!()
            };
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
