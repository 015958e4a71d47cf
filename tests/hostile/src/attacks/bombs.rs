//! Attacks on the compiler: components that are small to send and hard to read or compile.

use std::fmt::Write as _;

use super::admission::{bringing, leb, refused, text};
use crate::attack::{Attack, End, Job};
use crate::guest::Guest;

pub(super) const STRUCTURE: &str = "limits on what a component is made of, before it is compiled";

/// Each component within the next.
fn nested(depth: usize) -> Vec<u8> {
    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
    (0..depth).fold(HEADER.to_vec(), |inner, _| [HEADER, &[4], &leb(inner.len()), &inner].concat())
}

/// Functions of 5,000 values, all of them alive at once.
pub(super) fn hard(functions: usize) -> Vec<u8> {
    let get: String = (0..5000).fold(String::new(), |mut text, n| {
        write!(text, "(i64.load offset={} (i32.const 0))", n * 8).expect("text grows");
        text
    });
    let function = format!("(func (result i64) {get} {})", "i64.add ".repeat(4999));
    Guest::new().fields(function.repeat(functions)).build()
}

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        refused(
            &[58],
            "nested",
            "STRUCTURE_LIMIT",
            "nests 1,000 components into each other",
            "depth of nesting",
            &["refused"],
            || nested(1000),
        ),
        refused(
            &[58],
            "exploding-types",
            "INVALID_COMPONENT",
            "types that double twenty times over",
            "size of a type",
            &["refused"],
            || {
                let mut component = "(component (type $t0 (tuple u8 u8))".to_owned();
                for n in 1..40 {
                    let before = n - 1;
                    write!(component, "(type $t{n} (tuple $t{before} $t{before}))")
                        .expect("text grows");
                }
                text(&(component + ")"))
            },
        ),
        refused(
            &[12],
            "deep-loops",
            "STRUCTURE_LIMIT",
            "nests 11,000 loops, for which compilers need quadratic time",
            STRUCTURE,
            &["block-depth"],
            || {
                let (open, close) = ("(loop ".repeat(11_000), ")".repeat(11_000));
                Guest::new().fields(format!("(func {open} {close})")).build()
            },
        ),
        refused(
            &[12],
            "giant-function",
            "STRUCTURE_LIMIT",
            "brings one function of 2 MiB",
            STRUCTURE,
            &["body-bytes"],
            || {
                let body = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))".repeat(300_000);
                Guest::new().fields(format!("(func (local i32) {body})")).build()
            },
        ),
        refused(
            &[12],
            "many-locals",
            "STRUCTURE_LIMIT",
            "brings a function with 40,000 locals",
            STRUCTURE,
            &["locals"],
            || {
                let locals = "i64 ".repeat(40_000);
                Guest::new().fields(format!("(func (local {locals}))")).build()
            },
        ),
        refused(
            &[12, 14],
            "too-many-functions",
            "STRUCTURE_LIMIT",
            "brings 60,000 functions",
            STRUCTURE,
            &["functions"],
            || Guest::new().fields("(func)".repeat(60_000)).build(),
        ),
        refused(
            &[14],
            "instances-that-copy",
            "STRUCTURE_LIMIT",
            "instantiates a module 55 times, of which each copies 95,000 functions to be used later",
            "what the host keeps for the instances of a sandbox, which is no memory of the guest: 4 MiB",
            &["instance-bytes"],
            || {
                let elements = "0 ".repeat(95_000);
                let instances = "(core instance (instantiate $m))".repeat(55);
                text(&format!(
                    "(component (core module $m (func) (elem func {elements})) {instances})"
                ))
            },
        ),
        refused(
            &[14],
            "instances-behind-exports",
            "STRUCTURE_LIMIT",
            "exports a small module before it instantiates a large one 55 times, so that who counts modules by their place takes one for the other",
            "what the host keeps for the instances of a sandbox, which is no memory of the guest: 4 MiB",
            &["instance-bytes"],
            || {
                let elements = "0 ".repeat(95_000);
                let instances = "(core instance (instantiate $big))".repeat(55);
                text(&format!(
                    "(component (component $c (core module $small) (export \"s\" (core module $small))
                       (core module $big (func) (elem func {elements})) {instances})
                     (instance (instantiate $c)))"
                ))
            },
        ),
        refused(
            &[14, 58],
            "instances-in-instances",
            "STRUCTURE_LIMIT",
            "instantiates a component 60 times, of which each does so with another 64 times, and that with a third",
            "what the host keeps for the instances of a sandbox, which is no memory of the guest: 4 MiB",
            &["instance-bytes"],
            || {
                let times = |count: usize, name: &str| {
                    format!("(instance (instantiate ${name}))").repeat(count)
                };
                let (a, b, c) = (times(60, "a"), times(64, "b"), times(64, "c"));
                text(&format!(
                    "(component (component $a (component $b (component $c) {c}) {b}) {a})"
                ))
            },
        ),
        refused(
            &[17],
            "many-tables",
            "STRUCTURE_LIMIT",
            "brings 90 tables",
            STRUCTURE,
            &["tables"],
            || Guest::new().fields("(table 1 funcref)".repeat(90)).build(),
        ),
        refused(
            &[17],
            "many-instances",
            "STRUCTURE_LIMIT",
            "brings 1,000 instances of a module",
            STRUCTURE,
            &["core-instances"],
            || {
                bringing(&format!(
                    "(component (core module $m) {})",
                    "(core instance (instantiate $m))".repeat(1000)
                ))
            },
        ),
        Attack {
            rows: &[12],
            name: "hard-to-allocate",
            tries: "brings a function just within the limits whose 5,000 values are all alive at once",
            stopped_by: "60 s of CPU time and 1 GiB of memory for a compilation, in a child process of its own",
            end: End::Finishes,
            component: || hard(1),
            ..Attack::default()
        },
        Attack {
            rows: &[12, 14],
            name: "many-functions",
            tries: "brings 9,000 functions to be compiled",
            stopped_by: "components are compiled in a child process, on one core and one at a time",
            end: End::Finishes,
            job: Job::default(),
            component: || {
                let function = "(func (param i64 i64) (result i64) (i64.add (i64.mul (local.get 0)
                    (local.get 1)) (i64.xor (local.get 0) (i64.rotl (local.get 1) (i64.const 7)))))";
                Guest::new().fields(function.repeat(9_000)).build()
            },
            ..Attack::default()
        },
    ]
}
