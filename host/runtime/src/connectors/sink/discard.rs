//! Counts and sums records and throws them away.
//!
//! Owns the two sums. Both are the same whatever the order of records, batches and lanes, so two
//! runs with different parallelism can be compared, and a run that was restarted with one that was not.

use std::collections::VecDeque;
use std::sync::Arc;

use tidemill_core::batch::{Batch, RecordKeys};
use tidemill_core::connector::{ConnectorError, Prepared, SinkWriter, Wake};
use tidemill_core::ids::CheckpointId;
use xxhash_rust::xxh3::xxh3_64;

use crate::connectors::fields::FieldSum;
use crate::connectors::nexmark::mix;
use crate::connectors::sink::counts::Counts;
use crate::connectors::sink::lines::bad_record;

/// One lane's part of a sink that discards.
pub(super) struct Discard {
    lane: usize,
    fields: Option<FieldSum>,
    /// Hashes of the batch's keys, each computed once.
    key_hashes: Vec<u64>,
    counts: Arc<Counts>,
    prepared: VecDeque<Prepared>,
    waker: Arc<dyn Wake>,
}

impl Discard {
    pub(super) fn new(
        lane: usize,
        fields: Option<FieldSum>,
        counts: Arc<Counts>,
        waker: Arc<dyn Wake>,
    ) -> Self {
        let (key_hashes, prepared) = (Vec::new(), VecDeque::new());
        Self { lane, fields, key_hashes, counts, prepared, waker }
    }

    /// The sum over a batch's bytes: for each record `mix(mix(xxh3(key)) + xxh3(value))`, where a
    /// record without key has 0 for `xxh3(key)`.
    fn sum_bytes(&mut self, batch: &Batch) -> u64 {
        let mut sum = 0u64;
        let mut add = |key: u64, value: &[u8]| {
            sum = sum.wrapping_add(mix(mix(key).wrapping_add(xxh3_64(value))));
        };
        match &batch.keys {
            RecordKeys::Of { dictionary, key_of } if dictionary.keys.len() <= key_of.len() => {
                self.key_hashes.clear();
                self.key_hashes.extend(dictionary.keys.iter().map(xxh3_64));
                for (value, key) in batch.values.iter().zip(key_of) {
                    add(self.key_hashes.get(*key as usize).copied().unwrap_or_default(), value);
                }
            }
            RecordKeys::Of { .. } => {
                for (index, value) in batch.values.iter().enumerate() {
                    add(xxh3_64(batch.key(index).unwrap_or_default()), value);
                }
            }
            RecordKeys::None => batch.values.iter().for_each(|value| add(0, value)),
        }
        sum
    }
}

impl SinkWriter for Discard {
    fn has_room(&mut self) -> bool {
        true
    }

    fn write(&mut self, batch: Batch) -> Result<usize, ConnectorError> {
        let sum = match &mut self.fields {
            None => self.sum_bytes(&batch),
            Some(fields) => {
                let mut sum = 0u64;
                for (index, value) in batch.values.iter().enumerate() {
                    let key = batch.key(index);
                    let one = fields.of(key, value);
                    let one = one.map_err(|what| bad_record(self.lane, &what, key, value))?;
                    sum = sum.wrapping_add(one);
                }
                sum
            }
        };
        let keys = match &batch.keys {
            RecordKeys::None => 0,
            RecordKeys::Of { dictionary, key_of } if key_of.is_empty() => {
                dictionary.keys.data.len()
            }
            RecordKeys::Of { dictionary, key_of } => {
                let bytes = |key: &u32| dictionary.keys.get(*key as usize).len();
                key_of.iter().map(bytes).sum()
            }
        };
        let bytes = keys + batch.values.data.len();
        self.counts.add(batch.len(), bytes, sum);
        Ok(bytes)
    }

    /// There is nothing to wait for: the counts are all there is.
    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<(), ConnectorError> {
        let state = self.counts.state()?;
        self.prepared.push_back(Prepared { checkpoint, files: Vec::new(), state });
        self.waker.wake();
        Ok(())
    }

    fn prepared(&mut self) -> Result<Option<Prepared>, ConnectorError> {
        Ok(self.prepared.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::batch::Dictionary;

    use super::*;
    use crate::connectors::settings::{DiscardSink, FieldType, Fields, SinkSettings};
    use crate::connectors::sink::tests::{answer, open};
    use crate::connectors::tests::{bell, nobody};

    fn keyed(records: &[(&[u8], &[u8])], dictionary: &[&[u8]]) -> Batch {
        let mut batch = Batch::default();
        let (mut keys, mut key_of) = (Dictionary::default(), Vec::new());
        dictionary.iter().for_each(|key| keys.keys.push(key));
        for (key, value) in records {
            batch.values.push(value);
            match dictionary.iter().position(|other| other == key) {
                Some(index) => key_of.push(index as u32),
                None => keys.keys.push(key),
            }
        }
        batch.keys = RecordKeys::Of { dictionary: Arc::new(keys), key_of };
        batch
    }

    fn summary(fields: Option<Fields>, lanes: Vec<Vec<Batch>>) -> crate::connectors::SinkSummary {
        let mut sink = open(&SinkSettings::Discard(DiscardSink { fields }));
        for (lane, batches) in lanes.into_iter().enumerate() {
            let mut writer = sink.writer(lane, bell().0, &nobody(), &[]).unwrap();
            batches.into_iter().for_each(|batch| assert!(writer.write(batch).is_ok()));
        }
        sink.summary()
    }

    #[test]
    fn a_job_that_resumes_with_fewer_lanes_has_the_sum_of_one_that_never_stopped() {
        let (a, b): (&[u8], &[u8]) = (b"a", b"bb");
        let batch = |records: &[(&[u8], &[u8])]| keyed(records, &[]);
        let records = [(a, b), (b, a), (a, a)];
        let expected = summary(None, vec![vec![batch(&records)]]);
        let settings = SinkSettings::Discard(DiscardSink { fields: None });
        let mut sink = open(&settings);
        let mut states = Vec::new();
        for (lane, records) in [(0, &records[..1]), (1, &records[1..2])] {
            let (waker, wakes) = bell();
            let mut writer = sink.writer(lane, waker, &nobody(), &[]).unwrap();
            writer.write(batch(records)).unwrap();
            writer.prepare(CheckpointId(4)).unwrap();
            // This is after the checkpoint, and so it never was.
            writer.write(batch(records)).unwrap();
            let prepared = answer(&mut *writer, &wakes);
            assert_eq!((prepared.checkpoint, prepared.files), (CheckpointId(4), Vec::new()));
            states.push(prepared.state);
        }
        let mut sink = open(&settings);
        sink.writer(0, bell().0, &nobody(), &states).unwrap().write(batch(&records[2..])).unwrap();
        assert_eq!(sink.summary(), expected);
    }

    #[test]
    fn the_sum_does_not_depend_on_order_lanes_or_the_form_of_the_keys() {
        let (a, b, c): (&[u8], &[u8], &[u8]) = (b"a", b"bb", b"");
        let records = [(a, b), (b, c), (a, c), (a, b)];
        let expected = summary(None, vec![vec![keyed(&records, &[])]]);
        assert_eq!((expected.records, expected.bytes), (4, 9));
        for lanes in [
            vec![vec![keyed(&records[..3], &[a, b]), keyed(&records[3..], &[])]],
            vec![
                vec![keyed(&records[2..], &[b, a, c, b"x", b"y"])],
                vec![keyed(&records[..2], &[b, a])],
            ],
        ] {
            assert_eq!(summary(None, lanes), expected);
        }
        let swapped = [(b, a), (c, b), (c, a), (b, a)];
        assert_ne!(summary(None, vec![vec![keyed(&swapped, &[])]]).checksum, expected.checksum);
    }

    #[test]
    fn fields_are_summed_after_decoding_and_what_cannot_be_is_an_error() {
        let fields = |value| Some(Fields { key: Some(FieldType::Text), value, select: vec![] });
        let binary = keyed(&[(b"k", &7u64.to_le_bytes())], &[]);
        let text = keyed(&[(b"k", b"7")], &[]);
        let first = summary(fields(FieldType::U64), vec![vec![binary]]);
        let second = summary(fields(FieldType::Integer), vec![vec![text.clone()]]);
        assert_eq!(first.check_sum_of_fields, second.check_sum_of_fields);
        assert!(first.checksum.is_none() && first.check_sum_of_fields.is_some());
        let settings = SinkSettings::Discard(DiscardSink { fields: fields(FieldType::U64) });
        let mut writer = open(&settings).writer(0, bell().0, &nobody(), &[]).unwrap();
        let error = writer.write(text).unwrap_err();
        assert!(error.message.contains("no 64-bit words"), "{error}");
    }
}
