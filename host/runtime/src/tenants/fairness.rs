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
/// Who uses less than this part of its share has what it wants, in hundredths.
const CONTENT_PERCENT: u64 = 80;
/// Who has been told is told otherwise only with so much less, so that nobody goes to and fro.
const SLACK_PERCENT: u64 = 20;

/// What a tenant has used since the last look, and the weight of its share.
#[derive(Clone, Copy, Debug)]
struct Use {
    cpu_us: u64,
    share: u64,
    was_over: bool,
}

/// For each tenant whether it is over its share, where cores `are_short`. Who uses clearly less than its share has
/// what it wants; what it leaves is shared by the others, and so on; those who are left at last would take more if they
/// could. They give way, unless they are all.
fn judge(uses: &[Use], are_short: bool) -> Vec<bool> {
    let mut is_over: Vec<bool> = uses.iter().map(|tenant| are_short && tenant.cpu_us > 0).collect();
    let active = is_over.iter().filter(|is_over| **is_over).count();
    loop {
        let hungry = || uses.iter().zip(&is_over).filter(|(_, is_over)| **is_over);
        let used_us: u64 = hungry().map(|(tenant, _)| tenant.cpu_us).sum();
        let shares: u64 = hungry().map(|(tenant, _)| tenant.share).sum();
        let has_enough = |tenant: &Use| {
            let content =
                if tenant.was_over { CONTENT_PERCENT - SLACK_PERCENT } else { CONTENT_PERCENT };
            tenant.cpu_us * 100 * shares.max(1) < used_us * tenant.share * content
        };
        let before = is_over.clone();
        for (tenant, is_over) in uses.iter().zip(&mut is_over) {
            *is_over = *is_over && !has_enough(tenant);
        }
        if is_over == before {
            break;
        }
    }
    let hungry = is_over.iter().filter(|is_over| **is_over).count();
    if hungry == active { vec![false; uses.len()] } else { is_over }
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
    fn while_cores_are_short_who_would_take_more_gives_way_to_who_has_enough() {
        assert_eq!(over(&[(1900, 1), (90, 1)]), [true, false]);
        assert_eq!(over(&[(1000, 1), (600, 1), (300, 1)]), [true, false, false]);
        let mut many = vec![(197, 1); 10];
        many.push((30, 1));
        let expected: Vec<bool> = (0..11).map(|tenant| tenant < 10).collect();
        assert_eq!(over(&many), expected);
    }

    #[test]
    fn nobody_gives_way_where_all_would_take_more() {
        assert_eq!(over(&[(1000, 1), (1000, 1)]), [false, false]);
        assert_eq!(over(&[(1050, 1), (950, 1)]), [false, false]);
        assert_eq!(over(&[(2000, 1)]), [false]);
    }

    #[test]
    fn shares_have_weights_and_who_does_nothing_has_none() {
        assert_eq!(over(&[(1500, 3), (500, 1)]), [false, false]);
        assert_eq!(over(&[(1000, 1), (1000, 3)]), [true, false]);
        assert_eq!(over(&[(2000, 1), (0, 9)]), [false, false]);
    }

    #[test]
    fn who_was_over_is_so_until_it_uses_clearly_less() {
        let uses = |was_over| {
            [700, 1300, 100].map(|cpu_us| Use {
                cpu_us,
                share: 1,
                was_over: was_over && cpu_us == 700,
            })
        };
        assert_eq!(judge(&uses(true), true), [true, true, false]);
        assert_eq!(judge(&uses(false), true), [false, true, false]);
    }
}
