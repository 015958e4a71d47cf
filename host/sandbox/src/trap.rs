//! From a wasmtime error to who is to blame.

use tidemill_core::failure::{Failure, FaultCode, GuestFault};
use tidemill_core::limits::MESSAGE_BYTES_MAX;
use wasmtime::{Trap, WasmBacktrace};

use crate::guest_data::GuestData;

/// Frames of a guest's backtrace that a message shows.
const FRAMES_SHOWN: usize = 6;

/// Classifies the error that ended a call. `data` knows what the guest said last.
pub(crate) fn classify(error: &wasmtime::Error, data: &mut GuestData) -> Failure {
    if let Some(fault) = error.downcast_ref::<GuestFault>() {
        return Failure::Guest(fault.clone());
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return classify_untyped(error);
    };
    let said = data.log.take_last_stderr();
    let (code, what) = match trap {
        Trap::StackOverflow => (FaultCode::StackLimit, "the guest's stack is used up".to_owned()),
        trap => match data.memory.refused() {
            Some(limit) => (
                FaultCode::MemoryLimit,
                format!("{trap}, after the guest was refused memory over {limit} bytes"),
            ),
            None => (FaultCode::Trap, trap.to_string()),
        },
    };
    let mut message = what;
    if let Some(said) = said {
        message = format!("{message}: {said}");
    }
    let frames = backtrace(error);
    if !frames.is_empty() {
        message = format!("{message}\n  in {}", frames.join("\n  in "));
    }
    Failure::Guest(GuestFault::new(code, cut(message)))
}

/// Errors of wasmtime's own that have no type: bad pointers, strings or discriminants of the guest, a
/// host call's data over its fuel, and our own faults.
fn classify_untyped(error: &wasmtime::Error) -> Failure {
    let message = cut(format!("{error:#}"));
    if message.contains("too much data") || message.contains("hostcall") {
        return Failure::Guest(GuestFault::new(FaultCode::HostCallLimit, message));
    }
    Failure::Guest(GuestFault::new(FaultCode::Trap, message))
}

fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let names = backtrace.frames().iter().filter_map(wasmtime::FrameInfo::func_name);
    names.map(|name| rustc_demangle::demangle(name).to_string()).take(FRAMES_SHOWN).collect()
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push('…');
    }
    message
}

/// Cuts a guest's words to what a message may hold.
pub(crate) fn cut_words(words: String) -> String {
    cut(words)
}
