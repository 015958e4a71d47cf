//! Where lanes that give way wait for their turns.
//!
//! Owns the lock around [`Turns`], the waking of whose turn has come, and what becomes of a turn whose lane is asleep in it. A
//! lane looks at its own seat without the lock for as long as its turn lasts. The lock is held by threads of the lowest priority, so
//! no thread of a higher one waits for it. Invariant: a lane that waits is woken when its turn has come, or when its tenant need
//! not give way any more.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use super::Tenant;
use super::turns::{TURN_US, Turns};
use crate::machine;

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

/// What is known of a lane's turn.
#[derive(Debug)]
struct Seat {
    tenant: Arc<Tenant>,
    state: AtomicU8,
    until_us: AtomicU64,
    thread: Mutex<Option<(u32, Thread)>>,
}

/// The turns of one lane.
#[derive(Clone, Debug)]
pub struct LaneTurns {
    seat: Arc<Seat>,
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
    fn lock(&self) -> MutexGuard<'_, Turns<usize, Arc<Seat>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on turns in which lanes sleep, and sends on who need not wait any more; answers whether somebody still waits. If the
    /// lock is taken, that is for the next time.
    pub(super) fn look_after(&self, now_us: u64) -> bool {
        let Ok(mut turns) = self.turns.try_lock() else { return true };
        if !turns.is_awaited() {
            return false;
        }
        let free: Vec<_> =
            turns.waiting().filter(|seat| !seat.tenant.gives_way()).cloned().collect();
        let asleep: Vec<_> = turns.overdue(now_us).filter(|seat| seat.sleeps()).cloned().collect();
        let mut entered = Vec::new();
        for (seats, state) in [(&free, OUT), (&asleep, LOST)] {
            for seat in seats {
                seat.state.store(state, SeqCst);
                entered.extend(turns.leave(seat, now_us));
            }
        }
        begin(&entered, now_us);
        let is_awaited = turns.is_awaited();
        drop(turns);
        free.iter().chain(&entered).for_each(|seat| seat.wake());
        is_awaited
    }
}

/// Takes down that turns begin. To be called with the lock: nothing else may become of these lanes meanwhile.
fn begin(seats: &[Arc<Seat>], now_us: u64) {
    for seat in seats {
        seat.until_us.store(now_us + TURN_US, Relaxed);
        seat.state.store(RUNNING, SeqCst);
    }
}

impl Seat {
    fn wake(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, thread)) = thread {
            thread.unpark();
        }
    }

    fn sleeps(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).clone();
        thread.and_then(|(thread, _)| machine::sleeps(thread)).unwrap_or(true)
    }
}

impl LaneTurns {
    pub(super) fn new(tenant: Arc<Tenant>) -> Self {
        let (state, until_us) = (AtomicU8::new(OUT), AtomicU64::new(0));
        Self { seat: Arc::new(Seat { tenant, state, until_us, thread: Mutex::new(None) }) }
    }

    /// The lane is driven by this thread from now on.
    pub fn moves_to(&self, thread: u32) {
        *self.seat.thread.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((thread, thread::current()));
    }

    /// Whether the lane, which gives way, may go on now. If not it stands in line, and its thread is woken when it may.
    pub fn may_go_on(&self, now_us: u64) -> bool {
        let seat = &self.seat;
        let state = seat.state.load(SeqCst);
        if state == RUNNING && now_us < seat.until_us.load(Relaxed) {
            return true;
        }
        if !seat.tenant.gives_way() {
            self.leave(now_us);
            return true;
        }
        if state == WAITING {
            return false;
        }
        let mut turns = seat.tenant.turnstile.lock();
        // Unless it was lost a moment ago.
        if turns.renew(seat, now_us) {
            seat.until_us.store(now_us + TURN_US, Relaxed);
            return true;
        }
        seat.state.store(WAITING, SeqCst);
        let (tenant, share) = (Arc::as_ptr(&seat.tenant) as usize, seat.tenant.plan.cpu_share);
        let entered = turns.ask(tenant, share, seat.clone(), now_us);
        begin(&entered, now_us);
        drop(turns);
        let others = entered.iter().filter(|other| !Arc::ptr_eq(other, seat));
        others.for_each(|seat| seat.wake());
        seat.state.load(SeqCst) == RUNNING
    }

    /// Waits in the middle of a long step, if the lane has turns and this one is over, until the next one begins or `is_stopped`.
    pub fn pause(&self, now_us: u64, is_stopped: impl Fn() -> bool) {
        if self.seat.state.load(Relaxed) == OUT || self.may_go_on(now_us) {
            return;
        }
        while self.seat.state.load(SeqCst) == WAITING && !is_stopped() {
            thread::park();
        }
    }

    /// The lane waits for something else, or gives way no more.
    pub fn leave(&self, now_us: u64) {
        if self.seat.state.load(SeqCst) == OUT {
            return;
        }
        let mut turns = self.seat.tenant.turnstile.lock();
        let entered = turns.leave(&self.seat, now_us);
        self.seat.state.store(OUT, SeqCst);
        begin(&entered, now_us);
        drop(turns);
        entered.iter().for_each(|seat| seat.wake());
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
            let tenant = Tenant { turnstile: turnstile.clone(), ..Tenant::new(plan) };
            tenant.gives_way.store(true, SeqCst);
            Arc::new(tenant)
        })
    }

    fn turns_of(tenant: &Arc<Tenant>) -> LaneTurns {
        let turns = tenant.new_turns();
        turns.moves_to(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        turns
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
                            thread::park_timeout(Duration::from_secs(60));
                            continue;
                        }
                        assert!(inside.fetch_add(1, SeqCst) < PLACES);
                        worked.fetch_add(1, SeqCst);
                        inside.fetch_sub(1, SeqCst);
                        // Before the turn is anybody's: it is over a moment later.
                        while machine::monotonic_us() < now_us + 100 {}
                        if worked.load(SeqCst) % 100 == 0 {
                            turns.leave(now_us);
                        }
                    }
                    turns.leave(machine::monotonic_us());
                });
            }
            until(|| worked.iter().all(|worked| worked.load(SeqCst) > 200));
            is_over.store(true, SeqCst);
        });
        assert!(!all[0].turnstile.lock().is_awaited());
    }

    #[test]
    fn a_turn_in_which_a_lane_sleeps_goes_to_another_one_and_the_lane_stands_in_line_again() {
        let [tenant, other] = tenants::<2>(1);
        let (sleeps, has_slept) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                let turns = turns_of(&tenant);
                assert!(turns.may_go_on(machine::monotonic_us()));
                sleeps.store(true, SeqCst);
                until(|| has_slept.load(SeqCst));
                // In the middle of its step it waits for the other one.
                turns.pause(machine::monotonic_us(), || false);
                let state = turns.seat.state.load(SeqCst);
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
                    turns.pause(machine::monotonic_us(), || stop.load(SeqCst));
                    let state = turns.seat.state.load(SeqCst);
                    turns.leave(machine::monotonic_us());
                    state
                })
            };
            let (one, two) = (waits(&told), waits(&stopped));
            until(|| first.turnstile.lock().waiting().count() == 2);
            told.gives_way.store(false, SeqCst);
            assert!(first.turnstile.look_after(machine::monotonic_us()));
            assert_eq!(one.join().unwrap(), OUT);
            stop.store(true, SeqCst);
            two.thread().unpark();
            assert_eq!(two.join().unwrap(), WAITING);
        });
        assert!(!held.seat.tenant.turnstile.lock().is_awaited());
    }

    #[test]
    fn a_lane_that_does_not_give_way_needs_no_turn() {
        let [first, other] = tenants::<2>(1);
        other.gives_way.store(false, SeqCst);
        let (held, free) = (turns_of(&first), turns_of(&other));
        assert!(held.may_go_on(machine::monotonic_us()) && free.may_go_on(machine::monotonic_us()));
        free.pause(machine::monotonic_us(), || panic!("it does not wait"));
        assert!(!first.turnstile.lock().is_awaited());
    }
}
