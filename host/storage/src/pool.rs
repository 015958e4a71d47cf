//! A few threads that do what may wait on a device, for all jobs of the process.
//!
//! Knows nothing of files: a piece of work is asked for one turn at a time and goes to the back of
//! the queue of its account when it wants another, and accounts take turns, so no file, no job and no tenant with any
//! number of them keeps the others waiting for longer than a turn; nor does one have all threads. Each turn of what has used up its
//! CPU time waits for a while. What is done for an account that gives way is done by threads
//! that give way. Invariants: at most [`THREADS_MAX`] threads in a crew, started when needed; idle threads
//! sleep without periodic wake-ups, and not while there is work that may be done; a panic inside a turn ends that work only; each turn
//! is paid for by its account; no work is dropped under a lock, and nobody waits for the lock of threads that give way.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use tidemill_core::quota::Account;

/// Threads of a crew at most.
pub(crate) const THREADS_MAX: usize = 4;

/// Turns of one account at a time, where there are several: others find a thread at once.
const RUNNING_MAX: usize = THREADS_MAX / 2;
/// How long a turn of an account that has used up its CPU time waits at most, and how often it is looked again. Not for long, for its
/// lanes use up what there is as soon as there is any, and checkpoints wait for these turns. They are charged all the same, so that the lanes wait.
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
    /// What waits, and since when.
    work: VecDeque<(Instant, Arc<dyn Work>)>,
    /// Turns that are being taken.
    running: usize,
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
/// Without them all work is done by the usual threads.
static RULES: OnceLock<Rules> = OnceLock::new();

/// For a process with several jobs.
struct Rules {
    /// How a thread gives way.
    give_way: fn() -> bool,
    /// Turns of one account at a time.
    running_max: usize,
}

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
/// that of a lane that gives way; they serve all jobs. `give_way` has a thread give way to all others. Where there are
/// `several_accounts`, none of them has all threads.
pub fn start(give_way: fn() -> bool, several_accounts: bool) {
    let running_max = if several_accounts { RUNNING_MAX } else { THREADS_MAX };
    RULES.set(Rules { give_way, running_max }).ok();
    USUAL.start();
    LAST.start();
}

/// To be called when an account was told that it need not give way any more: what waits for it goes to the usual threads. Answers
/// whether it was done; if not, a thread that gives way was in the middle of something, and it is to be called again.
pub fn recall() -> bool {
    let Some(mut state) = LAST.try_lock() else { return false };
    let recalled = state.take_recalled();
    drop(state);
    for work in recalled {
        if USUAL.submit(work.clone()).is_err() {
            // There is no usual thread at all; those of low priority are there, for they had it.
            LAST.submit(work).ok();
        }
    }
    true
}

/// Takes back a piece of work that nobody wants any more, if it waits for a turn; answers whether it did. One that is taking a turn,
/// or is handed from one crew to the other at this moment, has another turn; and so has one of a crew that is in the middle of something.
pub(crate) fn withdraw(work: &Arc<dyn Work>) -> bool {
    let in_usual = lock(&USUAL.state).withdraw(work);
    // Dropped without any lock.
    in_usual.is_some() || LAST.try_lock().and_then(|mut state| state.withdraw(work)).is_some()
}

fn crew_for(work: &dyn Work) -> &'static Crew {
    match RULES.get() {
        Some(_) if work.account().gives_way() => &LAST,
        _ => &USUAL,
    }
}

impl State {
    /// Queues a piece of work; answers whether its account may have another turn at work, of so many.
    fn push(&mut self, work: Arc<dyn Work>, running_max: usize) -> bool {
        let account = work.account();
        self.waiting += 1;
        // As many as there are tenants for which something is done: few.
        let same = |client: &&mut Client| Arc::ptr_eq(&client.account, account);
        match self.clients.iter_mut().find(same) {
            Some(client) => {
                client.work.push_back((Instant::now(), work));
                client.running < running_max
            }
            None => {
                let (account, work) = (account.clone(), VecDeque::from([(Instant::now(), work)]));
                self.clients.push_back(Client { account, work, running: 0 });
                true
            }
        }
    }

    /// Takes this piece out, if it waits.
    fn withdraw(&mut self, work: &Arc<dyn Work>) -> Option<Arc<dyn Work>> {
        let same = |client: &Client| Arc::ptr_eq(&client.account, work.account());
        let at = self.clients.iter().position(same)?;
        let client = &mut self.clients[at];
        let place = client.work.iter().position(|(_, other)| Arc::ptr_eq(other, work))?;
        let (_, found) = client.work.remove(place)?;
        self.waiting -= 1;
        self.drop_if_idle(at);
        Some(found)
    }

    /// Takes out what waits for accounts that do not give way.
    fn take_recalled(&mut self) -> Vec<Arc<dyn Work>> {
        let mut recalled = Vec::new();
        for client in self.clients.iter_mut().filter(|client| !client.account.gives_way()) {
            recalled.extend(client.work.drain(..).map(|(_, work)| work));
        }
        self.waiting -= recalled.len();
        self.clients.retain(|client| client.running > 0 || !client.work.is_empty());
        recalled
    }

    /// Forgets an account for which there is nothing to do.
    fn drop_if_idle(&mut self, at: usize) {
        let Client { running, work, .. } = &self.clients[at];
        if *running == 0 && work.is_empty() {
            self.clients.remove(at);
        }
    }

    /// Whether a thread that sleeps should look for work, too. Each thread that finds some sees to that before it begins, so
    /// one that is woken is enough for any number of pieces.
    fn wants_another(&self, running_max: usize) -> bool {
        let may = |client: &Client| !client.work.is_empty() && client.running < running_max;
        self.idle > 0 && self.clients.iter().any(may)
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
            if let Some((_, work)) = work {
                self.waiting -= 1;
                return Next::Take(work);
            }
        }
        if is_any_held { Next::WaitShortly } else { Next::Wait }
    }

    /// A turn is over, and what is to follow was pushed.
    fn ended(&mut self, account: &Arc<dyn Account>) {
        let same = |client: &Client| Arc::ptr_eq(&client.account, account);
        if let Some(at) = self.clients.iter().position(same) {
            self.clients[at].running -= 1;
            self.drop_if_idle(at);
        }
    }
}

impl Client {
    /// Whether its oldest piece of work waits for CPU time.
    fn is_held(&self) -> bool {
        let is_fresh = |(since, _): &(Instant, Arc<dyn Work>)| since.elapsed() < HELD_MAX;
        self.account.is_held() && self.work.front().is_some_and(is_fresh)
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
            state.push(work, running_max());
            return Ok(());
        }
        // What waits for turns of its own account, however much it is, says nothing of whether others find a thread.
        let may = state.push(work, running_max());
        if state.waiting > state.idle && state.threads < THREADS_MAX {
            // Without another one those that are there will come to it.
            self.hire(&mut state).ok();
        }
        if may && state.idle > 0 {
            // Whoever wakes up needs the lock, and may take the core of this thread.
            drop(state);
            self.work.notify_one();
        }
        Ok(())
    }

    /// Its state, if nobody is in the middle of something with it. A thread that gives way may be, and without a core, for long.
    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn start(&'static self) {
        let mut state = lock(&self.state);
        // Without a thread the next piece of work tries again, and says so.
        while state.threads < THREADS_MAX && self.hire(&mut state).is_ok() {}
    }

    fn hire(&'static self, state: &mut State) -> io::Result<()> {
        let name = format!("tidemill-{}-{}", self.name, state.threads);
        let body = || {
            if let (true, Some(rules)) = (self.gives_way, RULES.get()) {
                (rules.give_way)();
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
            let work = match state.pop(running_max()) {
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
            let wakes_another = state.wants_another(running_max());
            drop(state);
            if wakes_another {
                self.work.notify_one();
            }
            let account = work.account().clone();
            let kept = take_turn(work).and_then(|work| self.hand_over(work));
            state = lock(&self.state);
            if let Some(work) = kept {
                // This thread looks for work next, so nobody need be woken.
                state.push(work, 0);
            }
            state.ended(&account);
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
        let is_held = crew.gives_way && crew.try_lock().is_none();
        match is_held || crew.submit(work.clone()).is_err() {
            true => Some(work),
            false => None,
        }
    }
}

/// Turns of one account that a crew takes at a time.
fn running_max() -> usize {
    RULES.get().map_or(THREADS_MAX, |rules| rules.running_max)
}

/// Has the work take a turn; it is back if it wants another.
fn take_turn(work: Arc<dyn Work>) -> Option<Arc<dyn Work>> {
    let turn = catch_unwind(AssertUnwindSafe(|| {
        let mut turn = Turn::Done;
        work.account().pay_for(&mut || turn = work.turn());
        turn
    }));
    if turn.is_err() {
        work.died();
    }
    match turn {
        Ok(Turn::Again) => Some(work),
        Ok(Turn::Done) | Err(_) => {
            // It may be the last of it, with files to close, of which no panic may end this thread either.
            catch_unwind(AssertUnwindSafe(|| drop(work))).ok();
            None
        }
    }
}

#[cfg(test)]
mod tests;
