//! The host functions in a native build: they go to the model of the calling thread.

use std::cell::RefCell;

use super::model::Model;
use crate::bindings::tidemill::operator::log::Level;
use crate::bindings::tidemill::operator::state::MapPage;
use crate::bindings::tidemill::operator::types::{BytesColumn, OptionalColumn, OutputBatch};

thread_local! {
    static MODEL: RefCell<Option<Model>> = const { RefCell::new(None) };
}

/// Runs operator code with `model` as its host, also if the code panics.
pub(super) fn with_host<T>(model: &mut Option<Model>, call: impl FnOnce() -> T) -> T {
    struct Swap<'m>(&'m mut Option<Model>);
    impl Drop for Swap<'_> {
        fn drop(&mut self) {
            MODEL.with_borrow_mut(|place| std::mem::swap(place, self.0));
        }
    }
    MODEL.with_borrow_mut(|place| std::mem::swap(place, model));
    let _swap = Swap(model);
    call()
}

fn host<T>(call: impl FnOnce(&mut Model) -> T) -> T {
    MODEL.with_borrow_mut(|model| {
        let model = model.as_mut().expect("the host can be used only inside of a test harness");
        model.host_calls += 1;
        call(model)
    })
}

pub(crate) fn value_read(state: u32) -> OptionalColumn {
    host(|model| model.value_read(state))
}

pub(crate) fn value_write(state: u32, slots: &[u32], values: &OptionalColumn) {
    host(|model| model.value_write(state, slots, values));
}

pub(crate) fn list_append(state: u32, slots: &[u32], items: &BytesColumn) {
    host(|model| model.list_append(state, slots, items));
}

pub(crate) fn list_read(state: u32, slot: u32, start: u64) -> BytesColumn {
    host(|model| model.list_read(state, slot, start))
}

pub(crate) fn list_replace(state: u32, slot: u32, items: &BytesColumn) {
    host(|model| model.list_replace(state, slot, items));
}

pub(crate) fn map_read(state: u32, slots: &[u32], keys: &BytesColumn) -> OptionalColumn {
    host(|model| model.map_read(state, slots, keys))
}

pub(crate) fn map_write(state: u32, slots: &[u32], keys: &BytesColumn, values: &OptionalColumn) {
    host(|model| model.map_write(state, slots, keys, values));
}

pub(crate) fn map_scan(
    state: u32,
    slot: u32,
    start: Option<&[u8]>,
    end: Option<&[u8]>,
    limit: u32,
) -> MapPage {
    host(|model| model.map_scan(state, slot, start, end, limit))
}

pub(crate) fn map_clear(state: u32, slot: u32) {
    host(|model| model.map_clear(state, slot));
}

pub(crate) fn emit(output: u32, batch: &OutputBatch) {
    host(|model| model.emit(output, batch));
}

pub(crate) fn log(level: Level, message: &str, fields: &[(String, String)]) {
    host(|model| model.log(level, message, fields));
}

pub(crate) fn put(metric: u32, value: f64) {
    host(|model| model.put(metric, value));
}

pub(crate) fn now() -> i64 {
    host(|model| model.now())
}

pub(crate) fn random(len: u32) -> Vec<u8> {
    host(|model| model.random(len))
}
