//! Whether a checksum that was read is the one that was computed.
//!
//! Owns a switch that lets fuzzers past checksums, which they cannot guess, into the decoders behind. Without the
//! feature `planted-bugs`, which no product enables, this is the comparison and nothing else.

/// Whether a checksum is accepted, given whether it is equal.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn holds(is_equal: bool) -> bool {
    is_equal
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    static ARE_IGNORED: AtomicBool = AtomicBool::new(false);

    /// Whether a checksum is accepted, given whether it is equal.
    #[inline]
    pub(crate) fn holds(is_equal: bool) -> bool {
        is_equal || ARE_IGNORED.load(Relaxed)
    }

    /// Has all decoders of the process accept any checksum, or no longer.
    pub fn ignore(are_ignored: bool) {
        ARE_IGNORED.store(are_ignored, Relaxed);
    }
}

#[cfg(feature = "planted-bugs")]
pub(crate) use switch::holds;
#[cfg(feature = "planted-bugs")]
pub use switch::ignore;
