//! Accounts take turns, wait and come back, and no thread sleeps beside work that may be done.

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
            state.push(Arc::new(Countdown { account, left, done: done.clone() }), 2);
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
    state.ended(&accounts[1]);
    assert_eq!(take(&mut state, 2), None, "there is no more of the second");
    state.ended(&accounts[0]);
    assert_eq!(take(&mut state, 2), Some(0));
    assert_eq!(std::iter::from_fn(|| take(&mut state, 1000)).count(), 97);
    assert_eq!((state.waiting, state.clients.len()), (0, 2));
    (0..99).for_each(|_| state.ended(&accounts[0]));
    state.ended(&accounts[1]);
    assert_eq!(state.clients.len(), 0);
}

/// An account that is as it is told to be.
struct Told {
    gives_way: bool,
    is_held: bool,
}

impl Account for Told {
    fn gives_way(&self) -> bool {
        self.gives_way
    }

    fn pay_for(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn open_files(&self) -> &Arc<tidemill_core::quota::Allowance> {
        unreachable!("nothing is opened")
    }

    fn is_held(&self) -> bool {
        self.is_held
    }

    fn employ_thread(self: Arc<Self>) -> Box<dyn std::any::Any> {
        Box::new(())
    }
}

#[test]
fn each_turn_of_one_that_has_used_up_its_cpu_time_waits_for_a_while_and_nobody_elses() {
    let (done, _ends) = mpsc::channel();
    let mut state = State::default();
    let spent = Arc::new(Told { gives_way: false, is_held: true }) as Arc<dyn Account>;
    for account in [&spent, &spent, &nobody()] {
        let (left, done, account) = (AtomicUsize::new(1), done.clone(), account.clone());
        state.push(Arc::new(Countdown { account, left, done }), 9);
    }
    let wait_since = |state: &mut State, since: Instant| {
        let clients = state.clients.iter_mut();
        clients.flat_map(|client| &mut client.work).for_each(|work| work.0 = since);
    };
    // They have not waited at all, however slow this is.
    wait_since(&mut state, Instant::now() + HELD_MAX * 1000);
    assert!(matches!(state.pop(9), Next::Take(work) if !work.account().is_held()));
    assert!(matches!(state.pop(9), Next::WaitShortly));
    wait_since(&mut state, Instant::now().checked_sub(HELD_MAX).unwrap());
    for _ in 0..2 {
        assert!(matches!(state.pop(9), Next::Take(work) if work.account().is_held()));
    }
    assert!(matches!(state.pop(9), Next::Wait));
}

#[test]
fn what_nobody_wants_any_more_is_taken_back_unless_it_has_its_turn() {
    let mut state = State::default();
    let account = nobody();
    let work: Vec<Arc<dyn Work>> = (0..3)
        .map(|_| {
            let (done, left) = (mpsc::channel().0, AtomicUsize::new(1));
            Arc::new(Countdown { account: account.clone(), left, done }) as Arc<dyn Work>
        })
        .collect();
    assert!(work.iter().all(|work| state.push(work.clone(), 9)));
    assert!(matches!(state.pop(9), Next::Take(taken) if Arc::ptr_eq(&taken, &work[0])));
    let found: Vec<bool> = work.iter().map(|work| state.withdraw(work).is_some()).collect();
    assert_eq!(found, [false, true, true]);
    assert_eq!((state.waiting, state.clients.len()), (0, 1));
    state.ended(&account);
    assert_eq!(state.clients.len(), 0);
    assert!(state.withdraw(&work[1]).is_none());
}

#[test]
fn what_waits_for_one_that_need_not_give_way_any_more_is_recalled() {
    let mut state = State::default();
    let (gives_way, other) =
        (Arc::new(Told { gives_way: true, is_held: false }) as Arc<dyn Account>, nobody());
    for account in [&gives_way, &other, &other] {
        let (done, left) = (mpsc::channel().0, AtomicUsize::new(1));
        state.push(Arc::new(Countdown { account: account.clone(), left, done }), 9);
    }
    let recalled = state.take_recalled();
    assert!(recalled.len() == 2 && recalled.iter().all(|work| !work.account().gives_way()));
    assert_eq!((state.waiting, state.clients.len()), (1, 1));
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

/// Its only turn ends when it is told.
struct Slow {
    account: Arc<dyn Account>,
    begun: mpsc::Sender<()>,
    end: Mutex<mpsc::Receiver<()>>,
}

impl Work for Slow {
    fn turn(&self) -> Turn {
        self.begun.send(()).ok();
        lock(&self.end).recv().ok();
        Turn::Done
    }

    fn died(&self) {}

    fn account(&self) -> &Arc<dyn Account> {
        &self.account
    }
}

#[test]
fn who_waits_for_turns_of_its_own_leaves_the_other_threads_to_others() {
    const PATIENCE: Duration = Duration::from_secs(20);
    RULES.set(Rules { give_way: || true, running_max: RUNNING_MAX }).ok();
    let crew: &'static Crew = Box::leak(Box::new(Crew::new("test", false)));
    crew.start();
    let ((begun, begins), account) = (mpsc::channel(), nobody());
    // More than there are threads that have nothing to do.
    let ends: Vec<mpsc::Sender<()>> = (0..3 * THREADS_MAX)
        .map(|_| {
            let (end, ended) = mpsc::channel();
            let (account, begun) = (account.clone(), begun.clone());
            crew.submit(Arc::new(Slow { account, begun, end: Mutex::new(ended) })).unwrap();
            end
        })
        .collect();
    (0..RUNNING_MAX).for_each(|_| begins.recv_timeout(PATIENCE).unwrap());
    let (done, other) = mpsc::channel();
    for _ in 0..2 {
        // The threads sleep by then.
        thread::sleep(Duration::from_millis(20));
        let (left, account) = (AtomicUsize::new(1), nobody());
        crew.submit(Arc::new(Countdown { account, left, done: done.clone() })).unwrap();
        assert_eq!(other.recv_timeout(PATIENCE), Ok("done"));
    }
    assert!(begins.try_recv().is_err(), "two turns of one account at a time");
    drop(ends);
    (RUNNING_MAX..3 * THREADS_MAX).for_each(|_| begins.recv_timeout(PATIENCE).unwrap());
}
