//! The canary's latency beside some attacks, in short windows in turn, and what idle sandboxes take. Tests of one file run beside no
//! other file's, and there is one in this: whoever else wants cores then is not of the suite.

use std::path::Path;
use std::time::Duration;

use tidemill_hostile::attack::Attack;
use tidemill_hostile::compare::{compare, turns};
use tidemill_hostile::crowd::SANDBOXES;
use tidemill_hostile::{attacks, trial::Arena};

mod common;

/// A machine that runs tests has other things to do as well.
const TRIES: usize = 4;
const WINDOW: Duration = Duration::from_secs(3);
/// Loop, memory, log and traps.
const ATTACKS: [&str; 4] = ["loop", "memory-touch", "log-flood", "trap-storm"];

/// Whether the canary is in time beside this attack in one of some tries.
fn holds(arena: &Arena, attack: &Attack) -> Result<(), String> {
    let mut tries = Vec::new();
    for _ in 0..TRIES {
        let compared = compare(arena, &turns(&[attack]), WINDOW).remove(0)?;
        if compared.holds() {
            return Ok(());
        }
        tries.push((compared.without.at(0.99), compared.with.at(0.99)));
    }
    Err(format!("{}: p99 in ms without it and with it: {tries:?}", attack.name))
}

#[test]
fn beside_attacks_the_canary_is_in_time_and_a_thousand_idle_sandboxes_take_little() {
    let arena = common::arena(Path::new(env!("CARGO_TARGET_TMPDIR")), "latency-cache");
    let calm = arena.calm().expect("nobody attacks");
    let crowd = arena.crowd(Duration::from_secs(1), false).expect("nobody attacks");
    let each = crowd.resident.saturating_sub(calm.resident) / SANDBOXES as u64;
    assert!(each < 200 << 10, "an idle sandbox takes {each} bytes");
    let all = attacks::all();
    let chosen = all.iter().filter(|attack| ATTACKS.contains(&attack.name));
    let outcomes: Vec<Result<(), String>> = chosen.map(|attack| holds(&arena, attack)).collect();
    assert_eq!(outcomes, [(); ATTACKS.len()].map(Ok));
}
