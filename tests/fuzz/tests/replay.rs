//! Every decoder on thousands of mutated samples, the same ones each time. `MUTATIONS` makes it more.

use tidemill_fuzz::{TARGETS, samples};

/// Chance from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as usize % bound.max(1)
    }

    /// Changes a few places: a bit, a byte, a number at its limits, a piece cut, doubled or moved.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let length = self.below(32).min(bytes.len() - at);
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                2 => bytes[at..at + length].fill([0, 0x7f, 0xff][self.below(3)]),
                3 => drop(bytes.drain(at..at + length)),
                4 => {
                    let piece = bytes[at..at + length].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                5 => bytes.truncate(at),
                _ => bytes.extend_from_slice(&[0; 16]),
            }
        }
    }
}

#[test]
fn no_mutated_file_is_too_much_for_its_decoder() {
    let mutations = std::env::var("MUTATIONS").ok().and_then(|text| text.parse().ok());
    let mutations: u64 = mutations.unwrap_or(20_000);
    for (name, check) in TARGETS {
        for (number, sample) in samples::of(name).into_iter().enumerate() {
            check(&sample);
            for seed in 0..mutations {
                let mut bytes = sample.clone();
                Chance(seed << 8 | number as u64).mutate(&mut bytes);
                let checked = std::panic::catch_unwind(|| check(&bytes));
                assert!(checked.is_ok(), "{name}: sample {number}, seed {seed}");
            }
        }
    }
}
