//! The bytes of one record of the input log.
//!
//! Owns the layout: a head, which says what is known about the input as of this record, then the columns of
//! the batch. All numbers are LEB128 unless said otherwise.
//!
//! | part | content |
//! |---|---|
//! | format | one byte, 1 |
//! | flags | one byte: has marks, an inner position, keys, indices into the keys, event times |
//! | marks | wall time in milliseconds (8 bytes), count, for each: length and bytes of the client, line |
//! | inner | offset, one byte for ended, length and bytes of the detail |
//! | values | count, lengths, bytes |
//! | keys | count, lengths, bytes |
//! | indices | one for each record |
//! | times | one for each record: 8 bytes, little-endian |
//!
//! The head comes first, so that it can be read without the batch. Invariants: what was encoded comes back,
//! but for hashes of keys, which are computed anew; bytes that no batch gives are refused, never believed: no
//! length is used before it was compared with what is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::{Batch, Dictionary, RecordKeys};
use crate::column::BytesColumn;
use crate::connector::Position;
use crate::limits::BATCH_RECORDS_MAX;

use super::bytes::{Cut, put_bytes, put_number};

const FORMAT: u8 = 1;
/// What a mark takes; its client's name is shared.
const MARK_BYTES: usize = 64;
const HAS_MARKS: u8 = 1;
const HAS_INNER: u8 = 1 << 1;
const HAS_KEYS: u8 = 1 << 2;
const HAS_INDICES: u8 = 1 << 3;
const HAS_TIMES: u8 = 1 << 4;

/// For each client whose lines are in a batch the number of the last of them.
pub type Marks = BTreeMap<Arc<str>, u64>;

/// What is known about the input once a record was processed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Clients that numbered their lines.
    pub marks: Marks,
    /// When the marks were made, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// For a source that can be read again: where it goes on after this batch.
    pub inner: Option<Position>,
}

/// What a record of the log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// What is known of the input.
    pub head: Head,
    /// Never empty.
    pub batch: Batch,
}

impl Body {
    /// The bytes of the record.
    pub fn encode(&self) -> Vec<u8> {
        let Batch { keys, values, timestamps } = &self.batch;
        let mut out = Vec::with_capacity(64 + self.batch.bytes());
        out.extend_from_slice(&[FORMAT, self.flags()]);
        self.head.encode(&mut out);
        put_column(&mut out, values);
        if let RecordKeys::Of { dictionary, key_of } = keys {
            put_column(&mut out, &dictionary.keys);
            key_of.iter().for_each(|index| put_number(&mut out, u64::from(*index)));
        }
        timestamps.iter().for_each(|time| out.extend_from_slice(&time.to_le_bytes()));
        out
    }

    fn flags(&self) -> u8 {
        let (is_keyed, has_indices) = match &self.batch.keys {
            RecordKeys::None => (false, false),
            RecordKeys::Of { key_of, .. } => (true, !key_of.is_empty()),
        };
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        flag(!self.head.marks.is_empty(), HAS_MARKS)
            | flag(self.head.inner.is_some(), HAS_INNER)
            | flag(is_keyed, HAS_KEYS)
            | flag(has_indices, HAS_INDICES)
            | flag(!self.batch.timestamps.is_empty(), HAS_TIMES)
    }

    /// What `bytes` hold; `None` when no record has these bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Cut(bytes);
        let (flags, head) = begin(&mut rest)?;
        let values = take_column(&mut rest)?;
        let records = values.len();
        if !(1..=BATCH_RECORDS_MAX).contains(&records) {
            return None;
        }
        let keys = match flags & HAS_KEYS {
            0 => RecordKeys::None,
            _ => {
                let keys = take_column(&mut rest)?;
                let key_of = match flags & HAS_INDICES {
                    0 => Vec::new(),
                    _ => take_indices(&mut rest, records, keys.len())?,
                };
                if key_of.is_empty() && keys.len() != records {
                    return None;
                }
                let dictionary = Arc::new(Dictionary { keys, hashes: Vec::new() });
                RecordKeys::Of { dictionary, key_of }
            }
        };
        let times = if flags & HAS_TIMES == 0 { 0 } else { records };
        let times: Option<Vec<i64>> = (0..times).map(|_| rest.word()).collect();
        let body = Self { head, batch: Batch { keys, values, timestamps: times? } };
        rest.0.is_empty().then_some(body)
    }

    /// Memory that it takes, about.
    pub fn held_bytes(&self) -> usize {
        let detail = self.head.inner.as_ref().map_or(0, |inner| inner.detail.capacity());
        self.batch.held_bytes() + size_of::<Self>() + detail + self.head.marks.len() * MARK_BYTES
    }
}

impl Head {
    fn encode(&self, out: &mut Vec<u8>) {
        if !self.marks.is_empty() {
            out.extend_from_slice(&self.time_ms.to_le_bytes());
            put_number(out, self.marks.len() as u64);
            for (client, line) in &self.marks {
                put_bytes(out, client.as_bytes());
                put_number(out, *line);
            }
        }
        if let Some(Position { offset, detail, ended }) = &self.inner {
            put_number(out, *offset);
            out.push(u8::from(*ended));
            put_bytes(out, detail);
        }
    }

    /// The head of a record; `None` when no record begins with these bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        begin(&mut Cut(bytes)).map(|(_, head)| head)
    }
}

/// Reads format, flags and head.
fn begin(rest: &mut Cut<'_>) -> Option<(u8, Head)> {
    if rest.byte()? != FORMAT {
        return None;
    }
    let flags = rest.byte()?;
    let is_known = flags < HAS_TIMES << 1;
    let is_sound = flags & HAS_INDICES == 0 || flags & HAS_KEYS != 0;
    if !is_known || !is_sound {
        return None;
    }
    let mut head = Head::default();
    if flags & HAS_MARKS != 0 {
        head.time_ms = rest.word()?;
        for _ in 0..rest.number()? {
            let client = str::from_utf8(rest.bytes()?).ok()?;
            head.marks.insert(client.into(), rest.number()?);
        }
    }
    if flags & HAS_INNER != 0 {
        let offset = rest.number()?;
        let ended = match rest.byte()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        head.inner = Some(Position { offset, detail: rest.bytes()?.to_vec(), ended });
    }
    Some((flags, head))
}

fn put_column(out: &mut Vec<u8>, column: &BytesColumn) {
    put_number(out, column.len() as u64);
    let mut start = 0;
    for &end in &column.ends {
        put_number(out, u64::from(end - start));
        start = end;
    }
    out.extend_from_slice(&column.data);
}

fn take_column(rest: &mut Cut<'_>) -> Option<BytesColumn> {
    let items = usize::try_from(rest.number()?).ok()?;
    // Each item takes a byte at least, so this bounds what is reserved.
    if items > rest.0.len() {
        return None;
    }
    let mut ends = Vec::with_capacity(items);
    let mut end = 0_u32;
    for _ in 0..items {
        end = end.checked_add(u32::try_from(rest.number()?).ok()?)?;
        ends.push(end);
    }
    Some(BytesColumn { data: rest.take(end as usize)?.to_vec(), ends })
}

fn take_indices(rest: &mut Cut<'_>, records: usize, keys: usize) -> Option<Vec<u32>> {
    let index = |_| {
        let index = u32::try_from(rest.number()?).ok()?;
        ((index as usize) < keys).then_some(index)
    };
    (0..records).map(index).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn column(items: &[Vec<u8>]) -> BytesColumn {
        let mut column = BytesColumn::default();
        items.iter().for_each(|item| column.push(item));
        column
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..20)
    }

    fn keys(records: usize) -> impl Strategy<Value = RecordKeys> {
        let of = |keys: Vec<Vec<u8>>, key_of| {
            let dictionary = Arc::new(Dictionary { keys: column(&keys), hashes: Vec::new() });
            RecordKeys::Of { dictionary, key_of }
        };
        let shared = vec(bytes(), 1..5).prop_flat_map(move |keys| {
            let indices = vec(0..keys.len() as u32, records);
            indices.prop_map(move |key_of| of(keys.clone(), key_of))
        });
        let own = vec(bytes(), records).prop_map(move |keys| of(keys, Vec::new()));
        prop_oneof![Just(RecordKeys::None), shared, own]
    }

    fn batches() -> impl Strategy<Value = Batch> {
        vec(bytes(), 1..30).prop_flat_map(|values| {
            let records = values.len();
            let times = prop_oneof![Just(Vec::new()), vec(any::<i64>(), records)];
            (keys(records), times).prop_map(move |(keys, timestamps)| Batch {
                keys,
                values: column(&values),
                timestamps,
            })
        })
    }

    fn heads() -> impl Strategy<Value = Head> {
        let marks = btree_map("[a-z0-9]{1,5}", any::<u64>(), 0..4);
        let inner = (any::<u64>(), bytes(), any::<bool>())
            .prop_map(|(offset, detail, ended)| Position { offset, detail, ended });
        (marks, any::<i64>(), option::of(inner)).prop_map(|(marks, time_ms, inner)| Head {
            time_ms: if marks.is_empty() { 0 } else { time_ms },
            marks: marks.into_iter().map(|(client, line)| (client.into(), line)).collect(),
            inner,
        })
    }

    fn bodies() -> impl Strategy<Value = Body> {
        (heads(), batches()).prop_map(|(head, batch)| Body { head, batch })
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(body in bodies()) {
            let bytes = body.encode();
            prop_assert_eq!(Head::decode(&bytes), Some(body.head.clone()));
            prop_assert_eq!(Body::decode(&bytes), Some(body));
        }

        #[test]
        fn what_was_cut_or_has_more_behind_it_is_refused(body in bodies()) {
            let mut bytes = body.encode();
            for cut in 0..bytes.len() {
                prop_assert_eq!(Body::decode(&bytes[..cut]), None);
            }
            bytes.push(0);
            prop_assert_eq!(Body::decode(&bytes), None);
        }

        #[test]
        fn garbage_gives_a_sound_batch_or_nothing(
            body in bodies(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = body.encode();
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            if let Some(found) = Body::decode(&bytes) {
                let batch = &found.batch;
                prop_assert!(!batch.is_empty());
                prop_assert_eq!(*batch.values.ends.last().unwrap() as usize, batch.values.data.len());
                for record in 0..batch.len() {
                    prop_assert_eq!(batch.key(record).is_some(), batch.is_keyed());
                }
                prop_assert!([0, batch.len()].contains(&batch.timestamps.len()));
            }
        }
    }

    #[test]
    fn lengths_that_nothing_backs_reserve_nothing() {
        let huge = [FORMAT, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(Body::decode(&huge), None);
        let no_records = [FORMAT, 0, 0];
        assert_eq!(Body::decode(&no_records), None);
    }
}
