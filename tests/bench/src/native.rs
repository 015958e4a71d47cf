//! Operators linked in as Rust types behind the seam that sandboxes are behind.

use tidemill_core::call::{CallFrame, KeySource, OutputBatch};
use tidemill_core::column::{BytesColumn, Layout, OptionalColumn};
use tidemill_core::failure::Failure;
use tidemill_core::operator::{BadRecord, InstanceFactory, OpenContext, OperatorInstance};

/// The sample operator `word-count`, natively: a running count per key, one record out per record in.
#[derive(Default)]
pub struct NativeWordCount {
    counts: Vec<u64>,
}

const WIDTH: usize = size_of::<u64>();

impl OperatorInstance for NativeWordCount {
    fn open(&mut self, _: &mut Box<CallFrame>, _: &OpenContext) -> Result<(), Failure> {
        Ok(())
    }

    fn process(&mut self, frame: &mut Box<CallFrame>, _: u32) -> Result<Vec<BadRecord>, Failure> {
        let slots = frame.input.dictionary.keys.len();
        let state = frame.state()?;
        let before = state.value_read(0)?;
        self.counts.clear();
        let count = |slot| before.item(Layout::Fixed(WIDTH as u32), slot).map_or(0, read_u64);
        self.counts.extend((0..slots).map(count));
        let key_of = frame.input.key_of.clone();
        let mut values = BytesColumn::with_capacity(0, key_of.len() * WIDTH);
        for slot in &key_of {
            let count = &mut self.counts[*slot as usize];
            *count += 1;
            values.data.extend_from_slice(&count.to_le_bytes());
        }
        let mut after = OptionalColumn {
            present: vec![u8::MAX; slots.div_ceil(8)],
            values: BytesColumn::with_capacity(0, slots * WIDTH),
        };
        let items = self.counts.iter().flat_map(|count| count.to_le_bytes());
        after.values.data.extend(items);
        frame.state()?.value_write(0, (0..slots as u32).collect(), after)?;
        let keys = KeySource::InputKeys;
        frame.emit(0, OutputBatch { keys, key_of, values, timestamps: Vec::new() })?;
        Ok(Vec::new())
    }

    fn close(&mut self, _: &mut Box<CallFrame>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Makes [`NativeWordCount`]s.
pub fn factory() -> Box<dyn InstanceFactory> {
    Box::new(|| -> Result<Box<dyn OperatorInstance>, Failure> {
        Ok(Box::new(NativeWordCount::default()))
    })
}

fn read_u64(bytes: &[u8]) -> u64 {
    bytes.try_into().map(u64::from_le_bytes).unwrap_or(0)
}
