//! Attacks on how keys are spread and found: over lanes by their key groups, in tables by the rest of their hashes.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::attack::{Attack, End, Job, Seen};
use crate::guest::Guest;

/// CPU time that counting one record may take in a test build, its lookups included. It was 0.8 and 1.7 us, and 30 us
/// with keys that all fell into one bucket: without a seed, or with a bucket that the key group chose.
const COUNT_US_MAX: f64 = 8.0;
/// Keys that would collide.
const KEYS: u64 = 32_000;
/// An operator that counts the records of each key that comes from `FROM`.
const COUNT: &str = "\n[operators.count]\ncomponent = \"@operators/word_count.wasm\"\nfrom = \"FROM\"\n\
                     config = { emit = \"every\" }\n\
                     [sinks.counts]\nconnector = \"discard\"\nfrom = \"count\"\n";

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[66],
            name: "hash-flood",
            tries: "emits 32,000 keys, which without a seed would be of one key group and in one bucket, into a keyed operator",
            stopped_by: "keys are hashed with a seed of the job's own, which no operator is told: these collide no more than others",
            end: End::Finishes,
            job: Job {
                records: Some(8),
                rate: Some(8),
                operator: COUNT.replace("FROM", "attack"),
                ..Job::default()
            },
            component: flood,
            check: Some(|seen| counts_as_ever(seen, 2 * KEYS)),
            ..Attack::default()
        },
        Attack {
            rows: &[66],
            name: "key-group-flood",
            tries: "finds thousands of keys of one key group by looking which of its keys reach a lane, and floods an operator with them",
            stopped_by: "which lane it reaches tells the key group of a key and not its bucket: one lane of the job's own does \
                         all the work, and finds each key as fast as ever",
            end: End::Finishes,
            job: Job {
                records: Some(100),
                rate: Some(100),
                settings: "parallelism = 8\nkey-groups = 8\n".to_owned(),
                operator: format!(
                    "\n[operators.sieve]\ncomponent = \"attack.wasm\"\nfrom = \"attack\"\n{}",
                    COUNT.replace("FROM", "sieve")
                ),
                ..Job::default()
            },
            component: sieve,
            check: Some(|seen| {
                counts_as_ever(seen, 10_000)?;
                let count = operator(seen, "count");
                let tasks = count["tasks"].as_array().into_iter().flatten();
                let busy = tasks.filter(|task| task["records_in"] != 0).count();
                match (busy, count["keys"].as_u64()) {
                    (1, Some(10_000..)) => Ok(()),
                    (lanes, keys) => Err(format!("{keys:?} keys on {lanes} lanes")),
                }
            }),
            ..Attack::default()
        },
    ]
}

fn operator<'a>(seen: &'a Seen, name: &str) -> &'a Value {
    let operators = seen.report["operators"].as_array().into_iter().flatten();
    operators.into_iter().find(|operator| operator["name"] == name).unwrap_or(&Value::Null)
}

/// That the operator `count` had at least so many records, and took no longer for each than it does for any.
fn counts_as_ever(seen: &Seen, records_min: u64) -> Result<(), String> {
    let count = operator(seen, "count");
    let figure = |name: &str| count[name].as_u64().unwrap_or_default();
    let (records, cpu_us) = (figure("records_in"), figure("cpu_us"));
    let each_us = cpu_us as f64 / records as f64;
    match records >= records_min && each_us < COUNT_US_MAX {
        true => Ok(()),
        false => Err(format!("{records} records were counted in {each_us:.1} us each")),
    }
}

/// What the hash of a key of eight bytes mixes last, undone: each of its steps can be.
fn unmixed(hash: u64) -> u64 {
    const FACTOR: u64 = 0x9fb2_1c65_1e98_df25;
    // Each round doubles how many low bits of the product are 1.
    let inverse = (0..6).fold(1u64, |inverse, _| {
        inverse.wrapping_mul(2u64.wrapping_sub(FACTOR.wrapping_mul(inverse)))
    });
    let mut mixed = hash ^ hash >> 28 ^ hash >> 56;
    mixed = mixed.wrapping_mul(inverse);
    mixed ^= (mixed >> 35).wrapping_add(8);
    mixed = mixed.wrapping_mul(inverse);
    // 64 times over, this step comes back to where it began.
    (0..63).fold(mixed, |bits, _| bits ^ bits.rotate_left(49) ^ bits.rotate_left(24))
}

/// The key of eight bytes that has this hash without a seed.
fn key_of(hash: u64) -> [u8; 8] {
    let secret = unmixed(xxh3_64(&[0; 8]));
    let key = (unmixed(hash) ^ secret).rotate_left(32).to_le_bytes();
    assert_eq!(xxh3_64(&key), hash, "the hash of keys has changed");
    key
}

/// Emits keys whose hashes without a seed differ in bits 16 to 32 only: of the bits that choose the key group these
/// are the low ones, and no others choose a bucket.
fn flood() -> Vec<u8> {
    let keys = (0..KEYS).flat_map(|number| key_of(number << 16));
    let keys: String = keys.map(|byte| format!("\\{byte:02x}")).collect();
    let emit = emit_keys(KEYS);
    Guest::new()
        .pages(9)
        .fields(format!(r#"(data (i32.const 131072) "{keys}")"#))
        .process(emit)
        .build()
}

/// Emits `count` records; the keys of eight bytes that lie at 131072 are their values, too.
fn emit_keys(count: u64) -> String {
    let (ends, bytes) = (131_072 + 8 * count, 8 * count);
    let column =
        format!("(i32.const 131072) (i32.const {bytes}) (i32.const {ends}) (i32.const {count})");
    format!(
        "(local.set $i (i32.const 0))
         (loop $end
           (i32.store (i32.add (i32.const {ends}) (i32.shl (local.get $i) (i32.const 2)))
             (i32.shl (i32.add (local.get $i) (i32.const 1)) (i32.const 3)))
           (br_if $end (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
             (i32.const {count}))))
         (call $emit (i32.const 0) (i32.const 2) {column} (i32.const 0) (i32.const 0) {column}
           (i32.const 0) (i32.const 0))"
    )
}

/// As the operator `attack` it emits numbers as keys; as the operator `sieve` it hands on those that reach its first
/// lane.
fn sieve() -> Vec<u8> {
    const EACH: u64 = 2000;
    Guest::new()
        .pages(4)
        .described(|d| d.keyed = true)
        .fields(
            "(global $is_sieve (mut i32) (i32.const 0))
             (global $lane (mut i32) (i32.const 0))
             (global $next (mut i64) (i64.const 0))",
        )
        // The length of its name is that of `sieve`. Each lane has 32,768 numbers of its own.
        .open(
            "(global.set $is_sieve (i32.eq (local.get 5) (i32.const 5)))
             (global.set $lane (local.get 6))
             (global.set $next (i64.shl (i64.extend_i32_u (local.get 6)) (i64.const 15)))",
        )
        .process(
            "(if (global.get $is_sieve) (then
               (if (i32.eqz (global.get $lane)) (then
                 (call $emit (i32.const 0) (i32.const 1)
                   (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                   (local.get $key_of) (local.get $key_of_count)
                   (local.get $values) (local.get $values_size) (local.get $ends) (local.get $count)
                   (i32.const 0) (i32.const 0))))
               (return (i32.const 64))))",
        )
        .process(format!(
            "(loop $number
               (i64.store (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 3)))
                 (global.get $next))
               (global.set $next (i64.or
                 (i64.and (global.get $next) (i64.const 0x38000))
                 (i64.and (i64.add (global.get $next) (i64.const 1)) (i64.const 0x7fff))))
               (br_if $number (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                 (i32.const {EACH}))))"
        ))
        .process(emit_keys(EACH))
        .build()
}
