//! The host side of the operator contract: translates types, nothing more.
//!
//! Every rule is in the call frame; here a guest's columns become the core's and a broken rule becomes
//! an error that ends the call. Columns move, they are not copied again.

use tidemill_core::call::{KeySource as CoreKeySource, OutputBatch as CoreOutputBatch};
use tidemill_core::column::{BytesColumn as CoreColumn, OptionalColumn as CoreOptional};
use wasmtime::Result;

use crate::bindings::operator::tidemill::operator::{
    clock, log, metrics, output, random, state, types,
};
use crate::failpoint::{failpoint, hangpoint};
use crate::guest_data::GuestData;
use crate::guest_log::Level;

fn to_core(column: types::BytesColumn) -> CoreColumn {
    CoreColumn { data: column.data, ends: column.ends }
}

fn to_core_optional(column: types::OptionalColumn) -> CoreOptional {
    CoreOptional { present: column.present, values: to_core(column.values) }
}

fn to_guest(column: CoreColumn) -> types::BytesColumn {
    types::BytesColumn { data: column.data, ends: column.ends }
}

fn to_guest_optional(column: CoreOptional) -> types::OptionalColumn {
    types::OptionalColumn { present: column.present, values: to_guest(column.values) }
}

impl types::Host for GuestData {}

impl state::Host for GuestData {
    fn value_read(&mut self, state: u32) -> Result<types::OptionalColumn> {
        let read = self.frame.state()?.value_read(state)?;
        self.frame.host_called(read.bytes());
        Ok(to_guest_optional(read))
    }

    fn value_write(
        &mut self,
        state: u32,
        slots: Vec<u32>,
        values: types::OptionalColumn,
    ) -> Result<()> {
        let values = to_core_optional(values);
        self.frame.host_called(values.bytes() + size_of_val(&*slots));
        Ok(self.frame.state()?.value_write(state, slots, values)?)
    }

    fn list_append(
        &mut self,
        state: u32,
        slots: Vec<u32>,
        items: types::BytesColumn,
    ) -> Result<()> {
        let items = to_core(items);
        self.frame.host_called(items.bytes() + size_of_val(&*slots));
        Ok(self.frame.state()?.list_append(state, &slots, &items)?)
    }

    fn list_read(&mut self, state: u32, slot: u32, start: u64) -> Result<types::BytesColumn> {
        let items = self.frame.state()?.list_read(state, slot, start)?;
        self.frame.host_called(items.bytes());
        Ok(to_guest(items))
    }

    fn list_replace(&mut self, state: u32, slot: u32, items: types::BytesColumn) -> Result<()> {
        let items = to_core(items);
        self.frame.host_called(items.bytes());
        Ok(self.frame.state()?.list_replace(state, slot, items)?)
    }

    fn map_read(
        &mut self,
        state: u32,
        slots: Vec<u32>,
        keys: types::BytesColumn,
    ) -> Result<types::OptionalColumn> {
        let keys = to_core(keys);
        let read = self.frame.state()?.map_read(state, &slots, &keys)?;
        self.frame.host_called(keys.bytes() + size_of_val(&*slots) + read.bytes());
        Ok(to_guest_optional(read))
    }

    fn map_write(
        &mut self,
        state: u32,
        slots: Vec<u32>,
        keys: types::BytesColumn,
        values: types::OptionalColumn,
    ) -> Result<()> {
        let (keys, values) = (to_core(keys), to_core_optional(values));
        self.frame.host_called(keys.bytes() + size_of_val(&*slots) + values.bytes());
        Ok(self.frame.state()?.map_write(state, &slots, &keys, &values)?)
    }

    fn map_scan(
        &mut self,
        state: u32,
        slot: u32,
        start: Option<Vec<u8>>,
        end: Option<Vec<u8>>,
        limit: u32,
    ) -> Result<state::MapPage> {
        let keyed = self.frame.state()?;
        let page = keyed.map_scan(state, slot, start.as_deref(), end.as_deref(), limit)?;
        self.frame.host_called(page.keys.bytes() + page.values.bytes());
        let (keys, values) = (to_guest(page.keys), to_guest(page.values));
        Ok(state::MapPage { keys, values, more: page.more })
    }

    fn map_clear(&mut self, state: u32, slot: u32) -> Result<()> {
        self.frame.host_called(0);
        Ok(self.frame.state()?.map_clear(state, slot)?)
    }
}

impl output::Host for GuestData {
    fn emit(&mut self, output: u32, batch: types::OutputBatch) -> Result<()> {
        hangpoint("host-call-hangs");
        let types::OutputBatch { keys, key_of, values, timestamps } = batch;
        let keys = match keys {
            types::KeySource::None => CoreKeySource::None,
            types::KeySource::InputKeys => CoreKeySource::InputKeys,
            types::KeySource::NewKeys(keys) => CoreKeySource::NewKeys(to_core(keys)),
        };
        let key_bytes = match &keys {
            CoreKeySource::NewKeys(keys) => keys.bytes(),
            CoreKeySource::None | CoreKeySource::InputKeys => 0,
        };
        let bytes = key_bytes + size_of_val(&*key_of) + size_of_val(&*timestamps);
        let batch = CoreOutputBatch { keys, key_of, values: to_core(values), timestamps };
        self.frame.host_called(bytes + batch.values.bytes());
        Ok(self.frame.emit(output, batch)?)
    }
}

impl log::Host for GuestData {
    fn write(
        &mut self,
        level: log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> Result<()> {
        failpoint("host-call-panics");
        self.frame.check_described("the log")?;
        let in_fields: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.frame.host_called(message.len() + in_fields);
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.log.write(level, &message, &fields);
        Ok(())
    }
}

impl metrics::Host for GuestData {
    fn put(&mut self, metric: u32, value: f64) -> Result<()> {
        self.frame.host_called(0);
        Ok(self.frame.put_metric(metric, value)?)
    }
}

impl clock::Host for GuestData {
    fn now(&mut self) -> Result<i64> {
        self.frame.host_called(0);
        Ok(self.frame.clock()?)
    }
}

impl random::Host for GuestData {
    fn bytes(&mut self, len: u32) -> Result<Vec<u8>> {
        self.frame.host_called(len as usize);
        Ok(self.frame.random(len)?)
    }
}
