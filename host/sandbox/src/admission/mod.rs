//! What a file must be before any of it is compiled: rules in order, each refusal with its own words.
//!
//! Looks at bytes only. All of it but [`precheck`] belongs into the compiler's own process: parsers of what
//! nobody trusts have no place beside running jobs. Compiling, linking and `describe` follow in `compiler` and
//! `component`.

mod error;
mod strip;
mod structure;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use tidemill_core::limits::{AdmissionLimits, COMPONENT_BYTES_MAX};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload, WasmFeatures};
use wit_component::ComponentEncoder;

pub use error::AdmissionError;
use structure::Names;

/// The package whose world an operator implements.
pub(crate) const CONTRACT: &str = "tidemill:operator";
/// The version of the contract that this host speaks.
pub(crate) const CONTRACT_VERSION: &str = "0.1.0";
/// The export that makes a component an operator.
pub(crate) const OPERATOR_EXPORT: &str = "tidemill:operator/operator@0.1.0";
/// The export of an operator that keeps state in its own memory.
pub(crate) const SNAPSHOT_EXPORT: &str = "tidemill:operator/snapshot@0.1.0";
/// The export of an operator that can rewrite stored items of older schema versions.
pub(crate) const MIGRATE_EXPORT: &str = "tidemill:operator/migrate@0.1.0";

const CONTRACT_IMPORTS: [&str; 7] =
    ["types", "state", "output", "log", "metrics", "clock", "random"];
const WASI_IMPORTS: [&str; 20] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];

/// What kind of file was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComponentKind {
    /// A component.
    Component,
    /// A core module with an embedded component type, which the host encoded.
    CoreModule,
}

/// A file that may be compiled.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) kind: ComponentKind,
    /// The component's bytes: encoded if need be, without custom sections.
    pub(crate) component: Vec<u8>,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// What can be said of a file without parsing it: whether it has more than `max` bytes, and whether it is another
/// kind of file.
pub(crate) fn precheck(bytes: &[u8], max: u64) -> Result<(), AdmissionError> {
    if bytes.is_empty() {
        return Err(AdmissionError::Empty);
    }
    let size = bytes.len() as u64;
    if size > max {
        return Err(AdmissionError::TooLarge { bytes: size, limit: max });
    }
    match recognise(bytes) {
        Some(what) => Err(AdmissionError::NotWasm(what.to_owned())),
        None => Ok(()),
    }
}

/// Checks size, kind, structure, validity, imports and exports.
pub(crate) fn check(
    bytes: &[u8],
    features: WasmFeatures,
    limits: &AdmissionLimits,
) -> Result<Checked, AdmissionError> {
    precheck(bytes, COMPONENT_BYTES_MAX)?;
    let encoded;
    let (kind, component) = match encoding(bytes)? {
        Encoding::Component => (ComponentKind::Component, bytes),
        Encoding::Module => {
            encoded = encode(bytes)?;
            (ComponentKind::CoreModule, &encoded[..])
        }
    };
    let Names { imports, exports } = structure::walk(component, features, limits)?;
    imports.iter().try_for_each(|import| check_import(import))?;
    check_exports(&exports)?;
    Ok(Checked { kind, component: strip::strip(component)?, imports, exports })
}

fn recognise(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\0asm") {
        return None;
    }
    let text = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    Some(match bytes {
        [0x7f, b'E', b'L', b'F', ..] => "a native program or a precompiled artefact (ELF)",
        [0x1f, 0x8b, ..] => "a gzip archive",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd archive",
        [b'P', b'K', ..] => "a zip archive",
        _ if text == Some(&b'(') => "WebAssembly text; compile it to binary first",
        _ => "an unknown kind of file",
    })
}

fn malformed(error: &wasmparser::BinaryReaderError) -> AdmissionError {
    AdmissionError::Malformed(error.to_string())
}

fn encoding(bytes: &[u8]) -> Result<Encoding, AdmissionError> {
    match Parser::new(0).parse_all(bytes).next() {
        Some(Ok(Payload::Version { encoding, .. })) => Ok(encoding),
        Some(Err(error)) => Err(malformed(&error)),
        Some(Ok(_)) | None => Err(AdmissionError::Malformed("no header".to_owned())),
    }
}

fn encode(module: &[u8]) -> Result<Vec<u8>, AdmissionError> {
    let mut has_type = false;
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload.map_err(|error| malformed(&error))? {
            has_type |= section.name().starts_with("component-type");
        }
    }
    if !has_type {
        return Err(AdmissionError::BareModule);
    }
    let encoder = ComponentEncoder::default().validate(true).module(module);
    let encoded = encoder
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
        })
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| AdmissionError::Encode(format!("{error:#}")))
}

fn check_import(import: &str) -> Result<(), AdmissionError> {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    if let Some(name) = interface.strip_prefix(CONTRACT).and_then(|name| name.strip_prefix('/')) {
        return match (version == CONTRACT_VERSION, CONTRACT_IMPORTS.contains(&name)) {
            (true, true) => Ok(()),
            (false, _) => Err(AdmissionError::WrongVersion { found: import.to_owned() }),
            (true, false) => Err(AdmissionError::UnknownImport(import.to_owned())),
        };
    }
    if WASI_IMPORTS.contains(&interface) && version.starts_with("0.2.") {
        return Ok(());
    }
    Err(AdmissionError::UnknownImport(import.to_owned()))
}

/// An export that is not understood must not be passed over: with a `snapshot` of another version,
/// state would be lost in silence.
fn check_exports(exports: &[String]) -> Result<(), AdmissionError> {
    let known = [OPERATOR_EXPORT, SNAPSHOT_EXPORT, MIGRATE_EXPORT];
    let is_ours = |export: &&String| {
        export.strip_prefix(CONTRACT).is_some_and(|rest| rest.starts_with('/'))
            && !known.contains(&export.as_str())
    };
    if let Some(export) = exports.iter().find(is_ours) {
        let interface = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
        let is_known = known.iter().any(|known| interface(known) == interface(export));
        return Err(match is_known {
            true => AdmissionError::WrongVersion { found: export.clone() },
            false => AdmissionError::UnknownExport(export.clone()),
        });
    }
    match exports.iter().any(|export| export == OPERATOR_EXPORT) {
        true => Ok(()),
        false => Err(AdmissionError::NotAnOperator),
    }
}
