//! Trying many seeds, on all processors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::env::Events;
use crate::trouble::{Violation, violation};
use crate::world::World;

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub violation: Violation,
}

/// Runs one seed. A panic counts as a violation.
///
/// # Errors
/// What an oracle found.
pub fn try_seed(seed: u64) -> Result<Events, Violation> {
    let run = catch_unwind(AssertUnwindSafe(|| World::new(seed).run()));
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(violation("no panic", text.unwrap_or_else(|| "without a message".to_owned())))
    })
}

/// Tries seeds until one fails; answers the sums of all that did not, and the first that did.
pub fn try_seeds(seeds: std::ops::Range<u64>) -> (Events, Option<Failed>) {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let found = Mutex::new((Events::default(), None::<Failed>));
    let work = || {
        while !is_over.load(SeqCst) {
            let seed = next.fetch_add(1, SeqCst);
            if seed >= seeds.end {
                return;
            }
            let outcome = try_seed(seed);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(events) => found.0.add(&events),
                Err(violation) => {
                    is_over.store(true, SeqCst);
                    if found.1.as_ref().is_none_or(|failed| seed < failed.seed) {
                        found.1 = Some(Failed { seed, violation });
                    }
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}
