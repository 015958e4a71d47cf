//! What a file must be before any of it runs: rules in order, each refusal with its own words.
//!
//! Reads structure only; compiling, linking and `describe` follow in `component`.

use tidemill_core::describe::DescriptionError;
use tidemill_core::failure::Failure;
use tidemill_core::limits::COMPONENT_BYTES_MAX;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;

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

/// Why a file is not admitted as an operator. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
    /// The file is over the limit.
    #[error("the file has {bytes} bytes; at most {COMPONENT_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// The file is something else.
    #[error("this is {0}, not a WebAssembly component")]
    NotWasm(&'static str),
    /// A core module without an embedded component type.
    #[error(
        "this is a core WebAssembly module without a component type: build it for the target \
         wasm32-wasip2, or embed the world `tidemill:operator/plain`"
    )]
    BareModule,
    /// A core module whose component type does not fit it.
    #[error("the core module could not be encoded as a component: {0}")]
    Encode(String),
    /// The file is damaged.
    #[error("the file is not valid WebAssembly: {0}")]
    Malformed(String),
    /// An import that the host does not give.
    #[error(
        "it imports {0:?}, which operators are not given: only {CONTRACT}@{CONTRACT_VERSION} and the \
         clocks, random, stdio, environment and (empty) filesystem of WASI 0.2"
    )]
    UnknownImport(String),
    /// Built for another version of the contract.
    #[error(
        "it was built for {found}; this host speaks {CONTRACT}@{CONTRACT_VERSION}: build it again \
         with the matching SDK"
    )]
    WrongVersion {
        /// The interface as the component names it.
        found: String,
    },
    /// Not an operator.
    #[error("it does not export {OPERATOR_EXPORT:?}, so it is a component but not an operator")]
    NotAnOperator,
    /// An export of the contract's package that the contract does not have.
    #[error(
        "it exports {0:?}, which this host would never call: {CONTRACT}@{CONTRACT_VERSION} has the \
         exports operator, snapshot and migrate"
    )]
    UnknownExport(String),
    /// Keyed state and state in its own memory.
    #[error(
        "it exports {SNAPSHOT_EXPORT:?} and describes keyed state: an operator keeps state in one of \
         the two"
    )]
    StateTwice,
    /// An import or export has the right name and the wrong type.
    #[error("its imports or exports do not fit {CONTRACT}@{CONTRACT_VERSION}: {0}")]
    WrongType(String),
    /// The compiler refused it.
    #[error("it could not be compiled: {0}")]
    Compile(String),
    /// The call of `describe` failed.
    #[error("its `describe` failed: {0}")]
    Describe(Failure),
    /// What it described breaks a rule.
    #[error("its description is refused: {0}")]
    Description(#[from] DescriptionError),
}

/// What kind of file was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentKind {
    /// A component.
    Component,
    /// A core module with an embedded component type, which the host encoded.
    CoreModule,
}

/// A file that may be compiled.
pub(crate) struct Checked {
    pub(crate) kind: ComponentKind,
    /// The component's bytes, encoded if need be.
    pub(crate) component: Vec<u8>,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// Checks size, kind, imports and exports.
pub(crate) fn check(bytes: &[u8]) -> Result<Checked, AdmissionError> {
    if bytes.is_empty() {
        return Err(AdmissionError::Empty);
    }
    if bytes.len() as u64 > COMPONENT_BYTES_MAX {
        return Err(AdmissionError::TooLarge { bytes: bytes.len() as u64 });
    }
    if let Some(what) = recognise(bytes) {
        return Err(AdmissionError::NotWasm(what));
    }
    let (kind, component) = match encoding(bytes)? {
        Encoding::Component => (ComponentKind::Component, bytes.to_vec()),
        Encoding::Module => (ComponentKind::CoreModule, encode(bytes)?),
    };
    let (imports, exports) = names(&component)?;
    imports.iter().try_for_each(|import| check_import(import))?;
    check_exports(&exports)?;
    Ok(Checked { kind, component, imports, exports })
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

/// Names of the imports and exports of the outermost component.
fn names(component: &[u8]) -> Result<(Vec<String>, Vec<String>), AdmissionError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| malformed(&error))? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    imports.push(import.map_err(|error| malformed(&error))?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export.map_err(|error| malformed(&error))?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> AdmissionError {
        match check(bytes) {
            Err(error) => error,
            Ok(_) => panic!("admitted"),
        }
    }

    #[test]
    fn other_files_are_told_what_they_are() {
        assert_eq!(refusal(b""), AdmissionError::Empty);
        assert!(matches!(refusal(b"\x7fELF..."), AdmissionError::NotWasm(_)));
        assert!(matches!(refusal(b"  (module)"), AdmissionError::NotWasm(w) if w.contains("text")));
        assert!(matches!(refusal(&[0x1f, 0x8b, 8]), AdmissionError::NotWasm("a gzip archive")));
        assert!(matches!(refusal(b"\0asm"), AdmissionError::Malformed(_)));
        let large = vec![0; COMPONENT_BYTES_MAX as usize + 1];
        assert!(matches!(refusal(&large), AdmissionError::TooLarge { .. }));
    }

    #[test]
    fn a_core_module_needs_a_component_type() {
        assert_eq!(refusal(&wat::parse_str("(module)").unwrap()), AdmissionError::BareModule);
    }

    /// A core module with every export of the plain world, each of which traps.
    fn core_module() -> Vec<u8> {
        let mut resolve = wit_parser::Resolve::default();
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
        let (package, _) = resolve.push_path(wit).unwrap();
        let world = resolve.select_world(&[package], Some("plain")).unwrap();
        let names = wit_parser::ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync);
        let mut module = wit_component::dummy_module(&resolve, world, names);
        let utf8 = wit_component::StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut module, &resolve, world, utf8).unwrap();
        module
    }

    #[test]
    fn a_core_module_with_a_component_type_is_encoded() {
        let checked = check(&core_module()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(checked.kind, ComponentKind::CoreModule);
        assert!(checked.exports.iter().any(|export| export == OPERATOR_EXPORT));
        assert!(matches!(encoding(&checked.component), Ok(Encoding::Component)));
    }

    #[test]
    fn an_operator_that_traps_in_describe_is_refused_with_its_trap() {
        use crate::engine::{EngineSettings, Sandboxes};
        let sandboxes = Sandboxes::new(&EngineSettings::default(), None).unwrap();
        let error = sandboxes.admit(&core_module()).err().unwrap();
        assert!(matches!(error, AdmissionError::Describe(Failure::Guest(_))), "{error}");
        assert!(error.to_string().contains("unreachable"), "{error}");
    }

    #[test]
    fn imports_are_refused_by_name() {
        let refused = [
            ("wasi:sockets/tcp@0.2.0", false),
            ("wasi:http/types@0.2.0", false),
            ("wasi:clocks/wall-clock@0.3.0", false),
            ("tidemill:operator/timers@0.1.0", false),
            ("tidemill:operator/state@0.2.0", true),
        ];
        for (import, is_version) in refused {
            let text = format!("(component (import {import:?} (instance)))");
            let error = refusal(&wat::parse_str(text).unwrap());
            assert!(error.to_string().contains(import), "{error}");
            assert_eq!(
                matches!(error, AdmissionError::WrongVersion { .. }),
                is_version,
                "{import}"
            );
        }
    }

    #[test]
    fn a_component_must_export_the_operator() {
        let plain = wat::parse_str("(component)").unwrap();
        assert_eq!(refusal(&plain), AdmissionError::NotAnOperator);
        let exporting = |name: &str| {
            let text = format!("(component (instance $i) (export {name:?} (instance $i)))");
            refusal(&wat::parse_str(text).unwrap())
        };
        for newer in ["operator", "snapshot", "migrate"] {
            let error = exporting(&format!("tidemill:operator/{newer}@0.9.0"));
            assert!(matches!(error, AdmissionError::WrongVersion { .. }), "{error}");
        }
        let error = exporting("tidemill:operator/timers@0.1.0");
        assert!(matches!(error, AdmissionError::UnknownExport(_)), "{error}");
    }

    #[test]
    fn every_truncation_of_a_component_is_refused() {
        let whole =
            wat::parse_str(r#"(component (import "wasi:io/error@0.2.0" (instance)))"#).unwrap();
        for length in 0..whole.len() {
            assert!(check(&whole[..length]).is_err());
        }
    }
}
