//! A generator that is set up: which events, in how many partitions, encoded how.
//!
//! Owns the settings' checks, the dealing of events to partitions, and filling a batch. Invariant:
//! event `n` is the same whatever the partitions, batches and keys.

use tidemill_core::column::BytesColumn;

use crate::connectors::nexmark::encode::{Encode, MessagePack, Ndjson};
use crate::connectors::nexmark::events::{self, BLOCK};
use crate::connectors::nexmark::room::{EVENT_BYTES_MAX, Room};
use crate::connectors::nexmark::tables::{self, Channel, Word};
use crate::connectors::records::Records;
use crate::connectors::settings::{Encoding, GeneratorSource, Stream};

/// Partitions at most.
const PARTITIONS_MAX: u32 = 4096;

/// The field that becomes the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyField {
    None,
    DateTime,
    Extra,
    Key,
    Value,
}

/// A generator that is set up.
pub struct Generator {
    pub(super) stream: Stream,
    pub(super) encoding: Encoding,
    pub(super) seed: u64,
    /// `u64::MAX` when they never end.
    pub(super) events: u64,
    pub(super) partitions: u32,
    /// Distinct keys of the evenly spread numbers.
    pub(super) keys: u64,
    /// Events that become due each second, if there is a rate.
    pub(super) per_second: Option<u64>,
    key: KeyField,
    /// What the stream needs of them.
    channels: Vec<Channel>,
    words: Vec<Word>,
}

impl Generator {
    /// Checks the settings and computes the tables.
    ///
    /// # Errors
    /// There are no or too many partitions, or not every event has the key field.
    pub fn new(settings: &GeneratorSource) -> Result<Self, String> {
        let GeneratorSource {
            stream,
            seed,
            events,
            partitions,
            encoding,
            keys,
            per_second,
            ref key,
        } = *settings;
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(format!("{partitions} partitions; use 1 to {PARTITIONS_MAX}"));
        }
        let key = key_field(stream, key.as_deref())?;
        let (channels, words) = match (stream, encoding) {
            (Stream::Nexmark, Encoding::Ndjson) => (tables::channels::<Ndjson>(), Vec::new()),
            (Stream::Nexmark, Encoding::MessagePack) => {
                (tables::channels::<MessagePack>(), Vec::new())
            }
            (Stream::Uniform, _) => (Vec::new(), Vec::new()),
            (Stream::Lines, _) => (Vec::new(), tables::words()),
        };
        Ok(Self {
            stream,
            encoding,
            seed,
            events: events.unwrap_or(u64::MAX),
            partitions,
            keys,
            per_second,
            key,
            channels,
            words,
        })
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The stable id of a partition. What it holds depends on how many there are, so the id tells.
    pub fn partition_id(&self, partition: u32) -> String {
        format!("split-{partition}-of-{}", self.partitions)
    }

    /// Appends event `n` to `out`.
    pub fn event(&self, n: u64, out: &mut Vec<u8>) {
        let room = &mut Room::new();
        match (self.stream, self.encoding) {
            (Stream::Nexmark, Encoding::Ndjson) => {
                events::event::<Ndjson>(self.seed, n, &self.channels, room);
            }
            (Stream::Nexmark, Encoding::MessagePack) => {
                events::event::<MessagePack>(self.seed, n, &self.channels, room);
            }
            (Stream::Uniform, Encoding::Ndjson) => {
                events::uniform::<Ndjson>(self.seed, self.keys, n, room);
            }
            (Stream::Uniform, Encoding::MessagePack) => {
                events::uniform::<MessagePack>(self.seed, self.keys, n, room);
            }
            (Stream::Lines, _) => events::line(self.seed, n, &self.words, room),
        }
        out.extend_from_slice(room.written());
    }

    /// Number of the `k`-th event of a partition: blocks are dealt round robin.
    pub fn nth(&self, partition: u32, k: u64) -> u64 {
        let block = (k / BLOCK).wrapping_mul(u64::from(self.partitions)) + u64::from(partition);
        block.wrapping_mul(BLOCK).wrapping_add(k % BLOCK)
    }

    /// How many events a partition has; `None` when they never end.
    pub fn size(&self, partition: u32) -> Option<u64> {
        if self.events == u64::MAX {
            return None;
        }
        let (partitions, partition) = (u64::from(self.partitions), u64::from(partition));
        let (blocks, rest) = (self.events / BLOCK, self.events % BLOCK);
        let full = blocks / partitions + u64::from(blocks % partitions > partition);
        let last = if blocks % partitions == partition { rest } else { 0 };
        Some(full * BLOCK + last)
    }

    pub(super) fn is_keyed(&self) -> bool {
        self.key != KeyField::None
    }

    /// Appends events of a partition from its `k`-th up to its `end`-th until the batch is full;
    /// answers the next one.
    pub(super) fn fill(&self, partition: u32, k: u64, end: u64, out: &mut Records) -> u64 {
        match (self.stream, self.encoding) {
            (Stream::Nexmark, Encoding::Ndjson) => {
                self.fill_nexmark::<Ndjson>(partition, k, end, out)
            }
            (Stream::Nexmark, Encoding::MessagePack) => {
                self.fill_nexmark::<MessagePack>(partition, k, end, out)
            }
            (Stream::Uniform, Encoding::Ndjson) => {
                self.fill_uniform::<Ndjson>(partition, k, end, out)
            }
            (Stream::Uniform, Encoding::MessagePack) => {
                self.fill_uniform::<MessagePack>(partition, k, end, out)
            }
            (Stream::Lines, _) => self.fill_with(partition, k, end, out, |n, room, _| {
                events::line(self.seed, n, &self.words, room);
            }),
        }
    }

    fn fill_nexmark<E: Encode>(&self, partition: u32, k: u64, end: u64, out: &mut Records) -> u64 {
        self.fill_with(partition, k, end, out, |n, room, keys| {
            let extra = events::event::<E>(self.seed, n, &self.channels, room);
            match self.key {
                KeyField::DateTime => push_decimal(keys, events::time(n)),
                KeyField::Extra => {
                    let to = room.written().len() - E::CLOSE.len();
                    keys.push(&room.written()[to - extra..to]);
                }
                KeyField::None | KeyField::Key | KeyField::Value => {}
            }
        })
    }

    fn fill_uniform<E: Encode>(&self, partition: u32, k: u64, end: u64, out: &mut Records) -> u64 {
        self.fill_with(partition, k, end, out, |n, room, keys| {
            let event = events::uniform::<E>(self.seed, self.keys, n, room);
            match self.key {
                KeyField::Key => push_decimal(keys, event.key),
                KeyField::Value => push_decimal(keys, event.value),
                KeyField::DateTime => push_decimal(keys, event.ts),
                KeyField::None | KeyField::Extra => {}
            }
        })
    }

    /// The loop of every stream: `each` writes event `n`, and appends its key.
    #[inline]
    fn fill_with(
        &self,
        partition: u32,
        mut k: u64,
        end: u64,
        out: &mut Records,
        each: impl Fn(u64, &mut Room, &mut BytesColumn),
    ) -> u64 {
        let room = &mut Room::new();
        while k < end && !out.is_full() && out.is_within_limits(EVENT_BYTES_MAX) {
            let n = self.nth(partition, k);
            room.clear();
            each(n, room, &mut out.keys);
            out.values.push(room.written());
            out.timestamps.push(events::time(n) as i64);
            k += 1;
        }
        k
    }
}

fn key_field(stream: Stream, key: Option<&str>) -> Result<KeyField, String> {
    let (found, fields) = match (stream, key) {
        (_, None) => return Ok(KeyField::None),
        (Stream::Nexmark, Some("date_time")) | (Stream::Uniform, Some("ts")) => {
            (KeyField::DateTime, "")
        }
        (Stream::Nexmark, Some("extra")) => (KeyField::Extra, ""),
        (Stream::Uniform, Some("key")) => (KeyField::Key, ""),
        (Stream::Uniform, Some("value")) => (KeyField::Value, ""),
        (Stream::Nexmark, _) => (KeyField::None, "`date_time` and `extra`"),
        (Stream::Uniform, _) => (KeyField::None, "`key`, `value` and `ts`"),
        (Stream::Lines, _) => {
            return Err("lines of words have no fields, so no key; remove it".to_owned());
        }
    };
    if found == KeyField::None {
        let key = key.unwrap_or_default();
        return Err(format!(
            "not every event has a field `{key}` to be the key; use one that all have: {fields}"
        ));
    }
    Ok(found)
}

#[inline]
fn push_decimal(keys: &mut BytesColumn, value: u64) {
    keys.push(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use serde_json::Value;
    use sha2::{Digest, Sha256};

    use super::*;

    fn settings(stream: Stream, encoding: Encoding) -> GeneratorSource {
        let (keys, key) = (1_000_000, None);
        GeneratorSource {
            stream,
            seed: 42,
            events: None,
            partitions: 1,
            encoding,
            keys,
            per_second: None,
            key,
        }
    }

    #[test]
    fn the_first_thousand_events_are_as_published() {
        for (stream, digest) in [
            (Stream::Nexmark, "a080bc6652b182e5120a571dc198f22674e894f858f9b5ae835a59292c267cb8"),
            (Stream::Uniform, "66d9dfea7a945ff50f0edffbda8595decd06c1395b53caa9b753839d1f170a12"),
            (Stream::Lines, "6e60b56252082f4f3e0b6931a434170804b1f8f339e1889c519050ee22ec5215"),
        ] {
            let generator = Generator::new(&settings(stream, Encoding::Ndjson)).unwrap();
            let mut out = Vec::new();
            for n in 0..1000 {
                generator.event(n, &mut out);
                out.push(b'\n');
            }
            let found = Sha256::digest(&out).iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            });
            assert_eq!(found, digest, "{stream:?}");
        }
    }

    #[test]
    fn both_encodings_hold_the_same_events() {
        for stream in [Stream::Nexmark, Stream::Uniform] {
            let ndjson = Generator::new(&settings(stream, Encoding::Ndjson)).unwrap();
            let packed = Generator::new(&settings(stream, Encoding::MessagePack)).unwrap();
            for n in (0..3000).chain(1_000_000_000..1_000_000_050) {
                let (mut text, mut bytes) = (Vec::new(), Vec::new());
                ndjson.event(n, &mut text);
                packed.event(n, &mut bytes);
                assert!(text.len() <= EVENT_BYTES_MAX && bytes.len() < text.len());
                let object = String::from_utf8(text).unwrap();
                let mut expected = Vec::new();
                crate::connectors::json::object(
                    &object,
                    |_| Some(0),
                    |_, raw| {
                        expected.push(match raw {
                            "\"person\"" => Value::from(0),
                            "\"auction\"" => Value::from(1),
                            "\"bid\"" => Value::from(2),
                            raw => serde_json::from_str(raw).unwrap(),
                        });
                        Ok(())
                    },
                )
                .unwrap();
                let found: Vec<Value> = rmp_serde::from_slice(&bytes).unwrap();
                assert_eq!(found, expected, "{object}");
                // Smallest form: what another writer makes of it is no smaller.
                assert_eq!(rmp_serde::to_vec(&found).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn partitions_hold_every_event_once() {
        for events in [0u64, 1, 49, 50, 51, 1234] {
            for partitions in [1u32, 2, 3, 7] {
                let settings = GeneratorSource {
                    events: Some(events),
                    partitions,
                    ..settings(Stream::Uniform, Encoding::MessagePack)
                };
                let generator = Generator::new(&settings).unwrap();
                let mut found: Vec<u64> = (0..partitions)
                    .flat_map(|partition| {
                        let size = generator.size(partition).unwrap();
                        (0..size).map(move |k| (partition, k))
                    })
                    .map(|(partition, k)| generator.nth(partition, k))
                    .collect();
                found.sort_unstable();
                assert_eq!(found, (0..events).collect::<Vec<_>>(), "{events} in {partitions}");
            }
        }
    }

    #[test]
    fn only_a_field_that_every_event_has_can_be_the_key() {
        for (stream, key, fine) in [
            (Stream::Nexmark, "extra", true),
            (Stream::Nexmark, "date_time", true),
            (Stream::Nexmark, "auction", false),
            (Stream::Uniform, "ts", true),
            (Stream::Uniform, "extra", false),
            (Stream::Lines, "key", false),
        ] {
            let settings =
                GeneratorSource { key: Some(key.to_owned()), ..settings(stream, Encoding::Ndjson) };
            assert_eq!(Generator::new(&settings).is_ok(), fine, "{stream:?} {key}");
        }
    }

    #[test]
    fn a_generator_without_partitions_is_refused() {
        for partitions in [0, PARTITIONS_MAX + 1] {
            let settings =
                GeneratorSource { partitions, ..settings(Stream::Lines, Encoding::Ndjson) };
            assert!(Generator::new(&settings).is_err());
        }
    }
}
