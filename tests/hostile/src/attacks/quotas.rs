//! Attacks on what a tenant may use over all its jobs, each held by a quota of its own while the canary's tenant has
//! none: in many sandboxes, each of which keeps its own limits, or in many calls.
//!
//! Where lanes wait, there is no code: the report must say that they were held back, and the figures that it helped.

use super::admission::refused;
use super::bombs::hard;
use super::state::write_entry;
use crate::attack::{Attack, End, Job, Seen, storm};
use crate::guest::Guest;

/// A second operator of the same file beside the first.
const SECOND: &str = "\n[operators.second]\ncomponent = \"attack.wasm\"\nfrom = \"records\"\n\
                      [sinks.out-second]\nconnector = \"discard\"\nfrom = \"second\"\n";

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = amounts();
    attacks.extend(rates());
    attacks.extend(admissions());
    attacks
}

fn on_lanes(lanes: usize, job: Job) -> Job {
    Job { settings: format!("{}parallelism = {lanes}\n", job.settings), ..job }
}

/// An operator whose records are spread over the lanes by their keys.
fn keyed() -> Guest {
    Guest::new().described(|d| d.keyed = true)
}

/// A quota of so many bytes was used, and not passed by more than `slack`.
fn held(seen: &Seen, quota: &str, bytes: u64, slack: u64) -> Result<(), String> {
    match seen.peak(quota) {
        peak if (bytes / 2..=bytes + slack).contains(&peak) => Ok(()),
        peak => Err(format!("{peak} bytes of {quota} were used, of {bytes}")),
    }
}

fn amounts() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[16],
            name: "memory-of-a-tenant",
            tries: "takes 64 MiB in each of eight sandboxes, which is within the limit of each",
            stopped_by: "the tenant's `memory` over all its sandboxes (8 GiB; here 160 MiB)",
            code: "TENANT_MEMORY",
            says: &["the tenants' file"],
            quotas: "memory = \"160MiB\"\n",
            job: on_lanes(4, Job { operator: SECOND.to_owned(), ..Job::default() }),
            component: || {
                keyed()
                    .process(
                        "(loop $more
                           (if (i32.lt_u (memory.size) (i32.const 1024))
                             (then (br_if $more
                               (i32.ne (i32.const -1) (memory.grow (i32.const 16)))))))
                         (memory.fill (i32.const 65536) (i32.const 1)
                           (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))",
                    )
                    .build()
            },
            check: Some(|seen| {
                held(seen, "memory", 160 << 20, 0)?;
                // No step of it ever succeeds.
                match seen.tenant["cpu_s"].as_f64() {
                    Some(cpu_s) if cpu_s > 0.01 => Ok(()),
                    cpu_s => Err(format!("to fill 160 MiB took {cpu_s:?} s of CPU time")),
                }
            }),
            storm: Some(on_lanes(4, Job { operator: SECOND.to_owned(), ..storm(100) })),
            ..Attack::default()
        },
        Attack {
            rows: &[33],
            name: "state-of-a-tenant",
            tries: "writes entries under ever new keys in eight tasks, each within its own quota",
            stopped_by: "the tenant's `state` over all its tasks (8 GiB; here 2 MiB)",
            code: "TENANT_STATE",
            says: &["the tenants' file"],
            quotas: "state = \"2MiB\"\n",
            job: on_lanes(
                4,
                Job {
                    operator: SECOND.to_owned(),
                    records: None,
                    rate: Some(2000),
                    ..Job::default()
                },
            ),
            component: || hoard("(i32.const 10000)", ""),
            // A batch more is let through by each task.
            check: Some(|seen| held(seen, "state", 2 << 20, 1 << 20)),
            ..Attack::default()
        },
        Attack {
            rows: &[76],
            name: "checkpoint-flood",
            tries: "fills the disk with checkpoints of state that cannot be compressed",
            stopped_by: "the tenant's `checkpoints` over all its jobs (64 GiB; here 256 KiB)",
            code: "CHECKPOINT_QUOTA",
            says: &["at most 262144 are allowed"],
            end: End::Unsaved,
            quotas: "checkpoints = \"256KiB\"\n",
            job: Job {
                records: None,
                rate: Some(2000),
                settings: "tolerable-failed-checkpoints = 0\ncheckpoint-interval = \"50ms\"\n\
                           batch-records = 10\n"
                    .to_owned(),
                ..Job::default()
            },
            component: || {
                // The bytes are behind the key, at 65540.
                hoard(
                    "(i32.const 4096)",
                    "(call $bytes (i32.const 4096) (i32.const 320))
                     (memory.copy (i32.const 65540) (i32.load (i32.const 320)) (i32.const 4092))",
                )
            },
            check: Some(|seen| held(seen, "checkpoints", 256 << 10, 0)),
            storm: Some(Job {
                settings:
                    "tolerable-failed-checkpoints = 1000000\ncheckpoint-interval = \"50ms\"\n"
                        .to_owned(),
                ..storm(100)
            }),
            ..Attack::default()
        },
    ]
}

/// Writes an entry of `size` bytes under a new key in each call, behind `before`.
fn hoard(size: &str, before: &str) -> Vec<u8> {
    let write = write_entry("(i32.const 4)", size);
    Guest::new()
        .pages(8)
        .described(|d| d.state("map", 2))
        .fields("(global $n (mut i32) (i32.const 0))")
        .process(before)
        .process(format!(
            "(global.set $n (i32.add (global.get $n) (i32.const 1)))
             (i32.store (i32.const 65536) (global.get $n)) {write}"
        ))
        .build()
}

/// That lanes were held back for a part of the time.
fn was_held(seen: &Seen) -> Result<(), String> {
    match seen.of_tenant("held_s") {
        held_s if held_s > 0.4 => Ok(()),
        held_s => Err(format!("lanes were held back for {held_s} s: {}", seen.tenant)),
    }
}

fn rates() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[4],
            name: "cpu-of-a-tenant",
            tries: "computes without a pause on four lanes, in calls that each keep their limit",
            stopped_by: "the tenant's `cpu` over all its lanes (here 0.25 cores): they wait between calls",
            end: End::Finishes,
            quotas: "cpu = 0.25\n",
            job: on_lanes(
                4,
                Job {
                    records: Some(40),
                    settings: "batch-records = 1\n".to_owned(),
                    ..Job::default()
                },
            ),
            component: || {
                keyed()
                    .process("(local.set $i (i32.const 30000000))")
                    .process("(loop $l (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))")
                    .build()
            },
            check: Some(|seen| {
                was_held(seen)?;
                // A fifth of a second's worth at once, and the last call of each lane.
                let (cpu_s, elapsed_s) = (seen.of_tenant("cpu_s"), seen.elapsed_s());
                match cpu_s <= 0.25 * elapsed_s + 0.05 + 0.2 {
                    true => Ok(()),
                    false => Err(format!("{cpu_s} s of CPU time in {elapsed_s} s")),
                }
            }),
            ..Attack::default()
        },
        Attack {
            rows: &[32],
            name: "output-of-a-tenant",
            tries: "emits a quarter of a MiB in each call, which is within the limit, again and again",
            stopped_by: "the tenant's `output-rate` over all its sinks (here 2 MB in a second): lanes wait between calls",
            end: End::Finishes,
            quotas: "output-rate = \"2MB\"\n",
            job: Job {
                records: Some(20),
                settings: "batch-records = 1\n".to_owned(),
                ..Job::default()
            },
            component: || {
                Guest::new()
                    .pages(8)
                    .process("(call $emit_one (i32.const 65536) (i32.const 262144))")
                    .build()
            },
            check: Some(|seen| {
                was_held(seen)?;
                // What a second allows may be used at once; then what one call emits.
                let bytes = seen.report["sinks"][0]["bytes"].as_f64().unwrap_or(f64::NAN);
                match bytes >= 5e6 && bytes <= 2e6 * (1.0 + seen.elapsed_s()) + 262_144.0 {
                    true => Ok(()),
                    false => Err(format!("{bytes} bytes in {} s", seen.elapsed_s())),
                }
            }),
            ..Attack::default()
        },
        Attack {
            rows: &[37],
            name: "log-of-a-tenant",
            tries: "writes log lines in eight tasks, each at its own rate",
            stopped_by: "the tenant's `log-lines-per-second` over all its operators (200; here 50): the rest is dropped and counted",
            says: &["dropped="],
            end: End::Finishes,
            quotas: "log-lines-per-second = 50\n",
            job: on_lanes(
                4,
                Job {
                    records: Some(1500),
                    rate: Some(1000),
                    operator: SECOND.to_owned(),
                    ..Job::default()
                },
            ),
            component: || {
                keyed()
                    .process("(memory.fill (i32.const 65536) (i32.const 0x66) (i32.const 100))")
                    .process(
                        "(loop $more (call $say (i32.const 65536) (i32.const 100))
                           (br_if $more (i32.lt_u
                             (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50))))",
                    )
                    .build()
            },
            check: Some(|seen| {
                let lines = seen.stderr.lines().filter(|line| line.contains("fffff")).count();
                // What a second allows may be written at once.
                let most = 50.0 * (1.0 + seen.elapsed_s()) + 1.0;
                match (50.0..=most).contains(&(lines as f64))
                    && seen.of_tenant("log_lines_dropped") > 1000.0
                {
                    true => Ok(()),
                    false => Err(format!("{lines} lines came through: {}", seen.tenant)),
                }
            }),
            ..Attack::default()
        },
    ]
}

/// An attack that is refused for its tenant's quotas.
fn refused_to(quotas: &'static str, job: Job, attack: Attack) -> Attack {
    Attack { quotas, job, ..attack }
}

/// A component with so many more instances of a module that has a memory.
fn with_memories(mut component: Vec<u8>, count: u8) -> Vec<u8> {
    const CORE_MODULE: u8 = 1;
    const CORE_INSTANCE: u8 = 2;
    /// Numbers below are one byte each.
    const MODULES_MAX: u8 = 127;
    let mut modules = 0;
    let mut at = 8;
    while let Some(id) = component.get(at) {
        modules += u8::from(*id == CORE_MODULE);
        let (mut size, mut shift) = (0, 0);
        loop {
            at += 1;
            size |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        at += 1 + size;
    }
    assert!(modules < MODULES_MAX, "the number of the next module is one byte");
    let module = wat::parse_str("(module (memory 1))").expect("it is a module");
    component.extend([CORE_MODULE, u8::try_from(module.len()).expect("it is short")]);
    component.extend(module);
    component.extend([CORE_INSTANCE, 1 + 3 * count, count]);
    (0..count).for_each(|_| component.extend([0, modules, 0]));
    component
}

fn admissions() -> Vec<Attack> {
    let plain = || Guest::new().build();
    let other = "\n[operators.other]\ncomponent = \"@operators/word_count.wasm\"\nfrom = \"attack\"\n\
                 [sinks.out-other]\nconnector = \"discard\"\nfrom = \"other\"\n";
    vec![
        refused_to(
            "sandboxes = 8\n",
            on_lanes(9, Job::default()),
            refused(
                &[77],
                "sandboxes-of-a-tenant",
                "TENANT_SANDBOXES",
                "asks for nine lanes, each with a sandbox",
                "the tenant's `sandboxes` over all its jobs (256; here 8), before anything is compiled",
                &["9 sandboxes", "0 of 8 in use"],
                plain,
            ),
        ),
        refused_to(
            "sandboxes = 12\n",
            on_lanes(2, Job::default()),
            refused(
                &[77],
                "memories-of-a-tenant",
                "TENANT_SANDBOXES",
                "brings eight memories, of which each takes a place that others could have",
                "as many of the tenant's `sandboxes` (256; here 12) for each lane as there are memories",
                &["16 sandboxes", "0 of 12 in use"],
                || with_memories(Guest::new().build_component(), 7),
            ),
        ),
        refused_to(
            "buffers = \"4GiB\"\n",
            on_lanes(2, Job { settings: "queue-bytes = \"1GiB\"\n".to_owned(), ..Job::default() }),
            refused(
                &[77],
                "buffers-of-a-tenant",
                "TENANT_BUFFERS",
                "asks for four queues of 1 GiB each, to be filled while it looks at one record",
                "the tenant's `buffers` (16 GiB; here 4 GiB), before anything runs",
                &["bytes of buffers", "0 of 4294967296 in use"],
                plain,
            ),
        ),
        refused_to(
            "connectors = 17\n",
            on_lanes(9, Job::default()),
            refused(
                &[77],
                "connectors-of-a-tenant",
                "TENANT_CONNECTORS",
                "asks for a source and a sink on nine lanes, each with threads and buffers of its own",
                "the tenant's `connectors` over all its jobs (256; here 17), before anything is compiled",
                &["18 sources and sinks", "0 of 17 in use"],
                plain,
            ),
        ),
        refused_to(
            "components = 1\n",
            Job { operator: other.to_owned(), ..Job::default() },
            refused(
                &[77],
                "components-of-a-tenant",
                "TENANT_COMPONENTS",
                "asks for two components",
                "the tenant's `components` over all its jobs (64; here 1), before anything is compiled",
                &["2 components", "0 of 1 in use"],
                plain,
            ),
        ),
        refused_to(
            "limits.component-size = \"64KiB\"\n",
            Job::default(),
            refused(
                &[57],
                "component-size-of-a-tenant",
                "FILE_TOO_LARGE",
                "a file of 100 kB",
                "the tenant's `component-size` (32 MiB; here 64 KiB), before it is read",
                &["the file has 100000 bytes; at most 65536 are allowed"],
                || {
                    let mut large = b"\0asm\x0d\0\x01\0".to_vec();
                    large.resize(100_000, 0);
                    large
                },
            ),
        ),
        refused_to(
            "compile-cpu = \"1s\"\n",
            Job::default(),
            refused(
                &[12],
                "compile-cpu-of-a-tenant",
                "COMPILE_TIMEOUT",
                "brings ten functions of 5,000 values that are all alive at once",
                "the tenant's `compile-cpu` (60 s; here 1 s), in the compiler's own process",
                &["at most 1 s of CPU time are allowed"],
                || hard(10),
            ),
        ),
        refused_to(
            "compile-memory = \"24MiB\"\n",
            Job::default(),
            refused(
                &[12],
                "compile-memory-of-a-tenant",
                "COMPILE_MEMORY",
                "brings a function of 5,000 values that are all alive at once",
                "the tenant's `compile-memory` (1 GiB; here 24 MiB), in the compiler's own process",
                &["more than 25165824 bytes"],
                || hard(1),
            ),
        ),
    ]
}
