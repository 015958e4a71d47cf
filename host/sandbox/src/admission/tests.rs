//! Files that are refused, and what they are told.

use tidemill_core::failure::{Failure, FaultCode};
use tidemill_core::limits::StructureRule;

use super::*;
use crate::engine::allowed_features;

fn check(bytes: &[u8]) -> Result<Checked, AdmissionError> {
    super::check(bytes, allowed_features(), &AdmissionLimits::default())
}

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
    assert!(
        matches!(refusal(&[0x1f, 0x8b, 8]), AdmissionError::NotWasm(w) if w == "a gzip archive")
    );
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
        assert_eq!(matches!(error, AdmissionError::WrongVersion { .. }), is_version, "{import}");
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
    let whole = wat::parse_str(r#"(component (import "wasi:io/error@0.2.0" (instance)))"#).unwrap();
    for length in 0..whole.len() {
        assert!(check(&whole[..length]).is_err());
    }
}

#[test]
fn the_documentation_names_every_code_and_every_limit_with_its_default() {
    let text = include_str!("../../../../docs/limits.md");
    let has = |row: String| assert!(text.contains(&row), "docs/limits.md has no row {row:?}");
    for code in AdmissionError::CODES {
        has(format!("\n| `{code}` | "));
    }
    for error in error::tests::one_of_each() {
        let (code, advice) = (error.code(), error.advice());
        let row = text.lines().find(|line| line.starts_with(&format!("| `{code}` | "))).unwrap();
        assert!(row.ends_with(&format!(" {advice} |")), "{code}: {advice}");
    }
    let limits = AdmissionLimits::default();
    for rule in StructureRule::ALL {
        has(format!("\n| `{}` | {} | ", rule.name(), grouped(rule.limit(&limits))));
    }
    for (what, value, unit) in [
        ("file", COMPONENT_BYTES_MAX, "bytes"),
        ("CPU time of the compilation", limits.compile_cpu_s, "seconds"),
        ("wall time of the compilation", limits.compile_wall_s(), "seconds"),
        ("memory of the compilation", limits.compile_memory_bytes, "bytes"),
        ("machine code", limits.code_bytes, "bytes"),
    ] {
        has(format!("\n| {what} | {} | {unit} |", grouped(value)));
    }
    for code in FaultCode::ALL {
        has(format!("\n| `{code}` | "));
    }
    let rows = AdmissionError::CODES.len() + StructureRule::ALL.len() + FaultCode::ALL.len();
    assert_eq!(text.matches("\n| `").count(), rows, "no row too many");
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
