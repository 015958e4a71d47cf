//! The random numbers of one event: splitmix64, a stream of its own for each event.
//!
//! Owns the arithmetic, all of it on wrapping 64-bit integers. Invariant: every draw advances the
//! stream by exactly one number, except letters, which take one for eight.

use crate::connectors::nexmark::room::Room;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finalizer of splitmix64.
#[inline]
pub(in crate::connectors) fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Adds a field to the sum of a record, in order.
#[inline]
pub(in crate::connectors) fn fold(sum: u64, field: u64) -> u64 {
    mix(sum.wrapping_add(field).wrapping_add(GOLDEN))
}

/// A stream of random numbers.
pub(super) struct Rng {
    state: u64,
}

impl Rng {
    /// Stream number `n` of a seed.
    #[inline]
    pub(super) fn start(seed: u64, n: u64) -> Self {
        Self { state: mix(seed.wrapping_add(n.wrapping_add(1).wrapping_mul(GOLDEN))) }
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number below `bound`, which is from 1 to 2^31.
    #[inline]
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }

    /// A price: the number of digits evenly spread, then the price within them.
    #[inline]
    pub(super) fn price(&mut self) -> u64 {
        const POWERS: [u64; 6] = [1, 10, 100, 1_000, 10_000, 100_000];
        let power = POWERS[self.below(6) as usize];
        100 * power + self.below(900 * power)
    }

    /// The length of a text that brings an event of `current` bytes to about `desired`.
    #[inline]
    pub(super) fn padding(&mut self, current: u64, desired: u64) -> usize {
        let Some(missing) = desired.checked_sub(current) else { return 0 };
        let spread = (missing + 2) / 5;
        let more = if spread == 0 { 0 } else { self.below(2 * spread) };
        (missing - spread + more) as usize
    }

    /// Writes lower-case letters.
    #[inline]
    pub(super) fn letters(&mut self, out: &mut Room, count: usize) {
        out.put_words(count, || letters(self.next()));
    }
}

/// Turns each byte b into the letter number b * 26 / 256, all eight at once.
#[inline]
fn letters(random: u64) -> u64 {
    const EVEN: u64 = 0x00FF_00FF_00FF_00FF;
    let even = (((random & EVEN) * 26) >> 8) & EVEN;
    let odd = (((random >> 8) & EVEN) * 26) & !EVEN;
    (even | odd) + 0x6161_6161_6161_6161
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_letters_at_once_are_the_letters_one_by_one() {
        for n in 0..1000 {
            let random = mix(n);
            let one_by_one =
                random.to_le_bytes().map(|byte| b'a' + ((u32::from(byte) * 26) >> 8) as u8);
            assert_eq!(letters(random).to_le_bytes(), one_by_one);
        }
    }

    #[test]
    fn padding_draws_nothing_when_nothing_is_missing() {
        let mut rng = Rng::start(1, 0);
        let before = rng.state;
        assert_eq!((rng.padding(10, 5), rng.padding(7, 7)), (0, 0));
        assert_eq!(rng.padding(6, 7), 1);
        assert_eq!(rng.state, before);
    }
}
