//! A few threads that do what may wait on a device, for all jobs of the process.
//!
//! Knows nothing of files: a piece of work is asked for one turn at a time and goes to the back of
//! the queue when it wants another, so no file and no job can keep the others waiting for longer
//! than a turn. Invariants: at most [`THREADS_MAX`] threads, started when needed; idle threads
//! sleep without periodic wake-ups; a panic inside a turn ends that work only.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// I/O threads of the process at most.
pub(crate) const THREADS_MAX: usize = 4;

/// Whether a piece of work wants another turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Again,
    Done,
}

/// Something that is done in turns. The pool runs one turn of a piece of work at a time as long as
/// it is submitted only when it is not submitted already.
pub(crate) trait Work: Send + Sync {
    /// Does a bounded amount, such as reading one chunk.
    fn turn(&self) -> Turn;

    /// A turn panicked; there will be no other.
    fn died(&self);
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<dyn Work>>,
    threads: usize,
    idle: usize,
}

struct Pool {
    state: Mutex<State>,
    work: Condvar,
}

static POOL: Pool = Pool {
    state: Mutex::new(State { waiting: VecDeque::new(), threads: 0, idle: 0 }),
    work: Condvar::new(),
};

/// Locks whatever a panic may have left behind: no holder panics between two related changes.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Queues a piece of work.
///
/// # Errors
/// There is no thread and none can be started; the work is not queued then.
pub(crate) fn submit(work: Arc<dyn Work>) -> io::Result<()> {
    let mut state = lock(&POOL.state);
    state.waiting.push_back(work);
    if state.waiting.len() <= state.idle {
        // Whoever wakes up needs the lock, and may take the core of this thread.
        drop(state);
        POOL.work.notify_one();
    } else if state.threads < THREADS_MAX {
        let name = format!("tidemill-io-{}", state.threads);
        match thread::Builder::new().name(name).spawn(serve) {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads == 0 => {
                state.waiting.pop_back();
                return Err(error);
            }
            // The threads that are there will come to it.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Starts all threads now. Those that are started later have the priority of whoever happens to need them first, which may be
/// that of a lane that gives way; they serve all jobs.
pub fn start() {
    let mut state = lock(&POOL.state);
    while state.threads < THREADS_MAX {
        let name = format!("tidemill-io-{}", state.threads);
        // Without a thread the next piece of work tries again, and says so.
        let Ok(_) = thread::Builder::new().name(name).spawn(serve) else { return };
        state.threads += 1;
    }
}

fn serve() {
    let mut state = lock(&POOL.state);
    loop {
        let Some(work) = state.waiting.pop_front() else {
            state.idle += 1;
            state = POOL.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            continue;
        };
        drop(state);
        let turn = catch_unwind(AssertUnwindSafe(|| work.turn())).unwrap_or_else(|_| {
            work.died();
            Turn::Done
        });
        state = lock(&POOL.state);
        if turn == Turn::Again {
            state.waiting.push_back(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    struct Countdown {
        left: AtomicUsize,
        done: mpsc::Sender<&'static str>,
    }

    impl Work for Countdown {
        fn turn(&self) -> Turn {
            match self.left.fetch_sub(1, Ordering::Relaxed) {
                0 => panic!("no turn is left"),
                1 => {
                    self.done.send("done").ok();
                    Turn::Done
                }
                _ => Turn::Again,
            }
        }

        fn died(&self) {
            self.done.send("died").ok();
        }
    }

    #[test]
    fn every_work_gets_its_turns_and_a_panic_ends_only_its_own() {
        let (done, ends) = mpsc::channel();
        for left in 0..20 {
            let work = Countdown { left: AtomicUsize::new(left), done: done.clone() };
            submit(Arc::new(work)).unwrap();
        }
        drop(done);
        let mut ends: Vec<&str> = (0..20).map(|_| ends.recv().unwrap()).collect();
        ends.sort_unstable();
        assert_eq!((ends[0], ends[19]), ("died", "done"));
        assert_eq!(ends.iter().filter(|end| **end == "died").count(), 1);
    }
}
