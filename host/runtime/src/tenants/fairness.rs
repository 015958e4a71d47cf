//! Looks after fair shares of the cores.
//!
//! A job's lanes are threads, and the kernel is fair to threads: a tenant with many would get most of the machine. So
//! every [`LOOK_EVERY`] it is looked at what tenants have used and wanted; those who are to give way are told so, and their
//! lanes run at a lower priority until they are told otherwise. Idle cores are anybody's. Owns the thread, which is there only
//! while several jobs may be, and what is gathered from look to look; who gives way is [`judgement`]'s to say.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::judgement::{self, Cores, Seen, Standing};
use super::{Tenant, Tenants};
use crate::machine::{self, Machine};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked for turns in which lanes sleep, while all places are taken.
const TURNS_EVERY: Duration = Duration::from_millis(10);

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
            let mut known: Vec<Known> = Vec::new();
            let (mut machine, mut at_us) = (Machine::look(), machine::monotonic_us());
            let (mut were_short, mut is_recalled) = (false, true);
            let wait = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            while wait_for_look(&tenants, wait) {
                let then = std::mem::replace(&mut machine, Machine::look());
                let elapsed_us = machine::monotonic_us()
                    - std::mem::replace(&mut at_us, machine::monotonic_us());
                let are_short = machine.was_short_since(&then, cores);
                // One look at which they are not is no reason for everybody to come back.
                let cores = Cores {
                    elapsed_us,
                    count: cores,
                    are_short: are_short || were_short,
                    // All of it, until it is known whose it was.
                    nobodys_us: machine.used_us_since(&then),
                };
                let told_otherwise = compare(&tenants.live(), &mut known, at_us, cores);
                tenants.turnstile.look_after(machine::monotonic_us());
                were_short = are_short;
                if told_otherwise || !is_recalled {
                    is_recalled = tidemill_storage::recall_io();
                }
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

/// Waits for the next look, and looks after turns meanwhile if there is none to be had; answers whether `wait` did until the end.
fn wait_for_look(tenants: &Tenants, wait: impl Fn(Duration) -> bool) -> bool {
    let look_at = Instant::now() + LOOK_EVERY;
    loop {
        let left = look_at.saturating_duration_since(Instant::now());
        let are_all_taken = tenants.turnstile.look_after(machine::monotonic_us());
        if left.is_zero() || !wait(if are_all_taken { left.min(TURNS_EVERY) } else { left }) {
            return left.is_zero();
        }
    }
}

/// A tenant as it was at the last look.
struct Known {
    tenant: Arc<Tenant>,
    used_us: u64,
    held_us: u64,
    staff_us: u64,
    late_us: u64,
    standing: Standing,
}

/// Tells the tenants what follows from their use since the last look; answers whether one of them need not give way any more.
fn compare(live: &[Arc<Tenant>], known: &mut Vec<Known>, now_us: u64, cores: Cores) -> bool {
    for tenant in live {
        if !known.iter().any(|known| Arc::ptr_eq(&known.tenant, tenant)) {
            // All that it has used, it has used since the last look.
            let (tenant, standing) = (tenant.clone(), Standing::default());
            known.push(Known { tenant, used_us: 0, held_us: 0, staff_us: 0, late_us: 0, standing });
        }
    }
    let see = |known: &mut Known| {
        let looked = known.tenant.look(now_us);
        // A step that was not over may have been seen to use more than what is charged by now; and what is charged at once may be
        // of many looks, while no more can be used than there is.
        let all_us = cores.elapsed_us * cores.count;
        let cpu_us = looked.used_us.saturating_sub(known.used_us).min(all_us);
        known.used_us = known.used_us.max(looked.used_us);
        let held_us = looked.held_us - std::mem::replace(&mut known.held_us, looked.held_us);
        let late_us = looked.late_us - std::mem::replace(&mut known.late_us, looked.late_us);
        let staff_us = looked.staff_us - std::mem::replace(&mut known.staff_us, looked.staff_us);
        let seen = Seen {
            cpu_us: cpu_us.saturating_sub(late_us),
            work_us: cpu_us.saturating_sub(staff_us),
            held_us: held_us / looked.lanes.max(1),
            share: known.tenant.plan.cpu_share,
            is_busy: looked.is_busy,
        };
        (seen, known.standing)
    };
    let mut tenants: Vec<(Seen, Standing)> = known.iter_mut().map(see).collect();
    let seen_us = tenants.iter().map(|(seen, _)| seen.cpu_us).sum();
    let nobodys_us = cores.nobodys_us.saturating_sub(seen_us);
    judgement::judge(&mut tenants, Cores { nobodys_us, ..cores });
    let mut told_otherwise = false;
    for (known, (_, standing)) in known.iter_mut().zip(tenants) {
        known.standing = standing;
        let gave_way = known.tenant.gives_way.swap(standing.gives_way(), Relaxed);
        told_otherwise |= gave_way && !standing.gives_way();
    }
    told_otherwise
}
