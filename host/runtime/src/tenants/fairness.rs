//! Who uses more than its share while cores are short.
//!
//! A job's lanes are threads, and the kernel is fair to threads: a tenant with many would get most of the machine. So
//! every [`LOOK_EVERY`] it is looked at what tenants have used; while all cores are busy, those over their share
//! are told so, and their lanes run at a lower priority until they are back in it. Idle cores are anybody's. The judgement
//! is pure; the thread is there only while two tenants or more are.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Tenant, Tenants};
use crate::machine::Machine;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A tenant may be over its share by this part before it is told, in hundredths; so that nobody goes to and fro.
const SLACK_PERCENT: u64 = 10;

/// What a tenant has used since the last look, and the weight of its share.
#[derive(Clone, Copy, Debug)]
struct Use {
    cpu_us: u64,
    share: u64,
    was_over: bool,
}

/// For each tenant whether it is over its share of what all of them have used, where cores `are_short`.
fn judge(uses: &[Use], are_short: bool) -> Vec<bool> {
    if !are_short {
        return vec![false; uses.len()];
    }
    let used_us: u64 = uses.iter().map(|tenant| tenant.cpu_us).sum();
    let shares: u64 =
        uses.iter().filter(|tenant| tenant.cpu_us > 0).map(|tenant| tenant.share).sum();
    let is_over = |tenant: &Use| {
        let fair_us = used_us * tenant.share / shares.max(1);
        let slack = if tenant.was_over { 0 } else { SLACK_PERCENT };
        tenant.cpu_us * 100 > fair_us * (100 + slack)
    };
    uses.iter().map(is_over).collect()
}

/// Looks after fairness until it is dropped.
#[derive(Debug)]
pub struct Fairness {
    /// Dropped to end the thread.
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fairness {
    /// Looks after the tenants of this process. Without a thread nobody is told to give way.
    pub fn start(tenants: Arc<Tenants>) -> Self {
        let (done, ended) = mpsc::channel::<()>();
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
        let look = move || {
            let mut before: Vec<(Arc<Tenant>, u64)> = Vec::new();
            let mut machine = Machine::look();
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let then = std::mem::replace(&mut machine, Machine::look());
                before = compare(&tenants.live(), &before, machine.was_short_since(&then, cores));
            }
        };
        let thread = thread::Builder::new().name("tidemill-fair".to_owned()).spawn(look);
        if let Err(error) = &thread {
            tracing::warn!("No thread to look after fair shares of the cores: {error}.");
        }
        Self { done: Some(done), thread: thread.ok() }
    }
}

impl Drop for Fairness {
    fn drop(&mut self) {
        self.done.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Tells the tenants what follows from their use since `before`; answers their use so far.
fn compare(
    live: &[Arc<Tenant>],
    before: &[(Arc<Tenant>, u64)],
    are_short: bool,
) -> Vec<(Arc<Tenant>, u64)> {
    let now: Vec<(Arc<Tenant>, u64)> = live
        .iter()
        .map(|tenant| (tenant.clone(), tenant.usage.used_cpu_us.load(Relaxed)))
        .collect();
    let uses: Vec<Use> = now
        .iter()
        .map(|(tenant, used_us)| {
            let then = before.iter().find(|(other, _)| Arc::ptr_eq(other, tenant));
            let then_us = then.map_or(*used_us, |(_, used_us)| *used_us);
            let was_over = tenant.is_over_share();
            Use { cpu_us: used_us - then_us, share: tenant.plan.cpu_share, was_over }
        })
        .collect();
    for ((tenant, _), is_over) in now.iter().zip(judge(&uses, are_short)) {
        tenant.is_over_share.store(is_over, Relaxed);
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(uses: &[(u64, u64)]) -> Vec<bool> {
        let uses = uses.iter().map(|&(cpu_us, share)| Use { cpu_us, share, was_over: false });
        judge(&uses.collect::<Vec<_>>(), true)
    }

    #[test]
    fn idle_cores_are_anybodys() {
        let uses = [1500, 10].map(|cpu_us| Use { cpu_us, share: 1, was_over: true });
        assert_eq!(judge(&uses, false), [false, false]);
    }

    #[test]
    fn while_cores_are_short_who_uses_more_than_its_share_is_over() {
        assert_eq!(over(&[(1900, 1), (90, 1)]), [true, false]);
        assert_eq!(over(&[(1000, 1), (1000, 1)]), [false, false]);
        assert_eq!(over(&[(1000, 1), (700, 1), (300, 1)]), [true, false, false]);
    }

    #[test]
    fn shares_have_weights_and_who_does_nothing_has_none() {
        assert_eq!(over(&[(1500, 3), (500, 1)]), [false, false]);
        assert_eq!(over(&[(1000, 1), (1000, 3)]), [true, false]);
        assert_eq!(over(&[(2000, 1), (0, 9)]), [false, false]);
    }

    #[test]
    fn who_was_over_is_so_until_it_is_back_in_its_share() {
        let uses = |was_over| [1050, 950].map(|cpu_us| Use { cpu_us, share: 1, was_over });
        assert_eq!(judge(&uses(false), true), [false, false]);
        assert_eq!(judge(&uses(true), true), [true, false]);
    }
}
