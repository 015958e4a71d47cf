//! The one source of chance of the runtime: for identities and seeds, and to keep restarts apart.

use std::hash::{BuildHasher, Hasher, RandomState};

/// 64 bits that nobody could foretell: the system's randomness, by way of the standard library's seeds.
pub(super) fn bits() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// An identity that nobody else has.
pub(super) fn identity() -> String {
    format!("{:016x}{:016x}", bits(), bits())
}

/// A number from 0 up to 1.
pub(super) fn share() -> f64 {
    (bits() >> 11) as f64 / (1u64 << 53) as f64
}
