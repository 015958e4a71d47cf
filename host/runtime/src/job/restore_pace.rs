//! What a thread that restores owes its tenant: as a lane's thread does, it waits between steps when its tenant has had too
//! much, and gives way when its tenant is told to. Operators run here, too, to migrate what they read.
//!
//! A thread that gives way does so until it has restored its part, and ends then: its low priority cannot be taken back.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::machine::{monotonic_us, thread_cpu_us};
use crate::priority;
use crate::tenants::Tenant;

/// How long it waits before it looks again, also for whether the job is stopped.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The account of a thread that restores.
pub(super) struct RestorePace<'a> {
    tenant: &'a Tenant,
    paid_us: u64,
    gives_way: bool,
}

impl<'a> RestorePace<'a> {
    /// The account of this thread from now on.
    pub(super) fn new(tenant: &'a Tenant) -> Self {
        Self { tenant, paid_us: thread_cpu_us(), gives_way: false }
    }

    /// Charges what it has used since.
    pub(super) fn worked(&mut self) {
        let now_us = thread_cpu_us();
        let used_us = now_us.saturating_sub(std::mem::replace(&mut self.paid_us, now_us));
        self.tenant.charge_cpu(used_us, monotonic_us());
    }

    /// Waits until its tenant may use more; answers whether the job was stopped.
    pub(super) fn wait(&mut self, stop: &AtomicBool) -> bool {
        if self.tenant.gives_way() && !self.gives_way {
            self.gives_way = priority::give_way();
        }
        loop {
            if stop.load(SeqCst) {
                return true;
            }
            let wait_us = self.tenant.usage().cpu_us.wait(monotonic_us());
            if wait_us == 0 {
                return false;
            }
            thread::sleep(Duration::from_micros(wait_us).min(LOOK_AGAIN));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::config::TenantsPlan;
    use crate::tenants::Tenants;

    #[test]
    fn whoever_restores_pays_for_it_and_waits_until_it_is_stopped() {
        let path = Path::new("/tenants.toml");
        let text = "[tenants.a]\ncpu = 0.001\n".to_owned();
        let plan = TenantsPlan::from_text(path, path, text).unwrap();
        let tenant = Tenants::new(plan).owner("a", &[Path::new("/job.toml")]).unwrap();
        let mut pace = RestorePace::new(&tenant);
        let began_us = thread_cpu_us();
        while thread_cpu_us() - began_us < 2_000 {}
        pace.worked();
        assert!(tenant.usage().used_cpu_us.load(Relaxed) >= 2_000);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let waits = scope.spawn(|| pace.wait(&stop));
            thread::sleep(Duration::from_millis(50));
            assert!(!waits.is_finished(), "it owes 1.8 ms, which come in in 1.8 s");
            stop.store(true, SeqCst);
            assert!(waits.join().unwrap());
        });
    }
}
