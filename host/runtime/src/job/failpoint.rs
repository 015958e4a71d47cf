//! Named places at which a test can have the process die.
//!
//! Whether one is due is the sandbox's to say ([`is_due`]); here the process is killed (SIGKILL, so nothing is cleaned
//! up). In a build without debug assertions a failpoint is nothing.

use tidemill_sandbox::failpoint::is_due;

/// A place at which a test can have the process die.
#[inline]
pub(crate) fn failpoint(name: &str) {
    if is_due(name) {
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::KILL).ok();
        std::thread::park();
    }
}
