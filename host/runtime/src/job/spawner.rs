//! Starts threads for those that have given up their priority.
//!
//! A thread has the priority of the one that starts it, and cannot raise its own without privileges. So there is one
//! thread in the process, started before any other gives way, that does nothing but start others.

use std::io;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

type Body = Box<dyn FnOnce() + Send>;

struct Order {
    builder: Builder,
    body: Body,
    started: SyncSender<io::Result<JoinHandle<()>>>,
}

static SPAWNER: OnceLock<Option<Mutex<Sender<Order>>>> = OnceLock::new();

/// Makes sure that [`spawn`] works; to be called by a thread before it gives up its priority. Answers whether it does.
pub(super) fn is_ready() -> bool {
    SPAWNER.get_or_init(start).is_some()
}

fn start() -> Option<Mutex<Sender<Order>>> {
    let (orders, received) = mpsc::channel::<Order>();
    let serve = move || {
        for Order { builder, body, started } in received {
            // Whoever ordered it waits for the answer.
            started.send(builder.spawn(body)).ok();
        }
    };
    match Builder::new().name("tidemill-spawn".to_owned()).spawn(serve) {
        Ok(_) => Some(Mutex::new(orders)),
        Err(error) => {
            tracing::debug!("No thread to start others: {error}.");
            None
        }
    }
}

/// Starts a thread of the process' usual priority.
///
/// # Errors
/// The system gives no thread; the body is dropped then.
pub(super) fn spawn(builder: Builder, body: Body) -> io::Result<JoinHandle<()>> {
    let gone = || io::Error::other("the thread that starts others is gone");
    let orders = SPAWNER.get_or_init(start).as_ref().ok_or_else(gone)?;
    let (started, answer) = mpsc::sync_channel(1);
    let order = Order { builder, body, started };
    orders.lock().unwrap_or_else(PoisonError::into_inner).send(order).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_started_and_can_be_joined() {
        assert!(is_ready());
        let (tell, told) = mpsc::channel();
        let body =
            Box::new(move || tell.send(std::thread::current().name().map(str::to_owned)).unwrap());
        let thread = spawn(Builder::new().name("new".to_owned()), body).unwrap();
        assert_eq!(told.recv().unwrap().as_deref(), Some("new"));
        thread.join().unwrap();
    }
}
