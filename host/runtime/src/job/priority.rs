//! How threads give way to others.
//!
//! Knows nothing of who gives way, and why. Scheduling policies and not niceness alone, because it is the policy that
//! decides who goes first when a thread wakes up; the time slice of a thread that already runs lasts milliseconds.
//! A thread cannot take back what it has given without privileges.

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Lets all others go first (`SCHED_IDLE`): one that wakes up takes the core at once, and where others always compute, this
/// thread hardly runs at all. Answers whether the system has agreed.
pub(super) fn give_way_to_all() -> bool {
    set(NormalThreadSchedulePolicy::Idle)
}

/// Lets the threads of lanes go first (`SCHED_BATCH`, the largest niceness): this thread never takes a core from one that
/// runs when it wakes up, but has its small share. A host that does not allow it is only a little slower.
pub(super) fn work_in_background() {
    set(NormalThreadSchedulePolicy::Batch);
}

fn set(policy: NormalThreadSchedulePolicy) -> bool {
    let policy = ThreadSchedulePolicy::Normal(policy);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy).is_ok()
}

#[cfg(test)]
mod tests {
    use thread_priority::thread_schedule_policy;

    use super::*;

    #[test]
    fn a_thread_runs_under_the_policy_that_it_has_asked_for() {
        let policy_after = |give_way: fn()| {
            let policy = std::thread::spawn(move || {
                give_way();
                thread_schedule_policy().unwrap()
            });
            policy.join().unwrap()
        };
        let idle = policy_after(|| assert!(give_way_to_all()));
        assert_eq!(idle, ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle));
        let batch = policy_after(work_in_background);
        assert_eq!(batch, ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch));
    }
}
