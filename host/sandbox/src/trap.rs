//! From a wasmtime error to who is to blame.

use tidemill_core::failure::{Failure, FaultCode, GuestFault};
use tidemill_core::limits::{KIB, MESSAGE_BYTES_MAX, WASM_STACK_BYTES};
use wasmtime::{Trap, WasmBacktrace};

use crate::guest_data::{GuestData, HANDLES_MAX};
use crate::guest_log::escape;

/// Frames of a guest's backtrace that a message shows.
const FRAMES_SHOWN: usize = 6;

/// Whether the system had no memory, address space or descriptor for what the host wanted to make: nobody's guest is to blame.
pub(crate) fn is_shortage(error: &wasmtime::Error) -> bool {
    let is_trap = error.is::<Trap>() || error.is::<GuestFault>();
    // Wasmtime tells of some system calls as rustix does.
    let of_the_system = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<wasmtime::error::OutOfMemory>()
            || cause.is::<std::io::Error>()
            || cause.is::<rustix::io::Errno>()
    };
    !is_trap && error.chain().any(of_the_system)
}

/// Whether what crosses between guest and host came to more bytes than it may. Host functions have errors of their own for that.
pub(crate) fn is_out_of_fuel(error: &wasmtime::Error) -> bool {
    let root = error.root_cause().to_string();
    !error.is::<GuestFault>() && (root.contains("hostcall") || root.contains("fuel"))
}

/// Classifies the error that ended a call. `data` knows what the guest said last.
pub(crate) fn classify(error: &wasmtime::Error, data: &mut GuestData) -> Failure {
    if let Some(fault) = error.downcast_ref::<GuestFault>() {
        return Failure::Guest(fault.clone());
    }
    if is_shortage(error) {
        return Failure::HostFull(format!("a call could not go on: {error:#}"));
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return classify_untyped(error, data);
    };
    let said = data.log.take_last_stderr();
    let (code, what) = match trap {
        Trap::StackOverflow => {
            let kib = WASM_STACK_BYTES / KIB;
            (FaultCode::StackLimit, format!("the guest's stack of {kib} KiB is used up"))
        }
        trap => match data.memory.refused() {
            Some(refused) => (FaultCode::MemoryLimit, format!("{refused}; then: {trap}")),
            None => (FaultCode::Trap, trap.to_string()),
        },
    };
    let mut message = what;
    if let Some(said) = said {
        let lines: Vec<String> = said.lines().map(cut_words).collect();
        message = format!("{message}: {}", lines.join("\n  "));
    }
    for frame in backtrace(error) {
        message.push_str("\n  in ");
        message.push_str(&frame);
    }
    Failure::Guest(GuestFault::new(code, message))
}

/// Errors of wasmtime's own that have no type: bad pointers, strings or discriminants of the guest, a
/// host call's data over its fuel, and our own faults.
fn classify_untyped(error: &wasmtime::Error, data: &GuestData) -> Failure {
    // The root alone: the context holds a backtrace with names of the guest's choosing.
    let root = error.root_cause().to_string();
    let words = cut_words(&root);
    let (code, message) = match data.memory.refused() {
        Some(refused) => (FaultCode::MemoryLimit, format!("{refused}; then: {words}")),
        None if root.contains("handle limit") => {
            let message = format!(
                "the guest's own tables hold {HANDLES_MAX} handles, which are all that is allowed; it must drop some"
            );
            (FaultCode::ResourceLimit, message)
        }
        None if is_out_of_fuel(error) => {
            let most = data.frame.limits().host_call_bytes;
            let message = format!(
                "the guest and the host handed more than {most} bytes to each other at once, which are all that is allowed"
            );
            (FaultCode::HostCallLimit, message)
        }
        None => (FaultCode::Trap, words),
    };
    Failure::Guest(GuestFault::new(code, message))
}

fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let names = backtrace.frames().iter().filter_map(wasmtime::FrameInfo::func_name);
    names
        .map(|name| cut_words(&rustc_demangle::demangle(name).to_string()))
        .take(FRAMES_SHOWN)
        .collect()
}

/// A guest's words as a message may hold them: cut, and with control characters escaped, so that they
/// cannot steer a terminal.
pub(crate) fn cut_words(words: &str) -> String {
    escape(words, MESSAGE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_is_out_of_something_is_told_from_a_trap() {
        let no_memory = wasmtime::Error::from(rustix::io::Errno::NOMEM).context("making a memory");
        assert!(is_shortage(&no_memory));
        assert!(is_shortage(&std::io::Error::from(std::io::ErrorKind::OutOfMemory).into()));
        assert!(!is_shortage(&Trap::UnreachableCodeReached.into()));
        assert!(!is_shortage(&wasmtime::Error::msg("a wrong pointer")));
    }
}
