//! Attacks on admission: files that are something else, or ask for what nobody is given.

use crate::attack::{Attack, End};
use crate::guest::Guest;

/// A component or module in text.
pub(super) fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// An operator that brings along a module or component, and never uses it.
pub(super) fn bringing(more: &str) -> Vec<u8> {
    let more = text(more);
    // The version in a header tells modules and components apart; their sections have these numbers.
    let section = if more[4..8] == [1, 0, 0, 0] { 1 } else { 4 };
    let mut component = Guest::new().build_component();
    component.push(section);
    component.extend(leb(more.len()));
    component.extend(more);
    component
}

/// A component that imports an instance of this name.
fn importing(name: &str) -> Vec<u8> {
    text(&format!("(component (import {name:?} (instance)))"))
}

/// An attack that is refused with these words.
pub(super) fn refused(
    row: &'static [u8],
    name: &'static str,
    code: &'static str,
    tries: &'static str,
    stopped_by: &'static str,
    says: &'static [&'static str],
    component: fn() -> Vec<u8>,
) -> Attack {
    Attack {
        rows: row,
        name,
        code,
        tries,
        stopped_by,
        says,
        end: End::Refused,
        component,
        ..Attack::default()
    }
}

const FEATURES: &str = "the engine's features: what is not named there is refused";
const IMPORTS: &str = "the list of imports, by name and version";
const KIND: &str =
    "the file must begin like WebAssembly; nothing is unpacked or loaded as machine code";

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = features();
    attacks.extend(imports());
    attacks.extend(files());
    attacks
}

fn features() -> Vec<Attack> {
    vec![
        refused(
            &[2],
            "tail-calls",
            "INVALID_COMPONENT",
            "calls itself for ever without using any stack",
            FEATURES,
            &["tail call"],
            || Guest::new().fields("(func $f (return_call $f))").process("(call $f)").build(),
        ),
        refused(
            &[19],
            "memory64",
            "INVALID_COMPONENT",
            "declares a memory of 128 GiB with 64-bit addresses",
            FEATURES,
            &["memory64"],
            || bringing("(module (memory i64 2097152))"),
        ),
        refused(
            &[20],
            "shared-memory",
            "INVALID_COMPONENT",
            "declares a shared memory, which no limiter is asked about",
            FEATURES,
            &["threads"],
            || bringing("(module (memory 1 65536 shared))"),
        ),
        refused(
            &[21],
            "gc",
            "INVALID_COMPONENT",
            "keeps data in objects that the host collects",
            FEATURES,
            &["refused"],
            || bringing("(module (type (struct (field i64))))"),
        ),
        refused(
            &[21],
            "exceptions",
            "INVALID_COMPONENT",
            "keeps data in exceptions",
            FEATURES,
            &["exceptions"],
            || bringing("(module (tag))"),
        ),
        refused(
            &[21],
            "externref",
            "INVALID_COMPONENT",
            "keeps data in tables of references to the host's objects",
            FEATURES,
            &["refused"],
            || bringing("(module (table 1 externref))"),
        ),
        refused(
            &[23],
            "streams",
            "INVALID_COMPONENT",
            "takes streams and futures of the component model, which the host would buffer",
            FEATURES,
            &["component model async"],
            || bringing("(component (type (stream u8)) (type (future u8)))"),
        ),
        refused(
            &[17],
            "many-memories",
            "STRUCTURE_LIMIT",
            "brings 10,000 memories",
            super::bombs::STRUCTURE,
            &["memories"],
            || bringing(&format!("(module {})", "(memory 1)".repeat(10_000))),
        ),
    ]
}

fn imports() -> Vec<Attack> {
    vec![
        refused(
            &[28],
            "http",
            "UNKNOWN_IMPORT",
            "floods header fields of wasi:http",
            IMPORTS,
            &["wasi:http/types@0.2.6"],
            || importing("wasi:http/types@0.2.6"),
        ),
        refused(
            &[42],
            "sockets",
            "UNKNOWN_IMPORT",
            "connects to the outside",
            IMPORTS,
            &["wasi:sockets/tcp@0.2.6"],
            || importing("wasi:sockets/tcp@0.2.6"),
        ),
        refused(
            &[42],
            "dns",
            "UNKNOWN_IMPORT",
            "sends data out in names to be looked up",
            IMPORTS,
            &["wasi:sockets/ip-name-lookup@0.2.6"],
            || importing("wasi:sockets/ip-name-lookup@0.2.6"),
        ),
        refused(
            &[36],
            "timers",
            "UNKNOWN_IMPORT",
            "sets ten million timers",
            "there are no timers, and their import is refused by name",
            &["tidemill:operator/timers@0.1.0"],
            || importing("tidemill:operator/timers@0.1.0"),
        ),
        refused(
            &[56],
            "other-wasi",
            "UNKNOWN_IMPORT",
            "imports a part of WASI 0.3",
            IMPORTS,
            &["wasi:clocks/wall-clock@0.3.0"],
            || importing("wasi:clocks/wall-clock@0.3.0"),
        ),
        refused(
            &[56],
            "other-contract",
            "WRONG_VERSION",
            "imports another version of the contract",
            IMPORTS,
            &["tidemill:operator/state@0.2.0", "build it again"],
            || importing("tidemill:operator/state@0.2.0"),
        ),
        refused(
            &[56],
            "unknown-export",
            "UNKNOWN_EXPORT",
            "exports what the host would have to call by another name",
            "the list of exports, by name and version",
            &["tidemill:operator/timers@0.1.0"],
            || {
                text(
                    r#"(component (instance $i) (export "tidemill:operator/timers@0.1.0" (instance $i)))"#,
                )
            },
        ),
        refused(
            &[70],
            "threads",
            "CANNOT_ENCODE",
            "starts threads",
            IMPORTS,
            &["thread-spawn"],
            || {
                Guest::new()
                    .imports(
                        r#"(import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))"#,
                    )
                    .process("(loop $l (drop (call $spawn (i32.const 0))) (br $l))")
                    .build()
            },
        ),
    ]
}

fn files() -> Vec<Attack> {
    vec![
        refused(
            &[30],
            "gzip-bomb",
            "NOT_WASM",
            "a gzip archive of gigabytes",
            KIND,
            &["a gzip archive"],
            || [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3].repeat(1000),
        ),
        refused(
            &[30],
            "zstd-bomb",
            "NOT_WASM",
            "a zstd archive of gigabytes",
            KIND,
            &["a zstd archive"],
            || [0x28, 0xb5, 0x2f, 0xfd, 0xff].repeat(1000),
        ),
        refused(
            &[54],
            "precompiled",
            "NOT_WASM",
            "machine code of its own in the engine's format",
            KIND,
            &["precompiled artefact"],
            || b"\x7fELF\x02\x01\x01\xc8\0\0\0\0\0\0\0\0".repeat(100),
        ),
        refused(
            &[56],
            "core-module",
            "NO_COMPONENT_TYPE",
            "a core module that says nothing of its types",
            "a component type is required",
            &["without a component type"],
            || text(r#"(module (func (export "process")))"#),
        ),
        Attack {
            rows: &[57],
            name: "huge-sections",
            tries: "brings 20 MiB of names and debug information that nobody needs",
            stopped_by: "32 MiB for a component; what is not code costs only its bytes, at admission",
            end: End::Finishes,
            component: || {
                let mut module = Guest::new().build();
                for name in ["name-of-things", ".debug_info"] {
                    let size = 10 << 20;
                    let mut section = vec![u8::try_from(name.len()).expect("a short name")];
                    section.extend_from_slice(name.as_bytes());
                    section.resize(size, 0x41);
                    module.push(0);
                    module.extend(leb(size));
                    module.extend(section);
                }
                module
            },
            ..Attack::default()
        },
        refused(
            &[57],
            "over-the-size",
            "FILE_TOO_LARGE",
            "a file of 33 MiB",
            "32 MiB for a component",
            &["at most 33554432 are allowed"],
            || {
                let mut large = b"\0asm\x0d\0\x01\0".to_vec();
                large.resize(33 << 20, 0);
                large
            },
        ),
    ]
}

/// An unsigned number as binaries have it.
pub(super) fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}
