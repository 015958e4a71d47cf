//! How threads give way to others.
//!
//! Knows nothing of who gives way, and why. A thread cannot take back what it has given without privileges, and threads
//! that it starts have no more than it has itself.

use std::cell::Cell;
use std::thread;

use rustix::process::{getpriority_process, setpriority_process};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};

use crate::machine::thread_cpu_us;

/// The lowest priority, as niceness.
const NICENESS_MAX: i32 = 19;
/// Niceness of work in the background, at the least.
const BACKGROUND_NICENESS: i32 = 5;
/// CPU time after which work in the background lets others go first, in microseconds.
const BACKGROUND_TURN_US: u64 = 150;

/// Lets threads of other tenants go first: at the lowest priority; answers whether the system has agreed. With
/// `SCHED_IDLE` where there is such a thing: whoever wakes up takes the core from such a thread at once, while one that is
/// only nice keeps it for its slice, and on a system without preemption until the next tick.
pub(crate) fn give_way() -> bool {
    take(NICENESS_MAX, NormalThreadSchedulePolicy::Idle, ThreadPriority::Min)
}

/// Lets the threads of lanes go first, as [`pause_in_background`] does, with `SCHED_BATCH`, so that this thread never takes
/// a core from one that runs when it wakes up. Not at the lowest priority, by which a thread that has to wait for a core
/// waits some 15 ms each time, and a small checkpoint on a busy machine took a second. A host that does not allow it is
/// only a little slower.
pub(crate) fn work_in_background() {
    let this = Some(rustix::thread::gettid());
    let niceness =
        getpriority_process(this).map_or(BACKGROUND_NICENESS, |own| own.max(BACKGROUND_NICENESS));
    // The crate counts priorities from 0, the lowest, to 99 over the 40 steps of niceness; this is the middle of a step.
    let priority = u8::try_from((2 * (NICENESS_MAX - niceness) - 1).max(0) * 99 / 78).unwrap_or(0);
    if let Ok(priority) = ThreadPriorityValue::try_from(priority) {
        let priority = ThreadPriority::Crossplatform(priority);
        take(niceness, NormalThreadSchedulePolicy::Batch, priority);
    }
}

/// Takes a policy, where the system has it, and a niceness; answers whether one of them is taken. The crate sets a niceness
/// with the policy, `priority`, which is not always the one that is wanted.
fn take(niceness: i32, policy: NormalThreadSchedulePolicy, priority: ThreadPriority) -> bool {
    let policy = ThreadSchedulePolicy::Normal(policy);
    set_thread_priority_and_policy(thread_native_id(), priority, policy).ok();
    let is_nice = setpriority_process(Some(rustix::thread::gettid()), niceness).is_ok();
    is_nice || thread_schedule_policy().is_ok_and(|taken| taken == policy)
}

/// To be called after each short part of work in the background. A thread that runs keeps its core for a slice of some
/// milliseconds, and on a system without preemption until the next tick, whatever its priority: without this, lanes
/// waited as long in the middle of a checkpoint.
pub(crate) fn pause_in_background() {
    thread_local!(static PAUSED_US: Cell<u64> = const { Cell::new(0) });
    let now_us = thread_cpu_us();
    if now_us.saturating_sub(PAUSED_US.get()) >= BACKGROUND_TURN_US {
        PAUSED_US.set(now_us);
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        getpriority_process(Some(rustix::thread::gettid())).unwrap()
    }

    #[test]
    fn whoever_gives_way_has_the_lowest_priority_and_what_works_in_the_background_preempts_nobody()
    {
        let [idle, batch] = [NormalThreadSchedulePolicy::Idle, NormalThreadSchedulePolicy::Batch]
            .map(ThreadSchedulePolicy::Normal);
        let lane = thread::spawn(|| (give_way(), thread_schedule_policy().unwrap(), niceness()));
        assert_eq!(lane.join().unwrap(), (true, idle, NICENESS_MAX));
        let background = thread::spawn(|| {
            work_in_background();
            (thread_schedule_policy().unwrap(), niceness())
        });
        assert_eq!(background.join().unwrap(), (batch, niceness().max(BACKGROUND_NICENESS)));
    }
}
