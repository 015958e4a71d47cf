//! Hands generated events to a lane.
//!
//! Owns how far each partition of the lane has come. Partitions take turns, a batch each, so that
//! event time moves on alike in all of them.

use std::sync::Arc;

use tidemill_core::connector::{
    BatchTarget, ConnectorError, PartitionPosition, SourcePoll, SourceReader,
};
use tidemill_core::ids::Now;

use crate::connectors::nexmark::Generator;
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
    ) -> Self {
        let parts = (0..).zip(nexts).skip(lane).step_by(lanes).map(|(index, &next)| {
            let end = generator.size(index).unwrap_or(u64::MAX);
            Part { index, next, end }
        });
        let parts: Vec<Part> = parts.collect();
        let left = |part: &Part| generator.size(part.index).map(|size| size - part.next);
        let left = parts.iter().map(left).sum();
        let (records, detail) = (Records::new(generator.is_keyed(), true), generator.detail());
        Self { generator, parts, turn: 0, left, is_stopped: false, records, detail }
    }
}

impl SourceReader for GeneratorReader {
    fn poll(&mut self, target: BatchTarget, _now: Now) -> Result<SourcePoll, ConnectorError> {
        if self.is_stopped {
            return Ok(SourcePoll::Pending);
        }
        for _ in 0..self.parts.len() {
            let turn = self.turn % self.parts.len();
            self.turn = turn + 1;
            let part = &mut self.parts[turn];
            if part.next < part.end {
                self.records.begin(target);
                let next = self.generator.fill(part.index, part.next, part.end, &mut self.records);
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
        !self.is_stopped
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
        let settings =
            GeneratorSource { stream, seed: 7, events, partitions, encoding, keys: 1_000_000, key };
        Arc::new(Generator::new(&settings).unwrap())
    }

    #[test]
    fn all_lanes_together_give_every_event_once_with_its_key() {
        for (key, is_text) in [("extra", true), ("date_time", false)] {
            let generator = generator(3, Some(12_345), key);
            let mut found = Vec::new();
            for lane in 0..2 {
                let mut reader = GeneratorReader::new(Arc::clone(&generator), &[0; 3], lane, 2);
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
        let mut reader = GeneratorReader::new(generator(2, None, "extra"), &[0; 2], 0, 1);
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
