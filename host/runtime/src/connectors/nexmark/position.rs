//! How far the partitions of a generator have come.
//!
//! Owns what a position says beside the number of the next event: everything that decides which
//! event has that number. Knows nothing of lanes. Invariant: a generator goes on only if each of
//! its partitions would have given the same events before the position.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidemill_core::connector::{PartitionPosition, Position};

use crate::connectors::nexmark::Generator;
use crate::connectors::settings::{Encoding, Stream};

/// The version of the definition of the events.
const VERSION: u32 = 1;

/// What stands in the detail of a position, as MessagePack with named fields.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail<'a> {
    version: u32,
    stream: Cow<'a, str>,
    encoding: Cow<'a, str>,
    seed: u64,
    /// `None` is endless.
    events: Option<u64>,
    partitions: u32,
    /// Distinct keys of the evenly spread numbers; absent in positions of earlier versions.
    #[serde(default = "million")]
    keys: u64,
}

fn million() -> u64 {
    1_000_000
}

impl Detail<'static> {
    fn of(generator: &Generator) -> Self {
        let stream = match generator.stream {
            Stream::Nexmark => "nexmark",
            Stream::Uniform => "uniform",
            Stream::Lines => "lines",
        };
        let encoding = match generator.encoding {
            Encoding::Ndjson => "ndjson",
            Encoding::MessagePack => "msgpack",
        };
        Self {
            version: VERSION,
            stream: stream.into(),
            encoding: encoding.into(),
            seed: generator.seed,
            events: (generator.events != u64::MAX).then_some(generator.events),
            partitions: generator.partitions,
            keys: generator.keys,
        }
    }

    /// Each field with its value, as users write them.
    fn fields(&self) -> [(&'static str, String); 7] {
        let events = self.events.map_or_else(|| "endless".to_owned(), |events| events.to_string());
        [
            ("version", self.version.to_string()),
            ("stream", self.stream.to_string()),
            ("encoding", self.encoding.to_string()),
            ("seed", self.seed.to_string()),
            ("events", events),
            ("partitions", self.partitions.to_string()),
            ("keys", self.keys.to_string()),
        ]
    }
}

impl Generator {
    /// What stands in the detail of each position.
    pub(super) fn detail(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(&Detail::of(self)).expect("numbers and text always encode")
    }

    /// The position of a partition whose next event is its `next`-th.
    pub(super) fn position(&self, partition: u32, next: u64, detail: &[u8]) -> PartitionPosition {
        let ended = self.size(partition) == Some(next);
        PartitionPosition {
            partition: self.partition_id(partition),
            position: Position { offset: next, detail: detail.to_vec(), ended },
        }
    }

    /// The positions of a generator that has given nothing yet, by partition.
    pub fn starts(&self) -> Vec<PartitionPosition> {
        let detail = self.detail();
        (0..self.partitions()).map(|index| self.position(index, 0, &detail)).collect()
    }

    /// For each partition the number of its next event.
    ///
    /// # Errors
    /// The positions are those of another generator; says what differs.
    pub fn nexts(&self, positions: &[PartitionPosition]) -> Result<Vec<u64>, String> {
        let own = Detail::of(self).fields();
        let mut nexts = vec![None; self.partitions() as usize];
        for PartitionPosition { partition, position } in positions {
            let found: Detail<'static> =
                rmp_serde::from_slice(&position.detail).map_err(|error| {
                    format!(
                        "the position of `{partition}` cannot be used ({error}); run the version \
                         of Tidemill that wrote the checkpoint, or start the job anew with --fresh"
                    )
                })?;
            let differ = |(was, is): &(&(&str, String), &(&str, String))| was.1 != is.1;
            let changes: Vec<String> = found
                .fields()
                .iter()
                .zip(&own)
                .filter(differ)
                .map(|(was, is)| format!("`{}` was {} and is {} now", was.0, was.1, is.1))
                .collect();
            if !changes.is_empty() {
                let changes = changes.join(", ");
                return Err(format!("{changes}; set it back, or start the job anew with --fresh"));
            }
            let index = self
                .index(partition)
                .filter(|&index| self.size(index).is_none_or(|events| position.offset <= events));
            let next = index.and_then(|index| nexts.get_mut(index as usize));
            *next.ok_or_else(|| wrong(partition))? = Some(position.offset);
        }
        let missing = nexts.iter().position(Option::is_none);
        if let Some(index) = missing {
            return Err(wrong(&self.partition_id(index as u32)));
        }
        Ok(nexts.into_iter().flatten().collect())
    }

    /// The number of the partition with an id.
    fn index(&self, id: &str) -> Option<u32> {
        let (index, _) = id.strip_prefix("split-")?.split_once("-of-")?;
        let index = index.parse().ok()?;
        (self.partition_id(index) == id).then_some(index)
    }
}

fn wrong(partition: &str) -> String {
    format!(
        "its checkpoint says nothing sensible of partition `{partition}`; start the job anew with \
         --fresh"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemill_core::connector::{BatchTarget, SourcePoll};
    use tidemill_core::ids::Now;

    use super::*;
    use crate::connectors::Listing;
    use crate::connectors::Source;
    use crate::connectors::settings::{GeneratorSource, SourceSettings};
    use crate::connectors::tests::{bell, nobody};

    fn settings(events: Option<u64>, partitions: u32) -> GeneratorSource {
        let (stream, encoding, key) = (Stream::Uniform, Encoding::MessagePack, None);
        GeneratorSource {
            stream,
            seed: 7,
            events,
            partitions,
            encoding,
            keys: 1_000_000,
            per_second: None,
            key,
        }
    }

    /// Reads at most `batches` batches of 40 records on each of `lanes` lanes.
    fn read(
        source: &Source,
        lanes: usize,
        batches: usize,
    ) -> (Vec<Vec<u8>>, Vec<PartitionPosition>) {
        let (mut values, mut positions) = (Vec::new(), source.positions());
        for lane in 0..lanes {
            let (waker, wakes) = bell();
            let mut reader = source.reader(lane, lanes, waker, nobody()).unwrap();
            let mut left = batches;
            while left > 0 {
                let target = BatchTarget { records: 40, bytes: 100_000 };
                match reader.poll(target, Now::default()).unwrap() {
                    SourcePoll::Batch(batch) => {
                        values.extend(batch.values.iter().map(<[u8]>::to_vec));
                        left -= 1;
                    }
                    SourcePoll::Pending => wakes.recv().unwrap(),
                    SourcePoll::Ended => break,
                }
            }
            let own = positions.iter_mut().skip(lane).step_by(lanes);
            own.zip(reader.positions()).for_each(|(at, now)| *at = now);
        }
        (values, positions)
    }

    proptest! {
        #[test]
        fn what_was_given_and_what_is_left_are_all_events_once(
            events in 0u64..1500,
            partitions in 1u32..6,
            runs in prop::collection::vec((1usize..5, 0usize..6), 0..4),
        ) {
            let settings = SourceSettings::Nexmark(settings(Some(events), partitions));
            let mut source = Source::list("in", &settings, &mut Listing::default()).unwrap();
            let mut expected = read(&source, 1, usize::MAX).0;
            prop_assert_eq!(expected.len() as u64, events);
            let mut found = Vec::new();
            for (lanes, batches) in runs {
                let (values, positions) = read(&source, lanes, batches);
                found.extend(values);
                source = Source::resume("in", &settings, &positions).unwrap();
                prop_assert_eq!(source.positions(), positions);
            }
            let (values, positions) = read(&source, 2, usize::MAX);
            found.extend(values);
            prop_assert!(positions.iter().all(|at| at.position.ended));
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn settings_that_give_other_events_are_refused_and_named() {
        let first = settings(Some(1000), 3);
        let source =
            Source::list("in", &SourceSettings::Nexmark(first.clone()), &mut Listing::default())
                .unwrap();
        let (_, positions) = read(&source, 1, 1);
        let resume = |settings: GeneratorSource| {
            Source::resume("in", &SourceSettings::Nexmark(settings), &positions).map(|_| ())
        };
        let keyed = GeneratorSource { key: Some("key".to_owned()), ..first.clone() };
        resume(keyed).unwrap();
        for (changed, what) in [
            (GeneratorSource { seed: 8, ..first.clone() }, "`seed` was 7 and is 8 now"),
            (GeneratorSource { events: None, ..first.clone() }, "`events` was 1000 and is endless"),
            (GeneratorSource { events: Some(999), ..first.clone() }, "was 1000 and is 999 now"),
            (GeneratorSource { keys: 9, ..first.clone() }, "`keys` was 1000000 and is 9 now"),
            (GeneratorSource { partitions: 4, ..first.clone() }, "`partitions` was 3 and is 4 now"),
            (
                GeneratorSource { stream: Stream::Lines, encoding: Encoding::Ndjson, ..first },
                "`stream` was uniform and is lines now, `encoding` was msgpack and is ndjson now",
            ),
        ] {
            let error = resume(changed).unwrap_err();
            assert!(error.message.starts_with("source `in` cannot go on"), "{error}");
            assert!(error.message.contains(what), "{error}");
        }
    }

    #[test]
    fn positions_that_are_not_one_of_each_partition_are_refused() {
        let generator = Generator::new(&settings(Some(1000), 2)).unwrap();
        let fine = generator.starts();
        assert_eq!(generator.nexts(&fine).unwrap(), [0, 0]);
        assert!(generator.nexts(&fine[..1]).unwrap_err().contains("`split-1-of-2`"));
        for change in [
            |at: &mut PartitionPosition| at.partition = "split-2-of-2".to_owned(),
            |at: &mut PartitionPosition| at.partition = "split-+1-of-2".to_owned(),
            |at: &mut PartitionPosition| at.partition = "a.txt".to_owned(),
            |at: &mut PartitionPosition| at.position.offset = 501,
            |at: &mut PartitionPosition| at.position.detail.clear(),
        ] {
            let mut positions = fine.clone();
            change(&mut positions[1]);
            let error = generator.nexts(&positions).unwrap_err();
            assert!(error.contains("--fresh"), "{error}");
        }
    }
}
