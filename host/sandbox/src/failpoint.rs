//! Named places at which a test can have the host fail.
//!
//! `TIDEMILL_FAILPOINT=name:n` in the environment of a build with debug assertions makes the n-th passing of the
//! place [due](is_due): here the host's own code panics, or hangs, in the middle of whatever the thread does; other crates
//! decide for themselves. In any other build a failpoint is nothing.

/// A place at which a test can have the host panic.
#[inline]
pub(crate) fn failpoint(name: &str) {
    assert!(!is_due(name), "the failpoint {name} was passed");
}

/// A place at which a test can have the host hang: the thread that passes never goes on.
#[inline]
pub(crate) fn hangpoint(name: &str) {
    if is_due(name) {
        tracing::warn!("The failpoint {name} was passed.");
        loop {
            std::thread::park();
        }
    }
}

/// Whether the host is to fail at this passing of a place.
#[cfg(not(debug_assertions))]
#[inline]
pub fn is_due(_name: &str) -> bool {
    false
}

/// Whether the host is to fail at this passing of a place.
#[cfg(debug_assertions)]
pub fn is_due(name: &str) -> bool {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

    static WANTED: OnceLock<Option<(String, AtomicI64)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let wanted = std::env::var("TIDEMILL_FAILPOINT").ok()?;
        let (name, count) = wanted.rsplit_once(':')?;
        Some((name.to_owned(), AtomicI64::new(count.parse().ok()?)))
    });
    wanted.as_ref().is_some_and(|(wanted, left)| wanted == name && left.fetch_sub(1, SeqCst) == 1)
}
