//! How threads give way to others.
//!
//! Knows nothing of who gives way, and why. A thread cannot take back what it has given without privileges, and threads
//! that it starts have no more than it has itself.

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// The lowest priority.
const NICENESS_MAX: i32 = 19;

/// Lets threads of other tenants go first; answers whether the system has agreed. Not by `SCHED_IDLE`, under which a lane
/// could be without a core for so long that it passes for stuck.
pub(super) fn give_way() -> bool {
    let this = rustix::thread::gettid();
    rustix::process::setpriority_process(Some(this), NICENESS_MAX).is_ok()
}

/// Lets the threads of lanes go first: at the lowest priority, and under `SCHED_BATCH`, so that this thread never takes a core
/// from one that runs when it wakes up. A host that does not allow it is only a little slower.
pub(super) fn work_in_background() {
    let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, batch).ok();
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;
    use thread_priority::thread_schedule_policy;

    use super::*;

    fn niceness() -> i32 {
        getpriority_process(Some(rustix::thread::gettid())).unwrap()
    }

    #[test]
    fn whoever_gives_way_has_the_lowest_priority_and_what_works_in_the_background_preempts_nobody()
    {
        let lane = std::thread::spawn(|| (give_way(), niceness()));
        assert_eq!(lane.join().unwrap(), (true, NICENESS_MAX));
        let background = std::thread::spawn(|| {
            work_in_background();
            (thread_schedule_policy().unwrap(), niceness())
        });
        let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
        assert_eq!(background.join().unwrap(), (batch, NICENESS_MAX));
    }
}
