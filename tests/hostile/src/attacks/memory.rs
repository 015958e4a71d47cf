//! Attacks on memory: the guest's own, and what the host keeps for it.

use crate::attack::{Attack, End, Job, storm};
use crate::guest::Guest;

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = growing();
    attacks.extend(leaks());
    attacks
}

fn growing() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[16],
            name: "memory-grow",
            tries: "grows its memory to 4 GiB and traps when it gets no more",
            stopped_by: "128 MiB over all memories of a sandbox",
            code: "MEMORY_LIMIT",
            says: &["134217728"],
            component: || {
                Guest::new()
                    .process(
                        "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16)))))
                         unreachable",
                    )
                    .build()
            },
            storm: Some(storm(200)),
            ..Attack::default()
        },
        Attack {
            rows: &[16],
            name: "memory-touch",
            tries: "takes all memory that it may have, touches every page, and goes on, call after call",
            stopped_by: "128 MiB over all memories of a sandbox; what is refused is refused with -1",
            end: End::Finishes,
            job: Job { records: Some(2000), rate: Some(2000), ..Job::default() },
            component: || {
                Guest::new()
                    .process(
                        "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16)))))
                         (memory.fill (i32.const 65536) (i32.const 1)
                           (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))",
                    )
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[16],
            name: "memory-declared",
            tries: "declares a memory of 1 GiB to begin with",
            stopped_by: "128 MiB over all memories of a sandbox",
            code: "COMPILE_FAILED",
            says: &["memory", "exceeds the limit"],
            end: End::Refused,
            component: || Guest::new().pages(16_384).build(),
            ..Attack::default()
        },
        Attack {
            rows: &[18],
            name: "table-grow",
            tries: "grows a table to 2^32 elements",
            stopped_by: "100,000 elements over all tables of a sandbox; what is refused is refused with -1",
            end: End::Finishes,
            component: || {
                Guest::new()
                    .fields("(table $t 1 funcref)")
                    .process(
                        "(if (i32.ne (i32.const -1)
                               (table.grow $t (ref.null func) (i32.const 0xfffffffe))) (then unreachable))
                         (if (i32.ne (i32.const -1)
                               (table.grow $t (ref.null func) (i32.const 100000))) (then unreachable))",
                    )
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[18],
            name: "table-declared",
            tries: "declares a table of ten million elements",
            stopped_by: "100,000 elements over all tables of a sandbox",
            code: "COMPILE_FAILED",
            says: &["table", "exceeds the limit"],
            end: End::Refused,
            component: || Guest::new().fields("(table 10000000 funcref)").build(),
            ..Attack::default()
        },
        Attack {
            rows: &[11],
            name: "deep-recursion",
            tries: "recursion without end, to run over the stack of the host's thread",
            stopped_by: "512 KiB of stack for the guest; the rest of the lane's 4 MiB is the host's",
            code: "STACK_LIMIT",
            component: || {
                Guest::new()
                    .fields("(func $down (result i32) (i32.add (i32.const 1) (call $down)))")
                    .process("(drop (call $down))")
                    .build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[11],
            name: "host-call-at-the-end-of-the-stack",
            tries: "makes host calls with its stack all but used up, so that the host runs out of it",
            stopped_by: "host calls have the rest of the lane's 4 MiB of stack, whatever the guest has used",
            code: "STACK_LIMIT",
            component: || {
                Guest::new()
                    .described(|d| d.state("map", 2))
                    .fields(
                        "(func $down (result i32)
                           (call $map_scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)
                             (i32.const 256))
                           (i32.add (i32.const 1) (call $down)))",
                    )
                    .process("(drop (call $down))")
                    .build()
            },
            storm: Some(storm(200)),
            ..Attack::default()
        },
    ]
}

fn leaks() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[22],
            name: "handle-leak",
            tries: "takes handles of the host without end and gives none back",
            stopped_by: "1,024 handles of a sandbox",
            code: "RESOURCE_LIMIT",
            component: || {
                Guest::new()
                    .world("import wasi:cli/stdout@0.2.12;")
                    .imports(
                        r#"(import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))"#,
                    )
                    .process("(loop $again (drop (call $stdout)) (br $again))")
                    .build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[22],
            name: "own-handles",
            tries: "takes handles to resources of its own without end, for which the host keeps tables",
            stopped_by: "2,048 handles in all tables of a sandbox",
            code: "RESOURCE_LIMIT",
            component: || {
                Guest::new()
                    .package("package hostile:mine; interface things { resource thing; }")
                    .world("export hostile:mine/things;")
                    .imports(
                        r#"(import "[export]hostile:mine/things" "[resource-new]thing"
                            (func $own (param i32) (result i32)))"#,
                    )
                    .process("(loop $again (drop (call $own (i32.const 1))) (br $again))")
                    .build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[22],
            name: "handle-leak-over-calls",
            tries: "leaks a handle in each call, each with 64 KB that it wrote and never ended the line of",
            stopped_by: "1,024 handles of a sandbox, each with 8 KiB of an unfinished line at most; then the call \
                         is made again in a new sandbox",
            end: End::Finishes,
            job: Job {
                records: Some(3000),
                settings: "batch-records = 1\n".to_owned(),
                ..Job::default()
            },
            component: || {
                Guest::new()
                    .pages(8)
                    .world("import wasi:cli/stdout@0.2.12; import wasi:io/streams@0.2.12;")
                    .imports(
                        r#"(import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
                           (import "wasi:io/streams@0.2.12" "[method]output-stream.write"
                             (func $write_to (param i32 i32 i32 i32)))"#,
                    )
                    .process(
                        "(call $write_to (call $stdout) (i32.const 65536) (i32.const 65536) (i32.const 256))",
                    )
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[47],
            name: "look-into-the-pool",
            tries: "leaves a pattern in all of its memory and traps; looks for anything but zeros in the next sandbox's memory",
            stopped_by: "memory that a sandbox had is zero for the next one",
            end: End::Finishes,
            job: Job {
                records: Some(40),
                rate: Some(200),
                settings: "on-poison = \"skip\"\npoison-limit = 1000000\nbatch-records = 1\n"
                    .to_owned(),
                ..Job::default()
            },
            component: || {
                // Gives up, which fails the job, if it finds something.
                Guest::new()
                    .pages(512)
                    .fields(r#"(data (i32.const 300) "found a predecessor's memory")"#)
                    .open(
                        "(local.set $i (i32.const 131072))
                         (loop $look
                           (if (i64.ne (i64.load (local.get $i)) (i64.const 0))
                             (then (return (call $fatal (i32.const 300) (i32.const 28)))))
                           (br_if $look (i32.lt_u
                             (local.tee $i (i32.add (local.get $i) (i32.const 8)))
                             (i32.const 33554432))))",
                    )
                    .process(
                        "(memory.fill (i32.const 131072) (i32.const 0x5a) (i32.const 33423360))
                         unreachable",
                    )
                    .build()
            },
            storm: Some(storm(50)),
            ..Attack::default()
        },
    ]
}
