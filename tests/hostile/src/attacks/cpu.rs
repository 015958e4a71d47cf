//! Attacks on processor time, and on the threads that others need.

use crate::attack::{Attack, End, Job, storm};
use crate::guest::Guest;

const FOR_EVER: &str = "(loop $for_ever (br $for_ever))";
const LIMITED: &str = "own CPU time of a call (250 ms + 0.1 ms per record, at most 1 s)";
const HOOK: &str = "own CPU time of instantiation and of every other call (1 s)";

/// Lower limits, so that a test need not wait.
const SOON: &str =
    "limits = { process-cpu = \"20ms\", process-cpu-max = \"30ms\", hook-cpu = \"50ms\" }\n";

fn soon() -> Job {
    Job { operator: SOON.to_owned(), ..Job::default() }
}

fn soon_storm() -> Option<Job> {
    Some(Job { operator: SOON.to_owned(), ..storm(100) })
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = calls();
    attacks.extend(hooks());
    attacks.extend(patience());
    attacks
}

/// In the middle of `process`.
fn calls() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[1],
            name: "loop",
            tries: "a loop without end in `process`",
            stopped_by: LIMITED,
            code: "CPU_LIMIT",
            says: &["250 ms are allowed"],
            component: || Guest::new().process(FOR_EVER).build(),
            storm: soon_storm(),
            ..Attack::default()
        },
        Attack {
            rows: &[3],
            name: "fill",
            tries: "fills and copies of 100 MiB, which run without a look at the clock, again and again",
            stopped_by: "the memory limit bounds one of them; own CPU time bounds all",
            code: "CPU_LIMIT",
            component: || {
                Guest::new()
                    .pages(1600)
                    .process(
                        "(loop $again
                           (memory.fill (i32.const 65536) (i32.const 7) (i32.const 104000000))
                           (memory.copy (i32.const 65536) (i32.const 70000) (i32.const 104000000))
                           (br $again))",
                    )
                    .build()
            },
            storm: soon_storm(),
            ..Attack::default()
        },
        Attack {
            rows: &[5],
            name: "expensive-host-calls",
            tries: "host calls without end, each as expensive as it may be",
            stopped_by: "host calls run on the call's own CPU time; one moves at most 16 MiB",
            code: "CPU_LIMIT",
            component: || {
                let guest = Guest::new().pages(20).described(|d| d.state("values", 0));
                guest
                    .process("(loop $again (call $value_read (i32.const 0) (i32.const 256))")
                    .process("(global.set $heap (i32.const 65536)) (br $again))")
                    .build()
            },
            storm: soon_storm(),
            ..Attack::default()
        },
        Attack {
            rows: &[6],
            name: "wait",
            tries: "waits for 580 years, and polls what never becomes ready",
            stopped_by: "nothing in a sandbox can wait: every pollable is ready, and time stands still in a call",
            end: End::Finishes,
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
                        "(call $block (local.tee $i (call $sleep (i64.const -1))))
                         (call $drop (local.get $i))",
                    )
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[8],
            name: "realloc-loop",
            tries: "a loop without end where the host asks for room for the batch",
            stopped_by: LIMITED,
            code: "CPU_LIMIT",
            component: || {
                // `open` gets texts too, and must come through.
                Guest::new()
                    .fields("(global $opened (mut i32) (i32.const 0))")
                    .open("(global.set $opened (i32.const 1))")
                    .realloc(format!("(if (global.get $opened) (then {FOR_EVER}))"))
                    .build()
            },
            storm: soon_storm(),
            ..Attack::default()
        },
        Attack {
            rows: &[8],
            name: "post-return-loop",
            tries: "a loop without end when its answer has been read",
            stopped_by: LIMITED,
            code: "CPU_LIMIT",
            component: || Guest::new().after_process(FOR_EVER).build(),
            storm: soon_storm(),
            ..Attack::default()
        },
    ]
}

/// Outside of `process`.
fn hooks() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[7],
            name: "start-loop",
            tries: "a loop without end in the start function",
            stopped_by: HOOK,
            code: "CPU_LIMIT",
            end: End::Refused,
            component: || Guest::new().fields(format!("(func $go {FOR_EVER}) (start $go)")).build(),
            ..Attack::default()
        },
        Attack {
            rows: &[7],
            name: "initialize-loop",
            tries: "a loop without end in `_initialize`",
            stopped_by: HOOK,
            code: "CPU_LIMIT",
            end: End::Refused,
            component: || {
                Guest::new().fields(format!("(func (export \"_initialize\") {FOR_EVER})")).build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[7],
            name: "describe-loop",
            tries: "a loop without end in `describe`",
            stopped_by: HOOK,
            code: "CPU_LIMIT",
            end: End::Refused,
            component: || Guest::new().describe(FOR_EVER).build(),
            ..Attack::default()
        },
        Attack {
            rows: &[7],
            name: "open-loop",
            tries: "a loop without end in `open`",
            stopped_by: HOOK,
            code: "CPU_LIMIT",
            job: soon(),
            component: || Guest::new().open(FOR_EVER).build(),
            is_final: true,
            ..Attack::default()
        },
        Attack {
            rows: &[61],
            name: "close-loop",
            tries: "a loop without end in `close`, so that the job never ends",
            stopped_by: HOOK,
            code: "CPU_LIMIT",
            job: soon(),
            component: || Guest::new().close(FOR_EVER).build(),
            is_final: true,
            ..Attack::default()
        },
    ]
}

/// Within the limits, or across many calls.
fn patience() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[4],
            name: "just-under",
            tries: "uses nearly all of its CPU time in every call, for ever",
            stopped_by: "lanes are threads, which the kernel treats alike; while cores are short, a tenant over its share gives way",
            end: End::GoesOn,
            job: Job { records: None, rate: Some(1000), ..Job::default() },
            component: || {
                Guest::new()
                    .process("(local.set $i (i32.const 60000000))")
                    .process("(loop $l (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))")
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[61],
            holds_out: true,
            name: "never-to-the-barrier",
            tries: "never comes back from `process`, so that no barrier passes it",
            stopped_by: "the call is ended; barriers are a job's own, and others complete theirs",
            end: End::GoesOn,
            job: Job {
                settings:
                    "stop-timeout = \"1s\"\non-poison = \"skip\"\npoison-limit = 1000000\ncheckpoint-interval = \"20ms\"\n\
                           tolerable-failed-checkpoints = 1000000\n"
                        .to_owned(),
                ..storm(1000)
            },
            component: || Guest::new().process(FOR_EVER).build(),
            ..Attack::default()
        },
        Attack {
            rows: &[69],
            holds_out: true,
            name: "stop-in-a-call",
            tries: "is stopped in the middle of calls, over and over, so that something half done stays behind",
            stopped_by: "a call that is interrupted costs its sandbox, which is dropped and never used again",
            end: End::GoesOn,
            job: Job {
                operator: SOON.to_owned(),
                settings: "stop-timeout = \"1s\"\non-poison = \"skip\"\npoison-limit = 1000000\n".to_owned(),
                ..storm(10_000)
            },
            component: || Guest::new().process(FOR_EVER).build(),
            ..Attack::default()
        },
        Attack {
            rows: &[10],
            name: "trap-storm",
            tries: "traps at each record, so that a sandbox is made for each",
            stopped_by: "`poison-limit`, 100 records a minute by default; without it a lane whose batches fail more than \
                         20 times a second waits, and a sandbox is made in microseconds",
            says: &["more than 100 records", "poison-limit"],
            job: Job {
                records: None,
                settings: "on-poison = \"skip\"".to_owned(),
                ..storm(1000)
            },
            component: || Guest::new().process("unreachable").build(),
            storm: Some(storm(2000)),
            ..Attack::default()
        },
        Attack {
            rows: &[11],
            name: "deep-trap",
            tries: "traps 5,000 frames deep, in functions with names of 60 KB, to make the message costly",
            stopped_by: "20 frames are looked at, 6 are told, and names are cut at 1 KiB",
            code: "TRAP",
            component: || {
                let name = "x".repeat(60_000);
                Guest::new()
                    .fields(format!(
                        "(func ${name} (param $n i32)
                           (if (i32.eqz (local.get $n)) (then unreachable))
                           (call ${name} (i32.sub (local.get $n) (i32.const 1))))"
                    ))
                    .process(format!("(call ${name} (i32.const 5000))"))
                    .build()
            },
            check: Some(|seen| match seen.stderr.len() {
                0..40_000 => Ok(()),
                length => Err(format!("{length} bytes were said")),
            }),
            storm: Some(storm(500)),
            ..Attack::default()
        },
    ]
}
