//! Attacks through what crosses the boundary: arguments, answers, handles, and calls at the wrong time.

use crate::attack::{Attack, End, Job, storm};
use crate::guest::Guest;

const MOVED: &str = "16 MiB that one host call may move, counted for each copy";

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = arguments();
    attacks.extend(answers());
    attacks.extend(handles());
    attacks
}

/// Fields for a log line: `count` of them, each of which is one and the same `size` bytes at 65536.
fn aliased_fields(count: u32, size: u32) -> String {
    format!(
        "(memory.fill (i32.const 65536) (i32.const 0x78) (i32.const 1048576))
         (local.set $p (i32.const 4194304))
         (loop $field
           (i32.store (local.get $p) (i32.const 65536))
           (i32.store offset=4 (local.get $p) (i32.const {size}))
           (i32.store offset=8 (local.get $p) (i32.const 65536))
           (i32.store offset=12 (local.get $p) (i32.const {size}))
           (local.set $p (i32.add (local.get $p) (i32.const 16)))
           (br_if $field (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
             (i32.const {count}))))
         (call $write (i32.const 2) (i32.const 65536) (i32.const 10) (i32.const 4194304) (i32.const {count}))"
    )
}

fn arguments() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[24],
            name: "huge-argument",
            tries: "hands over 100 MiB in one host call",
            stopped_by: MOVED,
            code: "HOST_CALL_LIMIT",
            component: || {
                Guest::new()
                    .pages(1700)
                    .process("(call $say (i32.const 65536) (i32.const 104857600))")
                    .build()
            },
            storm: Some(storm(300)),
            ..Attack::default()
        },
        Attack {
            rows: &[24],
            name: "argument-beyond-memory",
            tries: "hands over 2 GiB that its memory does not have",
            stopped_by: "pointers and lengths of a guest are checked against its memory",
            code: "TRAP",
            says: &["out of bounds"],
            component: || {
                Guest::new().process("(call $say (i32.const 8) (i32.const 0x7fffffff))").build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[25],
            name: "aliased-list",
            tries: "hands over 100,000 texts of 1 MiB, all of them the same bytes",
            stopped_by: MOVED,
            code: "HOST_CALL_LIMIT",
            component: || Guest::new().pages(120).process(aliased_fields(100_000, 1 << 20)).build(),
            storm: Some(storm(200)),
            ..Attack::default()
        },
        Attack {
            rows: &[25],
            name: "many-small-texts",
            tries: "hands over a million empty texts in one host call, each an allocation of the host",
            stopped_by: MOVED,
            code: "HOST_CALL_LIMIT",
            component: || Guest::new().pages(400).process(aliased_fields(1_000_000, 0)).build(),
            storm: Some(storm(200)),
            ..Attack::default()
        },
        Attack {
            rows: &[27],
            name: "random-bytes",
            tries: "asks WASI for 2^40 random bytes",
            stopped_by: "4 KiB of random bytes at once",
            code: "HOST_CALL_LIMIT",
            says: &["1099511627776 random bytes"],
            component: || {
                Guest::new()
                    .world("import wasi:random/random@0.2.12;")
                    .imports(
                        r#"(import "wasi:random/random@0.2.12" "get-random-bytes"
                             (func $get_random (param i64 i32)))"#,
                    )
                    .process("(call $get_random (i64.const 0x10000000000) (i32.const 256))")
                    .build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[27],
            name: "random-bytes-of-the-contract",
            tries: "asks the contract for 2^32 - 1 random bytes",
            stopped_by: "4 KiB of random bytes at once",
            code: "HOST_CALL_LIMIT",
            component: || {
                Guest::new().process("(call $bytes (i32.const -1) (i32.const 256))").build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
    ]
}

/// What an export answers.
fn answers() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[26],
            name: "huge-answer",
            tries: "blames 100,000 records for a reason of 1 MiB each, all of them the same bytes",
            stopped_by: MOVED,
            code: "HOST_CALL_LIMIT",
            component: || {
                Guest::new()
                    .pages(120)
                    .process(
                        "(memory.fill (i32.const 65536) (i32.const 0x78) (i32.const 1048576))
                         (local.set $p (i32.const 4194304))
                         (loop $bad
                           (i32.store (local.get $p) (i32.const 0))
                           (i32.store offset=4 (local.get $p) (i32.const 65536))
                           (i32.store offset=8 (local.get $p) (i32.const 1048576))
                           (local.set $p (i32.add (local.get $p) (i32.const 12)))
                           (br_if $bad (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                             (i32.const 100000))))
                         (i32.store (i32.const 96) (i32.const 0))
                         (i32.store (i32.const 100) (i32.const 4194304))
                         (i32.store (i32.const 104) (i32.const 100000))
                         (return (i32.const 96))",
                    )
                    .build()
            },
            storm: Some(storm(200)),
            ..Attack::default()
        },
        Attack {
            rows: &[26],
            name: "huge-snapshot",
            tries: "saves 17 MiB at each checkpoint",
            stopped_by: "16 MiB that a snapshot of an operator's own memory may have",
            code: "SAVE_LIMIT",
            job: slow(),
            component: || {
                with_snapshot(
                    "(i32.store (i32.const 96) (i32.const 0))
                     (i32.store (i32.const 100) (i32.const 65536))
                     (i32.store (i32.const 104) (i32.const 17825792))
                     (i32.const 96)",
                )
            },
            is_final: true,
            ..Attack::default()
        },
        Attack {
            rows: &[60],
            name: "trap-in-save",
            tries: "traps at each barrier",
            stopped_by: "barriers are a job's own: only this job has no checkpoint, and fails",
            code: "TRAP",
            says: &["state in its own memory was lost"],
            job: slow(),
            component: || with_snapshot("unreachable"),
            ..Attack::default()
        },
        Attack {
            rows: &[60],
            name: "stall-in-save",
            tries: "a loop without end at each barrier",
            stopped_by: "own CPU time of every call but `process` (1 s)",
            code: "CPU_LIMIT",
            job: slow(),
            component: || with_snapshot("(loop $l (br $l)) unreachable"),
            ..Attack::default()
        },
        Attack {
            rows: &[29],
            name: "huge-error",
            tries: "gives up with 8 MiB of words, terminal escapes among them",
            stopped_by: "1 KiB of a guest's words is kept, with control characters escaped",
            says: &["the operator gave up", "\\u{1b}[2J"],
            component: || {
                Guest::new()
                    .pages(200)
                    .fields(r#"(data (i32.const 1048576) "\1b[2J\0a{\"level\":\"ERROR\"}")"#)
                    .process(
                        "(memory.fill (i32.const 1048600) (i32.const 0x78) (i32.const 8388608))
                         (return (call $fatal (i32.const 1048576) (i32.const 8388608)))",
                    )
                    .build()
            },
            check: Some(|seen| match (seen.stderr.contains('\u{1b}'), seen.stderr.len()) {
                (false, 0..20_000) => Ok(()),
                (escape, length) => Err(format!("{length} bytes were said, an escape: {escape}")),
            }),
            is_final: true,
            ..Attack::default()
        },
        Attack {
            rows: &[49],
            name: "surrogates",
            tries: "describes itself in UTF-16 with half of a surrogate pair",
            stopped_by: "strings are decoded by the host, which takes nothing that is not Unicode",
            code: "TRAP",
            says: &["unpaired surrogate"],
            end: End::Refused,
            component: || {
                Guest::new()
                    .encoding(wit_component::StringEncoding::UTF16)
                    .fields(r#"(data (i32.const 300) "\00\d8\41\00")"#)
                    .describe(
                        "(i32.store (i32.const 4096) (i32.const 300))
                         (i32.store (i32.const 4100) (i32.const 2))",
                    )
                    .build()
            },
            ..Attack::default()
        },
    ]
}

/// A job that lives long enough for a checkpoint.
fn slow() -> Job {
    Job { records: Some(2000), rate: Some(1000), ..Job::default() }
}

/// An operator with state in its own memory, and this body of `save`.
fn with_snapshot(save: &str) -> Vec<u8> {
    Guest::new()
        .pages(300)
        .world("export tidemill:operator/snapshot@0.1.0;")
        .fields(format!(
            r#"(func (export "tidemill:operator/snapshot@0.1.0#save") (result i32) {save})
               (func (export "tidemill:operator/snapshot@0.1.0#restore") (param i32 i32) (result i32)
                 (i32.const 64))"#
        ))
        .build()
}

fn handles() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[45],
            name: "forged-handle",
            tries: "uses a handle that it was never given",
            stopped_by: "handles are looked up in a table of the sandbox's own, by type",
            code: "TRAP",
            says: &["handle"],
            component: || {
                Guest::new()
                    .world("import wasi:io/poll@0.2.12;")
                    .imports(
                        r#"(import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))"#,
                    )
                    .process("(call $block (i32.const 12345))")
                    .build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[45],
            name: "stale-handle",
            tries: "uses a handle after giving it back",
            stopped_by: "handles are looked up in a table of the sandbox's own, by type",
            code: "TRAP",
            says: &["handle"],
            component: || {
                Guest::new()
                    .world("import wasi:clocks/monotonic-clock@0.2.12; import wasi:io/poll@0.2.12;")
                    .imports(
                        r#"(import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration"
                             (func $sleep (param i64) (result i32)))
                           (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))
                           (import "wasi:io/poll@0.2.12" "[resource-drop]pollable"
                             (func $drop (param i32)))"#,
                    )
                    .process(
                        "(call $drop (local.tee $i (call $sleep (i64.const 1))))
                         (call $block (local.get $i))",
                    )
                    .build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[71],
            name: "re-entrance",
            tries: "calls the host from the allocation that the host itself asks for",
            stopped_by: "a component cannot be left while values are handed into it",
            code: "TRAP",
            says: &["cannot leave component instance"],
            component: || {
                Guest::new()
                    .fields("(global $opened (mut i32) (i32.const 0))")
                    .open("(global.set $opened (i32.const 1))")
                    .realloc("(if (global.get $opened) (then (drop (call $now))))")
                    .build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[46],
            name: "not-its-own",
            tries: "names an output that its description does not have",
            stopped_by: "whose call it is comes from the store; indices are looked up in the description",
            code: "UNKNOWN_INDEX",
            component: || {
                let zeros = "(i32.const 0) ".repeat(13);
                Guest::new().process(format!("(call $emit (i32.const 7) {zeros})")).build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[46],
            name: "call-at-the-wrong-time",
            tries: "uses the host in `describe`, before it is anybody's",
            stopped_by: "what may be imported when is checked for each call",
            code: "NOT_ALLOWED_HERE",
            end: End::Refused,
            component: || Guest::new().describe("(drop (call $now))").build(),
            ..Attack::default()
        },
    ]
}
