//! Attacks on keyed state: too much of it, odd keys, and what belongs to others.

use crate::attack::{Attack, End, Job, storm};
use crate::guest::Guest;

/// Writes one entry of the map 0 of slot 0: a key of `key` bytes at 65536, a value of `value` bytes at 65536.
pub(super) fn write_entry(key: &str, value: &str) -> String {
    format!(
        "(i32.store (i32.const 256) (i32.const 0))
         (i32.store (i32.const 272) {key})
         (i32.store (i32.const 280) (i32.const 1))
         (i32.store (i32.const 288) {value})
         (call $map_write (i32.const 0)
           (i32.const 256) (i32.const 1)
           (i32.const 65536) {key} (i32.const 272) (i32.const 1)
           (i32.const 280) (i32.const 1)
           (i32.const 65536) {value} (i32.const 288) (i32.const 1))"
    )
}

/// Scans the map 0 of slot 0 from its beginning to its end; the answer lies at 256: keys' data and ends, values'
/// data and ends, whether there are more.
fn scan(limit: u32) -> String {
    format!(
        "(call $map_scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {limit}) (i32.const 256))"
    )
}

fn with_map() -> Guest {
    Guest::new().pages(40).described(|d| d.state("map", 2))
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = hoarding();
    attacks.extend(odd_values());
    attacks.extend(of_others());
    attacks
}

fn hoarding() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[33],
            name: "hoard-in-a-call",
            tries: "writes entries of 1 MiB under ever new keys in one call",
            stopped_by: "64 MiB of state writes that one call may hold back (here 8 MiB)",
            code: "OVERLAY_LIMIT",
            job: Job { operator: "limits = { overlay = \"8MiB\" }\n".to_owned(), ..Job::default() },
            component: || {
                let write = write_entry("(i32.const 4)", "(i32.const 1048576)");
                with_map()
                    .process(format!(
                        "(loop $more
                           (i32.store (i32.const 65536) (local.tee $i (i32.add (local.get $i) (i32.const 1))))
                           {write} (br $more))"
                    ))
                    .build()
            },
            storm: Some(storm(20)),
            ..Attack::default()
        },
        Attack {
            rows: &[33],
            name: "hoard-over-calls",
            tries: "writes entries under ever new keys, a few in each call, for ever",
            stopped_by: "the task's quota of state (1 GiB; here lowered to 1 MiB)",
            code: "STATE_QUOTA",
            job: Job {
                records: None,
                rate: Some(2000),
                operator: "limits = { state = \"1MiB\" }\n".to_owned(),
                ..Job::default()
            },
            component: || {
                let write = write_entry("(i32.const 4)", "(i32.const 10000)");
                with_map()
                    .fields("(global $n (mut i32) (i32.const 0))")
                    .process(format!(
                        "(global.set $n (i32.add (global.get $n) (i32.const 1)))
                         (i32.store (i32.const 65536) (global.get $n)) {write}"
                    ))
                    .build()
            },
            // With all of its 1 GiB, which take it a minute.
            storm: Some(Job { records: None, rate: Some(2000), ..Job::default() }),
            storm_goes_on: true,
            ..Attack::default()
        },
        Attack {
            rows: &[33],
            name: "read-wide-values",
            tries: "reads the values of 1 MiB each of 512 keys at once, none of which it ever wrote",
            stopped_by: "a call is made with as many keys as have 8 MiB of values to be read: those that are not there count as well",
            end: End::Finishes,
            job: Job { records: Some(512), keys: 1 << 31, ..Job::default() },
            component: || {
                Guest::new()
                    .pages(40)
                    .described(|d| d.wide_state("wide", 1 << 20))
                    .process("(global.set $heap (i32.const 131072))")
                    .process("(call $value_read (i32.const 0) (i32.const 256))")
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[35],
            name: "unfinished-scans",
            tries: "begins scans of a map without end and finishes none",
            stopped_by: "a scan is a page that is copied: the host keeps no iterator",
            end: End::Finishes,
            job: Job { records: Some(50), rate: Some(100), ..Job::default() },
            component: || {
                let fill = format!(
                    "(loop $more
                       (i32.store (i32.const 65536) (local.tee $i (i32.add (local.get $i) (i32.const 1))))
                       {} (br_if $more (i32.lt_u (local.get $i) (i32.const 1000))))",
                    write_entry("(i32.const 4)", "(i32.const 10)")
                );
                with_map()
                    .process(fill)
                    .process(format!(
                        "(local.set $i (i32.const 0))
                         (loop $more {}
                           (if (i32.eqz (i32.load8_u (i32.const 288))) (then unreachable))
                           (global.set $heap (i32.const 131072))
                           (br_if $more (i32.lt_u
                             (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))",
                        scan(1)
                    ))
                    .build()
            },
            ..Attack::default()
        },
    ]
}

fn odd_values() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[34],
            name: "giant-map-key",
            tries: "writes an entry whose key has 2 MiB",
            stopped_by: "1 MiB for a state item or a key of a map",
            code: "ITEM_TOO_LARGE",
            component: || {
                with_map().process(write_entry("(i32.const 2097152)", "(i32.const 1)")).build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[34],
            name: "empty-map-key",
            tries: "writes and reads an entry with an empty key and an empty value",
            stopped_by: "keys are bytes with a length: an empty one is a key like others",
            end: End::Finishes,
            component: || {
                with_map()
                    .process(write_entry("(i32.const 0)", "(i32.const 0)"))
                    .process(scan(10))
                    .process(
                        "(if (i32.ne (i32.load (i32.const 268)) (i32.const 1)) (then unreachable))",
                    )
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[34],
            name: "misshapen-column",
            tries: "hands over a column whose ends lie behind its data",
            stopped_by: "ends, widths and presence of a column are checked before use",
            code: "BAD_COLUMN",
            component: || {
                with_map()
                    .process(
                        "(i32.store (i32.const 256) (i32.const 0))
                         (i32.store (i32.const 272) (i32.const -1))
                         (i32.store (i32.const 280) (i32.const 1))
                         (call $map_write (i32.const 0) (i32.const 256) (i32.const 1)
                           (i32.const 65536) (i32.const 8) (i32.const 272) (i32.const 1)
                           (i32.const 280) (i32.const 1)
                           (i32.const 65536) (i32.const 8) (i32.const 272) (i32.const 1))",
                    )
                    .build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
    ]
}

fn of_others() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[44],
            name: "keys-of-others",
            tries: "looks in states of the same name for what another tenant's job keeps under the same keys",
            stopped_by: "state belongs to a task: tenant, job, operator and lane are the host's to say",
            end: End::Finishes,
            job: Job { records: Some(2000), rate: Some(2000), ..Job::default() },
            component: || {
                // `count` is the state of the job beside; keys are what its records carry.
                Guest::new()
                    .described(|d| d.state("count", 2))
                    .process(scan(100))
                    .process("(if (i32.load (i32.const 268)) (then unreachable))")
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[44],
            name: "slots-of-others",
            tries: "addresses state by slots that its batch does not have",
            stopped_by: "slots are indices into the keys of the batch at hand, and checked",
            code: "BAD_SLOT",
            component: || {
                with_map().process("(call $map_clear (i32.const 0) (i32.const 100000))").build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
        Attack {
            rows: &[46],
            name: "states-of-others",
            tries: "addresses a state that its description does not have",
            stopped_by: "indices are looked up in the description",
            code: "UNKNOWN_INDEX",
            component: || {
                with_map().process("(call $map_clear (i32.const 77) (i32.const 0))").build()
            },
            storm: Some(storm(500)),
            ..Attack::default()
        },
    ]
}
