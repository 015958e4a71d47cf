//! What a record that traps costs, with 1,000,000 keys of state: finding it among 4,096 by halving the batch, with
//! a new sandbox after each trap, until all others are processed and out.
//!
//! Prints one line of JSON: `trap_us` for one such batch, `plain_us` for one without, medians over 50 each.

use std::sync::Arc;
use std::time::Instant;

use tidemill_bench::job::{self, BATCH_RECORDS};
use tidemill_core::batch::{Batch, Dictionary, RecordKeys};
use tidemill_core::column::BytesColumn;
use tidemill_core::ids::{NodeId, Now};
use tidemill_core::lane::StepOutcome;
use tidemill_core::poison::{OnPoison, PoisonRules};

const KEYS: usize = 1_000_000;
const ROUNDS: usize = 50;

/// A batch of the keys from `first` on, one of which may be the one that traps.
fn batch(first: usize, bad: Option<usize>) -> Batch {
    let (mut keys, mut values) = (BytesColumn::default(), BytesColumn::default());
    for place in 0..BATCH_RECORDS {
        match bad == Some(place) {
            true => keys.push(b"bad"),
            false => keys.push(((first + place) % KEYS).to_string().as_bytes()),
        }
        values.push(b"");
    }
    let dictionary = Arc::new(Dictionary { keys, hashes: Vec::new() });
    let keys = RecordKeys::Of { dictionary, key_of: Vec::new() };
    Batch { keys, values, timestamps: Vec::new() }
}

fn main() {
    let component = job::component("misbehave");
    let fill = KEYS.div_ceil(BATCH_RECORDS);
    let mut batches: Vec<Batch> = (0..fill).map(|n| batch(n * BATCH_RECORDS, None)).collect();
    for round in 0..ROUNDS {
        batches.push(batch(round * 7919, None));
        batches.push(batch(round * 7919, Some((round * 811) % BATCH_RECORDS)));
    }
    let poison = PoisonRules { on_poison: OnPoison::Skip, limit_per_minute: u32::MAX };
    let factory = job::sandboxes(&component);
    let config = [("mode".to_owned(), "panic".to_owned())];
    let batches = Arc::new(batches);
    let mut lane = job::lane(component.description(), factory, &batches, poison, &config);
    let (mut plain, mut trap) = (Vec::new(), Vec::new());
    let mut at = 0;
    let mut since = Instant::now();
    loop {
        match lane.step(Now::default()).expect("the job does not fail") {
            StepOutcome::Finished => break,
            // The source steps when the operator has nothing left: one batch has come to its end.
            StepOutcome::Progress(NodeId(0)) => {
                if at > fill {
                    let took_us = since.elapsed().as_micros() as u64;
                    if (at - fill) % 2 == 1 { plain.push(took_us) } else { trap.push(took_us) }
                }
                at += 1;
                since = Instant::now();
            }
            _ => {}
        }
    }
    assert_eq!((plain.len(), trap.len()), (ROUNDS, ROUNDS));
    let median = |mut times: Vec<u64>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (plain_us, trap_us) = (median(plain), median(trap));
    println!("{}", serde_json::json!({ "plain_us": plain_us, "trap_us": trap_us }));
}
