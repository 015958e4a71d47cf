//! Named places at which a test can have the host's own code panic.
//!
//! `TIDEMILL_FAILPOINT=name:n` in the environment of a build with debug assertions makes the n-th passing of the
//! place panic, in the middle of whatever the thread does. In any other build a failpoint is nothing.

/// A place at which a test can have the host panic.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn failpoint(_name: &str) {}

#[cfg(debug_assertions)]
pub(crate) fn failpoint(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

    static WANTED: OnceLock<Option<(String, AtomicI64)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let wanted = std::env::var("TIDEMILL_FAILPOINT").ok()?;
        let (name, count) = wanted.rsplit_once(':')?;
        Some((name.to_owned(), AtomicI64::new(count.parse().ok()?)))
    });
    if let Some((wanted, left)) = wanted
        && wanted == name
        && left.fetch_sub(1, SeqCst) == 1
    {
        panic!("the failpoint {name} was passed");
    }
}
