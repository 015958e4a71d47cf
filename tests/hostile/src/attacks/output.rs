//! Attacks through what goes out: records, log lines, metrics, dead letters, and the log of the input.

use crate::attack::{Attack, End, Job, Seen, storm};
use crate::guest::Guest;

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = records();
    attacks.extend(words());
    attacks.extend(measures());
    attacks.extend(disk());
    attacks
}

fn records() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[32],
            name: "emit-bytes",
            tries: "emits records of 1 MiB without end",
            stopped_by: "16 MiB that one call may emit, counted before it is kept",
            code: "EMIT_LIMIT",
            component: || {
                Guest::new()
                    .pages(20)
                    .process("(loop $more (call $emit_one (i32.const 65536) (i32.const 1048576)) (br $more))")
                    .build()
            },
            storm: Some(storm(50)),
            ..Attack::default()
        },
        Attack {
            rows: &[32],
            name: "emit-keys-again",
            tries: "emits 200,000 empty records with 257 keys of 4 KiB in turn, of which each part that goes on needs nearly all",
            stopped_by: "a part is made when there is room for it, so that 16 MiB and one part wait at most",
            end: End::Finishes,
            job: Job { records: Some(1), rate: Some(3), ..Job::default() },
            component: || {
                Guest::new()
                    .pages(60)
                    // Ends of keys at 8 pages, which key each record has at 16, zeros from 32 on.
                    .process(
                        "(loop $more
                           (i32.store (i32.add (i32.const 524288) (i32.mul (local.get $i) (i32.const 4)))
                             (i32.mul (i32.add (local.get $i) (i32.const 1)) (i32.const 4096)))
                           (local.set $i (i32.add (local.get $i) (i32.const 1)))
                           (br_if $more (i32.lt_u (local.get $i) (i32.const 257))))
                         (local.set $i (i32.const 0))
                         (loop $more
                           (i32.store (i32.add (i32.const 1048576) (i32.mul (local.get $i) (i32.const 4)))
                             (i32.rem_u (local.get $i) (i32.const 257)))
                           (local.set $i (i32.add (local.get $i) (i32.const 1)))
                           (br_if $more (i32.lt_u (local.get $i) (i32.const 200000))))
                         (call $emit (i32.const 0) (i32.const 2)
                           (i32.const 2097152) (i32.const 1052672) (i32.const 524288) (i32.const 257)
                           (i32.const 1048576) (i32.const 200000)
                           (i32.const 2097152) (i32.const 0) (i32.const 2097152) (i32.const 200000)
                           (i32.const 0) (i32.const 0))",
                    )
                    .build()
            },
            check: Some(|seen| match seen.report["records_out"].as_u64() {
                Some(200_000) => Ok(()),
                records => Err(format!("{records:?} records came out")),
            }),
            ..Attack::default()
        },
        Attack {
            rows: &[32],
            name: "emit-records",
            tries: "emits empty records without end, which have no bytes",
            stopped_by: "each record emitted costs some of the 16 MiB, and there may be 1,000,000 of them",
            code: "EMIT_LIMIT",
            component: || {
                Guest::new()
                    .process("(loop $more (call $emit_one (i32.const 0) (i32.const 0)) (br $more))")
                    .build()
            },
            storm: Some(storm(50)),
            ..Attack::default()
        },
        Attack {
            rows: &[32, 34],
            name: "emit-giant-value",
            tries: "emits one record of 2 MiB",
            stopped_by: "1 MiB for the value of a record",
            code: "ITEM_TOO_LARGE",
            component: || {
                Guest::new()
                    .pages(40)
                    .process("(call $emit_one (i32.const 65536) (i32.const 2097152))")
                    .build()
            },
            storm: Some(storm(200)),
            ..Attack::default()
        },
        Attack {
            rows: &[34],
            name: "emit-giant-key",
            tries: "emits a record with a key of 5 KiB",
            stopped_by: "4 KiB for the key of a record",
            code: "ITEM_TOO_LARGE",
            component: || {
                Guest::new()
                    .process(
                        "(i32.store (i32.const 256) (i32.const 5120))
                         (call $emit (i32.const 0) (i32.const 2)
                           (i32.const 65536) (i32.const 5120) (i32.const 256) (i32.const 1)
                           (i32.const 0) (i32.const 0)
                           (i32.const 65536) (i32.const 5120) (i32.const 256) (i32.const 1)
                           (i32.const 0) (i32.const 0))",
                    )
                    .build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[62],
            name: "emit-and-trap",
            tries: "emits and then traps, so that the repeated call emits again",
            stopped_by: "what a call emits leaves when it returns ok, and never otherwise",
            end: End::Finishes,
            job: Job {
                records: Some(50),
                settings: "on-poison = \"skip\"\npoison-limit = 1000000\n".to_owned(),
                to_files: true,
                ..Job::default()
            },
            component: || {
                Guest::new()
                    .process("(call $emit_one (i32.const 65536) (i32.const 8)) unreachable")
                    .build()
            },
            check: Some(|seen| match seen.output.len() {
                0 => Ok(()),
                length => Err(format!("{length} bytes were published")),
            }),
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[31],
            name: "compressed-bomb",
            tries: "emits values that are gzip archives of a gigabyte of zeros",
            stopped_by: "records are bytes: the host unpacks none",
            end: End::Finishes,
            job: Job { records: Some(1000), rate: Some(2000), to_files: true, ..Job::default() },
            component: || {
                Guest::new()
                    .fields(r#"(data (i32.const 300) "\1f\8b\08\00\00\00\00\00\00\03")"#)
                    .process("(call $emit_one (i32.const 300) (i32.const 10))")
                    .build()
            },
            check: Some(|seen| match seen.output.starts_with(&[0x1f, 0x8b, 8]) {
                true => Ok(()),
                false => Err("the values have changed".to_owned()),
            }),
            ..Attack::default()
        },
    ]
}

fn no_escape(seen: &Seen) -> Result<(), String> {
    let forged = seen
        .stderr
        .lines()
        .any(|line| line.starts_with("{\"level\"") || line.starts_with("forged"));
    let steering = |c: char| c == '\u{1b}' || c == '\u{202e}' || c == '\u{2028}' || c == '\u{9b}';
    match (seen.stderr.contains(steering), forged) {
        (false, false) => Ok(()),
        (_, true) => Err("a line was forged".to_owned()),
        (true, _) => Err("a control character came through".to_owned()),
    }
}

/// An operator that can write to standard error.
fn printing() -> Guest {
    Guest::new().world("import wasi:cli/stderr@0.2.12; import wasi:io/streams@0.2.12;").imports(
        r#"(import "wasi:cli/stderr@0.2.12" "get-stderr" (func $stderr (result i32)))
           (import "wasi:io/streams@0.2.12" "[method]output-stream.write"
             (func $write_to (param i32 i32 i32 i32)))"#,
    )
}

fn words() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[37],
            name: "log-flood",
            tries: "writes 50,000 log lines of 1 KiB in each call",
            stopped_by: "100 lines a second of at most 8 KiB; the rest is dropped and counted",
            says: &["dropped="],
            end: End::Finishes,
            job: Job {
                records: Some(1500),
                rate: Some(1000),
                settings: "batch-records = 100\n".to_owned(),
                ..Job::default()
            },
            component: || {
                Guest::new()
                    .process("(memory.fill (i32.const 65536) (i32.const 0x66) (i32.const 1024))")
                    .process(
                        "(loop $more (call $say (i32.const 65536) (i32.const 1024))
                           (br_if $more (i32.lt_u
                             (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5000))))",
                    )
                    .build()
            },
            check: Some(|seen| {
                let lines = seen.stderr.lines().filter(|line| line.contains("fffff")).count();
                if lines <= 1500 { Ok(()) } else { Err(format!("{lines} lines came through")) }
            }),
            ..Attack::default()
        },
        Attack {
            rows: &[37],
            name: "stderr-flood",
            tries: "prints to standard output without line breaks, and without end",
            stopped_by: "what is printed becomes log lines; 8 KiB of an unfinished line are kept",
            code: "CPU_LIMIT",
            component: || {
                printing()
                    .pages(8)
                    .process(
                        "(local.set $i (call $stderr))
                         (loop $more
                           (call $write_to (local.get $i) (i32.const 65536) (i32.const 60000) (i32.const 256))
                           (br $more))",
                    )
                    .build()
            },
            storm: Some(storm(20)),
            ..Attack::default()
        },
        Attack {
            rows: &[37],
            name: "stderr-at-once",
            tries: "prints 15 million empty lines by one write",
            stopped_by: "64 KiB for one write to standard output or error, which a guest is told when it asks",
            code: "HOST_CALL_LIMIT",
            says: &["a write of 15000000 bytes to a stream"],
            component: || {
                printing()
                    .pages(240)
                    .process(
                        "(memory.fill (i32.const 65536) (i32.const 10) (i32.const 15000000))
                         (call $write_to (call $stderr) (i32.const 65536) (i32.const 15000000) (i32.const 256))",
                    )
                    .build()
            },
            storm: Some(storm(50)),
            ..Attack::default()
        },
        Attack {
            rows: &[38],
            name: "log-injection",
            tries: "logs line breaks, terminal escapes, a line in JSON, and characters that turn the direction of text",
            stopped_by: "what is no visible character is escaped; the line carries the operator's name",
            says: &["\\u{1b}[2J", "\\n", "\\u{202e}", "\\u{2028}"],
            end: End::Finishes,
            job: Job { records: Some(1), ..Job::default() },
            component: || {
                Guest::new()
                    .fields(
                        r#"(data (i32.const 300) "\1b[2J\0aforged line\0d\0a{\22level\22:\22ERROR\22}\e2\80\ae\e2\80\a8\c2\9b")"#,
                    )
                    .process("(call $say (i32.const 300) (i32.const 46))")
                    .build()
            },
            check: Some(no_escape),
            ..Attack::default()
        },
        Attack {
            rows: &[38],
            name: "name-injection",
            tries: "describes itself with a name full of terminal escapes",
            stopped_by: "a description is checked before anything of it is used or shown",
            code: "INVALID_DESCRIPTION",
            says: &["its description is refused"],
            end: End::Refused,
            component: || Guest::new().described(|d| d.state("\u{1b}[2J\nforged", 0)).build(),
            check: Some(no_escape),
            ..Attack::default()
        },
    ]
}

fn measures() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[39],
            name: "metric-bomb",
            tries: "measures under names that it makes up",
            stopped_by: "metrics are indices into the description; labels are the host's",
            code: "UNKNOWN_INDEX",
            component: || {
                Guest::new().process("(call $put (i32.const 1000) (f64.const 1))").build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[39],
            name: "metrics-described",
            tries: "describes 1,000 metrics",
            stopped_by: "64 metrics, states, inputs or outputs of an operator",
            code: "INVALID_DESCRIPTION",
            says: &["its description is refused", "64"],
            end: End::Refused,
            component: || Guest::new().described(|d| d.metrics = 1000).build(),
            ..Attack::default()
        },
        Attack {
            rows: &[39],
            name: "metric-flood",
            tries: "measures without end in one call",
            stopped_by: "as many values in one call as records (1,000,000; here 10,000)",
            code: "EMIT_LIMIT",
            job: Job {
                operator: "limits = { emit-records = 10_000 }\n".to_owned(),
                ..Job::default()
            },
            component: || {
                Guest::new()
                    .described(|d| d.metrics = 1)
                    .process("(loop $more (call $put (i32.const 0) (f64.const nan)) (br $more))")
                    .build()
            },
            storm: Some(storm(10)),
            ..Attack::default()
        },
    ]
}

fn disk() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[67],
            name: "dead-letter-flood",
            tries: "rejects every record, to fill the disk with dead letters",
            stopped_by: "`poison-limit`, 100 records a minute by default",
            says: &["more than 100 records", "poison-limit"],
            job: Job {
                records: None,
                rate: Some(2000),
                settings: "on-poison = \"dead-letter\"\n".to_owned(),
                ..Job::default()
            },
            component: || Guest::new().process("unreachable").build(),
            storm: Some(Job {
                settings: "on-poison = \"dead-letter\"\npoison-limit = 100000000\n".to_owned(),
                ..storm(2000)
            }),
            ..Attack::default()
        },
        Attack {
            rows: &[68],
            holds_out: true,
            name: "never-reads-on",
            tries: "takes so long for each call that the log of its input cannot be trimmed",
            stopped_by: "`wal-quota`, 1 GiB by default, here 16 MiB: intake waits",
            end: End::GoesOn,
            job: Job {
                records: None,
                settings: "wal = \"inputs\"\nwal-quota = \"16MiB\"\nbatch-records = 10\n"
                    .to_owned(),
                ..Job::default()
            },
            component: || {
                Guest::new()
                    .process("(local.set $i (i32.const 60000000))")
                    .process("(loop $l (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))")
                    .build()
            },
            ..Attack::default()
        },
    ]
}
