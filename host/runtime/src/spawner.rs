//! Starts threads: for everybody, and for those that have given up their priority.
//!
//! A thread has the priority of the one that starts it, and cannot raise its own without privileges. So there is one
//! thread in the process, started before any other gives way, that does nothing but start others; until somebody gives
//! way there is none, and none is needed.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread::{Builder, JoinHandle};

use tidemill_sandbox::failpoint::is_due;

/// What begins a thread of this name. In a build with debug assertions a test can have the system give none, by the failpoint
/// `thread NAME`.
///
/// # Errors
/// Such a test wants it.
pub(crate) fn builder(name: &str) -> io::Result<Builder> {
    match is_due(&format!("thread {name}")) {
        true => Err(io::ErrorKind::WouldBlock.into()),
        false => Ok(Builder::new().name(name.to_owned())),
    }
}

type Body = Box<dyn FnOnce() + Send>;

struct Order {
    builder: Builder,
    body: Body,
    started: SyncSender<io::Result<JoinHandle<()>>>,
}

/// Shared without a lock: whoever sends may lose its core in the middle of it, for others to wait for.
static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();

/// Makes sure that [`spawn`] works; to be called by a thread before it gives up its priority. Answers whether it does.
pub(crate) fn is_ready() -> bool {
    // Of two that begin at once one starts a thread that ends again.
    SPAWNER.get().is_some()
        || start().is_some_and(|orders| SPAWNER.set(orders).is_ok() || SPAWNER.get().is_some())
}

fn start() -> Option<Sender<Order>> {
    let (orders, received) = mpsc::channel::<Order>();
    let serve = move || {
        for Order { builder, body, started } in received {
            // Whoever ordered it waits for the answer.
            started.send(builder.spawn(body)).ok();
        }
    };
    match Builder::new().name("tidemill-spawn".to_owned()).spawn(serve) {
        Ok(_) => Some(orders),
        Err(error) => {
            tracing::debug!("No thread to start others: {error}.");
            None
        }
    }
}

/// Starts a thread of the process' usual priority, whatever that of the thread that asks.
///
/// # Errors
/// The system gives no thread; the body is dropped then.
pub(crate) fn spawn(builder: Builder, body: Body) -> io::Result<JoinHandle<()>> {
    let Some(orders) = SPAWNER.get() else {
        return builder.spawn(body);
    };
    let gone = || io::Error::other("the thread that starts others is gone");
    let (started, answer) = mpsc::sync_channel(1);
    let order = Order { builder, body, started };
    orders.send(order).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::{getpriority_process, setpriority_process};
    use rustix::thread::gettid;

    use super::*;

    #[test]
    fn a_thread_that_gave_way_starts_one_of_the_usual_priority() {
        let niceness = || getpriority_process(Some(gettid())).unwrap();
        let usual = niceness();
        assert!(is_ready());
        // This thread is the test's own.
        setpriority_process(Some(gettid()), usual + 1).unwrap();
        let (tell, told) = mpsc::channel();
        let body = Box::new(move || {
            tell.send((thread::current().name().map(str::to_owned), niceness())).unwrap()
        });
        let thread = spawn(Builder::new().name("new".to_owned()), body).unwrap();
        assert_eq!(told.recv().unwrap(), (Some("new".to_owned()), usual));
        thread.join().unwrap();
    }
}
