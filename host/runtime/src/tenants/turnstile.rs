//! Where lanes that give way wait for their turns.
//!
//! Owns the lock around [`Turns`], the waking of whose turn has come, and what becomes of a turn whose lane is asleep in it. A
//! lane looks at its own seat without the lock for as long as its turn lasts. The lock is held by threads of the lowest priority, so
//! no thread of a higher one waits for it. Invariant: a lane that waits is woken when its turn has come, or when its tenant need
//! not give way any more; if that is late, because whoever is to wake it has no core, it looks by itself.

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::Duration;

use super::Tenant;
use super::turns::{TURN_MAX_US, TURN_US, Turns};
use crate::machine;

/// How long a lane waits for its turn before it looks by itself, and shows that it lives.
pub const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The lane needs no turn.
const OUT: u8 = 0;
const WAITING: u8 = 1;
const RUNNING: u8 = 2;
/// Its turn went to another one while it slept.
const LOST: u8 = 3;

/// Where all lanes of this process wait that give way.
#[derive(Debug)]
pub(super) struct Turnstile {
    turns: Mutex<Turns<usize, Arc<Seat>>>,
}

/// What is known of the turns of a lane on one of its threads.
#[derive(Debug)]
struct Seat {
    tenant: Arc<Tenant>,
    thread: Thread,
    /// As the system numbers it.
    thread_id: u32,
    /// The thread gives way, which it does as long as it is there.
    gives_way: AtomicBool,
    state: AtomicU8,
    /// When its turn began, which is when it first had a core for it; 0 before that.
    began_us: AtomicU64,
}

/// The turns of one lane. To be asked by its own thread.
#[derive(Clone, Debug)]
pub struct LaneTurns {
    tenant: Arc<Tenant>,
    /// Of the thread that drives it, once there is one; which alone looks here.
    seat: Arc<Mutex<Option<Arc<Seat>>>>,
}

impl PartialEq for Seat {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Default for Turnstile {
    fn default() -> Self {
        let places = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { turns: Mutex::new(Turns::new(places)) }
    }
}

impl Turnstile {
    /// Without waiting: who holds it may be without a core.
    fn try_lock(&self) -> Option<MutexGuard<'_, Turns<usize, Arc<Seat>>>> {
        match self.turns.try_lock() {
            Ok(turns) => Some(turns),
            Err(TryLockError::Poisoned(turns)) => Some(turns.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turns<usize, Arc<Seat>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on turns in which lanes sleep, and sends on who need not wait any more; answers whether it is to be looked again soon.
    /// If the lock is taken, that is for the next time.
    pub(super) fn look_after(&self, now_us: u64) -> bool {
        let Some(turns) = self.try_lock() else { return true };
        if !turns.is_awaited() {
            return turns.is_full();
        }
        let overdue: Vec<Arc<Seat>> = turns.since(TURN_US, now_us).cloned().collect();
        let endless: Vec<Arc<Seat>> = turns.since(TURN_MAX_US, now_us).cloned().collect();
        drop(turns);
        // What the system says of them takes its time.
        let loses = |seat: &Arc<Seat>| endless.contains(seat) || seat.sleeps();
        let lost: Vec<_> = overdue.into_iter().filter(loses).collect();
        let Some(mut turns) = self.try_lock() else { return true };
        let free: Vec<_> =
            turns.waiting().filter(|seat| !seat.tenant.gives_way()).cloned().collect();
        // Some may have had a new turn meanwhile.
        let is_overdue = |seat: &Arc<Seat>| turns.since(TURN_US, now_us).any(|other| other == seat);
        let lost: Vec<_> = lost.into_iter().filter(is_overdue).collect();
        let mut entered = Vec::new();
        for (seats, state) in [(&free, OUT), (&lost, LOST)] {
            for seat in seats {
                seat.state.store(state, SeqCst);
                entered.extend(turns.leave(seat, now_us));
            }
        }
        begin(&entered);
        let is_full = turns.is_full();
        drop(turns);
        // Who sleeps may do so because it was not told yet that its turn had begun.
        free.iter().chain(&lost).chain(&entered).for_each(|seat| seat.thread.unpark());
        is_full
    }
}

/// Takes down that these lanes have a turn. To be called with the lock: nothing else may become of them meanwhile.
fn begin(seats: &[Arc<Seat>]) {
    for seat in seats {
        seat.began_us.store(0, Relaxed);
        seat.state.store(RUNNING, SeqCst);
    }
}

impl Seat {
    fn sleeps(&self) -> bool {
        // One that is not there any more sleeps for ever.
        machine::sleeps(self.thread_id).unwrap_or(true)
    }

    fn may_go_on(self: &Arc<Self>, now_us: u64) -> bool {
        self.gives_way.store(true, Relaxed);
        let state = self.state.load(SeqCst);
        let began_us = self.began_us.load(Relaxed);
        if state == RUNNING && now_us < began_us + TURN_US {
            return true;
        }
        if state == RUNNING && began_us == 0 {
            // Whoever is woken may have to wait for a core for longer than a turn, and would never get anywhere.
            self.began_us.store(now_us, Relaxed);
            return true;
        }
        if !self.tenant.gives_way() {
            self.leave(now_us);
            return true;
        }
        if state == WAITING {
            return false;
        }
        let mut turns = self.tenant.turnstile.lock();
        // Unless it was lost a moment ago.
        if turns.renew(self, now_us) {
            self.began_us.store(now_us, Relaxed);
            return true;
        }
        turns.has_begun(self, began_us);
        self.state.store(WAITING, SeqCst);
        let (tenant, share) = (Arc::as_ptr(&self.tenant) as usize, self.tenant.plan.cpu_share);
        let entered = turns.ask(tenant, share, self.clone(), now_us);
        begin(&entered);
        drop(turns);
        let others = entered.iter().filter(|other| !Arc::ptr_eq(other, self));
        others.for_each(|seat| seat.thread.unpark());
        let has_turn = self.state.load(SeqCst) == RUNNING;
        if has_turn {
            self.began_us.store(now_us, Relaxed);
        }
        has_turn
    }

    fn leave(self: &Arc<Self>, now_us: u64) {
        if self.state.load(SeqCst) == OUT {
            return;
        }
        let mut turns = self.tenant.turnstile.lock();
        turns.has_begun(self, self.began_us.load(Relaxed));
        let entered = turns.leave(self, now_us);
        self.state.store(OUT, SeqCst);
        begin(&entered);
        drop(turns);
        entered.iter().for_each(|seat| seat.thread.unpark());
    }
}

impl LaneTurns {
    pub(super) fn new(tenant: Arc<Tenant>) -> Self {
        Self { tenant, seat: Arc::default() }
    }

    /// The lane is driven by this thread from now on, which the system numbers so.
    pub fn moves_to(&self, thread_id: u32) {
        let (gives_way, state) = (AtomicBool::new(false), AtomicU8::new(OUT));
        let (tenant, thread, began_us) =
            (self.tenant.clone(), thread::current(), AtomicU64::new(0));
        let seat = Arc::new(Seat { tenant, thread, thread_id, gives_way, state, began_us });
        *self.seat.lock().unwrap_or_else(PoisonError::into_inner) = Some(seat);
    }

    fn seat(&self) -> Option<Arc<Seat>> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the lane, whose thread gives way, may go on now. If not it stands in line, and its thread is woken when it may.
    pub fn may_go_on(&self, now_us: u64) -> bool {
        self.seat().is_none_or(|seat| seat.may_go_on(now_us))
    }

    /// Waits in the middle of a long step until the lane may go on, if its thread gives way, or until `is_stopped`, which is called
    /// from time to time.
    pub fn pause(&self, is_stopped: impl Fn() -> bool) {
        let Some(seat) = self.seat().filter(|seat| seat.gives_way.load(Relaxed)) else { return };
        while !seat.may_go_on(machine::monotonic_us()) && !is_stopped() {
            thread::park_timeout(LOOK_AGAIN);
        }
    }

    /// The lane waits for something else, or gives way no more.
    pub fn leave(&self, now_us: u64) {
        if let Some(seat) = self.seat() {
            seat.leave(now_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::TenantPlan;

    /// Tenants that give way at one turnstile with so many places.
    fn tenants<const N: usize>(places: usize) -> [Arc<Tenant>; N] {
        let turnstile = Arc::new(Turnstile { turns: Mutex::new(Turns::new(places)) });
        std::array::from_fn(|number| {
            let plan = TenantPlan::without_quotas(&number.to_string());
            let tenant = Tenant::among(turnstile.clone(), plan);
            tenant.gives_way.store(true, SeqCst);
            Arc::new(tenant)
        })
    }

    fn turns_of(tenant: &Arc<Tenant>) -> LaneTurns {
        let turns = tenant.new_turns();
        turns.moves_to(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        turns
    }

    /// Ends the wait of others also when a test fails.
    struct Sets<'a>(&'a AtomicBool);

    impl Drop for Sets<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }

    fn state_of(turns: &LaneTurns) -> u8 {
        turns.seat().unwrap().state.load(SeqCst)
    }

    fn until(is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn lanes_that_work_take_turns_and_no_more_have_one_than_there_are_places() {
        const PLACES: usize = 2;
        let all = tenants::<3>(PLACES);
        let (inside, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let worked = [0; 6].map(|_| AtomicUsize::new(0));
        thread::scope(|scope| {
            for (lane, worked) in worked.iter().enumerate() {
                let (tenant, inside, is_over) = (&all[lane / 2], &inside, &is_over);
                scope.spawn(move || {
                    let turns = turns_of(tenant);
                    while !is_over.load(SeqCst) {
                        let now_us = machine::monotonic_us();
                        if !turns.may_go_on(now_us) {
                            // Whose turn has come is woken.
                            thread::park_timeout(Duration::from_secs(60));
                            continue;
                        }
                        let others = inside.fetch_add(1, SeqCst);
                        while machine::monotonic_us() < now_us + 100 {}
                        inside.fetch_sub(1, SeqCst);
                        assert!(others < PLACES);
                        if worked.fetch_add(1, SeqCst) % 100 == 0 {
                            turns.leave(machine::monotonic_us());
                        }
                    }
                    turns.leave(machine::monotonic_us());
                });
            }
            let _ends = Sets(&is_over);
            until(|| worked.iter().all(|worked| worked.load(SeqCst) > 200));
        });
        assert!(!all[0].turnstile.lock().is_awaited());
    }

    #[test]
    fn a_turn_in_which_a_lane_sleeps_goes_to_another_one_and_the_lane_stands_in_line_again() {
        let [tenant, other] = tenants::<2>(1);
        let [sleeps, has_slept, is_over] = [false; 3].map(AtomicBool::new);
        thread::scope(|scope| {
            let (_ends, _wakes) = (Sets(&is_over), Sets(&has_slept));
            let sleeper = scope.spawn(|| {
                let turns = turns_of(&tenant);
                assert!(turns.may_go_on(machine::monotonic_us()));
                sleeps.store(true, SeqCst);
                until(|| has_slept.load(SeqCst));
                // In the middle of its step it waits for the other one.
                turns.pause(|| is_over.load(SeqCst));
                let state = state_of(&turns);
                turns.leave(machine::monotonic_us());
                state
            });
            until(|| sleeps.load(SeqCst));
            let turns = turns_of(&other);
            until(|| {
                other.turnstile.look_after(machine::monotonic_us());
                turns.may_go_on(machine::monotonic_us())
            });
            has_slept.store(true, SeqCst);
            until(|| other.turnstile.lock().is_awaited());
            assert!(!sleeper.is_finished());
            turns.leave(machine::monotonic_us());
            assert_eq!(sleeper.join().unwrap(), RUNNING);
        });
    }

    #[test]
    fn who_waits_goes_on_when_its_tenant_gives_way_no_more_or_it_is_stopped() {
        let [first, told, stopped] = tenants::<3>(1);
        let held = turns_of(&first);
        assert!(held.may_go_on(machine::monotonic_us()));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let waits = |tenant| {
                let stop = &stop;
                scope.spawn(move || {
                    let turns = turns_of(tenant);
                    assert!(!turns.may_go_on(machine::monotonic_us()));
                    turns.pause(|| stop.load(SeqCst));
                    let state = state_of(&turns);
                    turns.leave(machine::monotonic_us());
                    state
                })
            };
            let _ends = Sets(&stop);
            let (one, two) = (waits(&told), waits(&stopped));
            until(|| first.turnstile.lock().waiting().count() == 2);
            told.gives_way.store(false, SeqCst);
            assert!(first.turnstile.look_after(machine::monotonic_us()));
            assert_eq!(one.join().unwrap(), OUT);
            stop.store(true, SeqCst);
            two.thread().unpark();
            assert_eq!(two.join().unwrap(), WAITING);
        });
        assert!(!first.turnstile.lock().is_awaited());
    }

    #[test]
    fn a_lane_that_does_not_give_way_needs_no_turn() {
        let [first, other] = tenants::<2>(1);
        other.gives_way.store(false, SeqCst);
        let (held, free) = (turns_of(&first), turns_of(&other));
        assert!(held.may_go_on(machine::monotonic_us()));
        free.pause(|| panic!("it does not wait"));
        assert!(free.may_go_on(machine::monotonic_us()));
        assert!(!first.turnstile.lock().is_awaited());
    }

    #[test]
    fn a_turn_begins_when_its_lane_has_a_core_and_not_before() {
        let [first, other] = tenants::<2>(1);
        let (one, two) = (turns_of(&first), turns_of(&other));
        assert!(one.may_go_on(1) && !two.may_go_on(1));
        assert!(!one.may_go_on(TURN_US + 1), "the other one has it");
        let late_us = 9 * TURN_US;
        assert!(two.may_go_on(late_us) && two.may_go_on(late_us + TURN_US - 1));
        assert!(!two.may_go_on(late_us + TURN_US));
        assert!(one.may_go_on(late_us + TURN_US));
    }

    #[test]
    fn a_turn_that_does_not_end_goes_to_another_lane_at_last() {
        let [first, other] = tenants::<2>(1);
        let (one, two) = (turns_of(&first), turns_of(&other));
        assert!(one.may_go_on(1) && !two.may_go_on(1));
        // This thread does not sleep.
        first.turnstile.look_after(TURN_MAX_US + 1);
        assert!(!two.may_go_on(TURN_MAX_US));
        first.turnstile.look_after(TURN_MAX_US + 2);
        assert!(two.may_go_on(TURN_MAX_US + 2) && !one.may_go_on(TURN_MAX_US + 2));
    }

    #[test]
    fn a_lane_that_was_free_in_the_middle_of_a_step_stands_in_line_when_it_gives_way_again() {
        let [first, told] = tenants::<2>(1);
        let (held, turns) = (turns_of(&first), turns_of(&told));
        assert!(held.may_go_on(machine::monotonic_us()));
        assert!(!turns.may_go_on(machine::monotonic_us()));
        told.gives_way.store(false, SeqCst);
        turns.pause(|| panic!("it does not wait"));
        assert_eq!(state_of(&turns), OUT);
        told.gives_way.store(true, SeqCst);
        turns.pause(|| true);
        assert_eq!(state_of(&turns), WAITING);
        held.leave(machine::monotonic_us());
        assert_eq!(state_of(&turns), RUNNING);
    }
}
