//! Takes custom sections out of a component, wherever they lie: debug information, producers, whatever else.
//!
//! Nothing that runs depends on them, and so nothing of the compiler has to read them. Names of functions stay, up to
//! a size, because messages of traps show them. Everything else is copied byte for byte.

use tidemill_core::limits::MIB;
use wasmparser::{Parser, Payload};

use super::{AdmissionError, malformed};

/// Ids of the sections of a component that hold a core module and a component.
const MODULE_SECTION: u8 = 1;
const COMPONENT_SECTION: u8 = 4;
/// The custom section with the names of functions.
const NAMES: &str = "name";
/// Bytes of such a section that are kept; a larger one is left out as a whole.
const NAMES_BYTES_MAX: usize = MIB;

/// The component without its custom sections.
pub(super) fn strip(component: &[u8]) -> Result<Vec<u8>, AdmissionError> {
    let mut whole = Vec::with_capacity(component.len());
    // Beginnings of the components and modules around the place, each with the id of its section.
    let mut around: Vec<(u8, Vec<u8>)> = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| malformed(&error))?;
        let target = around.last_mut().map_or(&mut whole, |(_, bytes)| bytes);
        match &payload {
            Payload::Version { range, .. } => target.extend_from_slice(&component[range.clone()]),
            Payload::ModuleSection { .. } => around.push((MODULE_SECTION, Vec::new())),
            Payload::ComponentSection { .. } => around.push((COMPONENT_SECTION, Vec::new())),
            Payload::End(_) => {
                if let Some((id, inner)) = around.pop() {
                    let target = around.last_mut().map_or(&mut whole, |(_, bytes)| bytes);
                    section(target, id, &inner);
                }
            }
            Payload::CustomSection(custom)
                if custom.name() != NAMES || custom.data().len() > NAMES_BYTES_MAX => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    section(target, id, &component[range]);
                }
            }
        }
    }
    Ok(whole)
}

fn section(target: &mut Vec<u8>, id: u8, bytes: &[u8]) {
    target.push(id);
    // LEB128, as section sizes are written. Files are far below 4 GiB.
    let mut size = bytes.len();
    while size >= 0x80 {
        target.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    target.push(size as u8);
    target.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHOUT: &str = r#"(component
        (core module (func) (memory 1) (data (i32.const 0) "some data"))
        (component (core module (func (export "f"))))
    )"#;
    const WITH: &str = r#"(component
        (@custom "outer" "words")
        (core module (func) (memory 1) (data (i32.const 0) "some data")
            (@custom "lines" "no names at all") (@custom ".debug_info" "dwarf"))
        (component (core module (func (export "f")) (@custom "producers" "nobody")) (@custom "x" ""))
        (@custom "last" "words")
    )"#;

    #[test]
    fn custom_sections_are_taken_out_at_every_depth_and_nothing_else_is() {
        let (without, with) = (wat::parse_str(WITHOUT).unwrap(), wat::parse_str(WITH).unwrap());
        assert_ne!(with, without);
        assert_eq!(strip(&with).unwrap(), without);
        assert_eq!(strip(&without).unwrap(), without);
    }

    #[test]
    fn names_of_functions_stay_unless_there_are_too_many() {
        let named = |bytes: usize| {
            let names = "n".repeat(bytes);
            let text = format!(r#"(component (core module (func) (@custom "name" "{names}")))"#);
            wat::parse_str(text).unwrap()
        };
        assert_eq!(strip(&named(1000)).unwrap(), named(1000));
        let plain = wat::parse_str("(component (core module (func)))").unwrap();
        assert_eq!(strip(&named(NAMES_BYTES_MAX + 1)).unwrap(), plain);
    }

    #[test]
    fn a_large_section_keeps_its_size() {
        let data = "x".repeat(20_000);
        let text = format!(r#"(component (core module (memory 1) (data (i32.const 0) "{data}")))"#);
        let component = wat::parse_str(text).unwrap();
        assert_eq!(strip(&component).unwrap(), component);
        assert!(strip(&component[..component.len() / 2]).is_err());
    }
}
