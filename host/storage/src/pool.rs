//! A few threads that do what may wait on a device, for all jobs of the process.
//!
//! Knows nothing of files: a piece of work is asked for one turn at a time and goes to the back of
//! the queue of its account when it wants another, and accounts take turns, so no file, no job and no tenant with any
//! number of them keeps the others waiting for longer than a turn. What is done for an account that gives way is done by threads
//! that give way. Invariants: at most [`THREADS_MAX`] threads in a crew, started when needed; idle threads
//! sleep without periodic wake-ups; a panic inside a turn ends that work only; each turn is paid for by its account.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use tidemill_core::quota::Account;

/// Threads of a crew at most.
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

    /// Whom it is done for; always the same.
    fn account(&self) -> &Arc<dyn Account>;
}

/// What waits for an account.
struct Client {
    account: Arc<dyn Account>,
    /// Never empty.
    work: VecDeque<Arc<dyn Work>>,
}

#[derive(Default)]
struct State {
    /// Whose turn is next comes first.
    clients: VecDeque<Client>,
    waiting: usize,
    threads: usize,
    idle: usize,
}

/// Threads of one priority, and what they are to do.
struct Crew {
    name: &'static str,
    gives_way: bool,
    state: Mutex<State>,
    work: Condvar,
}

/// Of the process' usual priority.
static USUAL: Crew = Crew::new("io", false);
/// Its threads give way to all others.
static LAST: Crew = Crew::new("io-last", true);
/// How a thread gives way; until this is known all work is done by the usual ones.
static GIVE_WAY: OnceLock<fn() -> bool> = OnceLock::new();

/// Locks whatever a panic may have left behind: no holder panics between two related changes.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Queues a piece of work.
///
/// # Errors
/// There is no thread and none can be started; the work is not queued then.
pub(crate) fn submit(work: Arc<dyn Work>) -> io::Result<()> {
    crew_for(&*work).submit(work)
}

/// Starts all threads now. Those that are started later have the priority of whoever happens to need them first, which may be
/// that of a lane that gives way; they serve all jobs. `give_way` has a thread give way to all others.
pub fn start(give_way: fn() -> bool) {
    GIVE_WAY.set(give_way).ok();
    USUAL.start();
    LAST.start();
}

fn crew_for(work: &dyn Work) -> &'static Crew {
    match GIVE_WAY.get() {
        Some(_) if work.account().gives_way() => &LAST,
        _ => &USUAL,
    }
}

impl State {
    fn push(&mut self, work: Arc<dyn Work>) {
        let account = work.account();
        self.waiting += 1;
        // As many as there are tenants whose work waits: few.
        let same = |client: &&mut Client| Arc::ptr_eq(&client.account, account);
        match self.clients.iter_mut().find(same) {
            Some(client) => client.work.push_back(work),
            None => {
                let account = account.clone();
                self.clients.push_back(Client { account, work: VecDeque::from([work]) });
            }
        }
    }

    fn pop(&mut self) -> Option<Arc<dyn Work>> {
        let mut client = self.clients.pop_front()?;
        let work = client.work.pop_front();
        self.waiting -= usize::from(work.is_some());
        if !client.work.is_empty() {
            self.clients.push_back(client);
        }
        work
    }
}

impl Crew {
    const fn new(name: &'static str, gives_way: bool) -> Self {
        let state = State { clients: VecDeque::new(), waiting: 0, threads: 0, idle: 0 };
        Self { name, gives_way, state: Mutex::new(state), work: Condvar::new() }
    }

    fn submit(&'static self, work: Arc<dyn Work>) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.threads == 0 {
            self.hire(&mut state)?;
        }
        state.push(work);
        if state.waiting <= state.idle {
            // Whoever wakes up needs the lock, and may take the core of this thread.
            drop(state);
            self.work.notify_one();
        } else if state.threads < THREADS_MAX {
            // Without another one those that are there will come to it.
            self.hire(&mut state).ok();
        }
        Ok(())
    }

    fn start(&'static self) {
        let mut state = lock(&self.state);
        // Without a thread the next piece of work tries again, and says so.
        while state.threads < THREADS_MAX && self.hire(&mut state).is_ok() {}
    }

    fn hire(&'static self, state: &mut State) -> io::Result<()> {
        let name = format!("tidemill-{}-{}", self.name, state.threads);
        let body = || {
            if let (true, Some(give_way)) = (self.gives_way, GIVE_WAY.get()) {
                give_way();
            }
            self.serve();
        };
        thread::Builder::new().name(name).spawn(body)?;
        state.threads += 1;
        Ok(())
    }

    fn serve(&'static self) {
        let mut state = lock(&self.state);
        loop {
            let Some(work) = state.pop() else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            drop(state);
            if take_turn(&*work) == Turn::Again {
                // Its account may have been told otherwise meanwhile. The other crew has threads, if this is not the one.
                crew_for(&*work).submit(work).ok();
            }
            state = lock(&self.state);
        }
    }
}

fn take_turn(work: &dyn Work) -> Turn {
    let turn = catch_unwind(AssertUnwindSafe(|| {
        let mut turn = Turn::Done;
        work.account().pay_for(&mut || turn = work.turn());
        turn
    }));
    turn.unwrap_or_else(|_| {
        work.died();
        Turn::Done
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use tidemill_core::quota::Unmetered;

    use super::*;

    fn nobody() -> Arc<dyn Account> {
        Arc::<Unmetered>::default()
    }

    struct Countdown {
        account: Arc<dyn Account>,
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

        fn account(&self) -> &Arc<dyn Account> {
            &self.account
        }
    }

    #[test]
    fn accounts_take_turns_however_much_work_one_of_them_has() {
        let (done, _ends) = mpsc::channel();
        let mut state = State::default();
        let accounts = [nobody(), nobody()];
        for (account, pieces) in accounts.iter().zip([100, 2]) {
            for _ in 0..pieces {
                let (left, account) = (AtomicUsize::new(1), account.clone());
                state.push(Arc::new(Countdown { account, left, done: done.clone() }));
            }
        }
        let mut next = || {
            let work = state.pop()?;
            accounts.iter().position(|account| Arc::ptr_eq(account, work.account()))
        };
        assert_eq!(
            [next(), next(), next(), next(), next()],
            [Some(0), Some(1), Some(0), Some(1), Some(0)]
        );
        assert_eq!(std::iter::from_fn(next).count(), 97);
        assert_eq!(state.waiting, 0);
    }

    #[test]
    fn every_work_gets_its_turns_and_a_panic_ends_only_its_own() {
        let (done, ends) = mpsc::channel();
        for left in 0..20 {
            let (left, account) = (AtomicUsize::new(left), nobody());
            let work = Countdown { account, left, done: done.clone() };
            submit(Arc::new(work)).unwrap();
        }
        drop(done);
        let mut ends: Vec<&str> = (0..20).map(|_| ends.recv().unwrap()).collect();
        ends.sort_unstable();
        assert_eq!((ends[0], ends[19]), ("died", "done"));
        assert_eq!(ends.iter().filter(|end| **end == "died").count(), 1);
    }
}
