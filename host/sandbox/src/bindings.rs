//! Generated bindings of the operator contract and of the linked part of WASI. Nothing by hand here.

/// The operator contract.
pub(crate) mod operator {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "tidemill:operator/plain",
        imports: { default: trappable },
    });
}

/// The linked part of WASI 0.2.
pub(crate) mod wasi {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "tidemill:host/wasi",
        imports: { default: trappable },
        with: {
            "wasi:io/error.error": crate::host_wasi::StreamFailure,
            "wasi:io/poll.pollable": crate::host_wasi::Ready,
            "wasi:io/streams.input-stream": crate::host_wasi::InputStream,
            "wasi:io/streams.output-stream": crate::host_wasi::LineOutput,
            "wasi:cli/terminal-input.terminal-input": crate::host_wasi::NoTerminal,
            "wasi:cli/terminal-output.terminal-output": crate::host_wasi::NoTerminal,
            "wasi:filesystem/types.descriptor": crate::files::Descriptor,
            "wasi:filesystem/types.directory-entry-stream": crate::files::EntryStream,
        },
        trappable_error_type: {
            "wasi:filesystem/types.error-code" => crate::files::FileError,
        },
    });
}
