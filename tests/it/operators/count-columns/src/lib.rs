//! Counts the records of each key on columns, with nothing between it and the contract.
//!
//! It does what the sample `word-count` does for each record, as one would write it by hand for speed: the state is read
//! and written once, and counts lie in the column that goes out. What the SDK costs is told beside it. Knows nothing
//! of the SDK.

wit_bindgen::generate!({ path: "../../../../wit", world: "plain" });

use exports::tidemill::operator::operator::{
    Context, Description, Guest, InputDescription, OutputDescription, StateDescription, StateKind,
};
use tidemill::operator::types::{
    BadRecord, BytesColumn, Failure, InputBatch, KeySource, OptionalColumn, OutputBatch,
};
use tidemill::operator::{output, state};

/// Bytes of a count.
const WIDTH: usize = size_of::<u64>();
/// The only state of the description, and its only output.
const SEEN: u32 = 0;
const COUNTS: u32 = 0;

/// The operator.
#[derive(Debug)]
pub struct CountColumns;

impl Guest for CountColumns {
    fn describe() -> Description {
        let width = Some(WIDTH as u32);
        Description {
            name: "count-columns".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            inputs: vec![InputDescription {
                name: "words".to_owned(),
                keyed: true,
                value_width: None,
            }],
            outputs: vec![OutputDescription { name: "counts".to_owned(), value_width: width }],
            states: vec![StateDescription {
                name: "seen".to_owned(),
                kind: StateKind::Value,
                width,
                schema_version: 1,
                ttl: None,
            }],
            metrics: Vec::new(),
        }
    }

    fn open(_: Context) -> Result<(), Failure> {
        Ok(())
    }

    fn process(_: u32, batch: InputBatch) -> Result<Vec<BadRecord>, Failure> {
        let slots = batch.keys.ends.len();
        let OptionalColumn { present, values: mut seen } = state::value_read(SEEN);
        let (counts, _) = seen.data.as_chunks_mut::<WIDTH>();
        for (slot, count) in counts.iter_mut().enumerate() {
            // The bytes of an absent item mean nothing.
            if present[slot / 8] >> (slot % 8) & 1 == 0 {
                *count = [0; WIDTH];
            }
        }
        let mut data = Vec::with_capacity(batch.key_of.len() * WIDTH);
        for &slot in &batch.key_of {
            let count = &mut counts[slot as usize];
            *count = (u64::from_le_bytes(*count) + 1).to_le_bytes();
            data.extend_from_slice(count);
        }
        let all: Vec<u32> = (0..slots as u32).collect();
        let present = vec![u8::MAX; slots.div_ceil(8)];
        state::value_write(SEEN, &all, &OptionalColumn { present, values: seen });
        let InputBatch { key_of, timestamps, .. } = batch;
        let values = BytesColumn { data, ends: Vec::new() };
        let keys = KeySource::InputKeys;
        output::emit(COUNTS, &OutputBatch { keys, key_of, values, timestamps });
        Ok(Vec::new())
    }

    fn close() -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "the functions that a component exports take raw memory")]
const _: () = {
    export!(CountColumns);
};
