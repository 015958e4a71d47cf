//! How threads give way to others.
//!
//! Knows nothing of who gives way, and why. A thread cannot take back what it has given without privileges, and threads
//! that it starts have no more than it has itself.

use std::cell::Cell;
use std::thread;

use rustix::process::{getpriority_process, setpriority_process};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::pauses::thread_cpu_us;

/// The lowest priority, as niceness.
const NICENESS_MAX: i32 = 19;
/// Niceness of work in the background, at the least.
const BACKGROUND_NICENESS: i32 = 5;
/// CPU time after which work in the background lets others go first, in microseconds.
const BACKGROUND_TURN_US: u64 = 150;

/// Lets threads of other tenants go first: at the lowest priority; answers whether the system has agreed. Not by
/// `SCHED_IDLE`, under which a lane could be without a core for so long that it passes for stuck.
pub(super) fn give_way() -> bool {
    take_niceness(NICENESS_MAX)
}

/// Lets the threads of lanes go first, as [`pause_in_background`] does. Not at the lowest priority, by which a thread that
/// has to wait for a core waits some 15 ms each time, and a small checkpoint on a busy machine took a second. A
/// host that does not allow it is only a little slower.
pub(super) fn work_in_background() {
    take_niceness(BACKGROUND_NICENESS);
}

/// Takes a niceness, unless it has a higher one already, and as far as the system allows `SCHED_BATCH`, so that this
/// thread never takes a core from one that runs when it wakes up.
fn take_niceness(niceness: i32) -> bool {
    let this = Some(rustix::thread::gettid());
    let niceness = getpriority_process(this).map_or(niceness, |own| own.max(niceness));
    let has_taken = setpriority_process(this, niceness).is_ok();
    // The crate counts priorities from 0, the lowest, to 99 over the 40 steps of niceness; this is the middle of a step.
    let priority = (2 * (NICENESS_MAX - niceness) - 1).max(0) * 99 / 78;
    if let Ok(Ok(value)) = u8::try_from(priority).map(ThreadPriorityValue::try_from) {
        let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
        let priority = ThreadPriority::Crossplatform(value);
        set_thread_priority_and_policy(thread_native_id(), priority, batch).ok();
    }
    has_taken
}

/// To be called after each short part of work in the background. A thread that runs keeps its core for a slice of some
/// milliseconds, and on a system without preemption until the next tick, whatever its priority: without this, lanes
/// waited as long in the middle of a checkpoint.
pub(super) fn pause_in_background() {
    thread_local!(static PAUSED_US: Cell<u64> = const { Cell::new(0) });
    let now_us = thread_cpu_us();
    if now_us.saturating_sub(PAUSED_US.get()) >= BACKGROUND_TURN_US {
        PAUSED_US.set(now_us);
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use thread_priority::thread_schedule_policy;

    use super::*;

    fn niceness() -> i32 {
        getpriority_process(Some(rustix::thread::gettid())).unwrap()
    }

    #[test]
    fn whoever_gives_way_has_the_lowest_priority_and_what_works_in_the_background_preempts_nobody()
    {
        let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
        let lane = thread::spawn(|| (give_way(), thread_schedule_policy().unwrap(), niceness()));
        assert_eq!(lane.join().unwrap(), (true, batch, NICENESS_MAX));
        let background = thread::spawn(|| {
            work_in_background();
            (thread_schedule_policy().unwrap(), niceness())
        });
        assert_eq!(background.join().unwrap(), (batch, niceness().max(BACKGROUND_NICENESS)));
    }
}
