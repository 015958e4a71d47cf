//! Files that are no operator, or one that asks for too much: refused before any of it runs.

use crate::harness::{Place, operators};

const JOB: &str = r#"
    name = "bad-component"
    [sources.lines]
    connector = "file"
    path = "in.txt"
    [operators.odd]
    component = "odd.wasm"
    from = "lines"
    [sinks.out]
    connector = "file"
    from = "odd"
    path = "out"
"#;

/// Fails unless a file is refused as a component, by `run`, `explain` and `inspect` alike.
#[track_caller]
fn refused(component: impl AsRef<[u8]>, says: &[&str]) {
    let place = Place::with_job(JOB);
    place.write("in.txt", "a word\n");
    place.write("odd.wasm", component);
    for words in ["run job.toml", "explain job.toml"] {
        let ended = place.tidemill(words).end().refuses(77, says);
        let ended = ended.says(&["odd.wasm is refused", "job.toml:", "tidemill inspect FILE.wasm"]);
        assert!(ended.stdout.is_empty(), "{}", ended.text());
        place.has_no_output();
    }
    let ended = place.tidemill("inspect odd.wasm").end().refuses(77, says);
    assert!(ended.stdout.is_empty(), "{}", ended.text());
    let report = place.tidemill("inspect odd.wasm --format json").end().expect(77).report();
    assert_eq!(report["admitted"], false);
    let refusal = report["refusal"].as_str().expect("a reason");
    assert!(says.iter().all(|part| refusal.contains(part)), "{refusal}");
    let code = report["code"].as_str().expect("a code");
    assert!(refusal.starts_with(&format!("{code}: ")), "{refusal}");
}

/// A component in the text format.
fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own component is well-formed")
}

#[test]
fn files_of_other_kinds_are_told_what_they_are() {
    refused("", &["EMPTY_FILE: the file is empty"]);
    refused("name = \"not a component\"\n", &["NOT_WASM", "an unknown kind of file"]);
    refused("(component)", &["WebAssembly text; compile it to binary first"]);
    refused(b"\x7fELF\x02\x01\x01", &["a native program"]);
    refused([0x1f, 0x8b, 8, 0], &["a gzip archive"]);
}

#[test]
fn damaged_components_are_refused() {
    let whole = std::fs::read(operators().join("word_split.wasm")).expect("it was built");
    refused(&whole[..whole.len() / 2], &["INVALID_COMPONENT", "not valid WebAssembly"]);
    refused(&whole[..9], &["not valid WebAssembly"]);
    let mut longer = whole;
    longer.extend_from_slice(b"more");
    refused(longer, &["not valid WebAssembly"]);
}

#[test]
fn a_file_over_the_limit_is_refused_unread() {
    let mut large = b"\0asm\x0d\0\x01\0".to_vec();
    large.resize(32 * 1024 * 1024 + 1, 0);
    refused(large, &["FILE_TOO_LARGE", "at most 33554432 are allowed"]);
}

#[test]
fn a_core_module_without_a_component_type_is_told_its_target() {
    let module = component(r#"(module (func (export "process")))"#);
    refused(
        module,
        &["NO_COMPONENT_TYPE", "core WebAssembly module without a component type", "wasm32-wasip2"],
    );
}

#[test]
fn a_component_that_is_no_operator_is_told_what_it_lacks() {
    refused(
        component("(component)"),
        &["NOT_AN_OPERATOR", "tidemill:operator/operator@0.1.0", "not an operator"],
    );
}

#[test]
fn imports_that_operators_are_not_given_are_named() {
    for import in [
        "wasi:sockets/tcp@0.2.6",
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:clocks/wall-clock@0.3.0",
        "tidemill:operator/timers@0.1.0",
    ] {
        let asks = component(&format!("(component (import {import:?} (instance)))"));
        refused(asks, &["UNKNOWN_IMPORT", import, "which operators are not given"]);
    }
}

#[test]
fn another_version_of_the_contract_says_to_build_again() {
    let newer = r#"(component (import "tidemill:operator/state@0.9.0" (instance)))"#;
    let says = [
        "WRONG_VERSION",
        "tidemill:operator/state@0.9.0",
        "speaks tidemill:operator@0.1.0",
        "build it again",
    ];
    refused(component(newer), &says);
    let newer =
        r#"(component (instance $i) (export "tidemill:operator/operator@0.9.0" (instance $i)))"#;
    refused(component(newer), &["tidemill:operator/operator@0.9.0", "build it again"]);
}

#[test]
fn exports_of_the_wrong_type_are_refused() {
    let odd = component(
        r#"(component (instance $i) (export "tidemill:operator/operator@0.1.0" (instance $i)))"#,
    );
    refused(odd, &["WRONG_TYPE", "do not fit tidemill:operator@0.1.0"]);
}

#[test]
fn a_component_that_cannot_be_inspected_is_named() {
    let place = Place::new();
    place.tidemill("inspect nothing.wasm").end().refuses(66, &["nothing.wasm", "No such file"]);
    place.tidemill("inspect .").end().refuses(66, &["cannot read .", "directory"]);
}
