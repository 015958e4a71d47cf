//! A few threads that do what may wait on a device, for all jobs of the process.
//!
//! Knows nothing of files: a piece of work is asked for one turn at a time and goes to the back of
//! the queue of its account when it wants another, and accounts take turns, so no file, no job and no tenant with any
//! number of them keeps the others waiting for longer than a turn; nor does one have all threads. What has used up its CPU time waits
//! for a while. What is done for an account that gives way is done by threads
//! that give way. Invariants: at most [`THREADS_MAX`] threads in a crew, started when needed; idle threads
//! sleep without periodic wake-ups; a panic inside a turn ends that work only; each turn is paid for by its account.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use tidemill_core::quota::Account;

/// Threads of a crew at most.
pub(crate) const THREADS_MAX: usize = 4;

/// Turns of one account at a time, where there may be several: others find a thread at once.
const RUNNING_MAX: usize = THREADS_MAX / 2;
/// How long work of an account that has used up its CPU time waits at most, and how often it is looked again.
const HELD_MAX: Duration = Duration::from_millis(200);
const HELD_LOOK: Duration = Duration::from_millis(20);

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

/// What is done for an account.
struct Client {
    account: Arc<dyn Account>,
    /// What waits.
    work: VecDeque<Arc<dyn Work>>,
    /// Turns that are being taken.
    running: usize,
    /// Since when its work waits because it has used up its CPU time.
    held_since: Option<Instant>,
}

/// What a thread is to do.
enum Next {
    Take(Arc<dyn Work>),
    /// Nothing until there is more.
    Wait,
    /// Nothing for now: what there is is held.
    WaitShortly,
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
        // As many as there are tenants for which something is done: few.
        let same = |client: &&mut Client| Arc::ptr_eq(&client.account, account);
        match self.clients.iter_mut().find(same) {
            Some(client) => client.work.push_back(work),
            None => {
                let (account, work) = (account.clone(), VecDeque::from([work]));
                self.clients.push_back(Client { account, work, running: 0, held_since: None });
            }
        }
    }

    /// Takes a piece of work of the account whose turn it is, of which no more than so many are to be at work.
    fn pop(&mut self, running_max: usize) -> Next {
        let mut is_any_held = false;
        for _ in 0..self.clients.len() {
            let Some(mut client) = self.clients.pop_front() else { break };
            let may = !client.work.is_empty() && client.running < running_max;
            let is_held = may && client.is_held();
            is_any_held |= is_held;
            let work = if may && !is_held { client.work.pop_front() } else { None };
            client.running += usize::from(work.is_some());
            self.clients.push_back(client);
            if let Some(work) = work {
                self.waiting -= 1;
                return Next::Take(work);
            }
        }
        if is_any_held { Next::WaitShortly } else { Next::Wait }
    }

    /// A turn is over, and what is to follow was pushed; answers whether more of the account waits.
    fn ended(&mut self, account: &Arc<dyn Account>) -> bool {
        let same = |client: &Client| Arc::ptr_eq(&client.account, account);
        let Some(place) = self.clients.iter().position(same) else { return false };
        let client = &mut self.clients[place];
        client.running -= 1;
        let waits = !client.work.is_empty();
        if client.running == 0 && !waits {
            self.clients.remove(place);
        }
        waits
    }
}

impl Client {
    /// Whether its work waits for CPU time; not for ever, since its lanes use up what there is.
    fn is_held(&mut self) -> bool {
        if !self.account.is_held() {
            self.held_since = None;
            return false;
        }
        let since = *self.held_since.get_or_insert_with(Instant::now);
        let is_held = since.elapsed() < HELD_MAX;
        if !is_held {
            self.held_since = None;
        }
        is_held
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
            state.push(work);
            return Ok(());
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
        // Of this account one turn less is at work, and more of it waits.
        let mut freed: Option<Arc<dyn Account>> = None;
        loop {
            let running_max = if GIVE_WAY.get().is_some() { RUNNING_MAX } else { THREADS_MAX };
            let work = match state.pop(running_max) {
                Next::Take(work) => work,
                Next::Wait => {
                    state.idle += 1;
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.idle -= 1;
                    continue;
                }
                Next::WaitShortly => {
                    state.idle += 1;
                    let waited = self.work.wait_timeout(state, HELD_LOOK);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    state.idle -= 1;
                    continue;
                }
            };
            drop(state);
            let account = work.account().clone();
            if freed.take().is_some_and(|freed| !Arc::ptr_eq(&freed, &account)) {
                self.work.notify_one();
            }
            let again = take_turn(&*work) == Turn::Again;
            let kept = if again { self.hand_over(work) } else { None };
            state = lock(&self.state);
            // This thread looks for work next, so nobody need be woken.
            kept.into_iter().for_each(|work| state.push(work));
            freed = state.ended(&account).then_some(account);
        }
    }

    /// Hands work to the other crew, if its account was told otherwise meanwhile; answers what stays here.
    fn hand_over(&self, work: Arc<dyn Work>) -> Option<Arc<dyn Work>> {
        let crew = crew_for(&*work);
        if std::ptr::eq(crew, self) {
            return Some(work);
        }
        // A thread that gives way may have lost its core with the lock: who does not must not wait for it, and tries again after
        // another turn.
        let is_held =
            crew.gives_way && matches!(crew.state.try_lock(), Err(TryLockError::WouldBlock));
        match is_held || crew.submit(work.clone()).is_err() {
            true => Some(work),
            false => None,
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
        let take = |state: &mut State, running_max| match state.pop(running_max) {
            Next::Take(work) => {
                accounts.iter().position(|account| Arc::ptr_eq(account, work.account()))
            }
            Next::Wait | Next::WaitShortly => None,
        };
        let taken: Vec<_> = (0..5).map(|_| take(&mut state, 2)).collect();
        assert_eq!(taken, [Some(0), Some(1), Some(0), Some(1), None], "two turns each at a time");
        assert!(!state.ended(&accounts[1]), "there is no more of the second");
        assert_eq!(take(&mut state, 2), None);
        assert!(state.ended(&accounts[0]));
        assert_eq!(take(&mut state, 2), Some(0));
        assert_eq!(std::iter::from_fn(|| take(&mut state, 1000)).count(), 97);
        assert_eq!((state.waiting, state.clients.len()), (0, 2));
        (0..99).for_each(|_| assert!(!state.ended(&accounts[0])));
        state.ended(&accounts[1]);
        assert_eq!(state.clients.len(), 0);
    }

    /// Whoever it is has used up its CPU time.
    struct Spent;

    impl Account for Spent {
        fn gives_way(&self) -> bool {
            false
        }

        fn pay_for(&self, work: &mut dyn FnMut()) {
            work();
        }

        fn open_files(&self) -> &Arc<tidemill_core::quota::Allowance> {
            unreachable!("nothing is opened")
        }

        fn is_held(&self) -> bool {
            true
        }

        fn employ_thread(self: Arc<Self>) -> Box<dyn std::any::Any> {
            Box::new(())
        }
    }

    #[test]
    fn work_of_one_that_has_used_up_its_cpu_time_waits_for_a_while_and_nobody_elses() {
        let (done, _ends) = mpsc::channel();
        let mut state = State::default();
        for account in [Arc::new(Spent) as Arc<dyn Account>, nobody()] {
            let (left, done) = (AtomicUsize::new(1), done.clone());
            state.push(Arc::new(Countdown { account, left, done }));
        }
        assert!(matches!(state.pop(9), Next::Take(work) if !work.account().is_held()));
        assert!(matches!(state.pop(9), Next::WaitShortly));
        thread::sleep(HELD_MAX);
        assert!(matches!(state.pop(9), Next::Take(work) if work.account().is_held()));
        assert!(matches!(state.pop(9), Next::Wait));
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
