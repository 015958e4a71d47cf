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
    is_stopped: bool,
    records: Records,
}

impl GeneratorReader {
    pub(in crate::connectors) fn new(generator: Arc<Generator>, lane: usize, lanes: usize) -> Self {
        let parts = (0..generator.partitions()).skip(lane).step_by(lanes).map(|index| {
            let end = generator.size(index).unwrap_or(u64::MAX);
            Part { index, next: 0, end }
        });
        let parts = parts.collect();
        let records = Records::new(generator.is_keyed(), true);
        Self { generator, parts, turn: 0, is_stopped: false, records }
    }
}

impl SourceReader for GeneratorReader {
    fn poll(&mut self, target: BatchTarget, _now: Now) -> Result<SourcePoll, ConnectorError> {
        for _ in 0..self.parts.len() {
            if self.is_stopped {
                break;
            }
            let turn = self.turn % self.parts.len();
            self.turn = turn + 1;
            let part = &mut self.parts[turn];
            if part.next < part.end {
                self.records.begin(target);
                part.next = self.generator.fill(part.index, part.next, part.end, &mut self.records);
                if let Some(batch) = self.records.take() {
                    return Ok(SourcePoll::Batch(batch));
                }
            }
        }
        Ok(SourcePoll::Ended)
    }

    fn is_ready(&mut self) -> bool {
        true
    }

    fn stop(&mut self) {
        self.is_stopped = true;
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        let each = |part: &Part| PartitionPosition {
            partition: self.generator.partition_id(part.index),
            position: part.next,
            remaining: self.generator.size(part.index).map(|size| size - part.next),
        };
        self.parts.iter().map(each).collect()
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
        let settings = GeneratorSource { stream, seed: 7, events, partitions, encoding, key };
        Arc::new(Generator::new(&settings).unwrap())
    }

    #[test]
    fn all_lanes_together_give_every_event_once_with_its_key() {
        for (key, is_text) in [("extra", true), ("date_time", false)] {
            let generator = generator(3, Some(12_345), key);
            let mut found = Vec::new();
            for lane in 0..2 {
                let mut reader = GeneratorReader::new(Arc::clone(&generator), lane, 2);
                let (_sender, wakes) = mpsc::channel();
                found.extend(drain(&mut reader, &wakes).unwrap());
                assert!(reader.positions().iter().all(|position| position.remaining == Some(0)));
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
    fn partitions_of_a_lane_take_turns_and_a_stop_ends_an_endless_one() {
        let mut reader = GeneratorReader::new(generator(2, None, "extra"), 0, 1);
        for _ in 0..4 {
            let Ok(SourcePoll::Batch(batch)) = reader.poll(target(), Now::default()) else {
                panic!()
            };
            assert_eq!(batch.timestamps.len(), batch.len());
        }
        let positions = reader.positions();
        assert!(
            positions.iter().all(|position| position.position > 0 && position.remaining.is_none())
        );
        reader.stop();
        assert!(matches!(reader.poll(target(), Now::default()), Ok(SourcePoll::Ended)));
    }
}
