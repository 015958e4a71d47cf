//! Threads of the host that work for a tenant and are no lanes: supervision, checkpoints, the input log, receiving.
//!
//! Owns who they are and what of their CPU time is charged. They do not charge themselves, for they wait in many places: whoever
//! looks after fairness reads their clocks, more seldom where there is next to nothing to see. Must not know what they do. Invariant:
//! no CPU time is charged twice; what a thread has used after the last look is charged when it ends.

use std::marker::PhantomData;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, Release},
};
use std::sync::{Arc, Mutex, PoisonError};

use super::Tenant;
use crate::machine;

/// Use from look to look, in microseconds, below which a thread is not looked at for the next [`LOOKS_SKIPPED`].
const LITTLE_US: u64 = 1_000;
const LOOKS_SKIPPED: u32 = 4;
/// What is charged at the end of a thread at most. Where nobody looks, because there is one job alone, it is not charged in a lump
/// for which its next start would be held.
const UNSEEN_MAX_US: u64 = 200_000;

/// The threads of one tenant.
#[derive(Debug, Default)]
pub(super) struct Staff {
    members: Mutex<Vec<Arc<Member>>>,
    /// What all of them have used and was charged, and what of that they had used before the last look but one.
    used_us: AtomicU64,
    late_us: AtomicU64,
    /// Somebody looks at them from time to time.
    is_looked_at: AtomicBool,
}

#[derive(Debug)]
struct Member {
    /// As the system numbers it.
    thread: u32,
    charged_us: AtomicU64,
    /// Looks that pass it by, and whether some did before the next one that does not.
    skipped: AtomicU32,
    was_skipped: AtomicBool,
}

/// This thread works for a tenant until this is dropped, by the same thread.
#[derive(Debug)]
pub struct Employed {
    tenant: Arc<Tenant>,
    member: Arc<Member>,
    _not_sent: PhantomData<*const ()>,
}

impl Member {
    /// Charges what the thread has used until it had used so much; answers how much that was.
    fn take_us(&self, used_us: u64) -> u64 {
        used_us.saturating_sub(self.charged_us.fetch_max(used_us, Relaxed))
    }
}

impl Staff {
    /// What all of them have used so far, as far as it was charged.
    pub(super) fn used_us(&self) -> u64 {
        self.used_us.load(Relaxed)
    }

    /// What of that had been used for a while when it was charged, because they were not looked at meanwhile: it says nothing of what
    /// they use now.
    pub(super) fn late_us(&self) -> u64 {
        self.late_us.load(Relaxed)
    }

    /// What its threads have used since it was last asked.
    pub(super) fn take_used_us(&self, thread_cpu_us: impl Fn(u32) -> Option<u64>) -> u64 {
        self.is_looked_at.store(true, Relaxed);
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let used = members.iter().filter(|member| {
            let skipped = |left: u32| left.checked_sub(1);
            member.skipped.fetch_update(Relaxed, Relaxed, skipped).is_err()
        });
        let used = used.map(|member| {
            let used_us = thread_cpu_us(member.thread).map_or(0, |used_us| member.take_us(used_us));
            let was_skipped = member.was_skipped.swap(used_us < LITTLE_US, Relaxed);
            if used_us < LITTLE_US {
                member.skipped.store(LOOKS_SKIPPED, Relaxed);
            }
            if was_skipped {
                let looks = u64::from(LOOKS_SKIPPED);
                self.late_us.fetch_add(used_us * looks / (looks + 1), Relaxed);
            }
            used_us
        });
        used.sum()
    }
}

impl Tenant {
    /// Has this thread work for it, from now on.
    pub fn employ(self: &Arc<Self>) -> Employed {
        let member = Arc::new(Member {
            thread: rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs(),
            charged_us: AtomicU64::new(machine::thread_cpu_us()),
            skipped: AtomicU32::new(0),
            was_skipped: AtomicBool::new(false),
        });
        self.staff.members.lock().unwrap_or_else(PoisonError::into_inner).push(member.clone());
        Employed { tenant: self.clone(), member, _not_sent: PhantomData }
    }

    /// Charges it for what its threads have used since they were last looked at.
    pub(super) fn charge_staff(&self, now_us: u64) {
        let used_us = self.staff.take_used_us(machine::cpu_us_of);
        if used_us > 0 {
            self.staff.used_us.fetch_add(used_us, Relaxed);
            // Who looks after all must not wait for one that gives way.
            self.usage.used_cpu_us.fetch_add(used_us, Release);
            self.usage.cpu_us.charge_later(used_us, now_us);
        }
    }
}

impl Drop for Employed {
    fn drop(&mut self) {
        let Self { tenant, member, .. } = self;
        let mut staff = tenant.staff.members.lock().unwrap_or_else(PoisonError::into_inner);
        staff.retain(|other| !Arc::ptr_eq(other, member));
        drop(staff);
        let used_us = member.take_us(machine::thread_cpu_us());
        let at_most_us =
            if tenant.staff.is_looked_at.load(Relaxed) { u64::MAX } else { UNSEEN_MAX_US };
        let charged_us = used_us.min(at_most_us);
        tenant.staff.used_us.fetch_add(charged_us, Relaxed);
        tenant.charge_cpu(charged_us, machine::monotonic_us());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TenantPlan;

    fn works_for_us(us: u64) {
        let began_us = machine::thread_cpu_us();
        while machine::thread_cpu_us() - began_us < us {}
    }

    #[test]
    fn a_thread_is_charged_once_whoever_looks_first() {
        let tenant = Arc::new(Tenant::new(TenantPlan::without_quotas("a")));
        let used_us = || tenant.usage().used_cpu_us.load(Relaxed);
        let employed = tenant.employ();
        works_for_us(30_000);
        let seen_us = tenant.staff.take_used_us(|_| Some(machine::thread_cpu_us()));
        assert!(seen_us >= 30_000, "{seen_us}");
        works_for_us(5_000);
        let before_us = machine::thread_cpu_us();
        drop(employed);
        assert!(
            used_us() >= 5_000 && used_us() <= 5_000 + machine::thread_cpu_us() - before_us + 1_000
        );
        assert_eq!(tenant.staff.take_used_us(|_| Some(u64::MAX)), 0, "it is gone");
    }

    #[test]
    fn a_thread_that_uses_next_to_nothing_is_looked_at_now_and_then() {
        let tenant = Arc::new(Tenant::new(TenantPlan::without_quotas("a")));
        let _employed = tenant.employ();
        let looked = std::cell::Cell::new(0);
        let look = |_| {
            looked.set(looked.get() + 1);
            Some(0)
        };
        assert!((0..2 * (1 + LOOKS_SKIPPED)).all(|_| tenant.staff.take_used_us(look) == 0));
        assert_eq!(looked.get(), 2);
        // What it has used when it is looked at again was used over all these looks.
        let used_us = machine::thread_cpu_us() + 50_000;
        let taken_us = tenant.staff.take_used_us(|_| Some(used_us));
        assert!(taken_us >= 50_000);
        assert_eq!(tenant.staff.late_us(), taken_us * 4 / 5);
        assert!(tenant.staff.take_used_us(|_| Some(used_us + 9_000)) == 9_000);
        assert_eq!(tenant.staff.late_us(), taken_us * 4 / 5, "it was looked at a moment ago");
    }
}
