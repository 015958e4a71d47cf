//! A small operator in WebAssembly text, laid out by hand after the canonical ABI.
//!
//! It counts the records that it processed in its memory, saves and restores the count, and migrates items
//! to what they are.

use std::fmt::Write;

/// From this many records on, `save` answers the most that is allowed, and behind it one byte more.
pub(super) const LARGE_FROM: usize = 1000;
/// What `restore` says of anything but four bytes.
pub(super) const REFUSES: &str = "not mine";
/// The schema version of which `migrate` drops the last item.
pub(super) const SHORT: u32 = 9;
/// The schema version at which `migrate` traps.
pub(super) const TRAPS: u32 = 8;

const ALL: &str = "include tidemill:operator/plain@0.1.0; \
    export tidemill:operator/snapshot@0.1.0; export tidemill:operator/migrate@0.1.0;";

/// The operator with all exports, with or without keyed state.
pub(super) fn guest(has_state: bool) -> Vec<u8> {
    guest_with(ALL, has_state)
}

/// The operator in a world of these items.
pub(super) fn guest_with(world: &str, has_state: bool) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
    resolve.push_path(wit).unwrap();
    let text = format!("package test:guest; world guest {{ {world} }}");
    let package = resolve.push_str("guest.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_str(module(text.as_str(), has_state)).unwrap();
    let utf8 = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8).unwrap();
    module
}

/// Where the description lies; what it points to follows.
const DESCRIPTION: u32 = 1024;
/// Where the count lies, and the answers of the exports.
const COUNT: u32 = 16;
const ANSWER: u32 = 32;
const WORDS: u32 = 64;

/// Bytes that will lie at `DESCRIPTION`.
#[derive(Default)]
struct Layout(Vec<u8>);

impl Layout {
    fn u32s(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.0.extend_from_slice(&word.to_le_bytes()));
    }

    fn end(&self) -> u32 {
        DESCRIPTION + self.0.len() as u32
    }
}

fn description(has_state: bool) -> Layout {
    const RECORD: u32 = 48;
    const NAMES: u32 = DESCRIPTION + RECORD;
    let names = b"guest1inseen\0\0\0\0";
    let input = NAMES + names.len() as u32;
    let state = input + 24;
    let mut layout = Layout::default();
    // name, version, inputs, outputs, states, metrics: a pointer and a length each.
    layout.u32s(&[NAMES, 5, NAMES + 5, 1, input, 1, 0, 0, state, u32::from(has_state), 0, 0]);
    layout.0.extend_from_slice(names);
    // name, keyed, no width, and four bytes to align what follows.
    layout.u32s(&[NAMES + 6, 2, u32::from(has_state), 0, 0, 0]);
    // name, kind 0 (value), width 4, schema version 2, no time to live.
    layout.u32s(&[NAMES + 8, 4, 0, 1, 4, 2, 0, 0, 0, 0, 0, 0]);
    layout
}

fn module(world: &str, has_state: bool) -> String {
    let layout = description(has_state);
    let heap = layout.end().next_multiple_of(16);
    let mut data = String::new();
    layout.0.iter().for_each(|byte| write!(data, "\\{byte:02x}").unwrap());
    let mut text = format!(
        r#"(module
        (memory (export "memory") 300)
        (data (i32.const {DESCRIPTION}) "{data}")
        (data (i32.const {WORDS}) "{REFUSES}")
        (global $heap (mut i32) (i32.const {heap}))
        (func (export "cabi_realloc") (param $old i32) (param i32) (param $align i32) (param $size i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
            (global.set $heap (i32.add (local.get $at) (local.get $size)))
            (local.get $at))
        (func (export "tidemill:operator/operator@0.1.0#describe") (result i32) (i32.const {DESCRIPTION}))
        (func (export "tidemill:operator/operator@0.1.0#open")
            (param i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32) (result i32)
            (i32.store8 (i32.const {ANSWER}) (i32.const 0))
            (i32.const {ANSWER}))
        (func (export "tidemill:operator/operator@0.1.0#process")
            (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (param $records i32) (param i32 i32) (result i32)
            (i32.store (i32.const {COUNT}) (i32.add (i32.load (i32.const {COUNT})) (local.get $records)))
            (i64.store (i32.const {ANSWER}) (i64.const 0))
            (i32.store offset=8 (i32.const {ANSWER}) (i32.const 0))
            (i32.const {ANSWER}))
        (func (export "tidemill:operator/operator@0.1.0#close") (result i32)
            (i32.store8 (i32.const {ANSWER}) (i32.const 0))
            (i32.const {ANSWER}))"#
    );
    if world.contains("operator/snapshot") {
        text.push_str(&snapshot());
    }
    if world.contains("operator/migrate") {
        text.push_str(&migrate());
    }
    text.push(')');
    text
}

fn snapshot() -> String {
    let most = 16 * 1024 * 1024;
    let words = REFUSES.len();
    format!(
        r#"
        (func (export "tidemill:operator/snapshot@0.1.0#save") (result i32)
            (i32.store8 (i32.const {ANSWER}) (i32.const 0))
            (i32.store offset=4 (i32.const {ANSWER}) (i32.const {COUNT}))
            (i32.store offset=8 (i32.const {ANSWER})
                (if (result i32) (i32.ge_u (i32.load (i32.const {COUNT})) (i32.const {LARGE_FROM}))
                    (then (i32.add (i32.const {most})
                        (i32.sub (i32.load (i32.const {COUNT})) (i32.const {LARGE_FROM}))))
                    (else (i32.const 4))))
            (i32.const {ANSWER}))
        (func (export "tidemill:operator/snapshot@0.1.0#restore") (param $saved i32) (param $bytes i32) (result i32)
            (i32.store8 (i32.const {ANSWER}) (i32.const 0))
            (if (i32.eq (local.get $bytes) (i32.const 4))
                (then (i32.store (i32.const {COUNT}) (i32.load (local.get $saved))))
                (else
                    (i32.store8 (i32.const {ANSWER}) (i32.const 1))
                    (i32.store8 offset=4 (i32.const {ANSWER}) (i32.const 0))
                    (i32.store offset=8 (i32.const {ANSWER}) (i32.const {WORDS}))
                    (i32.store offset=12 (i32.const {ANSWER}) (i32.const {words}))))
            (i32.const {ANSWER}))"#
    )
}

fn migrate() -> String {
    format!(
        r#"
        (func (export "tidemill:operator/migrate@0.1.0#migrate")
            (param i32 i32) (param $version i32) (param $data i32) (param $bytes i32) (param i32 i32) (result i32)
            (if (i32.eq (local.get $version) (i32.const {TRAPS})) (then (unreachable)))
            (i32.store8 (i32.const {ANSWER}) (i32.const 0))
            (i32.store offset=4 (i32.const {ANSWER}) (local.get $data))
            (i32.store offset=8 (i32.const {ANSWER})
                (if (result i32) (i32.eq (local.get $version) (i32.const {SHORT}))
                    (then (i32.sub (local.get $bytes) (i32.const 4)))
                    (else (local.get $bytes))))
            (i64.store offset=12 (i32.const {ANSWER}) (i64.const 0))
            (i32.const {ANSWER}))"#
    )
}
