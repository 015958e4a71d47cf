//! Named places at which a test can have the process die.
//!
//! `TIDEMILL_FAILPOINT=name:n` in the environment of a build with debug assertions kills the process
//! (SIGKILL, so nothing is cleaned up) when the place is passed for the n-th time. In any other build a
//! failpoint is nothing.

/// A place at which a test can have the process die.
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
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::KILL).ok();
        std::thread::park();
    }
}
