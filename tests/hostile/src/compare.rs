//! The canary's latency beside attacks and without them, in windows in turn, and what it is held to.
//!
//! Owns which windows there are and in which order. What a window is and what must hold in it is [`trial`](crate::trial)'s.

use std::time::Duration;

use crate::attack::Attack;
use crate::canary::Latencies;
use crate::guest::Guest;
use crate::trial::{Arena, harmless};

/// Attacks that are over at once and are tried in turn in one window: whichever it is, what costs others is that a process
/// begins, reads a file and ends.
const IN_TURN: usize = 8;

/// Attacks that have a window together: one, or some that are over at once.
pub type Turn<'a> = Vec<&'a Attack>;

/// The canary's times without and with an attack.
#[derive(Debug)]
pub struct Compared {
    /// Without.
    pub without: Latencies,
    /// With.
    pub with: Latencies,
}

impl Compared {
    /// Whether the 99th percentile with the attack is at most twice as long as without, or two milliseconds longer.
    pub fn holds(&self) -> bool {
        let (without, with) = (self.without.at(0.99), self.with.at(0.99));
        with <= (2.0 * without).max(without + 2.0)
    }
}

/// The windows that these attacks need.
pub fn turns<'a>(attacks: &[&'a Attack]) -> Vec<Turn<'a>> {
    let (at_once, lasting): (Turn<'a>, Turn<'a>) =
        attacks.iter().partition(|attack| attack.ends_at_once());
    let lasting = lasting.into_iter().map(|attack| vec![attack]);
    lasting.chain(at_once.chunks(IN_TURN).map(<[_]>::to_vec)).collect()
}

/// Twice a window without any attack and then one of each turn; a turn whose window fails gets no other.
pub fn compare(arena: &Arena, turns: &[Turn<'_>], time: Duration) -> Vec<Result<Compared, String>> {
    let calm = harmless(|| Guest::new().build());
    let mut without = Ok(Latencies::default());
    let mut with = vec![Ok(Latencies::default()); turns.len()];
    for round in 0..2 {
        extend(&mut without, || arena.window(&calm, time));
        for (turn, with) in turns.iter().zip(&mut with) {
            extend(with, || match turn[..] {
                [attack] => arena.window(attack, time),
                _ => {
                    // Another one of them is in the canary's process each time.
                    let mut turn = turn.clone();
                    let middle = round * turn.len() / 2;
                    turn.rotate_left(middle);
                    arena.window_in_turn(&turn, time)
                }
            });
        }
    }
    let compared =
        with.into_iter().map(|with| Ok(Compared { without: without.clone()?, with: with? }));
    compared.collect()
}

/// Adds the times of another window, unless an earlier one failed.
fn extend(
    times: &mut Result<Latencies, String>,
    window: impl FnOnce() -> Result<Latencies, String>,
) {
    let Ok(so_far) = times else { return };
    match window() {
        Ok(more) => so_far.ms.extend(more.ms),
        Err(problem) => *times = Err(problem),
    }
}
