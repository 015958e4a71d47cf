//! Attacks on what lies around a sandbox: files, environment, threads, clocks, and what messages give away.

use std::fs;
use std::os::unix::fs::symlink;

use crate::attack::{Attack, End, Job, storm};
use crate::guest::Guest;

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = files();
    attacks.extend(surroundings());
    attacks
}

/// Opens `path` below each of the first descriptors, and traps if one of them opens.
fn opens(path: &str) -> Vec<u8> {
    Guest::new()
        .imports(
            r#"(import "wasi_snapshot_preview1" "path_open"
                 (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))"#,
        )
        .fields(format!(r#"(data (i32.const 300) "{path}")"#))
        .process(format!(
            "(loop $next
               (if (i32.eqz (call $path_open (local.get $i) (i32.const 1)
                     (i32.const 300) (i32.const {length}) (i32.const 9) (i64.const -1) (i64.const -1)
                     (i32.const 0) (i32.const 256)))
                 (then unreachable))
               (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                 (i32.const 64))))",
            length = path.len()
        ))
        .build()
}

fn files() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[40],
            name: "path-escape",
            tries: "opens and truncates `../../../../etc/passwd/` below every descriptor that there may be",
            stopped_by: "no directory is open: the filesystem of a sandbox is empty",
            end: End::Finishes,
            component: || opens("../../../../etc/passwd/"),
            ..Attack::default()
        },
        Attack {
            rows: &[41],
            name: "devices",
            tries: "opens `/proc/self/mem`",
            stopped_by: "no directory is open: the filesystem of a sandbox is empty",
            end: End::Finishes,
            component: || opens("/proc/self/mem"),
            ..Attack::default()
        },
        Attack {
            rows: &[72],
            name: "descriptor-flood",
            tries: "opens files until the host has no descriptors left",
            stopped_by: "no directory is open: nothing that an operator calls opens a file of the host",
            end: End::Finishes,
            job: Job {
                records: Some(2000),
                rate: Some(2000),
                settings: "batch-records = 1\n".to_owned(),
                ..Job::default()
            },
            component: || opens("file"),
            ..Attack::default()
        },
    ]
}

fn surroundings() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[43],
            name: "environment",
            tries: "reads the environment and the arguments of the host's process",
            stopped_by: "an operator sees its own configuration from the job file and nothing else",
            end: End::Finishes,
            component: || {
                Guest::new()
                    .imports(
                        r#"(import "wasi_snapshot_preview1" "environ_sizes_get"
                             (func $environ (param i32 i32) (result i32)))
                           (import "wasi_snapshot_preview1" "args_sizes_get"
                             (func $arguments (param i32 i32) (result i32)))"#,
                    )
                    .process(
                        "(drop (call $environ (i32.const 256) (i32.const 260)))
                         (drop (call $arguments (i32.const 264) (i32.const 268)))
                         (if (i32.or (i32.load (i32.const 256)) (i32.load (i32.const 264)))
                           (then unreachable))",
                    )
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[50],
            name: "clock",
            tries: "measures time inside a call, as one must to read others' memory from caches",
            stopped_by: "time stands still inside a call; there are no threads to count with",
            end: End::Finishes,
            component: || {
                Guest::new()
                    .world("import wasi:clocks/monotonic-clock@0.2.12;")
                    .imports(
                        r#"(import "wasi:clocks/monotonic-clock@0.2.12" "now" (func $ticks (result i64)))"#,
                    )
                    .process(
                        "(local.set $x (i64.add (call $ticks) (call $now)))
                         (loop $again
                           (if (i64.ne (local.get $x) (i64.add (call $ticks) (call $now)))
                             (then unreachable))
                           (br_if $again (i32.lt_u
                             (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20000))))",
                    )
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[53],
            name: "talkative-errors",
            tries: "fails in the hope that the message names paths, addresses or types of the host",
            stopped_by: "faults have stable codes and messages of their own",
            code: "TRAP",
            says: &["out of bounds memory access"],
            component: || Guest::new().process("(drop (i32.load (i32.const -8)))").build(),
            check: Some(|seen| {
                let leaks = [".cargo", "wasmtime::", ".rs:", "0x7f", "src/"];
                match leaks.iter().find(|leak| seen.stderr.contains(**leak)) {
                    None => Ok(()),
                    Some(leak) => Err(format!("{leak:?} was said")),
                }
            }),
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[63],
            name: "nan-bits",
            tries: "makes NaNs whose bits depend on the processor, to differ when the call is made again",
            stopped_by: "every NaN that arithmetic makes has the same bits",
            end: End::Finishes,
            job: Job { records: Some(1), to_files: true, ..Job::default() },
            component: || {
                Guest::new()
                    .process(
                        "(f64.store (i32.const 256) (f64.div (f64.const 0) (local.get $f)))
                         (f64.store (i32.const 264) (f64.sqrt (f64.const -1)))
                         (f64.store (i32.const 272) (f64.add (f64.const -nan:0x123456789) (local.get $f)))
                         (f64.store (i32.const 280)
                           (f64.promote_f32 (f32.demote_f64 (f64.const -nan:0x4000000abcdef))))
                         (call $emit_one (i32.const 256) (i32.const 32))",
                    )
                    .build()
            },
            check: Some(|seen| {
                let canonical = [[0, 0, 0, 0, 0, 0, 0xf8, 0x7f]; 4].concat();
                match seen.output.strip_suffix(b"\n") == Some(&canonical) {
                    true => Ok(()),
                    false => Err(format!("the bits are {:02x?}", seen.output)),
                }
            }),
            ..Attack::default()
        },
        Attack {
            rows: &[79],
            name: "job-of-another",
            tries: "says in its job file that it belongs to a tenant whose job files lie elsewhere",
            stopped_by: "a tenant's `jobs-dir`: its job files lie there and nowhere else",
            code: "TENANT_DIRECTORY",
            says: &["a directory of nobody"],
            end: End::Refused,
            quotas: "jobs-dir = \"jobs\"\n",
            files: Some(|place| fs::create_dir(place.join("jobs"))),
            component: || Guest::new().build(),
            ..Attack::default()
        },
        Attack {
            rows: &[79],
            name: "job-by-a-link",
            tries: "puts a link to a job file of another tenant beside a component of its own, which that file would name",
            stopped_by: "both where a job file really lies and where its relative paths count from must be its tenant's",
            code: "TENANT_DIRECTORY",
            says: &["a directory of nobody"],
            end: End::Refused,
            quotas: "jobs-dir = \"jobs\"\n",
            files: Some(|place| {
                fs::create_dir(place.join("jobs"))?;
                fs::rename(place.join("attack.toml"), place.join("jobs/attack.toml"))?;
                symlink("jobs/attack.toml", place.join("attack.toml"))
            }),
            component: || Guest::new().build(),
            ..Attack::default()
        },
        Attack {
            rows: &[],
            name: "host-panic",
            tries: "meets a defect of the host that panics in the middle of a host call (planted, in a debug build)",
            stopped_by: "a lane's thread catches what its own code throws; nothing of another job is on it",
            code: "host fault",
            says: &["please report it"],
            end: End::HostFault,
            failpoint: Some("host-call-panics:1"),
            component: || {
                Guest::new()
                    .fields(r#"(data (i32.const 300) "a word")"#)
                    .process("(call $say (i32.const 300) (i32.const 6))")
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[70],
            name: "exit",
            tries: "ends the process",
            stopped_by: "`exit` ends the call and its sandbox",
            code: "EXIT",
            component: || {
                Guest::new()
                    .imports(
                        r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#,
                    )
                    .process("(call $exit (i32.const 3))")
                    .build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
    ]
}
